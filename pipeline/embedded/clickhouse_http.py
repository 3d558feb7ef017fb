"""ClickHouse's HTTP interface over the engine in this process, which `confined` starts.

For loopback only, and for those who know the password of its one user (`callers`). Enough for clickhouse-connect,
ClickHouse's driver for JDBC, curl and other HTTP clients. Not here: external tables, progress headers, further users,
and several statements in one request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from aiohttp import web

from pipeline.embedded.block_framing import BlockEncoder, unframed
from pipeline.embedded.callers import only_owner
from pipeline.embedded.child import LOOPBACK
from pipeline.embedded.client_sessions import DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S
from pipeline.embedded.content_coding import BadBody, Chained, Encoder, UnknownCoding, decoded, encoder_for
from pipeline.embedded.engine import ClientSession, DataFolderInUse, Engine, EngineError, Query, QueryResult

_MAX_BODY_BYTES = 1 << 30
_THREADS = 16
"""Queries in progress at once; more wait. The engine uses further threads of its own."""
_MAX_URL_BYTES = 1 << 20
_SHUTDOWN_S = 5.0
_READS = frozenset({"GET", "HEAD"})

# Names in the URL that are not settings.
_NOT_SETTINGS = frozenset(
    (
        *("query", "query_id", "database", "default_format", "user", "password", "quota_key", "role"),
        *("session_id", "session_timeout", "session_check", "session_close", "client_protocol_version"),
        *("compress", "decompress", "stacktrace", "buffer_size", "wait_end_of_query"),
    )
)
_STATUS = {
    **dict.fromkeys((6, 25, 26, 27, 36, 38, 41, 42, 43, 53, 62, 69, 72, 117, 374, 457), 400),
    **dict.fromkeys((164, 192, 193, 194, 291, 497, 516), 403),
    **dict.fromkeys((16, 46, 47, 50, 56, 60, 63, 73, 81, 115, 372), 404),
    373: 423,
    48: 501,
}
"""HTTP status of the engine's error codes; any other is 500."""

_CONTENT_TYPES = {
    "JSON": "application/json; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "Pretty": "text/plain; charset=UTF-8",
}

_T = TypeVar("_T")
_Body = Generator[bytes, None, None]

_log = logging.getLogger("clickhouse_http")


