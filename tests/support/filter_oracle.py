"""What a filter means, as plainly as it can be said: Python over rows, sharing no code with `pipeline.query`.

A filter comes as its JSON document, a session and an event as their rows of the views `sessions` and `events`.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import groupby
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
_VERSIONS = ("app.version", "app.build", "sdk.version", "os.version")
_CASELESS = ("os.name", "session.connection")
_DAY_MS = 86_400_000
_VIEW_BIT, _APPEARANCE_BIT = 6, 8
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
        self._days = {
            device: {started_ms // _DAY_MS for started_ms, _ in of_device}
            for device, of_device in starts.items()
        }
        self._first = {of_device[0][1] for of_device in starts.values()}
        self._stitched = Counter(
            (row["app_id"], row["device_id"], row["stitched_session_id"]) for row in sessions
        )

    def passing(self, filter: Document) -> set[str]:
        """The ids of the sessions that pass."""
        return {row["session_id"] for row in self.sessions if self._passes(filter, row)}

    def _screens(self, session: Row) -> list[str]:
        events = self.events_of(session)
        named = [e for e in events if int(e["counters"]) >> _VIEW_BIT & 1]
        shown = named or [e for e in events if int(e["counters"]) >> _APPEARANCE_BIT & 1]
        return [e["attributes"].get("app.screen.name", "") for e in shown]

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
            return self.holds(filter, self.events_of(session))
        return self._session_test(filter, session)

    def mask(self, wanted: Document, event: Row) -> int:
        """Bit i: the event is the i-th step."""
        found, place, step = 0, 0, wanted
        while step:
            found |= _is(step, event) << place
            place, step = place + 1, step.get("then", {})
        return found

    def holds(self, wanted: Document, events: list[Row]) -> bool:
        """Whether these events, in order, are what is asked for."""
        for key in ("at_least", "exactly", "at_most"):
            if key in wanted:
                return _counted(key, wanted, [event["time_ms"] for event in events if _is(wanted, event)])
        # The places where the steps so far can have come to their end, and what may not come next.
        ends: list[int] | None = None
        barred: list[Document] = []
        step: Document | None = wanted
        within_ms: float = 0
        while step:
            within_ms = milliseconds(step["within"]) if "within" in step else math.inf
            if step.get("absent"):
                barred.append(step)
            else:
                hits = [place for place, event in enumerate(events) if _is(step, event)]
                if ends is not None:
                    hits = [
                        place
                        for place in hits
                        if any(
                            end < place
                            and events[place]["time_ms"] - events[end]["time_ms"] <= within_ms
                            and not any(
                                _is(bar, event) for bar in barred for event in events[end + 1 : place]
                            )
                            for end in ends
                        )
                    ]
                ends, barred = hits, []
            step = step.get("then")
        return any(
            not any(
                _is(bar, event) and event["time_ms"] - events[end]["time_ms"] <= within_ms
                for bar in barred
                for event in events[end + 1 :]
            )
            for end in ends or []
        )

    def _session_test(self, test: Document, session: Row) -> bool:
        name, operator, value = test["dimension"], test["operator"], test.get("value", True)
        for start, column in (("user.property.", "properties"), ("resource.", "resource")):
            if name.startswith(start):
                return keyed(session[column], name.removeprefix(start), test)
        found = self.found(name, session)
        if found is None:  # no request of the session says how long it took
            return bool(operator == "not")
        if name == "session.duration_ms" or name in _SLOWEST:
            value = [_plain(each) for each in value] if isinstance(value, list) else _plain(value)
        if name in _VERSIONS and operator in ("gt", "gte", "lt", "lte", "between"):
            return found != "" and _version_passes(found, operator, value)
        if name in _CASELESS and operator not in ("exists",):
            found = [_small(each) for each in found] if isinstance(found, list) else _small(found)
            value = f"(?i){value.removeprefix('(?i)')}" if operator == "matches" else _small(value)
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

    def found(self, name: str, session: Row) -> Any:
        if name in ("session.first", "session.returned_after_days", "session.stitched_length"):
            return self._over_device(name, session)
        if name in _OF_SCREENS:
            return _OF_SCREENS[name](self._screens(session))
        if name == "session.connection":
            told = {e["attributes"].get("network.connection.type", "") for e in self.events_of(session)}
            return sorted({_small(each) for each in told} - {""})
        if name in _SLOWEST:
            took = (_SLOWEST[name](event) for event in self.events_of(session))
            return max((ms for ms in took if ms is not None), default=None)
        if name == "crash.group":
            return sorted(self.groups_of(session))
        if name == "session.live":
            return session["status"] == "open"
        if name == "user.property":
            return list(session["properties"])
        if name in ("device.country", "device.region"):
            return session["resource"].get(f"geo.{name.removeprefix('device.')}.iso_code", "")
        column = _COLUMNS.get(name) or name.removeprefix("session.")
        return session[f"{column}_ms"] if column.endswith("_at") else session[column]

    def _over_device(self, name: str, session: Row) -> Any:
        if name == "session.first":
            return session["session_id"] in self._first
        device = session["app_id"], session["device_id"]
        if name == "session.stitched_length":
            return self._stitched[*device, session["stitched_session_id"]]
        day = session["started_at_ms"] // _DAY_MS
        return sorted(each - day for each in self._days[device] if each > day)


def _path(screens: list[str]) -> str:
    once = [name for name, _ in groupby(screen.replace(">", "→") for screen in screens)]
    return f"|> {' > '.join(once)} >|" if once else ""


_OF_SCREENS: dict[str, Callable[[list[str]], str]] = {
    "session.first_screen": lambda screens: screens[0] if screens else "",
    "session.last_screen": lambda screens: screens[-1] if screens else "",
    "session.screen_path": _path,
}


def _is(step: Document, event: Row) -> bool:
    return event["name"] == step["event"] and all(
        keyed(event["attributes"], test["attribute"], test) for test in step.get("tests", [])
    )


def _counted(key: str, wanted: Document, times: list[int]) -> bool:
    number: int = wanted[key]
    if key == "exactly":
        return len(times) == number
    if key == "at_most":
        return len(times) <= number
    if "within" not in wanted or number < 2:
        return len(times) >= number
    width = milliseconds(wanted["within"])
    return any(sum(first <= time <= first + width for time in times) >= number for first in times)


def took_ms(request: Row) -> float | None:
    """How long a request took, by whichever of its attributes says so."""
    told = request["attributes"]
    for name in ("duration_ms", "duration"):
        if told.get(name):
            return _positive(_float(told[name]))
    begin, end = _float(told.get("http.start_time", "")), _float(told.get("http.end_time", ""))
    return None if begin is None or end is None else _positive(end - begin)


def measured_ms(attribute: str, of: str) -> Callable[[Row], float | None]:
    """How long a start or a load took that has a name, up to ten minutes."""

    def took(event: Row) -> float | None:
        told = event["attributes"]
        found = _positive(_float(told.get(attribute, ""))) if told.get(of) else None
        return found if found is not None and found <= 600_000 else None

    return took


_SLOWEST: dict[str, Callable[[Row], float | None]] = {
    "session.slowest_request_ms": lambda event: (
        took_ms(event) if event["name"] == "http.client.request" else None
    ),
    "session.start_ms": measured_ms("app.launch.duration_ms", "app.launch.type"),
    "session.slowest_screen_ms": measured_ms("app.screen.load_ms", "app.screen.name"),
}


def _positive(number: float | None) -> float | None:
    return number if number is not None and number >= 0 else None


def _float(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def milliseconds(text: str) -> int:
    """Of a duration like `1h30m`."""
    units = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|[wdhms])", text))


def _plain(value: Any) -> Any:
    return milliseconds(value) if isinstance(value, str) else value


def _small(value: Any) -> Any:
    if isinstance(value, list):
        return [_small(each) for each in value]
    return "".join(chr(ord(char) + 32) if "A" <= char <= "Z" else char for char in value)


def version_order(version: str) -> list[tuple[int, int, str]]:
    """Places of a version: an end is above a word and below a number; zeros before one of them do not count."""
    places: list[tuple[int, int, str]] = []
    separated = True
    for digits, word, between in re.findall(r"([0-9]+)|([^0-9._+ ]+)|([._+ ]+)", version):
        if between:
            separated = True
            continue
        if word:
            while places and places[-1] == (2, 0, "~"):
                places.pop()
            places.append((0, 0, word))
        else:
            # Zeros that nothing parts from what is before them are a part of it.
            places.append((2, int(digits), "~" if separated and places and not int(digits) else ""))
        separated = False
    while places and places[-1] == (2, 0, "~"):
        places.pop()
    return [*((kind, number, text.replace("~", "")) for kind, number, text in places), (1, 0, "")]


def _version_passes(found: str, operator: str, value: Any) -> bool:
    wanted = [version_order(each) for each in value] if isinstance(value, list) else version_order(value)
    return compare(version_order(found), operator, wanted)


def keyed(values: dict[str, str], key: str, test: Document) -> bool:
    """A test of the text under a key, as a number where it is compared with one."""
    operator, value = test["operator"], test.get("value", True)
    if operator == "exists":
        return key in values
    if operator == "not":
        return not keyed(values, key, {"operator": "eq", "value": value})
    if key not in values:
        return False
    if operator in ("gt", "gte", "lt", "lte", "between"):
        value = [_plain(each) for each in value] if isinstance(value, list) else _plain(value)
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


_W = "[0-9A-Za-z_]"
_RE2 = {
    "$": r"\Z",
    r"\w": _W,
    r"\d": "[0-9]",
    r"\b": f"(?:(?<!{_W})(?={_W})|(?<={_W})(?!{_W}))",
}


def matches(pattern: str, text: str) -> bool:
    """As RE2 in ClickHouse: classes are ASCII, `.` takes line breaks, `$` is the very end."""
    ignores_case = pattern.startswith("(?i)")
    # Folding case is Unicode's in RE2, and so it is in Python without ASCII, which has other classes then.
    flags = re.DOTALL | (re.IGNORECASE if ignores_case else re.ASCII)
    for theirs, ours in _RE2.items():
        pattern = re.sub(rf"(?<!\\){re.escape(theirs)}", lambda _, ours=ours: ours, pattern)  # type: ignore[misc]
    return re.search(pattern, text, flags) is not None


def _ms(value: int | str) -> int:
    if isinstance(value, int):
        return value
    at = datetime.fromisoformat(value)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)
