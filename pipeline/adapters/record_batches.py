"""Several records of one partition as few large record batches, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


async def send(
    producer: Any,
    topic: str,
    partition: int,
    items: Iterable[tuple[bytes | None, bytes | None]],
    timestamp_ms: int,
    *,
    stamp: Callable[[Any], None] | None = None,
) -> int:
    """Writes `(key, value)` pairs to a partition in their order and returns once the broker has all of them.

    `producer` is a started AIOKafkaProducer; its batch size and compression hold. None as a value is a tombstone.
    `stamp` marks each batch right before it goes. Gives the offset at which the last batch begins, -1 without any.
    Batches go one after the other: a later one is only sent once the earlier is acknowledged, so that what the log
    holds after a failure is a beginning of `items`, never one with a hole. Raises aiokafka's KafkaError if the
    broker refuses a batch or does not answer within the producer's request timeout.
    """
    offset = -1
    batch = producer.create_batch()
    for key, value in items:
        if batch.append(key=key, value=value, timestamp=timestamp_ms) is None:
            await _deliver(producer, batch, topic, partition, stamp)
            batch = producer.create_batch()
            if batch.append(key=key, value=value, timestamp=timestamp_ms) is None:
                raise AssertionError("an empty batch takes any single record")
    if batch.record_count():
        offset = await _deliver(producer, batch, topic, partition, stamp)
    return offset


async def _deliver(
    producer: Any, batch: Any, topic: str, partition: int, stamp: Callable[[Any], None] | None
) -> int:
    batch.close()
    if stamp:
        stamp(batch)
    written = await (await producer.send_batch(batch, topic, partition=partition))
    return int(written.offset)