class ClickHouseHttp:
    """The handlers."""

    def __init__(self, engine: Engine, password: str) -> None:
        self._engine = engine
        self._password = password
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="query")

    def application(self) -> web.Application:
        """The web application; it closes the engine when it is cleaned up."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[only_owner(self._password)])
        app.router.add_get("/ping", _ping)
        app.router.add_get("/", self._query)
        app.router.add_post("/", self._query)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, _app: web.Application) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.close()

    async def _query(self, request: web.Request) -> web.StreamResponse:
        query_id = request.query.get("query_id") or str(uuid4())
        headers = {"X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Timezone": self._engine.timezone}
        try:
            if request.method in _READS and "query" not in request.query:
                return web.Response(text="Ok.\n")
            query = await _read_query(request)
            answer = await self._in_thread(self._engine.execute, query)
            return await self._respond(request, answer, headers)
        except EngineError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            body = f"{error}\n".encode()
            if _is_on(request.query, "compress"):
                framing = BlockEncoder()
                body = framing.encode(body) + framing.finish()
            return web.Response(status=_STATUS.get(error.code, 500), body=body, headers=headers)
        except (BadBody, UnknownCoding) as error:
            return web.Response(status=400, text=f"{error}\n", headers=headers)

    async def _respond(
        self, request: web.Request, answer: QueryResult, headers: dict[str, str]
    ) -> web.StreamResponse:
        headers["X-ClickHouse-Summary"] = _summary(answer)
        headers["Content-Type"] = "text/plain; charset=UTF-8"
        if answer.format:
            headers["X-ClickHouse-Format"] = answer.format
            headers["Content-Type"] = _content_type(answer.format)
        encoder: Encoder | None = BlockEncoder() if _is_on(request.query, "compress") else None
        if _is_on(request.query, "enable_http_compression"):
            chosen = encoder_for(request.headers.get("Accept-Encoding", ""))
            if chosen:
                headers["Content-Encoding"], outer = chosen
                encoder = Chained(encoder, outer) if encoder else outer
        tag = uuid4().hex[:16]
        body = _body(answer.chunks, encoder, tag)
        if not answer.is_partial:
            return web.Response(body=await self._in_thread(b"".join, body), headers=headers)
        headers["X-ClickHouse-Exception-Tag"] = tag
        return await self._send_chunks(request, body, headers)

    async def _send_chunks(
        self, request: web.Request, body: _Body, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        try:
            await response.prepare(request)
            while piece := await self._in_thread(next, body, b""):
                await response.write(piece)
        except _CutOff as cut:
            await response.write(cut.last_piece)
            # No end of the chunked body: every client sees that the result is not whole.
            if request.transport is not None:
                request.transport.close()
            return response
        finally:
            await self._in_thread(body.close)
        await response.write_eof()
        return response

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


class _CutOff(Exception):
    """The query failed after part of its result was sent; `last_piece` tells clients so."""

    def __init__(self, last_piece: bytes) -> None:
        super().__init__("cut off")
        self.last_piece = last_piece


def _body(chunks: _Body, encoder: Encoder | None, tag: str) -> _Body:
    """The chunks, compressed. A query that fails on the way ends in _CutOff."""
    with closing(chunks):
        try:
            for chunk in chunks:
                piece = encoder.encode(chunk) if encoder else chunk
                if piece:
                    yield piece
        except EngineError as error:
            # The way ClickHouse itself reports it, from 25.11 on.
            message = f"{error}\n".encode()
            mark = tag.encode()
            frame = b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n"
            end = frame % (mark, message, len(message), mark)
            raise _CutOff(encoder.encode(end) + encoder.finish() if encoder else end) from error
    if encoder:
        yield encoder.finish()


async def _read_query(request: web.Request) -> Query:
    """EngineError if it asks for what is not here, UnknownCoding, or 413 if the body is over the limit."""
    url, headers = request.query, request.headers
    fields = dict(url)
    pieces: Iterator[bytes] = iter(())
    if request.content_type == "multipart/form-data":
        fields |= await _form(request)
    else:
        pieces = decoded(await request.read(), headers.get("Content-Encoding", "").lower())
        if _is_on(url, "decompress"):
            pieces = unframed(pieces)
    if "query" in fields:
        pieces = chain((fields["query"].encode() + b"\n",), pieces)
    return Query(
        pieces,
        database=url.get("database") or headers.get("X-ClickHouse-Database") or "",
        default_format=url.get("default_format") or headers.get("X-ClickHouse-Format") or "TabSeparated",
        settings={k: v for k, v in url.items() if k not in _NOT_SETTINGS and not k.startswith("param_")},
        parameters={k.removeprefix("param_"): v for k, v in fields.items() if k.startswith("param_")},
        read_only=request.method in _READS,
        session=_session(url),
    )


def _is_on(url: Mapping[str, str], name: str) -> bool:
    return url.get(name, "0") in ("1", "true")


def _session(url: Mapping[str, str]) -> ClientSession | None:
    """EngineError if its timeout is none."""
    if not url.get("session_id"):
        return None
    text = url.get("session_timeout", str(DEFAULT_TIMEOUT_S))
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= MAX_TIMEOUT_S):
        raise EngineError(374, f"Invalid session timeout: {text!r}. (INVALID_SESSION_TIMEOUT)")
    return ClientSession(
        url["session_id"],
        int(text),
        must_exist=_is_on(url, "session_check"),
        is_last=_is_on(url, "session_close"),
    )


async def _form(request: web.Request) -> dict[str, str]:
    """Query and parameters as fields: clients send them so when they are too long for a URL."""
    fields: dict[str, str] = {}
    for name, value in (await request.post()).items():
        if not isinstance(value, str):
            raise EngineError(48, "External tables are not supported. (NOT_IMPLEMENTED)")
        fields[name] = value
    return fields


def _summary(answer: QueryResult) -> str:
    numbers = {
        "read_rows": answer.read_rows,
        "read_bytes": answer.read_bytes,
        "written_rows": answer.written_rows,
        "written_bytes": answer.written_bytes,
        "result_rows": answer.result_rows,
        "elapsed_ns": answer.elapsed_ns,
    }
    return json.dumps({name: str(number) for name, number in numbers.items()})


def _content_type(format_name: str) -> str:
    if format_name == "JSONEachRow":
        return "application/x-ndjson; charset=UTF-8"
    for prefix, content_type in _CONTENT_TYPES.items():
        if format_name.startswith(prefix):
            return content_type
    return "application/octet-stream"


async def _ping(_request: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


async def serve(path: Path, port: int, password: str) -> None:
    """Serves the data folder on loopback, to those who know the password, until SIGTERM or SIGINT.

    DataFolderInUse; OSError if the port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    engine = await asyncio.to_thread(Engine, path)
    runner = web.AppRunner(
        ClickHouseHttp(engine, password).application(),
        access_log=None,
        auto_decompress=False,  # aiohttp knows no lz4, and would leave the header on what it has decompressed
        shutdown_timeout=_SHUTDOWN_S,
        max_line_size=_MAX_URL_BYTES,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        _log.info("ClickHouse %s answers on http://%s:%d", engine.version, LOOPBACK, port)
        await stop.wait()
    finally:
        await runner.cleanup()
    _log.info("stopped")


def run(path: Path, port: int, password: str) -> int:
    """Serves until a signal. Returns the exit code."""
    try:
        asyncio.run(serve(path, port, password))
    except (DataFolderInUse, OSError) as error:
        _log.error("%s", error)
        return 1
    return 0
