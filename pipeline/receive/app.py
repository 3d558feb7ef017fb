"""The application: its routes, which pages may send, and how it says that it is well."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route as Address
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.receive import bodies
from pipeline.receive.answers import JSON, PROTOBUF, Answer, otlp_refusal, plain_refusal
from pipeline.receive.intake import Common, Intake
from pipeline.receive.origins import (
    Origins,
    answer_headers,
    other_preflight_headers,
    preflight_headers,
    refusal_headers,
)
from pipeline.receive.paths import Paths
from pipeline.receive.refusal import NeverTaken, NotTaken
from pipeline.receive.routes import ROUTES, Route

_DECODED_AT_ONCE = 2
"""Long bodies: what is made of one takes ten times its bytes for a moment."""
_HEALTH = frozenset({"/livez", "/readyz"})
_ABSOLUTE = re.compile(r"^https?://[^/]*", re.IGNORECASE)
"""What stands before the path where a client asks as it would ask a proxy; it is taken too (RFC 9112, 3.2.2)."""

log = logging.getLogger(__name__)


class Readiness:
    """Whether new requests should come here."""

    def __init__(self) -> None:
        self.is_stopping = False
        self.says: Callable[[], str] = str
        """What is wrong with single topics: no reason to send elsewhere, where it is the same."""

    def stop(self) -> None:
        """From now on they should not."""
        self.is_stopping = True


def application(
    common: Common,
    origins: Origins,
    *,
    readiness: Readiness,
    routes: Sequence[Route] = ROUTES,
    run: Callable[[], Awaitable[None]] | None = None,
    begin: Callable[[], Awaitable[None]] | None = None,
    stop: Callable[[], Awaitable[None]] | None = None,
) -> Starlette:
    """All of it. `run` works beside it until it is cancelled; `begin` is waited for before anybody is let in, `stop`
    after the last answer."""
    threads = asyncio.Semaphore(_DECODED_AT_ONCE)
    besides = _Besides(common, readiness, routes)

    @asynccontextmanager
    async def living(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.ensure_future(run()) if run else None
        if begin:
            await begin()
        yield
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if stop:
            await stop()

    methods = ", ".join(dict.fromkeys(name for route in routes for name in route.methods))
    app = Starlette(
        lifespan=living,
        routes=[
            Address("/livez", besides.alive),
            Address("/readyz", besides.ready),
            *(Address(route.path, Intake(route, common, threads)) for route in routes),
        ],
        middleware=[Middleware(OriginCheck, origins=origins, methods=methods, common=common)],
        exception_handlers={404: besides.not_found, 405: besides.wrong_method, Exception: besides.broken},
    )
    app.router.redirect_slashes = False
    return app


class _Besides:
    """What is answered besides the routes."""

    def __init__(self, common: Common, readiness: Readiness, routes: Sequence[Route]) -> None:
        self._shared = common
        self._readiness = readiness
        self._paths = Paths([route.path for route in routes])

    async def alive(self, _: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(self, _: Request) -> Response:
        if self._readiness.is_stopping:
            return PlainTextResponse("stopping\n", 503)
        if not self._shared.writer.is_up:
            return PlainTextResponse("Kafka does not answer\n", 503)
        return PlainTextResponse(f"ready\n{self._readiness.says()}")

    async def not_found(self, request: Request, _: Exception) -> Response:
        text, is_otlp = self._paths.why_not(request.scope["path"])
        said_as = otlp_refusal if is_otlp else plain_refusal
        return await refused(self._shared, request, NeverTaken(404, "path", text), said_as)

    async def wrong_method(self, _: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return PlainTextResponse("use GET or HEAD\n", 405, error.headers)

    async def broken(self, request: Request, error: Exception) -> Response:
        self._shared.metrics.requests.labels("other", "500").inc()
        log.error("a fault in the program at %s", request.scope["path"][:100], exc_info=error)
        body = msgspec.json.encode({"reason": "fault", "detail": "a fault in the server; its log says more"})
        return Response(body, 500, {"Content-Type": JSON, "Connection": "close"})


async def refused(
    common: Common,
    request: Request,
    fault: NotTaken,
    said_as: Callable[[NotTaken, str], Answer] = plain_refusal,
) -> Response:
    """The answer to what no route takes."""
    common.metrics.requests.labels("other", str(fault.status)).inc()
    common.metrics.refused.labels("other", fault.reason).inc()
    common.refusals.note(fault, request)
    answer = said_as(fault, PROTOBUF if PROTOBUF in request.headers.get("content-type", "") else JSON)
    response = Response(answer.body, answer.status, {"Content-Type": answer.content_type})
    is_whole = False
    with suppress(bodies.ClientGone):
        is_whole = await bodies.Body(request).discard()
    if not is_whole:
        response.headers["Connection"] = "close"
    return response


class OriginCheck:
    """Around the application: pages of other origins are kept out, those that may send are told so."""

    def __init__(self, app: ASGIApp, *, origins: Origins, methods: str, common: Common) -> None:
        """`methods` are those that some route takes, separated by commas."""
        self._app = app
        self._origins = origins
        self._methods = methods
        self._shared = common

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["root_path"] = ""
        scope["path"] = _ABSOLUTE.sub("", scope["path"]) or "/"
        request = Request(scope, receive)
        origin = request.headers.get("origin")
        if origin is None or scope["path"] in _HEALTH:
            if request.method == "OPTIONS":
                await Response(status_code=204, headers={"Allow": f"{self._methods}, OPTIONS"})(
                    scope, receive, send
                )
                return
            await self._app(scope, receive, send)
            return
        if not self._origins.allows(origin):
            await (await self._keep_out(request, origin))(scope, receive, send)
            return
        if request.method == "OPTIONS":
            headers = answer_headers(origin) | preflight_headers(request.headers, self._methods)
            await Response(status_code=204, headers=headers)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = (
                    (name.lower().encode(), value.encode()) for name, value in answer_headers(origin).items()
                )
                message["headers"] = [*message["headers"], *said]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    async def _keep_out(self, request: Request, origin: str) -> Response:
        """What a page of an origin that may not send is told: only this, whatever it asks for."""
        if request.method == "OPTIONS" and (
            headers := other_preflight_headers(request.headers, self._methods)
        ):
            return Response(status_code=204, headers=refusal_headers(origin) | headers)
        text = f"pages of {origin[:200]} may not send: PIPELINE_RECEIVE_ORIGINS names those that may"
        response = await refused(self._shared, request, NeverTaken(403, "origin", text))
        response.headers.update(refusal_headers(origin))
        return response
