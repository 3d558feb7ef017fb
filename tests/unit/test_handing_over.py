"""Each topic's agent takes its chunks in its own time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faust.types import TP

from pipeline.streaming import batch_transport
from pipeline.streaming.chunk import Chunk
from pipeline.streaming.handing_over import HandingOver
from tests.support.consumer_double import OTHER, SOURCE, Consumer, Record


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Consumer:
    made = Consumer()
    monkeypatch.setattr(batch_transport, "uptime_s", lambda: made._thread.confirmed_s)
    return made


def test_a_topic_whose_agent_is_busy_does_not_hold_up_the_others(consumer: Consumer) -> None:
    """A sink takes no events while it inserts some; its sessions go on."""
    assignment = consumer.open()
    busy, sessions = asyncio.Event(), TP("sessions", 0)
    assignment.begin_reading({sessions: 0}, {})
    give = consumer.callback

    async def take(chunk: Chunk) -> None:
        if chunk.tp.topic == "source":
            await busy.wait()
        await give(chunk)

    async def deliver() -> None:
        consumer.callback = take  # type: ignore[method-assign]
        nothing: Any = ({}, frozenset())
        consumer._thread.fetched = [
            ({SOURCE: [Record(offset) for offset in range(4)]}, frozenset({SOURCE, sessions})),
            ({sessions: [Record(0)]}, frozenset({sessions})),
            ({sessions: [Record(1)]}, frozenset()),
        ]
        for _ in range(3):
            await consumer._deliver_what_is_there(assignment)
        assert [chunk.tp for chunk in consumer.chunks] == [sessions, sessions]
        assert assignment.caught_up == frozenset(), "source is read to its end, but not handed over"
        assert consumer._thread.asked[1:] == [([sessions], True)] * 2
        busy.set()
        while consumer._handing_over.held_up:
            consumer._thread.fetched = [nothing]
            await consumer._deliver_what_is_there(assignment)
            await asyncio.sleep(0)
        consumer._thread.fetched = [nothing]
        await consumer._deliver_what_is_there(assignment)

    asyncio.run(deliver())
    assert [chunk.first_offset for chunk in consumer.chunks if chunk.tp == SOURCE] == [0, 2]
    assert consumer._thread.asked[-1] == ([sessions, SOURCE, OTHER], False)
    assert assignment.caught_up == frozenset(), "a later fetch does not say so any more"


def test_where_all_agents_are_busy_nothing_is_fetched_until_one_has_room(consumer: Consumer) -> None:
    assignment = consumer.open()
    busy, give = asyncio.Event(), consumer.callback

    async def take(chunk: Chunk) -> None:
        await busy.wait()
        await give(chunk)

    async def deliver() -> None:
        consumer.callback = take  # type: ignore[method-assign]
        consumer._thread.fetched = [({SOURCE: [Record(0)]}, frozenset({SOURCE}))]
        await consumer._deliver_what_is_there(assignment)
        waiting = asyncio.create_task(consumer._deliver_what_is_there(assignment))
        await asyncio.sleep(0.02)
        assert not waiting.done() and len(consumer._thread.asked) == 1
        busy.set()
        await waiting

    asyncio.run(deliver())
    assert [chunk.tp for chunk in consumer.chunks] == [SOURCE] and assignment.caught_up == {SOURCE}


def test_what_handing_over_raises_ends_the_delivery(consumer: Consumer) -> None:
    assignment = consumer.open()

    async def fail(chunk: Chunk) -> None:
        await asyncio.sleep(0.02)
        raise RuntimeError("no room for good")

    async def deliver() -> None:
        consumer.callback = fail  # type: ignore[method-assign]
        consumer._thread.fetched = [({SOURCE: [Record(0)]}, frozenset())]
        await consumer._deliver_what_is_there(assignment)
        with pytest.raises(RuntimeError, match="no room"):
            while True:
                await consumer._deliver_what_is_there(assignment)

    asyncio.run(deliver())


def test_what_is_on_its_way_at_a_stop_is_dropped(consumer: Consumer) -> None:
    assignment = consumer.open()
    taken = []

    async def take(chunk: Chunk) -> None:
        await asyncio.sleep(10)
        taken.append(chunk)

    async def deliver() -> None:
        consumer.callback = take  # type: ignore[method-assign]
        consumer._thread.fetched = [({SOURCE: [Record(0), Record(1), Record(2)]}, frozenset())]
        await consumer._deliver_what_is_there(assignment)
        await consumer._handing_over.stop()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(deliver())
    assert taken == [] and assignment.to_commit() == {}
    assert not assignment.sources[SOURCE].idle


def test_topics_of_one_agent_wait_for_each_other(consumer: Consumer) -> None:
    """Its queue is one, and what was fetched lies in memory until it has room."""
    assignment, other = consumer.open(), TP("other", 0)
    assignment.begin_reading({other: 0}, {})
    consumer._handing_over = HandingOver({"source": "all", "other": "all"})

    async def take(chunk: Chunk) -> None:
        await asyncio.sleep(10)

    async def deliver() -> None:
        consumer.callback = take  # type: ignore[method-assign]
        consumer._thread.fetched = [({SOURCE: [Record(0)]}, frozenset({other}))]
        await consumer._deliver_what_is_there(assignment)
        assert consumer._handing_over.free((SOURCE, other)) == ()
        assert assignment.caught_up == frozenset(), "the other one is not read meanwhile, so nobody knows"
        await consumer._handing_over.stop()

    asyncio.run(deliver())


def test_what_a_stop_meets_is_logged_and_all_is_stopped(
    consumer: Consumer, caplog: pytest.LogCaptureFixture
) -> None:
    handing = HandingOver({})

    async def fail() -> None:
        raise RuntimeError("at once")

    async def wait() -> None:
        await asyncio.sleep(10)

    async def stop() -> None:
        handing.begin("one", fail())
        handing.begin("two", wait())
        await asyncio.sleep(0)
        await handing.stop()
        assert len(asyncio.all_tasks()) == 1 and not handing.held_up

    asyncio.run(stop())
    assert "at once" in caplog.text
