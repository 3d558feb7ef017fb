"""The main job on recorded traffic, as its users run it: raw bodies in, sessions out, the same in any order."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.event import Event
from pipeline.domain.policy import Policy
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.expected_rows import (
    SESSIONS_SQL,
    Device,
    Row,
    assert_same_rows,
    session_rows,
    stitched_rows,
    version_rows,
)
from tests.support.oracle import in_order, oracle_sessions
from tests.support.recorded import bodies, events_by_device, raw_identities, recorded_files
from tests.support.stack import Stack, logs_if_failed, running_stack, unavailable

SESSION_KEY = ("app_id", "device_id", "session_id")
ALL_BUT_PROVENANCE = (
    "SELECT * EXCEPT (revision, offset, arrived_at) FROM sessions ORDER BY app_id, device_id, started_at"
)


@dataclass(frozen=True)
class Recorded:
    """The recorded traffic, and what it comes to."""

    files: list[Path]
    lines: list[bytes]
    events: dict[Device, list[Event]]
    sessions: list[Row]

    def fold(self, device: Device) -> list[dict[str, Any]]:
        """The oracle's sessions of a device, each with its `event_ids`."""
        return oracle_sessions(*device, self.events[device], Policy())


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    files = recorded_files()
    if not files:
        unavailable("recorded traffic not found beside the repository")
    lines = bodies(files)
    events = events_by_device(lines)
    return Recorded(files, lines, events, session_rows(events, Policy()))


@pytest.fixture(scope="module")
def stack(
    recorded: Recorded, clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """One worker a role; the recorded files were sent once and all is quiet. `test_up` has the embedded broker."""
    folder = tmp_path_factory.mktemp("main-job")
    with running_stack("kafka", clickhouse, folder, idle_timeout="2s") as running:
        running.start_workers("router", "sessionizer", "sink")
        running.run("send", "--format", "measure", *map(str, recorded.files))
        running.wait_idle()
        yield running


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest) -> Iterator[None]:
    if "stack" not in request.fixturenames:
        yield
        return
    with logs_if_failed(request, request.getfixturevalue("stack")):
        yield


def assert_each_event_once(stack: Stack, recorded: Recorded) -> None:
    stored = stack.query("SELECT app_id, device_id, event_id FROM events")
    assert sorted(tuple(row.values()) for row in stored) == sorted(raw_identities(recorded.lines))


def test_every_recorded_event_is_stored_once(stack: Stack, recorded: Recorded) -> None:
    assert_each_event_once(stack, recorded)
    assert stack.value("SELECT count() FROM dead_letters") == 0


def test_sessions_are_the_fold(stack: Stack, recorded: Recorded) -> None:
    assert_same_rows(stack.query(SESSIONS_SQL), recorded.sessions, key=SESSION_KEY)


def test_every_event_is_in_the_session_that_the_fold_gave_it_to(stack: Stack, recorded: Recorded) -> None:
    """An event belongs to the session with the greatest start not after it: the tables agree with the fold."""
    sessions = stack.query(SESSIONS_SQL)
    stored = stack.query(
        "SELECT app_id, device_id, event_id, kind, toUnixTimestamp64Milli(time) AS time_ms FROM events"
    )
    for device in recorded.events:
        mine = [row for row in sessions if (row["app_id"], row["device_id"]) == device]
        starts = [row["started_at_ms"] for row in mine]
        assert starts == sorted(set(starts)), "starts strictly increase"
        members: dict[str, set[str]] = {row["session_id"]: set() for row in mine}
        for row in stored:
            if (row["app_id"], row["device_id"]) == device:
                found = bisect_right(starts, row["time_ms"]) - 1
                if found < 0:
                    assert row["kind"] == "passive", f"an event before the first session of its device: {row}"
                    continue
                members[mine[found]["session_id"]].add(row["event_id"])
        assert members == {row["session_id"]: set(row["event_ids"]) for row in recorded.fold(device)}
        assert [row["event_count"] for row in mine] == [len(members[row["session_id"]]) for row in mine]


def test_the_timeline_of_a_crashed_session_is_its_events_in_order(stack: Stack, recorded: Recorded) -> None:
    crashed = [
        (device, session)
        for device in recorded.events
        for session in recorded.fold(device)
        if session["crash_count"]
    ]
    assert len(crashed) > 20
    ended_in_crash = 0
    for device, session in crashed:
        timeline = stack.query(f"SELECT * FROM session_timeline(session_id = '{session['session_id']}')")
        assert [row["event_id"] for row in timeline] == session["event_ids"]
        assert {(row["app_id"], row["device_id"]) for row in timeline} == {device}
        assert timeline[0]["offset_ms"] == 0
        last_id = session["event_ids"][-1]
        if next(event for event in recorded.events[device] if event.id == last_id).kind.label == "crash":
            assert timeline[-1]["kind"] == "crash" and timeline[-1]["what"].startswith("crash: ")
            ended_in_crash += 1
    assert ended_in_crash >= 3


