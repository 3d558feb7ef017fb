"""Getting the state back from a changelog topic, and the order of things after a rebalance.

Takes the place of Faust's own recovery, which resumes source partitions before it seeks them and clears queues while
the fetcher runs (records skipped), does not rewind partitions that were never committed (records lost), and ends at
an offset that not every broker answers rightly. The changelog is read here with a consumer of its own, in large
chunks, straight to the owner of the state: Faust's Table stands for the topic, and holds no second copy.

This is the order of things alone, which the simulation drives as well; `table_manager` hooks it into Faust.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import Terminal
from pipeline.kafka.starts import of_these_topics, start_of
from pipeline.kafka.topic_identity import Note, TopicMadeAnew
from pipeline.streaming.assignment import Assignment
from pipeline.topics import TP

if TYPE_CHECKING:
    from pipeline.kafka.admin import LogBounds

logger = logging.getLogger(__name__)

# After a change of leader the high watermark can lag behind what was committed for a moment.
_END_PATIENCE = 4
_END_RETRY_S = 0.5


class PartitionMismatch(Terminal):
    """A changelog and its source topic have different partitions, so a device's state would be elsewhere."""


ClaimPartition = Callable[[int, Callable[[], bool]], Awaitable[int | None]]
"""Gets a partition and whether it is still ours; gives the offset up to which its changelog must be read then."""

Begin = Callable[[dict[TP, int], dict[TP, int]], Awaitable[None]]
"""Gets offsets to read partitions from, and those that count as committed; the assignment was open just now."""


@dataclass(eq=False)
class StateTable:
    """State that lives in the owner's own memory, one partition at a time, with a Faust table's changelog behind it."""

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
    claim: ClaimPartition | None = None
    """Makes the changelog of a partition this worker's alone, before it is read."""
    reach: Callable[[int], int] | None = None
    """Gets a partition that was recovered; gives the last offset of its source that is in the state, below 0 if none
    is. Where the source's log ends before it, the worker stops with `TopicMadeAnew`."""
    require_topics: Callable[[int, str, str], None] | None = None
    """Gets a partition whose state is here, and the ids of its source and of the changelog; raises
    `TopicMadeAnew` if the state is of another topic."""
    held: set[int] = field(default_factory=set)
    """Partitions whose state the owner has."""

    @property
    def changelog_topic(self) -> str:
        name: str = self.table.changelog_topic_name
        return name


class Kafka(Protocol):
    """What taking over asks of a consumer group's member and its broker."""

    def holds(self, assignment: Assignment) -> bool:
        """Whether the worker may still write for it."""

    async def topic_ids(self, names: Collection[str]) -> Mapping[str, str]:
        """The present ids of topics, of those that exist and have one."""

    async def require_topics(self, names: Collection[str], ids: Mapping[str, str]) -> None:
        """Raises `TopicMadeAnew` if topics are not those that rows were stored of."""

    async def committed(self, partitions: Collection[TP]) -> Mapping[TP, tuple[int, Note]]:
        """What the group has committed, where it has, with what it noted."""

    async def start_offsets(self, partitions: set[TP]) -> Mapping[TP, int]:
        """Where to read from in place of what is committed; without partitions for which that counts."""

    async def log_bounds(self, partitions: Collection[TP]) -> Mapping[TP, LogBounds]:
        """Where each log begins and ends now."""

    def read_changelog(
        self,
        topic: str,
        partitions: Collection[int],
        newer: Callable[[bytes, bytes], bool] | None,
        at_least: Mapping[int, int],
    ) -> AsyncGenerator[tuple[int, dict[bytes, bytes]], None]:
        """Partitions of a changelog with the latest value of each key, read to the end, never before `at_least`."""


