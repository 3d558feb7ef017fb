"""A topic is deleted and made anew under another id, shorter, as long or longer than before, and the operator follows
deploy/runbook.md, 'A topic was made anew', once a worker has said so."""

from __future__ import annotations

from pipeline import topics
from pipeline.formats.registry import routed_topics
from pipeline.query.operations import next_offset
from pipeline.roles.known_topics import note_topics, require_known
from pipeline.roles.topology import all_read
from tests.simulation import rebuild
from tests.simulation.broker import Before
from tests.simulation.clickhouse import NOT_STORABLE
from tests.simulation.process import Process
from tests.simulation.quiet import Quiet
from tests.simulation.traffic import Input
from tests.simulation.world import ROLES, Era, World

_RATE = 0.09
"""How often it is drawn; about two in five of these worlds can tell what must come of it."""
_READERS = {
    topics.SDK_EVENTS: ("sessionizer", "sink"),
    topics.STATE: ("sessionizer",),
    topics.SESSIONS: ("sink",),
}
_TOPICS = (topics.SDK_EVENTS, topics.SDK_EVENTS, topics.STATE, topics.SESSIONS)


def drawn(world: World) -> int:
    """How many inputs are left when it happens; -1 if it never does."""
    rng = world.anew_rng
    return rng.randint(0, len(world.plan.inputs)) if rng.random() < _RATE else -1


def is_possible(world: World) -> bool:
    """Whether it is decided what must come of it: a rebuild follows, and it is to change nothing but what is lost."""
    storable = not any(NOT_STORABLE in (made.value or b"") for made in world.plan.inputs)
    usual = world.plan.wide and not world.plan.heavy and len(world.plan.versions) == 1
    return usual and storable and not world.set_aside


