"""The HTTP server: uvicorn, with bounds on what clients hold without sending a request."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""For the head of a request, from the connection's begin or its first byte."""
IDLE_S = 20
"""Between two requests of a connection: exporters send every few seconds."""
GRACE_S = 10
"""For what was accepted before a stop: to be whole, in Kafka and answered."""
_MAX_HEAD_BYTES = 64 * 1024
_PIECE_BYTES = 64 * 1024
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)


def config(app: ASGIApp, *, max_connections: int, head_s: float = HEAD_S, idle_s: int = IDLE_S) -> Config:
    """How the application is served."""

    class Protocol(_Protocol):
        most = max_connections
        within_s = head_s

    options: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "ws": "none"}
    return Config(
        app,
        http=Protocol,
        lifespan="on",
        proxy_headers=False,
        root_path="",
        timeout_keep_alive=idle_s,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        backlog=1_024,
        **options,
    )


class StoppableServer(Server):
    """Says at once that it is to stop. At SIGTERM it goes on for a while, so that whoever sends clients here, as a load
    balancer does, learns of it before anybody finds nobody."""

    def __init__(self, config: Config, stopping: Callable[[], None], drain_s: float = 0.0) -> None:
        """`stopping` is called in the signal's handler; `drain_s` is how long requests are taken after SIGTERM. SIGINT,
        or a second signal, ends that."""
        super().__init__(config)
        self._stopping = stopping
        self._drain_s = drain_s
        self._ends_s: float | None = None

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._stopping()
        if sig == signal.SIGTERM and self._drain_s > 0 and self._ends_s is None:
            self._ends_s = time.monotonic() + self._drain_s
            return
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether it is to stop; asked ten times a second."""
        if self._ends_s is not None and time.monotonic() >= self._ends_s:
            self.should_exit = True
        return await super().on_tick(counter)


class _Protocol(H11Protocol):
    """One connection."""

    most: int
    within_s: float

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # How much is read at once, whether anybody wants it or not. An attribute of asyncio's own transports.
        transport.max_size = _PIECE_BYTES  # type: ignore[attr-defined]
        super().connection_made(transport)
        if len(self.connections) > self.most and not self._makes_room():
            transport.write(_FULL)
            transport.close()
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_between_requests():
            self._expect_head()
        else:
            self._forget_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that has said all may still wait for its answer; the connection ends with that."""
        if self._is_between_requests() or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _makes_room(self) -> bool:
        """Whether a connection without a request was closed in favour of this one."""
        for other in self.connections:
            if other is not self and isinstance(other, _Protocol) and other._has_answered():
                other.shutdown()
                return True
        return False

    def _has_answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete and not self.transport.is_closing()

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.within_s, self._head_is_late)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._is_between_requests() and not self.transport.is_closing():
            self.transport.close()