class _Batches:
    """Does something with numbers in the background: with all that came while it was done with those before."""

    def __init__(self, do: Callable[[Collection[int]], Awaitable[None]]) -> None:
        self._do = do
        self._waiting: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, number: int) -> None:
        """Raises what it failed of with earlier ones."""
        self._waiting.add(number)
        if self._task is not None and self._task.done():
            self._task.result()
            self._task = None
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def through(self) -> None:
        """Waits until it is done with all. Raises what it failed of."""
        if self._task is not None:
            await self._task

    def break_off(self) -> None:
        """Goes no further."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._waiting:
            numbers, self._waiting = frozenset(self._waiting), set()
            await self._do(numbers)


class TakeOver:
    """What comes between an assignment and the first record: give up what is lost, recover what is new, find the
    offsets. Raises what must stop the worker."""

    def __init__(self, states: Sequence[StateTable], source_topics: Collection[str], kafka: Kafka) -> None:
        self._states = states
        self._source_topics = source_topics
        self._kafka = kafka

    async def run(self, assignment: Assignment, begin: Begin) -> None:
        """Begins to read partitions as soon as they can be: those that were kept at once, each other one when it is
        recovered. Breaks off where the assignment ends."""
        assignment.topic_ids = dict(await self._kafka.topic_ids({tp.topic for tp in assignment.partitions}))
        sources = {tp for tp in assignment.partitions if tp.topic in self._source_topics}
        missing = {state: self._give_up(state, assignment) for state in self._states}

        async def begin_with(numbers: Collection[int]) -> None:
            found = await self._starts(assignment, {tp for tp in sources if tp.partition in numbers}, numbers)
            if found:
                await begin(*found)

        kept = {tp.partition for tp in sources}.difference(*missing.values())
        if kept or not sources:
            await begin_with(kept)
        beginning = _Batches(begin_with)
        try:
            for state, numbers in missing.items():

                def recovered(number: int, here: set[int] = numbers) -> None:
                    here.discard(number)
                    if not any(number in others for others in missing.values()):
                        beginning.add(number)

                await self._recover(state, assignment, frozenset(numbers), recovered)
            await beginning.through()
        finally:
            beginning.break_off()

    async def _starts(
        self, assignment: Assignment, sources: set[TP], numbers: Collection[int]
    ) -> tuple[dict[TP, int], dict[TP, int]] | None:
        """Where to begin with sources whose partitions' state is here; None if the assignment has ended."""
        if not assignment.open:
            # Silence ends it in the middle. The state is not all there, so nothing may be asked of it.
            return None
        for state in self._states:
            self._require_topics(state, assignment, numbers)
        await self._kafka.require_topics({tp.topic for tp in sources}, assignment.topic_ids)
        return await self._find_starts(assignment, sources)

    def _give_up(self, state: StateTable, assignment: Assignment) -> set[int]:
        """Forget what was not kept; gives the partitions that are to be recovered. Raises `PartitionMismatch`."""
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
        return wanted - state.held

    async def _recover(
        self,
        state: StateTable,
        assignment: Assignment,
        missing: frozenset[int],
        recovered: Callable[[int], None],
    ) -> None:
        """Gives partitions their state, and tells of each when it has it."""
        if not missing or not assignment.open:
            return
        claimed = await self._claim(state, assignment, missing)
        if not assignment.open:
            return
        reading = self._kafka.read_changelog(state.changelog_topic, missing, state.newer, claimed)
        async with aclosing(reading):
            async for partition, items in reading:
                if not assignment.open:
                    return
                state.on_partition_recovered(partition, items)
                state.held.add(partition)
                logger.info("%s[%d]: %d keys recovered", state.changelog_topic, partition, len(items))
                recovered(partition)

    def _require_topics(self, state: StateTable, assignment: Assignment, numbers: Collection[int]) -> None:
        if state.require_topics is None:
            return
        source = assignment.topic_ids.get(state.source_topic, "")
        log = assignment.topic_ids.get(state.changelog_topic, "")
        for partition in sorted(state.held.intersection(numbers)):
            state.require_topics(partition, source, log)

    async def _claim(
        self, state: StateTable, assignment: Assignment, partitions: Collection[int]
    ) -> dict[int, int]:
        """The offsets to read up to, of those that the broker fences."""
        if state.claim is None:
            return {}
        order = sorted(partitions)
        still_mine = partial(self._kafka.holds, assignment)
        ends = await asyncio.gather(*(state.claim(partition, still_mine) for partition in order))
        return {partition: end for partition, end in zip(order, ends, strict=True) if end is not None}

    async def _find_starts(
        self, assignment: Assignment, sources: set[TP]
    ) -> tuple[dict[TP, int], dict[TP, int]] | None:
        """Where to read from, and what counts as committed: by the hook, else as committed, else from the earliest.
        None if the assignment has ended."""
        said = await self._kafka.committed(sources)
        counting = of_these_topics(said, assignment.topic_ids)
        for tp in said.keys() - counting.keys():
            logger.error(
                "%s[%d]: offset %d was committed for a topic of this name with another id, %s: this one is read "
                "from its beginning", tp.topic, tp.partition, said[tp][0], said[tp][1].topic_id,
            )  # fmt: skip
        committed = {tp: counting[tp][0] if tp in counting else None for tp in sources}
        hooked = await self._kafka.start_offsets(set(sources)) if sources else {}
        wanted = {tp: hooked.get(tp, committed[tp]) for tp in sources}
        reached = {tp: self._reach(tp) for tp in sources}
        bounds = await self._bounds({tp: max(wanted[tp] or 0, reached[tp] + 1) for tp in sources})
        if not self._kafka.holds(assignment):
            # What was committed since by the next owner is not a measure of the state that is here.
            return None
        for tp, offset in reached.items():
            if offset >= bounds[tp].end:
                raise TopicMadeAnew.by_end(tp, bounds[tp].end, offset)
        found = {tp: start_of(tp, wanted[tp], bounds[tp], reached[tp]) for tp in sources}
        starts = {tp: start.offset for tp, start in found.items()}
        before = {tp: note.lost for tp, (_, note) in counting.items()}
        assignment.lost |= {tp: before.get(tp, 0) + start.lost for tp, start in found.items()}
        for tp, done in committed.items():
            if done:
                # At the log's beginning the offset may stand for records that were deleted unread.
                self._check(tp, min(done, starts[tp]) if done > bounds[tp].begin else 1)
        base = {tp: bounds[tp].begin if (done := committed[tp]) is None else done for tp in sources}
        return starts, {tp: min(base[tp], starts[tp]) for tp in sources}

    def _check(self, tp: TP, done: int) -> None:
        for state in self._states:
            if state.source_topic == tp.topic and state.on_reading_begins:
                state.on_reading_begins(tp.partition, done)

    def _reach(self, tp: TP) -> int:
        tables = [state for state in self._states if state.source_topic == tp.topic]
        return max((state.reach(tp.partition) for state in tables if state.reach), default=-1)

    async def _bounds(self, wanted: Mapping[TP, int]) -> Mapping[TP, LogBounds]:
        for _ in range(_END_PATIENCE):
            bounds = await self._kafka.log_bounds(wanted)
            if all(offset <= bounds[tp].end for tp, offset in wanted.items()):
                break
            await asyncio.sleep(_END_RETRY_S)
        return bounds
