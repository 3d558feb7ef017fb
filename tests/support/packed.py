"""Record batches as Kafka packs them, fetches of these, and what a record says."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, FetchResult
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from pipeline.kafka.packed_records import KeptRecords, RecordsAsTheyAre

TP = TopicPartition("sdk-events", 0)
Told = tuple[int, int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]


def batch(first: int, rng: Random, *, codec: int = 0, count: int = 5, attributes: int = 0) -> bytes:
    """A record batch that begins at an offset, each record with something that is not there."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
    for number in range(count):
        key = None if rng.random() < 0.2 else f"a/{rng.randrange(3)}".encode()
        value = None if rng.random() < 0.2 else rng.randbytes(rng.choice((0, 1, 63, 64, 300)))
        headers = [("replayed_record_ms", b"7"), ("ß", None)][: rng.randrange(3)]
        assert builder.append(number, 1_000 + rng.randrange(-5, 500), key, value, headers)
    made = bytearray(builder.build())
    made[:8] = first.to_bytes(8, "big")
    made[22] |= attributes
    made[17:21] = calc_crc32c(bytes(made[21:])).to_bytes(4, "big")
    return bytes(made)


def fetched(data: bytes, offset: int, isolation: int = READ_UNCOMMITTED) -> FetchResult:
    """What a consumer has of a fetch that it asked for from an offset on."""
    state = SimpleNamespace(paused=False, position=offset)
    state.consumed_to = lambda position: setattr(state, "position", position)
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    records = RecordsAsTheyAre(TP, KeptRecords(data), [], offset, None, None, True, isolation)
    return FetchResult(TP, assignment=assignment, partition_records=records, backoff=0)


def told(record: Any) -> Told:
    each = record.offset, record.timestamp, record.timestamp_type, record.key, record.value
    return *each, [tuple(header) for header in record.headers or ()]
