"""One run: a seed, a few workers, everything that can go wrong, and then quiet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from faust.types import TP

from pipeline import topics
from pipeline.domain.privacy import Privacy, Rules, Sampling, Samplings
from pipeline.formats import native
from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.formats.record_time import record_time_ms
from pipeline.formats.rejected import Reason, Rejected
from pipeline.kafka.fence import Fence
from pipeline.kafka.topic_identity import TopicMadeAnew
from pipeline.roles.sessionizer import Sessionizer
from pipeline.roles.sink.batch import Bounds
from pipeline.roles.sink.sink import Sink
from pipeline.state.aside import ASIDE_SUFFIX
from pipeline.state.codec import state_codec
from pipeline.state.failures import StateLost
from pipeline.state.store import STEPS_SUFFIX
from pipeline.streaming.recovery import TakeOver
from tests.simulation.broker import Broker, Record
from tests.simulation.clickhouse import Server
from tests.simulation.process import (
    Op,
    Process,
    RouterProcess,
    SendFailed,
    SessionizerProcess,
    SinkProcess,
    Site,
)
from tests.simulation.traffic import Plan, plan
from tests.support.phrases import BASE_MS

ROLES = ("router", "sessionizer", "sink")


@dataclass(frozen=True, slots=True)
class Suspects:
    """The classes under test; a test of the simulator puts broken ones in their place."""

    sessionizer: Callable[..., Sessionizer] = Sessionizer
    sink: Callable[..., Sink] = Sink
    fence: Callable[..., Fence] = Fence
    take_over: Callable[..., TakeOver] = TakeOver


@dataclass(frozen=True, slots=True)
class Era:
    """`sdk-events` as it was, counted from a base."""

    base: int
    records: list[list[Record]]
    """By partition, as a sink has seen it: from where it was when the topic was made anew, they are of the new one."""
    lost: set[tuple[int, int]]
    """Partition and offset of those that were not stored, or not as a whole."""


def some_edge(seed: int) -> Edge:
    """In every third run some apps have privacy rules, or only some of their devices are kept."""
    # Of its own, so that all else goes as it would without.
    rng = Random(f"edge {seed}")
    if rng.random() < 2 / 3:
        return OPEN_EDGE
    rules = Rules(
        drop=("os.*", "*.model.*"), hash=("target",), mask=("service.*",), user_id="hash", emails="mask"
    )
    of_one = Privacy(Rules(), {"app-1": rules})
    privacy = rng.choice((of_one, Privacy(rules)))
    rates = Samplings(Sampling(rng.choice((1.0, 0.6))), {"app-2": Sampling(0.4)})
    return Edge(privacy, rates, "the key of all hashes of a simulation")


@dataclass(slots=True)
class Group:
    """A consumer group: its members in the order in which they joined."""

    role: str
    members: list[Process] = field(default_factory=list)
    generation: int = 0
    unsettled: bool = True
    """Somebody came or went."""


class World:
    """A run of one seed. `trace` tells what was injected; with `verbose` everything that happened."""

    def __init__(
        self,
        seed: int,
        suspects: Suspects | None = None,
        *,
        verbose: bool = False,
    ) -> None:
        self.rng = rng = Random(seed)
        self.suspects = suspects or Suspects()
        self.plan: Plan = plan(rng)
        self.site = Site(
            Broker(self.plan.partitions, rng), Server(rng), BASE_MS + rng.randint(0, 900_000), some_edge(seed)
        )
        self.site.make_take_over = self.suspects.take_over
        self.site.on_send = self._on_send
        self.site.on_state = self._on_state
        self.site.on_gone = self._on_gone
        self.site.max_chunk, self.site.max_chunk_bytes = self.plan.max_chunk, self.plan.max_chunk_bytes
        for number in range(self.plan.partitions):
            self.site.broker.log(topics.STATE, number).max_bytes = self.plan.max_state_bytes
        self.site.broker.stale_rate = rng.choice((0.0, 0.0, 0.2))
        self.site.broker.on_commit = self._on_commit
        self.groups = {role: Group(role) for role in ROLES}
        self.trace: list[str] = []
        self.crashes = 0
        self.violations: list[str] = []
        self._verbose = verbose
        self._names = 0
        self.step = 0
        self._reach: dict[tuple[int, bytes], int] = {}
        self.is_rebuilt = False
        """Whether states and sessions were made again from what was stored, on the way."""
        self.lost: dict[str, set[tuple[int, int]]] = {role: set() for role in ROLES}
        """Partition and offset of records of `sdk-events` that were deleted before a role had done them."""
        self.anew_rng = Random(f"topics made anew {seed}")
        """Of its own, so that all else goes as it would without."""
        self.eras: list[Era] = []
        """What `sdk-events` was before it was made anew."""
        self.counted_anew: dict[tuple[str, int], tuple[int, int]] = {}
        """Of partitions of raw topics: the offset from which on its offsets are counted from another base."""
        self.awaits_stops = False
        """A topic was made anew, and the operator has not seen to it."""
        self.stopped: list[str] = []
        """What workers said that stopped because of a topic that was made anew, since one was."""
        self.version = 0
        """Which of the plan's policies new sessionizers work under."""
        self.folded_under: dict[tuple[int, bytes], set[int]] = {}
        """The versions of the policies that each device was folded under."""
        self.set_aside: set[tuple[int, bytes]] = set()
        """Devices whose state is too large for the changelog, by partition."""
        self.fault_rate = rng.choice((0.0, 0.02, 0.05, 0.1))
        self.late_writes = rng.random() < 0.5
        """Writes that were under way when their process was given up may land at any time after."""
        self.outside: list[Process] = []
        """Alive, but the group went on without them."""
        self._processes: list[Process] = []
        for role in ROLES:
            for _ in range(rng.randint(1, 2)):
                self.spawn(role)
        if self.site.edge is not OPEN_EDGE:
            self.note(f"privacy rules; devices are sampled: {self.site.edge.samples}")
        self.note(
            f"{self.plan.partitions} partitions, {len(self.plan.inputs)} records, "
            f"{'wide' if self.plan.wide else 'small'} horizon, late writes: {self.late_writes}"
            f"{', a device in another partition' if any(i.partition is not None for i in self.plan.inputs) else ''}"
        )

    def close(self) -> None:
        """Let go of all processes."""
        for process in self._processes:
            process.loop.drop()

    def run_all(self) -> None:
        for group in self.groups.values():
            for process in list(group.members):
                self.run_one(process)
        for process in [p for p in self.outside if not p.frozen]:
            self.run_one(process)

    def run_one(self, process: Process) -> None:
        try:
            process.run()
        except SendFailed as error:
            self.note(f"{process.name} stops: {error}")
            self.remove(process)
        except (TopicMadeAnew, StateLost) as error:
            if not self.awaits_stops:
                raise
            text = f"{type(error).__name__}: {error}"
            self.note(f"{process.name} stops: {text.partition('. ')[0]}")
            self.stopped.append(text)
            self.remove(process)

    # -- membership

    def spawn(self, role: str) -> Process:
        self._names += 1
        name = f"{role}-{self._names}"
        process: Process
        if role == "sessionizer":
            policies = self.plan.versions[self.version]
            process = SessionizerProcess(
                name,
                self.site,
                lambda **given: self.suspects.sessionizer(policies, **given),
                self.suspects.fence,
                self.version,
            )
        elif role == "sink":
            max_rows = self.rng.choice((1, 3, 10, 1_000))
            # So few bytes that a record is cut into pieces of single events.
            max_bytes = 1_500 if max_rows == 10 else 100_000
            bounds = Bounds(max_rows, max_bytes, self.rng.choice((1, 200, 1_000)))
            process = SinkProcess(name, self.site, self.suspects.sink, bounds)
        else:
            process = RouterProcess(name, self.site)
        self._processes.append(process)
        self.groups[role].members.append(process)
        self.groups[role].unsettled = True
        self.run_one(process)
        return process

    def remove(self, process: Process) -> None:
        """A process is gone, with what it had under way: landed in part, lost, or landing later."""
        process.alive = False
        process.loop.drop()
        group = self.groups[process.role]
        if process in group.members:
            group.members.remove(process)
            group.unsettled = True
        if process in self.outside:
            self.outside.remove(process)
        for op in [op for op in self.site.ops if op.process is process]:
            if self.may_be_late(op) and self.rng.random() < 0.6:
                continue
            self.site.ops.remove(op)
            if self.rng.random() < 0.6:
                op.land(self.rng.randint(0, len(op.parts)))

    def stop_all(self, role: str) -> None:
        """All workers of a role are gone, and what they had under way has landed or never will."""
        mine = [process for process in self._processes if process.role == role]
        for process in [p for p in mine if p in self.groups[role].members or p in self.outside]:
            self.remove(process)
        for op in [op for op in self.site.ops if op.process in mine]:
            self.site.ops.remove(op)
            op.land(self.rng.randint(0, len(op.parts)))

    def rebalance_if_needed(self) -> None:
        for group in self.groups.values():
            if group.unsettled and group.members:
                self.rebalance(group)

    def rebalance(self, group: Group) -> None:
        group.unsettled = False
        for process in list(group.members):
            if process.frozen:
                self.note(f"{process.name} is expelled while frozen")
                process.expel()
                group.members.remove(process)
                self.outside.append(process)
                self.fence(process)
                continue
            process.revoke()
            if self.rng.random() < 0.6:
                self.finish(process)
            process.commit()
            process.membership.end()
            self.fence(process)
        if not group.members:
            group.unsettled = True
            return
        group.generation += 1
        shares: dict[str, set[TP]] = {process.name: set() for process in group.members}
        order = list(group.members)
        if self.rng.random() < 0.5:
            self.rng.shuffle(order)
        for number in range(self.plan.partitions):
            owner = order[number % len(order)]
            shares[owner.name] |= {TP(topic, number) for topic in owner.sources}
            shares[owner.name] |= {TP(state.changelog_topic, number) for state in owner.states}
        for process in group.members:
            process.assign(group.generation, frozenset(shares[process.name]))
        for process in list(group.members):
            self.run_one(process)
        self.note(
            f"{group.role} generation {group.generation}: "
            + ", ".join(f"{p.name} {sorted({tp.partition for tp in shares[p.name]})}" for p in order)
        )

    def finish(self, process: Process) -> None:
        """What a rebalance waits for: chunks in hand, for a bounded time."""
        for _ in range(60):
            if not process.in_hand:
                return
            mine = [op for op in self.site.ops if op.process is process]
            for op in mine:
                if op.land():
                    self.site.ops.remove(op)
            if not mine:
                self.site.now_ms += 200
            self.run_one(process)
            if not process.alive:
                return

    def fence(self, process: Process) -> None:
        """What may not be late lands before another process takes over."""
        for op in [op for op in self.site.ops if op.process is process and op.topic]:
            if not self.may_be_late(op):
                op.land()
                self.site.ops.remove(op)

    def may_be_late(self, op: Op) -> bool:
        return bool(op.topic) and self.late_writes

    def thaw(self) -> None:
        frozen = [p for group in self.groups.values() for p in group.members if p.frozen]
        for process in frozen + [p for p in self.outside if p.frozen]:
            process.thaw(answered=self.rng.random() < 0.5)
            self.note(f"{process.name} is thawed{', expelled meanwhile' if process.expelled else ''}")
            self.run_one(process)
            if process.expelled and process.alive and self.rng.random() < 0.7:
                self.rejoin(process)
            elif process.alive and not process.expelled:
                process.notice()
                process.join()
                group = self.groups[process.role]
                group.unsettled = group.unsettled or not process.holds(process.membership.in_force)

    def rejoin(self, process: Process) -> None:
        process.notice()
        process.join()
        if process in self.outside:
            self.outside.remove(process)
            self.groups[process.role].members.append(process)
            self.groups[process.role].unsettled = True

    # -- what must hold at every moment

    def _on_state(self, version: int, partition: int, key: bytes, value: bytes) -> None:
        if not key.startswith(b"\0"):
            device = key.removesuffix(STEPS_SUFFIX)
            if device.endswith(ASIDE_SUFFIX):
                self.set_aside.add((partition, device.removesuffix(ASIDE_SUFFIX)))
                return
            known = state_codec.outline(value)
            # Who settles the recent events folds them too, be it by silence.
            if known.applied_offset > self.reach_of(partition, device) or not known.has_tail:
                self.folded_under.setdefault((partition, device), set()).add(version)

    def _on_gone(self, version: int, partition: int, key: bytes) -> None:
        if not key.startswith(b"\0") and not key.endswith(STEPS_SUFFIX):
            self.folded_under.setdefault((partition, key), set()).add(version)
            self.note(f"changelog[{partition}]: {key!r} is forgotten")

    def reach_of(self, partition: int, device: bytes) -> int:
        """Up to which offset the durable state of a device has its input."""
        return self._reach.get((partition, device), -1)

    def _on_send(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        if topic == topics.STATE and not key.startswith(b"\0") and not key.endswith(ASIDE_SUFFIX):
            device = key.removesuffix(STEPS_SUFFIX)
            self._reach[partition, device] = max(
                self._reach.get((partition, device), -1), state_codec.outline(value).applied_offset
            )

    def _on_commit(self, role: str, place: tuple[str, int], before: int, after: int) -> None:
        """Nothing is committed that is not durable."""
        topic, number = place
        self.tell(f"{role} commits {topic}[{number}] up to {after}")
        if after < before:
            self.violations.append(f"{role} committed {topic}[{number}] back from {before} to {after}")
        if self.awaits_stops:
            # What it means will be decided by how the operator goes on.
            return
        for record in self.site.broker.log(topic, number).read(before, after):
            if role == "sink" and topic == topics.SDK_EVENTS:
                table = self.site.server.tables["ledger_records"].rows
                durable = (topic, number, record.offset + self.site.offset_base) in table
            elif role == "sessionizer" and self.is_sound(number, record):
                assert record.key is not None
                durable = self.reach_of(number, record.key) >= record.offset + self.site.offset_base
                durable = durable or (number, record.key) in self.set_aside or self._brought_nothing(record)
            else:
                durable = True
            if not durable:
                self.violations.append(
                    f"{role} committed {topic}[{number}]@{record.offset}, whose effects are lost"
                )

    def read(self, number: int, record: Any) -> native.Envelope | Rejected | None:
        """What a record in a partition of `sdk-events` is to all who read it; None if its device is sampled out."""
        if record.key is not None and self.site.broker.partition_of(record.key) != number:
            return Rejected(Reason.WRONG_PARTITION, "")
        edge = self.site.edge
        if edge.is_out(record.key):
            return None
        came_ms = record_time_ms(record.headers, record.timestamp)
        return native.decode(record.value, record.key, came_ms, edge.cleaner_of(record.key))

    def is_sound(self, number: int, record: Any) -> bool:
        """Whether there is something in a record for a sessionizer."""
        return isinstance(self.read(number, record), native.Envelope)

    def _brought_nothing(self, record: Any) -> bool:
        """Whether all its events are refused: a rebuild knows of a device only what was stored of it."""
        decoded = native.decode(record.value, record.key, record.timestamp)
        return isinstance(decoded, native.Envelope) and not decoded.events

    # -- telling

    def note(self, text: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.step:5} {text}")

    def tell(self, text: str) -> None:
        """A line of the verbose trace."""
        if self._verbose:
            self.note(text)
