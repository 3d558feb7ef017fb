"""Removing a device's or a person's rows from every table that has any, and counting what is removed.

Rows go by mutations that write the parts anew: afterwards their bytes are in no part that is read, and ClickHouse
deletes the parts before within minutes. What came after the erasure was asked for stays. Whatever a run that was cut
off has left is found and completed by the next one for the same device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.clickhouse.rows import rows_of
from pipeline.clickhouse.store import Store

TABLES = (
    *("z_event_rows", "z_notable_event_rows", "z_crash_rows", "session_rows", "told_session_rows"),
    "z_session_revision_rows",
    *("z_session_places", "z_device_days", "z_elsewhere_days", "z_user_days"),
    "z_id_places",
)
"""Tables whose rows have the id of a device or a user; dead letters have them in their bytes."""

_HERE = "app_id = {app:String} AND device_id = {device:String}"
_OFFSET_OF_VERSION = "intDiv(9223372036854775807 - intDiv(version, 2), 512)"
"""As migration 0019 makes a version of offset and place in the record."""
_OF_PERSON = (
    "(user_id = {user:String} OR arrayExists(w -> time >= w.1 AND time <= w.2,"
    " arrayZip({starts:Array(DateTime64(3, 'UTC'))}, {ends:Array(DateTime64(3, 'UTC'))})))"
)


@dataclass(frozen=True, slots=True)
class Erased:
    """Whose rows go: those of a device from before a record of `sdk-events`."""

    app_id: str
    device_id: str
    subject: str
    """The digest that stands for it."""
    below: int
    """Offset of the first record, as it is stored, whose rows stay."""
    user_id: str = ""
    """The only person whose rows go; empty: all of the device."""

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "app": self.app_id,
            "device": self.device_id,
            "below": self.below,
            "user": self.user_id,
            "subject": self.subject,
        }


@dataclass(frozen=True, slots=True)
class Letters:
    """Whose dead letters go: those that came up to a time and hold an id of whoever is erased, with that of the app."""

    app_id: str
    id: str
    """Of the device, or of the user."""
    until_ms: int
    is_device: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "app": self.app_id,
            "is_device": int(self.is_device),
            "key": f"{self.app_id}/{self.id}",
            "id": self.id,
            "quoted": f'"{self.id}"',
            "until": self.until_ms,
        }


LETTERS = (
    "time <= fromUnixTimestamp64Milli({until:Int64}, 'UTC') AND (({is_device:UInt8} AND key = {key:String}) OR"
    " ((position(value, {app:String}) > 0 OR position(key, {app:String}) > 0)"
    " AND (position(value, {quoted:String}) > 0 OR position(key, {id:String}) > 0"
    " OR (length({id:String}) >= 8 AND position(value, {id:String}) > 0))))"
)
"""The condition for them, with the parameters of `Letters`."""

Removed = Counter[str]
"""How many rows of each table went; `events` and `sessions` are what analysts saw of them. None is 0."""


class ErasedRows:
    """The rows of one database. All methods block, and raise what the store raises."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def devices_of(self, app_id: str, user_id: str) -> list[tuple[str, bool]]:
        """The devices on which a user was, each with whether somebody else was on it too."""
        rows = rows_of(
            self._store,
            "WITH devices AS (SELECT device_id FROM z_user_days WHERE app_id = {app:String} AND user_id = {user:String}"
            " UNION DISTINCT"
            " SELECT device_id FROM z_event_rows WHERE app_id = {app:String} AND user_id = {user:String})"
            " SELECT device_id, countIf(user_id NOT IN ('', {user:String})) > 0 AS shared FROM"
            " (SELECT device_id, user_id FROM z_event_rows WHERE app_id = {app:String} AND device_id IN devices"
            " UNION ALL SELECT device_id, arrayJoin(user_ids) AS user_id FROM session_rows"
            " WHERE app_id = {app:String} AND device_id IN devices)"
            " GROUP BY device_id ORDER BY device_id",
            {"app": app_id, "user": user_id},
        )
        return [(row["device_id"], bool(row["shared"])) for row in rows]

    def remove(self, erased: Erased, removed: Removed) -> None:
        """Remove what there is of a device; waits until ClickHouse is done."""
        given = erased.parameters
        events, sessions = _HERE, f"{_HERE} AND offset < {{below:UInt64}}"
        if erased.user_id:
            windows = rows_of(
                self._store,
                "SELECT toString(session_id) AS id, toString(started_at) AS start,"
                " toString(greatest(last_event_at, ended_at)) AS end"
                f" FROM session_rows WHERE {sessions} AND has(user_ids, {{user:String}})",
                given,
            )
            given |= {
                "starts": [row["start"] for row in windows],
                "ends": [row["end"] for row in windows],
                "gone": sorted({row["id"] for row in windows}),
            }
            events = f"{_HERE} AND {_OF_PERSON}"
            sessions += " AND has({gone:Array(UUID)}, session_id)"
        events += " AND offset < {below:UInt64}"
        self._count(events, sessions, given, removed)
        self._delete("z_event_rows", events, given, removed)
        self._touch_the_ledger(given)
        # They have no user: of a person's events those of the events that are left stay.
        beside = (
            f"{_HERE} AND {_OFFSET_OF_VERSION} < {{below:UInt64}} AND event_id NOT IN {{left:Array(String)}}"
        )
        left = self._left("event_id", "z_event_rows", given)
        for table in ("z_notable_event_rows", "z_crash_rows"):
            self._delete(table, beside, {**given, "left": left}, removed)
        # Before the sessions, which tell a run after one that was cut off whose they are.
        self._delete("z_session_revision_rows", self._revisions(erased), given, removed)
        self._delete("session_rows", sessions, given, removed)
        self._account(erased)
        self._remove_places(given, removed)

    def _touch_the_ledger(self, given: Mapping[str, Any]) -> None:
        """What is left of a device may be copies of what went, which count from now on (migration 0037)."""
        self._store.command(
            "INSERT INTO z_ledger_ranges (topic, partition, range, last_offset, touched_at)"
            " SELECT topic, partition, intDiv(offset, 10000) AS range, 0, now64(3, 'UTC')"
            f" FROM z_event_rows WHERE {_HERE} GROUP BY topic, partition, range",
            given,
        )

    def _revisions(self, erased: Erased) -> str:
        """Of a person those of his sessions, also of before somebody else was the only one who is named in them."""
        of_person = " AND (has({gone:Array(UUID)}, session_id) OR has(user_ids, {user:String}))"
        return f"{_HERE} AND offset < {{below:UInt64}}" + (of_person if erased.user_id else "")

    def _remove_places(self, given: Mapping[str, Any], removed: Removed) -> None:
        """Rows that say where a device's rows are: those that lead to nothing any more."""
        ids = self._left("toString(arrayJoin([session_id, stitched_session_id]))", "session_rows", given)
        raw_days = self._left("toString(toDate32(raw_time))", "z_event_rows", given)
        days = self._left("toString(toDate32(started_at))", "session_rows", given)
        some = {**given, "ids": ids, "raw_days": raw_days, "days": days}
        self._delete(
            "told_session_rows", f"{_HERE} AND NOT has({{ids:Array(UUID)}}, session_id)", some, removed
        )
        self._delete("z_session_places", f"{_HERE} AND NOT has({{ids:Array(UUID)}}, id)", some, removed)
        for table in ("z_device_days", "z_elsewhere_days"):
            self._delete(table, f"{_HERE} AND NOT has({{raw_days:Array(Date32)}}, raw_day)", some, removed)
        users = self._left("arrayJoin(user_ids)", "session_rows", given)
        self._remove_ids(given, users, removed)
        self._delete(
            "z_user_days",
            f"{_HERE} AND NOT (has({{days:Array(Date32)}}, toDate32(day)) AND has({{users:Array(String)}}, user_id))",
            {**some, "users": users},
            removed,
        )

    def _remove_ids(self, given: Mapping[str, Any], users: Sequence[str], removed: Removed) -> None:
        """Rows of ids as text; `users` are those that sessions of the device still name. Before the days of users go:
        a run that is cut off has to find them."""
        ids = self._left(
            "arrayJoin([toString(session_id), toString(stitched_session_id), lowerUTF8(client_session_id)])",
            "session_rows",
            given,
        )
        some = {**given, "ids": ids, "users": users}
        self._delete("z_id_places", f"{_HERE} AND NOT has({{ids:Array(String)}}, id)", some, removed)
        if not ids:
            device = "app_id = {app:String} AND kind = 'device' AND id = {device:String}"
            self._delete("z_id_places", device, given, removed)
        here = f"SELECT user_id FROM z_user_days WHERE {_HERE}"
        elsewhere = (
            f"SELECT user_id FROM z_user_days WHERE app_id = {{app:String}} AND user_id IN ({here})"
            " AND (device_id != {device:String} OR has({users:Array(String)}, user_id))"
        )
        gone = rows_of(
            self._store,
            f"SELECT DISTINCT user_id AS v FROM ({here}) WHERE user_id NOT IN ({elsewhere})",
            some,
        )
        self._delete(
            "z_id_places",
            "app_id = {app:String} AND kind = 'user' AND has({gone_users:Array(String)}, id)",
            {**given, "gone_users": [row["v"] for row in gone]},
            removed,
        )

    def remove_letters(self, letters: Letters, removed: Removed) -> None:
        """Remove dead letters; waits until ClickHouse is done."""
        self._delete("dead_letter_rows", LETTERS, letters.parameters, removed)

    def note(self, receipt: Mapping[str, Any], version: int) -> None:
        """Write a receipt, in place of an earlier one with its id."""
        row = orjson.dumps({**receipt, "version": version})
        self._store.insert("erasure_receipts", row, token=f"{receipt['id']}-{version}")

    def _count(self, events: str, sessions: str, given: Mapping[str, Any], removed: Removed) -> None:
        """Count what analysts see of it, and note what the ledger is to have, unless a run before has."""
        stored = f"FROM z_stored_events WHERE {events}"
        shown = {
            "events": f"SELECT count() AS n {stored}",
            "sessions": f"SELECT count() AS n FROM session_rows FINAL WHERE is_deleted = 0 AND {sessions}",
        }
        removed.update({what: count for what, sql in shown.items() if (count := self._number(sql, given))})
        self._store.command(
            "INSERT INTO z_erased_records"
            " SELECT {subject:String}, e.topic, e.partition, e.offset, e.n + l.erased FROM"
            " (SELECT topic, partition, offset, toUInt32(count()) AS n"
            f" {stored} GROUP BY topic, partition, offset) AS e"
            " INNER JOIN (SELECT topic, partition, offset, erased FROM ledger_records FINAL"
            f" WHERE (topic, partition, offset) IN (SELECT topic, partition, offset {stored})) AS l"
            " USING (topic, partition, offset)",
            given,
        )

    def _account(self, erased: Erased) -> None:
        """Put into the ledger what was counted, once it is removed."""
        given = {"subject": erased.subject}
        self._store.command(
            "INSERT INTO ledger_records (topic, partition, offset, received, refused, sampled_out, erased, app_id,"
            " stored_on, retention_days) SELECT l.topic, l.partition, l.offset, l.received, l.refused, l.sampled_out,"
            " greatest(l.erased, e.erased), l.app_id, l.stored_on, l.retention_days FROM"
            " (SELECT * FROM ledger_records FINAL WHERE (topic, partition, offset) IN"
            " (SELECT topic, partition, offset FROM z_erased_records WHERE subject = {subject:String})) AS l"
            " INNER JOIN (SELECT * FROM z_erased_records FINAL WHERE subject = {subject:String}) AS e"
            " USING (topic, partition, offset)",
            given,
        )
        self._alter("z_erased_records", "subject = {subject:String}", given)

    def _delete(self, table: str, where: str, given: Mapping[str, Any], removed: Removed) -> None:
        count = self._number(f"SELECT count() AS n FROM {table} WHERE {where}", given)
        if count:
            self._alter(table, where, given)
            removed[table] += count

    def _alter(self, table: str, where: str, given: Mapping[str, Any]) -> None:
        self._store.command(f"ALTER TABLE {table} DELETE WHERE {where}", given, {"mutations_sync": 2})

    def _left(self, what: str, table: str, given: Mapping[str, Any]) -> list[str]:
        """What rows of a device say that stay."""
        return [
            row["v"]
            for row in rows_of(self._store, f"SELECT DISTINCT {what} AS v FROM {table} WHERE {_HERE}", given)
        ]

    def _number(self, sql: str, given: Mapping[str, Any]) -> int:
        return int(rows_of(self._store, sql, given)[0]["n"])
