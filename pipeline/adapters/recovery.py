"""Getting the state back from a changelog topic, and the order of things after a rebalance.

Takes the place of Faust's own recovery, which resumes source partitions before it seeks them and clears queues while
the fetcher runs (records skipped), does not rewind partitions that were never committed (records lost), and ends at
an offset that not every broker answers rightly. The changelog is read here with a consumer of its own, in large
chunks, straight to the owner of the state: Faust's Table stands for the topic, and holds no second copy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.tables import TableManager
from faust.types import TP
from mode import Service

from pipeline.adapters.chunk import Assignment
from pipeline.adapters.kafka_connection import KafkaConnection
from pipeline.adapters.kafka_topics import LogBounds, log_bounds

logger = logging.getLogger(__name__)

_REPORT_EVERY_S = 5.0
_FETCH_BYTES = 4 * 1024 * 1024
# After a change of leader the high watermark can lag behind what was committed for a moment.
_END_PATIENCE = 4
_END_RETRY_S = 0.5


class PartitionMismatch(RuntimeError):
    """A changelog and its source topic are not cut alike, so that a device's state would lie with another worker."""


Claim = Callable[[int, Callable[[], bool]], Awaitable[int | None]]
"""Gets a partition and whether it is still ours; gives the offset up to which its changelog must be read then."""


class TopicMadeAnew(RuntimeError):
    """What is stored of a source partition lies beyond the end of its log. Terminal: new input would pass for old."""

    def __init__(self, tp: TP, end: int, seen: int) -> None:
        super().__init__(
            f"{tp.topic}[{tp.partition}] ends at offset {end}, but what was stored of it reaches to {seen}: the topic "
            f"was made anew, or its broker lost data. PIPELINE_OFFSET_BASE has to be above all stored offsets; see "
            f"deploy/runbook.md, 'Kafka is lost with all topics, or made anew'"
        )


@dataclass(eq=False)
class StateTable:
    """State that lives in the owner's own memory, a partition at a time, with a Faust table's changelog behind it."""

    table: Any
    """The faust.Table. It names, creates and co-partitions the changelog topic; nothing is kept in it."""
    source_topic: str
    """The topic by whose partitions the state is cut."""
    on_partition_recovered: Callable[[int, dict[bytes, bytes]], None]
    """Gets all that the changelog holds of a partition, before any of its source records is delivered."""
    on_partition_revoked: Callable[[int], None]
    """Another worker may have the partition now: forget it."""
    on_reading_begins: Callable[[int, int], None] | None = None
    """Gets, before reading begins, a partition and the offset below which its source is done, if anything is. What it
    raises stops the worker."""
    newer: Callable[[bytes, bytes], bool] | None = None
    """`newer(old, new)`: whether `new`, later in the log, is to replace `old`. None: always. Where the broker does not
    fence, it refuses what a worker that had already lost the partition wrote late."""
    claim: Claim | None = None
    """Makes the changelog of a partition this worker's alone, before it is read."""
    reach: Callable[[int], int] | None = None
    """Gets a partition that was recovered; gives the last offset of its source that is in the state, below 0 if none
    is. Where the source's log ends before it, the worker stops with `TopicMadeAnew`."""
    held: set[int] = field(default_factory=set)
    """Partitions whose state the owner has."""

    @property
    def changelog_topic(self) -> str:
        name: str = self.table.changelog_topic_name
        return name


