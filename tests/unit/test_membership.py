"""The life of an assignment: who may write, what an acknowledgement counts for, what is kept, how far is committed."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.streaming.assignment import Assignment, Delivered, Membership
from pipeline.topics import TP

A, B = TP("source", 0), TP("source", 1)


@dataclass(frozen=True, eq=False)
class Chunk:
    tp: TP
    assignment: Assignment
    delivered: Delivered


def joined(membership: Membership, generation: int = 1, *, begins: int = 10) -> Assignment:
    assignment = membership.assign(generation, "me", frozenset((A, B)))
    assignment.begin_reading({A: begins, B: begins}, {A: begins, B: begins})
    return assignment


def deliver(membership: Membership, place: TP, next_offset: int) -> Chunk:
    assignment = membership.in_force
    assert assignment is not None
    chunk = Chunk(place, assignment, assignment.deliver(place, next_offset))
    membership.in_hand.add(chunk)
    return chunk


def test_what_is_acknowledged_without_a_gap_is_to_be_committed() -> None:
    membership = Membership()
    joined(membership)
    first, second = deliver(membership, A, 20), deliver(membership, A, 30)
    assert membership.acknowledge(second)
    assert membership.to_commit() == {}
    assert membership.acknowledge(first)
    assert membership.to_commit() == {A: 30}
    assert not membership.in_hand


def test_an_acknowledgement_for_an_ended_assignment_counts_for_nothing() -> None:
    membership = Membership()
    before = joined(membership)
    late = deliver(membership, A, 20)
    membership.end()
    assert not membership.acknowledge(late)
    assert before.sources[A].next_offset == 10
    assert membership.to_commit() == {}
    after = joined(membership, 2)
    assert not membership.acknowledge(late)
    assert (after.sources[A].next_offset, membership.to_commit()) == (10, {})


def test_a_superseded_assignment_is_held_by_nobody() -> None:
    membership = Membership()
    before = joined(membership)
    assert membership.holds(before)
    after = joined(membership, 2)
    assert not membership.holds(before) and membership.holds(after) and not membership.holds(None)
    assert not before.open, "whoever still recovers for it stops"
    assert after.kept == frozenset(), (
        "nobody ended the one before in order: others may have had its partitions"
    )


def test_partitions_with_nothing_in_hand_are_kept_through_a_rebalance() -> None:
    membership = Membership()
    joined(membership)
    deliver(membership, A, 20)
    membership.end()
    assert joined(membership, 2).kept == {B.partition}


def test_a_partition_whose_recovery_was_cut_short_is_not_kept() -> None:
    """What lay here of it was from before others had it, and was taken for its state."""
    membership = Membership()
    joined(membership)
    membership.end(lost=True)
    membership.assign(2, "me", frozenset((A, B)))
    membership.end()
    assert joined(membership, 3).kept == frozenset()


def test_what_was_kept_stays_so_where_a_recovery_is_cut_short() -> None:
    membership = Membership()
    joined(membership)
    membership.end()
    membership.assign(2, "me", frozenset((A, B)))
    membership.end()
    assert joined(membership, 3).kept == {A.partition, B.partition}


def test_what_was_recovered_before_a_recovery_was_cut_short_is_kept() -> None:
    """It is read already, while the others are still recovered."""
    membership = Membership()
    first = membership.assign(1, "me", frozenset((A, B)))
    assert first.waiting == {A.partition, B.partition}
    first.begin_reading({A: 10}, {A: 10})
    chunk = deliver(membership, A, 20)
    assert first.waiting == {B.partition}
    first.begin_reading({B: 5}, {B: 5})
    assert first.waiting == frozenset() and first.committed == {A: 10, B: 5}
    assert membership.acknowledge(chunk) and membership.to_commit() == {A: 20}
    membership.end()
    second = membership.assign(2, "me", frozenset((A, B)))
    assert second.kept == {A.partition, B.partition}
    second.begin_reading({A: 20}, {A: 20})
    membership.end()
    assert joined(membership, 3).kept == {A.partition, B.partition}, "of B nothing was forgotten meanwhile"
    membership.end(lost=True)
    fourth = membership.assign(4, "me", frozenset((A, B)))
    fourth.begin_reading({A: 20}, {A: 20})
    membership.end()
    assert joined(membership, 5).kept == {A.partition}


def test_silence_longer_than_the_session_timeout_ends_it_once() -> None:
    membership = Membership()
    assert not membership.end_if_silent(60.0, 6.0), "there is nothing to end"
    assignment = joined(membership)
    assert not membership.end_if_silent(6.0, 6.0)
    assert membership.holds(assignment)
    assert membership.end_if_silent(6.1, 6.0)
    assert not membership.holds(assignment)
    assert not membership.end_if_silent(6.2, 6.0)
    assert joined(membership, 2).kept == frozenset()


def test_what_was_deleted_unread_is_passed_over() -> None:
    membership = Membership()
    assignment = joined(membership)
    chunk = deliver(membership, A, 20)
    assignment.read_on_from(A, 500)
    assert membership.to_commit() == {A: 500}
    assert membership.acknowledge(chunk)
    assert membership.to_commit() == {A: 500}


def test_what_was_deleted_unread_is_counted_with_what_was_so_before() -> None:
    assignment = joined(Membership())
    for begin, lost, in_all in ((500, 490, 490), (500, 0, 490), (550, 50, 540)):
        if lost:
            assignment.read_on_from(A, begin, lost)
        else:
            assignment.read_on_from(A, begin)
        assert assignment.lost == {A: in_all}


def test_where_a_log_begins_before_what_was_committed_it_is_committed_from_there() -> None:
    membership = Membership()
    assignment = joined(membership)
    assignment.read_on_from(A, 5)
    assert membership.to_commit() == {}
    membership.acknowledge(deliver(membership, A, 8))
    assert membership.to_commit() == {A: 8}
    never = membership.assign(2, "me", frozenset((A, B)))
    never.begin_reading({A: 0}, {})
    never.read_on_from(A, 1)
    assert membership.to_commit() == {A: 1}


def test_caught_up_is_what_is_read_to_its_end_and_done() -> None:
    membership = Membership()
    assignment = joined(membership)
    assert not assignment.has_caught_up(A)
    chunk = deliver(membership, A, 20)
    assignment.caught_up = frozenset((A,))
    assert not assignment.has_caught_up(A)
    membership.acknowledge(chunk)
    assert assignment.has_caught_up(A)
    assert not assignment.has_caught_up(B)
    membership.end()
    assert not assignment.has_caught_up(A)
