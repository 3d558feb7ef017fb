"""What an event's name and attributes mean to a session: its kind, exit reason, what it counts, what it states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.domain.event import COUNTERS, AppState, Kind

Attributes = Mapping[str, Any]
Meaning = tuple[Kind, str, int, AppState]
"""Kind, exit reason (empty unless EXIT), bits over COUNTERS, the app's state as the event states it."""

MAX_EXIT_REASON_CHARS = 64
SEVERITY_NUMBER_ERROR = 17
"""OpenTelemetry: ERROR is 17 to 20, FATAL 21 to 24."""

STATED = frozenset(("app.state", "passive"))
"""Attributes that may be of any event, and say what it means."""

_UNSTATED = AppState.UNKNOWN
_ACTIVITY: Meaning = (Kind.ACTIVITY, "", 0, _UNSTATED)
_PASSIVE: Meaning = (Kind.PASSIVE, "", 0, _UNSTATED)
_STATES = {"foreground": AppState.FOREGROUND, "background": AppState.BACKGROUND}
_EXIT_REASONS = {
    "crash_native": "crash",
    "low_memory": "out_of_memory",
    "user_requested": "user_terminated",
    "user_stopped": "user_terminated",
}
_ERROR_WORDS = {word + digit for word in ("ERROR", "FATAL") for digit in ("", "2", "3", "4")}


def _bit(counter: str) -> int:
    return 1 << COUNTERS.index(counter)


_CRASH, _ANR, _EXCEPTION = _bit("crash_count"), _bit("anr_count"), _bit("exception_count")
_NETWORK, _NETWORK_ERROR = _bit("network_count"), _bit("network_error_count")
_TAP, _VIEW, _LOG_ERROR = _bit("tap_count"), _bit("view_count"), _bit("log_error_count")
_APPEARANCE = _bit("appearance_count")

_PLAIN: dict[str, Meaning] = {
    "session.end": (Kind.SESSION_END, "", 0, _UNSTATED),
    "app.crash": (Kind.CRASH, "", _CRASH, _UNSTATED),
    "app.widget.click": (Kind.ACTIVITY, "", _TAP, _UNSTATED),
    "app.screen.click": (Kind.ACTIVITY, "", _TAP, _UNSTATED),
    "app.heartbeat": _PASSIVE,
    "network.change": _PASSIVE,
    "device.thermal_status.change": _PASSIVE,
    "device.power_save_mode.change": _PASSIVE,
    "device.memory.low": _PASSIVE,
    "session.end.reported": _PASSIVE,
}
"""Names whose meaning hangs on no attributes but those that every event may have."""
_PASSIVE_FAMILY = "metrickit."
"""Names that begin so are of telemetry that says nothing about use."""


def interpret(name: str, attributes: Attributes) -> Meaning:
    """What an event means to a session (SESSIONS.md, "Event kinds").

    A steering attribute of an unexpected type counts as absent.
    """
    rule = RULES.get(name)
    meaning = meaning_of_name(name) if rule is None else rule(attributes)
    if "app.state" in attributes or "passive" in attributes:
        return _as_stated(meaning, attributes)
    return meaning


def meaning_without_attributes(name: str) -> Meaning:
    """`interpret` of an event that has none."""
    return _BARE.get(name) or meaning_of_name(name)


def exit_reason_of(value: object) -> str:
    """The exit reason for the system's word: the words of SESSIONS.md, else its own in lower case.

    A missing one, and what is not a word at all (another type, more than 64 characters), is `unknown`.
    """
    if not isinstance(value, str):
        return "unknown"
    word = value.strip().lower()
    if not word or len(word) > MAX_EXIT_REASON_CHARS:
        return "unknown"
    return _EXIT_REASONS.get(word, word)


def meaning_of_name(name: str) -> Meaning:
    """The meaning of an event whose name has none of `RULES`, and that has none of `STATED` among its attributes."""
    plain = _PLAIN.get(name)
    if plain is not None:
        return plain
    return _PASSIVE if name.startswith(_PASSIVE_FAMILY) else _ACTIVITY


