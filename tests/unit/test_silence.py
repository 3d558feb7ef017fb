"""Why Kafka is silent is asked while it is, and told when it is new, then less and less often."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pipeline.errors import UnusablePath
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.diagnosis import Cause
from pipeline.streaming.silence import Silence

CONNECTION = KafkaConnection("kafka:9092")


class World:
    """A Kafka that gives causes, and a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.cause: Cause | Exception | None = Cause("nothing listens at kafka:9092", False)
        self.asked = 0
        self.silence = Silence(CONNECTION, 600, self.why, lambda: self.now_s)

    async def why(self, connection: KafkaConnection) -> Cause | None:
        assert connection is CONNECTION
        self.asked += 1
        if isinstance(self.cause, Exception):
            raise self.cause
        return self.cause

    async def silent(self, since_s: int, until_s: int) -> None:
        for second in range(since_s, until_s):
            self.now_s += 1
            self.silence.look(float(second))
            await asyncio.sleep(0)
            await asyncio.sleep(0)


def test_the_cause_is_told_once_it_is_known_and_then_less_and_less_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pipeline.streaming.silence")
    world = World()
    asyncio.run(world.silent(0, 301))
    said = [record.getMessage() for record in caplog.records]
    assert all("nothing listens at kafka:9092" in line and "ends after 600 s" in line for line in said)
    assert [line.split(" s:")[0].split()[-1] for line in said] == [
        "6",
        "12",
        "24",
        "48",
        "96",
        "156",
        "216",
        "276",
    ]
    assert 50 <= world.asked <= 60


def test_another_cause_is_told_at_once_and_the_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pipeline.streaming.silence")
    world = World()

    async def live() -> None:
        await world.silent(0, 20)
        world.cause = Cause("kafka:9092 refused the login of worker by PLAIN", True)
        await world.silent(20, 27)
        assert "refused the login" in world.silence.cause
        await world.silent(0, 3)

    asyncio.run(live())
    said = [record.getMessage() for record in caplog.records]
    assert "refused the login" in said[-2] and said[-1] == "Kafka at kafka:9092 answers again"
    assert world.silence.cause == ""


@pytest.mark.parametrize(
    ("cause", "says"),
    [(None, "kafka:9092 takes connections"), (UnusablePath("no CA file"), "no CA file")],
    ids=["it answers", "no CA file"],
)
def test_there_is_always_a_cause(cause: Cause | Exception | None, says: str) -> None:
    world = World()
    world.cause = cause
    asyncio.run(world.silent(0, 8))
    assert says in world.silence.cause


def test_a_short_silence_is_nobodys_business(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    asyncio.run(world.silent(0, 5))
    assert not world.asked and not caplog.records


def test_what_waiting_does_not_end_is_a_refusal_once_it_is_sure(caplog: pytest.LogCaptureFixture) -> None:
    """A token, a password or a certificate: whoever is started anew reads them anew."""
    world = World()
    world.cause = Cause("kafka:9092 refused the token of worker", True)
    asyncio.run(world.silent(0, 12))
    assert world.silence.cause and not world.silence.refusal, "it was asked twice"
    asyncio.run(world.silent(12, 30))
    assert world.silence.refusal == "kafka:9092 refused the token of worker"
    assert all("Waiting does not end that" in record.getMessage() for record in caplog.records)
    world.cause = Cause("nothing listens at kafka:9092", False)
    asyncio.run(world.silent(30, 40))
    assert not world.silence.refusal
