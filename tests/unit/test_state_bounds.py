"""What a device may send is bounded in what it leaves behind: a state fits a record of the changelog."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.domain.event import Kind, make_event
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.formats.native.events import Arrival
from pipeline.state.codec import state_codec
from pipeline.state.device import MAX_TEXT_BYTES, Counts, apply
from pipeline.state.device_state import DeviceState
from pipeline.topics import MAX_MESSAGE_BYTES

START_MS = 1_800_000_000_000


def arrivals(count: int, user_chars: int) -> list[Arrival]:
    """Records of one event each, every one by a user of other properties."""
    return [
        (
            i,
            START_MS + i,
            [
                make_event(
                    START_MS + i * 1_000, Kind.ACTIVITY, f"e{i}", user=f'{{"personas":["{i:0{user_chars}}"]}}'
                )
            ],
        )
        for i in range(count)
    ]


def test_users_that_change_with_every_record_do_not_outgrow_the_changelog() -> None:
    state, counts = DeviceState(), Counts()
    for arrival in arrivals(200, 460_000):
        apply(state, [arrival], Policy(), counts)
        assert len(state_codec.encode(state)) < MAX_MESSAGE_BYTES / 2
    assert len(state.tail) == MAX_TEXT_BYTES // 460_000
    assert counts.accepted == 200


def test_the_cut_into_batches_does_not_matter_for_the_bound() -> None:
    sent = arrivals(40, 150_000)
    late = sent_last(sent.pop(35))
    one_by_one, at_once = DeviceState(), DeviceState()
    for arrival in [*sent, late]:
        apply(one_by_one, [arrival], Policy(), Counts())
    apply(at_once, [*sent, late], Policy(), Counts())
    assert [event.id for event in one_by_one.tail] == [event.id for event in at_once.tail]
    assert one_by_one.floor == at_once.floor
    assert one_by_one.head == at_once.head


def test_a_rebuild_hands_all_events_over_at_once_and_is_bound_all_the_same() -> None:
    events = [make_event(START_MS, Kind.ACTIVITY, "a")]
    events += [event for arrival in arrivals(40, 150_000) for event in arrival[2][:1]]
    state = DeviceState()
    apply(state, [(0, START_MS, events)], Policy(), Counts())
    assert len(state_codec.encode(state)) < MAX_MESSAGE_BYTES / 2
    assert len(state.tail) == MAX_TEXT_BYTES // 150_000


def test_a_text_that_events_share_is_weighed_once() -> None:
    user = f'{{"personas":["{0:0460000}"]}}'
    state = DeviceState()
    for i in range(50):
        apply(
            state,
            [(i, START_MS + i, [make_event(START_MS + i, Kind.ACTIVITY, f"e{i}", user=user)])],
            Policy(),
            Counts(),
        )
    assert len(state.tail) == 50


@pytest.mark.parametrize(("more", "kept"), [(0, 3), (1, 2)])
def test_texts_are_weighed_to_the_byte(more: int, kept: int) -> None:
    """Three users, the resource that they share, of two bytes, and a letter of two bytes."""
    sizes = (MAX_TEXT_BYTES - 2 - 1_000_000 + more, 600_000, 400_000)
    state = DeviceState()
    for i, size in enumerate(sizes):
        user = f'{{"personas":["ü{str(i) * (size - 19)}"]}}'
        apply(
            state,
            [(i, START_MS + i, [make_event(START_MS + i, Kind.ACTIVITY, f"e{i}", user=user)])],
            Policy(),
            Counts(),
        )
    assert len(state.tail) == kept


def test_in_order_it_is_still_the_fold() -> None:
    sent = arrivals(60, 100_000)
    state = DeviceState()
    apply(state, sent, Policy(), Counts())
    events = [event for arrival in sent for event in arrival[2]]
    (expected,) = sessions("app", "device", events, Policy(), quiet=False)
    assert state.head.open == expected


def sent_last(arrival: Arrival) -> Arrival:
    """The same record, as the last to come."""
    return (1_000, START_MS + 1_000, arrival[2])


def test_small_texts_are_bounded_by_their_number() -> None:
    policy = replace(Policy(), restate_events=100)
    state = DeviceState()
    apply(state, arrivals(500, 100), policy, Counts())
    assert len(state.tail) == 100


@pytest.mark.parametrize("later_ms", [8_000, 86_400_000])
def test_the_first_event_of_a_session_is_known_as_long_as_the_session_is_held(later_ms: int) -> None:
    """Sent again with another time, it would count twice, or beyond the horizon open a second session of its id."""
    policy = replace(Policy(), restate_events=2)
    sent = arrivals(6, 100)
    again = (6, START_MS + 6, [make_event(START_MS + later_ms, Kind.ACTIVITY, "e0")])
    # An event from which no session has its name is forgotten: so it is in one batch as in several.
    forgotten = (7, START_MS + 7, [make_event(START_MS + 5_000, Kind.ACTIVITY, "e1")])
    for batches in (
        [sent, [again, forgotten]],
        [[*sent, again, forgotten]],
        [[one] for one in [*sent, again, forgotten]],
    ):
        state, counts = DeviceState(), Counts()
        for batch in batches:
            apply(state, batch, policy, counts)
        assert (counts.accepted, counts.duplicates) == (7, 1)
        assert [session.first_event_id for session in (state.head.open, state.head.prev) if session] == ["e0"]


def test_so_it_is_after_a_silence_that_left_nothing_else_of_it() -> None:
    policy = Policy()
    later_ms = START_MS + policy.restate_horizon_ms
    times_and_ids = ((START_MS, "e0"), (later_ms, "e1"), (later_ms + 1, "e2"), (later_ms + 2, "e0"))
    state, counts = DeviceState(), Counts()
    apply(
        state,
        [(i, at, [make_event(at, Kind.ACTIVITY, id)]) for i, (at, id) in enumerate(times_and_ids)],
        policy,
        counts,
    )
    assert (counts.accepted, counts.duplicates) == (3, 1)
    assert [event.id for event in state.tail] == ["e1", "e2"]
