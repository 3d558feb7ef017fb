"""A device's horizon, to the millisecond and to the event; and which rows a step owes."""

from __future__ import annotations

import pytest

from pipeline.domain.event import Event, Kind, make_event
from pipeline.domain.policy import Policy
from pipeline.state.codec.session_codec import checkpoint
from pipeline.state.device import Counts, apply, fall_silent
from pipeline.state.device_state import DeviceState, Report

AT_MS = 1_800_000_000_000
HORIZON_MS = 100_000
POLICY = Policy(restate_horizon_ms=HORIZON_MS, restate_events=5, idle_timeout_ms=60_000)
WIDE = Policy(restate_horizon_ms=HORIZON_MS)


def event(id: str, at_ms: int, kind: Kind = Kind.ACTIVITY) -> Event:
    return make_event(AT_MS + at_ms, kind, id)


class Device:
    """A device that gets records of one event each, all at one time, and what became of them."""

    def __init__(self, policy: Policy, *events: tuple[str, int]) -> None:
        self.policy, self.state, self.counts = policy, DeviceState(), Counts()
        for id, at_ms in events:
            self.get(event(id, at_ms))

    def get(self, *events: Event, arrived_ms: int = 0) -> None:
        offset = self.state.applied_offset + 1
        assert apply(self.state, [(offset, AT_MS + arrived_ms, list(events))], self.policy, self.counts)

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.state.tail]

    @property
    def fates(self) -> tuple[int, int, int, int]:
        """Accepted, late of those, duplicates, too late."""
        counts = self.counts
        return counts.accepted, counts.late, counts.duplicates, counts.unrestated

    @property
    def said(self) -> list[tuple[str, Report, bool]]:
        """The rows of the last step."""
        return [(each.session.first_event_id, each.report, each.is_final) for each in self.state.outbox]


def test_a_late_event_is_taken_up_to_the_horizon() -> None:
    device = Device(WIDE, ("a", 0), ("z", HORIZON_MS + 10))
    device.get(event("just", 10))
    assert device.fates == (3, 1, 0, 0)
    device.get(event("beyond", 9))
    assert device.fates == (3, 1, 0, 1)
    assert "beyond" not in device.ids


def test_what_the_tail_forgets_by_age_is_older_than_the_horizon() -> None:
    device = Device(WIDE, ("a", 0), ("b", 1), ("c", HORIZON_MS))
    assert device.ids == ["a", "b", "c"], "as old as the horizon is not older"
    assert device.state.floor is None
    device.get(event("d", HORIZON_MS + 1))
    assert device.ids == ["b", "c", "d"]
    assert device.state.floor == event("a", 0)[:4]
    held = checkpoint(device.state).open
    assert held is not None and (held.first_event_id, held.event_count) == ("a", 1)


def test_a_late_event_can_be_what_is_forgotten_first() -> None:
    """It makes one too many: the oldest goes, whichever it is."""
    device = Device(POLICY, *((f"e{n}", n * 10) for n in range(1, 5)))
    device.get(event("first", 5))
    assert device.ids == ["first", "e1", "e2", "e3", "e4"]
    device.get(event("late", 15))
    assert device.ids == ["e1", "late", "e2", "e3", "e4"]
    assert device.fates == (6, 2, 0, 0)


@pytest.mark.parametrize(("at_ms", "taken"), [(45, True), (15, True), (9, False), (5, False)])
def test_a_late_event_is_taken_with_fewer_than_so_many_after_it(at_ms: int, taken: bool) -> None:
    device = Device(POLICY, *((f"e{n}", n * 10) for n in range(6)))
    assert device.ids == ["e1", "e2", "e3", "e4", "e5"]
    device.get(event("late", at_ms))
    assert device.fates == ((7, 1, 0, 0) if taken else (6, 0, 0, 1))
    assert ("late" in device.ids) == taken