async def read_changelog(
    connection: KafkaConnection,
    topic: str,
    partitions: Collection[int],
    newer: Callable[[bytes, bytes], bool] | None = None,
    *,
    at_least: Mapping[int, int] | None = None,
) -> AsyncGenerator[tuple[int, dict[bytes, bytes]], None]:
    """Reads partitions of a changelog to their ends; gives each with its latest value a key as soon as it is through.

    The end is the high watermark of a fetch, reached by position, so that logs that are empty, compacted at the end
    or began late are read to their end too, and never before the offset that `at_least` has for a partition: a new
    leader's high watermark may be behind for a moment. Waits while the broker does not answer.
    """
    consumer = AIOKafkaConsumer(
        **connection.client_options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=_FETCH_BYTES,
        max_poll_records=20_000,
    )
    await consumer.start()
    try:
        waiting = {TopicPartition(topic, partition): dict[bytes, bytes]() for partition in partitions}
        consumer.assign(list(waiting))
        await consumer.seek_to_beginning(*waiting)
        loop = asyncio.get_running_loop()
        count, reported_s = 0, loop.time()
        while waiting:
            found = await consumer.getmany(*waiting, timeout_ms=100)
            for tp, records in found.items():
                _apply(waiting[tp], records, newer)
                count += len(records)
            for tp in list(waiting):
                highwater = consumer.highwater(tp)
                end = max(highwater or 0, (at_least or {}).get(tp.partition, 0))
                if highwater is not None and await consumer.position(tp) >= end:
                    consumer.pause(tp)
                    yield tp.partition, waiting.pop(tp)
            if loop.time() - reported_s >= _REPORT_EVERY_S:
                reported_s = loop.time()
                logger.info("%s: %d records read, %d partitions to go", topic, count, len(waiting))
    finally:
        await consumer.stop()


def _apply(
    items: dict[bytes, bytes], records: list[Any], newer: Callable[[bytes, bytes], bool] | None
) -> None:
    for record in records:
        key, value = record.key, record.value
        if value is None:
            items.pop(key, None)
        elif newer is None or (old := items.get(key)) is None or newer(old, value):
            items[key] = value


