"""The list of sessions, newest first, with its filter and its time range."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.address import BadAddress, SessionChoice
from pipeline.dashboard.asked import (
    DAYS,
    Wanted,
    after_newest,
    asked,
    choice_of,
    first_ms,
    in_canonical_form,
    span,
)
from pipeline.dashboard.cohorts import FIELD, cohorts
from pipeline.dashboard.columns import (
    COLUMNS,
    COUNTERS,
    NUMBERS,
    OFFERED_ORDERS,
    ORDERED_BY,
    ORDERS,
    usual_columns,
)
from pipeline.dashboard.exports import EXPORTS
from pipeline.dashboard.page import render
from pipeline.dashboard.pages.counts import NOT_COUNTED, Counted, counts_beside
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.words import iso, wall
from pipeline.query import bad_ends
from pipeline.query.dimensions import DIMENSIONS, KEYED
from pipeline.query.filters.json_form import FilterError
from pipeline.query.filters.matches import asked_events
from pipeline.query.filters.text_form import parse, to_text
from pipeline.query.session_order import SortedPage, SortPlace, sorted_page
from pipeline.query.sessions import Cursor, PageOfSessions, app_ids

__all__ = ["DAYS", "EXAMPLES", "PAGE", "SessionsPage", "after_newest", "apps", "field_of", "span"]

PAGE = 50
_DAY_MS = 86_400_000
_RANGES = (("last day", 1), ("7 days", 7), ("30 days", 30), ("90 days", 90))
EXAMPLES: Mapping[str, str] = {
    "Crashed after a request had failed": "has http.client.request(http.response.status_code >= 500) then app.crash",
    "Ended badly": to_text(bad_ends.ANY.filter),
    "Live now": "session.live = true",
    "First sessions of a device that were over in ten seconds": "session.first = true and session.duration_ms < 10000",
    "Long, and nothing was tapped": "session.duration_ms >= 60000 and session.tap_count = 0",
    "Users in a variant of an experiment": (
        'user.property exists "experiment.checkout" and not user.property.experiment.checkout = "control"'
    ),
    "Tapped, and then no request for two seconds": "has app.widget.click then not http.client.request within 2s",
    "At least three failed requests in a minute": (
        "has at least 3 of http.client.request(error.type exists) within 1m"
    ),
    "One request took longer than five seconds": "session.slowest_request_ms > 5s",
    "A cold start that took longer than two seconds": "session.cold_start = true and session.start_ms > 2s",
    "A request to one address failed": 'has http.client.request(url.full contains "/cart", error.type exists)',
}
"""What a filter is for, and the filter."""
_VOCABULARY: Mapping[str, Sequence[str]] = {
    group.capitalize(): [
        *(name for name, each in DIMENSIONS.items() if each.group == group),
        *(f"{start}KEY" for start, keyed in KEYED.items() if keyed.group == group),
    ]
    for group in dict.fromkeys(each.group for each in DIMENSIONS.values())
}
_EMPTY = PageOfSessions([], None)


async def apps(reader: Reader) -> list[str]:
    """The ids of all apps that have sessions."""
    return [row["app_id"] for row in await reader.rows(app_ids())]


class SessionsPage:
    """`/sessions`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page; a mistake in the address is told on it, beside what else it says."""
        problem = ""
        try:
            choice = choice_of(request.query_params)
        except BadAddress as error:
            choice, problem = SessionChoice(app=request.query_params.get("app", "")), str(error)
        wanted, filters, known = await asked(self._reader, choice)
        if request.query_params.get(FIELD) and not problem:
            try:
                chosen = await cohorts(self._reader, choice.app, request.query_params)
                wanted = replace(wanted, text=to_text(chosen.narrowed(parse(choice.filter or ""))))
            except (BadAddress, FilterError) as error:
                problem = str(error)
        page: PageOfSessions | SortedPage = _EMPTY
        counted = NOT_COUNTED
        if not problem:
            try:
                page, counted = await asyncio.gather(self._page(wanted), counts_beside(self._reader, wanted))
                wanted = replace(wanted, text=in_canonical_form(wanted.text))
            except FilterError as error:
                problem = f"The filter cannot be read: {error}"
            except ValueError:
                problem = "That page cannot be found. Begin with the first sessions."
        return await self._answer(request, wanted, page, counted, filters, known, problem)

    async def _answer(
        self,
        request: Request,
        wanted: Wanted,
        page: PageOfSessions | SortedPage,
        counted: Counted,
        filters: Sequence[Row],
        known: Sequence[str],
        problem: str,
    ) -> Response:
        choice, ranges = wanted.choice, _ranges(wanted)
        values: dict[str, Any] = {
            "choice": choice,
            "filter": wanted.text,
            "sessions": page.rows,
            "apps": known,
            "filters": filters,
            "is_default": choice.filter is None and bool(wanted.text),
            # With the beginning of the range, which would move on with what comes in.
            "older": page.after
            and f"/sessions?{urlencode({**wanted.pinned().fields(), 'after': str(page.after)})}",
            "newest": wanted.address(),
            # Then a session opens where the filter's events are.
            "asks_for_events": not problem and bool(asked_events(parse(wanted.text))),
            "examples": EXAMPLES.items(),
            "vocabulary": _VOCABULARY,
            "ranges": ranges,
            "shown_range": next(
                (label for label, _, is_shown in ranges if is_shown and not choice.is_all), ""
            ),
            "problem": problem,
            "start": field_of(choice.start_ms),
            "end": field_of(choice.end_ms),
            **_list_values(wanted),
            "counted": counted,
            # New ones come at the top, and nothing is said about where the list ends.
            "can_follow": not problem
            and not choice.after
            and choice.end_ms is None
            and wanted.order.is_newest_first,
        }
        return render(request, "sessions.html", status=400 if problem else 200, **values)

    async def _page(self, wanted: Wanted) -> PageOfSessions | SortedPage:
        after = wanted.choice.after
        if not wanted.order.is_newest_first:
            place = SortPlace.parse(after) if after else None
            chosen = wanted.chosen()
            return await self._reader.run(lambda ask: sorted_page(ask, chosen, wanted.order, place, PAGE))
        cursor = Cursor.parse(after) if after else None
        return await self._reader.run(lambda ask: wanted.page(ask, cursor, PAGE))


def _list_values(wanted: Wanted) -> dict[str, Any]:
    """What the list is told of its columns and its order, and where other orders and the exports are."""
    choice, order = wanted.choice, str(wanted.order)
    columns = choice.columns or usual_columns(of_one_app=bool(choice.app))
    return {
        "columns": columns,
        "all_columns": COLUMNS,
        "numbers": NUMBERS,
        "counters": COUNTERS,
        "order": ORDERS[order],
        "ordered": (ORDERED_BY[wanted.order.by], "descending" if wanted.order.descending else "ascending"),
        "orders": [
            (
                ORDERS[each],
                wanted.address({"sort": None if each == OFFERED_ORDERS[0] else each}),
                each == order,
            )
            for each in OFFERED_ORDERS
        ],
        "hidden": [
            *((name, text) for name, text in choice.first_page().fields().items() if name != "columns"),
            *(() if choice.filter is not None else (("filter", wanted.text),)),
        ],
        "exports": [
            (label, f"/export/sessions?{urlencode({**wanted.pinned().fields(), 'format': name})}")
            for name, label in EXPORTS.items()
        ],
    }


def _ranges(wanted: Wanted) -> list[tuple[str, str, bool]]:
    """Label, address and whether it is the one shown: up to the newest session, which may be long ago."""
    choice, newest_ms = wanted.choice, wanted.known.newest_ms
    end_ms = after_newest(newest_ms)
    found = []
    for label, days in _RANGES:
        start_ms = max(0, end_ms - days * _DAY_MS)
        is_shown = choice.end_ms is None and not choice.is_all and first_ms(choice, newest_ms) == start_ms
        address = wanted.address({"from": iso(start_ms), "to": None, "range": None})
        found.append((label, address, is_shown))
    everything = wanted.address({"from": None, "to": None, "range": "all"})
    return [*found, ("everything", everything, choice.is_all and choice.end_ms is None)]


def field_of(ms: int | None) -> str:
    """A time as the browser's own field for it has it, in the zone of the page."""
    return "" if ms is None else wall(ms)[:16]
