"""Chains of exceptions as JSON: what Measure's SDKs send, and the reports of Apple's crash reporter (KSCrash)."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from pipeline.formats.stacks.frames import MAX_LINE_CHARS, MAX_LINES, Section, StackFrame
from pipeline.formats.stacks.names import image_name

ANEW = "written_anew"
"""The key of a frame that says what the source calls it: its line counts then, and is shown."""


class _Thread(msgspec.Struct):
    crashed: bool = False
    backtrace: dict[str, msgspec.Raw] = {}


class _Crash(msgspec.Struct):
    threads: list[_Thread] = []


class _Report(msgspec.Struct):
    crash: _Crash | None = None


_decode_report = msgspec.json.Decoder(_Report).decode


def read_exceptions(json: bytes) -> list[Section]:
    """The chain in `exceptions` of Measure, the outermost first; empty where it is none."""
    try:
        chain = orjson.loads(json)
    except orjson.JSONDecodeError:
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
        calls = _calls(thread) if thread.crashed else None
        if isinstance(calls, list):
            return [
                Section(
                    "",
                    "",
                    tuple(frame_of_report(each) for each in calls[:MAX_LINES] if isinstance(each, dict)),
                )
            ]
    return []


def _calls(thread: _Thread) -> object:
    try:
        return orjson.loads(bytes(thread.backtrace.get("contents", b"null")))
    except orjson.JSONDecodeError:
        return None


def _frames(frames: object) -> tuple[StackFrame, ...]:
    if not isinstance(frames, list):
        return ()
    return tuple(frame_of(each) for each in frames[:MAX_LINES] if isinstance(each, dict))


def frame_of(frame: dict[str, Any]) -> StackFrame:
    """A frame of Measure's."""
    owner, method = _text(frame.get("class_name")), _text(frame.get("method_name"))
    # Dart names the class in both.
    function = (
        method if not owner or method.startswith(f"{owner}.") else f"{owner}.{method}" if method else owner
    )
    is_own = frame.get("in_app")
    return StackFrame(
        function[:MAX_LINE_CHARS],
        _text(frame.get("module_name")) + _text(frame.get("file_name")),
        _image(frame.get("binary_name")),
        is_own if isinstance(is_own, bool) else None,
        _line(frame),
    )


def frame_of_report(call: dict[str, Any]) -> StackFrame:
    """A call in a report of KSCrash's."""
    name = _text(call.get("symbol_name"))
    file, image = _text(call.get("file_name")), _image(call.get("object_name"))
    function = "" if name == "<redacted>" else name[:MAX_LINE_CHARS]
    return StackFrame(function, file, image, line=_line(call))


def as_line(frame: StackFrame) -> str:
    """A frame as a line of a stack trace."""
    place = frame.file or image_name(frame.image)
    at = f"{place}:{frame.line}" if frame.file and frame.line else place
    return (
        f"\tat {frame.function} ({at})"
        if frame.function and at
        else f"\tat {frame.function or at or 'unknown'}"
    )


def _line(frame: dict[str, Any]) -> int:
    line = frame.get("line_num") if ANEW in frame else 0
    return line if isinstance(line, int) else 0


def _image(value: object) -> str:
    return "" if value == "???" else _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