def test_what_is_not_after_the_floor_is_too_late_whatever_the_tail_holds() -> None:
    device = Device(POLICY, *((f"e{n}", n * 10) for n in range(6)))
    assert device.state.floor == event("e0", 0)[:4]
    # Of one time with the floor: the order of ids decides.
    device.get(event("e", 0))
    assert device.fates == (6, 0, 0, 1)
    wide = Device(POLICY, ("e0", 0), ("e1", HORIZON_MS + 1))
    assert wide.ids == ["e1"]
    wide.get(event("e", 0), event("f", 0))
    assert wide.fates == (2, 0, 0, 2)
    wide.get(event("g", 1))
    assert wide.fates == (3, 1, 0, 2)


def test_after_a_silence_of_the_horizon_all_is_final_and_only_later_events_count() -> None:
    device = Device(WIDE, ("a", 0), ("b", 10))
    device.get(event("c", 20), arrived_ms=HORIZON_MS - 1)
    assert device.ids == ["a", "b", "c"]
    device.get(event("d", 30), arrived_ms=2 * HORIZON_MS - 1)
    assert device.ids == ["d"]
    assert device.state.floor == event("c", 20)[:4]
    device.get(event("c2", 20), arrived_ms=2 * HORIZON_MS)
    assert device.fates == (5, 1, 0, 0), "after the floor, by its id"
    device.get(event("b2", 15), arrived_ms=2 * HORIZON_MS)
    assert device.fates == (5, 1, 0, 1)


def test_a_first_event_before_the_floor_is_too_late() -> None:
    """The tail is empty after a silence: then the floor alone says what is in order."""
    device = Device(WIDE, ("a", 0), ("b", 10))
    device.get(arrived_ms=HORIZON_MS)
    assert device.ids == [] and device.state.floor == event("b", 10)[:4]
    device.get(event("early", 9), event("a", 0), arrived_ms=HORIZON_MS)
    assert device.fates == (2, 0, 1, 1)
    device.get(event("c", 11), arrived_ms=HORIZON_MS)
    assert device.fates == (3, 0, 1, 1)
    assert device.state.head.open is not None and device.state.head.open.event_count == 3


def test_records_come_at_the_latest_time_of_them() -> None:
    device = Device(WIDE)
    device.get(event("a", 0), arrived_ms=50)
    device.get(event("b", 1), arrived_ms=20)
    assert device.state.arrived_ms == AT_MS + 50
    # Not even where it takes the long way.
    device.get(event("a", 0), arrived_ms=20)
    assert device.state.arrived_ms == AT_MS + 50


def silent(device: Device, now_ms: int, clock_ms: int) -> bool:
    return fall_silent(device.state, AT_MS + now_ms, AT_MS + clock_ms, device.policy)


def test_silence_is_said_once_and_finality_after_the_horizon() -> None:
    device = Device(WIDE, ("a", 0))
    idle_ms = WIDE.idle_timeout_ms
    assert not silent(device, idle_ms - 1, HORIZON_MS - 1)
    assert device.said == []
    assert silent(device, idle_ms, HORIZON_MS - 1)
    assert device.said == [("a", Report.SILENT, False)]
    assert not silent(device, idle_ms, HORIZON_MS - 1)
    assert silent(device, idle_ms, HORIZON_MS)
    assert device.said == [("a", Report.SILENT, True)]
    assert device.ids == []
    assert not silent(device, 10 * idle_ms, 10 * HORIZON_MS)


def test_an_open_session_is_written_again_after_a_while() -> None:
    device = Device(WIDE)
    device.get(event("a", 0))
    assert device.said == [("a", Report.OPEN, False)]
    device.get(event("b", 1), arrived_ms=29_999)
    assert device.said == []
    device.get(event("c", 2), arrived_ms=30_000)
    assert device.said == [("a", Report.OPEN, False)]
    device.get(event("d", 3), arrived_ms=59_999)
    assert device.said == []


