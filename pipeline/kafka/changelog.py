"""Reading a changelog topic with a consumer of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.kafka.connection import KafkaConnection

logger = logging.getLogger(__name__)

_REPORT_EVERY_S = 5.0
_FETCH_BYTES = 4 * 1024 * 1024
# What else runs in this loop, such as the partitions that are read already, has its turn after so many: some 10 ms.
_POLL_RECORDS = 1_000


async def read_changelog(
    connection: KafkaConnection,
    topic: str,
    partitions: Collection[int],
    newer: Callable[[bytes, bytes], bool] | None = None,
    *,
    at_least: Mapping[int, int] | None = None,
) -> AsyncGenerator[tuple[int, dict[bytes, bytes]], None]:
    """Reads partitions of a changelog to their ends; gives each, with the latest value per key, once it is through.

    The end is the high watermark of a fetch, reached by position, so that logs that are empty, compacted at the end
    or began late are read to their end too, and never before the offset that `at_least` has for a partition: a new
    leader's high watermark may be behind for a moment. Waits while the broker does not answer.
    """
    consumer = AIOKafkaConsumer(
        **connection.client_options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=_FETCH_BYTES,
        max_poll_records=_POLL_RECORDS,
    )
    await consumer.start()
    try:
        waiting = {TopicPartition(topic, partition): dict[bytes, bytes]() for partition in partitions}
        consumer.assign(list(waiting))
        await consumer.seek_to_beginning(*waiting)
        loop = asyncio.get_running_loop()
        count, reported_s = 0, loop.time()
        while waiting:
            found = await consumer.getmany(*waiting, timeout_ms=100)
            # What was fetched before is given without a pause.
            await asyncio.sleep(0)
            for tp, records in found.items():
                apply_log(waiting[tp], records, newer)
                count += len(records)
            for tp in list(waiting):
                least = (at_least or {}).get(tp.partition, 0)
                if is_through(await consumer.position(tp), consumer.highwater(tp), least):
                    consumer.pause(tp)
                    yield tp.partition, waiting.pop(tp)
            if loop.time() - reported_s >= _REPORT_EVERY_S:
                reported_s = loop.time()
                logger.info("%s: %d records read, %d partitions to go", topic, count, len(waiting))
    finally:
        await consumer.stop()


def apply_log(
    items: dict[bytes, bytes], records: Sequence[Any], newer: Callable[[bytes, bytes], bool] | None
) -> None:
    """Bring what is known of a changelog partition, the latest value per key, forward by the records that follow."""
    for record in records:
        key, value = record.key, record.value
        if value is None:
            items.pop(key, None)
        elif newer is None or (old := items.get(key)) is None or newer(old, value):
            items[key] = value


def is_through(position: int, highwater: int | None, at_least: int) -> bool:
    """Whether a changelog is read to its end, where that lies at `at_least` or beyond.

    The high watermark alone will not do: none is known before the first fetch, and that of a new leader may be behind
    for a moment.
    """
    return highwater is not None and position >= max(highwater, at_least)
