"""Crash-free and ANR-free, of sessions, users and devices: defined here for metrics, comparisons and pages.

Which sessions crashed or hung, the view `session_health` says (`is_crashed`, `is_hung`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Whole = Literal["sessions", "devices", "users"]

WHOLES: Mapping[Whole, str] = {
    "sessions": "count()",
    "devices": "uniqExact(device_id)",
    # The named ones: an app that names none reads the devices.
    "users": "uniqExactIf(user_id, user_id != '')",
}
"""What is counted, as an aggregate over sessions."""


@dataclass(frozen=True, slots=True)
class FreeOf:
    """A share of those in whose sessions nothing of a kind happened."""

    name: str
    label: str
    whole: Whole
    condition: str
    """That a session failed so, over the columns of `session_health`."""

    @property
    def free(self) -> str:
        """How many it did not happen to: an aggregate over sessions."""
        if self.whole == "sessions":
            return f"countIf(NOT {self.condition})"
        if self.whole == "devices":
            return f"{WHOLES['devices']} - uniqExactIf(device_id, {self.condition})"
        return f"{WHOLES['users']} - uniqExactIf(user_id, user_id != '' AND {self.condition})"


FREE_OF: tuple[FreeOf, ...] = (
    FreeOf("crash_free_sessions", "Crash-free sessions", "sessions", "is_crashed"),
    FreeOf("crash_free_users", "Crash-free users", "users", "is_crashed"),
    FreeOf("crash_free_devices", "Crash-free devices", "devices", "is_crashed"),
    FreeOf("anr_free_sessions", "ANR-free sessions", "sessions", "is_hung"),
)
"""In the order in which a page shows them."""
