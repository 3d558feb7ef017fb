"""All sessions of a user or a device, those that are stitched together drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.dashboard.asked import DAYS, after_newest
from pipeline.dashboard.leads import CRASHED, HUNG, of_all
from pipeline.dashboard.page import link, render
from pipeline.dashboard.pages.sessions import apps
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.viewer import about
from pipeline.dashboard.words import iso
from pipeline.query.filters.tree import All, Test
from pipeline.query.profile import profile
from pipeline.query.sessions import Cursor, user_sessions
from pipeline.query.units import apps_of

PAGE = 60
_DAY_MS = 86_400_000
_SHORTEST_SHARE = 0.4
"""Percent of the strip that the shortest session fills, so that it can be seen."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A session on the strip of its stitched session, in percent of its width."""

    session: Row
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class StitchedStrip:
    """The sessions of one stitched session, oldest first."""

    id: str
    bars: Sequence[Bar]
    start_ms: int
    end_ms: int
    pauses_ms: int
    """Time between its sessions."""
    gap_ms: int | None
    """From its end to the start of the one above it on the page; None where they overlap or it is the first."""


class TimelinePage:
    """`/timeline`: of a `user` or a `device` of an `app`, going back from `before`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page, or the form that asks for whom."""
        query = request.query_params
        app, user, device = (query.get(name, "").strip() for name in ("app", "user", "device"))
        values: dict[str, Any] = {"app": app, "user": user, "device": device}
        if not app or bool(user) == bool(device):
            return await self._whose(request, values)
        try:
            before = Cursor.parse(query["before"]) if query.get("before") else None
        except ValueError:
            before = None
        rows = await self._reader.rows(
            user_sessions(app, user_id=user or None, device_id=device or None, before=before, limit=PAGE + 1)
        )
        shown = rows[:PAGE]
        older = None
        if len(rows) > PAGE:
            own = {name: value for name, value in values.items() if value}
            older = link("/timeline", **own, before=Cursor.of(dict(shown[-1])))
        return render(request, "timeline.html", groups=stitched(shown), older=older, before=before, **values)

    async def profile(self, request: Request) -> Response:
        """Who that is, which takes adding up many sessions and therefore comes later."""
        query = request.query_params
        app, user, device = (query.get(name, "").strip() for name in ("app", "user", "device"))
        if not app or bool(user) == bool(device):
            raise HTTPException(400, "Name an app, and either a user or a device.")
        about(app)
        newest = await self._reader.first(
            user_sessions(app, user_id=user or None, device_id=device or None, limit=1)
        )
        values: dict[str, Any] = {"app": app, "user": user, "device": device, "days": DAYS}
        if newest is None:
            return render(request, "profile.html", **values, whole=None)
        end_ms = after_newest(int(newest["started_at_ms"]))
        start_ms = max(0, end_ms - DAYS * _DAY_MS)
        rows = await self._reader.rows(profile(app, start_ms, end_ms, user_id=user, device_id=device))
        if not rows:
            return render(request, "profile.html", **values, whole=None)
        whole, *devices = rows
        own = {"app": app, "from": iso(start_ms), "to": iso(end_ms)}
        one = Test("user.id", "eq", user) if user else Test("device.id", "eq", device)
        filters = {"sessions_at": (one,), "crashed_at": (one, CRASHED), "hung_at": (one, HUNG)}
        texts = {name: of_all(All(tests)) for name, tests in filters.items()}
        values |= {name: text and link("/sessions", **own, filter=text) for name, text in texts.items()}
        return render(
            request, "profile.html", **values, whole=whole, devices=devices,
            is_older=whole["first_day"] < iso(start_ms)[:10],
        )  # fmt: skip

    async def _whose(self, request: Request, values: dict[str, Any]) -> Response:
        """The form. Who is named without an app is looked for in all: where there is one alone, it leads there."""
        user, device, found, problem = values["user"], values["device"], [], ""
        if user and device:
            problem = "Name either a user or a device."
        elif user or device:
            rows = await self._reader.rows(apps_of(user_id=user, device_id=device))
            found = [(row["app_id"], link("/timeline", **{**values, "app": row["app_id"]})) for row in rows]
            if len(found) == 1:
                return RedirectResponse(found[0][1], 303)
            problem = "" if found else f"No app has a session of this {'user' if user else 'device'}."
        status, known = 400 if user and device else 200, await apps(self._reader)
        return render(
            request, "whose.html", status=status, apps=known, problem=problem, found=found, **values
        )


def stitched(newest_first: Sequence[Row]) -> list[StitchedStrip]:
    """Sessions put together, newest first. One that goes on on the next page has only those here."""
    members: dict[str, list[Row]] = {}
    for session in newest_first:
        members.setdefault(session["stitched_session_id"], []).append(session)
    groups: list[StitchedStrip] = []
    for id, some in members.items():
        start_ms, end_ms = min(s["started_at_ms"] for s in some), max(s["ended_at_ms"] for s in some)
        lasted_ms = sum(s["ended_at_ms"] - s["started_at_ms"] for s in some)
        gap_ms = groups[-1].start_ms - end_ms if groups else 0
        bars = [_bar(session, start_ms, end_ms) for session in reversed(some)]
        pauses_ms = max(0, end_ms - start_ms - lasted_ms)
        groups.append(StitchedStrip(id, bars, start_ms, end_ms, pauses_ms, gap_ms if gap_ms > 0 else None))
    return groups


def _bar(session: Row, start_ms: int, end_ms: int) -> Bar:
    whole_ms = max(1, end_ms - start_ms)
    width = max(_SHORTEST_SHARE, 100 * (session["ended_at_ms"] - session["started_at_ms"]) / whole_ms)
    x = min(100 * (session["started_at_ms"] - start_ms) / whole_ms, 100 - width)
    return Bar(session, round(x, 3), round(width, 3))
