"""The address of the embedded broker for others: open only while what they send is sure to be stored.

The broker itself listens on a port that nobody is told. Kafka's clients go where the broker says that it is, so in the
answers that say so the gate puts its own port for the broker's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any

from pipeline.embedded.child import LOOPBACK, StartError
from pipeline.embedded.peer import owner_of

_LARGEST_REQUEST = 100 * 1024 * 1024
"""As Apache Kafka's `socket.request.max.bytes`. What a browser or TLS begins with would be longer, as a length."""
_LARGEST_ADDRESSES = 64 * 1024 * 1024
_PIECE = 256 * 1024
_PRODUCE = 0
_SAY_ADDRESSES = frozenset({3, 10, 60})
"""Metadata, FindCoordinator, DescribeCluster."""
_ACCEPTING_S = 0.05
_LAST_ANSWERS_S = 2.0
_PATIENCE_S = 10.0

log = logging.getLogger(__name__)


class _Foreign(Exception):
    """What came is not a request of Kafka's protocol."""


class Gate:
    """A port on loopback before a broker's. It has it from `reserve` on, answers from `open` to `close`. Methods block.

    Only programs of the same user, and of root, are let in where the system says whose they are (Linux).
    """

    def __init__(self, port: int, broker_port: int) -> None:
        self.port = port
        self._broker_port = broker_port
        self._own, self._others = (_address(number) for number in (broker_port, port))
        self._listener: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._is_closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gate", daemon=True)

    def reserve(self) -> None:
        """Takes the port; nobody is let in yet. StartError if somebody else listens there."""
        # Of TCP by name: then asyncio sends small pieces at once (TCP_NODELAY).
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind((LOOPBACK, self.port))
        except OSError as error:
            self._listener.close()
            raise self._taken(error) from error

    def open(self) -> None:
        """Lets clients in. StartError if somebody else listens there by now."""
        self._thread.start()
        try:
            self._do(self._open())
        except OSError as error:
            raise self._taken(error) from error

    def close(self) -> None:
        """Takes no more requests, lets the answers to those under way out, and gives the port up. Harmless twice."""
        if self._thread.is_alive():
            self._do(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        if self._listener is not None:
            self._listener.close()

    def _taken(self, error: OSError) -> StartError:
        return StartError(f"the embedded broker cannot listen on {LOOPBACK}:{self.port}: {error.strerror}")

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._let_in, sock=self._listener, limit=_PIECE)

    async def _close(self) -> None:
        self._is_closing = True
        # What is being accepted right now comes to its task, which sees that the gate is closing. A server that is
        # closed would forget it, and its client wait.
        await asyncio.sleep(_ACCEPTING_S)
        if self._server is not None:
            self._server.close()
        for connection in self._connections.values():
            connection.stop_reading()
        if self._connections:
            await asyncio.wait([*self._connections], timeout=_LAST_ANSWERS_S)
        for task in [*self._connections]:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server's callback runs in a task"
        try:
            if self._is_closing or not self._is_ours(writer):
                return
            broker = await asyncio.open_connection(LOOPBACK, self._broker_port, limit=_PIECE)
            if self._is_closing:
                broker[1].close()
                return
            connection = _Connection((reader, writer), broker, self._own, self._others)
            self._connections[task] = connection
            await connection.run()
        except OSError:
            pass  # one of the two has gone: the other is told by the end of its own connection
        finally:
            self._connections.pop(task, None)
            writer.close()

    def _is_ours(self, writer: asyncio.StreamWriter) -> bool:
        owner = owner_of(writer.get_extra_info("peername"), writer.get_extra_info("sockname"))
        if owner is None or owner in (0, os.getuid()):
            return True
        log.warning("Kafka on port %d: refused a program of user %d; it is for its owner", self.port, owner)
        return False


class _Connection:
    """One client and its connection to the broker."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        broker: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        own: bytes,
        others: bytes,
    ) -> None:
        self._client, self._to_client = client
        self._broker, self._to_broker = broker
        self._own, self._others = own, others
        self._saying: set[int] = set()
        """Requests, by their number, whose answers say addresses."""
        self._produced: int | None = None
        """The last request whose answer acknowledges records, until it is answered. Answers come in order."""
        self._requests: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def run(self) -> None:
        """Until one side has gone, or what was asked before `stop_reading` is answered."""
        self._requests = asyncio.create_task(self._pass_requests())
        answers = asyncio.create_task(self._pass_answers())
        try:
            await asyncio.wait([self._requests, answers], return_when=asyncio.FIRST_COMPLETED)
            if self._is_stopping and self._produced is not None:
                await answers
        finally:
            for task in (self._requests, answers):
                task.cancel()
            for outcome in await asyncio.gather(self._requests, answers, return_exceptions=True):
                if isinstance(outcome, _Foreign):
                    log.warning("a client of Kafka was cut off: %s", outcome)
            self._to_broker.close()
            with contextlib.suppress(OSError):
                await self._to_client.drain()

    def stop_reading(self) -> None:
        """Takes no further request; one that has come in part is not passed on whole, so the broker ignores it."""
        self._is_stopping = True
        if self._requests is not None:
            self._requests.cancel()

    async def _pass_requests(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await self._client.readexactly(12)
                size, kind, _version, number = struct.unpack(">ihhi", head)
                if not 8 <= size <= _LARGEST_REQUEST:
                    raise _Foreign(f"a request cannot have {size} bytes")
                if kind in _SAY_ADDRESSES:
                    self._saying.add(number)
                before = self._produced
                if kind == _PRODUCE:
                    self._produced = number
                try:
                    self._to_broker.write(head)
                    await self._pass(self._client, self._to_broker, size - 8)
                except asyncio.CancelledError:
                    self._produced = before
                    raise

    async def _pass_answers(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while not self._is_stopping or self._produced is not None:
                head = await self._broker.readexactly(8)
                size, number = struct.unpack(">ii", head)
                if number in self._saying and size <= _LARGEST_ADDRESSES:
                    self._saying.discard(number)
                    body = await self._broker.readexactly(size - 4)
                    # Host and port stand side by side in every version, and the length stays the same.
                    self._to_client.write(head + body.replace(self._own, self._others))
                    await self._to_client.drain()
                else:
                    self._to_client.write(head)
                    await self._pass(self._broker, self._to_client, size - 4)
                if number == self._produced:
                    self._produced = None

    @staticmethod
    async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter, size: int) -> None:
        while size:
            piece = await source.read(min(size, _PIECE))
            if not piece:
                raise asyncio.IncompleteReadError(piece, size)
            size -= len(piece)
            target.write(piece)
            await target.drain()


def _address(port: int) -> bytes:
    return LOOPBACK.encode() + struct.pack(">i", port)
