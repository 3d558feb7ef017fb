"""Shares that are free of crashes, ANRs and other ends, of sessions, users and so on: for metrics, comparisons, pages.

Which sessions crashed or hung, the view `session_health` says (`is_crashed`, `is_hung`), and whose those failures were
`session_health_of_users` (`crash_users`, `anr_users`). Rates are of what happened in the foreground.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.query import bad_ends

Whole = Literal["sessions", "stitched_sessions", "devices", "users"]

CRASHED, HUNG = "is_crashed", "is_hung"
"""That a session failed so, as columns of the views."""
OUT_OF_MEMORY, FORCE_QUIT = bad_ends.OUT_OF_MEMORY.sql, bad_ends.FORCE_QUIT.sql
"""That it ended so, which the views do not count."""

WHOLES: Mapping[Whole, str] = {
    "sessions": "count()",
    "stitched_sessions": "uniqExact(stitched_session_id)",
    "devices": "uniqExact(device_id)",
    # The named ones, and all of a session: an app that names none reads the devices.
    "users": "uniqExactArray(user_ids)",
}
"""What is counted, as an aggregate over sessions."""

_IN_FOREGROUND = "state = 'foreground'"
RATED: Mapping[Whole, str] = {
    "sessions": f"countIf({_IN_FOREGROUND})",
    "stitched_sessions": f"uniqExactIf(stitched_session_id, {_IN_FOREGROUND})",
    "devices": f"uniqExactIf(device_id, {_IN_FOREGROUND})",
    "users": f"uniqExactArrayIf(user_ids, {_IN_FOREGROUND})",
}
"""What rates are of: the same in the foreground. A stitched session that reaches into several groups counts in each."""

_IDS: Mapping[Whole, str] = {"stitched_sessions": "stitched_session_id", "devices": "device_id"}

BACKGROUND: Mapping[str, tuple[str, str]] = {
    "background_sessions": ("Background sessions", f"countIf(NOT {_IN_FOREGROUND})"),
    "background_crashes": ("Background crashes", f"countIf(NOT {_IN_FOREGROUND} AND {CRASHED})"),
}
"""What stands beside the rates: label, and aggregate over sessions."""


@dataclass(frozen=True, slots=True)
class FreeOf:
    """A share of those in whose sessions in the foreground nothing of a kind happened."""

    name: str
    label: str
    whole: Whole
    condition: str
    """That a session failed so: CRASHED, HUNG, OUT_OF_MEMORY or FORCE_QUIT."""
    failed_users: str = ""
    """Whose failures those were, over the columns of `session_health_of_users`."""

    @property
    def free(self) -> str:
        """How many it did not happen to: an aggregate over sessions."""
        if self.whole == "sessions":
            return f"countIf({_IN_FOREGROUND} AND NOT {self.condition})"
        if self.whole in _IDS:
            failed = f"uniqExactIf({_IDS[self.whole]}, {_IN_FOREGROUND} AND {self.condition})"
            return f"{RATED[self.whole]} - {failed}"
        return f"{RATED['users']} - uniqExactArrayIf({self.failed_users}, {_IN_FOREGROUND})"


FREE_OF: tuple[FreeOf, ...] = (
    FreeOf("crash_free_sessions", "Crash-free sessions", "sessions", CRASHED, "crash_users"),
    FreeOf(
        "crash_free_stitched_sessions",
        "Crash-free stitched sessions",
        "stitched_sessions",
        CRASHED,
        "crash_users",
    ),
    FreeOf("crash_free_users", "Crash-free users", "users", CRASHED, "crash_users"),
    FreeOf("crash_free_devices", "Crash-free devices", "devices", CRASHED, "crash_users"),
    FreeOf("anr_free_sessions", "ANR-free sessions", "sessions", HUNG, "anr_users"),
    FreeOf("anr_free_users", "ANR-free users", "users", HUNG, "anr_users"),
    FreeOf("out_of_memory_free_sessions", "Out-of-memory-free sessions", "sessions", OUT_OF_MEMORY),
    FreeOf("force_quit_free_sessions", "Force-quit-free sessions", "sessions", FORCE_QUIT),
)
"""In the order in which a page shows them."""
