"""Static members of a consumer group: what aiokafka does not send for them, and what it does not understand.

A member that names itself (`group.instance.id`, KIP-345) keeps its partitions while it is away for less than the
session timeout. aiokafka 0.14 says the name when it joins, and leaves the group silently. Its heartbeats and commits
leave it out, so that one of two members of the same name is not told that the other has taken its place, joins again,
and the two throw each other out for ever. Here both carry it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.types import Array, Int16, Int32, Int64, Schema, String

FENCED_INSTANCE_ID = 82
"""Another member has joined under the same name. aiokafka has no class for it."""

_TEXT = String("utf-8")


def member_name(instance_id: str, partitions: Mapping[str, int]) -> str:
    """The name that a member goes by in its group; `partitions` are those of each topic that it reads.

    It ends with a sum of them. A broker gives a static member that comes back the assignment of before, whatever it
    reads now: a topic or a partition that was added while it was away would be nobody's. Under another name it is a
    new member, and everything is assigned anew.
    """
    read = ",".join(f"{topic}:{count}" for topic, count in sorted(partitions.items()))
    return f"{instance_id}.{zlib.crc32(read.encode()):08x}"


def with_name(request: Any, name: str) -> Any:
    """A request of aiokafka's as a static member sends it."""
    if isinstance(request, HeartbeatRequest):
        return NamedHeartbeat(request._group, request._generation_id, request._member_id, name)
    if isinstance(request, OffsetCommitRequest):
        return _NamedCommit(request, name)
    return request


def is_fenced(response: Any) -> bool:
    """Whether the broker says that another member of the same name has taken this one's place."""
    codes = {getattr(response, "error_code", 0)}
    if response.API_KEY == OffsetCommitRequest.API_KEY:
        codes |= {code for _, partitions in response.topics for _, code in partitions}
    return FENCED_INSTANCE_ID in codes


class _HeartbeatResponse_v3(Response):  # type: ignore[misc]
    API_KEY = 12
    API_VERSION = 3
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _HeartbeatRequest_v3(RequestStruct):  # type: ignore[misc]
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponse_v3
    SCHEMA = Schema(
        ("group", _TEXT), ("generation_id", Int32), ("member_id", _TEXT), ("group_instance_id", _TEXT)
    )


class NamedHeartbeat(Request[_HeartbeatRequest_v3]):  # type: ignore[misc]
    """A heartbeat of a static member."""

    API_KEY = 12

    def __init__(self, group: str, generation: int, member_id: str, name: str) -> None:
        self._fields = (group, generation, member_id, name)

    def build(self, request_struct_class: type[_HeartbeatRequest_v3]) -> _HeartbeatRequest_v3:
        return request_struct_class(*self._fields)


class _CommitResponse_v7(Response):  # type: ignore[misc]
    API_KEY = 8
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(("topic", _TEXT), ("partitions", Array(("partition", Int32), ("error_code", Int16)))),
        ),
    )


_COMMITTED = (("partition", Int32), ("offset", Int64), ("leader_epoch", Int32), ("metadata", _TEXT))
_NO_EPOCH = -1


class _CommitRequest_v7(RequestStruct):  # type: ignore[misc]
    API_KEY = 8
    API_VERSION = 7
    RESPONSE_TYPE = _CommitResponse_v7
    SCHEMA = Schema(
        ("group", _TEXT),
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
        ("topics", Array(("topic", _TEXT), ("partitions", Array(*_COMMITTED)))),
    )


class _NamedCommit(Request[_CommitRequest_v7]):  # type: ignore[misc]
    API_KEY = 8

    def __init__(self, plain: Any, name: str) -> None:
        self._plain = plain
        self._name = name

    def build(self, request_struct_class: type[_CommitRequest_v7]) -> _CommitRequest_v7:
        plain = self._plain
        topics = [
            (topic, [(partition, offset, _NO_EPOCH, note) for partition, offset, note in partitions])
            for topic, partitions in plain._topics
        ]
        return request_struct_class(
            plain._consumer_group, plain._consumer_group_generation_id, plain._consumer_id, self._name, topics
        )
