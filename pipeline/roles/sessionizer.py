"""The sessionizer role: the order of effects around `state.Partition`.

For a chunk of one partition: step (pure), then copies of events told, then states durable, then rows durable, then
acknowledge. (Copies before the state that knows of their records: so a crash in between repeats them.) For silence:
rows, then states, since its rows are a function of state alone. Whatever fails leaves the chunk
unacknowledged and stops the worker; the next owner's state emits its outbox again, before a new state takes
its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from pipeline import topics
from pipeline.domain.policy import Policies
from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.formats.native.partitioner import partition_of
from pipeline.formats.record_time import record_time_ms
from pipeline.formats.rejected import Reason, Rejected
from pipeline.kafka.fence import Fenced, StillMine
from pipeline.kafka.record_batches import TooLarge
from pipeline.kafka.topic_identity import require_same
from pipeline.roles.metrics import Metrics
from pipeline.state.codec import state_codec
from pipeline.state.effects import Effects, SetAside, device_of
from pipeline.state.moving import require_layout, require_whole
from pipeline.state.partition import Partition
from pipeline.state.records import Record
from pipeline.state.store import MAX_DECODED, Encode
from pipeline.storage.dead_letter import DeadLetter, KeepDeadLetters, dead_letters_of

log = logging.getLogger(__name__)

Items = Iterable[tuple[Any, ...]]
Send = Callable[[str, int, Items], Awaitable[None]]
"""Topic, partition, keys and values, and headers where there are some; returns once the broker has them all, in order.
Raises if not: `TooLarge`, once it has all others, where some are larger than it takes."""


class Sessionizer:
    """Keeps the partitions that this worker owns. One chunk or tick per partition at a time; raises what fails."""

    def __init__(
        self,
        policies: Policies,
        *,
        changelog_topic: str,
        sessions_topic: str,
        send: Send,
        dead_letter: KeepDeadLetters,
        metrics: Metrics,
        partitions: int = 1,
        before: tuple[int, ...] = (),
        offset_base: int = 0,
        encode: Encode = state_codec.encode,
        edge: Edge = OPEN_EDGE,
        make_partition: Callable[..., Partition] = Partition,
    ) -> None:
        """`partitions` is how many `sdk-events` has, and `before` how many it had: what was meant for those is moved.
        The `edge` says what of their records is folded, and `make_partition` by what (`compiled_partition`)."""
        self._make_partition = make_partition
        self._edge = edge
        self._policies = policies
        self._changelog_topic = changelog_topic
        self._sessions_topic = sessions_topic
        self._send = send
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._topic_partitions = partitions
        self._before = before
        self._offset_base = offset_base
        self._encode = encode
        self._partitions: dict[int, Partition] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._given_up: set[Partition] = set()
        """Something failed while they were written: how much of it is durable is not known, and what is held may be
        behind that. This worker is about to stop, but what waited for the lock would go on before it does."""

    @property
    def partitions(self) -> list[int]:
        """The partitions whose state is here."""
        return sorted(self._partitions)

    def recovered(self, number: int, items: Mapping[bytes, bytes]) -> None:
        """Take over a partition with what its changelog held; called before any of its records."""
        partition = self._make_partition(
            number,
            self._policies,
            partitions=self._topic_partitions,
            before=self._before,
            offset_base=self._offset_base,
            encode=self._encode,
            edge=self._edge,
        )
        require_whole(number, items)
        partition.restore(items)
        self._given_up.discard(self._partitions.get(number))
        self._partitions[number] = partition
        self._locks[number] = asyncio.Lock()
        log.info("partition %d: state of %d devices recovered", number, len(partition))
        self._share_memory()

    def require_state(self, number: int, done: int) -> None:
        """Raises `StateLost` if the state of a partition does not reach to all input below the offset `done`."""
        self._partitions[number].require_state(done)

    def require_topics(self, number: int, source_id: str, log_id: str) -> None:
        """Raises `TopicMadeAnew` if a partition's state is of a topic, or in one, that has another id now."""
        partition = self._partitions[number]
        known = partition.marker
        require_same(
            {topics.SDK_EVENTS: known.known_source(self._offset_base), self._changelog_topic: known.log_id},
            {topics.SDK_EVENTS: source_id, self._changelog_topic: log_id},
        )
        require_layout(number, known, self._topic_partitions, self._offset_base)
        partition.marker = known.of_topics(source_id, log_id, self._topic_partitions)

    def reach(self, number: int) -> int:
        """The last offset, as Kafka counts, that the state of a partition has; below 0 if none."""
        return self._partitions[number].reach

    def revoked(self, number: int) -> None:
        """Forget a partition; what is in hand for it is dropped by its `still_mine`."""
        self._given_up.discard(self._partitions.pop(number, None))
        self._locks.pop(number, None)
        self._share_memory()

    async def handle(self, number: int, records: Sequence[Record], still_mine: StillMine) -> bool:
        """Do everything for a chunk. Returns whether it may be acknowledged: not if the partition was lost."""
        async with self._alone_with(number) as partition:
            if partition is None or not still_mine():
                return False
            with self._metrics.stage("sessionizer", "fold"):
                effects = partition.apply(records)
            while await self._do(number, partition, effects, still_mine):
                self._count(effects)
                if not effects.rest and not effects.later:
                    self._metrics.records.labels(topics.SDK_EVENTS).inc(len(records))
                    return True
                with self._metrics.stage("sessionizer", "fold"):
                    effects = partition.go_on(effects)
        return False

    async def _do(self, number: int, partition: Partition, effects: Effects, still_mine: StillMine) -> bool:
        """Make the effects of a step durable, in their order. False if the partition was lost."""
        if effects.moved and not await self._move(effects.moved, still_mine):
            return False
        if effects.owed:
            await self._send_rows(number, effects.owed)
            if not still_mine():
                return False
        if effects.copies:
            with self._metrics.stage("sessionizer", "copies"):
                await self._send(topics.EVENT_COPIES, number, effects.copies)
            if not still_mine():
                return False
        try:
            if not await self._keep(number, effects, still_mine):
                return False
        except TooLarge as error:
            log.warning("partition %d: %s; folding less at once", number, error)
            partition.too_large(effects, {device_of(key) for key in error.keys if key})
        if not still_mine():
            return False
        await self._send_rows(number, effects.rows)
        if effects.set_aside:
            await self._dead_letter([self._refusal(each) for each in effects.set_aside])
        partition.commit(effects)
        return True

    async def _move(self, moved: Sequence[tuple[Any, ...]], still_mine: StillMine) -> bool:
        """Write records of producers that go by an earlier number of partitions to where their keys belong now."""
        by_partition: dict[int, list[Any]] = {}
        for item in moved:
            by_partition.setdefault(partition_of(item[0], self._topic_partitions), []).append(item)
        for number, items in by_partition.items():
            await self._send(topics.SDK_EVENTS, number, items)
        self._metrics.moved.inc(len(moved))
        return still_mine()

    @asynccontextmanager
    async def _alone_with(self, number: int) -> AsyncIterator[Partition | None]:
        """A partition, with nothing else of it under way meanwhile; None if it is not here or given up."""
        partition, lock = self._partitions.get(number), self._locks.get(number)
        if partition is None or lock is None:
            yield None
            return
        async with lock:
            try:
                yield None if partition in self._given_up else partition
            except BaseException:
                self._given_up.add(partition)
                raise

    @asynccontextmanager
    async def at_rest(self, number: int) -> AsyncIterator[None]:
        """For as long as it lasts, nothing of a partition is under way."""
        async with self._locks.get(number, nullcontext()):
            yield

    async def tick(self, number: int, now_ms: int, *, caught_up: bool, still_mine: StillMine) -> None:
        """Do what silence has decided by `now_ms` for a partition, in bounded batches."""
        async with self._alone_with(number) as partition:
            while partition is not None and still_mine():
                with self._metrics.stage("sessionizer", "silence"):
                    effects = partition.tick(now_ms, caught_up=caught_up)
                if effects is None:
                    break
                await self._send_rows(number, effects.rows)
                if not still_mine() or not await self._keep_silence(number, partition, effects, still_mine):
                    return
                # Also if an assignment ended meanwhile: the next one may keep the partition, and what is held of it.
                partition.commit(effects)
                self._metrics.rows.labels("sessions").inc(len(effects.rows))
        self._gauge()

    async def _keep_silence(
        self, number: int, partition: Partition, effects: Effects, still_mine: StillMine
    ) -> bool:
        try:
            return await self._keep(number, effects, still_mine)
        except TooLarge as error:
            partition.too_large_in_silence(effects, {device_of(key) for key in error.keys if key})
        if not still_mine() or not await self._keep(number, effects, still_mine):
            return False
        await self._dead_letter([self._refusal(each) for each in effects.set_aside])
        return True

    async def _keep(self, number: int, effects: Effects, still_mine: StillMine) -> bool:
        """Make states durable; False if the partition is somebody else's. Raises `Fenced` only if it should be ours."""
        try:
            with self._metrics.stage("sessionizer", "states"):
                await self._send(self._changelog_topic, number, effects.states)
        except Fenced:
            if still_mine():
                raise
            return False
        return True

    async def _send_rows(self, number: int, rows: Items) -> None:
        with self._metrics.stage("sessionizer", "rows"):
            await self._send(self._sessions_topic, number, rows)

    def _share_memory(self) -> None:
        for partition in self._partitions.values():
            partition.keep_decoded(MAX_DECODED // len(self._partitions))
        self._gauge()

    def _refusal(self, aside: SetAside) -> DeadLetter:
        """What is kept of the record with which a device was set aside."""
        came_ms = record_time_ms(aside.headers or (), aside.record_ms)
        fault = Rejected(Reason.DEVICE_SET_ASIDE, aside.detail)
        [refusal] = dead_letters_of(
            topics.SDK_EVENTS,
            aside.partition,
            aside.offset,
            record_ms=came_ms,
            key=aside.key,
            value=aside.value,
            faults=[fault],
        )
        return refusal

    def _count(self, effects: Effects) -> None:
        counts = effects.counts
        self._metrics.rows.labels("sessions").inc(len(effects.rows))
        self._metrics.rows.labels(topics.EVENT_COPIES).inc(len(effects.copies))
        for outcome in ("accepted", "late", "duplicates", "unrestated", "set_aside"):
            self._metrics.events.labels(outcome).inc(getattr(counts, outcome))
        self._metrics.events.labels("refused").inc(effects.refused)
        for reason, records in effects.handed_over.items():
            self._metrics.left_to_python.labels("sessionizer", reason).inc(records)
        self._gauge()

    def _gauge(self) -> None:
        held = [partition.holds for partition in self._partitions.values()]
        self._metrics.devices.set(sum(each.devices for each in held))
        self._metrics.devices_set_aside.set(sum(each.set_aside for each in held))
        self._metrics.open_sessions.set(sum(each.open_sessions for each in held))
        self._metrics.state_bytes.set(sum(each.state_bytes for each in held))
