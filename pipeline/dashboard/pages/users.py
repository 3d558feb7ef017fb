"""Users: a list of them, and what one of them, or a device, did, event by event over all sessions."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.dashboard.address import BadAddress, SessionChoice
from pipeline.dashboard.asked import range_of
from pipeline.dashboard.leads import CRASHED, HUNG, of_user
from pipeline.dashboard.narrowed import DAYS, Narrowed, narrowed
from pipeline.dashboard.page import link, render
from pipeline.dashboard.pages.counts import NOT_COUNTED, counts_after
from pipeline.dashboard.pages.sessions import after_newest, field_of
from pipeline.dashboard.pages.stitched import stream_values
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.stacks import stacks_of
from pipeline.dashboard.stream import Mark, StreamChoice, in_sessions, stream
from pipeline.dashboard.words import iso, wall
from pipeline.query import journey, units
from pipeline.query.dimensions import USER
from pipeline.query.filters.tree import EVERYTHING, All, Filter, Test, parts_of
from pipeline.query.sessions import MAX_LIMIT, session_list, user_sessions
from pipeline.query.symbols import Symbols
from pipeline.query.time_zone import start_of_day
from pipeline.query.units import ListPlace

PAGE = 50
_DAY_MS = 86_400_000
_RANGES = (("last day", 1), ("7 days", 7), ("30 days", 30), ("90 days", 90))
_LONGEST_PART = 200
_ORDERS = {"seen": "last seen", "sessions": "most sessions", "crashes": "most crashes"}


class UsersPage:
    """`/users`: those of an `app` who were there in a range, by last seen, sessions or crashes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page; `q` is a part of an id, `by` the order, and a filter is of their sessions."""
        asked = await narrowed(self._reader, request)
        query = request.query_params
        part, by = query.get("q", "").strip()[:_LONGEST_PART], query.get("by") or "seen"
        if by not in _ORDERS and not asked.problem:
            asked.problem = f"Users are sorted by {', '.join(_ORDERS)}."
        rows: list[Row] = []
        counts = NOT_COUNTED
        if asked.app and not asked.problem:
            counts = counts_after(asked.app, asked.start_ms, asked.end_ms, _of_users(asked, part))
            rows = await self._reader.rows(
                units.users(
                    asked.app, asked.condition, asked.start_ms, asked.end_ms,
                    part=part, by=by, after=asked.after, limit=PAGE + 1,
                )
            )  # fmt: skip
        older, own = "", {**asked.fields(), "q": part, "by": by if by != "seen" else ""}
        if len(rows) > PAGE:
            last = rows[PAGE - 1]
            older = link("/users", **own, after=ListPlace(int(last["place"]), last["user_id"]))
        return render(
            request, "users.html", status=400 if asked.problem else 200, older=older, part=part, by=by,
            counts=counts,
            rows=[{**row, **_leads(asked, row["user_id"])} for row in rows[:PAGE]],
            orders=[(name, label, link("/users", **{**own, "by": name})) for name, label in _ORDERS.items()],
            **asked.values("/users", q=part, by=own["by"]),
        )  # fmt: skip


def _of_users(asked: Narrowed, part: str) -> Filter:
    """The sessions that pass the filter and name a user, one with that part in the id."""
    named = Test(USER, "matches", f"(?i){re.escape(part)}") if part else Test(USER, "exists")
    return All((named, *parts_of(asked.filter)))


def _leads(asked: Narrowed, user: str) -> dict[str, str | None]:
    """Where the numbers of a user lead. They are of all his sessions in the range, whichever met the filter."""
    own = {"app": asked.app, "from": iso(asked.start_ms), "to": iso(asked.end_ms)}
    filters = {
        "sessions_at": of_user(user, EVERYTHING),
        "crashed_at": of_user(user, CRASHED),
        "hung_at": of_user(user, HUNG),
    }
    return {name: filter and link("/sessions", **own, filter=filter) for name, filter in filters.items()}


class EventsOfPage:
    """`/timeline/events`: what a `user` or a `device` of an `app` did in the sessions that start in a range."""

    def __init__(self, reader: Reader, symbols: Symbols | None = None) -> None:
        self._reader = reader
        self._symbols = symbols

    async def show(self, request: Request) -> Response:
        """The page; without a range it is some days up to the newest session. Who is not named is asked for."""
        query = request.query_params
        app, user, device = (query.get(name, "").strip() for name in ("app", "user", "device"))
        if not app or bool(user) == bool(device):
            return RedirectResponse(link("/timeline", app=app, user=user, device=device), 303)
        newest = await self._reader.rows(
            user_sessions(app, user_id=user or None, device_id=device or None, limit=1)
        )
        newest_ms = int(newest[0]["started_at_ms"]) if newest else 0
        problem = ""
        try:
            start_ms, end_ms = range_of(SessionChoice.of(query), newest_ms, DAYS)
        except BadAddress as error:
            problem = str(error)
            start_ms, end_ms = range_of(SessionChoice(), newest_ms, DAYS)
        of = StreamChoice.of(query)
        who = {"app": app, "user": user, "device": device}
        (sessions, marks), around = await asyncio.gather(
            events_of(self._reader, app, user, device, start_ms, end_ms, of.search),
            self._reader.first(units.crashes_around(app, start_ms, end_ms, user_id=user, device_id=device)),
        )
        shown = stream(marks, of, newest=True)
        fields = {**who, "from": iso(start_ms), "to": iso(end_ms)}
        values = await stream_values(self._reader, app, shown, of, "/timeline/events", fields, sessions)
        return render(
            request, "user_events.html", status=400 if problem else 200, problem=problem, **who, sessions=sessions,
            is_cut=len(marks) == journey.MAX_MARKS, is_known=bool(newest), ranges=_ranges(who, newest_ms, start_ms),
            start=field_of(start_ms), end=field_of(end_ms), around=_around(who, around, of),
            stacks=await stacks_of(self._reader, self._symbols, app, shown), **values,
        )  # fmt: skip


async def events_of(
    reader: Reader, app: str, user: str, device: str, start_ms: int, end_ms: int, search: str
) -> tuple[list[Row], list[Mark]]:
    """Of a user, or else a device, the sessions that start in a range (Unix ms), oldest first, and their events in
    order, as far as they are the user's. Raises `NotAnswered`."""
    one = Test("user.id", "eq", user) if user else Test("device.id", "eq", device)
    listed = reader.rows(session_list(app, one, start_ms, end_ms, None, MAX_LIMIT))
    if user:
        newest_first, marks = await asyncio.gather(
            listed, reader.rows(units.user_marks(app, user, start_ms, end_ms, search=search))
        )
        return newest_first[::-1], marks
    sessions = (await listed)[::-1]
    if not sessions:
        return [], []
    neighbours = await reader.first(journey.neighbours(app, device, int(sessions[-1]["started_at_ms"])))
    assert neighbours is not None, "an aggregate has one row"
    after_ms = journey.LAST_MS if neighbours["after_ms"] is None else int(neighbours["after_ms"])
    place = (app, device, int(sessions[0]["started_at_ms"]), after_ms)
    marks = await reader.rows(journey.marks(*place, search=search))
    return sessions, in_sessions(marks, sessions, device)


def _ranges(who: dict[str, str], newest_ms: int, shown_ms: int) -> list[tuple[str, str, bool]]:
    found = []
    for label, days in _RANGES:
        start_ms = max(0, after_newest(newest_ms) - days * _DAY_MS)
        found.append(
            (label, link("/timeline/events", **who, **{"from": iso(start_ms)}), start_ms == shown_ms)
        )
    return found


def _around(who: dict[str, str], around: Row | None, choice: StreamChoice) -> list[tuple[str, str]]:
    """Label and address of the days of the nearest crashes outside the range."""
    found = []
    for name, label in (("before_ms", "Crash before this range"), ("after_ms", "Crash after this range")):
        at = around[name] if around else None
        if at is not None:
            start_ms = start_of_day(int(at))
            span: dict[str, Any] = {
                "from": iso(start_ms),
                "to": iso(start_of_day(start_ms, 1)),
                "crash": 1,
                "q": choice.search,
            }
            found.append((f"{label}: {wall(start_ms)[:10]}", link("/timeline/events", **who, **span)))
    return found
