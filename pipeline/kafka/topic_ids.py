"""What the broker says of a topic: the id that it gave it when it was created, and how many partitions it has now.

aiokafka asks for metadata in versions that have no ids, so the request is built here. A broker older than Kafka 2.8
gives none. What follows from the answers is in `topic_identity`.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError, NodeNotReadyError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from pipeline.kafka.admin import admin_client
from pipeline.kafka.connection import KafkaConnection

_NO_ID = bytes(16)


async def topic_ids(client: Any, names: Collection[str]) -> dict[str, str]:
    """The ids of topics as Kafka's own tools print them, of those that exist and have one. Raises KafkaError.

    `client` is a started aiokafka client. No topic is made by asking.
    """
    answer = await described(client, names)
    return {
        topic: base64.urlsafe_b64encode(topic_id).rstrip(b"=").decode()
        for _error, topic, topic_id, *_ in (answer.topics if answer else ())
        if topic_id != _NO_ID
    }


async def partition_counts(client: Any, names: Collection[str]) -> dict[str, int]:
    """How many partitions topics have now, of those that exist. Raises KafkaError. As `topic_ids` makes none."""
    answer = await described(client, names)
    if answer is not None:
        return {topic: len(partitions) for _, topic, _, _, partitions, *_ in answer.topics if partitions}
    # To ask an old broker for one topic by its name makes it there: so for all.
    cluster = await client.fetch_all_metadata()
    found = {name: cluster.partitions_for_topic(name) for name in names}
    return {name: len(partitions) for name, partitions in found.items() if partitions}


async def described(client: Any, names: Collection[str], *, operations: bool = False) -> Any:
    """The broker's answer about topics; None from a broker that does not understand the question. Raises KafkaError.

    `operations`: with what this user may do to them and to the cluster.
    """
    for again in (True, False):
        node = client.get_random_node()
        if node is None:
            raise NodeNotReadyError("no broker is known")
        try:
            return await client.send(node, _TopicIdRequest(sorted(names), operations))
        except (IncompatibleBrokerVersion, NotImplementedError):
            # Of the latter kind is what aiokafka raises for a version that the broker does not have.
            break
        except KafkaConnectionError:
            # A broker closes connections that are idle, and those whose token has expired: the next one is a new one.
            if not again:
                raise
    return None


async def ids_of(connection: KafkaConnection, names: Collection[str]) -> dict[str, str]:
    """`topic_ids` with a client of its own. Raises `KafkaFailure`."""
    async with admin_client(connection) as client:
        return await topic_ids(client._client, names)


async def counts_of(connection: KafkaConnection, names: Collection[str]) -> dict[str, int]:
    """`partition_counts` with a client of its own. Raises `KafkaFailure`."""
    async with admin_client(connection) as client:
        return await partition_counts(client._client, names)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        found: bytes = data.read(16)
        return found


_NAME = CompactString()
_BROKER = (("node_id", Int32), ("host", _NAME), ("port", Int32), ("rack", _NAME), ("tags", TaggedFields))
_PARTITION = (
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    ("tags", TaggedFields),
)
_TOPIC = (
    ("error_code", Int16),
    ("topic", _NAME),
    ("topic_id", _Uuid),
    ("is_internal", Boolean),
    ("partitions", CompactArray(*_PARTITION)),
    ("authorized_operations", Int32),
    ("tags", TaggedFields),
)


class _TopicIdResponse_v10(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(*_BROKER)),
        ("cluster_id", _NAME),
        ("controller_id", Int32),
        ("topics", CompactArray(*_TOPIC)),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _TopicIdRequest_v10(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _TopicIdResponse_v10
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", _NAME), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicIdRequest(Request[_TopicIdRequest_v10]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, names: Collection[str], operations: bool) -> None:
        self._names = names
        self._operations = operations

    def build(self, request_struct_class: type[_TopicIdRequest_v10]) -> _TopicIdRequest_v10:
        no_tags: dict[int, bytes] = {}
        named = [(_NO_ID, name, no_tags) for name in self._names]
        return request_struct_class(named, False, self._operations, self._operations, no_tags)
