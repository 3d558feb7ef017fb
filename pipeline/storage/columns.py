"""The columns of the tables in ClickHouse that the sink fills: names and types, in the order of the tables.

A test compares them with the tables that the migrations make.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.domain.event import APPEARANCES, COUNTERS

SHOWN_COUNTERS: tuple[str, ...] = COUNTERS[:APPEARANCES] + COUNTERS[APPEARANCES + 1 :]
"""Counters that a row of a session has. Screens that appeared are its views, or they are not counted."""

_KEY = "LowCardinality(String)"
_TIME = "DateTime64(3, 'UTC')"

KEPT_COLUMNS: tuple[tuple[str, str], ...] = (("stored_on", "Date"), ("retention_days", "UInt16"))
"""Until when a row is kept (`pipeline.storage.kept`)."""
RATE_COLUMN = ("sample_rate", "Float64")
"""Of how many of its app's devices a session is one."""

_IDENTITY_COLUMNS: tuple[tuple[str, str], ...] = (
    ("app_id", _KEY),
    ("device_id", "String"),
    ("session_id", "UUID"),
    ("first_event_id", "String"),
)
RESOURCE_FACTS: Mapping[str, tuple[str, ...]] = {
    "app_version": ("service.version",),
    "app_build": ("app.build_id",),
    "environment": ("deployment.environment.name",),
    "os_name": ("os.name",),
    "os_version": ("os.version",),
    "device_manufacturer": ("device.manufacturer",),
    # Of a page it is all that is known of what it was seen on.
    "device_model": ("device.model.name", "device.model.identifier", "user_agent.name"),
    "sdk_name": ("telemetry.sdk.name",),
    "sdk_version": ("telemetry.sdk.version",),
}
"""Columns that a session's resource fills, each by the first of these attributes that is there."""

SESSION_COLUMNS: tuple[tuple[str, str], ...] = (
    *_IDENTITY_COLUMNS,
    ("status", _KEY),
    ("state", _KEY),
    ("start_reason", _KEY),
    ("end_reason", _KEY),
    ("exit_reason", _KEY),
    ("cold_start", "Bool"),
    ("started_at", _TIME),
    ("ended_at", _TIME),
    ("last_event_at", _TIME),
    ("arrived_at", _TIME),
    ("duration_ms", "UInt64"),
    ("is_final", "Bool"),
    ("client_session_id", "String"),
    ("stitched_session_id", "UUID"),
    ("stitched_index", "UInt32"),
    ("user_id", "String"),
    ("user_ids", "Array(String)"),
    ("personas", "Array(LowCardinality(String))"),
    ("properties", "Map(LowCardinality(String), String)"),
    *((name, _KEY) for name in RESOURCE_FACTS),
    ("resource", "Map(LowCardinality(String), String)"),
    ("event_count", "UInt32"),
    *((counter, "UInt32") for counter in SHOWN_COUNTERS),
    ("revision", "UInt64"),
    ("partition", "UInt32"),
    ("offset", "UInt64"),
    ("policy_version", "UInt32"),
    ("is_deleted", "UInt8"),
)
"""Name and ClickHouse type of what a session row holds, in the order of `session_rows`, which has KEPT_COLUMNS and
RATE_COLUMN too: the sink adds those, since they are of the day on which the row came and of what was set then."""

STORED_SESSION_COLUMNS = (*SESSION_COLUMNS, *KEPT_COLUMNS, RATE_COLUMN)

SET_ASIDE = "is_set_aside"
"""Of a session: its device's input cannot be folded. The view `sessions` looks it up, no row has it."""
_LAST_SHOWN = ("first_event_id", "last_event_at", "arrived_at", SET_ASIDE, RATE_COLUMN[0], "policy_version")
"""At the end of the view, where new columns come: whoever selects all of them finds the others where they were."""
_ALL_SHOWN = {**dict(STORED_SESSION_COLUMNS), SET_ASIDE: "Bool"}
_NOT_SHOWN = {"is_deleted", *dict(KEPT_COLUMNS), *_LAST_SHOWN}

SHOWN_SESSION_COLUMNS: Mapping[str, str] = {
    **{name: type for name, type in STORED_SESSION_COLUMNS if name not in _NOT_SHOWN},
    **{name: _ALL_SHOWN[name] for name in _LAST_SHOWN},
}
"""Name and type of the columns of the view `sessions`, in its order: lists, files and the API show these."""

FOLLOWING = frozenset(
    {
        "first_event_id",
        "duration_ms",
        "arrived_at",
        "is_final",
        "revision",
        "partition",
        "offset",
        "is_deleted",
    }
    | RESOURCE_FACTS.keys()
)
"""Columns of a session that follow from others, or say which of its rows this is and where it came from."""

