"""What is in Kafka: topics, where their logs begin and end, what groups have committed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from pipeline.errors import Terminal
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.errors import kafka_errors
from pipeline.kafka.topic_identity import Note, note_of, other_counts
from pipeline.topics import TP

logger = logging.getLogger(__name__)

_METADATA_TIMEOUT_S = 30.0
_MAY_NOT_CREATE = (ClusterAuthorizationFailedError, TopicAuthorizationFailedError)


class TopicMismatch(Terminal):
    """A topic cannot be created, or exists with another partition count. Terminal: someone has to decide."""


class LogBounds(NamedTuple):
    """Where the log of a partition begins and ends: the first offset to be had, and the next one to be written."""

    begin: int
    end: int


@asynccontextmanager
async def admin_client(connection: KafkaConnection, timeout_s: float | None = None) -> AsyncIterator[Any]:
    """A started client. What aiokafka raises within is raised as a `KafkaFailure`."""
    client = AIOKafkaAdminClient(**connection.client_options())
    with kafka_errors(connection.bootstrap):
        try:
            async with asyncio.timeout(timeout_s):
                await client.start()
                yield client
        finally:
            await client.close()


async def ensure_topics(
    connection: KafkaConnection,
    topics: Mapping[str, tuple[int, Mapping[str, str]]],
    *,
    replication_factor: int = 1,
) -> None:
    """Creates what is missing of `{name: (partitions, configuration)}`; any number of times, by several at once.

    Returns once the cluster knows all of them with the wanted partition count. Raises TopicMismatch if one has
    another count or the broker refuses it, `KafkaFailure` like all here. The configuration of a topic that exists is
    left as it is.
    """
    async with admin_client(connection) as client:
        counts = await _partition_counts(client, topics)
        missing = [
            NewTopic(name, partitions, replication_factor, topic_configs=dict(config))
            for name, (partitions, config) in topics.items()
            if name not in counts
        ]
        if missing:
            response = await client.create_topics(missing)
            for name, code, *reason in response.topic_errors:
                if for_code(code) in _MAY_NOT_CREATE:
                    raise TopicMismatch(
                        f"there is no topic {name!r} that this user may see, nor may it create one: run "
                        "`session-pipeline migrate` as a user who may, or give this one its rights "
                        "(deploy/KAFKA-RIGHTS.md)"
                    )
                if code and code != TopicAlreadyExistsError.errno:
                    raise TopicMismatch(
                        f"topic {name!r} cannot be created: {for_code(code).__name__} {' '.join(filter(None, reason))}"
                    )
            logger.info("created topics: %s", ", ".join(topic.name for topic in missing))
        counts = await _all_known(client, topics)
        wanted = {name: partitions for name, (partitions, _) in topics.items()}
        if wrong := other_counts(counts, wanted):
            raise TopicMismatch(wrong)


async def _all_known(client: Any, names: Collection[str]) -> dict[str, int]:
    """Partition counts once the broker that we ask knows all topics; a new one takes a moment to get around."""
    async with asyncio.timeout(_METADATA_TIMEOUT_S):
        while True:
            counts = await _partition_counts(client, names)
            if len(counts) == len(set(names)):
                return counts
            await asyncio.sleep(0.1)


async def _partition_counts(client: Any, names: Collection[str]) -> dict[str, int]:
    # Asks for all topics: to ask for one by its name creates it on brokers that make topics by themselves.
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in await client.describe_topics()
        if topic["topic"] in names and topic["error_code"] == 0 and topic["partitions"]
    }


async def topic_partitions(connection: KafkaConnection, names: Collection[str]) -> set[TP]:
    """All partitions of those of the named topics that exist."""
    async with admin_client(connection) as client:
        counts = await _partition_counts(client, names)
    return {TP(name, partition) for name, count in counts.items() for partition in range(count)}


async def log_bounds(connection: KafkaConnection, partitions: Collection[TP]) -> dict[TP, LogBounds]:
    """Where each log begins and ends now. Right on every broker, as the end is the high watermark of a fetch.

    (Tansu's ListOffsets answers with an offset before the end.) Waits while the broker does not answer.
    """
    if not partitions:
        return {}
    consumer = AIOKafkaConsumer(
        **connection.client_options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=1,
    )
    with kafka_errors(connection.bootstrap):
        try:
            await consumer.start()
            return await _bounds(consumer, [TopicPartition(*tp) for tp in partitions])
        finally:
            await consumer.stop()


async def _bounds(consumer: AIOKafkaConsumer, wanted: Collection[TopicPartition]) -> dict[TP, LogBounds]:
    # All at once: asked about topics that it does not know, aiokafka looks for one after the other, with a pause.
    await consumer._client.set_topics({tp.topic for tp in wanted})
    begins = await consumer.beginning_offsets(wanted)
    near_ends = await consumer.end_offsets(wanted)
    consumer.assign(wanted)
    for tp in wanted:
        consumer.seek(tp, near_ends[tp])
    try:
        while any(consumer.highwater(tp) is None for tp in wanted):
            await consumer.getmany(timeout_ms=100)
    except TopicAuthorizationFailedError:
        # Who may describe a topic and not read it gets no fetch. A broker that has such rights lists the right end.
        return {TP(*tp): LogBounds(begins[tp], near_ends[tp]) for tp in wanted}
    return {TP(*tp): LogBounds(begins[tp], consumer.highwater(tp)) for tp in wanted}


async def end_offsets(connection: KafkaConnection, topics: Collection[str]) -> dict[TP, int]:
    """The next offset of every partition of those topics that exist."""
    bounds = await log_bounds(connection, await topic_partitions(connection, topics))
    return {tp: bound.end for tp, bound in bounds.items()}


async def committed_offsets(
    connection: KafkaConnection, group: str, topics: Collection[str]
) -> dict[TP, int | None]:
    """What a group has committed for every partition of those topics that exist; None for nothing yet."""
    found = await commits(connection, group, topics)
    return {tp: said[0] if said else None for tp, said in found.items()}


async def commits(
    connection: KafkaConnection, group: str, topics: Collection[str]
) -> dict[TP, tuple[int, Note] | None]:
    """`committed_offsets` with what the group noted."""
    partitions = await topic_partitions(connection, topics)
    if not partitions:
        return {}
    asked = [TopicPartition(*tp) for tp in partitions]
    async with admin_client(connection, _METADATA_TIMEOUT_S) as client:
        while True:
            try:
                found = await client.list_consumer_group_offsets(group, partitions=asked)
                break
            except KafkaError as error:
                # The first question about any group makes the broker create its offsets topic.
                if not error.retriable:
                    raise
                await asyncio.sleep(0.2)
    return {
        TP(*tp): (found[tp].offset, note_of(found[tp].metadata))
        if tp in found and found[tp].offset >= 0
        else None
        for tp in asked
    }


async def group_members(connection: KafkaConnection, group: str) -> int | None:
    """How many consumers a group has now; None if the broker cannot tell (the embedded one cannot)."""
    async with admin_client(connection, _METADATA_TIMEOUT_S) as client:
        try:
            responses = await client.describe_consumer_groups([group])
        except KafkaError:
            return None
    members = 5
    return sum(len(described[members]) for response in responses for described in response.groups)
