"""Chains of exceptions as JSON: what Measure's SDKs send, and the reports of Apple's crash reporter (KSCrash)."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.formats.stacks.frames import MAX_LINES, Section, StackFrame

_decode = msgspec.json.Decoder().decode


class _Thread(msgspec.Struct):
    crashed: bool = False
    backtrace: dict[str, Any] = {}


class _Crash(msgspec.Struct):
    threads: list[_Thread] = []


class _Report(msgspec.Struct):
    crash: _Crash | None = None


_decode_report = msgspec.json.Decoder(_Report).decode


def read_exceptions(json: bytes) -> list[Section]:
    """The chain in `exceptions` of Measure, the outermost first; empty where it is none."""
    try:
        chain = _decode(json)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return []
    if not isinstance(chain, list):
        return []
    return [
        Section(
            _text(each.get("type")) or _text(each.get("signal")),
            _text(each.get("message")),
            _frames(each.get("frames")),
        )
        for each in chain[:MAX_LINES]
        if isinstance(each, dict)
    ]


def read_report(json: bytes) -> list[Section]:
    """The thread that crashed, of a report of KSCrash; empty where it is none or says nothing of it."""
    try:
        report = _decode_report(json)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return []
    for thread in report.crash.threads if report.crash else ():
        calls = thread.backtrace.get("contents")
        if thread.crashed and isinstance(calls, list):
            return [
                Section("", "", tuple(_apple(each) for each in calls[:MAX_LINES] if isinstance(each, dict)))
            ]
    return []


def _frames(frames: object) -> tuple[StackFrame, ...]:
    if not isinstance(frames, list):
        return ()
    return tuple(_frame(each) for each in frames[:MAX_LINES] if isinstance(each, dict))


def _frame(frame: dict[str, Any]) -> StackFrame:
    owner, method = _text(frame.get("class_name")), _text(frame.get("method_name"))
    # Dart names the class in both.
    function = (
        method if not owner or method.startswith(f"{owner}.") else f"{owner}.{method}" if method else owner
    )
    is_own = frame.get("in_app")
    return StackFrame(
        function,
        _text(frame.get("module_name")) + _text(frame.get("file_name")),
        _image(frame.get("binary_name")),
        is_own if isinstance(is_own, bool) else None,
    )


def _apple(call: dict[str, Any]) -> StackFrame:
    name = _text(call.get("symbol_name"))
    return StackFrame("" if name == "<redacted>" else name, "", _image(call.get("object_name")))


def _image(value: object) -> str:
    return "" if value == "???" else _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
