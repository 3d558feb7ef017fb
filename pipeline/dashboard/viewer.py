"""In which time zone a page is shown: the one that its address names, or the viewer chose, or the app has.

A choice is kept in a cookie. What is told to the page (layout.html) puts the zone into the address, so that whoever
gets a link sees the same days.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from zoneinfo import ZoneInfo

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.dashboard.guard import STATIC, is_api
from pipeline.domain.display import Displays
from pipeline.query.time_zone import in_zone, use, zone, zone_named

COOKIE = "session_pipeline_tz"
FIELD = "tz"


@dataclass(slots=True)
class Viewer:
    """Whose zone a request goes by."""

    zones: Displays
    chosen: str = ""
    """By whom: `address` or `viewer`; empty: it is that of the app."""


_VIEWER: ContextVar[Viewer | None] = ContextVar("viewer", default=None)


def about(app: str) -> None:
    """The page is about this app: its zone holds unless another was chosen."""
    viewer = _VIEWER.get()
    if viewer is not None and not viewer.chosen:
        use(ZoneInfo(viewer.zones.of(app).time_zone))


def chosen_by() -> str:
    """What the zone comes from: `address`, `viewer` or, empty, the app."""
    viewer = _VIEWER.get()
    return viewer.chosen if viewer else ""


def zone_field() -> Markup:
    """What a form sends along in which people write times: the zone that they are written in."""
    if not chosen_by() and zone().key == "UTC":
        return Markup()
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, zone().key)


class Zoned:
    """Around the application: sets the time zone of each request. The API has a parameter of its own for it."""

    def __init__(self, app: ASGIApp, *, zones: Displays) -> None:
        self._app = app
        self._zones = zones

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(STATIC) or is_api(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        viewer, found = (
            Viewer(self._zones),
            ZoneInfo(self._zones.of(request.query_params.get("app", "")).time_zone),
        )
        named, kept = request.query_params.get(FIELD, ""), _cookie(request)
        try:
            if named:
                viewer.chosen, found = "address", zone_named(named)
            elif kept:
                viewer.chosen, found = "viewer", zone_named(kept)
        except ValueError as error:
            if named:
                refusal = PlainTextResponse(f"“{named[:60]}” {error}.\n", 400)
                await refusal(scope, receive, send)
                return
            viewer.chosen = ""  # a zone that there is no more
        token = _VIEWER.set(viewer)
        try:
            with in_zone(found):
                await self._app(scope, receive, send)
        finally:
            _VIEWER.reset(token)


def _cookie(request: Request) -> str:
    try:
        jar = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[COOKIE].value if COOKIE in jar else ""
