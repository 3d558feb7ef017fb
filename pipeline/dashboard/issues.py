"""The issues of two sides as lines of a page: what is new, gone, worse, better, and where each number leads. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode

from pipeline.dashboard.leads import request_filter
from pipeline.dashboard.reader import Row
from pipeline.dashboard.sides import AskedSide
from pipeline.dashboard.verdict import points
from pipeline.dashboard.words import NONE, iso, percent
from pipeline.query.compare import Interval, difference
from pipeline.query.dimensions import CRASH_GROUP, USER
from pipeline.query.filters.tree import Filter, HasEvent, Test

Verdict = Literal["new", "gone", "worse", "better", "same"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A share of one side, and the number that it is of."""

    share: str
    count: int
    address: str | None
    """Where the sessions of that number are listed; None where no filter says it."""


@dataclass(frozen=True, slots=True)
class IssueLine:
    """One issue on both sides."""

    kind: str
    title: str
    detail: str
    issue_at: str | None
    """Its own page."""
    people: tuple[Cell, Cell]
    """Users, or devices where a side names nobody."""
    sessions: tuple[Cell, Cell]
    interval: Interval | None
    """Of the share of people, b less a; None where a side is empty."""
    verdict: Verdict

    @property
    def is_clear(self) -> bool:
        """Whether it is more than chance."""
        return self.interval is not None and self.interval.is_clear

    @property
    def difference(self) -> str:
        """In percentage points, with its interval."""
        if self.interval is None:
            return NONE
        value, low, high = map(points, self.interval)
        return f"{value} ({low} to {high})"

    @property
    def tone(self) -> str:
        """Of its verdict: `worse`, `good`, or nothing where chance may have done it."""
        if not self.is_clear:
            return ""
        return "worse" if self.verdict in ("new", "worse") else "good"


def issue_lines(rows: Sequence[Row], sides: tuple[AskedSide, AskedSide]) -> list[IssueLine]:
    """The rows of `query.issues.compare_issues`, what matters most first.

    That is what clearly became worse or is new, then what clearly became better or is gone, then all else; of each of
    these what differs most, and then what most people met.
    """
    lines = [_line(row, sides) for row in rows]
    places = {id(line): _place(line) for line in lines}
    return sorted(lines, key=lambda line: places[id(line)])


def verdict_of(sessions_a: int, sessions_b: int, interval: Interval | None) -> Verdict:
    """`new` and `gone` are what was seen: a glance at the interval says whether chance may have done it."""
    if not sessions_a and sessions_b:
        return "new"
    if sessions_a and not sessions_b:
        return "gone"
    if interval is None or not interval.is_clear:
        return "same"
    return "worse" if interval.value > 0 else "better"


def share(count: int, whole: int) -> str:
    """Only none at all is `0 %`: one user among many must not be rounded away."""
    if not whole:
        return NONE
    shown = percent(count / whole)
    return "< 0.01 %" if count and shown == "0 %" else shown


def _line(row: Row, sides: tuple[AskedSide, AskedSide]) -> IssueLine:
    unit = "users" if int(row["by_users"]) else "devices"
    tests = _tests(row)
    named = (Test(USER, "exists"),) if unit == "users" else ()
    counts = [(int(row[f"{unit}_{side}"]), int(row[f"all_{unit}_{side}"])) for side in "ab"]
    interval = difference(*counts[0], *counts[1])
    return IssueLine(
        row["kind"],
        row["title"],
        row["detail"],
        _page_of(row, sides),
        _cells(row, unit, lambda side: side.sessions_at(*tests, *named) if tests else None, sides),
        _cells(row, "sessions", lambda side: side.sessions_at(*tests) if tests else None, sides),
        interval,
        verdict_of(int(row["sessions_a"]), int(row["sessions_b"]), interval),
    )


def _cells(
    row: Row, unit: str, address: Callable[[AskedSide], str | None], sides: tuple[AskedSide, AskedSide]
) -> tuple[Cell, Cell]:
    first, second = (
        Cell(share(count, int(row[f"all_{unit}_{name}"])), count, address(side))
        for name, side in zip("ab", sides, strict=True)
        for count in [int(row[f"{unit}_{name}"])]
    )
    return first, second


def _tests(row: Row) -> tuple[Filter, ...]:
    """That a session has the issue; nothing where no filter says it."""
    if row["kind"] != "request":
        return (Test(CRASH_GROUP, "eq", row["issue"]),)
    request, status = row["title"], row["detail"]
    if not request or not status:
        return ()  # any request at all, or any that is like it
    found = request_filter(request, status)
    if status.isdigit() and int(status) < 400:
        # It failed for an error beside it.
        found = HasEvent(found.name, (*found.tests, Test("error.type", "exists")))
    return (found,)


def _page_of(row: Row, sides: tuple[AskedSide, AskedSide]) -> str | None:
    """The page of a group over the range of a side that has it, the newer one before the other."""
    if row["kind"] == "request":
        return None
    side = sides[1] if int(row["sessions_b"]) else sides[0]
    own = {"app": side.app, "from": iso(side.start_ms), "to": iso(side.end_ms)}
    return f"/crashes/{quote(row['issue'], safe='')}?{urlencode(own)}"


def _place(line: IssueLine) -> tuple[object, ...]:
    value = line.interval.value if line.interval else 0.0
    rank = (0 if value > 0 else 1) if line.is_clear else 2
    met = sum(cell.count for cell in line.people)
    return (
        rank,
        -abs(value),
        -met,
        -sum(cell.count for cell in line.sessions),
        line.kind,
        line.title,
        line.detail,
    )
