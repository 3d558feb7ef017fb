"""One route: from a request to records that Kafka has, and the answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.formats.options import DEFAULTS, Options
from pipeline.kafka.errors import BrokerUnavailable, KafkaRefused
from pipeline.kafka.writer import RecordTooLarge, Writer
from pipeline.receive import bodies
from pipeline.receive.answers import JSON, PROTOBUF, Answer
from pipeline.receive.budget import Budget, Lease
from pipeline.receive.content_coding import CODINGS, codings_of, decoded, not_undone
from pipeline.receive.judging import SentWith, Verdict
from pipeline.receive.keys import ANY, Grant, Keys, key_sent
from pipeline.receive.metrics import ReceiveMetrics
from pipeline.receive.refusal import NeverTaken, NotTaken, kafka_away
from pipeline.receive.refusals import Refusals
from pipeline.receive.routes import Route

log = logging.getLogger(__name__)

Made = TypeVar("Made")

_SOON_BYTES = 64 * 1024
"""Up to here a body is decoded on the spot; a longer one in a thread, so that others are answered meanwhile."""
_SHORT_BYTES = 64


@dataclass(slots=True)
class Common:
    """What all routes share."""

    writer: Writer
    metrics: ReceiveMetrics
    budget: Budget
    max_body: int
    keys: Callable[[], Keys | None] = lambda: None
    """Those that hold now; None: none are asked for."""
    options: Options = DEFAULTS
    edge: Edge = OPEN_EDGE
    now_ms: Callable[[], int] = lambda: int(time.time() * 1_000)
    body_s: float = bodies.BODY_S
    refusals: Refusals = field(default_factory=Refusals)


class Intake:
    """Takes the bodies of a route. An ASGI application; nothing is raised but what is a fault of the program."""

    def __init__(self, route: Route, common: Common, threads: asyncio.Semaphore) -> None:
        """`threads` bounds how many long bodies are decoded at once, on all routes."""
        self._route = route
        self._parts = common
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        incoming, lease = bodies.Body(request), self._parts.budget.lease()
        spoken = PROTOBUF if PROTOBUF in _content_type(request) else JSON
        try:
            spoken, verdict = await self._take(request, incoming, lease)
            response = _response(self._route.style.of(verdict, spoken))
        except bodies.ClientGone:
            self._parts.metrics.unanswered.labels(self._route.name).inc()
            return
        except NotTaken as fault:
            self._parts.refusals.note(fault, request)
            response = await self._refuse(incoming, fault, spoken)
        finally:
            lease.close()
        self._parts.metrics.requests.labels(self._route.name, str(response.status_code)).inc()
        await response(scope, receive, send)

    async def _take(self, request: Request, incoming: bodies.Body, lease: Lease) -> tuple[str, Verdict]:
        """Until Kafka has what is to be kept of the body; what the client speaks, and what became of its body."""
        route, common = self._route, self._parts
        if request.method not in route.methods:
            raise NeverTaken(405, "method", f"{request.method}: use {' or '.join(route.methods)}")
        grant = self._granted(request)
        content_type = _content_type(request)
        if content_type and content_type not in route.content_types:
            offered = ", ".join(route.content_types)
            raise NeverTaken(
                415, "content_type", f"Content-Type {content_type[:80]!r} is not one of {offered}"
            )
        codings = codings_of(",".join(request.headers.getlist("content-encoding")))
        if not common.writer.is_up:
            raise kafka_away()
        bodies.announced_length(request, common.max_body)
        body = await self._decoded(incoming, lease, codings)
        spoken = content_type if content_type in (JSON, PROTOBUF) else _looks_like(body)
        if route.may_be_empty and _says_nothing(body):
            return spoken, Verdict([])
        if not body:
            raise NeverTaken(400, "empty_record", "the body is empty")
        if name := not_undone(body):
            raise NeverTaken(400, "content_encoding", _why_still(name, codings))
        sent = SentWith(
            route.record_headers(request), common.now_ms(), common.options, common.edge, bool(grant.apps)
        )
        verdict = await self._aside(len(body), partial(route.judge, body, sent))
        if foreign := grant.refused(verdict.apps):
            named = ", ".join(sorted(foreign)[:3])
            raise NeverTaken(403, "app", f"this key is not for the app {named[:200]}")
        if verdict.records:
            await self._write(verdict, lease)
        return spoken, verdict

    async def _decoded(self, incoming: bodies.Body, lease: Lease, codings: list[str]) -> bytes:
        """The body without its codings, and nothing of how it came."""
        common = self._parts
        raw = await incoming.read(lease, common.max_body, common.body_s)
        common.metrics.bytes.labels("as_sent").inc(len(raw))
        body = (
            await self._aside(len(raw), partial(decoded, raw, codings, common.max_body)) if codings else raw
        )
        common.metrics.bytes.labels("decoded").inc(len(body))
        lease.hold(len(body))
        return body

    def _granted(self, request: Request) -> Grant:
        keys = self._parts.keys()
        if keys is None:
            return ANY
        key = key_sent(request.headers, request.url.query)
        grant = keys.of(key) if key else None
        if grant is None:
            raise NeverTaken(401, "key", _why_no_grant(request, key))
        return grant

    async def _aside(self, size: int, work: Callable[[], Made]) -> Made:
        """What the work makes of so many bytes, in a thread if they are many."""
        if size <= _SOON_BYTES:
            return work()
        async with self._threads:
            return await asyncio.to_thread(work)

    async def _write(self, verdict: Verdict, lease: Lease) -> None:
        """Hand the records to Kafka and wait for it; from here on the lease ends when it is done with them, which may
        be later than the answer."""
        common, name = self._parts, self._route.name
        began_s = time.monotonic()
        try:
            await common.writer.write(verdict.records, lease.handed_on())
        except BrokerUnavailable as error:
            raise kafka_away() from error
        except RecordTooLarge as error:
            raise NeverTaken(413, "too_large", str(error)) from error
        except KafkaRefused as error:
            # Somebody has to change something first, but not the client: it may try again until then.
            log.error("%s", error)
            raise kafka_away() from error
        common.metrics.kafka_seconds.observe(time.monotonic() - began_s)
        common.metrics.events.labels(name).inc(verdict.accepted)
        for reason, count in verdict.reasons.items():
            common.metrics.refused.labels(name, reason).inc(count)

    async def _refuse(self, incoming: bodies.Body, fault: NotTaken, spoken: str) -> Response:
        self._parts.metrics.refused.labels(self._route.name, fault.reason).inc()
        response = _response(self._route.style.refusal(fault, spoken))
        if fault.status == 405:
            response.headers["Allow"] = ", ".join((*self._route.methods, "OPTIONS"))
        if (fault.status, fault.reason) == (415, "content_encoding"):
            response.headers["Accept-Encoding"] = ", ".join(CODINGS)
        if fault.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        if fault.retry_after_s is not None:
            response.headers["Retry-After"] = str(fault.retry_after_s)
        try:
            is_whole = fault.status != 408 and await incoming.discard()
        except bodies.ClientGone:
            is_whole = False  # The answer goes nowhere; it is counted all the same.
        if fault.closes or not is_whole:
            response.headers["Connection"] = "close"
        return response


def _why_no_grant(request: Request, key: str) -> str:
    """Nothing of what was sent is said again: it may be a key all the same."""
    if key:
        return "there is no such key"
    if request.headers.get("authorization", "").strip():
        return (
            "the header Authorization was not understood: it has to be `Authorization: Bearer KEY`, with a space "
            "before KEY (`Bearer%20KEY` is for OTEL_EXPORTER_OTLP_HEADERS alone, and only where the SDK decodes it)"
        )
    return "a key is needed: Authorization: Bearer …"


def _why_still(name: str, undone: list[str]) -> str:
    if undone:
        return f"this begins as {name} after its Content-Encoding was undone: name every coding, or compress it once"
    return f"this begins as {name}: send Content-Encoding: {name}"


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.headers["Content-Type"] = answer.content_type
    return response


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _says_nothing(body: bytes) -> bool:
    """Whether it is a message without fields: no bytes, or an empty object."""
    return len(body) <= _SHORT_BYTES and b"".join(body.split()) in (b"", b"{}")


def _looks_like(body: bytes) -> str:
    """JSON begins with a brace or a bracket, or blanks before one; protobuf of OTLP with the tag of a field."""
    return JSON if body.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] in (b"{", b"[") else PROTOBUF
