"""The stack of an event as people read it: its lines, and which of them are calls of the app's own code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pipeline.formats.stacks.frames import MAX_LINE_CHARS, MAX_LINES, StackFrame, read_frame
from pipeline.formats.stacks.own_code import is_own
from pipeline.formats.stacks.structured import as_line, read_exceptions, read_report

_NONE: Mapping[str, str] = {}


class StackLine(NamedTuple):
    text: str
    is_call: bool
    is_own: bool
    raw: str = ""
    """How it came, where symbols say what the source calls it."""


def shown_stack(
    app_id: str, attributes: Mapping[str, str], raw: Mapping[str, str] = _NONE
) -> list[StackLine]:
    """The lines of the stack in an event's attributes, as ClickHouse has them; empty where there is none. `raw` is what
    `symbolicated` says of lines that it wrote anew.

    Never raises because of what it reads. At most MAX_LINES lines, each of at most MAX_LINE_CHARS characters.
    """
    if text := attributes.get("exception.stacktrace", ""):
        lines = text.rstrip().split("\n", MAX_LINES)[:MAX_LINES]
        found = [_line(line[:MAX_LINE_CHARS], app_id) for line in lines]
    else:
        found = list(_structured(app_id, attributes))[:MAX_LINES]
    return [line._replace(raw=raw.get(line.text, "").strip()) for line in found] if raw else found


def _line(text: str, app_id: str) -> StackLine:
    frame = read_frame(text.rstrip())
    return StackLine(text, frame is not None, frame is not None and is_own(frame, app_id))


def _structured(app_id: str, attributes: Mapping[str, str]) -> Iterator[StackLine]:
    for name in ("exception.exceptions", "anr.exceptions"):
        for number, section in enumerate(
            read_exceptions(attributes.get(name, "").encode("utf-8", "replace"))
        ):
            if section.frames:
                head = ": ".join(part for part in (section.type, section.message) if part) or "unknown"
                yield StackLine(f"Caused by: {head}" if number else head, False, False)
                yield from (_call(frame, app_id) for frame in section.frames)
    for section in read_report(attributes.get("emb.payload", "").encode("utf-8", "replace")):
        yield from (_call(frame, app_id) for frame in section.frames)


def _call(frame: StackFrame, app_id: str) -> StackLine:
    return StackLine(as_line(frame)[:MAX_LINE_CHARS], True, is_own(frame, app_id))
