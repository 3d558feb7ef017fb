"""Looking at topics for as long as a program writes to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from pipeline.kafka.admin import admin_client
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.errors import KafkaFailure
from pipeline.kafka.topic_ids import partition_counts, topic_ids
from pipeline.kafka.topic_watch import TopicWatch

logger = logging.getLogger(__name__)

_EVERY_S = 3.0


async def keep_looking(connection: KafkaConnection, names: Collection[str], watch: TopicWatch) -> None:
    """Tell `watch` of topics, however many partitions they have, until cancelled; while Kafka is away, of nothing."""
    while True:
        try:
            async with admin_client(connection) as client:
                while True:
                    ids = await topic_ids(client._client, names)
                    counts = await partition_counts(client._client, names)
                    watch.look({name: counts.get(name, 1) for name in names}, ids, counts)
                    await asyncio.sleep(_EVERY_S)
        except KafkaFailure as error:
            logger.debug("Kafka did not say what its topics are: %s", error)
        await asyncio.sleep(_EVERY_S)
