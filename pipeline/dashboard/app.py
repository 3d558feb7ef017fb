"""The application: which address leads to which page, and what a failure looks like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.dashboard.compression import Compression
from pipeline.dashboard.exports import Export
from pipeline.dashboard.guard import Guard
from pipeline.dashboard.login import Login
from pipeline.dashboard.page import FOLDER, render
from pipeline.dashboard.pages.alerts import AlertsPage
from pipeline.dashboard.pages.counts import CountsPage
from pipeline.dashboard.pages.crashes import CrashPages
from pipeline.dashboard.pages.export import ExportPage
from pipeline.dashboard.pages.filters import FilterPages
from pipeline.dashboard.pages.find import FindPage
from pipeline.dashboard.pages.flows import FlowsPage
from pipeline.dashboard.pages.health import HealthPage
from pipeline.dashboard.pages.network import NetworkPage
from pipeline.dashboard.pages.performance import PerformancePage
from pipeline.dashboard.pages.pipeline import PipelinePage
from pipeline.dashboard.pages.screen_paths import PathsPage
from pipeline.dashboard.pages.session import SessionPage
from pipeline.dashboard.pages.sessions import SessionsPage
from pipeline.dashboard.pages.stitched import StitchedPages
from pipeline.dashboard.pages.timeline import TimelinePage
from pipeline.dashboard.pages.users import EventsOfPage, UsersPage
from pipeline.dashboard.pages.zone import ZonePage
from pipeline.dashboard.rates import AskLags, Watch
from pipeline.dashboard.reader import NotAnswered, Reader
from pipeline.dashboard.seal import SignIns
from pipeline.dashboard.viewer import Zoned
from pipeline.domain.display import Displays
from pipeline.errors import Transient
from pipeline.query.operations import Ask
from pipeline.query.symbols import Symbols

_RETRY_AFTER_S = "10"
_NAVIGATION: Mapping[str, str] = {
    "/sessions": "Sessions",
    "/users": "Users",
    "/health": "Release health",
    "/crashes": "Crashes",
    "/performance": "Performance",
    "/network": "Requests",
    "/paths": "Paths",
    "/alerts": "Alerts",
    "/pipeline": "Pipeline",
}
"""The pages that every page leads to, in this order, and how they are called."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application needs from outside."""

    ask: Ask
    """Reads; blocks, raises `NotAnswered`."""
    sign_ins: SignIns
    write: Ask | None = None
    """Runs the statements that save a filter; blocks, raises `NotAnswered`. None: nothing can be saved."""
    export: Export | None = None
    """Gives all of some sessions as a file. None: nothing is exported."""
    password: str = ""
    """Empty: no login."""
    lags: AskLags | None = None
    """How far the workers are; None where Kafka is out of reach."""
    symbols: Symbols | None = None
    """Files of symbols; blocks, raises `NotAnswered`. None: stacks are shown as they came."""
    hosts: frozenset[str] = frozenset()
    """The names that it answers to; empty is any."""
    shown: Displays = field(default_factory=Displays)
    """In which time zone each app is shown."""
    beside: Sequence[BaseRoute] = ()
    """What else is served: the API."""


PageHandler = Callable[[Request], Awaitable[Response]]


