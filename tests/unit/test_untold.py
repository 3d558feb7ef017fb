"""Where states are moved, devices are told of that were set aside right before their worker died; no others."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

from pipeline.formats.native.partitioner import partition_of
from pipeline.formats.rejected import Reason
from pipeline.kafka.connection import KafkaConnection
from pipeline.roles import untold
from pipeline.state.aside import Aside, aside_item
from pipeline.state.moving import Plan
from pipeline.topics import TP

WORK = Plan(5, 3, 20_000, 10_000)
"""Offsets counted from 10,000, and will from 20,000."""
HERE = [key for key in (b"app/d%d" % n for n in range(30)) if partition_of(key, 3) == 1]
ELSEWHERE = next(key for key in (b"app/e%d" % n for n in range(30)) if partition_of(key, 3) != 1)


class Record(NamedTuple):
    timestamp: int
    value: bytes
    headers: tuple[()] = ()


def test_whose_records_were_not_acknowledged_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[TP, int]] = []

    async def record_at(_: KafkaConnection, tp: TP, offset: int) -> Any:
        asked.append((tp, offset))
        return None if offset == 9 else Record(1_000, b"the bytes")

    monkeypatch.setattr(untold, "record_at", record_at)
    told_before, not_told, not_kept, told_since = HERE[:4]
    items = dict(
        [
            aside_item(told_before, Aside(10_004, "too large")),
            aside_item(not_told, Aside(10_007, "too large")),
            aside_item(not_kept, Aside(10_009, "too large")),
            aside_item(told_since, Aside(20_001, "too large")),
            aside_item(ELSEWHERE, Aside(10_008, "moved here: its partition has told")),
            (not_told, b"its state"),
        ]
    )
    letters = asyncio.run(untold.untold(KafkaConnection("kafka:9092"), 1, items, 10_005, WORK))
    assert asked == [(TP("sdk-events", 1), 7), (TP("sdk-events", 1), 9)], "as Kafka counts"
    assert [(each.partition, each.offset, each.key, each.value) for each in letters] == [
        (1, 10_007, not_told, b"the bytes"),
        (1, 10_009, not_kept, None),
    ]
    assert {each.rejected.reason for each in letters} == {Reason.DEVICE_SET_ASIDE}
