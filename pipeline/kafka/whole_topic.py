"""A topic that is read as a whole and for as long as the process runs: a list that others add to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.kafka.changelog import is_through
from pipeline.kafka.connection import KafkaConnection

logger = logging.getLogger(__name__)

_AGAIN_S = 5.0


async def follow(
    connection: KafkaConnection, topic: str, take: Callable[[Sequence[bytes]], None], through: asyncio.Event
) -> None:
    """Give `take` the values of a topic of one partition from its beginning on, until cancelled; sets `through` once
    all that the topic had is taken. A consumer without a group, which tries again for as long as Kafka is away.

    Raises what `take` raises.
    """
    at = TopicPartition(topic, 0)
    position = 0
    while True:
        consumer = AIOKafkaConsumer(
            **connection.client_options(), enable_auto_commit=False, auto_offset_reset="earliest"
        )
        try:
            await consumer.start()
            consumer.assign([at])
            consumer.seek(at, position)
            while True:
                found = await consumer.getmany(at, timeout_ms=1_000)
                take([record.value for records in found.values() for record in records if record.value])
                position = await consumer.position(at)
                if is_through(position, consumer.highwater(at), 0):
                    through.set()
        except (KafkaError, OSError) as error:
            logger.warning("%s cannot be read at the moment, next try in %.0f s: %r", topic, _AGAIN_S, error)
        finally:
            await consumer.stop()
        await asyncio.sleep(_AGAIN_S)
