"""Crashes, ANRs and exceptions that have no group yet, or one of an older fingerprint: found, and put right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import orjson

from pipeline.clickhouse.store import Store

_FAILURES = (
    "SELECT raw_time, app_id, device_id, event_id FROM z_notable_event_rows FINAL"
    " WHERE subject IN ('crash', 'exception', 'anr') AND is_deleted = 0"
)
_GROUPED = (
    "SELECT raw_time, app_id, device_id, event_id FROM z_crash_rows FINAL"
    " WHERE is_deleted = 0 AND is_asked = 1 AND startsWith(crash_group, {version:String})"
    # Another file is there now than the one that its group was made by.
    " AND NOT arrayExists(s -> has({stale:Array(String)}, arrayStringConcat([app_id, s.kind, s.id, s.name, s.arch,"
    " s.app_version, s.app_build, s.file], char(31))), symbols)"
)
_OF_A_DAY = "app_id = {app:String} AND toDate32(raw_time) = {day:Date32}"


class Day(NamedTuple):
    """A day (UTC, by the devices' own stamps) of an app."""

    app_id: str
    day: str
    failures: int
    """That are to be grouped."""


class Ungrouped:
    """The events of one database that lack a group whose id begins with `version`, or all of them. All methods block
    and raise what the store raises."""

    def __init__(
        self,
        store: Store,
        version: str,
        attributes: Sequence[str],
        *,
        all: bool = False,
        stale: Sequence[Sequence[str]] = (),
    ) -> None:
        """`stale` names needs for symbols that groups are not to have: app, kind, id, name, architecture, version and
        build of the app, digest."""
        self._store = store
        self._parameters = {
            "version": "never" if all else version,
            "attributes": list(attributes),
            "stale": ["\x1f".join(each) for each in stale],
        }

    def days(self) -> list[Day]:
        """Where there are some."""
        found = self._store.query(
            f"SELECT app_id, toString(toDate32(raw_time)) AS day, count() AS failures FROM ({_FAILURES})"
            f" WHERE (raw_time, app_id, device_id, event_id) NOT IN ({_GROUPED})"
            " GROUP BY app_id, day ORDER BY app_id, day",
            self._parameters,
        )
        return [
            Day(row["app_id"], row["day"], int(row["failures"]))
            for row in map(orjson.loads, found.splitlines())
        ]

    def of_day(self, day: Day) -> Iterator[list[object]]:
        """Of each: name, kind, the attributes that are read, its resource, then COLUMNS. In bounded memory."""
        grouped = f"{_GROUPED} AND {_OF_A_DAY}"
        wanted = f"{_FAILURES} AND {_OF_A_DAY} AND (raw_time, app_id, device_id, event_id) NOT IN ({grouped})"
        lines = self._store.lines(
            "SELECT toString(name), toString(kind),"
            " mapFilter((key, value) -> has({attributes:Array(String)}, key), attributes),"
            " toString(resource_json),"
            " app_id, device_id, event_id, toString(time), toString(raw_time), toString(version), toString(stored_on),"
            f" retention_days FROM z_event_rows FINAL WHERE is_deleted = 0 AND {_OF_A_DAY}"
            # Of two events under one id the first counts, and the second may be what was notable.
            " AND (kind IN ('crash', 'exception') OR name IN ('app.anr', 'exception'))"
            f" AND (raw_time, app_id, device_id, event_id) IN ({wanted})",
            {**self._parameters, "app": day.app_id, "day": day.day},
        )
        return map(orjson.loads, lines)

    def put(self, rows: Sequence[bytes], token: str) -> None:
        """Store rows. Those of before give way to them."""
        self._store.insert("z_crash_rows", b"\n".join(rows), token=token)


COLUMNS = ("app_id", "device_id", "event_id", "time", "raw_time", "version", "stored_on", "retention_days")
"""The columns of z_crash_rows that `Ungrouped.of_day` tells behind what it tells of the event."""
