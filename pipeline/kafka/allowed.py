"""What Kafka lets this user do, as the broker itself says, without doing it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    NotCoordinatorForGroupError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.types import Array, Boolean, Schema, String

from pipeline.kafka.admin import admin_client
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topic_ids import described, partition_counts

_OPERATIONS: Mapping[int, str] = {
    3: "Read", 4: "Write", 5: "Create", 6: "Delete", 7: "Alter", 8: "Describe", 9: "ClusterAction",
    10: "DescribeConfigs", 11: "AlterConfigs", 12: "IdempotentWrite",
}  # fmt: skip
"""Kafka's AclOperation by number, which is the bit it has in an answer."""
_NOT_TOLD = -(1 << 31)
_GROUPS, _TRANSACTIONS = 0, 1
"""Kinds of coordinators."""
_NOT_YET = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorForGroupError)
_PATIENCE_S, _RETRY_S = 15.0, 0.2

Operations = frozenset[str] | None
"""None: the broker does not say."""


class Allowed(NamedTuple):
    """What this user may do now."""

    topics: Mapping[str, Operations]
    """Of those topics that exist, or that the user may not even describe."""
    groups: Mapping[str, Operations]
    transactional_ids: Mapping[str, Operations]
    """Describe and Write, or nothing: Kafka tells no more than whether one may describe, which Write brings with it."""
    cluster: Operations
    """Told to those alone who may describe the cluster."""
    partitions: Mapping[str, int]
    """Of those topics that exist."""


async def allowed(
    connection: KafkaConnection,
    topics: Collection[str],
    groups: Collection[str],
    transactional_ids: Collection[str],
) -> Allowed:
    """Ask the broker. Nothing is made or changed by that. Raises `KafkaFailure`."""
    async with admin_client(connection) as admin:
        client = admin._client
        answer = await described(client, topics, operations=True)
        found: dict[str, Operations] = {}
        counts: dict[str, int] = {}
        for code, topic, _, _, partitions, operations, *_ in answer.topics if answer else ():
            if for_code(code) is TopicAuthorizationFailedError:
                found[topic] = frozenset()
            elif partitions:
                found[topic], counts[topic] = _named(operations), len(partitions)
        if answer is None:
            counts = await partition_counts(client, topics)
            found = dict.fromkeys(counts)
        cluster = _named(answer.authorized_operations or _NOT_TOLD) if answer else None
        return Allowed(
            found,
            {group: await _of_group(client, group) for group in sorted(groups)},
            {name: await _of_transactional_id(client, name) for name in sorted(transactional_ids)},
            cluster,
            counts,
        )


async def _of_group(client: Any, group: str) -> Operations:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                # The first question about any group makes the broker create its offsets topic.
                node = await client.coordinator_lookup(_GROUPS, group)
                answer = await client.send(node, _DescribeGroup(group))
            except GroupAuthorizationFailedError:
                return frozenset()
            except (IncompatibleBrokerVersion, NotImplementedError):
                return None
            except _NOT_YET:
                await asyncio.sleep(_RETRY_S)
                continue
            ((code, *_, operations),) = answer.groups
            if for_code(code) is GroupAuthorizationFailedError:
                return frozenset()
            # A broker that still reads what it knows of the group tells nothing of it.
            if not issubclass(for_code(code), _NOT_YET):
                return _named(operations)
            await asyncio.sleep(_RETRY_S)


async def _of_transactional_id(client: Any, name: str) -> Operations:
    try:
        answer = await client.send(client.get_random_node(), FindCoordinatorRequest(name, _TRANSACTIONS))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return None
    denied = for_code(answer.error_code) is TransactionalIdAuthorizationFailed
    return frozenset() if denied else frozenset({"Describe", "Write"})


def _named(bits: int) -> Operations:
    if bits == _NOT_TOLD:
        return None
    return frozenset(name for number, name in _OPERATIONS.items() if bits >> number & 1)


class _DescribeGroup_v3(RequestStruct):  # type: ignore[misc]
    """aiokafka's own of this version reads the answer of the one before, without the operations."""

    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_authorized_operations", Boolean))


class _DescribeGroup(Request[_DescribeGroup_v3]):  # type: ignore[misc]
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_DescribeGroup_v3]) -> _DescribeGroup_v3:
        return request_struct_class([self._group], True)
