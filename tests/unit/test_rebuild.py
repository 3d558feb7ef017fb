"""A device computed again from its stored events: their order, the time of arrival, and what its rows say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.domain.event import Kind, make_event
from pipeline.domain.policy import Policy
from pipeline.state.codec import state_codec
from pipeline.state.rebuild import Rebuilt, rebuild_device
from pipeline.storage import stored_event
from pipeline.storage.event_copies import rows_of_stored
from pipeline.storage.stored_event import StoredDevice, StoredRecord

AT_MS = 1_800_000_000_000
POLICY = Policy()
RECORDS = [
    # The visit that came last is the first that was, and the record before it arrived later.
    StoredRecord(4, AT_MS + 90_000, [make_event(AT_MS + 60_000, Kind.FOREGROUND, "c")]),
    StoredRecord(
        7,
        AT_MS + 80_000,
        [make_event(AT_MS + 10, Kind.BACKGROUND, "b"), make_event(AT_MS, Kind.FOREGROUND, "a")],
    ),
]


def rebuilt(after_ms: int) -> Rebuilt:
    """So long after the latest record arrived."""
    device = StoredDevice("app", "d", {3: 7}, RECORDS)
    return rebuild_device(device, POLICY, AT_MS + 90_000 + after_ms, 3)


def said(found: Rebuilt) -> list[tuple[str, str, int, int]]:
    """Status, why it ended, events and revision of each row."""
    rows: list[dict[str, Any]] = [json.loads(row) for _, row in found.rows]
    return [(row["status"], row["end_reason"], row["event_count"], row["revision"]) for row in rows]


VISITS = [("closed", "background", 2, 14), ("open", "", 1, 14)]


@pytest.mark.parametrize("after_ms", [0, POLICY.idle_timeout_ms - 1])
def test_events_count_in_their_own_order_and_a_device_is_not_silent_before_its_time(after_ms: int) -> None:
    found = rebuilt(after_ms)
    assert said(found) == VISITS
    assert found.state.silence_due


@pytest.mark.parametrize("after_ms", [POLICY.idle_timeout_ms, 2 * POLICY.restate_horizon_ms])
def test_silence_has_the_revision_after_that_of_the_input_and_makes_nothing_final(after_ms: int) -> None:
    found = rebuilt(after_ms)
    assert said(found) == [*VISITS, ("closed", "inactivity", 1, 15)]
    assert not any(json.loads(row)["is_final"] for _, row in found.rows)
    assert not found.state.silence_due
    assert found.state.has_tail


def test_each_row_is_known_by_its_session_and_the_last_one_of_a_session_counts() -> None:
    found = rebuilt(POLICY.idle_timeout_ms)
    rows: list[dict[str, Any]] = [json.loads(row) for _, row in found.rows]
    assert found.session_ids == [row["session_id"] for row in rows]
    assert {session: facts["end_reason"] for session, facts in found.facts.items()} == {
        found.session_ids[0]: "background",
        found.session_ids[2]: "inactivity",
    }


def test_nothing_is_owed_to_who_goes_on_from_there() -> None:
    """The rows of a rebuild are stored before its state is written."""
    for after_ms in (0, POLICY.idle_timeout_ms):
        state = rebuilt(after_ms).state
        assert (state.outbox, state.applied_offset, state.arrived_ms) == ([], 7, AT_MS + 90_000)


def test_nothing_is_too_late_for_a_rebuild_and_the_offset_is_that_of_the_last_record() -> None:
    """Days before what came first: a worker would not restate it."""
    days = POLICY.restate_horizon_ms * 3
    records = [
        StoredRecord(1, AT_MS, [make_event(AT_MS, Kind.FOREGROUND, "c")]),
        StoredRecord(2, AT_MS, [make_event(AT_MS - days + 10, Kind.BACKGROUND, "b")]),
        StoredRecord(3, AT_MS, [make_event(AT_MS - days, Kind.FOREGROUND, "a")]),
    ]
    found = rebuild_device(StoredDevice("app", "d", {3: 3}, records), POLICY, AT_MS, 3)
    assert said(found) == [("closed", "background", 2, 6), ("open", "", 1, 6)]


@pytest.mark.parametrize(("partition", "applied", "revision"), [(3, 7, 14), (5, 40, 80), (6, -1, 0)])
def test_a_device_that_was_split_over_partitions_goes_on_by_the_offsets_of_its_own(
    partition: int, applied: int, revision: int
) -> None:
    """By a higher one of another partition, what comes in its own would be taken for a replay, and its rows for old."""
    found = rebuild_device(
        StoredDevice("app", "d", {3: 7, 5: 40}, RECORDS), POLICY, AT_MS + 90_000, partition
    )
    assert found.state.applied_offset == applied
    assert {row[3] for row in said(found)} == {revision}
    assert {json.loads(row)["partition"] for _, row in found.rows} == {partition}
    assert all(json.loads(row)["offset"] >= 0 for _, row in found.rows)
    assert state_codec.decode(state_codec.encode(found.state)).applied_offset == applied


def test_each_partition_that_a_device_is_stored_from_is_known_with_its_end() -> None:
    rows = [(0, 4, "a"), (2, 4, "b"), (0, 5, "c"), (2, 9, "d")]
    lines = [
        json.dumps(
            [
                "app",
                "d",
                number,
                offset,
                AT_MS,
                AT_MS,
                "activity",
                0,
                id_,
                "",
                "",
                0,
                "{}",
                "",
                "",
                AT_MS,
                0,
                "2026-01-05",
                90,
            ]
        ).encode()
        for number, offset, id_ in rows
    ]
    [device] = stored_event.devices(lines)
    assert device.ends == {0: 5, 2: 9}
    assert [event.id for record in device.records for event in record.events] == ["a", "b", "c", "d"]


def test_of_copies_under_one_id_the_one_that_came_first_counts_and_the_others_are_named() -> None:
    hour_ms = 3_600_000
    rows = [
        (3, 0, "a", 0, 0),
        (3, 1, "a", 5, 5),
        (4, 0, "b", 2, hour_ms),
        (9, 7, "a", -9, -9),
        (9, 8, "b", 2, 2),
    ]
    lines = [
        json.dumps(
            ["app", "d", 0, offset, AT_MS, AT_MS + at_ms, "activity", 0, id_, "", "", 0, "{}", "", "",
             AT_MS + raw_ms, index, f"2026-01-0{offset}", offset]
        ).encode()
        for offset, index, id_, at_ms, raw_ms in rows
    ]  # fmt: skip
    [device] = stored_event.devices(lines)
    kept = [(record.offset, [event.id for event in record.events]) for record in device.records]
    assert (kept, device.ends) == ([(3, ["a"]), (4, ["b"])], {0: 9})
    assert device.corrected_ms == AT_MS + 2
    found = rebuild_device(device, POLICY, AT_MS, 0)
    assert [facts["event_count"] for facts in found.facts.values()] == [2]
    assert (found.state.applied_offset, found.state.corrected_ms) == (9, AT_MS + 2)
    back = [json.loads(row) for row in rows_of_stored("app", "d", device.copies)]
    assert [(row["event_id"], row["offset"], row["event_index"], row["raw_time"] * 1_000) for row in back] == [
        ("a", 3, 1, AT_MS + 5), ("a", 9, 7, AT_MS - 9), ("b", 9, 8, AT_MS + 2),
    ]  # fmt: skip
    assert [(row["stored_on"], row["retention_days"]) for row in back] == [
        ("2026-01-03", 3), ("2026-01-09", 9), ("2026-01-09", 9),
    ]  # fmt: skip
    assert {(row["app_id"], row["device_id"]) for row in back} == {("app", "d")}
