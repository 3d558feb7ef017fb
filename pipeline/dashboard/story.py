"""What a session's events say together: lanes of the timeline, marks, what ended it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.domain.event import APPEARANCES, COUNTERS, VIEWS
from pipeline.query.bad_ends import CRASHED

LANES: tuple[tuple[str, str], ...] = (
    ("problem", "Problems"),
    ("lifecycle", "Lifecycle"),
    ("network", "Network"),
    ("view", "Screens"),
    ("tap", "Gestures"),
    ("log", "Logs"),
    ("other", "Other"),
    ("container", "System's controllers"),
)
"""Key and label, from the top down."""

_LANE_OF_NAME = {
    "http.client.request": "network",
    "app.widget.click": "tap",
    "app.screen.click": "tap",
    "log": "log",
    "exception": "problem",
    "app.anr": "problem",
    "app.crash": "problem",
    "app.launch": "lifecycle",
    "warm_launch": "lifecycle",
    "hot_launch": "lifecycle",
}
_LANE_OF_PREFIX = {"gesture_": "tap"}
"""SDKs tell of gestures under names of their own."""
_SYSTEMS_OWN = ("UI", "_UI")
"""What the names of classes of Apple's interface begin with: UINavigationController, UIHostingController<…>."""
FOLDED = ("container",)
"""Lanes that are not shown until they are asked for."""
_VIEW_BIT, _APPEARANCE_BIT = 1 << VIEWS, 1 << APPEARANCES
_FAULT_BITS = sum(
    1 << COUNTERS.index(name)
    for name in ("crash_count", "anr_count", "exception_count", "network_error_count", "log_error_count")
)
_CRASH_BIT = 1 << COUNTERS.index("crash_count")
_KINDS_OF_END = {
    "background": "background",
    "manual": "session_end",
    "crash": "crash",
    "exception": "exception",
}
_KINDS_OF_END["anr"] = "anr"
_ENDED_BY_NEXT = {
    "foreground": "The app came to the foreground: the next session begins there.",
    "superseded": "The next event came from another session of the SDK.",
    "max_duration": "It had reached the longest duration; the next event began another session.",
    "unclean_exit": "The process ended without a report: the app started again.",
}


def names_its_views(marks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a session of these events has a view that the app itself tells of; then no other counts."""
    return any(int(mark["counters"]) & _VIEW_BIT for mark in marks)


def is_of_container(event: Mapping[str, Any]) -> bool:
    """Whether an event is of a view controller of the system's: those hold the screens of apps, and are none."""
    if event["name"] != "lifecycle_view_controller" and not int(event["counters"]) & _APPEARANCE_BIT:
        return False
    return any(word.startswith(_SYSTEMS_OWN) for word in str(event.get("what", "")).split())


def lane(event: Mapping[str, Any], *, named_views: bool) -> str:
    """The lane of an event in a session that names its views or does not. As many are views as the session counts."""
    kind, name = event["kind"], event["name"]
    if kind in ("crash", "exception", "anr"):
        return "problem"
    if int(event["counters"]) & (_VIEW_BIT if named_views else _APPEARANCE_BIT):
        return "view"
    if is_of_container(event):
        return "container"
    by_prefix = next((lane for start, lane in _LANE_OF_PREFIX.items() if name.startswith(start)), "other")
    return _LANE_OF_NAME.get(name, by_prefix if kind in ("activity", "passive") else "lifecycle")


def is_fault(event: Mapping[str, Any]) -> bool:
    """Whether an event went wrong: a failed request, an error, an exit that nobody wanted."""
    gone_badly = event["kind"] == "exit" and event["exit_reason"] not in ("user_terminated", "unknown")
    return (
        bool(int(event["counters"]) & _FAULT_BITS) or lane(event, named_views=True) == "problem" or gone_badly
    )


def is_crash(event: Mapping[str, Any]) -> bool:
    """Whether an event is a crash or a fatal exception, or the system's record of one."""
    told = event["kind"] == "exit" and event["exit_reason"] in CRASHED.reasons
    return told or event["kind"] in ("crash", "exception") or bool(int(event["counters"]) & _CRASH_BIT)


@dataclass(frozen=True, slots=True)
class EndInWords:
    """What ended a session."""

    words: str
    position: int | None = None
    """Of the event among the session's events, if one of them did."""
    by_next: bool = False
    """Whether the next session's first event did."""


def end_of(session: Mapping[str, Any], ended_ms: int, marks: Sequence[Mapping[str, Any]]) -> EndInWords:
    """What ended a session whose events are `marks`, in order."""
    reason = session["end_reason"]
    if session["status"] == "open":
        return EndInWords("It is still going on.")
    if reason == "inactivity":
        return EndInWords("Nothing came for longer than the inactivity timeout.")
    if reason in _ENDED_BY_NEXT:
        return EndInWords(_ENDED_BY_NEXT[reason], by_next=True)
    for position, mark in enumerate(marks):
        is_it = mark["kind"] == _KINDS_OF_END.get(reason) or (
            mark["kind"] == "exit" and mark["exit_reason"] == reason
        )
        if is_it and mark["time_ms"] >= ended_ms:
            return EndInWords(str(mark["what"]), position=position)
    return EndInWords("The event that ended it is beyond the events shown here.")


def unrestated(session: Mapping[str, Any], events: int) -> int:
    """How many of a session's stored events it does not count: they came too late. 0 while it goes on."""
    return max(0, events - int(session["event_count"])) if session["status"] == "closed" else 0


def missing(session: Mapping[str, Any], events: int) -> int:
    """How many of the events that a session counts are not stored. 0 while it goes on: they may be on their way."""
    return max(0, int(session["event_count"]) - events) if session["status"] == "closed" else 0


def is_trailing(session: Mapping[str, Any], ended_ms: int, time_ms: int) -> bool:
    """Whether an event of a session came after its end."""
    return session["status"] == "closed" and time_ms > ended_ms
