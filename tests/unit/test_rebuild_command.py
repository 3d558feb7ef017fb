"""`rebuild` waits until the sink has what was there when nobody folded any more, and for nothing that comes then."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from pipeline import topics
from pipeline.commands import rebuild
from pipeline.commands.failure import CommandFailed
from pipeline.kafka.admin import LogBounds
from pipeline.kafka.connection import KafkaConnection
from pipeline.topics import TP

A, B, S = TP(topics.SDK_EVENTS, 0), TP(topics.SDK_EVENTS, 1), TP(topics.SESSIONS, 0)
LOGS = {A: LogBounds(0, 100), B: LogBounds(40, 40), S: LogBounds(0, 10)}


def asked(monkeypatch: pytest.MonkeyPatch, *answers: dict[TP, int | None]) -> list[int]:
    """What the sink has committed, each time that it is asked for; the last answer stays. Counts the questions."""
    count = [0]

    async def committed(
        connection: KafkaConnection, group: str, names: Collection[str]
    ) -> dict[TP, int | None]:
        assert group == "session-pipeline-sink" and set(names) == {topics.SDK_EVENTS, topics.SESSIONS}
        count[0] += 1
        return answers[min(count[0], len(answers)) - 1]

    monkeypatch.setattr(rebuild, "committed_offsets", committed)
    monkeypatch.setattr(rebuild, "_POLL_S", 0.001)
    monkeypatch.setattr(rebuild, "_STORES_S", 0.05)
    return count


def test_a_sink_that_keeps_up_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    count = asked(monkeypatch, {A: 90, B: None, S: 10}, {A: 99, B: None, S: 10}, {A: 130, B: None, S: 12})
    asyncio.run(rebuild._until_stored(KafkaConnection("kafka:9092"), LOGS))
    assert count == [3]


def test_a_sink_that_does_not_come_to_it_is_named_with_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, {A: 93, B: None, S: None})
    with pytest.raises(CommandFailed, match="yet to store 7 records of sdk-events"):
        asyncio.run(rebuild._until_stored(KafkaConnection("kafka:9092"), LOGS))
