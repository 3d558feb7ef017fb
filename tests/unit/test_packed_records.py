"""What the compiled core unpacks of a fetch is what aiokafka unpacks, record by record, whatever room there is."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from types import ModuleType
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, FetchResult
from aiokafka.errors import CorruptRecordException
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from pipeline.formats.native.partitioner import partition_of
from pipeline.kafka.bounded_fetch import Room, room, within_room
from pipeline.kafka.packed_records import KeptRecords, RecordsAsTheyAre
from pipeline.state.grouping import grouped
from pipeline.state.records import SourceRecord
from tests.support.cores import core_or_skip
from tests.support.packed import TP, batch, fetched, told


@pytest.fixture(scope="module")
def core() -> ModuleType:
    return core_or_skip()


def taken(result: FetchResult, core: ModuleType | None, most: int, bytes_at_once: int) -> Iterator[Any]:
    """Each call's records, and where the consumer is then."""
    while result.has_more():
        token = room.set(Room(bytes_at_once, core))
        try:
            found = within_room(result, most)
        finally:
            room.reset(token)
        yield list(map(told, found)), result._assignment.state_value(TP).position


def both(core: ModuleType, data: bytes, offset: int, most: int = 100, bytes_at_once: int = 1 << 20) -> None:
    by_aiokafka = [got for got in taken(fetched(data, offset), None, most, bytes_at_once) if got[0]]
    by_core = [got for got in taken(fetched(data, offset), core, most, bytes_at_once) if got[0]]
    assert [got[0] for got in by_core] == [got[0] for got in by_aiokafka]
    assert sum(len(got[0]) for got in by_core), "nothing was compared"


@pytest.mark.parametrize("codec", range(5), ids=["plain", "gzip", "snappy", "lz4", "zstd"])
def test_records_are_the_same(core: ModuleType, codec: int) -> None:
    rng = Random(codec)
    data = b"".join(batch(first, rng, codec=codec) for first in (10, 15, 30))
    for most, bytes_at_once in ((100, 1 << 20), (1, 1 << 20), (3, 1 << 20), (100, 1), (100, 150), (7, 400)):
        both(core, data, 10, most, bytes_at_once)
    assert fetched(data, 10)._partition_records.packed_by(core) is not None
    # From the middle of a batch on, and with an end that is not whole.
    both(core, data[:-20], 12)


def test_kafka_says_when_they_came(core: ModuleType) -> None:
    both(core, batch(3, Random(1), attributes=0x08), 3)


def test_control_batches_are_passed_over(core: ModuleType) -> None:
    rng = Random(2)
    data = (
        batch(0, rng)
        + batch(5, rng, count=1, attributes=0x30)
        + batch(6, rng)
        + batch(11, rng, count=1, attributes=0x20)
    )
    both(core, data, 0)
    *_, (_, position) = taken(fetched(data, 0), core, 100, 1 << 20)
    assert position == 12


def test_where_it_is_not_sure_aiokafka_goes_on(core: ModuleType) -> None:
    rng = Random(3)
    legacy = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    legacy.append(5, 1_000, b"a/b", b"{}")
    old = bytes(legacy.build())
    both(core, old, 5)
    found = [
        each for records, _ in taken(fetched(batch(0, rng) + old, 0), core, 100, 1 << 20) for each in records
    ]
    assert [offset for offset, *_ in found] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("damage", [-1, 70], ids=["last_byte", "a_length"])
def test_what_is_damaged_is_refused_by_aiokafka(core: ModuleType, damage: int) -> None:
    rng = Random(4)
    damaged = bytearray(batch(5, rng))
    damaged[damage] ^= 0x55
    steps = taken(fetched(batch(0, rng) + bytes(damaged), 0), core, 100, 1 << 20)
    assert len(next(steps)[0]) == 5
    with pytest.raises(CorruptRecordException):
        next(steps)


def test_a_consumer_that_waits_for_transactions_is_aiokafkas(core: ModuleType) -> None:
    records = fetched(batch(0, Random(5)), 0, READ_COMMITTED)._partition_records
    assert records.packed_by(core) is None


def test_a_sequence_of_records(core: ModuleType) -> None:
    [(expected, _)] = taken(fetched(batch(7, Random(6)), 7), None, 100, 1 << 20)
    records = core.Fetched(batch(7, Random(6)), 7, None).take(100, 1 << 20)
    assert (len(records), list(map(told, records)), told(records[-1])) == (5, expected, expected[-1])
    assert list(map(told, records[1:][1:-1])) == expected[2:-1]
    assert records.byte_count == sum(len(key or b"") + len(value or b"") for *_, key, value, _ in expected)
    for place in (5, -6):
        with pytest.raises(IndexError):
            records[place]


def test_groups_are_those_of_python(core: ModuleType) -> None:
    """Of records that were unpacked by either; and the times at which a broker's clock went back."""
    rng = Random(7)
    data = b"".join(batch(first, rng) for first in range(0, 50, 5))
    records = list(RecordsAsTheyAre(TP, KeptRecords(data), [], 0, None, None, True, READ_UNCOMMITTED))
    expected = grouped(records, 100, 1_200)
    for given in (records, core.Fetched(data, 0, None).take(100, 1 << 20)):
        groups = core.Groups(given, 100, 1_200)
        assert (groups.clock_ms, groups.came_ms) == expected[1:]
        assert list(groups) == list(expected.by_key)
        for key, fields in expected.by_key.items():
            assert groups[key] == fields
            assert key in groups
        del groups[None]
        assert None not in groups
        assert groups.pop(b"a/1") == groups.fields_of(b"a/1")
        assert list(groups) == [key for key in expected.by_key if key not in (None, b"a/1")]


def test_keys_that_belong_elsewhere(core: ModuleType) -> None:
    keys = [b"a" * length + str(number).encode() for length in range(9) for number in range(30)]
    records = [SourceRecord(at, 1, key, b"") for at, key in enumerate(keys)]
    for partitions in (1, 2, 7):
        found = core.Groups(records, 0, 0).misplaced(1, partitions)
        assert found == [key for key in dict.fromkeys(keys) if partition_of(key, partitions) != 1]
