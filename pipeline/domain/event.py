"""One fact about a device, reduced to what the fold needs."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """What an event means to a session. Only these steer sessions; everything else is ACTIVITY.

    States of devices hold the numbers: they stay.
    """

    FOREGROUND = 0
    LAUNCH = 1
    ACTIVITY = 2
    SESSION_END = 3
    BACKGROUND = 4
    CRASH = 5
    EXCEPTION = 6
    ANR = 7
    EXIT = 8
    ACTIVE = 9
    """The app, or a window of it, is in front: a foreground, unless it is there already."""
    PASSIVE = 10
    """Telemetry that says nothing about use."""

    @property
    def label(self) -> str:
        """The name in tables and messages: `session_end`."""
        return self.name.lower()


RANK: tuple[int, ...] = (0, 1, 2, 3, 3, 4, 4, 4, 5, 0, 6)
"""Rank of each kind, indexed by kind: settles the order of events of one millisecond."""


class AppState(IntEnum):
    """What is known of the app at an event, or what the event itself states."""

    UNKNOWN = 0
    FOREGROUND = 1
    BACKGROUND = 2

    @property
    def label(self) -> str:
        """The name in tables: `foreground`; empty for UNKNOWN."""
        return self.name.lower() if self else ""


COUNTERS: tuple[str, ...] = (
    "crash_count",
    "anr_count",
    "exception_count",
    "network_count",
    "network_error_count",
    "tap_count",
    "view_count",
    "log_error_count",
    "appearance_count",
)
"""What a session counts besides its events. Bit i of `Event.counters` adds one to COUNTERS[i]."""

VIEWS, APPEARANCES = COUNTERS.index("view_count"), COUNTERS.index("appearance_count")
"""Screens that the app says were viewed; those that only the coming of their parts tells of."""


class Event(NamedTuple):
    """An event as the fold sees it.

    The first four fields are its place in the order of its device, so that events compare as tuples: ids are
    unique on a device, hence no comparison ever reaches the fifth field.
    """

    time_ms: int
    """Unix milliseconds, corrected by the clock of the sender."""
    rank: int
    """RANK[kind]."""
    seq: int
    """The SDK's own counter; 0 where it has none."""
    id: str
    kind: Kind
    client_session_id: str
    """The SDK's own session id; empty where it has none."""
    exit_reason: str
    """Why the process ended; only on EXIT, empty elsewhere."""
    counters: int
    """Bit set over COUNTERS."""
    resource: str
    """The resource (app, OS, device, SDK) as canonical JSON: keys sorted, no blanks."""
    user: str
    """The user (id, personas, properties) as canonical JSON; empty if the event names none."""
    stated: AppState = AppState.UNKNOWN
    """The app's state as the event states it; UNKNOWN if it states none."""


def make_event(
    time_ms: int,
    kind: Kind,
    id: str,
    *,
    seq: int = 0,
    client_session_id: str = "",
    exit_reason: str = "",
    counters: int = 0,
    resource: str = "{}",
    user: str = "",
    stated: AppState = AppState.UNKNOWN,
) -> Event:
    """An event with its rank filled in from its kind."""
    return Event(
        time_ms, RANK[kind], seq, id, kind, client_session_id, exit_reason, counters, resource, user, stated
    )
