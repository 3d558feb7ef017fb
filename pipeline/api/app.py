"""The API as an application, to be put under `/api/v1` of the dashboard, whose guard is around it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from zoneinfo import ZoneInfo

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.api import problem
from pipeline.api.access import Access
from pipeline.api.body import read_json, require_none
from pipeline.api.endpoint import ApiEndpoint, ApiRequest
from pipeline.api.openapi import document
from pipeline.api.outside import Outside
from pipeline.api.pages import ApiPage
from pipeline.api.parameters import ZONE, read_path, read_query
from pipeline.api.problem import RETRY_AFTER_S, RequestRefused
from pipeline.api.table import ENDPOINTS
from pipeline.dashboard.guard import API, is_api
from pipeline.dashboard.reader import NoRight, NotAnswered, Reader
from pipeline.errors import Transient
from pipeline.query.filters.tree import FilterError
from pipeline.query.operations import Ask
from pipeline.query.time_zone import in_zone, use

JSON = "application/json"
_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")

Handler = Callable[[Request], Awaitable[Response]]

log = logging.getLogger(__name__)


def routes(ask: Ask, access: Access, outside: Outside | None = None) -> list[BaseRoute]:
    """What is put beside the pages: the API, and the page that lists it. `ask` blocks and raises `NotAnswered`.

    The API has questions of its own to ClickHouse at once: however much it is asked, the pages are not held up.
    """
    reader, own = Reader(ask, at_once=3, waiting=24), outside or Outside()
    written = msgspec.json.encode(document())

    async def described(request: Request) -> Response:
        with access.of(request):
            require_none(request)
            read_query(request.scope["query_string"], ())
            return Response(written, media_type=JSON)

    at: dict[str, dict[str, Handler]] = {}
    for each in ENDPOINTS:
        at.setdefault(each.path, {})[each.method] = _answering(each, reader, access, own)
    at["/openapi.json"] = {"GET": described}
    inner = Router(
        [Route(path, _telling(_by_method(handlers)), methods=[*handlers]) for path, handlers in at.items()],
        redirect_slashes=False,
    )
    return [Route("/api", ApiPage().show, methods=["GET"]), _Below(_Told(inner))]


def _by_method(handlers: Mapping[str, Handler]) -> Handler:
    async def answer(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return answer


def _answering(endpoint: ApiEndpoint, reader: Reader, access: Access, outside: Outside) -> Handler:
    in_path, in_query = endpoint.of_path(), endpoint.of_query()

    async def answer(request: Request) -> Response:
        if not endpoint.takes and not endpoint.takes_file:
            require_none(request)
        with access.of(request, writes=endpoint.writes) as grant:
            if endpoint.of_all_apps and grant.apps:
                raise RequestRefused(
                    "not-your-app",
                    "This concerns the pipeline as a whole, and the key is only for some apps.",
                )
            query, watch = request.scope["query_string"], getattr(request.app.state, "watch", None)
            with in_zone(ZoneInfo("UTC")):
                zone = read_query(query, in_query).get(ZONE.name)
                if zone is not None:
                    use(zone)
                # Times that name no offset are of the zone.
                values = read_query(query, in_query) | read_path(request.path_params, in_path)
                body = await read_json(request, endpoint.takes) if endpoint.takes else None
                asked = ApiRequest(
                    reader, grant, values, request.scope["path"], watch, outside, request, body
                )
                told = await endpoint.handle(asked)
            return (
                told if isinstance(told, Response) else Response(msgspec.json.encode(told), media_type=JSON)
            )

    return _telling(answer)


def _telling(answer: Handler) -> Handler:
    """The same; what goes wrong is told as problem details, before the application around tells it as a page."""

    async def told(request: Request) -> Response:
        try:
            return await answer(request)
        except Exception as error:
            return problem.response(_as_refused(error))

    return told


class _Below(BaseRoute):
    """All that is below `/api/v1`, whatever it is: a `Mount` does not take a path with a line break in it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL if scope["type"] == "http" and is_api(scope["path"]) else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["root_path"] = API
        await self._app(scope, receive, send)


class _Told:
    """Around the API: refuses what it never takes, and tells so, as of addresses that there are none of."""

    def __init__(self, app: Router) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = self._refused_by_method(scope)
            if answer is None:
                # Endpoints tell by themselves what goes wrong: nothing has been sent if this raises.
                await self._app(scope, receive, send)
                return
        except (RequestRefused, HTTPException) as error:
            answer = problem.response(_as_refused(error))
        await answer(scope, receive, send)

    def _refused_by_method(self, scope: Scope) -> Response | None:
        """The answer to OPTIONS. Raises `Refused` for other methods than the address takes."""
        methods = self._methods(scope)
        allow = {"Allow": ", ".join(methods)}
        if scope["method"] == "OPTIONS":
            return Response(status_code=204, headers=allow)
        if scope["method"] not in methods:
            raise RequestRefused(
                "wrong-method",
                f"{scope['method'][:20]} is not possible here. Use one of {allow['Allow']}.",
                headers=allow,
            )
        return None

    def _methods(self, scope: Scope) -> list[str]:
        for route in self._app.routes:
            if isinstance(route, Route) and route.matches(scope)[0] != Match.NONE:
                return [each for each in _METHODS if each == "OPTIONS" or each in (route.methods or ())]
        return ["GET", "HEAD", "OPTIONS"]


def _as_refused(error: Exception) -> RequestRefused:
    if isinstance(error, RequestRefused):
        return error
    if isinstance(error, FilterError):
        return RequestRefused("bad-filter", str(error), {"parameter": "filter"})
    if isinstance(error, NoRight):
        return RequestRefused("not-allowed", str(error))
    if isinstance(error, NotAnswered):
        if isinstance(error, Transient):
            return RequestRefused("not-now", str(error), headers={"Retry-After": str(RETRY_AFTER_S)})
        return RequestRefused("too-much", str(error))
    if isinstance(error, HTTPException) and error.status_code == 404:
        return RequestRefused("not-found", "The API has no such address. /api lists all of them.")
    log.error("the API failed", exc_info=error)
    return RequestRefused("fault", "This is a fault in the program. Its log says more.")