def _as_stated(meaning: Meaning, read: Attributes) -> Meaning:
    """The meaning of an event that may state the app's state, or that it says nothing about use."""
    kind, exit_reason, counters, stated = meaning
    said = read.get("app.state")
    if isinstance(said, str):
        stated = _STATES.get(said, stated)
    if _is_true(read.get("passive")):
        kind, exit_reason = Kind.PASSIVE, ""
    return kind, exit_reason, counters, stated


def _lifecycle(read: Attributes) -> Meaning:
    android, ios = read.get("android.app.state"), read.get("ios.app.state")
    if ios == "terminate":
        return Kind.EXIT, "user_terminated", 0, _UNSTATED
    if android == "created":
        # The process is there; that it is visible is told by an event of its own.
        return Kind.LAUNCH, "", 0, AppState.BACKGROUND
    if "foreground" in (android, ios):
        return Kind.FOREGROUND, "", 0, _UNSTATED
    visibility = read.get("browser.page.visibility")
    if "background" in (android, ios) or visibility == "hidden":
        return Kind.BACKGROUND, "", 0, _UNSTATED
    if "active" in (android, ios) or visibility == "visible":
        return Kind.ACTIVE, "", 0, _UNSTATED
    return _ACTIVITY


def _launch(read: Attributes) -> Meaning:
    return (Kind.LAUNCH, "", 0, _UNSTATED) if read.get("app.launch.type") == "cold" else _ACTIVITY


def _exception(read: Attributes) -> Meaning:
    return Kind.EXCEPTION if _is_fatal(read) else Kind.ACTIVITY, "", _EXCEPTION, _UNSTATED


def _anr(read: Attributes) -> Meaning:
    return Kind.ANR if _is_fatal(read) else Kind.ACTIVITY, "", _ANR, _UNSTATED


def _exit(read: Attributes) -> Meaning:
    return Kind.EXIT, exit_reason_of(read.get("app.exit.reason")), 0, _UNSTATED


def _http(read: Attributes) -> Meaning:
    failed = _number(read.get("http.response.status_code")) >= 400 or read.get("error.type") not in (
        None,
        "",
        False,
    )
    return Kind.ACTIVITY, "", _NETWORK | _NETWORK_ERROR if failed else _NETWORK, _UNSTATED


def _log(read: Attributes) -> Meaning:
    words = (read.get("severity_text"), read.get("severity"))
    is_error = (
        _number(read.get("severity_number")) >= SEVERITY_NUMBER_ERROR
        or _number(read.get("severity")) >= SEVERITY_NUMBER_ERROR
        or any(isinstance(word, str) and word.upper() in _ERROR_WORDS for word in words)
    )
    return Kind.ACTIVITY, "", _LOG_ERROR if is_error else 0, _UNSTATED


def _view(read: Attributes) -> Meaning:
    is_derived = _is_true(read.get("app.screen.view.derived"))
    return Kind.ACTIVITY, "", _APPEARANCE if is_derived else _VIEW, _UNSTATED


def _is_fatal(read: Attributes) -> bool:
    return _is_true(read.get("fatal"))


def _is_true(value: object) -> bool:
    """True, or the text of it: some SDKs send all attributes as text."""
    return value is True or value == "true"


def _number(value: object) -> float:
    """A number, or what a text of digits says (some SDKs send all attributes as text); else 0."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) <= 4 and value.isascii() and value.isdigit():
        return int(value)
    return 0


RULES: dict[str, Callable[[Attributes], Meaning]] = {
    "device.app.lifecycle": _lifecycle,
    "app.launch": _launch,
    "exception": _exception,
    "app.anr": _anr,
    "app.exit": _exit,
    "http.client.request": _http,
    "log": _log,
    "app.screen.view": _view,
}
"""Names whose meaning hangs on attributes of theirs, which may not be those of `STATED`."""
KNOWN_NAMES = frozenset((*_PLAIN, *RULES))
"""Names that mean something to sessions or counters."""
_BARE: dict[str, Meaning] = {name: interpret(name, {}) for name in KNOWN_NAMES}
