"""Worker processes: the pipeline's own classes behind a transport whose every effect is a point to stop at.

The life of an assignment and what comes before its first record are the product's own, `Membership` and `TakeOver`;
what Faust and aiokafka do around them is here without a network: a fetch, chunks of a partition one after the other, a
heartbeat. A process waits only for an `Op`; the simulation decides when it lands, in how many parts, whether at all,
and whether its process is still there then.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from pipeline import topics
from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.formats.registry import routed_topics
from pipeline.kafka.admin import LogBounds
from pipeline.kafka.changelog import apply_log, is_through
from pipeline.kafka.fence import Claim, Fence, Fenced
from pipeline.kafka.fence import Pairs as FencedPairs
from pipeline.kafka.record_batches import TooLarge
from pipeline.kafka.topic_identity import Note, require_same
from pipeline.roles.known_topics import replaced_rows, require_known
from pipeline.roles.metrics import Metrics
from pipeline.roles.router import Routed, Router
from pipeline.roles.sessionizer import Sessionizer
from pipeline.roles.sink.batch import Bounds, Source
from pipeline.roles.sink.sink import Sink
from pipeline.state.marker import newer
from pipeline.state.records import SourceRecord
from pipeline.storage.dead_letter import DeadLetter, let_in
from pipeline.streaming.assignment import Assignment, Delivered, Membership
from pipeline.streaming.chunk import cut
from pipeline.streaming.recovery import StateTable, TakeOver
from tests.simulation.broker import Broker, Log, LowerEpoch, Record
from tests.simulation.clickhouse import Noted, Server
from tests.simulation.loop import Loop

Pairs = Sequence[tuple[bytes, bytes]]
METRICS = Metrics()
"""One for all: nothing reads it."""
SESSION_TIMEOUT_MS = 6_000
_WAITING_CHUNKS = 2
_LATE_ANSWERS = 3
"""How often a take-over may be told bounds of a moment ago; it asks once more."""


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

    def __init__(self, broker: Broker, server: Server, now_ms: int, edge: Edge = OPEN_EDGE) -> None:
        self.broker = broker
        self.server = server
        self.now_ms = now_ms
        self.max_chunk = 50_000
        self.max_chunk_bytes = 16 * 1024 * 1024
        self.broker_behind_ms = 0
        """By how much the clock of the brokers is behind."""
        self.ops: list[Op] = []
        """All that is under way."""
        self.refused_by_size = 0
        self.edge = edge
        """The privacy rules and the sampling of all workers."""
        self.offset_base = 0
        """PIPELINE_OFFSET_BASE of workers that start from here on."""
        self.noted = Noted(server)
        self.make_take_over: Callable[..., TakeOver] = TakeOver
        self.on_send: Callable[[str, int, bytes, bytes], None] = lambda topic, partition, key, value: None
        self.on_state: Callable[[int, int, bytes, bytes], None] = lambda version, partition, key, value: None
        """Called before `on_send` for what a sessionizer makes durable, with the version of its policies."""
        self.on_gone: Callable[[int, int, bytes], None] = lambda version, partition, key: None
        """Called for what it takes out of the changelog."""

    @property
    def stamp_ms(self) -> int:
        """What a broker stamps a record with now. It may be less than what it stamped the one before with."""
        return self.now_ms - self.broker_behind_ms


class Process:
    """A worker of one role; the subclasses say what it does with a chunk."""

    role = ""
    sources: tuple[str, ...] = ()

    def __init__(self, name: str, site: Site) -> None:
        self.name = name
        self.site = site
        self.loop = Loop(self._execute)  # type: ignore[abstract]
        self.alive = True
        self.silent_since_ms: int | None = None
        """Since when no heartbeat was answered, because it was frozen. None if the last one was."""
        self.frozen = False
        self.expelled = False
        """The group went on without it, and it has not noticed."""
        self.membership = Membership()
        self.states: list[StateTable] = []
        self.topics_seen: dict[str, str] = {}
        self.positions: dict[TP, int] = {}
        self._member_number = 0
        self._taking_over: asyncio.Task[Any] | None = None
        self._working: dict[TP, asyncio.Task[Any]] = {}
        self._waiting: Counter[TP] = Counter()

    def run(self) -> None:
        """Go on until everything waits. Raises what a task died of."""
        if self.alive and not self.frozen:
            self.loop.run(self.site.now_ms)

    def freeze(self) -> None:
        self.frozen = True
        self.silent_since_ms = self.site.now_ms

    def thaw(self, *, answered: bool) -> None:
        """It runs again; `answered`: its first heartbeat is, before anything else happens."""
        self.frozen = False
        if answered and not self.expelled:
            self.silent_since_ms = None

    # -- effects

    def op(self, label: str, parts: list[Callable[[], Any]], *, topic: str = "") -> asyncio.Future[Any]:
        future = self.loop.create_future()
        self.site.ops.append(Op(self, f"{self.name}: {label}", parts, future, topic))
        return future

    def _execute(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        return self.op("insert", [work])

    async def send(self, topic: str, partition: int, items: Pairs | Sequence[Routed]) -> None:
        """As `record_batches.send`: in order, a beginning of them if it fails."""
        if items:
            parts = [self._append(topic, partition, key, value, headers) for key, value, *headers in items]
            await self.op(f"send {len(items)} to {topic}[{partition}]", parts, topic=topic)

    def _append(
        self, topic: str, partition: int, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> Callable[[], None]:
        def append() -> None:
            self.site.broker.log(topic, partition).append(key, value, self.site.stamp_ms, tuple(headers))
            self.site.on_send(topic, partition, key, value)

        return append

    async def dead_letter(self, refused: Sequence[DeadLetter]) -> None:
        """As `Frame.dead_letter`."""
        broker = self.site.broker

        def append(refusal: DeadLetter) -> Callable[[], Any]:
            log = broker.log(topics.DEAD_LETTERS, refusal.partition % broker.partitions)
            headers = tuple(refusal.headers())
            return lambda: log.append(refusal.key, refusal.value, self.site.stamp_ms, headers)

        await self.op(
            f"{len(refused)} dead letters",
            [append(let_in(refusal, self.site.edge)) for refusal in refused],
            topic=topics.DEAD_LETTERS,
        )

    # -- whose partitions these are

    @property
    def in_hand(self) -> set[Any]:
        return self.membership.in_hand

    def holds(self, assignment: Assignment | None) -> bool:
        """As the transport's `holds`: a process that was frozen for too long finds out here."""
        self.notice()
        return self.membership.holds(assignment)

    def notice(self) -> bool:
        """Whether the assignment ends here, no heartbeat having been answered for longer than the session timeout."""
        if self.silent_since_ms is None:
            return False
        silent_s = (self.site.now_ms - self.silent_since_ms) / 1_000
        return self.membership.end_if_silent(silent_s, SESSION_TIMEOUT_MS / 1_000)

    @property
    def is_taking_over(self) -> bool:
        return self._taking_over is not None and not self._taking_over.done()

    def revoke(self) -> None:
        """A rebalance begins: recovery that is under way goes no further."""
        if self._taking_over is not None:
            self._taking_over.cancel()

    def expel(self) -> None:
        """The coordinator has waited for longer than the session timeout and goes on without this one."""
        assert self.silent_since_ms is not None
        self.expelled = True
        self.site.now_ms = max(self.site.now_ms, self.silent_since_ms + SESSION_TIMEOUT_MS + 1)

    def join(self) -> None:
        """Back into the group, as a new member if it was expelled."""
        self.silent_since_ms = None
        self._member_number += self.expelled
        self.expelled = False

    def assign(self, generation: int, partitions: frozenset[TP]) -> None:
        """A new generation begins: recover, then read."""
        member_id = f"{self.name}-{self._member_number}"
        assignment = self.membership.assign(generation, member_id, partitions)
        self._taking_over = self.loop.start(self._take_over(assignment))

    async def _take_over(self, assignment: Assignment) -> None:
        take_over = self.site.make_take_over(self.states, self.sources, _Kafka(self))

        async def begin(starts: dict[TP, int], committed: dict[TP, int]) -> None:
            if assignment.open:
                # In an order that is the same in every process: that of a set is not, and draws go by it.
                ordered = dict(sorted(starts.items()))
                self.positions |= ordered
                assignment.begin_reading(ordered, committed)

        await take_over.run(assignment, begin)

    def watch_topics(self) -> None:
        """As the transport's `_watch_topics` does now and then."""
        if self.topics_seen:
            self.loop.start(_Kafka(self).topic_ids(()))

    # -- reading and committing

    def readable(self) -> list[TP]:
        """Partitions of which a chunk can be taken now."""
        assignment = self.membership.in_force
        if not self.alive or self.frozen or assignment is None or not self.holds(assignment):
            return []
        return [tp for tp in assignment.sources if self._waiting[tp] < _WAITING_CHUNKS]

    def fetch(self, tp: TP, count: int) -> int:
        """Take up to `count` records, in chunks, and start on them; how many there were."""
        assignment = self.membership.in_force
        assert assignment is not None
        log, position = self.site.broker.log(*tp), self.positions[tp]
        if not log.begin <= position <= log.end:
            if self.topics_seen.get(tp.topic, "") not in (
                "",
                self.site.broker.topic_ids([tp.topic])[tp.topic],
            ):
                # Before anything of it is read, the transport asks.
                self.watch_topics()
                return 0
            assignment.read_on_from(tp, log.begin, max(0, log.begin - position))
            self.positions[tp] = position = log.begin
        records = log.read(position)[:count]
        for part in cut(records, self.site.max_chunk, self.site.max_chunk_bytes):
            self.positions[tp] = part[-1].offset + 1
            self._start_on(Chunk(tp, part, assignment, assignment.deliver(tp, self.positions[tp])))
        at_end = self.positions[tp] == log.end
        assignment.caught_up = assignment.caught_up | {tp} if at_end else assignment.caught_up - {tp}
        return len(records)

    def _start_on(self, chunk: Chunk) -> None:
        self.in_hand.add(chunk)
        self._waiting[chunk.tp] += 1
        self._working[chunk.tp] = self.loop.start(self._after(self._working.get(chunk.tp), chunk))

    async def _after(self, before: asyncio.Task[Any] | None, chunk: Chunk) -> None:
        """As the agent does it: the chunks of a partition one after the other."""
        if before is not None and not before.done():
            await before
        await self.handle(chunk)
        self._waiting[chunk.tp] -= 1

    def handle(self, chunk: Chunk) -> Coroutine[Any, Any, None]:
        raise NotImplementedError

    def acknowledge(self, chunk: Chunk) -> None:
        self.membership.acknowledge(chunk)

    def commit(self) -> None:
        """Commit what is acknowledged; the coordinator takes it of members only."""
        assignment, offsets = self.membership.in_force, self.membership.to_commit()
        if assignment is None or self.expelled:
            return
        for tp, offset in offsets.items():
            note = Note(assignment.topic_ids.get(tp.topic, ""), assignment.lost.get(tp, 0))
            self.site.broker.commit(self.role, (tp.topic, tp.partition), offset, note)
        assignment.committed.update(offsets)


