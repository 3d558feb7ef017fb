"""Which sessions a statement is about, and how it reads them: rows of some days, or the view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.query.stored_rows import COUNTS, between_days
from pipeline.storage.columns import SET_ASIDE, SHOWN_SESSION_COLUMNS

TIMES_MS = (
    "toUnixTimestamp64Milli(started_at) AS started_at_ms, toUnixTimestamp64Milli(ended_at) AS ended_at_ms"
)
LISTED: Mapping[str, str] = {name: type for name, type in SHOWN_SESSION_COLUMNS.items() if name != "resource"}
"""Name and type of what a list has of each session: the columns of `sessions`, in its order."""
_LOOKED_UP = {
    SET_ASIDE: "NOT is_final AND (app_id, device_id) IN (SELECT app_id, device_id FROM devices_set_aside)"
    f" AS {SET_ASIDE}"
}
_OF_ROWS = f"SELECT {', '.join(_LOOKED_UP.get(name, name) for name in LISTED)}, {TIMES_MS}"
_DAYS = between_days("{first_day:Date}", "{last_day:Date}")
OF_VIEW, FROM_VIEW = f"SELECT * EXCEPT (resource), {TIMES_MS}", "FROM sessions WHERE"
KEY_OF_TABLE = "app_id, toDate(started_at), device_id, session_id"
"""What all rows of a session share."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which sessions a statement is about."""

    passing: str
    """The condition that they meet."""
    parameters: Mapping[str, object]
    by_days: bool = False
    """Rows of the days are read, and not the view."""
    reads_little: bool = False
    """So are they, and what the condition asks of them is in themselves."""

    @property
    def selected(self) -> str:
        """`SELECT` and the columns of a list."""
        return _OF_ROWS if self.by_days else OF_VIEW

    @property
    def found(self) -> str:
        """`FROM … WHERE …`; further conditions may follow after AND."""
        return self._from("FINAL", _DAYS) if self.by_days else f"{FROM_VIEW} {self.passing}"

    @property
    def unmerged(self) -> str:
        """As `found`, over rows of which some may be outdated, where it reads by days: with those of every session that
        is found, and in a fraction of the time."""
        return self._from("", _DAYS)

    def found_in(self, keys: str, ids: str = "") -> str:
        """As `found`, of the sessions with one of some keys (a SELECT of KEY_OF_TABLE), where it reads by days: rows of
        no others are merged. `ids` are those of the sessions, where they are known, which an index finds."""
        of_ids = f"session_id IN {ids} AND " if ids else ""
        return self._from("FINAL", f"{of_ids}{_DAYS} AND ({KEY_OF_TABLE}) IN ({keys})")

    def _from(self, final: str, first: str) -> str:
        return f"FROM session_rows {final} PREWHERE {first} WHERE {COUNTS} AND {self.passing}"
