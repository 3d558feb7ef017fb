"""The dimensions of sessions: what filters, metrics, links and pages go by.

An entry here is all that a dimension takes. It says where the value stands, by which name metrics are split by it (or
that they are not), and whether there are as many values as sessions; operators, suggestions, what a page offers, the
link from a group to its sessions and which tests point out few devices follow from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict, Unpack

from pipeline.domain.event import APPEARANCES, COUNTERS
from pipeline.domain.session import End, Start
from pipeline.domain.systems import OS_NAMES

Group = Literal["app", "device", "user", "session"]
Type = Literal["string", "number", "boolean", "time", "choice", "list", "id"]

_EQUALITY = ("eq", "not", "in")
_TEXT = ("contains", "matches")
ORDER_OPERATORS = ("gt", "gte", "lt", "lte", "between")
OPERATORS: Mapping[Type, tuple[str, ...]] = {
    "string": (*_EQUALITY, *_TEXT, "exists"),
    "choice": _EQUALITY,
    "id": _EQUALITY,
    "boolean": ("eq", "not"),
    "number": (*_EQUALITY, *ORDER_OPERATORS),
    "time": ORDER_OPERATORS,
    "list": (*_EQUALITY, *_TEXT, "exists"),
}
"""By type. A list passes where any of its items passes; `not` where none is equal."""
KEYED_OPERATORS = (*_EQUALITY, *_TEXT, *ORDER_OPERATORS, "exists")
"""Of values under a key that the user names (properties, resource, attributes of events): text that may be a number."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing that is said of a session."""

    name: str
    """In filters."""
    label: str
    group: Group
    type: Type
    operators: tuple[str, ...]
    """Empty where no filter knows it."""
    values: tuple[str, ...] = ()
    """Of a choice: all that are allowed."""
    suggestions: tuple[str, ...] = ()
    """Of a string: what it often is."""
    sql: str = ""
    """An expression over the columns of the view `sessions`; of a keyed dimension the map."""
    key: str | None = None
    """The key in that map; None where `sql` is the value itself."""
    split: str = ""
    """Its name as what a metric is split by; empty where it is not."""
    split_label: str = ""
    """Within a sentence."""
    is_version: bool = False
    """Its values have the order of versions."""
    is_duration: bool = False
    """Of a number: milliseconds, which a filter may have as a duration (`5m`)."""
    is_caseless: bool = False
    """SDKs write the same in different cases: filters do not tell `Android` from `android`."""
    points_out: bool = False
    """Few sessions share a value: there is nothing to choose from, and where a test for one has to pass, only few
    devices are worth reading."""

    @property
    def is_suggested(self) -> bool:
        """Whether values are suggested that were stored lately."""
        if not self.sql and self.name not in SCREENS:
            return False
        return self.type in ("string", "list") and bool(self.operators) and not self.points_out

    @property
    def is_offered(self) -> bool:
        """Whether a page offers to split by it; an address may ask for the others as well."""
        return bool(self.split) and not self.points_out

    @property
    def groups(self) -> str:
        """The groups of a session, an array of texts in SQL; with a key, that is the parameter `m_key`."""
        if self.key is not None:
            return f"[{self.sql}[{{m_key:String}}]]"
        if self.type == "boolean":
            return f"[if({self.sql}, 'true', 'false')]"
        if self.type == "list":
            # A session of several counts in each of them.
            return f"if(empty({self.sql}), [''], arrayMap(item -> toString(item), {self.sql}))"
        return f"[toString({self.sql})]"


class _More(TypedDict, total=False):
    operators: tuple[str, ...]
    values: tuple[str, ...]
    suggestions: tuple[str, ...]
    split: str
    split_label: str
    is_version: bool
    is_duration: bool
    is_caseless: bool
    points_out: bool


_VERSION_OPERATORS = (*_EQUALITY, *_TEXT, *ORDER_OPERATORS, "exists")
"""Of versions, which are ordered as such."""


def _of(group: Group, name: str, label: str, type: Type, sql: str, **more: Unpack[_More]) -> Dimension:
    # An abbreviation stays as it is.
    label_within = label if label[:2].isupper() else label[:1].lower() + label[1:]
    all_more: _More = {"operators": OPERATORS[type], "split_label": label_within, **more}
    return Dimension(name, label, group, type, sql=sql, **all_more)


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

