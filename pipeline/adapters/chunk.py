"""A chunk: the records of one partition that an agent gets as one event, and how far a partition is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from faust.types import TP
from faust.types.tuples import ConsumerMessage


class Delivered:
    """One chunk on its way: delivered, not acknowledged yet."""

    __slots__ = ("done", "next_offset")

    def __init__(self, next_offset: int) -> None:
        self.next_offset = next_offset
        self.done = False


class Progress:
    """How far one partition is done in one assignment: every offset below `next_offset` is acknowledged.

    Counts by chunks, not by offsets: a compacted log has holes, which belong to the chunk after them.
    """

    __slots__ = ("_on_their_way", "next_offset")

    def __init__(self, start_offset: int) -> None:
        self.next_offset = start_offset
        self._on_their_way: deque[Delivered] = deque()

    @property
    def idle(self) -> bool:
        """Nothing is on its way."""
        return not self._on_their_way

    def deliver(self, next_offset: int) -> Delivered:
        """Notes a chunk that ends before `next_offset`, the next one of the partition."""
        delivered = Delivered(next_offset)
        self._on_their_way.append(delivered)
        return delivered

    def acknowledge(self, delivered: Delivered) -> None:
        """Notes that a chunk is done. `next_offset` moves past it once all before it are done too."""
        delivered.done = True
        while self._on_their_way and self._on_their_way[0].done:
            self.next_offset = self._on_their_way.popleft().next_offset


class Assignment:
    """The partitions that one generation of the consumer group gave this worker.

    Open from the assignment until the worker loses it, by a rebalance or by falling silent; it never opens again.
    """

    def __init__(self, generation: int, member_id: str, partitions: frozenset[TP]) -> None:
        self.generation = generation
        self.member_id = member_id
        self.partitions = partitions
        self.open = True
        self.kept: frozenset[int] = frozenset()
        """Partition numbers that this worker held without a break, all it had in hand done."""
        self.sources: dict[TP, Progress] = {}
        """The source partitions that are being read; empty before recovery is through."""
        self.committed: dict[TP, int] = {}
        self.caught_up: frozenset[TP] = frozenset()
        """Those read up to the high watermark of the last fetch."""
        self._clean: frozenset[int] = frozenset()

    def close(self, in_hand: set[TP], *, lost: bool = False) -> None:
        """Ends it. `in_hand` are partitions whose chunk was not finished; `lost` if others may have had them since."""
        if not self.open:
            return
        self.open = False
        self.caught_up = frozenset()
        if not lost:
            unfinished = {tp.partition for tp in in_hand}
            self._clean = frozenset(tp.partition for tp in self.partitions) - unfinished

    def succeed(self, previous: Assignment | None) -> None:
        """Finds what this worker kept: the next generation, the same member, and nothing half done."""
        if previous is None or previous.open:
            return
        if (previous.generation + 1, previous.member_id) == (self.generation, self.member_id):
            lost = {tp.partition for tp in previous.partitions ^ self.partitions}
            self.kept = previous._clean - lost

    def to_commit(self) -> dict[TP, int]:
        """What is done and not committed yet."""
        return {
            tp: progress.next_offset
            for tp, progress in self.sources.items()
            if progress.next_offset > self.committed.get(tp, -1)
        }


class Chunk(ConsumerMessage):  # type: ignore[misc]
    """The message of an event that carries a list of records as aiokafka unpacks them, in order, of one partition."""

    def __init__(self, tp: TP, records: Sequence[Any], assignment: Assignment, delivered: Delivered) -> None:
        last = records[-1]
        super().__init__(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000, last.timestamp_type,
            None, None, records, None, 0, 0, tp, generation_id=assignment.generation,
        )  # fmt: skip
        self.first_offset: int = records[0].offset
        self.assignment = assignment
        self.delivered = delivered


def cut(records: Sequence[Any], max_records: int, max_bytes: int) -> Iterator[Sequence[Any]]:
    """Cuts a fetched list into chunks of at most `max_records` and, unless one record alone is larger, `max_bytes`."""
    if (
        len(records) <= max_records
        and sum([len(r.key or b"") + len(r.value or b"") for r in records]) <= max_bytes
    ):
        if records:
            yield records
        return
    first = size = 0
    for i, record in enumerate(records):
        length = len(record.key or b"") + len(record.value or b"")
        if i > first and (i - first >= max_records or size + length > max_bytes):
            yield records[first:i]
            first, size = i, 0
        size += length
    if first < len(records):
        yield records[first:]
