"""How much of a fetch is unpacked at once, however small it was on its way."""

from __future__ import annotations

from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record import memory_records
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from pipeline.kafka.bounded_fetch import Room, room, within_room
from pipeline.streaming import consumer_thread

TPS = [TopicPartition("t", number) for number in range(3)]


class Position:
    """An assignment, as far as a fetch result asks it."""

    active = True
    paused = False

    def __init__(self) -> None:
        self.position = 0

    def state_value(self, tp: TopicPartition) -> Position:
        del tp
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


def fetch(tp: TopicPartition, batches: int, record_bytes: int) -> tuple[Any, Position]:
    """Compressed batches of four records each."""
    packed = b""
    for number in range(batches):
        builder = DefaultRecordBatchBuilder(2, 4, False, -1, -1, -1, 1 << 30)
        for n in range(4):
            builder.append(n, timestamp=1, key=None, value=b"x" * record_bytes, headers=[])
        built = bytearray(builder.build())
        built[:8] = (number * 4).to_bytes(8, "big")
        packed += built
    records = fetcher.PartitionRecords(
        tp, memory_records.MemoryRecords(packed), [], 0, None, None, False, fetcher.READ_UNCOMMITTED
    )
    position = Position()
    return fetcher.FetchResult(tp, assignment=position, partition_records=records, backoff=0), position


def take(result: Any, within: Room | None) -> list[int]:
    room.set(within)
    return [record.offset for record in result.getall(50_000)]


def test_consumers_use_it() -> None:
    assert fetcher.FetchResult.getall is within_room
    assert "room.set(Room(" in open(consumer_thread.__file__).read()  # noqa: SIM115, PTH123


def test_records_come_while_there_is_room_and_in_order() -> None:
    result, position = fetch(TPS[0], batches=5, record_bytes=1_000)
    assert take(result, Room(2_500)) == [0, 1, 2]
    assert position.position == 3
    assert take(result, Room(1)) == [3], "one that is larger than the room passes"
    assert take(result, Room(100_000)) == [*range(4, 20)]
    assert position.position == 20 and not result.has_more()
    assert take(result, Room(100_000)) == []


def test_partitions_share_the_room_and_lose_nothing() -> None:
    results = [fetch(tp, batches=2, record_bytes=1_000)[0] for tp in TPS]
    within = Room(10_000)
    first = [take(result, within) for result in results]
    assert [len(some) for some in first] == [8, 2, 0]
    assert all(result.has_more() for result in results[1:])
    rest = [take(result, Room(100_000)) for result in results]
    assert [a + b for a, b in zip(first, rest, strict=True)] == [[*range(8)]] * 3


def test_without_a_room_all_comes() -> None:
    result, _ = fetch(TPS[0], batches=5, record_bytes=1_000)
    assert take(result, None) == [*range(20)]
