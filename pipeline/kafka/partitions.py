"""More partitions for topics that are there, and commits for a group of which nobody is at work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.errors import IncompatibleBrokerVersion, TopicAuthorizationFailedError, for_code
from aiokafka.structs import OffsetAndMetadata

from pipeline.kafka.admin import TopicMismatch, admin_client, commits
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.errors import kafka_errors
from pipeline.kafka.starts import of_these_topics
from pipeline.kafka.topic_identity import Note
from pipeline.kafka.topic_ids import ids_of, partition_counts
from pipeline.topics import TP

_KNOWN_S = 30.0


async def counts_of(connection: KafkaConnection, names: Mapping[str, Any]) -> dict[str, int]:
    """How many partitions each of these topics has, of those that exist. Raises `KafkaFailure`."""
    async with admin_client(connection) as client:
        return await partition_counts(client._client, names.keys())


async def can_grow(connection: KafkaConnection) -> bool:
    """Whether this broker can give a topic more partitions at all; the embedded one cannot. Raises `KafkaFailure`."""
    async with admin_client(connection) as client:
        try:
            await client.create_partitions({}, validate_only=True)
        except (IncompatibleBrokerVersion, NotImplementedError):
            return False
    return True


async def grow(connection: KafkaConnection, wanted: Mapping[str, int]) -> list[str]:
    """Give topics as many partitions as are wanted, where they have fewer; those that got more.

    Any number of times. Returns once the broker that is asked knows all of them. Raises `TopicMismatch` where it is
    refused, and `KafkaFailure`.
    """
    async with admin_client(connection) as client:
        found = await partition_counts(client._client, wanted.keys())
        grown = sorted(name for name, count in wanted.items() if found.get(name, count) < count)
        if not grown:
            return []
        answer = await client.create_partitions({name: NewPartitions(wanted[name]) for name in grown})
        for name, code, *reason in answer.topic_errors:
            if for_code(code) is TopicAuthorizationFailedError:
                raise TopicMismatch(
                    f"this user may not give {name} more partitions: it needs the right Alter on it "
                    "(deploy/KAFKA-RIGHTS.md)"
                )
            if code:
                raise TopicMismatch(
                    f"topic {name!r} cannot get more partitions: {for_code(code).__name__} "
                    f"{' '.join(filter(None, reason))}"
                )
        async with asyncio.timeout(_KNOWN_S):
            while True:
                found = await partition_counts(client._client, grown)
                if all(found.get(name, 0) >= wanted[name] for name in grown):
                    break
                await asyncio.sleep(0.1)
        return grown


async def done_below(connection: KafkaConnection, group: str, topic: str) -> dict[int, int]:
    """The offset below which a group has done all, of each partition of the topic that is there now. Raises
    `KafkaFailure`."""
    said = {tp: each for tp, each in (await commits(connection, group, [topic])).items() if each}
    counting = of_these_topics(said, await ids_of(connection, [topic]))
    return {tp.partition: offset for tp, (offset, _) in counting.items()}


async def commit(connection: KafkaConnection, group: str, offsets: Mapping[TP, tuple[int, Note]]) -> None:
    """Commit offsets for a group without members. Raises `KafkaFailure`, where it has some too."""
    if not offsets:
        return
    consumer = AIOKafkaConsumer(**connection.client_options(), group_id=group, enable_auto_commit=False)
    with kafka_errors(connection.bootstrap):
        try:
            await consumer.start()
            consumer.assign([TopicPartition(*tp) for tp in offsets])
            await consumer.commit(
                {
                    TopicPartition(*tp): OffsetAndMetadata(offset, note.text())
                    for tp, (offset, note) in offsets.items()
                }
            )
        finally:
            await consumer.stop()