def application(parts: Parts) -> Starlette:
    """The whole dashboard."""
    reader = Reader(parts.ask)
    login, session = Login(parts.password, parts.sign_ins), SessionPage(reader, parts.symbols)
    watch, health, crashes = Watch(parts.lags), HealthPage(reader), CrashPages(reader, parts.symbols)

    @asynccontextmanager
    async def watching(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(watch.run())
        yield
        task.cancel()

    pages: list[tuple[str, PageHandler, str]] = [
        ("/login", login.show, "GET"),
        ("/login", login.sign_in, "POST"),
        ("/logout", login.sign_out, "POST"),
        ("/healthz", _alive, "GET"),
        *_of_zone(parts.shown),
        *_of_finding(reader, parts.symbols),
        ("/sessions", SessionsPage(reader).show, "GET"),
        ("/counts/sessions", CountsPage(reader).show, "GET"),
        ("/export/sessions", ExportPage(reader, parts.export).show, "GET"),
        ("/health", health.show, "GET"),
        ("/health/retention", health.retention, "GET"),
        ("/health/issues", health.issues, "GET"),
        ("/health/failures", health.failures, "GET"),
        ("/crashes", crashes.show, "GET"),
        ("/crashes/{group}", crashes.group, "GET"),
        ("/crashes/{group}/before", crashes.before, "GET"),
        ("/performance", PerformancePage(reader).show, "GET"),
        ("/network", NetworkPage(reader).show, "GET"),
        *_of_watching(reader, watch),
        *_of_filters(FilterPages(reader, parts.write)),
        ("/sessions/{session_id}", session.show, "GET"),
        ("/sessions/{session_id}/marks.json", session.marks, "GET"),
        ("/sessions/{session_id}/event", session.event, "GET"),
    ]
    guard = Middleware(Guard, sign_ins=parts.sign_ins, needs_login=bool(parts.password), hosts=parts.hosts)
    app = Starlette(
        lifespan=watching,
        routes=[
            *(Route(path, page, methods=[method]) for path, page, method in pages),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
            *parts.beside,
        ],
        middleware=[guard, Middleware(Zoned, zones=parts.shown), Middleware(Compression)],
        exception_handlers={HTTPException: _refused, NotAnswered: _not_answered},
    )
    app.state.navigation = _NAVIGATION
    app.state.watch = watch
    # It would lead to an address made of the Host header.
    app.router.redirect_slashes = False
    return app


def _of_filters(filters: FilterPages) -> list[tuple[str, PageHandler, str]]:
    return [
        ("/filter/dimensions.json", filters.dimensions, "GET"),
        ("/filter/suggestions.json", filters.suggestions, "GET"),
        ("/filter/parse.json", filters.parse, "GET"),
        ("/filter/text.json", filters.text, "GET"),
        ("/filter/save", filters.save, "POST"),
    ]


def _of_zone(shown: Displays) -> list[tuple[str, PageHandler, str]]:
    """Where a viewer chooses the time zone."""
    page = ZonePage(shown)
    return [("/zone", page.show, "GET"), ("/zone", page.choose, "POST")]


def _of_watching(reader: Reader, watch: Watch) -> list[tuple[str, PageHandler, str]]:
    """The pages that say whether apps and the pipeline do well."""
    pipeline = PipelinePage(reader, watch)
    return [
        ("/alerts", AlertsPage(reader).show, "GET"),
        ("/pipeline", pipeline.show, "GET"),
        ("/pipeline/ledger", pipeline.ledger, "GET"),
    ]


def _of_finding(reader: Reader, symbols: Symbols | None) -> list[tuple[str, PageHandler, str]]:
    """The pages of the box, of stitched sessions and users, and of the ways they take."""
    find, stitched, timeline = FindPage(reader), StitchedPages(reader, symbols), TimelinePage(reader)
    return [
        ("/", _first_page, "GET"),
        ("/find", find.show, "GET"),
        ("/find/event", find.event, "GET"),
        ("/open", find.open, "GET"),
        ("/stitched", stitched.list, "GET"),
        ("/stitched/{session_id}", stitched.show, "GET"),
        ("/users", UsersPage(reader).show, "GET"),
        ("/timeline", timeline.show, "GET"),
        ("/timeline/profile", timeline.profile, "GET"),
        ("/timeline/events", EventsOfPage(reader, symbols).show, "GET"),
        ("/paths", PathsPage(reader).show, "GET"),
        ("/paths/flows", FlowsPage(reader).show, "GET"),
    ]


async def _first_page(request: Request) -> Response:
    del request
    return RedirectResponse("/sessions", 303)


async def _alive(request: Request) -> Response:
    del request
    return PlainTextResponse("ok\n")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _failure(request, error.status_code, error.detail)


async def _not_answered(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotAnswered)
    return _failure(request, 503 if isinstance(error, Transient) else 400, str(error))


def _failure(request: Request, status: int, message: str) -> Response:
    if request.scope["path"].endswith(".json"):
        response: Response = JSONResponse({"error": message}, status)
    else:
        response = render(request, "failure.html", status=status, message=message, code=status)
    if status == 503:
        response.headers["Retry-After"] = _RETRY_AFTER_S
    return response