class _Kafka:
    """The `recovery.Kafka` of a process. Each answer is an `Op`, and may be one of a moment ago."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._broker = process.site.broker
        self._asked: set[int] = set()
        """Logs of which an answer was of a moment ago."""
        self._bounds_told = 0

    def holds(self, assignment: Assignment) -> bool:
        return self._process.holds(assignment)

    async def topic_ids(self, names: Collection[str]) -> Mapping[str, str]:
        broker, known = self._broker, self._process.topics_seen
        ask = partial(broker.topic_ids, sorted(known.keys() | set(names)))
        found: Mapping[str, str] = await self._process.op("topic ids", [ask])
        require_same(known, found)
        known.update(found)
        return found

    async def require_topics(self, names: Collection[str], ids: Mapping[str, str]) -> None:
        """As `known_topics_guard`, which a sink has."""
        site = self._process.site
        if isinstance(self._process, SinkProcess):
            wanted = {name: ids[name] for name in sorted(names) if name in ids}
            require_known(site.noted, wanted, site.offset_base)  # type: ignore[arg-type]
            if topics.SESSIONS in wanted:
                self._process.pass_over(replaced_rows(site.noted, wanted[topics.SESSIONS]))  # type: ignore[arg-type]

    async def committed(self, partitions: Collection[TP]) -> Mapping[TP, tuple[int, Note]]:
        def committed() -> Mapping[TP, tuple[int, Note]]:
            found = {tp: self._broker.said(self._process.role, (tp.topic, tp.partition)) for tp in places}
            notes = self._broker.notes
            return {
                tp: (offset, notes.get((self._process.role, (tp.topic, tp.partition)), Note()))
                for tp, offset in found.items()
                if offset is not None
            }

        places = sorted(partitions)
        said: Mapping[TP, tuple[int, Note]] = await self._process.op("committed offsets", [committed])
        return said

    async def start_offsets(self, partitions: set[TP]) -> Mapping[TP, int]:
        return {}

    async def log_bounds(self, partitions: Collection[TP]) -> Mapping[TP, LogBounds]:
        def bounds() -> Mapping[TP, LogBounds]:
            logs = {tp: self._broker.log(*tp) for tp in sorted(partitions)}
            self._bounds_told += 1
            # Of many logs one after the other can be behind, but not for longer than a moment in all.
            late = self._bounds_told <= _LATE_ANSWERS
            return {
                tp: LogBounds(log.begin, log.end - (self._behind(log) if late else 0))
                for tp, log in logs.items()
            }

        found: Mapping[TP, LogBounds] = await self._process.op("log bounds", [bounds])
        return found

    def read_changelog(
        self,
        topic: str,
        partitions: Collection[int],
        newer: Callable[[bytes, bytes], bool] | None,
        at_least: Mapping[int, int],
    ) -> Any:
        async def read(number: int) -> tuple[int, dict[bytes, bytes]]:
            items: dict[bytes, bytes] = {}
            position, highwater = 0, None
            while not is_through(position, highwater, at_least.get(number, 0)):
                fetch = partial(self._fetch, topic, number, position)
                records, highwater = await self._process.op(f"read {topic}[{number}]", [fetch])
                apply_log(items, records, newer)
                position = records[-1].offset + 1 if records else max(position, highwater)
            return number, items

        return _OneByOne(partial(read, number) for number in sorted(partitions))

    def _fetch(self, topic: str, number: int, position: int) -> tuple[list[Record], int]:
        log = self._broker.log(topic, number)
        highwater = log.end - self._behind(log)
        return log.read(position, highwater)[: self._broker.rng.choice((1, 3, 1_000))], highwater

    def _behind(self, log: Log) -> int:
        """By how much the high watermark of a new leader is behind."""
        if not log.end or id(log) in self._asked or self._broker.rng.random() > self._broker.stale_rate:
            return 0
        # For a moment only: the next answer is right.
        self._asked.add(id(log))
        return self._broker.rng.randint(1, min(3, log.end))


class _OneByOne:
    """An asynchronous generator of results, but one that the death of its process can leave anywhere."""

    def __init__(self, work: Iterable[Callable[[], Coroutine[Any, Any, Any]]]) -> None:
        self._work = iter(work)

    def __aiter__(self) -> _OneByOne:
        return self

    async def __anext__(self) -> Any:
        for work in self._work:
            return await work()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._work = iter(())


class SessionizerProcess(Process):
    role = "sessionizer"
    sources = (topics.SDK_EVENTS,)

    def __init__(
        self,
        name: str,
        site: Site,
        make: Callable[..., Sessionizer],
        make_fence: Callable[..., Fence],
        version: int = 0,
    ) -> None:
        """`version`: which of a run's policies it works under."""
        super().__init__(name, site)
        self.version = version
        self.sessionizer = make(
            changelog_topic=topics.STATE,
            sessions_topic=topics.SESSIONS,
            send=self._route,
            dead_letter=self.dead_letter,
            metrics=METRICS,
            partitions=site.broker.partitions,
            offset_base=site.offset_base,
            edge=site.edge,
        )
        self._fence = make_fence(self._identify, self._put)
        self.states = [
            StateTable(
                SimpleNamespace(changelog_topic_name=topics.STATE),
                topics.SDK_EVENTS,
                self.sessionizer.recovered,
                self.sessionizer.revoked,
                self.sessionizer.require_state,
                newer,
                self._fence.claim,
                self.sessionizer.reach,
                require_topics=self.sessionizer.require_topics,
            )
        ]
        self._ticking: asyncio.Task[Any] | None = None

    async def _route(self, topic: str, partition: int, items: Pairs) -> None:
        if topic != topics.STATE:
            await self.send(topic, partition, items)
        elif items:
            await self._fence.send(partition, items)

    async def _identify(self, partition: int) -> Claim:
        broker = self.site.broker
        epoch = await self.op(
            f"epoch of {partition}", [lambda: broker.log(topics.STATE, partition).give_epoch()]
        )
        return Claim(0, epoch)

    async def _put(self, partition: int, items: FencedPairs, claim: Claim | None) -> int:
        """As `record_batches.send`: what is too large is named once all others are written."""
        items = list(items)
        max_bytes = self.site.broker.log(topics.STATE, partition).max_bytes
        large = [item for item in items if len(item[0]) + len(item[1] or b"") > max_bytes]
        offset = await self._append_all(partition, [item for item in items if item not in large], claim)
        if large:
            self.site.refused_by_size += len(large)
            raise TooLarge(topics.STATE, partition, large)
        return offset

    async def _append_all(self, partition: int, items: FencedPairs, claim: Claim | None) -> int:
        if not items:
            return -1
        site = self.site
        epoch = claim.epoch if claim else None

        def append(key: bytes, value: bytes | None) -> Callable[[], int]:
            def land() -> int:
                log = site.broker.log(topics.STATE, partition)
                offset = log.append_under(epoch, key, value, site.stamp_ms).offset
                if value is None:
                    site.on_gone(self.version, partition, key)
                else:
                    site.on_state(self.version, partition, key, value)
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

    async def handle(self, chunk: Chunk) -> None:
        records = [SourceRecord(r.offset, r.timestamp, r.key, r.value, r.headers) for r in chunk.records]
        mine = await self.sessionizer.handle(
            chunk.tp.partition, records, lambda: self.holds(chunk.assignment)
        )
        if mine:
            self.acknowledge(chunk)

    def tick(self, ahead_ms: int) -> None:
        """Report silence on all partitions that are read; `ahead_ms` is how far this machine's clock is ahead."""
        assignment = self.membership.in_force
        if (
            (self._ticking is None or self._ticking.done())
            and assignment is not None
            and self.holds(assignment)
        ):
            self._ticking = self.loop.start(self._tick(assignment, ahead_ms))

    async def _tick(self, assignment: Assignment, ahead_ms: int) -> None:
        for tp in list(assignment.sources):
            await self.sessionizer.tick(
                tp.partition,
                self.site.now_ms + ahead_ms,
                caught_up=assignment.has_caught_up(tp),
                still_mine=lambda: self.holds(assignment),
            )