USER = "user.id"
"""All users of a session."""
FIRST, STITCHED_LENGTH = "session.first", "session.stitched_length"
RETURNED = "session.returned_after_days"
"""These three need the other sessions of the device; their SQL is in `filters.over_devices`."""
CRASH_GROUP = "crash.group"
"""The groups of the session's crashes, ANRs and exceptions (`pipeline.formats.stacks`); its SQL is in `filters.sql`."""
FIRST_SCREEN, LAST_SCREEN = "session.first_screen", "session.last_screen"
SCREEN_PATH = "session.screen_path"
"""All screens of a session in order: `|> Home > Cart >|`, as the view `screen_paths` has it."""
CONNECTION, SLOWEST_REQUEST = "session.connection", "session.slowest_request_ms"
SLOWEST_START, SLOWEST_SCREEN = "session.start_ms", "session.slowest_screen_ms"
"""As long as the measurements of `/performance` say (`schemas/clickhouse/0035_performance.sql`)."""
SCREENS = (FIRST_SCREEN, LAST_SCREEN)
OF_EVENTS = (
    *(FIRST_SCREEN, LAST_SCREEN, SCREEN_PATH, CONNECTION),
    *(SLOWEST_REQUEST, SLOWEST_START, SLOWEST_SCREEN),
)
"""These need the events of the session; their SQL is in `filters.of_events`."""
_CONNECTIONS = ("wifi", "cell", "wired", "unavailable", "unknown")
"""OpenTelemetry's `network.connection.type`."""
_OS_NAME = (
    f"transform(lower(os_name), {[name.lower() for name in OS_NAMES]}, {list(OS_NAMES)}, toString(os_name))"
)
"""Sessions that were written before there was one spelling have it as their SDK did."""

_ALL = (
    # Metrics are those of one app.
    _of("app", "app.id", "App", "string", "app_id"),
    _of(
        "app", "app.version", "App version", "string", "app_version",
        split="app_version", is_version=True, operators=_VERSION_OPERATORS,
    ),
    _of(
        "app", "app.build", "App build", "string", "app_build",
        split="app_build", split_label="build", is_version=True, operators=_VERSION_OPERATORS,
    ),
    _of("app", "app.environment", "Environment", "string", "environment", split="environment"),
    _of("app", "sdk.name", "SDK", "string", "sdk_name", split="sdk_name"),
    _of(
        "app", "sdk.version", "SDK version", "string", "sdk_version",
        split="sdk_version", is_version=True, operators=_VERSION_OPERATORS,
    ),
    _of("device", "device.id", "Device id", "string", "device_id", points_out=True),
    _of(
        "device", "device.manufacturer", "Manufacturer", "string", "device_manufacturer",
        split="device_manufacturer",
    ),
    _of(
        "device", "device.model", "Model", "string", "device_model",
        split="device_model", split_label="device model",
    ),
    # No filter of its own: the two below say the same.
    _of(
        "device", "", "OS and its version", "string", f"trimBoth(concat({_OS_NAME}, ' ', os_version))",
        operators=(), split="os", split_label="system and its version",
    ),
    _of(
        "device", "os.name", "OS", "string", _OS_NAME, split="os_name", split_label="system", is_caseless=True
    ),
    _of(
        "device", "os.version", "OS version", "string", "os_version",
        split="os_version", split_label="system version", is_version=True, operators=_VERSION_OPERATORS,
    ),
    # OpenTelemetry's name; it is there where the SDK or a collector puts it into the resource.
    _of("device", "device.country", "Country", "string", "resource['geo.country.iso_code']", split="country"),
    _of("device", "device.region", "Region", "string", "resource['geo.region.iso_code']", split="region"),
    _of("user", USER, "User id", "list", "user_ids", split="user_id", points_out=True),
    _of("user", "user.persona", "Persona", "list", "personas", split="persona"),
    _of("user", "user.property", "Property keys", "list", "mapKeys(properties)"),
    _of("session", "session.id", "Session id", "id", "session_id", points_out=True),
    _of(
        "session", "session.stitched_id", "Stitched session id", "id", "stitched_session_id", points_out=True
    ),
    _of("session", "session.client_id", "The SDK's own id", "string", "client_session_id", points_out=True),
    _of("session", "session.state", "State", "choice", "state", values=("foreground", "background"), split="state"),
    _of("session", "session.status", "Status", "choice", "status", values=("open", "closed"), split="status"),
    # The status says the same.
    _of("session", "session.live", "Live", "boolean", "status = 'open'"),
    # The pipeline's own affair: it says nothing of how an app does.
    _of("session", "session.is_final", "Final", "boolean", "is_final"),
    _of(
        "session", "session.start_reason", "Start reason", "choice", "start_reason",
        values=tuple(Start), split="start_reason",
    ),
    # The system's own word for an exit may stand in these two: no closed list.
    _of(
        "session", "session.end_reason", "End reason", "string", "end_reason",
        suggestions=(*(str(end) for end in End), *_EXITS), split="end_reason",
    ),
    _of(
        "session", "session.exit_reason", "Exit reason", "string", "exit_reason",
        suggestions=("crash", "anr", *_EXITS), split="exit_reason",
    ),
    _of("session", "session.cold_start", "Cold start", "boolean", "cold_start", split="cold_start"),
    _of("session", FIRST, "First session of the device", "boolean", ""),
    _of("session", RETURNED, "Days until the device came back", "number", ""),
    # Times and numbers have a value of their own in nearly every session.
    _of("session", "session.started_at", "Started at", "time", "started_at"),
    _of("session", "session.ended_at", "Ended at", "time", "ended_at"),
    _of("session", "session.last_event_at", "Last event at", "time", "last_event_at"),
    _of("session", "session.duration_ms", "Duration", "number", "duration_ms", is_duration=True),
    _of("session", FIRST_SCREEN, "First screen", "string", ""),
    _of("session", LAST_SCREEN, "Last screen", "string", ""),
    _of("session", SCREEN_PATH, "Screens in order", "string", ""),
    _of("session", CONNECTION, "Connection", "list", "", suggestions=_CONNECTIONS, is_caseless=True),
    _of("session", SLOWEST_REQUEST, "Slowest request", "number", "", is_duration=True),
    _of("session", SLOWEST_START, "Slowest app start", "number", "", is_duration=True),
    _of("session", SLOWEST_SCREEN, "Slowest load of a screen", "number", "", is_duration=True),
    _of("session", "session.stitched_index", "Place in the stitched session", "number", "stitched_index"),
    _of("session", STITCHED_LENGTH, "Sessions in the stitched session", "number", ""),
    _of(
        "session", "session.policy_version", "Policy version", "number", "policy_version",
        split="policy_version", split_label="version of the policies",
    ),
    _of("session", "session.event_count", "Events", "number", "event_count"),
    *(_of("session", f"session.{name}", _COUNTER_LABELS[name], "number", name)
      for place, name in enumerate(COUNTERS) if place != APPEARANCES),
    _of("session", CRASH_GROUP, "Crash group", "list", "", operators=(*_EQUALITY, "exists")),
)  # fmt: skip

