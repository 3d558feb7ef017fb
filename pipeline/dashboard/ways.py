"""The ways that sessions take from screen to screen, as a tree, and filters that find the sessions of each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.dashboard.reader import Row
from pipeline.query.bad_ends import CRASHED
from pipeline.query.dimensions import SCREEN_PATH
from pipeline.query.filters.tree import All, Filter, Not, Test
from pipeline.query.screen_paths import WAYS

_LEAST = 0.01
"""Of all sessions of the tree: ways of fewer are not drawn."""
_ENDED = Test("session.status", "eq", "closed")
_GOES_ON = Test("session.status", "eq", "open")


@dataclass(slots=True)
class Way:
    """Screens one after the other, and what the sessions did that went so. A row of `query.screen_paths.ways`."""

    steps: tuple[str, ...]
    sessions: int = 0
    visits: int = 0
    exits: int = 0
    """Sessions that ended there."""
    crashes: int = 0
    """Of these, with a crash."""
    still_there: int = 0
    """Sessions that have not ended yet, and came no further."""
    median_dwell_ms: int = 0
    """On the last of the steps."""
    share: float = 1.0
    """Of the sessions of the tree, from 0 to 1."""
    further: list[Way] = field(default_factory=list)
    """Those that go on from it, those of most sessions first."""
    is_more: bool = False
    """Some go on in ways that are not drawn."""
    others: int | None = None
    """How many sessions went on in ways that are not drawn; None where a session may have gone several ways."""


def tree(rows: Sequence[Row], start: str | None) -> Way:
    """The tree of the rows of `query.screen_paths.ways`; its root is the screen, or the start of sessions for None.

    Of the start each session goes one way; from a screen it may have gone several, each time that it was there.
    """
    root = (start,) if start is not None else ()
    ways = {tuple(row["steps"]): _way(row) for row in rows}
    whole = ways.setdefault(root, Way(root))
    dropped: set[tuple[str, ...]] = set()
    # Those of most sessions come first, and a way before what goes on from it.
    for steps, way in ways.items():
        way.share = way.sessions / whole.sessions if whole.sessions else 0.0
        before = ways.get(steps[:-1])
        if steps == root or before is None or steps[:-1] in dropped:
            continue
        if len(before.further) == WAYS or way.share < _LEAST:
            dropped.add(steps)
            before.is_more = True
        else:
            before.further.append(way)
    deepest = max(map(len, ways))
    for way in ways.values() if start is None else ():
        if len(way.steps) < deepest:
            shown = way.exits + way.still_there + sum(each.sessions for each in way.further)
            way.others = way.sessions - shown
            way.is_more = way.others > 0
    return whole


def of_way(steps: Sequence[str], *, from_start: bool) -> Filter:
    """Sessions that went so; the ways of the start of a session only where it began with them."""
    return Test(SCREEN_PATH, "contains", _text(steps, from_start)) if steps else Test(SCREEN_PATH, "exists")


def of_exits(steps: Sequence[str], *, from_start: bool) -> Filter:
    """Those of them that ended there."""
    return All((_last(steps, from_start), _ENDED))


def of_crashes(steps: Sequence[str], *, from_start: bool) -> Filter:
    """Those of these with a crash."""
    return All((_last(steps, from_start), _ENDED, CRASHED.filter))


def of_still_there(steps: Sequence[str], *, from_start: bool) -> Filter:
    """Those that have not ended, and came no further."""
    return All((_last(steps, from_start), _GOES_ON))


def of_others(way: Way) -> Filter:
    """Sessions that went on from a way of the start of sessions, but none of those that are drawn."""
    drawn = [Not(of_way(each.steps, from_start=True)) for each in way.further]
    last = [Not(_last(way.steps, from_start=True))] if way.steps else []
    return All((of_way(way.steps, from_start=True), *drawn, *last))


def _last(steps: Sequence[str], from_start: bool) -> Filter:
    return Test(SCREEN_PATH, "contains", f"{_text(steps, from_start)}|")


def _text(steps: Sequence[str], from_start: bool) -> str:
    """As the view `screen_paths` writes it."""
    return f"{'|' if from_start else ''}> {' > '.join(steps)} >"


def _way(row: Row) -> Way:
    return Way(
        tuple(row["steps"]), int(row["sessions"]), int(row["visits"]), int(row["exits"]), int(row["crashes"]),
        int(row["still_there"]), int(row["median_dwell_ms"]),
    )  # fmt: skip