FAILURES = "Array(Tuple(place UInt16, kind LowCardinality(String), crash_group String, title String, culprit String))"
"""Groups of the crashes, ANRs and exceptions among some events, each with the event's place, from 1 on."""
FAILURE_SYMBOLS = (
    "Array(Array(Tuple(kind LowCardinality(String), id String, name String, arch LowCardinality(String),"
    " app_version LowCardinality(String), app_build LowCardinality(String), is_wanted UInt8, file String)))"
)
"""Of each of them, in their order, the files that its stack needs (`formats/stacks/asking.py`)."""

EVENT_COLUMNS: tuple[tuple[str, str], ...] = (
    ("app_id", _KEY),
    ("device_id", "String"),
    ("event_id", "String"),
    ("time", _TIME),
    ("raw_time", _TIME),
    ("received_at", _TIME),
    ("name", _KEY),
    ("kind", _KEY),
    ("seq", "Int64"),
    ("client_session_id", "String"),
    ("exit_reason", _KEY),
    # A bit each.
    ("counters", "UInt32"),
    ("stated", _KEY),
    ("user_id", "String"),
    ("resource_json", _KEY),
    ("user_json", "String"),
    ("app_version", _KEY),
    ("attributes", "Map(LowCardinality(String), String)"),
    ("repaired", "Array(String)"),
    ("topic", _KEY),
    ("partition", "UInt32"),
    ("offset", "UInt64"),
    ("event_index", "UInt16"),
    *KEPT_COLUMNS,
    ("failures", FAILURES),
    ("failure_symbols", FAILURE_SYMBOLS),
)
"""The same of `z_event_feed`, from where they go into the tables of events."""

_OF_AN_EVENT = (
    *("event_id", "time", "raw_time", "name", "kind", "seq", "client_session_id", "exit_reason", "counters"),
    *("stated", "attributes", "repaired"),
)
_TYPES = dict(EVENT_COLUMNS)

ENVELOPE_COLUMNS: tuple[tuple[str, str], ...] = (
    *((name, _TYPES[name]) for name in ("app_id", "device_id", "received_at", "user_id")),
    *((name, _TYPES[name]) for name in ("resource_json", "user_json", "app_version")),
    *((name, _TYPES[name]) for name in ("topic", "partition", "offset", "event_index")),
    ("events", f"Array(Tuple({', '.join(f'{name} {_TYPES[name]}' for name in _OF_AN_EVENT)}))"),
    *KEPT_COLUMNS,
    ("failures", FAILURES),
    ("failure_symbols", FAILURE_SYMBOLS),
)
"""The same of `z_envelope_feed`: what is of the envelope once, what is of an event in an array each."""

EVENT_COPY_COLUMNS: tuple[tuple[str, str], ...] = (
    ("app_id", _KEY),
    ("device_id", "String"),
    ("event_id", "String"),
    ("raw_time", _TIME),
    ("offset", "UInt64"),
    ("event_index", "UInt16"),
    *KEPT_COLUMNS,
)
"""The same of `z_event_copy_feed`: what takes a copy of an event back."""

DEAD_LETTER_COLUMNS: tuple[tuple[str, str], ...] = (
    ("time", _TIME),
    ("reason", _KEY),
    ("detail", "String"),
    ("topic", _KEY),
    ("partition", "UInt32"),
    ("offset", "UInt64"),
    ("event_index", "Int32"),
    ("key", "String"),
    ("value", "String"),
    # Of the value as it came; it may be left out.
    ("bytes", "UInt32"),
    ("is_left_out", "Bool"),
    *KEPT_COLUMNS,
)
"""The same of `dead_letter_rows`."""

LEDGER_COLUMNS: tuple[tuple[str, str], ...] = (
    ("topic", _KEY),
    ("partition", "UInt32"),
    ("offset", "UInt64"),
    ("received", "UInt32"),
    ("refused", "UInt32"),
    ("sampled_out", "UInt32"),
    ("erased", "UInt32"),
    ("app_id", _KEY),
    *KEPT_COLUMNS,
)
"""The same of `ledger_records`."""

TABLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "session_rows": STORED_SESSION_COLUMNS,
    "z_envelope_feed": ENVELOPE_COLUMNS,
    # Of an envelope that ClickHouse refuses, event by event.
    "z_event_feed": EVENT_COLUMNS,
    "z_event_copy_feed": EVENT_COPY_COLUMNS,
    "dead_letter_rows": DEAD_LETTER_COLUMNS,
    "ledger_records": LEDGER_COLUMNS,
}
"""The tables that the sink fills, by name."""