DIMENSIONS: Mapping[str, Dimension] = {each.name: each for each in _ALL if each.operators}
"""All that a filter knows under a fixed name, in the order in which a page shows them."""

SPLITS: Mapping[str, Dimension] = {each.split: each for each in _ALL if each.split}
"""All that a metric is split by under a fixed name (`Dimension.split`), in the same order."""


class Keyed(NamedTuple):
    """Dimensions whose names go on with a key of the user's."""

    label: str
    group: Group
    sql: str
    """The map that holds the values."""
    split: str
    """What comes before the key in the name by which a metric is split."""


KEYED: Mapping[str, Keyed] = {
    "user.property.": Keyed("Property", "user", "properties", "property."),
    "resource.": Keyed("Resource", "device", "resource", "resource."),
}
"""By what comes before the key in a filter."""
MAX_KEY = 200
"""Characters in such a key; a property's has at most 128."""


def dimension(name: str) -> Dimension | None:
    """The dimension that a filter knows by that name, with a key or without; None if there is none."""
    if name in DIMENSIONS:
        return DIMENSIONS[name]
    for start, keyed in KEYED.items():
        key = name.removeprefix(start)
        if key != name and 0 < len(key) <= MAX_KEY:
            return _under_key(start, keyed, key)
    return None


def split(by: str) -> Dimension | None:
    """The dimension that a metric is split by under that name, with a key or without; None if there is none."""
    for start, keyed in KEYED.items():
        key = by.removeprefix(keyed.split)
        if key != by and key:
            return _under_key(start, keyed, key)
    return SPLITS.get(by)


def split_names() -> list[str]:
    """The names that `split` knows and is offered by, `KEY` for one of the user's."""
    offered = [name for name, each in SPLITS.items() if each.is_offered]
    return [*offered, *(f"{keyed.split}KEY" for keyed in KEYED.values())]


def _under_key(start: str, keyed: Keyed, key: str) -> Dimension:
    return Dimension(
        f"{start}{key}",
        f"{keyed.label} {key}",
        keyed.group,
        "string",
        KEYED_OPERATORS,
        sql=keyed.sql,
        key=key,
        split=f"{keyed.split}{key}",
        split_label=key,
    )
