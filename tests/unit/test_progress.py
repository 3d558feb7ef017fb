"""When everything counts as idle, and what is said of what was refused."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Mapping
from typing import Any, cast

import pytest

from pipeline import topics, wiring
from pipeline.clickhouse.store import Store
from pipeline.commands import operate, progress
from pipeline.commands.refused import words_of
from pipeline.domain.policy import Policies, Policy
from pipeline.formats import measure
from pipeline.kafka.admin import LogBounds
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.errors import BrokerUnavailable
from pipeline.kafka.topic_identity import Note
from pipeline.query.operations import RefusedTotals, WrongPartition
from pipeline.roles.topology import group_of
from pipeline.settings import Settings
from pipeline.topics import TP

RAW = TP(measure.FORMAT.topic, 0)
BODIES = 3


class Pipeline:
    """Three bodies that the router passes on one at a question, a session of each, closed when it was shown twice."""

    def __init__(self) -> None:
        self.routed = 0
        self.arrived_ms: list[int] = []
        self.shown: list[int] = []

    async def commits(
        self, connection: KafkaConnection, group: str, names: Collection[str]
    ) -> dict[TP, tuple[int, Note] | None]:
        del connection, names
        if group != group_of("router"):
            return {TP(topics.SDK_EVENTS, 0): (len(self.arrived_ms), Note())}
        if self.routed < BODIES:
            self.routed += 1
            await asyncio.sleep(0.01)
            self.arrived_ms.append(time.time_ns() // 1_000_000)
        return {RAW: (self.routed, Note())}

    async def log_bounds(
        self, connection: KafkaConnection, partitions: Collection[TP]
    ) -> dict[TP, LogBounds]:
        ends = {measure.FORMAT.topic: BODIES, topics.SDK_EVENTS: len(self.arrived_ms)}
        return {tp: LogBounds(0, ends.get(tp.topic, 0)) for tp in partitions}

    async def topic_partitions(self, connection: KafkaConnection, names: Collection[str]) -> list[TP]:
        return [TP(name, 0) for name in names]

    async def ids_of(self, connection: KafkaConnection, names: Collection[str]) -> dict[str, str]:
        return {}

    def query(self, sql: str, parameters: Mapping[str, Any]) -> bytes:
        """The open sessions that arrived before a time; each question closes one of them."""
        found = [ms for ms in self.arrived_ms if ms <= parameters["before"]]
        self.shown.append(len(found))
        if not found:
            return b""
        self.arrived_ms.remove(found[0])
        return json.dumps({"app_id": "a", "count": len(found), "earliest": found[0]}).encode()


def test_sessions_of_bodies_routed_later_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their time of arrival is that of the envelope, which is after the command began."""
    pipeline = Pipeline()
    for name in ("commits", "log_bounds", "topic_partitions", "ids_of"):
        monkeypatch.setattr(progress, name, getattr(pipeline, name))
    monkeypatch.setattr(progress, "_POLL_S", 0.001)
    waiting = progress.wait_until_idle(
        KafkaConnection("nowhere:1"), cast(Store, pipeline), Policies(Policy(idle_timeout_ms=1_000), {}), 30
    )
    asyncio.run(waiting)
    assert pipeline.routed == BODIES
    assert pipeline.shown == [3, 2, 1, 0]


@pytest.mark.parametrize("name", ["log_bounds", "topic_partitions", "ids_of"])
@pytest.mark.parametrize("breaks", [4, 5])
def test_a_connection_that_breaks_is_no_reason_to_stop_waiting(
    monkeypatch: pytest.MonkeyPatch, name: str, breaks: int
) -> None:
    pipeline, left = Pipeline(), breaks
    for each in ("commits", "log_bounds", "topic_partitions", "ids_of"):
        monkeypatch.setattr(progress, each, getattr(pipeline, each))
    answer = getattr(pipeline, name)

    async def breaking(*about: object) -> object:
        nonlocal left
        left -= 1
        if left >= 0:
            raise BrokerUnavailable("the connection was closed")
        return await answer(*about)

    monkeypatch.setattr(progress, name, breaking)
    monkeypatch.setattr(progress, "_POLL_S", 0.001)
    monkeypatch.setattr(progress, "_AGAIN_S", 0.001)
    waiting = progress.wait_until_idle(
        KafkaConnection("nowhere:1"), cast(Store, pipeline), Policies(Policy(idle_timeout_ms=1_000), {}), 30
    )
    if breaks == 4:
        asyncio.run(waiting)
        assert pipeline.routed == BODIES
    else:
        with pytest.raises(BrokerUnavailable):
            asyncio.run(waiting)


@pytest.mark.parametrize(
    ("totals", "words"),
    [
        ((0, 0, 0), "nothing refused"),
        ((1, 0, 0), "1 record refused"),
        ((10, 1, 0), "10 records and 1 single event refused"),
        ((2, 5, 1), "2 records, 5 single events and 1 list of spans refused"),
    ],
)
def test_what_was_refused_in_words(totals: tuple[int, int, int], words: str) -> None:
    assert words_of(RefusedTotals(*totals)).removesuffix(" (session-pipeline dead-letters list)") == words


@pytest.mark.parametrize("form", ["text", "json"])
def test_status_says_what_was_refused_before_the_ledger(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def answer(*_: Any, **__: Any) -> list[Any]:
        return []

    class Empty:
        def query(self, *_: Any) -> bytes:
            return b""

        def close(self) -> None: ...

    def refused(_: Any, but_of: str) -> RefusedTotals:
        return RefusedTotals(37, 2, 0) if but_of == topics.SDK_EVENTS else RefusedTotals(99, 0, 0)

    for name in ("wait_for_broker", "lags", "faults"):
        monkeypatch.setattr(operate, name, answer)
    monkeypatch.setattr(operate, "_RATE_SECONDS", 0.001)
    monkeypatch.setattr(wiring, "store", lambda _: Empty())
    monkeypatch.setattr(operate, "wrong_partition", lambda _: WrongPartition(0, 0, 0))
    monkeypatch.setattr(operate, "refused_totals", refused)
    operate.status(Settings(), wait_idle=False, timeout_s=1, format=form)
    said = capsys.readouterr().out
    if form == "json":
        assert json.loads(said)["refused_before_sdk_events"] == {"records": 37, "events": 2, "spans": 0}
    else:
        words = "37 records and 2 single events refused (session-pipeline dead-letters list)"
        assert f"before sdk-events, so not in the ledger: {words}" in said.splitlines()
