"""What the tables must hold, computed from the oracle, and the same read from ClickHouse."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.domain.event import AppState, Event, Kind, make_event
from pipeline.domain.policy import Policy
from pipeline.formats import native
from pipeline.storage.columns import SHOWN_COUNTERS
from tests.support.oracle import oracle_sessions

Row = dict[str, Any]
Device = tuple[str, str]
"""App and device id."""

_FACTS = {
    "app_version": "service.version",
    "app_build": "app.build_id",
    "environment": "deployment.environment.name",
    "os_name": "os.name",
    "os_version": "os.version",
    "device_manufacturer": "device.manufacturer",
    "sdk_name": "telemetry.sdk.name",
    "sdk_version": "telemetry.sdk.version",
}
_PLAIN = (
    *("status", "state", "start_reason", "end_reason", "exit_reason", "cold_start", "duration_ms"),
    *("client_session_id", "stitched_index", "event_count", *SHOWN_COUNTERS),
)

SESSIONS_SQL = f"""
SELECT app_id, device_id, toString(session_id) AS session_id, {", ".join(_PLAIN)},
    toUnixTimestamp64Milli(started_at) AS started_at_ms, toUnixTimestamp64Milli(ended_at) AS ended_at_ms,
    toString(stitched_session_id) AS stitched_session_id, user_id, user_ids, personas, properties, device_model,
    {", ".join(_FACTS)}, resource
FROM sessions ORDER BY app_id, device_id, started_at
"""
"""The rows that `session_rows` computes."""


def session_rows(events: Mapping[Device, Iterable[Event]], policy: Policy) -> list[Row]:
    """What `SESSIONS_SQL` must return once all is quiet. Events of each device in order of arrival."""
    return list(each_session_row(events, policy))


def each_session_row(events: Mapping[Device, Iterable[Event]], policy: Policy) -> Iterator[Row]:
    """The rows of `session_rows`, one after the other: all of them may be too much."""
    for (app_id, device_id), arrived in sorted(events.items()):
        for session in oracle_sessions(app_id, device_id, arrived, policy):
            yield as_row(app_id, device_id, session)


def as_row(app_id: str, device_id: str, session: Row) -> Row:
    """A session of the oracle as `SESSIONS_SQL` returns it."""
    resource = json.loads(session["resource"])
    user = json.loads(session["user"] or "{}")
    return {
        "app_id": app_id,
        "device_id": device_id,
        **{name: session[name] for name in ("session_id", "started_at_ms", "ended_at_ms", *_PLAIN)},
        # Where the app tells of no view itself, what appeared is what was viewed.
        "view_count": session["view_count"] or session["appearance_count"],
        "stitched_session_id": session["stitched_session_id"],
        "user_id": session["user_id"],
        "user_ids": session["user_ids"],
        "personas": user.get("personas", []),
        "properties": user.get("properties", {}),
        **{column: resource.get(fact, "") for column, fact in _FACTS.items()},
        "device_model": resource.get("device.model.name")
        or resource.get("device.model.identifier")
        or resource.get("user_agent.name", ""),
        "resource": resource,
    }


EVENTS_SQL = """
SELECT app_id, device_id, event_id, toUnixTimestamp64Milli(time) AS time_ms, kind, seq, client_session_id,
    exit_reason, counters, resource_json, user_json, app_state