def test_the_timeline_reads_as_a_person_would_tell_it(stack: Stack) -> None:
    """Launch, taps, the request that failed, the crash."""
    found = stack.query(
        "SELECT toString(session_id) AS id FROM sessions WHERE end_reason = 'crash' AND cold_start"
        " AND tap_count > 0 AND network_error_count > 0"
    )
    assert found
    for row in found:
        told = [
            line["what"]
            for line in stack.query(f"SELECT what FROM session_timeline(session_id = '{row['id']}')")
        ]
        places = [
            next((place for place, what in enumerate(told) if what.startswith(beginning)), None)
            for beginning in ("cold launch", "tap ", "GET ", "crash: ")
        ]
        assert None not in places and places == sorted(places, key=lambda place: place or 0), told


def test_the_timeline_of_a_user_holds_all_devices_in_order(stack: Stack, recorded: Recorded) -> None:
    users = {(row["app_id"], row["user_id"]) for row in recorded.sessions if row["user_id"]}
    assert len(users) >= 3
    for app_id, user_id in sorted(users):
        expected = []
        for device in (device for device in recorded.events if device[0] == app_id):
            places = {
                event.id: (place, event) for place, event in enumerate(in_order(recorded.events[device]))
            }
            for session in recorded.fold(device):
                if f'"id":"{user_id}"' in session["user"]:
                    for event_id in session["event_ids"]:
                        place, event = places[event_id]
                        expected.append((event.time_ms, device[1], place, event_id, session["session_id"]))
        found = stack.query(
            "SELECT event_id, toString(session_id) AS session_id FROM user_timeline(app_id = {app:String},"
            " user_id = {user:String})",
            app=app_id,
            user=user_id,
        )
        assert [tuple(row.values()) for row in found] == [line[3:] for line in sorted(expected)]


def test_stitched_sessions_are_those_of_the_fold(stack: Stack, recorded: Recorded) -> None:
    found = stack.query(
        "SELECT app_id, device_id, toString(stitched_session_id) AS stitched_session_id, status,"
        " arrayMap(id -> toString(id), session_ids) AS session_ids, session_count,"
        " toUnixTimestamp64Milli(started_at) AS started_at_ms, toUnixTimestamp64Milli(ended_at) AS ended_at_ms,"
        " duration_ms, members_duration_ms, foreground_duration_ms, end_reason, user_id, app_version,"
        " event_count, crash_count, network_count, tap_count FROM stitched_sessions"
    )
    expected = stitched_rows(recorded.sessions)
    assert len(expected) < len(recorded.sessions)
    assert_same_rows(found, expected, key=("app_id", "device_id", "stitched_session_id"))


def test_release_health_is_computed_from_the_sessions_of_the_fold(stack: Stack, recorded: Recorded) -> None:
    found = stack.query(
        "SELECT app_id, app_version, toString(day) AS day, sessions, devices, users, crash_free_sessions,"
        " crash_free_users, anr_free_sessions, median_duration_ms, p95_duration_ms, background_sessions,"
        " background_crashes, stitched_sessions, crash_free_stitched_sessions FROM release_health"
    )
    expected = version_rows(recorded.sessions)
    assert any(row["crash_free_sessions"] < row["sessions"] for row in expected)
    assert_same_rows(found, expected, key=("app_id", "app_version", "day"))


def test_sending_everything_again_changes_nothing(stack: Stack, recorded: Recorded) -> None:
    count = len(raw_identities(recorded.lines))
    account = "SELECT sum(received) AS received, sum(events) AS events, sum(duplicates) AS duplicates,"
    account += " sum(refused) AS refused FROM ledger"
    assert stack.query(account) == [{"received": count, "events": count, "duplicates": 0, "refused": 0}]
    before = stack.query(ALL_BUT_PROVENANCE)
    stack.run("send", "--format", "measure", *map(str, recorded.files))
    stack.wait_idle()
    assert_same_rows(stack.query(ALL_BUT_PROVENANCE), before, key=SESSION_KEY)
    assert_same_rows(stack.query(SESSIONS_SQL), recorded.sessions, key=SESSION_KEY)
    assert_each_event_once(stack, recorded)
    assert stack.query(account) == [
        {"received": 2 * count, "events": count, "duplicates": count, "refused": 0}
    ]


def shuffled(lines: list[bytes]) -> list[list[bytes]]:
    """Four files, which are read side by side: a device's bodies come through several partitions."""
    drawn = random.Random(2).sample(lines, len(lines))
    return [drawn[start::4] for start in range(4)]


def in_reverse(lines: list[bytes]) -> list[list[bytes]]:
    return [lines[::-1]]


@pytest.mark.parametrize("order", [in_reverse, shuffled])
def test_any_order_gives_the_same_rows(
    order: Callable[[list[bytes]], list[list[bytes]]],
    recorded: Recorded,
    clickhouse: EmbeddedClickHouse,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """All roles in one process on the embedded broker, and everything within the horizon."""
    files = []
    for number, lines in enumerate(order(recorded.lines)):
        files.append(tmp_path / f"lines-{number}.ndjson")
        files[-1].write_bytes(b"\n".join(lines) + b"\n")
    with (
        running_stack(
            "embedded",
            clickhouse,
            tmp_path,
            idle_timeout="2s",
            restate_horizon="400d",
            restate_events="100000",
        ) as stack,
        logs_if_failed(request, stack),
    ):
        stack.start_workers("all")
        stack.run("send", "--format", "measure", *map(str, files))
        stack.wait_idle()
        assert_each_event_once(stack, recorded)
        assert_same_rows(stack.query(SESSIONS_SQL), recorded.sessions, key=SESSION_KEY)
