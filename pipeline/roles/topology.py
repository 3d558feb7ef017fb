"""Which role reads which topics, and how missing topics are created."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.formats import registry
from pipeline.topics import (
    DEAD_LETTERS,
    ERASURES,
    EVENT_COPIES,
    MAX_MESSAGE_BYTES,
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


def plan(partitions: int, retention_ms: int) -> Mapping[str, tuple[int, Mapping[str, str]]]:
    """Name to partition count and configuration."""
    common = {"retention.ms": str(retention_ms), "max.message.bytes": str(MAX_MESSAGE_BYTES)}
    # The broker's clock, not a client's: silence, finality and the correction of clocks go by it.
    stamped = {**common, "message.timestamp.type": "LogAppendTime"}
    return {
        **{each.topic: (partitions, stamped) for each in registry.FORMATS},
        SESSIONS: (partitions, common),
        EVENT_COPIES: (partitions, common),
        DEAD_LETTERS: (partitions, common),
        STATE: (partitions, {"cleanup.policy": "compact", "max.message.bytes": str(MAX_MESSAGE_BYTES)}),
        ERASURES: (1, {"cleanup.policy": "compact"}),
    }
