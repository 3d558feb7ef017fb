"""A producer that never stops, whatever the broker does, and what became of what it was told is safe."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.embedded.child import LOOPBACK
from pipeline.embedded.clickhouse import EmbeddedClickHouse

APP = "org.example.restless"
_DEVICES = 40
_LANES = 4


def stored_events(clickhouse: EmbeddedClickHouse) -> set[str]:
    """The ids of its events in the database of `up`."""
    return set(clickhouse.command(f"SELECT event_id FROM app_sessions.events WHERE app_id = '{APP}'").split())


class Producer:
    """Sends an event after the other with acks=all, whatever the broker does, and keeps what was acknowledged."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._stop = threading.Event()
        self.acknowledged: set[str] = set()
        self.errors: Counter[str] = Counter()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="producer")

    def __enter__(self) -> Producer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, more: int) -> None:
        """Until so many more are acknowledged."""
        enough, deadline_s = len(self.acknowledged) + more, time.monotonic() + 60
        while len(self.acknowledged) < enough:
            assert time.monotonic() < deadline_s, self.errors
            time.sleep(0.02)

    async def _run(self) -> None:
        lanes = (self._lane(number) for number in range(_LANES))
        await asyncio.gather(*lanes)

    async def _lane(self, lane: int) -> None:
        number = 0
        while not self._stop.is_set():
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap, acks="all", request_timeout_ms=2_000, linger_ms=2
            )
            try:
                await producer.start()
                while not self._stop.is_set():
                    number += 1
                    await self._send(producer, f"{lane}-{number}", number % _DEVICES)
            except (KafkaError, OSError) as error:
                self.errors[type(error).__name__] += 1
                await asyncio.sleep(0.05)
            finally:
                await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, event_id: str, device: int) -> None:
        now_ms = int(time.time() * 1_000)
        events = [{"id": event_id, "name": "tick", "time": now_ms, "attributes": {}}]
        envelope = {"v": 1, "app_id": APP, "device_id": f"d{device}", "resource": {}, "events": events}
        key = f"{APP}/d{device}".encode()
        await producer.send_and_wait("sdk-events", json.dumps(envelope).encode(), key=key)
        self.acknowledged.add(event_id)


class HttpProducer:
    """The same over HTTP: an envelope after the other, whatever `receive` does; keeps what was answered 2xx."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self.acknowledged: set[str] = set()
        self.statuses: Counter[int] = Counter()
        """Of answers; 0 is none."""
        self.slowest_s = 0.0
        """Until an answer came; reset it at will."""
        self._threads = [threading.Thread(target=self._lane, args=(lane,)) for lane in range(_LANES)]

    def __enter__(self) -> HttpProducer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Until so many more are acknowledged."""
        enough, deadline_s = len(self.acknowledged) + more, time.monotonic() + 60
        while len(self.acknowledged) < enough:
            assert time.monotonic() < deadline_s, self.statuses
            time.sleep(0.02)

    def wait_for_status(self, status: int, more: int) -> None:
        """Until so many more answers have it."""
        enough, deadline_s = self.statuses[status] + more, time.monotonic() + 60
        while self.statuses[status] < enough:
            assert time.monotonic() < deadline_s, self.statuses
            time.sleep(0.02)

    def _lane(self, lane: int) -> None:
        connection = HTTPConnection(LOOPBACK, self._port, timeout=20)
        number = 0
        while not self._stop.is_set():
            number += 1
            event_id = f"http-{lane}-{number}"
            now_ms = int(time.time() * 1_000)
            events = [{"id": event_id, "name": "tick", "time": now_ms, "attributes": {}}]
            envelope = {"v": 1, "app_id": APP, "device_id": f"h{number % _DEVICES}", "events": events}
            began_s = time.monotonic()
            try:
                connection.request("POST", "/v1/events", json.dumps(envelope))
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, HTTPException):
                connection.close()
                status = 0
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
            if status == 200:
                self.acknowledged.add(event_id)
            else:
                time.sleep(0.05)
            self.statuses[status] += 1
        connection.close()