def test_an_open_session_that_says_nothing_new_is_not_written_again() -> None:
    device = Device(WIDE)
    device.get(event("a", 0))
    device.get(event("a", 0), arrived_ms=40_000)
    assert device.said == []


def test_input_after_silence_opens_the_session_again() -> None:
    device = Device(WIDE, ("a", 0))
    assert silent(device, WIDE.idle_timeout_ms, 0)
    device.get(event("a", 0), arrived_ms=1)
    assert device.said == [], "a duplicate says nothing new"
    device.get(event("b", 5), arrived_ms=2)
    assert device.said == [("a", Report.OPEN, False)]


def test_rows_of_dissolved_sessions_are_taken_back() -> None:
    device = Device(WIDE)
    device.get(event("b", 10, Kind.BACKGROUND), event("z", 50_000))
    assert device.said == [("b", Report.CLOSED, False), ("z", Report.OPEN, False)]
    device.get(event("a", 0, Kind.FOREGROUND))
    assert device.said == [
        ("b", Report.DELETED, False),
        ("a", Report.CLOSED, False),
    ]
    gone = device.state.outbox[0].session
    assert gone.started_at_ms == AT_MS + 10
    assert set(device.state.written) == {"a", "z"}


def test_a_session_that_leaves_the_horizon_is_final() -> None:
    device = Device(WIDE)
    device.get(event("a", 0, Kind.FOREGROUND), event("b", 10, Kind.BACKGROUND))
    device.get(event("c", 20_000, Kind.FOREGROUND), event("d", 20_010, Kind.BACKGROUND))
    device.get(event("e", 40_000, Kind.FOREGROUND))
    assert set(device.state.written) == {"a", "c", "e"}
    # The next session has to be beyond it with its end as well for the first to be out of reach.
    device.get(event("f", 120_010))
    assert ("a", Report.CLOSED, True) not in device.said
    device.get(event("g", 120_011))
    assert ("a", Report.CLOSED, True) in device.said
    assert "a" not in device.state.written and "c" in device.state.written


def test_a_replay_changes_nothing() -> None:
    device = Device(WIDE, ("a", 0), ("b", 1))
    rows = device.said
    for records in ([(0, AT_MS, [event("a", 0)])], [(1, AT_MS, [event("x", 5)])], []):
        assert not apply(device.state, records, device.policy, device.counts)
    assert device.fates == (2, 0, 0, 0) and device.said == rows
    both = [(1, AT_MS, [event("x", 5)]), (2, AT_MS, [event("c", 6)])]
    assert apply(device.state, both, device.policy, device.counts)
    assert device.ids == ["a", "b", "c"]


def test_a_device_that_said_goodbye_is_not_silent() -> None:
    device = Device(WIDE)
    device.get(event("a", 0, Kind.FOREGROUND), event("b", 1, Kind.BACKGROUND))
    assert not silent(device, 10 * WIDE.idle_timeout_ms, HORIZON_MS - 1)
    assert device.said == []
    assert silent(device, 0, HORIZON_MS)
    assert device.said == [("a", Report.CLOSED, True)]


def test_a_session_that_begins_and_is_out_of_reach_in_one_step_has_one_row() -> None:
    device = Device(POLICY)
    kinds = (Kind.FOREGROUND, Kind.BACKGROUND)
    device.get(*(event(f"{n:02}", n * 10_000, kinds[n % 2]) for n in range(12)))
    # Five events are remembered: the checkpoint holds 06 open, since its end is remembered, and 04 before it.
    assert device.ids == ["07", "08", "09", "10", "11"]
    assert device.said == [
        ("00", Report.CLOSED, True), ("02", Report.CLOSED, True),
        ("04", Report.CLOSED, False), ("06", Report.CLOSED, False),
        ("08", Report.CLOSED, False), ("10", Report.CLOSED, False),
    ]  # fmt: skip
    assert set(device.state.written) == {"04", "06", "08", "10"}
    assert device.state.named == ("04", "06")


