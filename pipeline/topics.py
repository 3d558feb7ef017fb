"""The topics that every pipeline has, by the names that others rely on. Those of raw formats are in their registry."""

from __future__ import annotations

from typing import NamedTuple

SDK_EVENTS = "sdk-events"
SESSIONS = "sessions"
DEAD_LETTERS = "dead-letters"
EVENT_COPIES = "event-copies"
"""Which records brought an event once more, under another stamp: from the sessionizer, which knows, to the sink."""

ERASURES = "erasures"
"""Whose data was erased, for all workers; of one partition, and kept for ever."""

POLICIES = "policies"
"""Versions of the policies that were published, for all who do not read them among the events; as `erasures` is."""

LISTS = (ERASURES, POLICIES)
"""Topics of one partition that are read as a whole."""

STATE = "session-pipeline-sessionizer-devices-changelog"
"""Where the state of devices is kept: the changelog of the sessionizer's table, as Faust names it."""

MAX_MESSAGE_BYTES = 8_000_000
"""Above the limit of a record (1,000,000 bytes): what is over that limit must arrive to be refused and kept."""


class TP(NamedTuple):
    """A partition of a topic, by the name that Faust has for it. Equal to Faust's own and to aiokafka's."""

    topic: str
    partition: int