class Recovery(Service):  # type: ignore[misc]
    """After each assignment: give up what is lost, recover what is new, find the offsets, and let reading begin.

    A rebalance in the middle of it cancels it; any other error stops the worker.
    """

    mundane_level = "debug"

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app = app
        self.completed = asyncio.Event()
        """Set once the first assignment is being read."""
        self._running: asyncio.Future[None] | None = None

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Called by the table manager when a rebalance begins, and when the app stops."""
        if self._running and not self._running.done():
            self._running.cancel()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Called by the table manager when the new assignment is known."""
        self.on_partitions_revoked(revoked)
        self._running = self.add_future(self._take_over(self.app.consumer.assignment_in_force))

    async def _take_over(self, assignment: Assignment) -> None:
        app = self.app
        for state in app.state_tables:
            await self._restore(state, assignment)
        sources = {tp for tp in assignment.partitions if tp.topic in app.batch_topics}
        starts, committed = await self._find_starts(assignment, sources)
        if not assignment.open:
            return
        app.flow_control.resume()
        app.consumer.resume_flow()
        await app._fetcher.maybe_start()
        app.tables.on_actives_ready()
        app.tables.on_standbys_ready()
        app.on_rebalance_end()
        await app.consumer.begin_delivery(assignment, starts, committed)
        await app.on_rebalance_complete.send()
        self.completed.set()
        logger.info(
            "reading %d partitions: %s", len(starts),
            ", ".join(f"{tp.topic}[{tp.partition}] from {offset}" for tp, offset in sorted(starts.items())),
        )  # fmt: skip

    async def _restore(self, state: StateTable, assignment: Assignment) -> None:
        wanted = {tp.partition for tp in assignment.partitions if tp.topic == state.source_topic}
        logged = {tp.partition for tp in assignment.partitions if tp.topic == state.changelog_topic}
        if wanted != logged:
            raise PartitionMismatch(
                f"{state.changelog_topic} and {state.source_topic} have not the same number of partitions: assigned "
                f"here are {sorted(logged)} of the one and {sorted(wanted)} of the other"
            )
        for partition in sorted(state.held - (assignment.kept & wanted)):
            state.held.discard(partition)
            state.on_partition_revoked(partition)
        missing = wanted - state.held
        if not missing:
            return
        claimed = await self._claim(state, assignment, missing)
        if not assignment.open:
            return
        reading = read_changelog(
            self.app.connection, state.changelog_topic, missing, state.newer, at_least=claimed
        )
        async with aclosing(reading):
            async for partition, items in reading:
                if not assignment.open:
                    return
                state.on_partition_recovered(partition, items)
                state.held.add(partition)
                logger.info("%s[%d]: %d keys recovered", state.changelog_topic, partition, len(items))

    async def _claim(
        self, state: StateTable, assignment: Assignment, partitions: Collection[int]
    ) -> dict[int, int]:
        """The offsets to read up to, of those that the broker fences."""
        if state.claim is None:
            return {}
        order = sorted(partitions)
        still_mine = partial(self.app.consumer.holds, assignment)
        ends = await asyncio.gather(*(state.claim(partition, still_mine) for partition in order))
        return {partition: end for partition, end in zip(order, ends, strict=True) if end is not None}

    async def _find_starts(
        self, assignment: Assignment, sources: set[TP]
    ) -> tuple[dict[TP, int], dict[TP, int]]:
        """Where to read from, and what counts as committed: by the hook, else as committed, else from the earliest."""
        app = self.app
        committed = await app.consumer.committed_offsets(sources)
        hooked = await app.start_offsets(set(sources)) if app.start_offsets and sources else {}
        wanted = {tp: hooked.get(tp, committed[tp]) for tp in sources}
        reached = {tp: self._reach(tp) for tp in sources}
        bounds = await self._bounds({tp: max(wanted[tp] or 0, reached[tp] + 1) for tp in sources})
        for tp, offset in reached.items():
            if offset >= bounds[tp].end:
                raise TopicMadeAnew(tp, bounds[tp].end, offset)
        starts = {tp: _start(tp, wanted[tp], bounds[tp]) for tp in sources}
        for tp, offset in committed.items():
            if offset:
                # At the log's beginning the offset may stand for records that were deleted unread.
                self._check(tp, min(offset, starts[tp]) if offset > bounds[tp].begin else 1)
        base = {tp: bounds[tp].begin if committed[tp] is None else committed[tp] for tp in sources}
        return starts, {tp: min(base[tp], starts[tp]) for tp in sources}

    def _check(self, tp: TP, done: int) -> None:
        for state in self.app.state_tables:
            if state.source_topic == tp.topic and state.on_reading_begins:
                state.on_reading_begins(tp.partition, done)

    def _reach(self, tp: TP) -> int:
        tables = [state for state in self.app.state_tables if state.source_topic == tp.topic]
        return max((state.reach(tp.partition) for state in tables if state.reach), default=-1)

    async def _bounds(self, wanted: dict[TP, int]) -> dict[TP, LogBounds]:
        for _ in range(_END_PATIENCE):
            bounds = await log_bounds(self.app.connection, wanted)
            if all(offset <= bounds[tp].end for tp, offset in wanted.items()):
                break
            await asyncio.sleep(_END_RETRY_S)
        return bounds


def _start(tp: TP, wanted: int | None, bounds: LogBounds) -> int:
    if wanted is None:
        return bounds.begin
    if bounds.begin <= wanted <= bounds.end:
        return wanted
    logger.error(
        "%s[%d]: we were to go on at offset %d, but the log has %d to %d only: %s. Reading it from its beginning.",
        tp.topic, tp.partition, wanted, bounds.begin, bounds.end,
        "records were deleted before they were read" if wanted < bounds.begin else "the topic was made anew",
    )  # fmt: skip
    return bounds.begin


class StateTableManager(TableManager):  # type: ignore[misc]
    """Faust's table manager with our recovery."""

    _recovery: Recovery | None = None

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = Recovery(self.app, beacon=self.beacon, loop=self.loop)
        return self._recovery
