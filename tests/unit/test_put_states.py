"""A rebuild of the states: what waits for ClickHouse leaves the event loop free, and with it Kafka's client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from pipeline import topics
from pipeline.clickhouse.store import Store
from pipeline.domain.policy import Policies
from pipeline.kafka.connection import KafkaConnection
from pipeline.roles import rebuild
from pipeline.roles.rebuild import Rebuild, RebuildScope
from pipeline.state.marker import MARKER_KEY
from pipeline.storage import stored_event

T0 = 1_742_296_591_764
DEVICES = 5


class Waiting:
    """A store that answers once the event loop has come round, which it never does if the question is asked on it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.asked: list[str] = []

    def lines(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
        if not sql.startswith(stored_event.SELECT):
            self._wait(sql)
            yield b"[0, 4]"
            return
        for number in range(DEVICES):
            self._wait(sql)
            row = ["a", f"d{number}", 0, number, T0, T0, "activity", 0, f"e{number}", "", "", 0, "{}", "", ""]
            yield orjson.dumps([*row, T0, 0, "2026-01-05", 90])

    def query(self, sql: str) -> bytes:
        self._wait(sql)
        return b""

    def command(self, sql: str, parameters: Mapping[str, Any]) -> None:
        self._wait(sql)

    def _wait(self, sql: str) -> None:
        self.asked.append(sql)
        came_round = threading.Event()
        self.loop.call_soon_threadsafe(came_round.set)
        assert came_round.wait(2), f"the event loop stood still: {sql}"


class Fence:
    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes | None]] = []

    async def claim(self, partition: int, still_mine: object) -> int:
        return 1

    async def send(self, partition: int, items: list[tuple[bytes, bytes | None]]) -> None:
        self.sent += items


def test_putting_states_leaves_the_event_loop_free(monkeypatch: pytest.MonkeyPatch) -> None:
    fence = Fence()

    @asynccontextmanager
    async def producer_of(*_: Any, **__: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(client=None)

    async def topic_ids(*_: Any) -> dict[str, str]:
        return {topics.STATE: "id"}

    monkeypatch.setattr(rebuild, "producer_of", producer_of)
    monkeypatch.setattr(rebuild, "topic_ids", topic_ids)
    monkeypatch.setattr(rebuild, "kafka_fence", lambda *_: fence)
    monkeypatch.setattr(rebuild, "_STATES_AT_ONCE", 2)

    async def put() -> tuple[int, Waiting]:
        store = Waiting()
        work = Rebuild(cast(Store, store), Policies(), RebuildScope(), partitions=1, now_ms=T0)
        return await work.put_states(KafkaConnection("nowhere:1")), store

    count, store = asyncio.run(put())
    assert count == DEVICES
    states = {key: value for key, value in fence.sent if value is not None}
    assert list(states) == [*(f"a/d{number}".encode() for number in range(DEVICES)), MARKER_KEY]
    # Every question was asked: events, what is known of topics, how far they are stored, who was set aside, policies.
    assert len(store.asked) == DEVICES + 4
