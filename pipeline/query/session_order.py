"""Sessions in an order other than newest first, in pages.

A page goes on behind the last row of the page before it, by what the order goes by and then by the session's id: every
session that does not change meanwhile is on one page, whatever else comes in. One that does change, as a live one whose
duration grows, is where it belongs when its page is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson

from pipeline.query.choice import KEY_OF_TABLE, Choice
from pipeline.query.operations import Ask, rows_asked
from pipeline.query.sessions import ORDER, require_page
from pipeline.query.statement import Statement

_KEYS: Mapping[str, str] = {
    "start": "toUnixTimestamp64Milli(started_at)",
    "duration": "toInt64(duration_ms)",
    "events": "toInt64(event_count)",
    "failed": "toInt64(network_error_count)",
}
"""What sessions are ordered by, as a whole number: when they began, how long they took, what happened in them."""
_LARGEST = 2**63
_CANDIDATES = 4
"""For each session of a page so many rows are looked at that may be outdated."""


@dataclass(frozen=True, slots=True)
class Order:
    """By what, and from which end on."""

    by: str = "start"
    descending: bool = True

    @classmethod
    def parse(cls, text: str) -> Order:
        """What `str` wrote: `duration` from the shortest on, `-duration` from the longest. Raises ValueError."""
        by = text.removeprefix("-")
        if by not in _KEYS:
            raise ValueError(f"sessions are ordered by {', '.join(_KEYS)}; a - before it turns the order")
        return cls(by, text.startswith("-"))

    def __str__(self) -> str:
        return f"{'-' if self.descending else ''}{self.by}"

    @property
    def is_newest_first(self) -> bool:
        """The order of `query.sessions`, which knows how to read it day by day."""
        return self == NEWEST_FIRST

    @property
    def sql(self) -> str:
        """What stands after ORDER BY, over the columns of `sessions`."""
        if self.is_newest_first:
            return ORDER
        end = " DESC" if self.descending else ""
        return f"{_KEYS[self.by]}{end}, session_id{end}"

    def value(self, row: Mapping[str, Any]) -> int:
        """What a row of a list is ordered by."""
        names = {"start": "started_at_ms", "duration": "duration_ms", "events": "event_count"}
        return int(row[names.get(self.by, "network_error_count")])


NEWEST_FIRST = Order()


@dataclass(frozen=True, slots=True)
class SortPlace:
    """The place of a session in an order."""

    value: int
    session_id: str

    @classmethod
    def parse(cls, text: str) -> SortPlace:
        """What `str` wrote. Raises ValueError."""
        try:
            value, session_id = orjson.loads(text)
            place = cls(value, str(UUID(session_id)))
        except (ValueError, TypeError, AttributeError):
            raise ValueError("not a place in an order of sessions") from None
        if type(value) is not int or not -_LARGEST <= value < _LARGEST:
            raise ValueError("not a place in an order of sessions")
        return place

    def __str__(self) -> str:
        return orjson.dumps([self.value, self.session_id]).decode()


@dataclass(frozen=True, slots=True)
class SortedPage:
    """Some sessions in an order."""

    rows: list[dict[str, Any]]
    after: SortPlace | None
    """Where the next page goes on; None if this is the last."""


def sorted_page(ask: Ask, chosen: Choice, order: Order, after: SortPlace | None, limit: int) -> SortedPage:
    """Some of the chosen sessions, from behind `after`; rows as `session_list` has them.

    It reads of each chosen session what the order and the filter go by, and the whole of those of the page alone.
    Raises ValueError for a limit that no page has, and what `ask` raises.
    """
    require_page(limit)
    wanted = limit + 1  # so that it is known whether another page follows
    rows = _of_candidates(ask, chosen, order, after, wanted) if chosen.reads_little else None
    if rows is None:
        statement = _page(chosen, order, after, wanted)
        rows = rows_asked(ask, statement.sql, statement.parameters)
    if len(rows) <= limit:
        return SortedPage(rows, None)
    last = rows[limit - 1]
    return SortedPage(rows[:limit], SortPlace(order.value(last), last["session_id"]))


def _of_candidates(
    ask: Ask, chosen: Choice, order: Order, after: SortPlace | None, wanted: int
) -> list[dict[str, Any]] | None:
    """The first rows behind a place, without merging all that are chosen; None where too many rows are outdated.

    The row that counts of a session is among all rows there are of it. So whatever session comes before the last of
    some rows is among these, and whether a row counts is asked of these alone.
    """
    behind, parameters = _behind(order, after)
    most = _CANDIDATES * wanted
    ordered = f"ORDER BY {order.sql} LIMIT {most}"
    key = f"SELECT app_id, toString(toDate(started_at)) AS day, device_id, session_id, {_KEYS[order.by]} AS place"
    candidates = rows_asked(
        ask, f"{key} {chosen.unmerged}{behind} {ordered}", {**chosen.parameters, **parameters}
    )
    if not candidates:
        return []
    before, bound = "", {}
    if is_cut := len(candidates) == most:
        last = candidates[-1]
        before = _beyond(order, "bound", forwards=False)
        bound = {"bound_value": int(last["place"]), "bound_session": last["session_id"]}
    names = {"app_id": "String", "day": "Date", "device_id": "String", "session_id": "UUID"}
    keys = ", ".join(f"{{key_{name}:Array({type})}}" for name, type in names.items())
    these = f"SELECT k.1, k.2, k.3, k.4 FROM (SELECT arrayJoin(arrayZip({keys})) AS k)"
    rows = rows_asked(
        ask,
        f"{chosen.selected} {chosen.found_in(these, '{key_session_id:Array(UUID)}')}{behind}{before}"
        f" ORDER BY {order.sql} LIMIT {{limit:UInt32}}",
        {
            **chosen.parameters,
            **parameters,
            **bound,
            **{f"key_{name}": [row[name] for row in candidates] for name in names},
            "limit": wanted,
        },
    )
    return None if is_cut and len(rows) < wanted else rows


def _behind(order: Order, after: SortPlace | None) -> tuple[str, dict[str, object]]:
    """The condition that a session comes behind a place, to follow others."""
    if after is None:
        return "", {}
    return _beyond(order, "after", forwards=True), {
        "after_value": after.value,
        "after_session": after.session_id,
    }


def _beyond(order: Order, name: str, *, forwards: bool) -> str:
    sign = "<" if order.descending is forwards else ">"
    return f" AND ({_KEYS[order.by]}, session_id) {sign} ({{{name}_value:Int64}}, {{{name}_session:UUID}})"


def _page(chosen: Choice, order: Order, after: SortPlace | None, limit: int) -> Statement:
    behind, place = _behind(order, after)
    parameters: dict[str, object] = {**chosen.parameters, **place, "limit": limit}
    found = f"{chosen.found}{behind}"
    ordered = f"ORDER BY {order.sql} LIMIT {{limit:UInt32}}"
    if not chosen.by_days:
        return Statement(f"{chosen.selected} {found} {ordered}", parameters)
    # The table's key first, then the rows: they are wide, and the sessions of a range many.
    these = replace(chosen, passing="true").found_in(f"SELECT {KEY_OF_TABLE} {found} {ordered}")
    return Statement(f"{chosen.selected} {these} {ordered}", parameters)
