"""Reports of Apple's crash reporter (KSCrash), as Embrace sends them whole: what ended the process."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

_OUT_OF_MEMORY = ("memory_limit", "memory_pressure")
_MAX_REASON_CHARS = 64


class _Named(msgspec.Struct):
    name: str | None = None


class _Error(msgspec.Struct):
    type: str | None = None
    reason: str | None = None
    termination_reason: str | None = None
    signal: _Named | None = None
    nsexception: _Named | None = None
    cpp_exception: _Named | None = None


class _Crash(msgspec.Struct):
    error: _Error | None = None


class _Report(msgspec.Struct):
    crash: _Crash | None = None


class AppleEnding(NamedTuple):
    """How a process ended; all texts are empty where the report does not say."""

    exit_reason: str = ""
    """Why the system ended it, where it did not crash."""
    exception_type: str = ""
    message: str = ""


_report = msgspec.json.Decoder(_Report)


def ending_of(payload: str) -> AppleEnding:
    """What a report says; nothing where it is none. Only these few fields are read of what may be a megabyte."""
    try:
        report = _report.decode(payload)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return AppleEnding()
    error = report.crash.error if report.crash else None
    if error is None:
        return AppleEnding()
    if error.type == "termination":
        reason = error.termination_reason or "unknown"
        if reason == "unexplained" or len(reason) > _MAX_REASON_CHARS:
            reason = "unknown"
        return AppleEnding("out_of_memory" if reason in _OUT_OF_MEMORY else reason)
    names = (each.name for each in (error.nsexception, error.cpp_exception, error.signal) if each)
    return AppleEnding("", next(filter(None, names), error.type or ""), error.reason or "")
