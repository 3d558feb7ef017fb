"""What an event's name and attributes mean to a session: its kind, its exit reason, what it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.domain.event import COUNTERS, Kind

Attributes = Mapping[str, Any]
Meaning = tuple[Kind, str, int]
"""Kind, exit reason (empty unless EXIT), bits over COUNTERS."""

MAX_EXIT_REASON_CHARS = 64
SEVERITY_NUMBER_ERROR = 17
"""OpenTelemetry: ERROR is 17 to 20, FATAL 21 to 24."""

_ACTIVITY: Meaning = (Kind.ACTIVITY, "", 0)
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

_PLAIN: dict[str, Meaning] = {
    "session.end": (Kind.SESSION_END, "", 0),
    "app.crash": (Kind.CRASH, "", _CRASH),
    "app.widget.click": (Kind.ACTIVITY, "", _TAP),
    "app.screen.click": (Kind.ACTIVITY, "", _TAP),
    "app.screen.view": (Kind.ACTIVITY, "", _VIEW),
}
"""Names whose meaning does not hang on their attributes."""


def interpret(name: str, attributes: Attributes) -> Meaning:
    """The kind, exit reason and counter bits of an event.

    A steering attribute of an unexpected type counts as absent.
    """
    plain = _PLAIN.get(name)
    if plain is not None:
        return plain
    rule = _RULES.get(name)
    return _ACTIVITY if rule is None else rule(attributes)


def meaning_without_attributes(name: str) -> Meaning:
    """`interpret` of an event that has none."""
    return _BARE.get(name, _ACTIVITY)


def exit_reason_of(value: object) -> str:
    """The exit reason for the system's word: the words of SESSIONS.md, else its own in lower case.

    A missing one, and what is no word at all (another type, more than 64 characters), is `unknown`.
    """
    if not isinstance(value, str):
        return "unknown"
    word = value.strip().lower()
    if not word or len(word) > MAX_EXIT_REASON_CHARS:
        return "unknown"
    return _EXIT_REASONS.get(word, word)


def _lifecycle(read: Attributes) -> Meaning:
    if read.get("ios.app.state") == "terminate":
        return Kind.EXIT, "user_terminated", 0
    if read.get("android.app.state") == "created":
        return Kind.LAUNCH, "", 0
    for state in (read.get("android.app.state"), read.get("ios.app.state")):
        if state == "foreground":
            return Kind.FOREGROUND, "", 0
        if state == "background":
            return Kind.BACKGROUND, "", 0
    return _ACTIVITY


def _launch(read: Attributes) -> Meaning:
    return (Kind.LAUNCH, "", 0) if read.get("app.launch.type") == "cold" else _ACTIVITY


def _exception(read: Attributes) -> Meaning:
    return Kind.EXCEPTION if _is_fatal(read) else Kind.ACTIVITY, "", _EXCEPTION


def _anr(read: Attributes) -> Meaning:
    return Kind.ANR if _is_fatal(read) else Kind.ACTIVITY, "", _ANR


def _exit(read: Attributes) -> Meaning:
    return Kind.EXIT, exit_reason_of(read.get("app.exit.reason")), 0


def _http(read: Attributes) -> Meaning:
    failed = _number(read.get("http.response.status_code")) >= 400 or read.get("error.type") not in (
        None,
        "",
        False,
    )
    return Kind.ACTIVITY, "", _NETWORK | _NETWORK_ERROR if failed else _NETWORK


def _log(read: Attributes) -> Meaning:
    words = (read.get("severity_text"), read.get("severity"))
    is_error = (
        _number(read.get("severity_number")) >= SEVERITY_NUMBER_ERROR
        or _number(read.get("severity")) >= SEVERITY_NUMBER_ERROR
        or any(isinstance(word, str) and word.upper() in _ERROR_WORDS for word in words)
    )
    return Kind.ACTIVITY, "", _LOG_ERROR if is_error else 0


def _is_fatal(read: Attributes) -> bool:
    fatal = read.get("fatal")
    return fatal is True or fatal == "true"


def _number(value: object) -> float:
    """A number, or what a text of digits says (some SDKs send all attributes as text); else 0."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) <= 4 and value.isascii() and value.isdigit():
        return int(value)
    return 0


_RULES: dict[str, Callable[[Attributes], Meaning]] = {
    "device.app.lifecycle": _lifecycle,
    "app.launch": _launch,
    "exception": _exception,
    "app.anr": _anr,
    "app.exit": _exit,
    "http.client.request": _http,
    "log": _log,
}
_BARE: dict[str, Meaning] = {name: interpret(name, {}) for name in (*_PLAIN, *_RULES)}
