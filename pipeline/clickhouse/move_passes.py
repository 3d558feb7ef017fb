"""What a move does with the ranges of a table: copying events and versions, and summing both sides up.

The sums are of what was there when both tables began to get the same (z_move_bounds): it does not change any more,
whoever inserts meanwhile. They do not depend on the order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

_EVENT = (
    "app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, exit_reason,"
    " counters, stated, user_id, resource_json, user_json, app_version, attributes, repaired, topic, partition, offset,"
    " event_index"
)
_MERGED = "SETTINGS do_not_merge_across_partitions_select_final = 1"
_BOUNDS = (
    "(SELECT topic, partition, max(offset) AS last_offset FROM z_move_bounds GROUP BY topic, partition) AS bounds"
    " USING (topic, partition)"
)
_OFFSET_OF_VERSION = "intDiv(18446744073709551615 - version, 512)"
_PLACE = "topic, partition, offset"
_SUBJECT = (
    "multiIf(kind IN ('crash', 'exception'), 'crash', name = 'app.anr', 'anr', name = 'exception', 'exception',"
    " kind = 'launch', 'launch', name = 'app.screen.view', 'view',"
    " name = 'http.client.request' AND bitTest(counters, 4), 'request', '')"
)


@dataclass(frozen=True, slots=True)
class Pass:
    """One way through a table. `insert` is run for each range, `{range}` being its condition, before `sums` is."""

    step: str
    table: str
    columns: tuple[tuple[str, str], ...]
    insert: str = ""
    sums: str = ""
    """Gives rows `what`, `rows`, `sum`: what a range holds, by what it is compared by."""


_BY_DEVICE = (("app_id", "String"), ("device_id", "String"))
_BY_DAY = (("app_id", "String"), ("toDate32(raw_time)", "Date32"), ("device_id", "String"))
_BY_EVENT_KEY = (("event_key", "UInt64"),)


def _events(table: str, among: str = "") -> str:
    return f"SELECT {_EVENT} FROM {table} FINAL WHERE {{range}}{among}"


def _sums(rows: str, what: str, hashed: str) -> str:
    return (
        f"SELECT {what} AS what, toUInt64(count()) AS rows, sum(cityHash64({hashed})) AS sum"
        f" FROM ({rows}) AS each INNER JOIN {_BOUNDS} WHERE offset <= last_offset GROUP BY what ORDER BY what {_MERGED}"
    )


_EVENT_SUMS = (
    "concat(app_id, ' ', toString(toYYYYMM(raw_time)))",
    _EVENT.replace("attributes", "mapSort(attributes)"),
)
_VERSIONS = f"SELECT event_key, content, topic, partition, version, {_OFFSET_OF_VERSION} AS offset FROM"
_VERSION_SUMS = "topic", "event_key, content, partition, version"

COPIES = (
    # Merged: what a merge drops may bear another day, and would be an event of its own in the new table.
    Pass("copied", "event_rows", _BY_DEVICE, f"INSERT INTO z_move_feed {_events('event_rows')} {_MERGED}"),
    Pass(
        "copied versions",
        "event_version_rows",
        _BY_EVENT_KEY,
        "INSERT INTO z_event_version_rows SELECT event_key, content, topic, partition, version,"
        " today() AS stored_on, 0 AS retention_days FROM event_version_rows WHERE {range}",
    ),
)
"""In this order, each through all of its table."""

SUMS = (
    (
        Pass("summed old events", "event_rows", _BY_DEVICE, sums=_sums(_events("event_rows"), *_EVENT_SUMS)),
        Pass(
            "summed new events",
            "z_event_rows",
            _BY_DAY,
            sums=_sums(_events("z_event_rows", " AND is_deleted = 0"), *_EVENT_SUMS),
        ),
    ),
    (
        Pass(
            "summed old versions",
            "event_version_rows",
            _BY_EVENT_KEY,
            sums=_sums(f"{_VERSIONS} event_version_rows FINAL WHERE {{range}}", *_VERSION_SUMS),
        ),
        Pass(
            "summed new versions",
            "z_event_version_rows",
            _BY_EVENT_KEY,
            sums=_sums(f"{_VERSIONS} z_event_version_rows FINAL WHERE {{range}}", *_VERSION_SUMS),
        ),
    ),
    (
        Pass(
            "summed notable events",
            "z_event_rows",
            _BY_DAY,
            sums=_sums(
                f"SELECT app_id, device_id, event_id, raw_time, version, {_SUBJECT} AS subject, {_PLACE}"
                " FROM z_event_rows FINAL WHERE {range} AND is_deleted = 0 AND subject != ''",
                "app_id",
                "subject, device_id, event_id, raw_time, version",
            ),
        ),
        Pass(
            "summed noted events",
            "z_event_rows",
            _BY_DAY,
            sums=_sums(
                f"SELECT app_id, device_id, event_id, raw_time, version, {_SUBJECT} AS subject, {_PLACE}"
                " FROM z_event_rows FINAL WHERE {range} AND is_deleted = 0 AND"
                " (app_id, subject, raw_time, device_id, event_id, version) IN (SELECT app_id, subject, raw_time,"
                " device_id, event_id, version FROM z_notable_event_rows FINAL WHERE {range} AND is_deleted = 0)",
                "app_id",
                "subject, device_id, event_id, raw_time, version",
            ),
        ),
    ),
)
"""Pairs that come to the same, if all was copied as it was."""
