"""What a worker has of its consumer group's partitions, from the assignment to its end. Decides, and reaches nothing.

Knows neither Kafka nor Faust: the transport tells what happened (assigned, delivered, acknowledged, silent) and asks
what follows (may this still be written, how far may be committed, what is kept). So the simulation drives the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

from pipeline.topics import TP


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
        """The source partitions that are being read: those that were kept first, others as they are recovered."""
        self.committed: dict[TP, int] = {}
        self.topic_ids: dict[str, str] = {}
        """The ids of the topics when it began."""
        self.lost: dict[TP, int] = {}
        """Records that were deleted before the group read them, ever."""
        self.caught_up: frozenset[TP] = frozenset()
        """Those read up to the high watermark of their last fetch."""
        self._clean: frozenset[int] = frozenset()

    def close(self, in_hand: set[TP], *, lost: bool = False) -> None:
        """Ends it. `in_hand` are partitions whose chunk was not finished; `lost` if others may have had them since."""
        if not self.open:
            return
        self.open = False
        self.caught_up = frozenset()
        if not lost:
            unfinished = {tp.partition for tp in in_hand}
            # Where recovery did not get through, what lies here of a partition may be from long before.
            self._clean = (self.kept | {tp.partition for tp in self.sources}) - unfinished

    def succeed(self, previous: Assignment | None) -> None:
        """Finds what this worker kept: the next generation, the same member, and nothing half done."""
        if previous is None or previous.open:
            return
        if (previous.generation + 1, previous.member_id) == (self.generation, self.member_id):
            lost = {tp.partition for tp in previous.partitions ^ self.partitions}
            self.kept = previous._clean - lost

    @property
    def waiting(self) -> frozenset[int]:
        """Partition numbers that are not read yet, since their recovery is not through."""
        read = {tp.partition for tp in self.sources}
        return frozenset(tp.partition for tp in self.partitions) - read

    def begin_reading(self, starts: Mapping[TP, int], committed: Mapping[TP, int]) -> None:
        """Recovery of these partitions is through: from here on their records are delivered, from `starts` on."""
        self.sources |= {place: Progress(offset) for place, offset in starts.items()}
        self.committed |= committed

    def read_on_from(self, place: TP, begin: int, lost: int = 0) -> None:
        """What was to be read of a partition next is not in its log any more: it goes on where the log begins.

        Chunks of before count for nothing from here on: what they were made of cannot be read again.
        """
        self.sources[place] = Progress(begin)
        self.caught_up -= {place}
        self.committed[place] = min(self.committed.get(place, 0), begin)
        self.lost[place] = self.lost.get(place, 0) + lost

    def deliver(self, place: TP, next_offset: int) -> Delivered:
        """Notes that a chunk which ends before `next_offset` is on its way, the next one of its partition."""
        return self.sources[place].deliver(next_offset)

    def fetched(self, places: Collection[TP], at_end: frozenset[TP]) -> None:
        """Notes what a fetch asked for, and what of it is read to the end with nothing to be delivered."""
        self.caught_up = self.caught_up.difference(places) | at_end

    def has_caught_up(self, place: TP) -> bool:
        """Whether all that the last fetch knew of a partition is read, and acknowledged."""
        return place in self.caught_up and self.sources[place].idle

    def to_commit(self) -> dict[TP, int]:
        """What is done and not committed yet."""
        return {
            tp: progress.next_offset
            for tp, progress in self.sources.items()
            if progress.next_offset > self.committed.get(tp, -1)
        }


class Membership:
    """A worker's assignments, one after the other, and the chunks of the current one that it has in hand.

    A chunk is whatever has `tp`, `assignment` and `delivered`.
    """

    def __init__(self) -> None:
        self.in_force: Assignment | None = None
        """The latest one, open or not."""
        self.in_hand: set[Any] = set()
        """Chunks that were delivered and not acknowledged, since the last assignment ended."""

    def assign(self, generation: int, member_id: str, partitions: frozenset[TP]) -> Assignment:
        """A new generation of the group begins. An assignment that nobody ended until now was lost."""
        previous = self.in_force
        if previous:
            previous.close(set(), lost=True)
        self.in_force = Assignment(generation, member_id, partitions)
        self.in_force.succeed(previous)
        return self.in_force

    def holds(self, assignment: Assignment | None) -> bool:
        """Whether an assignment is in force and open. False for good once it was False."""
        return assignment is not None and assignment.open and assignment is self.in_force

    def end(self, *, lost: bool = False) -> None:
        """The assignment in force is over: what is in hand is not acknowledged any more."""
        assignment = self.in_force
        if assignment is not None:
            # A stream still hands out what was queued when an assignment ended; its handler will drop it.
            mine = {chunk.tp for chunk in self.in_hand if chunk.assignment is assignment}
            assignment.close(mine, lost=lost)
        self.in_hand.clear()

    def end_if_silent(self, silent_s: float, session_timeout_s: float) -> bool:
        """Whether the assignment in force ended here, since no heartbeat was answered for longer than the timeout."""
        if self.in_force is None or not self.in_force.open or silent_s <= session_timeout_s:
            return False
        self.end(lost=True)
        return True

    def acknowledge(self, chunk: Any) -> bool:
        """Marks a chunk as done; without effect, and False, when its assignment has ended."""
        self.in_hand.discard(chunk)
        if not self.holds(chunk.assignment):
            return False
        chunk.assignment.sources[chunk.tp].acknowledge(chunk.delivered)
        return True

    def to_commit(self) -> dict[TP, int]:
        """Of each partition of the assignment in force the offset to be committed; empty if it has ended."""
        return self.in_force.to_commit() if self.in_force is not None and self.in_force.open else {}