FROM events ORDER BY app_id, device_id, offset, event_index
"""
"""The stored events of each device, in the order in which they came."""


def stored_events(rows: Iterable[Row]) -> dict[Device, list[Event]]:
    """The rows of `EVENTS_SQL` as the fold sees events."""
    events: dict[Device, list[Event]] = {}
    for row in rows:
        event = make_event(
            row["time_ms"],
            Kind[row["kind"].upper()],
            row["event_id"],
            seq=row["seq"],
            client_session_id=row["client_session_id"],
            exit_reason=row["exit_reason"],
            counters=row["counters"],
            resource=row["resource_json"],
            user=row["user_json"],
            stated=AppState[(row["app_state"] or "unknown").upper()],
        )
        events.setdefault((row["app_id"], row["device_id"]), []).append(event)
    return events


def decoded(key: bytes, value: bytes, record_ms: int) -> tuple[Device, list[Event]]:
    """The events of a sound native record."""
    envelope = native.decode(value, key, record_ms)
    assert isinstance(envelope, native.Envelope) and not envelope.refused
    return (envelope.app_id, envelope.device_id), native.to_events(envelope)


def assert_same_rows(found: Sequence[Row], expected: Sequence[Row], *, key: Sequence[str]) -> None:
    """Equal row for row; says of the first few that differ in what. `key` names the columns that identify a row."""
    assert expected, "there is nothing to compare with"
    found_by = {tuple(row[name] for name in key): row for row in found}
    expected_by = {tuple(row[name] for name in key): row for row in expected}
    assert len(found_by) == len(found), "two rows have the same key"
    problems = [f"missing: {expected_by[name]}" for name in expected_by if name not in found_by]
    problems += [f"not expected: {found_by[name]}" for name in found_by if name not in expected_by]
    for name, row in expected_by.items():
        if name in found_by and found_by[name] != row:
            columns = {**row, **found_by[name]}
            differs = {
                column: (found_by[name].get(column), row.get(column))
                for column in columns
                if found_by[name].get(column) != row.get(column)
            }
            problems.append(f"{name}: (found, expected) {differs}")
    assert not problems, f"{len(problems)} of {len(expected)} rows differ:\n" + "\n".join(problems[:5])


_STITCHED_SUMS = ("event_count", "crash_count", "network_count", "tap_count")


def stitched_rows(sessions: Iterable[Row]) -> list[Row]:
    """One row a stitched session, from the rows of `session_rows`."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in sessions:
        groups.setdefault((row["app_id"], row["device_id"], row["stitched_session_id"]), []).append(row)
    rows = []
    for (app_id, device_id, stitched_session_id), members in groups.items():
        members.sort(key=lambda row: int(row["stitched_index"]))
        started_at_ms = members[0]["started_at_ms"]
        ended_at_ms = max(row["ended_at_ms"] for row in members)
        rows.append(
            {
                "app_id": app_id,
                "device_id": device_id,
                "stitched_session_id": stitched_session_id,
                "status": "closed",
                "session_ids": [row["session_id"] for row in members],
                "session_count": len(members),
                "started_at_ms": started_at_ms,
                "ended_at_ms": ended_at_ms,
                "duration_ms": ended_at_ms - started_at_ms,
                "members_duration_ms": sum(row["duration_ms"] for row in members),
                "foreground_duration_ms": sum(
                    row["duration_ms"] for row in members if row["state"] == "foreground"
                ),
                "end_reason": members[-1]["end_reason"],
                "user_id": next((row["user_id"] for row in reversed(members) if row["user_id"]), ""),
                "app_version": members[0]["app_version"],
                **{name: sum(row[name] for row in members) for name in _STITCHED_SUMS},
            }
        )
    return rows


def has_crashed(row: Row) -> bool:
    """As CONTRACT.md has it under `release_health`, of a row of `session_rows`."""
    return row["crash_count"] > 0 or not {row["end_reason"], row["exit_reason"]}.isdisjoint(
        ("crash", "exception")
    )


def version_rows(sessions: Iterable[Row]) -> list[Row]:
    """One row an app, version and day of start, from the rows of `session_rows`."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in sessions:
        day = datetime.fromtimestamp(row["started_at_ms"] / 1_000, UTC).date().isoformat()
        groups.setdefault((row["app_id"], row["app_version"], day), []).append(row)
    rows = []
    for (app_id, app_version, day), everything in groups.items():
        members = [row for row in everything if row["state"] == "foreground"]
        behind = [row for row in everything if row["state"] != "foreground"]
        crashed = [row for row in members if has_crashed(row)]
        hung = [
            row for row in members if row["anr_count"] or "anr" in (row["end_reason"], row["exit_reason"])
        ]
        users = {user for row in members for user in row["user_ids"]}
        stitched = {row["stitched_session_id"] for row in members}
        durations = sorted(row["duration_ms"] for row in members)
        rows.append(
            {
                "app_id": app_id,
                "app_version": app_version,
                "day": day,
                "sessions": len(members),
                "devices": len({row["device_id"] for row in members}),
                "users": len(users),
                "crash_free_sessions": len(members) - len(crashed),
                "crash_free_users": len(users - {user for row in crashed for user in row["user_ids"]}),
                "anr_free_sessions": len(members) - len(hung),
                "stitched_sessions": len(stitched),
                "crash_free_stitched_sessions": len(
                    stitched - {row["stitched_session_id"] for row in crashed}
                ),
                "median_duration_ms": durations[len(durations) // 2] if durations else None,
                "p95_duration_ms": durations[len(durations) * 95 // 100] if durations else None,
                "background_sessions": len(behind),
                "background_crashes": sum(map(has_crashed, behind)),
            }
        )
    return rows
