"""The list of sessions, newest first, with its filter and its time range."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.address import LATEST_MS, BadAddress, SessionChoice
from pipeline.dashboard.page import render
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.words import iso, unix_ms
from pipeline.query import saved
from pipeline.query.dimensions import DIMENSIONS, KEYED
from pipeline.query.filters.json_form import FilterError
from pipeline.query.filters.matches import asked_events
from pipeline.query.filters.text_form import parse, to_text
from pipeline.query.operations import Ask
from pipeline.query.sessions import Cursor, PageOfSessions, app_ids, extent, session_page

PAGE = 50
_DAY_MS = 86_400_000
DAYS = 30
"""Shown where the address names no range, up to the newest session: one of `_RANGES`."""
_RANGES = (("last day", 1), ("7 days", 7), ("30 days", 30), ("90 days", 90))
EXAMPLES: Mapping[str, str] = {
    "Crashed after a request had failed": "has http.client.request(http.response.status_code >= 500) then app.crash",
    "Ended badly": 'session.end_reason in ("crash", "anr", "exception", "out_of_memory", "unclean_exit")',
    "Live just now": "session.live = true",
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


class Span(NamedTuple):
    """When the oldest and the newest session started (Unix ms), and about how many there are; zeros without any."""

    oldest_ms: int
    newest_ms: int
    sessions: int


async def span(reader: Reader, app: str) -> Span:
    """Of the sessions of an app; of all apps without one. Reads no session."""
    found = await reader.first(extent(app))
    if not found or not int(found["sessions"]):
        return Span(0, 0, 0)
    return Span(unix_ms(found["oldest"]), unix_ms(found["newest"]), int(found["sessions"]))


class SessionsPage:
    """`/sessions`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page; a mistake in the address is told on it, beside what else it says."""
        problem = ""
        try:
            choice = SessionChoice.of(request.query_params)
        except BadAddress as error:
            choice, problem = SessionChoice(app=request.query_params.get("app", "")), str(error)
        filters, known = await asyncio.gather(
            self._reader.rows(saved.saved_filters(choice.app)), span(self._reader, choice.app)
        )
        text = _text(choice, filters)
        page = _EMPTY
        if not problem:
            try:
                page = await self._page(choice, text, known)
                text = to_text(parse(text))
            except FilterError as error:
                problem = f"The filter cannot be read: {error}"
            except ValueError:
                problem = "That page cannot be found. Begin with the newest sessions."
        return await self._answer(request, choice, text, page, known, filters, problem)

    async def _answer(
        self,
        request: Request,
        choice: SessionChoice,
        text: str,
        page: PageOfSessions,
        known: Span,
        filters: Sequence[Row],
        problem: str,
    ) -> Response:
        own = {**choice.first_page().fields(), "filter": text}
        ranges = _ranges(choice, own, known.newest_ms)
        older = {**own, "after": str(page.after)} if page.after else None
        values: dict[str, Any] = {
            "choice": choice,
            "filter": text,
            "sessions": page.rows,
            "apps": await apps(self._reader),
            "filters": filters,
            "is_default": choice.filter is None and bool(text),
            "older": older and f"/sessions?{urlencode(older)}",
            "newest": f"/sessions?{urlencode(own)}",
            # Then a session opens where the filter's events are.
            "asks_for_events": not problem and bool(asked_events(parse(text))),
            "examples": EXAMPLES.items(),
            "vocabulary": _VOCABULARY,
            "ranges": ranges,
            "shown_range": next(
                (label for label, _, is_shown in ranges if is_shown and not choice.is_all), ""
            ),
            "problem": problem,
            "start": field_of(choice.start_ms),
            "end": field_of(choice.end_ms),
        }
        return render(request, "sessions.html", status=400 if problem else 200, **values)

    async def _page(self, choice: SessionChoice, text: str, known: Span) -> PageOfSessions:
        after = Cursor.parse(choice.after) if choice.after else None
        filter = parse(text)
        # Outside of it there is nothing to look for, day by day.
        start_ms = max(_start_ms(choice, known.newest_ms), known.oldest_ms)
        end_ms = min(choice.end_ms or LATEST_MS, known.newest_ms + 1)

        def read(ask: Ask) -> PageOfSessions:
            return session_page(
                ask, choice.app or None, filter, start_ms, end_ms, after, PAGE, stored=known.sessions
            )

        return await self._reader.run(read)


def _start_ms(choice: SessionChoice, newest_ms: int) -> int:
    """Where the sessions shown begin: as the address says, or some days before the end that it names, or the newest."""
    if choice.is_all or choice.start_ms is not None:
        return choice.start_ms or 0
    end_ms = after_newest(newest_ms) if choice.end_ms is None else min(choice.end_ms, after_newest(newest_ms))
    return max(0, end_ms - DAYS * _DAY_MS)


def after_newest(newest_ms: int) -> int:
    """The end of a range that has the newest session in it: a whole minute."""
    return (newest_ms // 60_000 + 1) * 60_000


def _ranges(choice: SessionChoice, own: dict[str, str], newest_ms: int) -> list[tuple[str, str, bool]]:
    """Label, address and whether it is the one shown: up to the newest session, which may be long ago."""
    end_ms = after_newest(newest_ms)
    rest = {name: value for name, value in own.items() if name not in ("from", "to", "range")}
    found = []
    for label, days in _RANGES:
        start_ms = max(0, end_ms - days * _DAY_MS)
        is_shown = choice.end_ms is None and not choice.is_all and _start_ms(choice, newest_ms) == start_ms
        found.append((label, f"/sessions?{urlencode({**rest, 'from': iso(start_ms)})}", is_shown))
    is_everything = choice.is_all and choice.end_ms is None
    return [*found, ("everything", f"/sessions?{urlencode({**rest, 'range': 'all'})}", is_everything)]


def _text(choice: SessionChoice, filters: Sequence[Row]) -> str:
    """The filter of the address, or else the one that the app begins with."""
    if choice.filter is not None:
        return choice.filter
    return next((str(each["filter"]) for each in filters if each["is_default"]), "")


def field_of(ms: int | None) -> str:
    """A time as the browser's own field for it has it."""
    return "" if ms is None else iso(ms)[:16]
