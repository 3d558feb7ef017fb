"""`receive` in this process on a free port of loopback, before a writer that only keeps what it gets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, NamedTuple

import orjson

from pipeline.embedded.child import LOOPBACK
from pipeline.kafka.errors import BrokerUnavailable
from pipeline.kafka.produce import RecordToSend
from pipeline.receive.app import Readiness, application
from pipeline.receive.budget import Budget
from pipeline.receive.intake import Common
from pipeline.receive.keys import Keys
from pipeline.receive.metrics import ReceiveMetrics
from pipeline.receive.origins import Origins
from pipeline.receive.routes import ROUTES, Route
from pipeline.receive.server import StoppableServer, config


class Got(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class KeptWriter:
    """Keeps records in memory; away, slow or failing where a test says so."""

    def __init__(self) -> None:
        self.is_up = True
        self.error: Exception | None = None
        self.records: list[RecordToSend] = []
        self.is_held = threading.Event()
        """While it is set, nothing is with the broker."""
        self.gives_up_after_s = 30.0
        self.waiting = 0
        self.stopped_with: int | None = None
        self._unsettled: list[Callable[[], None]] = []

    async def write(
        self, records: Sequence[RecordToSend], settled: Callable[[], None] = lambda: None
    ) -> None:
        if self.error is not None or not self.is_up:
            settled()
            raise self.error or BrokerUnavailable("away")
        self.waiting += 1
        began_s = time.monotonic()
        while self.is_held.is_set():
            await asyncio.sleep(0.005)
            if time.monotonic() - began_s > self.gives_up_after_s:
                self._unsettled.append(settled)
                raise BrokerUnavailable("it takes too long")
        self.waiting -= 1
        self.records += records
        settled()

    def settle(self) -> None:
        """What was given up is done with by now."""
        for settled in self._unsettled:
            settled()

    async def stop(self) -> None:
        self.stopped_with = len(self.records)


class Served:
    """A running `receive`."""

    def __init__(self, **options: Any) -> None:
        self.writer = KeptWriter()
        self.metrics = ReceiveMetrics()
        self.readiness = Readiness()
        keys: Keys | None = options.get("keys")
        self.common = Common(
            self.writer,
            self.metrics,
            Budget(options.get("budget", 64_000_000)),
            options.get("max_body", 8_000_000),
            keys=lambda: keys,
            body_s=options.get("body_s", 30.0),
        )
        routes: Sequence[Route] = options.get("routes", ROUTES)
        origins = Origins(options.get("origins", ()), loopback=options.get("loopback", True))
        app = application(
            self.common, origins, readiness=self.readiness, routes=routes, stop=self.writer.stop
        )
        self.server = StoppableServer(
            config(
                app,
                max_connections=options.get("connections", 2_000),
                head_s=options.get("head_s", 10.0),
                idle_s=options.get("idle_s", 20),
            ),
            stopping=self.readiness.stop,
            drain_s=options.get("drain_s", 0.0),
        )
        self._listener = socket.socket()
        self._listener.bind((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self.server.run, args=([self._listener],), daemon=True)

    def start(self) -> None:
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive()
            time.sleep(0.005)

    def stop(self, *, waits: bool = True) -> None:
        self.server.handle_exit(15, None)
        if waits:
            self.join()

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Got:
        """One request on a connection of its own."""
        connection = HTTPConnection(LOOPBACK, self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            said = {name.lower(): text for name, text in answer.getheaders()}
            return Got(answer.status, said, answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> Got:
        """Underscores of names stand for hyphens."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.ask("POST", path, body if isinstance(body, bytes) else orjson.dumps(body), named)

    def connect(self) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.port), timeout=20)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"pipeline_receive_{name}", labels) or 0.0


@contextmanager
def served(**options: Any) -> Iterator[Served]:
    """Until the context ends; every byte that was held is given back by then."""
    running = Served(**options)
    running.start()
    try:
        yield running
    finally:
        running.writer.is_held.clear()
        running.stop()
    running.writer.settle()
    assert running.common.budget.used == 0


def envelope(app: str = "org.example.app", device: str = "d1", *ids: str, **more: Any) -> dict[str, Any]:
    """A native envelope with one event for each id."""
    now_ms = int(time.time() * 1_000)
    events = [{"id": name, "name": "tick", "time": now_ms, "attributes": {}} for name in ids or ("e1",)]
    return {"v": 1, "app_id": app, "device_id": device, "resource": {}, "events": events, **more}
