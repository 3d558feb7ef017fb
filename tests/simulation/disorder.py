"""Disorder: one thing after the other happens, drawn by the seed, and some of it is a fault."""

from __future__ import annotations

from pipeline import topics
from tests.simulation import anew as made_anew
from tests.simulation import losses, rebuild
from tests.simulation.process import Op, Process, SessionizerProcess
from tests.simulation.traffic import Input
from tests.simulation.world import ROLES, World

_MAX_MEMBERS = 3
_KINDS = (
    *("crash", "crash", "crash", "freeze", "thaw", "thaw", "add", "leave"),
    *("rebalance", "clickhouse", "compact", "send", "zombie", "zombie"),
    *("expire", "expire unread", "forget", "clock", "policy"),
)


class Disorder:
    """Drives a world while input comes. What a worker dies of is raised."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._zombie_due = False

    def run(self) -> None:
        """Until all input is produced, and for some while after."""
        inputs = list(reversed(self.world.plan.inputs))
        rebuilt_at = self.world.rng.randint(0, len(inputs)) if self.world.rng.random() < 0.15 else -1
        anew_at = made_anew.drawn(self.world)
        if anew_at >= 0:
            # It has a rebuild of its own, with the states.
            rebuilt_at = -1
        while inputs or self.world.rng.random() > 0.02:
            self.world.step += 1
            self._advance(inputs)
            if len(inputs) == rebuilt_at and rebuild.is_possible(self.world):
                rebuilt_at = -1
                rebuild.run(self.world)
            if len(inputs) <= anew_at and made_anew.is_possible(self.world):
                anew_at = -1
                made_anew.Anew(self.world).run(inputs)

    def _advance(self, inputs: list[Input]) -> None:
        """One thing happens."""
        rng, chance = self.world.rng, self.world.rng.random()
        if chance < self.world.fault_rate:
            self._fault()
        elif chance < 0.45:
            self._land_one()
        elif chance < 0.70:
            self._fetch_one()
        elif chance < 0.80 and inputs:
            self._produce(inputs.pop())
        elif chance < 0.85:
            self._commit_one()
        elif chance < 0.89:
            self._tick_one()
        elif chance < 0.96:
            self.world.site.now_ms += rng.choice((0, 1, 40, 300, 1_000, 1_000))
        elif chance < 0.97:
            self.world.site.now_ms += rng.choice((5_000, 31_000, 61_000))
        else:
            self.world.rebalance_if_needed()
        self.world.run_all()
        if self._zombie_due:
            self._make_zombie()

    def _produce(self, made: Input) -> None:
        self.world.site.now_ms += made.after_ms
        broker = self.world.site.broker
        number = broker.partition_of(made.key) if made.partition is None else made.partition
        record = broker.log(made.topic, number).append(made.key, made.value, self.world.site.stamp_ms)
        self.world.tell(f"produced {made.topic}[{number}]@{record.offset} {made.key!r}")

    def _land_one(self) -> None:
        ops = [op for op in self.world.site.ops if self._may_land(op)]
        if not ops:
            return
        op = self.world.rng.choice(ops)
        count = None if self.world.rng.random() < 0.7 else 1
        self.world.tell(f"lands {'all' if count is None else 'one'} of {op.label}")
        if op.land(count):
            self.world.site.ops.remove(op)

    def _may_land(self, op: Op) -> bool:
        return op.process.alive or bool(op.topic)

    def _fetch_one(self) -> None:
        process = self._any_member()
        places = process.readable() if process else []
        if process and places:
            tp = self.world.rng.choice(places)
            count = process.fetch(tp, self.world.rng.choice((1, 1, 2, 3, 8, 50)))
            if count:
                self.world.tell(f"{process.name} takes {count} of {tp.topic}[{tp.partition}]")

    def _commit_one(self) -> None:
        process = self._any_member()
        if process and not process.frozen:
            process.commit()

    def _tick_one(self) -> None:
        members = [p for p in self.world.groups["sessionizer"].members if not p.frozen]
        if members:
            process = self.world.rng.choice(members)
            assert isinstance(process, SessionizerProcess)
            ahead_ms = self.world.rng.choice((0, 0, 500, 3_000, 61_000, 400_000))
            self.world.tell(f"{process.name} ticks, clock {ahead_ms} ms ahead")
            process.tick(ahead_ms)

    def _any_member(self) -> Process | None:
        members = [p for group in self.world.groups.values() for p in group.members]
        return self.world.rng.choice(members) if members else None

    def _fault(self) -> None:
        rng = self.world.rng
        kind = rng.choice(_KINDS)
        process = self._any_member()
        if kind == "crash" and process:
            self._crash(process)
        elif kind == "freeze" and process:
            process.freeze()
            process_group = self.world.groups[process.role]
            process_group.unsettled = process_group.unsettled or rng.random() < 0.8
            self.world.note(f"{process.name} is frozen")
        elif kind == "thaw":
            self.world.thaw()
        elif kind == "add":
            self._add(rng.choice(ROLES))
        elif (
            kind == "leave"
            and process
            and not process.frozen
            and len(self.world.groups[process.role].members) > 1
        ):
            self._leave(process)
        elif kind == "rebalance":
            group = self.world.groups[rng.choice(ROLES)]
            if group.members:
                self.world.rebalance(group)
        elif kind == "clickhouse":
            server = self.world.site.server
            server.down, server.flaky = rng.random() < 0.4, rng.random() < 0.7
            self.world.note(f"ClickHouse: down {server.down}, flaky {server.flaky}")
        elif kind == "compact":
            self._compact()
        elif kind == "send":
            self._fail_a_send()
        elif kind == "expire":
            losses.expire(self.world)
        elif kind == "expire unread":
            losses.expire_unread(self.world)
        elif kind == "forget":
            losses.forget_offsets(self.world)
        elif kind == "clock":
            self.world.site.broker_behind_ms = rng.choice((0, 1, 3_000, 61_000, 400_000))
            self.world.note(f"the brokers' clock is {self.world.site.broker_behind_ms} ms behind")
        elif kind == "policy":
            self.world.version = len(self.world.plan.versions) - 1
            self.world.note("who starts from here on has the latest policies")
        elif kind == "zombie":
            self._zombie_due = True

    def _crash(self, process: Process) -> None:
        self.world.note(f"{process.name} is killed, with {self._under_way(process)} under way")
        self.world.crashes += 1
        self.world.remove(process)
        if self.world.rng.random() < 0.8:
            self.world.spawn(process.role)
        if self.world.rng.random() < 0.3:
            self.world.rebalance_if_needed()
        if self.world.rng.random() < 0.3:
            again = self.world.groups[process.role].members
            if again:
                self.world.run_all()
                self._crash(self.world.rng.choice(again))

    def _make_zombie(self) -> None:
        """A sessionizer freezes while states are under way, and another one takes over."""
        group = self.world.groups["sessionizer"]
        writing = {op.process for op in self.world.site.ops if op.topic == topics.STATE}
        for process in [p for p in group.members if p in writing and not p.frozen][:1]:
            self._zombie_due = False
            process.freeze()
            self.world.note(f"{process.name} is frozen, with {self._under_way(process)} under way")
            if len(group.members) == 1:
                self.world.spawn(group.role)
            self.world.rebalance(group)

    def _under_way(self, process: Process) -> str:
        return (
            "; ".join(op.label.partition(": ")[2] for op in self.world.site.ops if op.process is process)
            or "nothing"
        )

    def _add(self, role: str) -> None:
        if len(self.world.groups[role].members) < _MAX_MEMBERS:
            self.world.note(f"{self.world.spawn(role).name} joins")

    def _leave(self, process: Process) -> None:
        """A clean stop."""
        self.world.finish(process)
        if process.alive:
            process.commit()
            process.membership.end()
            self.world.fence(process)
            self.world.note(f"{process.name} leaves")
            self.world.remove(process)

    def _compact(self) -> None:
        sessionizers = self.world.groups["sessionizer"].members + self.world.outside
        nobody_reads = not any(process.is_taking_over for process in sessionizers)
        for number in range(self.world.plan.partitions):
            log = self.world.site.broker.log(topics.STATE, number)
            gone = log.compact(self.world.rng.randint(0, log.end), tombstones_go=nobody_reads)
            if gone:
                self.world.note(f"changelog[{number}] compacted, {gone} records gone")

    def _fail_a_send(self) -> None:
        ops = [op for op in self.world.site.ops if op.topic and op.process.alive and not op.process.frozen]
        if ops:
            op = self.world.rng.choice(ops)
            self.world.site.ops.remove(op)
            op.land(self.world.rng.randint(0, len(op.parts) - 1)) if len(op.parts) > 1 else None
            self.world.note(f"{op.label} fails")
            op.fail()