class Anew:
    """One topic, with what happens until all goes on again. What a worker dies of but by the name of it is raised."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._rng = world.anew_rng
        self._broker = world.site.broker
        self._topic = self._rng.choice(_TOPICS)
        self._readers = _READERS[self._topic]

    def run(self, inputs: list[Input]) -> None:
        """From rest. What is produced meanwhile is taken from the end of `inputs`."""
        world, rng = self.world, self._rng
        Quiet(world).rest()
        self._rested = [log.end for log in self._broker.logs(topics.SDK_EVENTS)]
        if self._topic == topics.SDK_EVENTS:
            self._leave_unread(inputs)
        running = rng.random() < 0.6
        if not running:
            for role in self._readers:
                world.stop_all(role)
        self._positions = {
            tp.partition: position
            for process in self._members("sink")
            for tp, position in process.positions.items()
            if tp.topic == topics.SDK_EVENTS and process.holds(process.membership.in_force)
        }
        before = self._broker.make_anew(self._topic, keeps_commits=rng.random() < 0.3)
        self._fill(before)
        ends = [log.end for log in before.logs], [log.end for log in self._broker.logs(self._topic)]
        world.note(
            f"{self._topic} is made anew, {'while' if running else 'before'} workers run; it ended at {ends[0]}, "
            f"and now at {ends[1]}"
        )
        world.awaits_stops = True
        if running:
            self._notice()
        else:
            self._start_again()
        if world.stopped:
            self._see_to_it(before)
        world.awaits_stops = False

    def _leave_unread(self, inputs: list[Input]) -> None:
        """Something comes that nobody has read when the topic goes, or some have in part."""
        for _ in range(min(len(inputs), self._rng.choice((0, 0, 1, 4)))):
            made = inputs.pop()
            number = self._broker.partition_of(made.key) if made.partition is None else made.partition
            self._broker.log(made.topic, number).append(made.key, made.value, self.world.site.stamp_ms)
        if self._rng.random() < 0.5:
            self._work(self._rng.choice(("sessionizer", "sink")), self._rng.randint(1, 6))

    def _fill(self, before: Before) -> None:
        """Senders send again what they sent before, until the new topic is as long as is drawn."""
        if self._topic != topics.SDK_EVENTS:
            return
        length = self._rng.choice(("empty", "shorter", "equal", "longer"))
        for number, log in enumerate(before.logs):
            known = [record for record in log.everything() if record.key is not None]
            if length == "empty" or not known:
                continue
            end = {"shorter": self._rng.randint(0, log.end - 1), "equal": log.end}.get(
                length, log.end + self._rng.randint(1, 5)
            )
            for _ in range(end):
                again = self._rng.choice(known)
                self._broker.log(self._topic, number).append(again.key, again.value, self.world.site.stamp_ms)

    def _members(self, *roles: str) -> list[Process]:
        return [process for role in roles for process in self.world.groups[role].members]

    def _work(self, role: str, steps: int) -> None:
        """Workers of a role read, and what they do lands, in part."""
        world, rng = self.world, self._rng
        for _ in range(steps):
            for process in self._members(role):
                for tp in process.readable():
                    if rng.random() < 0.6:
                        process.fetch(tp, rng.choice((1, 2, 50)))
                if rng.random() < 0.5:
                    process.commit()
            world.run_all()
            for op in [op for op in world.site.ops if op.process.role == role and rng.random() < 0.7]:
                if op.land(rng.choice((None, 1))):
                    world.site.ops.remove(op)
            world.run_all()

    def _notice(self) -> None:
        """Those that run go on for a moment where they were, until they look what the topic is known by."""
        for role in self._readers:
            self._work(role, self._rng.choice((0, 0, 1, 3)))
        readers = [p for p in self._members(*self._readers) if self._topic in p.topics_seen]
        for process in readers:
            process.watch_topics()
        for _ in range(40):
            self.world.run_all()
            for op in [op for op in self.world.site.ops if op.process in readers]:
                if op.land():
                    self.world.site.ops.remove(op)
            self.world.site.now_ms += 250
        for process in [process for process in readers if process.alive]:
            self.world.violations.append(f"{process.name} goes on, and {self._topic} was made anew")

    def _start_again(self) -> None:
        """Those that were down start, and nobody tells them."""
        for role in self._readers:
            self.world.spawn(role)
        for _ in range(40):
            self.world.rebalance_if_needed()
            self.world.run_all()
            for op in [op for op in self.world.site.ops if op.process.role in self._readers]:
                if op.land():
                    self.world.site.ops.remove(op)
            # For what waits before it asks again.
            self.world.site.now_ms += 250

    # -- the operator

    def _see_to_it(self, before: Before) -> None:
        if self._topic == topics.SDK_EVENTS:
            self._raise_base(before)
            return
        ids = self._broker.topic_ids(all_read())
        if self._topic == topics.SESSIONS:
            note_topics(self.world.site.noted, {self._topic: ids[self._topic]}, 0)  # type: ignore[arg-type]
            self.world.awaits_stops = False
            self.world.note(f"migrate --made-anew {self._topic}")
            Quiet(self.world).drain("sink", "sessionizer")
        self.world.stop_all("sessionizer")
        self.world.awaits_stops = False
        self._rebuild()

    def _raise_base(self, before: Before) -> None:
        """All are stopped, and what is read from here on is counted above all that is stored."""
        world, notes = self.world, self.world.site.noted
        Quiet(world).drain("router")
        for role in ROLES:
            world.stop_all(role)
        world.awaits_stops = False
        world.eras.append(self._era(before))
        world.lost = {role: set() for role in ROLES}
        world.site.offset_base = base = next_offset(notes.query)
        for topic in routed_topics():
            for number, log in enumerate(self._broker.logs(topic)):
                world.counted_anew[topic, number] = log.end, base
        require_known(notes, self._broker.topic_ids(all_read()), base)  # type: ignore[arg-type]
        world.note(f"offsets are counted from {base} on; lost: {sorted(world.eras[-1].lost)}")
        self._rebuild()
        world.spawn("router")

    def _era(self, before: Before) -> Era:
        """What is stored of the topic that is gone. All that was there at rest must be."""
        world, base = self.world, self.world.site.offset_base
        ledger = world.site.server.tables["ledger_records"].rows
        lost = set(world.lost["sink"])
        era = Era(base, [], lost)
        for number, log in enumerate(before.logs):
            # A sink that runs goes on where it was, in the new topic, and counts as in the old one.
            position = self._positions.get(number, log.end)
            records = [record for record in log.everything() if record.offset < position]
            records += self._broker.log(self._topic, number).read(position)
            era.records.append(records)
            for record in records:
                place = number, record.offset
                if (self._topic, number, record.offset + base) in ledger:
                    continue
                if record.offset < self._rested[number] and place not in lost:
                    world.violations.append(f"{self._topic}[{number}]@{record.offset} was never stored")
                lost.add(place)
        return era

    def _rebuild(self) -> None:
        """`rebuild --states`; then the sessionizers start."""
        rebuild.run(self.world)