def test_rows_of_one_final_session_are_one_even_where_it_was_written_before() -> None:
    device = Device(POLICY)
    kinds = (Kind.FOREGROUND, Kind.BACKGROUND)
    sent = [event(f"{n:02}", n * 10_000, kinds[n % 2]) for n in range(12)]
    device.get(*sent[:2])
    assert device.said == [("00", Report.CLOSED, False)]
    device.get(*sent[2:])
    assert device.said[:2] == [("00", Report.CLOSED, True), ("02", Report.CLOSED, True)]
    assert len({id for id, _, _ in device.said}) == len(device.said) == 6


def test_after_a_silence_of_the_horizon_every_session_is_final() -> None:
    device = Device(WIDE)
    kinds = (Kind.FOREGROUND, Kind.BACKGROUND)
    device.get(*(event(f"{n}", n * 10_000, kinds[n % 2]) for n in range(7)))
    assert silent(device, HORIZON_MS, HORIZON_MS)
    assert device.said == [
        ("0", Report.CLOSED, True), ("2", Report.CLOSED, True), ("4", Report.CLOSED, True), ("6", Report.SILENT, True),
    ]  # fmt: skip
    assert set(device.state.written) == {"4", "6"}, "what the checkpoint holds may still go on"


def test_what_the_checkpoint_took_last_is_known_by_its_place() -> None:
    """Its id is forgotten, where no session is named by it; sent again it would count twice."""
    device = Device(WIDE, ("a", 0), ("b", 10))
    device.get(event("b", 10), arrived_ms=HORIZON_MS)
    assert device.ids == [] and device.fates == (2, 0, 0, 1)
    device.get(event("c", 30), arrived_ms=HORIZON_MS)
    device.get(event("b", 10), arrived_ms=HORIZON_MS)
    assert device.ids == ["c"] and device.fates == (3, 0, 0, 2)


def test_a_late_event_undoes_what_came_before_it_in_its_step() -> None:
    """Of what the fold had pushed out until then nothing is said, and nothing of it holds a row."""
    device = Device(WIDE)
    closed = event("b", 10, Kind.BACKGROUND)
    device.get(closed, event("c", 20_000, Kind.FOREGROUND), event("d", 20_010, Kind.BACKGROUND),
               event("e", 40_000, Kind.FOREGROUND), event("a", 0, Kind.FOREGROUND))  # fmt: skip
    assert device.said == [
        ("a", Report.CLOSED, False),
        ("c", Report.CLOSED, False),
        ("e", Report.OPEN, False),
    ]
    written = Device(WIDE)
    written.get(closed)
    written.get(event("c", 20_000, Kind.FOREGROUND), event("d", 20_010, Kind.BACKGROUND),
                event("e", 40_000, Kind.FOREGROUND), event("a", 0, Kind.FOREGROUND))  # fmt: skip
    assert written.said == [("b", Report.DELETED, False), *device.said]


def test_a_session_is_written_again_where_a_late_event_changes_only_what_it_is_stitched_to() -> None:
    device = Device(WIDE)
    device.get(event("b", 10, Kind.BACKGROUND))
    device.get(event("c", 20_000, Kind.FOREGROUND), event("d", 20_010, Kind.BACKGROUND))
    assert [each.session.stitched_first_event_id for each in device.state.outbox] == ["b"]
    device.get(event("a", 0, Kind.FOREGROUND))
    assert device.said == [
        ("b", Report.DELETED, False),
        ("a", Report.CLOSED, False),
        ("c", Report.CLOSED, False),
    ]
    assert [each.session.stitched_first_event_id for each in device.state.outbox[1:]] == ["a", "a"]


