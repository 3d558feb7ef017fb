"""The topics, by the names that others rely on, and how they are made where they are missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

SDK_EVENTS = "sdk-events"
MEASURE_EVENTS = "measure-events"
SESSIONS = "sessions"
DEAD_LETTERS = "dead-letters"

STATE = "session-pipeline-sessionizer-devices-changelog"
"""Where the state of devices is kept: the changelog of the sessionizer's table, as Faust names it."""

MAX_MESSAGE_BYTES = 8_000_000
"""Above the limit of a record (1,000,000 bytes): what is over that limit must arrive to be refused and kept."""


ROLES = ("router", "sessionizer", "sink")

READS: Mapping[str, tuple[str, ...]] = {
    "router": (MEASURE_EVENTS,),
    "sessionizer": (SDK_EVENTS,),
    "sink": (SDK_EVENTS, SESSIONS, DEAD_LETTERS),
}
"""The topics of each role, in the order in which records pass."""


class TP(NamedTuple):
    """A partition of a topic, by the name that Faust has for it. Equal to Faust's own and to aiokafka's."""

    topic: str
    partition: int


def group_of(role: str) -> str:
    """The consumer group of a role, and its Faust app id."""
    return f"session-pipeline-{role}"


def plan(partitions: int, retention_ms: int) -> Mapping[str, tuple[int, Mapping[str, str]]]:
    """Name to partition count and configuration."""
    common = {"retention.ms": str(retention_ms), "max.message.bytes": str(MAX_MESSAGE_BYTES)}
    # The broker's clock, not a client's: silence, finality and the correction of clocks go by it.
    stamped = {**common, "message.timestamp.type": "LogAppendTime"}
    return {
        SDK_EVENTS: (partitions, stamped),
        MEASURE_EVENTS: (partitions, stamped),
        SESSIONS: (partitions, common),
        DEAD_LETTERS: (partitions, common),
        STATE: (partitions, {"cleanup.policy": "compact", "max.message.bytes": str(MAX_MESSAGE_BYTES)}),
    }
