"""Receipts of erasures, and whether what they say is gone is gone still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.clickhouse.erasure import LETTERS, TABLES, Letters
from pipeline.clickhouse.rows import rows_of
from pipeline.clickhouse.store import Store

_OF_DEVICE = "app_id = {app:String} AND device_id = {id:String}"
_BEFORE = "{column} <= parseDateTime64BestEffort({{asked_at:String}}, 3, 'UTC')"
_TIMES = {"z_event_rows": "received_at", "session_rows": "arrived_at"}
"""Tables whose rows say when their record came. The others follow from these."""
_OF_USER = {
    "z_event_rows": "app_id = {app:String} AND user_id = {id:String}",
    "session_rows": "app_id = {app:String} AND (user_id = {id:String} OR has(user_ids, {id:String}))",
    "z_user_days": "app_id = {app:String} AND user_id = {id:String}",
}


class Receipts:
    """Those of one database. All methods block, and raise what the store raises."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, app_id: str, subject: str) -> Sequence[Mapping[str, Any]]:
        """What was erased of a digest, the earliest first: `id`, `asked` (a time), `asked_ms`, `is_done`, `removed`."""
        return rows_of(
            self._store,
            "SELECT id, toString(asked_at) AS asked, toUnixTimestamp64Milli(asked_at) AS asked_ms,"
            " is_done, removed FROM erasures WHERE app_id = {app:String} AND subject = {subject:String}"
            " ORDER BY asked_at",
            {"app": app_id, "subject": subject},
        )

    def left(self, letters: Letters, asked_at: str) -> Mapping[str, int]:
        """Rows by table that are there though they came before an erasure of what `letters` is about; none is {}."""
        given = {"app": letters.app_id, "id": letters.id, "asked_at": asked_at}
        of_whom = dict.fromkeys(TABLES, _OF_DEVICE) if letters.is_device else _OF_USER
        # Where something came since, only what says when it came can be told apart.
        came_since = any(
            self._number(table, where, given) for table, where in of_whom.items() if table in _TIMES
        )
        found = {}
        for table, where in of_whom.items():
            if table in _TIMES:
                before = _BEFORE.format(column=_TIMES[table])
                found[table] = self._number(table, f"{where} AND {before}", given)
            elif not came_since:
                found[table] = self._number(table, where, given)
        found["dead_letter_rows"] = self._number("dead_letter_rows", LETTERS, letters.parameters)
        return {table: count for table, count in found.items() if count}

    def _number(self, table: str, where: str, given: Mapping[str, Any]) -> int:
        return int(rows_of(self._store, f"SELECT count() AS n FROM {table} WHERE {where}", given)[0]["n"])