def changelog(broker: Broker, partition: int) -> dict[bytes, bytes]:
    """What recovery gets of a partition."""
    items: dict[bytes, bytes] = {}
    apply_log(items, broker.log(topics.STATE, partition).records, newer)
    return items


class SinkProcess(Process):
    role = "sink"
    sources = (topics.SDK_EVENTS, topics.SESSIONS, topics.EVENT_COPIES, topics.DEAD_LETTERS)

    def __init__(self, name: str, site: Site, make: Callable[..., Sink], bounds: Bounds) -> None:
        super().__init__(name, site)
        store = site.server.store()

        async def pause(_: float) -> None:
            await self.op("pause", [lambda: None])

        async def insert(table: str, rows: bytes, *, token: str) -> Sequence[Any]:
            return await store.insert_forever(table, rows, token=token, pause=pause)

        sink = make(
            insert,
            self.dead_letter,
            METRICS,
            bounds=bounds,
            partitions=site.broker.partitions,
            offset_base=site.offset_base,
            edge=site.edge,
        )
        self.pass_over = sink.pass_over
        self._roads = {
            topics.SDK_EVENTS: (sink.event_pieces, sink.events),
            topics.SESSIONS: (sink.session_pieces, sink.sessions),
            topics.EVENT_COPIES: (sink.copy_pieces, sink.copies),
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
    sources = routed_topics()

    def __init__(self, name: str, site: Site) -> None:
        super().__init__(name, site)
        self._router = Router(
            self._route, self.dead_letter, METRICS, offset_base=site.offset_base, edge=site.edge
        )

    async def _route(self, items: Sequence[Routed]) -> None:
        by_partition: dict[int, list[Routed]] = {}
        for item in items:
            by_partition.setdefault(self.site.broker.partition_of(item[0]), []).append(item)
        for number, some in by_partition.items():
            await self.send(topics.SDK_EVENTS, number, some)

    async def handle(self, chunk: Chunk) -> None:
        await self._router.handle(chunk.tp.topic, chunk.tp.partition, chunk.records)
        self.acknowledge(chunk)
