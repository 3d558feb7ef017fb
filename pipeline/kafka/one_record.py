"""Reading a single record by its place."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.errors import kafka_errors
from pipeline.topics import TP

_WAIT_S = 30.0


async def record_at(connection: KafkaConnection, tp: TP, offset: int) -> Any | None:
    """The record at an offset, as aiokafka gives it; None if Kafka does not keep it any more.

    Raises `KafkaFailure`, and TimeoutError where nothing is there after half a minute.
    """
    at = TopicPartition(*tp)
    with kafka_errors(connection.bootstrap):
        consumer = AIOKafkaConsumer(
            **connection.client_options(), enable_auto_commit=False, auto_offset_reset="none"
        )
        await consumer.start()
        try:
            consumer.assign([at])
            consumer.seek(at, offset)
            async with asyncio.timeout(_WAIT_S):
                record = await consumer.getone(at)
        except OffsetOutOfRangeError:
            return None
        finally:
            await consumer.stop()
    return record if record.offset == offset else None
