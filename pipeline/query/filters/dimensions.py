"""What sessions can be filtered by: the names of the filter language, and where their values stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.domain.event import COUNTERS
from pipeline.domain.session import End, Start

Group = Literal["app", "device", "user", "session"]
Type = Literal["string", "number", "boolean", "time", "choice", "list", "id"]

_EQUALITY = ("eq", "not", "in")
_TEXT = ("contains", "matches")
_ORDER = ("gt", "gte", "lt", "lte", "between")
OPERATORS: Mapping[Type, tuple[str, ...]] = {
    "string": (*_EQUALITY, *_TEXT, "exists"),
    "choice": _EQUALITY,
    "id": _EQUALITY,
    "boolean": ("eq", "not"),
    "number": (*_EQUALITY, *_ORDER),
    "time": _ORDER,
    "list": (*_EQUALITY, *_TEXT, "exists"),
}
"""By type. A list passes where any of its items passes; `not` where none is equal."""
KEYED_OPERATORS = (*_EQUALITY, *_TEXT, *_ORDER, "exists")
"""Of values under a key that the user names (properties, resource, attributes of events): text that may be a number."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing to filter by."""

    name: str
    label: str
    group: Group
    type: Type
    operators: tuple[str, ...]
    values: tuple[str, ...] = ()
    """Of a choice: all that are allowed."""
    suggestions: tuple[str, ...] = ()
    """Of a string: what it often is."""
    sql: str = ""
    """An expression over the columns of the view `sessions`; of a keyed dimension the map."""
    key: str | None = None
    """The key in that map; None where `sql` is the value itself."""


def _of(
    group: Group,
    name: str,
    label: str,
    type: Type,
    sql: str,
    values: tuple[str, ...] = (),
    suggestions: tuple[str, ...] = (),
) -> Dimension:
    return Dimension(name, label, group, type, OPERATORS[type], values, suggestions, sql)


_COUNTER_LABELS = {
    "crash_count": "Crashes",
    "anr_count": "ANRs",
    "exception_count": "Exceptions",
    "network_count": "Requests",
    "network_error_count": "Failed requests",
    "tap_count": "Taps",
    "view_count": "Screen views",
    "log_error_count": "Errors logged",
}
_EXITS = ("out_of_memory", "user_terminated", "unknown")

FIRST, STITCHED_LENGTH = "session.first", "session.stitched_length"
"""These two need more than the session's own row; their SQL is in `filter_sql`."""

_ALL = (
    _of("app", "app.id", "App", "string", "app_id"),
    _of("app", "app.version", "App version", "string", "app_version"),
    _of("app", "app.build", "App build", "string", "app_build"),
    _of("app", "app.environment", "Environment", "string", "environment"),
    _of("app", "sdk.name", "SDK", "string", "sdk_name"),
    _of("app", "sdk.version", "SDK version", "string", "sdk_version"),
    _of("device", "device.id", "Device id", "string", "device_id"),
    _of("device", "device.manufacturer", "Manufacturer", "string", "device_manufacturer"),
    _of("device", "device.model", "Model", "string", "device_model"),
    _of("device", "os.name", "OS", "string", "os_name"),
    _of("device", "os.version", "OS version", "string", "os_version"),
    # OpenTelemetry's name; it is there where the SDK or a collector puts it into the resource.
    _of("device", "device.country", "Country", "string", "resource['geo.country.iso_code']"),
    _of("user", "user.id", "User id", "string", "user_id"),
    _of("user", "user.persona", "Persona", "list", "personas"),
    _of("user", "user.property", "Property keys", "list", "mapKeys(properties)"),
    _of("session", "session.id", "Session id", "id", "session_id"),
    _of("session", "session.stitched_id", "Stitched session id", "id", "stitched_session_id"),
    _of("session", "session.client_id", "The SDK's own id", "string", "client_session_id"),
    _of("session", "session.state", "State", "choice", "state", ("foreground", "background")),
    _of("session", "session.status", "Status", "choice", "status", ("open", "closed")),
    _of("session", "session.live", "Live", "boolean", "status = 'open'"),
    _of("session", "session.is_final", "Final", "boolean", "is_final"),
    _of("session", "session.start_reason", "Start reason", "choice", "start_reason", tuple(Start)),
    # The system's own word for an exit may stand in these two: no closed list.
    _of(
        "session", "session.end_reason", "End reason", "string", "end_reason",
        suggestions=(*(str(end) for end in End), *_EXITS),
    ),
    _of(
        "session", "session.exit_reason", "Exit reason", "string", "exit_reason",
        suggestions=("crash", "anr", *_EXITS),
    ),
    _of("session", "session.cold_start", "Cold start", "boolean", "cold_start"),
    _of("session", FIRST, "First session of the device", "boolean", ""),
    _of("session", "session.started_at", "Started at", "time", "started_at"),
    _of("session", "session.ended_at", "Ended at", "time", "ended_at"),
    _of("session", "session.last_event_at", "Last event at", "time", "last_event_at"),
    _of("session", "session.duration_ms", "Duration (ms)", "number", "duration_ms"),
    _of("session", "session.stitched_index", "Place in the stitched session", "number", "stitched_index"),
    _of("session", STITCHED_LENGTH, "Sessions in the stitched session", "number", ""),
    _of("session", "session.event_count", "Events", "number", "event_count"),
    *(_of("session", f"session.{name}", _COUNTER_LABELS[name], "number", name) for name in COUNTERS),
)  # fmt: skip

DIMENSIONS: Mapping[str, Dimension] = {dimension.name: dimension for dimension in _ALL}
"""All dimensions with a fixed name, in the order in which a page shows them."""

KEYED: Mapping[str, tuple[str, Group, str]] = {
    "user.property.": ("Property", "user", "properties"),
    "resource.": ("Resource", "device", "resource"),
}
"""Dimensions whose name goes on with a key of the user's: label, group, and the map that holds the values."""
MAX_KEY = 200
"""Characters in such a key; a property's has at most 128."""


def dimension(name: str) -> Dimension | None:
    """The dimension of that name, with a key or without; None if there is none."""
    if name in DIMENSIONS:
        return DIMENSIONS[name]
    for start, (label, group, column) in KEYED.items():
        key = name.removeprefix(start)
        if key != name and 0 < len(key) <= MAX_KEY:
            return Dimension(name, f"{label} {key}", group, "string", KEYED_OPERATORS, sql=column, key=key)
    return None