def test_what_is_final_is_said_again_only_where_it_changed() -> None:
    device = Device(WIDE)
    device.get(event("a", 0, Kind.FOREGROUND), event("b", 10, Kind.BACKGROUND))
    assert silent(device, 0, HORIZON_MS) and device.said == [("a", Report.CLOSED, True)]
    device.get(event("c", 20_000, Kind.FOREGROUND), arrived_ms=HORIZON_MS)
    assert device.said == [("c", Report.OPEN, False)]
    assert silent(device, 0, 2 * HORIZON_MS) and device.said == [("c", Report.SILENT, True)]
    # A trailing event of the one that is held as the one before.
    device.get(event("d", 20_010, Kind.BACKGROUND), event("e", 20_020, Kind.EXIT), arrived_ms=2 * HORIZON_MS)
    assert device.said == [("c", Report.CLOSED, False)]
    assert silent(device, 0, 3 * HORIZON_MS) and device.said == [("c", Report.CLOSED, True)]
    device.get(event("f", 20_030, Kind.EXIT), arrived_ms=3 * HORIZON_MS)
    assert device.said == [("c", Report.CLOSED, False)]
    device.get(
        event("g", 40_000, Kind.FOREGROUND), event("h", 40_010, Kind.BACKGROUND), arrived_ms=3 * HORIZON_MS
    )
    assert silent(device, 0, 4 * HORIZON_MS)
    assert device.said == [("c", Report.CLOSED, True), ("g", Report.CLOSED, True)]
    device.get(
        event("i", 60_000, Kind.FOREGROUND), event("j", 60_010, Kind.BACKGROUND), arrived_ms=4 * HORIZON_MS
    )
    assert device.said == [("i", Report.CLOSED, False)]
    assert silent(device, 0, 5 * HORIZON_MS)
    assert device.said == [("i", Report.CLOSED, True)], "of g nothing new is known"


def test_a_late_event_writes_the_sessions_that_it_changes_and_no_other() -> None:
    device = Device(WIDE)
    kinds = (Kind.FOREGROUND, Kind.BACKGROUND)
    device.get(*(event(f"{n}", n * 10_000, kinds[n % 2]) for n in range(8)))
    device.get(event("late", 65_000))
    assert device.said == [("6", Report.CLOSED, False)]
    device.get(event("later", 5_000))
    assert device.said == [("0", Report.CLOSED, False)]


def test_a_final_session_that_changes_and_leaves_in_one_step_is_said_again() -> None:
    device = Device(POLICY)
    kinds = (Kind.FOREGROUND, Kind.BACKGROUND)
    device.get(event("a", 0, Kind.FOREGROUND), event("b", 10, Kind.BACKGROUND))
    assert silent(device, 0, HORIZON_MS) and device.said == [("a", Report.CLOSED, True)]
    exit = event("c", 20, Kind.EXIT)
    later = [event(f"{n:02}", n * 10_000, kinds[n % 2]) for n in range(2, 14)]
    device.get(exit, *later, arrived_ms=HORIZON_MS)
    first = device.state.outbox[0]
    assert (device.said[0], first.session.event_count) == (("a", Report.CLOSED, True), 3)
    assert "a" not in device.state.written


def test_visits_of_the_step_that_a_silence_of_the_horizon_ends_are_final() -> None:
    """Nothing was written of them before; what is held is told as closed, and the others need no second row."""
    device = Device(WIDE)
    kinds = (Kind.FOREGROUND, Kind.BACKGROUND)
    visits = [event(f"{n}", n * 10_000, kinds[n % 2]) for n in range(6)]
    later = [(0, AT_MS, visits), (1, AT_MS + HORIZON_MS, [event("6", 60_000, Kind.FOREGROUND)])]
    assert apply(device.state, later, device.policy, device.counts)
    assert device.said == [
        ("0", Report.CLOSED, True), ("2", Report.CLOSED, True), ("4", Report.CLOSED, False), ("6", Report.OPEN, False),
    ]  # fmt: skip
    assert set(device.state.written) == {"4", "6"}
