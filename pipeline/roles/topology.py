"""Which role reads which topics, and how missing topics are created."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.formats import registry
from pipeline.topics import (
    DEAD_LETTERS,
    ERASURES,
    EVENT_COPIES,
    MAX_MESSAGE_BYTES,
    POLICIES,
    SDK_EVENTS,
    SESSIONS,
    STATE,
)

ROLES = ("router", "sessionizer", "sink")


def reads() -> Mapping[str, tuple[str, ...]]:
    """The topics of each role, in the order in which records pass."""
    return {
        "router": registry.routed_topics(),
        "sessionizer": (SDK_EVENTS,),
        "sink": (SDK_EVENTS, SESSIONS, EVENT_COPIES, DEAD_LETTERS),
    }


def all_read() -> tuple[str, ...]:
    """Every topic that some role reads: those whose ids are noted. The changelog has its id in its own entries."""
    return tuple(dict.fromkeys(name for names in reads().values() for name in names))


def from_others() -> set[tuple[str, str]]:
    """Role and topic of all that others sent, of what was refused of it, and of what was seen to be in it once more.
    Session rows follow from the events."""
    routed = {("router", topic) for topic in registry.routed_topics()}
    return routed | {("sink", SDK_EVENTS), ("sink", EVENT_COPIES), ("sink", DEAD_LETTERS)}


def group_of(role: str) -> str:
    """The consumer group of a role, and its Faust app id."""
    return f"session-pipeline-{role}"


_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_LIST = {
    # What deletes by age would delete states and erasures that hold.
    "cleanup.policy": "compact",
    # Nothing of a segment that is still written to is compacted: recovery reads all of it.
    "segment.ms": str(_HOUR_MS),
    "segment.bytes": str(64 * 1024 * 1024),
    # What was replaced or erased is gone after a day, whatever little else comes.
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": str(_DAY_MS),
    # A reader that began before a tombstone was removed has to have met it.
    "delete.retention.ms": str(_DAY_MS),
}
"""How topics are kept of which the latest record of each key counts."""


def plan(
    partitions: int, retention_ms: int, replication: int = 1
) -> Mapping[str, tuple[int, Mapping[str, str]]]:
    """Name to partition count and configuration.

    With three replicas or more a record counts as written once two have it: one host may be lost with all it has, and
    one may be away. With two, writing goes on where one is away.
    """
    every = {"min.insync.replicas": "2" if replication > 2 else "1"}
    common = {
        **every,
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }
    # The broker's clock, not a client's: silence, finality and the correction of clocks go by it.
    stamped = {**common, "message.timestamp.type": "LogAppendTime"}
    return {
        **{each.topic: (partitions, stamped) for each in registry.FORMATS},
        SESSIONS: (partitions, common),
        EVENT_COPIES: (partitions, common),
        DEAD_LETTERS: (partitions, common),
        STATE: (partitions, {**every, **_LIST, "max.message.bytes": str(MAX_MESSAGE_BYTES)}),
        ERASURES: (1, {**every, **_LIST}),
        POLICIES: (1, {**every, **_LIST}),
    }
