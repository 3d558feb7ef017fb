"""Where people go from screen to screen, and where they leave."""

from __future__ import annotations

from typing import Any, cast

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard import ways
from pipeline.dashboard.cohorts import FIELD
from pipeline.dashboard.leads import of_all
from pipeline.dashboard.narrowed import Narrowed, narrowed
from pipeline.dashboard.page import link, render
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.ways import Way
from pipeline.dashboard.words import iso
from pipeline.query import screen_paths
from pipeline.query.filters.tree import All, Filter, parts_of
from pipeline.query.screen_paths import LEAST_DEPTH, MOST_DEPTH, MOST_SCREENS, ORDERS, Order

_DEPTH = 4
_LONGEST_SCREEN = 500
_ORDERS: dict[Order, str] = {
    "sessions": "most sessions",
    "exits": "most exits",
    "crashes": "most crashes",
    "dwell": "longest on it",
}


class PathsPage:
    """`/paths`: of an `app` in a range, from a `screen` on, or from where sessions start, `depth` screens."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page; a mistake in the address is told on it. `order` is that of the list of screens."""
        asked, query = await narrowed(self._reader, request), request.query_params
        screen, depth, order = query.get("screen", "").strip()[:_LONGEST_SCREEN] or None, _DEPTH, "sessions"
        try:
            depth, order = _depth(query), _order(query)
        except ValueError as error:
            asked.problem = asked.problem or str(error)
        rows: list[Row] = []
        screens: list[Row] = []
        if asked.app and not asked.problem:
            span = (asked.app, asked.start_ms, asked.end_ms)
            statement = screen_paths.ways_and_screens(
                span, screen, depth, cast(Order, order), asked.condition
            )
            for row in await self._reader.rows(statement):
                (screens if row["is_screen"] else rows).append(row)
        own = {
            "screen": screen or "",
            "depth": depth if depth != _DEPTH else "",
            "order": order if order != "sessions" else "",
        }
        fields = {**asked.fields(), **own}
        leads = Leads(asked, fields, from_start=screen is None)
        return render(
            request, "paths.html", status=400 if asked.problem else 200, screen=screen, depth=depth,
            depths=range(LEAST_DEPTH, MOST_DEPTH + 1), root=ways.tree(rows, screen), leads=leads,
            screens=[_screen(row, asked, fields) for row in screens], is_cut=len(screens) == MOST_SCREENS,
            order=order,
            orders=[(name, label, link("/paths", **{**fields, "order": name})) for name, label in _ORDERS.items()],
            **asked.values("/paths", **own),
        )  # fmt: skip


class Leads:
    """Where the numbers of a tree lead; each is None where its filter cannot be written."""

    def __init__(self, asked: Narrowed, fields: dict[str, object], *, from_start: bool) -> None:
        self._asked = asked
        self._fields = fields
        self._from_start = from_start

    def sessions(self, way: Way) -> str | None:
        """Those that went so."""
        return listed(self._asked, ways.of_way(way.steps, from_start=self._from_start))

    def exits(self, way: Way) -> str | None:
        """Those that ended there."""
        return listed(self._asked, ways.of_exits(way.steps, from_start=self._from_start))

    def crashes(self, way: Way) -> str | None:
        """Those of these with a crash."""
        return listed(self._asked, ways.of_crashes(way.steps, from_start=self._from_start))

    def still_there(self, way: Way) -> str | None:
        """Those that have not ended."""
        return listed(self._asked, ways.of_still_there(way.steps, from_start=self._from_start))

    def others(self, way: Way) -> str | None:
        """Those that went on in a way that is not drawn."""
        return listed(self._asked, ways.of_others(way))

    def from_screen(self, screen: str) -> str:
        """The ways from another screen; from where sessions start, if it is empty."""
        return link("/paths", **{**self._fields, "screen": screen})


def listed(
    asked: Narrowed, wanted: Filter, start_ms: int | None = None, end_ms: int | None = None
) -> str | None:
    """Where the sessions of the page, or of a part of its range, that pass a filter as well are listed; None where it
    cannot be written."""
    text = of_all(All((*parts_of(asked.filter), *parts_of(wanted))))
    own = {name: value for name, value in asked.fields().items() if name != FIELD}
    if start_ms is not None and end_ms is not None:
        own |= {"from": iso(start_ms), "to": iso(end_ms)}
    return None if text is None else link("/sessions", **{**own, "filter": text})


def _screen(row: Row, asked: Narrowed, fields: dict[str, object]) -> dict[str, Any]:
    """A row of the list, with where its numbers lead."""
    steps = (row["screen"],)
    return {
        **row,
        "exit_share": int(row["exits"]) / int(row["sessions"]),
        "at": link("/paths", **{**fields, "screen": row["screen"]}),
        "sessions_at": listed(asked, ways.of_way(steps, from_start=False)),
        "exits_at": listed(asked, ways.of_exits(steps, from_start=False)),
        "crashes_at": listed(asked, ways.of_crashes(steps, from_start=False)),
    }


def _depth(query: QueryParams) -> int:
    told = query.get("depth") or str(_DEPTH)
    if not told.isascii() or not told.isdigit() or not LEAST_DEPTH <= int(told[:4]) <= MOST_DEPTH:
        raise ValueError(f"A path has {LEAST_DEPTH} to {MOST_DEPTH} screens.")
    return int(told[:4])


def _order(query: QueryParams) -> str:
    told = query.get("order") or "sessions"
    if told not in ORDERS:
        raise ValueError(f"Screens are sorted by {', '.join(ORDERS)}.")
    return told
