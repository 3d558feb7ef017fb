"""Dead letters of one app. No column says whose one is, its bytes do: of the newest they are read, and not of all."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import orjson

from pipeline.api.outside import AppsOf
from pipeline.dashboard.reader import Row
from pipeline.query.dead_letters import DeadLetterChoice, DeadLetterPlace, bytes_of, newest
from pipeline.query.operations import Ask

MOST_LOOKED_AT = 2_000
MOST_BYTES = 64_000_000
"""Of all that are looked at."""
_BYTES_AT_ONCE = 10_000_000
_AT_ONCE = 500


class LettersOfApp(NamedTuple):
    """What was found, and in how many."""

    rows: list[Row]
    """As those of `newest`."""
    looked_at: int
    """So many of the newest that were chosen."""
    is_all: bool
    """There are no older ones to look at."""


def letters_of_app(
    choice: DeadLetterChoice, app: str, limit: int, apps_of: AppsOf
) -> Callable[[Ask], LettersOfApp]:
    """The newest letters of an app, at most `limit`, as work for a reader: it blocks, and raises what asking raises."""

    def work(ask: Ask) -> LettersOfApp:
        statement = newest(choice, MOST_LOOKED_AT + 1)
        rows = [orjson.loads(line) for line in ask(statement.sql, statement.parameters).splitlines()]
        found: list[Row] = []
        looked_at = 0
        for some in _portions(rows[:MOST_LOOKED_AT]):
            named = _of_app(ask, some, app, apps_of)
            for row in some:
                looked_at += 1
                if _place(row) in named:
                    found.append(row)
                if len(found) == limit:
                    return LettersOfApp(found, looked_at, looked_at == len(rows))
        return LettersOfApp(found, looked_at, looked_at == len(rows))

    return work


def _portions(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Letters in order, some at a time by their bytes, and no more than may be looked at."""
    some: list[Row] = []
    size = total = 0
    for row in rows:
        own = 0 if row["is_left_out"] else int(row["bytes"])
        total += own
        if total > MOST_BYTES:
            break
        if some and (size + own > _BYTES_AT_ONCE or len(some) == _AT_ONCE):
            yield some
            some, size = [], 0
        some.append(row)
        size += own
    if some:
        yield some


def _of_app(ask: Ask, rows: Sequence[Row], app: str, apps_of: AppsOf) -> set[DeadLetterPlace]:
    """Where those are that name the app."""
    asked = bytes_of([_place(row) for row in rows])
    found = set[DeadLetterPlace]()
    for line in ask(asked.sql, asked.parameters).splitlines():
        row = orjson.loads(line)
        key, value = base64.b64decode(row["key64"]) or None, base64.b64decode(row["value64"])
        if app in apps_of(row["topic"], key, value):
            found.add(_place(row))
    return found


def _place(row: Row) -> DeadLetterPlace:
    return DeadLetterPlace(
        row["topic"], int(row["partition"]), int(row["offset"]), int(row["event_index"]), row["reason"]
    )
