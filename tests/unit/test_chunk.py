"""How far a partition is done, what a worker keeps through a rebalance, and where chunks are cut."""

from __future__ import annotations

from typing import NamedTuple

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.streaming.assignment import Assignment, Progress
from pipeline.streaming.chunk import Chunk, cut


class Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None


def text(size: int) -> bytes | None:
    return None if size < 0 else bytes(size)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
    st.integers(0, 20),
)
def test_progress_never_passes_a_chunk_that_is_not_acknowledged(
    sizes: list[int], random: object, done: int
) -> None:
    progress = Progress(100)
    ends = [100 + sum(sizes[: i + 1]) for i in range(len(sizes))]
    delivered = [progress.deliver(end) for end in ends]
    order = list(range(len(sizes)))
    random.shuffle(order)  # type: ignore[attr-defined]
    acknowledged = set(order[:done])
    for i in order[:done]:
        progress.acknowledge(delivered[i])
    first_open = next((i for i in range(len(sizes)) if i not in acknowledged), len(sizes))
    assert progress.next_offset == ([100, *ends])[first_open]
    assert progress.idle == (first_open == len(sizes))


@given(
    st.lists(st.tuples(st.integers(-1, 30), st.integers(-1, 300)), max_size=40),
    st.integers(1, 10),
    st.integers(1, 500),
)
def test_chunks_are_all_records_in_order_within_the_bounds(
    sizes: list[tuple[int, int]], max_records: int, max_bytes: int
) -> None:
    records = [Record(offset, text(key), text(value)) for offset, (key, value) in enumerate(sizes)]
    chunks = list(cut(records, max_records, max_bytes))
    assert [record for chunk in chunks for record in chunk] == records
    for chunk in chunks:
        assert 1 <= len(chunk) <= max_records
        total = sum(len(r.key or b"") + len(r.value or b"") for r in chunk)
        assert total <= max_bytes or len(chunk) == 1


def partitions(*numbers: int) -> frozenset[TP]:
    return frozenset(TP(topic, number) for topic in ("source", "changelog") for number in numbers)


def kept(before: Assignment, generation: int, member_id: str, held: frozenset[TP]) -> frozenset[int]:
    after = Assignment(generation, member_id, held)
    after.succeed(before)
    return after.kept


def test_a_worker_keeps_what_it_held_without_a_break_and_finished() -> None:
    before = Assignment(4, "me", partitions(0, 1, 2))
    before.begin_reading({TP("source", number): 0 for number in range(3)}, {})
    assert kept(before, 5, "me", partitions(0, 1)) == frozenset(), (
        "an assignment that never ended keeps nothing"
    )
    before.close({TP("source", 1)})
    assert kept(before, 5, "me", partitions(0, 1, 3)) == {0}
    assert kept(before, 6, "me", partitions(0, 1)) == frozenset(), (
        "there was a generation without this worker"
    )
    assert kept(before, 5, "another", partitions(0, 1)) == frozenset(), "the group had given this worker up"


def test_what_is_lost_is_not_kept_even_if_finished() -> None:
    before = Assignment(4, "me", partitions(0))
    before.begin_reading({TP("source", 0): 0}, {})
    before.close(set(), lost=True)
    before.close(set())
    assert kept(before, 5, "me", partitions(0)) == frozenset()


def test_only_what_moved_on_is_committed() -> None:
    assignment = Assignment(1, "me", partitions(0, 1))
    assignment.sources = {TP("source", 0): Progress(10), TP("source", 1): Progress(0)}
    assignment.committed = {TP("source", 0): 10, TP("source", 1): 0}
    assert assignment.to_commit() == {}
    progress = assignment.sources[TP("source", 1)]
    progress.acknowledge(progress.deliver(7))
    assert assignment.to_commit() == {TP("source", 1): 7}


def sizes_of(records: list[Record], max_records: int, max_bytes: int) -> list[int]:
    return [len(chunk) for chunk in cut(records, max_records, max_bytes)]


def test_where_chunks_are_cut() -> None:
    seven = [Record(offset, b"kk", b"vv") for offset in range(7)]
    assert sizes_of(seven, 7, 28) == [7]
    assert sizes_of(seven, 7, 27) == [6, 1]
    assert sizes_of(seven, 2, 1_000) == [2, 2, 2, 1]
    assert sizes_of(seven, 100, 8) == [2, 2, 2, 1]
    assert sizes_of(seven, 100, 7) == [1] * 7
    assert sizes_of([], 2, 8) == []
    mixed = [Record(0, None, b"vvv"), Record(1, b"kkk", None), Record(2, None, None), Record(3, b"k", b"v")]
    assert sizes_of(mixed, 4, 8) == [4]
    assert sizes_of(mixed, 4, 6) == [3, 1]


def test_a_chunk_says_where_it_begins_and_ends() -> None:
    tp, assignment = TP("source", 3), Assignment(5, "me", partitions(3))
    records = [Timed(7, 1_500), Timed(9, 2_500)]
    chunk = Chunk(tp, records, assignment, Progress(0).deliver(10))
    assert (chunk.first_offset, chunk.offset, chunk.timestamp, chunk.generation_id) == (7, 9, 2.5, 5)
    assert (chunk.tp, chunk.topic, chunk.partition, chunk.value) == (tp, "source", 3, records)


class Timed(NamedTuple):
    offset: int
    timestamp: int
    timestamp_type: int = 1


def test_the_first_assignment_keeps_nothing_and_commits_what_was_never_committed() -> None:
    assignment = Assignment(1, "me", partitions(0))
    assignment.succeed(None)
    assert assignment.kept == frozenset()
    assignment.sources = {TP("source", 0): Progress(0)}
    assert assignment.to_commit() == {TP("source", 0): 0}
