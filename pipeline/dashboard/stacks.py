"""The stack of an event on a page: in the words of the source, and what is missing for that."""

from __future__ import annotations

from itertools import islice
from typing import Any

from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.stream import Stream
from pipeline.query import units
from pipeline.query.crashes import ReadStack, read_stack
from pipeline.query.operations import Ask
from pipeline.query.symbols import Symbols, named, upload_command

_MOST_MISSING = 5
"""Files that a page names."""
_MOST_STACKS = 20
"""Stacks on a page of events."""
_WITH_STACK = ("crash", "anr", "exception")


async def stack_on_page(reader: Reader, symbols: Symbols | None, app: str, event: Row) -> dict[str, Any]:
    """`stack`, its lines; `came`, those that say how it came, where that is another way; and `missing`, files that
    would tell more, in words and as a command.

    `event` has `attributes` and `resource`; what has neither has no stack. Raises `NotAnswered`.
    """

    def work(_: Ask) -> ReadStack:
        return read_stack(app, event.get("resource", {}), event.get("attributes", {}), symbols)

    # In a thread: a file may have to be read first.
    read = await reader.run(work)
    missing = [(named(need), upload_command(app, need)) for need in read.missing[:_MOST_MISSING]]
    # Calls that were inlined into one stand for the same line.
    came = [
        line
        for before, line in zip((None, *read.lines), read.lines, strict=False)
        if before is None or not line.raw or line.raw != before.raw
    ]
    is_anew = any(line.raw for line in read.lines)
    return {"stack": read.lines, "came": came if is_anew else [], "missing": missing}


async def stacks_of(
    reader: Reader, symbols: Symbols | None, app: str, shown: Stream
) -> dict[tuple[str, str], dict[str, Any]]:
    """The stacks of the first failures on a page of events, as `stack_on_page`, by device and id of their events.

    Raises `NotAnswered`.
    """
    # An exception that was handled is an activity by its kind.
    with_stack = (
        each.mark for each in shown.events if {each.mark["kind"], each.mark["name"]} & set(_WITH_STACK)
    )
    failures = list(islice(with_stack, _MOST_STACKS))
    rows = await reader.rows(units.details(app, failures, whole=True)) if failures else []
    return {
        (row["device_id"], row["event_id"]): await stack_on_page(reader, symbols, app, row) for row in rows
    }
