"""What a filter means, as plainly as it can be said: Python over rows, sharing no code with `pipeline.query`.

A filter comes as its JSON document, a session and an event as their rows of the views `sessions` and `events`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import orjson

from pipeline.formats.stacks.crash_group import group_of

Row = dict[str, Any]
Document = dict[str, Any]

_COLUMNS = {
    "app.id": "app_id",
    "app.version": "app_version",
    "app.build": "app_build",
    "app.environment": "environment",
    "sdk.name": "sdk_name",
    "sdk.version": "sdk_version",
    "device.id": "device_id",
    "device.manufacturer": "device_manufacturer",
    "device.model": "device_model",
    "os.name": "os_name",
    "os.version": "os_version",
    "user.id": "user_ids",
    "user.persona": "personas",
    "session.id": "session_id",
    "session.stitched_id": "stitched_session_id",
    "session.client_id": "client_session_id",
}
_RANKS = {
    "foreground": 0,
    "active": 0,
    "launch": 1,
    "session_end": 3,
    "background": 3,
    "crash": 4,
    "exception": 4,
    "anr": 4,
    "exit": 5,
    "passive": 6,
}
_NUMBER = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|infinity|nan)", re.ASCII | re.IGNORECASE
)


class World:
    """All sessions and events, and which belong together."""

    def __init__(self, sessions: list[Row], events: list[Row]) -> None:
        self.sessions = sessions
        starts: dict[Any, list[tuple[int, str]]] = {}
        for row in sessions:
            starts.setdefault((row["app_id"], row["device_id"]), []).append(
                (row["started_at_ms"], row["session_id"])
            )
        for of_device in starts.values():
            of_device.sort()
        self._events: dict[str, list[Row]] = {}
        for event in events:
            of_device = starts.get((event["app_id"], event["device_id"]), [])
            at = bisect_right(of_device, event["time_ms"], key=lambda start: start[0])
            if at:
                self._events.setdefault(of_device[at - 1][1], []).append(event)
        for of_session in self._events.values():
            of_session.sort(key=lambda e: (e["time_ms"], _RANKS.get(e["kind"], 2), e["seq"], e["event_id"]))
        self._first = {of_device[0][1] for of_device in starts.values()}
        self._stitched = Counter(
            (row["app_id"], row["device_id"], row["stitched_session_id"]) for row in sessions
        )

    def passing(self, filter: Document) -> set[str]:
        """The ids of the sessions that pass."""
        return {row["session_id"] for row in self.sessions if self._passes(filter, row)}

    def events_of(self, session: Row) -> list[Row]:
        """In their order."""
        return self._events.get(session["session_id"], [])

    def groups_of(self, session: Row) -> set[str]:
        """The groups of its crashes, ANRs and exceptions."""
        found = set()
        for event in self.events_of(session):
            is_fatal = event["kind"] in ("crash", "exception")
            kind = "crash" if is_fatal else {"app.anr": "anr", "exception": "exception"}.get(event["name"])
            if kind:
                found.add(group_of(session["app_id"], kind, orjson.dumps(event["attributes"])).id)
        return found

    def _passes(self, filter: Document, session: Row) -> bool:
        if "all" in filter:
            return all(self._passes(each, session) for each in filter["all"])
        if "any" in filter:
            return any(self._passes(each, session) for each in filter["any"])
        if "not" in filter:
            return not self._passes(filter["not"], session)
        if "event" in filter:
            return self._holds(filter, self.events_of(session))
        return self._session_test(filter, session)

    def _holds(self, wanted: Document, events: list[Row]) -> bool:
        return any(
            event["name"] == wanted["event"]
            and all(keyed(event["attributes"], test["attribute"], test) for test in wanted.get("tests", []))
            and (not wanted.get("then") or self._holds(wanted["then"], events[place + 1 :]))
            for place, event in enumerate(events)
        )

    def _session_test(self, test: Document, session: Row) -> bool:
        name, operator, value = test["dimension"], test["operator"], test.get("value", True)
        for start, column in (("user.property.", "properties"), ("resource.", "resource")):
            if name.startswith(start):
                return keyed(session[column], name.removeprefix(start), test)
        found = self._found(name, session)
        if name in ("session.started_at", "session.ended_at", "session.last_event_at"):
            value = [_ms(each) for each in value] if isinstance(value, list) else _ms(value)
        if name == "user.id" and operator != "exists":
            found = found or [""]
        if isinstance(found, list):
            if operator == "exists":
                return bool(found) if value is True else value in found
            if operator == "not":
                return value not in found
            return any(compare(each, operator, value) for each in found)
        return found != "" if operator == "exists" else compare(found, operator, value)

    def _found(self, name: str, session: Row) -> Any:
        if name == "session.first":
            return session["session_id"] in self._first
        if name == "session.stitched_length":
            return self._stitched[session["app_id"], session["device_id"], session["stitched_session_id"]]
        if name == "crash.group":
            return sorted(self.groups_of(session))
        if name == "session.live":
            return session["status"] == "open"
        if name == "user.property":
            return list(session["properties"])
        if name == "device.country":
            return session["resource"].get("geo.country.iso_code", "")
        column = _COLUMNS.get(name) or name.removeprefix("session.")
        return session[f"{column}_ms"] if column.endswith("_at") else session[column]


def keyed(values: dict[str, str], key: str, test: Document) -> bool:
    """A test of the text under a key, as a number where it is compared with one."""
    operator, value = test["operator"], test.get("value", True)
    if operator == "exists":
        return key in values
    if operator == "not":
        return not keyed(values, key, {"operator": "eq", "value": value})
    if key not in values:
        return False
    wanted = [
        ("true" if each else "false") if isinstance(each, bool) else each
        for each in (value if isinstance(value, list) else [value])
    ]
    found: Any = values[key]
    if not isinstance(wanted[0], str):
        if not _NUMBER.fullmatch(found):
            return False
        found = float(found)
    return compare(found, operator, wanted if isinstance(value, list) else wanted[0])


def compare(found: Any, operator: str, value: Any) -> bool:
    """One comparison of one value."""
    match operator:
        case "eq":
            return bool(found == value)
        case "not":
            return bool(found != value)
        case "in":
            return found in value
        case "contains":
            return value in found
        case "matches":
            return matches(value, found)
        case "gt":
            return bool(found > value)
        case "gte":
            return bool(found >= value)
        case "lt":
            return bool(found < value)
        case "lte":
            return bool(found <= value)
        case "between":
            return bool(value[0] <= found <= value[1])
    raise AssertionError(operator)


def matches(pattern: str, text: str) -> bool:
    """As RE2 in ClickHouse: classes are ASCII, `.` takes line breaks, `$` is the very end."""
    ignores_case = pattern.startswith("(?i)")
    # Folding case is Unicode's in RE2, and so it is in Python without ASCII.
    flags = re.DOTALL | (re.IGNORECASE if ignores_case else re.ASCII)
    return re.search(re.sub(r"(?<!\\)\$", r"\\Z", pattern), text, flags) is not None


def _ms(value: int | str) -> int:
    if isinstance(value, int):
        return value
    at = datetime.fromisoformat(value)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)
