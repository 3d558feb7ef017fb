"""Worker processes: the pipeline's own classes behind a transport whose every effect is a point to stop at.

What the batch transport and `roles` do around those classes is repeated here without a network: chunks of a
partition one after the other, `still_mine`, acknowledgement and commit by `Assignment` and `Progress`, recovery
before reading. A process waits only for an `Op`; the simulation decides when it lands, in how many parts, whether
at all, and whether its process is still there then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from faust.types import TP

from pipeline import topics
from pipeline.adapters.assignment import Assignment, Delivered, Progress
from pipeline.adapters.fence import Claim, Fence, Fenced
from pipeline.adapters.fence import Pairs as FencedPairs
from pipeline.adapters.metrics import Metrics
from pipeline.adapters.recovery import apply_log
from pipeline.adapters.router import Router
from pipeline.adapters.sessionizer import Sessionizer
from pipeline.adapters.sink import Sink
from pipeline.sink.batch import Bounds, Source
from pipeline.state.marker import newer
from pipeline.state.records import SourceRecord
from pipeline.wire.refusal import Refusal
from tests.simulation.broker import Broker, LowerEpoch, Record
from tests.simulation.clickhouse import Server
from tests.simulation.loop import Loop

Pairs = Sequence[tuple[bytes, bytes]]
METRICS = Metrics()
"""One for all: nothing reads it."""


class SendFailed(Exception):
    """The broker did not answer in time. The worker stops, as it does at any error."""


@dataclass(eq=False, slots=True)
class Op:
    """An effect that is under way, in parts that land one after the other."""

    process: Process
    label: str
    parts: list[Callable[[], Any]]
    future: asyncio.Future[Any]
    topic: str = ""
    """The Kafka topic that it goes to, if any: it can land after its process lost the partition."""

    def land(self, count: int | None = None) -> bool:
        """Let the next parts land, all without `count`; whether that was the last. The last one's result counts."""
        for _ in range(len(self.parts) if count is None else min(count, len(self.parts))):
            part = self.parts.pop(0)
            try:
                result = part()
            except Exception as error:
                self.parts.clear()
                if not self.future.done():
                    self.future.set_exception(error)
                return True
            if not self.parts and not self.future.done():
                self.future.set_result(result)
        return not self.parts

    def fail(self) -> None:
        """The rest never lands, and the process is told so."""
        self.parts.clear()
        if not self.future.done():
            self.future.set_exception(SendFailed(self.label))


@dataclass(eq=False, slots=True)
class Chunk:
    """Records of one partition on their way through a process."""

    tp: TP
    records: list[Record]
    assignment: Assignment
    delivered: Delivered


class Site:
    """What processes find around them."""

    def __init__(self, broker: Broker, server: Server, now_ms: int) -> None:
        self.broker = broker
        self.server = server
        self.now_ms = now_ms
        self.ops: list[Op] = []
        """All that is under way."""
        self.on_send: Callable[[str, int, bytes, bytes], None] = lambda topic, partition, key, value: None


