"""How far a partition is done, what a worker keeps through a rebalance, and where chunks are cut."""

from __future__ import annotations

from typing import NamedTuple

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.assignment import Assignment, Progress
from pipeline.adapters.chunk import cut


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
