"""ClickHouse's HTTP interface behind a proxy that misbehaves on demand."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from pipeline.embedded.child import LOOPBACK, free_port
from tests.chaos.schedule import Fault

T = TypeVar("T")

_LARGEST_REQUEST = 256 * 1024 * 1024
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
_OVERLOADED = b"Code: 241. DB::Exception: (total) memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)\n"
_CODE = {"X-ClickHouse-Exception-Code": "241"}
_PATIENCE_S = 30.0


class FaultProxy:
    """Hands requests on to `target`, but for the fault that is set. A thread of its own; methods block."""

    def __init__(self, target: str, *, hold_s: float) -> None:
        """`hold_s`: how long Fault.HOLD keeps an answer; more than the clients' time-out."""
        self.port = free_port()
        self.met: Counter[Fault] = Counter()
        """How many requests (for REFUSE: spells) a fault has met."""
        self._user, _, address = urlsplit(target).netloc.rpartition("@")
        self._target = f"http://{address}"
        self._hold_s = hold_s
        self._fault: Fault | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._client: aiohttp.ClientSession
        self._runner: web.AppRunner
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> str:
        """`http://user:password@host:port` with those of the target, without a database."""
        return f"http://{self._user}@{LOOPBACK}:{self.port}"

    def set_fault(self, fault: Fault | None) -> None:
        """From now on. None: all is well again; answers that are held stay held."""
        self._do(self._set(fault))

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    async def _start(self) -> None:
        self._client = aiohttp.ClientSession(
            auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector()
        )
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await self._listen()

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, LOOPBACK, self.port, reuse_address=True)
        await self._site.start()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._client.close()
        held = asyncio.all_tasks() - {asyncio.current_task()}
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)

    async def _set(self, fault: Fault | None) -> None:
        self._fault = fault
        if fault is Fault.REFUSE and self._site is not None:
            self.met[fault] += 1
            await self._site.stop()
            self._site = None
            assert self._runner.server is not None
            for connection in self._runner.server.connections:
                if isinstance(connection.transport, asyncio.Transport):
                    connection.transport.abort()
        elif fault is not Fault.REFUSE and self._site is None:
            await self._listen()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        transport, fault = request.transport, self._fault
        assert transport is not None
        if fault is not None:
            self.met[fault] += 1
        if fault is Fault.CUT_REQUEST:
            await request.content.read(100)
            transport.abort()
            return web.Response()
        body = await request.read()
        if fault is Fault.ERROR:
            return web.Response(status=500, body=_OVERLOADED, headers=_CODE)
        status, headers, answer = await self._forward(request, body)
        match fault:
            case Fault.ERROR_AFTER:
                return web.Response(status=500, body=_OVERLOADED, headers=_CODE)
            case Fault.CUT_ANSWER:
                transport.write(b"HTTP/1.1 200 OK\r\nContent-Le")
                await asyncio.sleep(0)
                transport.abort()
            case Fault.HOLD:
                await asyncio.sleep(self._hold_s)
                transport.abort()
        return web.Response(status=status, headers=headers, body=answer)

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        kept = {name: text for name, text in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        async with self._client.request(
            request.method, f"{self._target}{request.raw_path}", headers=kept, data=body
        ) as response:
            answer = await response.read()
            headers = {n: text for n, text in response.headers.items() if n.lower() not in _HOP_BY_HOP}
            return response.status, headers, answer
