"""Sessions as a file, as they come out of ClickHouse: for the pages, and for the API."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Iterator, Mapping

import anyio
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pipeline.dashboard.asked import Wanted
from pipeline.dashboard.columns import ORDERS
from pipeline.dashboard.reader import NotAnswered, NotAnsweredNow
from pipeline.dashboard.words import iso
from pipeline.query.choice import Choice
from pipeline.query.export import Format
from pipeline.query.session_order import Order

Export = Callable[[Choice, Order, Format], Iterator[bytes]]
"""Gives a file in pieces; blocks, raises `NotAnswered`, also after some of them."""

EXPORTS: Mapping[Format, str] = {"csv": "CSV", "ndjson": "NDJSON", "parquet": "Parquet"}
TYPES: Mapping[Format, str] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
NEEDS_HTTP_1_1 = (
    "An export needs HTTP/1.1. If a proxy is in front, let it speak HTTP/1.1 with the dashboard "
    "(nginx: proxy_http_version 1.1)."
)
_AT_ONCE = 2
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")

log = logging.getLogger(__name__)


def can_break_off(request: Request) -> bool:
    """Whether a part is told from the whole: an answer of HTTP/1.0 ends where its connection does."""
    return request.scope.get("http_version") != "1.0"


class Exports:
    """Answers with files, two at the same time."""

    def __init__(self, export: Export) -> None:
        self._export = export
        self._running = 0

    async def answer(self, wanted: Wanted, format: Format, *, is_head: bool = False) -> Response:
        """The file of some sessions in their order. Raises FilterError, and `NotAnswered` where it cannot begin."""
        chosen = wanted.chosen()
        headers = {"Content-Disposition": f'attachment; filename="{file_name(wanted, format)}"'}
        if is_head:
            return Response(headers=headers, media_type=TYPES[format])
        if self._running >= _AT_ONCE:
            raise NotAnsweredNow("Other exports are running; try again once one of them is done.")
        return await self._streamed(self._export(chosen, wanted.order, format), headers, TYPES[format])

    async def _streamed(self, pieces: Iterator[bytes], headers: Mapping[str, str], type: str) -> Response:
        # While it runs; the response goes on to be sent after this has returned.
        self._running += 1
        answer = _File(pieces, headers, type, self._done)
        try:
            # What ClickHouse refuses, it refuses before the first piece: that is still told on a page.
            await answer.begin()
        except BaseException:
            self._done()
            raise
        return answer

    def _done(self) -> None:
        self._running -= 1


class _File(StreamingResponse):
    """Pieces as they come. Where they break off, so does the connection, without the end that a whole answer has."""

    def __init__(
        self, pieces: Iterator[bytes], headers: Mapping[str, str], type: str, done: Callable[[], None]
    ) -> None:
        super().__init__((), headers=headers, media_type=type)
        self._pieces = pieces
        self._done = done
        self._first: bytes | None = None
        self._threads: CapacityLimiter | None = None

    async def begin(self) -> None:
        """Wait for the first piece. Raises NotAnswered."""
        self._first = await self._next()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As Starlette calls it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                # ClickHouse stops when nobody reads on.
                await to_thread.run_sync(self._close, limiter=self._limiter())
            self._done()

    async def stream_response(self, send: Send) -> None:
        """As Starlette calls it."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        try:
            piece = self._first
            while piece is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await self._next()
        except NotAnswered as error:
            log.warning("an export broke off: %s", error)
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _close(self) -> None:
        if isinstance(self._pieces, Generator):
            self._pieces.close()

    async def _next(self) -> bytes | None:
        return await to_thread.run_sync(next, self._pieces, None, limiter=self._limiter())

    def _limiter(self) -> CapacityLimiter:
        # Only inside the event loop: it belongs to the one that made it.
        self._threads = self._threads or CapacityLimiter(1)
        return self._threads


def file_name(wanted: Wanted, format: Format) -> str:
    """Says which sessions the file has, in which order, and that times are UTC."""
    start, end = (iso(ms)[:16].replace(":", "") for ms in (wanted.start_ms, wanted.end_ms))
    words = (wanted.choice.app or "all-apps", start, "to", end, ORDERS[str(wanted.order)], "UTC")
    return f"sessions-{_NOT_IN_A_NAME.sub('-', '-'.join(words))[:150]}.{format}"