class Process:
    """A worker of one role; the subclasses say what it does with a chunk."""

    role = ""
    sources: tuple[str, ...] = ()

    def __init__(self, name: str, site: Site) -> None:
        self.name = name
        self.site = site
        self.loop = Loop(self._execute)  # type: ignore[abstract]
        self.alive = True
        self.frozen = False
        self.expelled = False
        """The group went on without it, and it has not noticed."""
        self.assignment: Assignment | None = None
        self.in_hand: set[Chunk] = set()
        self.positions: dict[TP, int] = {}
        self.at_end: set[TP] = set()
        self._working: dict[TP, asyncio.Task[Any]] = {}

    def run(self) -> None:
        """Go on until everything waits. Raises what a task died of."""
        if self.alive and not self.frozen:
            self.loop.run(self.site.now_ms)

    # -- effects

    def op(self, label: str, parts: list[Callable[[], Any]], *, topic: str = "") -> asyncio.Future[Any]:
        future = self.loop.create_future()
        self.site.ops.append(Op(self, f"{self.name}: {label}", parts, future, topic))
        return future

    def _execute(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        return self.op("insert", [work])

    async def send(self, topic: str, partition: int, items: Pairs) -> None:
        """As `record_batches.send`: in order, a beginning of them if it fails."""
        if items:
            parts = [self._append(topic, partition, key, value) for key, value in items]
            await self.op(f"send {len(items)} to {topic}[{partition}]", parts, topic=topic)

    def _append(self, topic: str, partition: int, key: bytes, value: bytes) -> Callable[[], None]:
        def append() -> None:
            self.site.broker.log(topic, partition).append(key, value, self.site.now_ms)
            self.site.on_send(topic, partition, key, value)

        return append

    async def dead_letter(self, refused: Sequence[Refusal]) -> None:
        """As `Frame.dead_letter`."""
        broker = self.site.broker

        def append(refusal: Refusal) -> Callable[[], Any]:
            log = broker.log(topics.DEAD_LETTERS, refusal.partition % broker.partitions)
            headers = tuple(refusal.headers())
            return lambda: log.append(refusal.key, refusal.value, self.site.now_ms, headers)

        await self.op(
            f"{len(refused)} dead letters",
            [append(refusal) for refusal in refused],
            topic=topics.DEAD_LETTERS,
        )

    # -- whose partitions these are

    def holds(self, assignment: Assignment | None) -> bool:
        """As the transport's `holds`: a process that was frozen for too long finds out here."""
        self.notice()
        return assignment is not None and assignment.open and assignment is self.assignment

    def notice(self) -> None:
        """End the assignment if no heartbeat was answered for longer than the session timeout."""
        if self.expelled and self.assignment is not None and self.assignment.open:
            self.end(lost=True)

    def end(self, *, lost: bool = False) -> None:
        """The assignment is over; what is in hand is not acknowledged any more."""
        if self.assignment is not None:
            mine = {chunk.tp for chunk in self.in_hand if chunk.assignment is self.assignment}
            self.assignment.close(mine, lost=lost)
        self.in_hand.clear()

    def assign(self, generation: int, partitions: frozenset[TP]) -> None:
        """A new generation begins: recover, then read."""
        previous, self.expelled = self.assignment, False
        if previous is not None:
            previous.close(set(), lost=True)
        self.assignment = Assignment(generation, self.name, partitions)
        self.assignment.succeed(previous)
        self.at_end.clear()
        self.loop.start(self._take_over(self.assignment))

    async def _take_over(self, assignment: Assignment) -> None:
        await self.restore(assignment)
        if not assignment.open:
            return
        broker = self.site.broker

        def committed() -> dict[TP, int]:
            return {
                tp: broker.committed(self.role, (tp.topic, tp.partition)) or 0
                for tp in sorted(assignment.partitions)
            }

        offsets: dict[TP, int] = await self.op("committed offsets", [committed])
        if assignment.open:
            self.positions = dict(offsets)
            assignment.committed = dict(offsets)
            assignment.sources = {tp: Progress(offset) for tp, offset in offsets.items()}

    async def restore(self, assignment: Assignment) -> None:
        """Get back what a role keeps of its partitions."""

    # -- reading and committing

    def readable(self) -> list[TP]:
        """Partitions of which a chunk can be taken now."""
        if not self.alive or self.frozen or not self.holds(self.assignment):
            return []
        assert self.assignment is not None
        return [tp for tp in self.assignment.sources if tp not in self._working or self._working[tp].done()]

    def fetch(self, tp: TP, count: int) -> int:
        """Take up to `count` records and start on them; how many there were."""
        assignment = self.assignment
        assert assignment is not None
        log, position = self.site.broker.log(*tp), self.positions[tp]
        records = log.records[position : position + count]
        if records:
            self.positions[tp] = records[-1].offset + 1
            chunk = Chunk(tp, records, assignment, assignment.sources[tp].deliver(self.positions[tp]))
            self.in_hand.add(chunk)
            self._working[tp] = self.loop.start(self.handle(chunk))
        (self.at_end.add if self.positions[tp] == log.end else self.at_end.discard)(tp)
        return len(records)

    def handle(self, chunk: Chunk) -> Coroutine[Any, Any, None]:
        raise NotImplementedError

    def acknowledge(self, chunk: Chunk) -> None:
        self.in_hand.discard(chunk)
        if chunk.assignment.open and chunk.assignment is self.assignment:
            chunk.assignment.sources[chunk.tp].acknowledge(chunk.delivered)

    def commit(self) -> None:
        """Commit what is acknowledged; the coordinator takes it of members only."""
        assignment = self.assignment
        if assignment is None or not assignment.open or self.expelled:
            return
        offsets = assignment.to_commit()
        for tp, offset in offsets.items():
            self.site.broker.commit(self.role, (tp.topic, tp.partition), offset)
        assignment.committed.update(offsets)


class SessionizerProcess(Process):
    role = "sessionizer"
    sources = (topics.SDK_EVENTS,)

    def __init__(
        self, name: str, site: Site, make: Callable[..., Sessionizer], make_fence: Callable[..., Fence]
    ) -> None:
        super().__init__(name, site)
        self.sessionizer = make(
            changelog_topic=topics.STATE,
            sessions_topic=topics.SESSIONS,
            send=self._route,
            dead_letter=self.dead_letter,
            metrics=METRICS,
        )
        self._fence = make_fence(self._identify, self._put)
        self._held: set[int] = set()
        self._ticking: asyncio.Task[Any] | None = None

    async def _route(self, topic: str, partition: int, items: Pairs) -> None:
        if topic != topics.STATE:
            await self.send(topic, partition, items)
        elif items:
            await self._fence.send(partition, items)

    async def _identify(self, partition: int) -> Claim:
        epoch = await self.op(
            f"epoch of {partition}", [self.site.broker.log(topics.STATE, partition).give_epoch]
        )
        return Claim(0, epoch)

    async def _put(self, partition: int, items: FencedPairs, claim: Claim | None) -> int:
        log, site = self.site.broker.log(topics.STATE, partition), self.site
        epoch = claim.epoch if claim else None

        def append(key: bytes, value: bytes | None) -> Callable[[], int]:
            def land() -> int:
                offset = log.append_under(epoch, key, value, site.now_ms).offset
                if value is not None:
                    site.on_send(topics.STATE, partition, key, value)
                return offset

            return land

        parts: list[Callable[[], Any]] = [append(key, value) for key, value in items]
        label = f"send {len(items)} to {topics.STATE}[{partition}] under epoch {epoch}"
        try:
            offset: int = await self.op(label, parts, topic=topics.STATE)
        except LowerEpoch as error:
            raise Fenced(label) from error
        return offset

    async def restore(self, assignment: Assignment) -> None:
        wanted = {tp.partition for tp in sorted(assignment.partitions)}
        for number in sorted(self._held - (assignment.kept & wanted)):
            self._held.discard(number)
            self.sessionizer.revoked(number)
        missing = sorted(wanted - self._held)
        for number in missing:
            await self._fence.claim(number, lambda: self.holds(assignment))
        for number in missing:
            items = await self.op(f"recover {number}", [lambda n=number: changelog(self.site.broker, n)])  # type: ignore[misc]
            if not assignment.open:
                return
            self.sessionizer.recovered(number, items)
            self._held.add(number)

    async def handle(self, chunk: Chunk) -> None:
        records = [SourceRecord(r.offset, r.timestamp, r.key, r.value) for r in chunk.records]
        mine = await self.sessionizer.handle(
            chunk.tp.partition, records, lambda: self.holds(chunk.assignment)
        )
        if mine:
            self.acknowledge(chunk)

    def tick(self, ahead_ms: int) -> None:
        """Report silence on all partitions that are read; `ahead_ms` is how far this machine's clock is ahead."""
        if (self._ticking is None or self._ticking.done()) and self.holds(self.assignment):
            assert self.assignment is not None
            self._ticking = self.loop.start(self._tick(self.assignment, ahead_ms))

    async def _tick(self, assignment: Assignment, ahead_ms: int) -> None:
        for tp, progress in list(assignment.sources.items()):
            await self.sessionizer.tick(
                tp.partition,
                self.site.now_ms + ahead_ms,
                caught_up=tp in self.at_end and progress.idle and assignment.open,
                still_mine=lambda: self.holds(assignment),
            )


def changelog(broker: Broker, partition: int) -> dict[bytes, bytes]:
    """What recovery gets of a partition."""
    items: dict[bytes, bytes] = {}
    apply_log(items, broker.log(topics.STATE, partition).records, newer)
    return items


class SinkProcess(Process):
    role = "sink"
    sources = (topics.SDK_EVENTS, topics.SESSIONS, topics.DEAD_LETTERS)

    def __init__(self, name: str, site: Site, make: Callable[..., Sink], bounds: Bounds) -> None:
        super().__init__(name, site)
        store = site.server.store()

        async def pause(_: float) -> None:
            await self.op("pause", [lambda: None])

        async def insert(table: str, rows: bytes, *, token: str) -> Sequence[Any]:
            return await store.insert_forever(table, rows, token=token, pause=pause)

        sink = make(insert, self.dead_letter, METRICS, bounds=bounds)
        self._roads = {
            topics.SDK_EVENTS: (sink.event_pieces, sink.events),
            topics.SESSIONS: (sink.session_pieces, sink.sessions),
            topics.DEAD_LETTERS: (sink.dead_letter_pieces, sink.dead_letters),
        }
        for _, writer in self._roads.values():
            self.loop.start(writer.run())

    async def handle(self, chunk: Chunk) -> None:
        build, writer = self._roads[chunk.tp.topic]
        await writer.add_all(
            build(Source(*chunk.tp), chunk.records),
            acknowledge=lambda: self.acknowledge(chunk),
            still_mine=lambda: self.holds(chunk.assignment),
        )


class RouterProcess(Process):
    role = "router"
    sources = (topics.MEASURE_EVENTS,)

    def __init__(self, name: str, site: Site) -> None:
        super().__init__(name, site)
        self._router = Router(self._route, self.dead_letter, METRICS)

    async def _route(self, items: Pairs) -> None:
        by_partition: dict[int, list[tuple[bytes, bytes]]] = {}
        for key, value in items:
            by_partition.setdefault(self.site.broker.partition_of(key), []).append((key, value))
        for number, some in by_partition.items():
            await self.send(topics.SDK_EVENTS, number, some)

    async def handle(self, chunk: Chunk) -> None:
        await self._router.handle(chunk.tp.topic, chunk.tp.partition, chunk.records)
        self.acknowledge(chunk)
