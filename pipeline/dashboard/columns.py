"""The columns of the list of sessions, and the orders that it offers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

COLUMNS: Mapping[str, str] = {
    "app": "App",
    "version": "Version",
    "user": "User",
    "device": "Device",
    "duration": "Duration",
    "ended": "Ended",
    "happened": "What happened",
    "problems": "Problems",
    "events": "Events",
    "failed": "Failed requests",
    "requests": "Requests",
    "screens": "Screens",
    "taps": "Taps",
    "crashes": "Crashes",
    "state": "State",
    "started_by": "Began by",
    "ended_at": "Until",
    "persona": "Persona",
    "build": "Build",
    "environment": "Environment",
    "os": "System",
    "sdk": "SDK",
    "device_id": "Device id",
    "session_id": "Session id",
}
"""By name, in the order in which a choice offers and a table shows them: when it began comes before all of them."""
NUMBERS = frozenset({"duration", "events", "failed", "requests", "screens", "taps", "crashes"})
"""Those that stand at the right."""
COUNTERS: Mapping[str, str] = {
    "events": "event_count",
    "failed": "network_error_count",
    "requests": "network_count",
    "screens": "view_count",
    "taps": "tap_count",
    "crashes": "crash_count",
}
"""Those that are a counter of the session."""
ORDERED_BY: Mapping[str, str] = {
    "start": "began",
    "duration": "duration",
    "events": "events",
    "failed": "failed",
}
"""What a list can be ordered by, and the column that shows it."""
ORDERS: Mapping[str, str] = {
    "-start": "newest first",
    "start": "oldest first",
    "-duration": "longest first",
    "duration": "shortest first",
    "-events": "most events first",
    "events": "fewest events first",
    "-failed": "most failed requests first",
    "failed": "fewest failed requests first",
}
OFFERED_ORDERS = ("-start", "start", "-duration", "duration", "-events", "-failed")
"""All orders that an address may name, and those that the page leads to."""
_USUAL = ("user", "device", "duration", "ended", "happened", "problems")


def usual_columns(*, of_one_app: bool) -> tuple[str, ...]:
    """What a list shows that was not told otherwise. (The version stands below the app where there are several.)"""
    return ("version" if of_one_app else "app", *_USUAL)


def chosen_columns(names: Sequence[str]) -> tuple[str, ...]:
    """These columns, each once, in their order. Raises ValueError for one that there is not."""
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise ValueError(f"There is no column “{unknown[0][:40]}”. The columns are {', '.join(COLUMNS)}.")
    return tuple(name for name in COLUMNS if name in names)
