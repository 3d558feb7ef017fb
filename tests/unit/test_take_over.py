"""What comes between an assignment and its first record, where the assignment does not live to see the end of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.kafka.admin import LogBounds
from pipeline.kafka.topic_identity import Note
from pipeline.streaming.assignment import Assignment, Membership
from pipeline.streaming.recovery import Kafka, StateTable, TakeOver
from pipeline.topics import TP

SOURCE, CHANGELOG = "source", "changelog"
PLACES = frozenset(TP(topic, number) for topic in (SOURCE, CHANGELOG) for number in (0, 1))


class Cluster(Kafka):
    """A changelog whose partitions are read only after `meanwhile`; the group has committed 50 of each."""

    def __init__(self, membership: Membership, meanwhile: Callable[[str], None]) -> None:
        self._membership = membership
        self._meanwhile = meanwhile

    def holds(self, assignment: Assignment) -> bool:
        return self._membership.holds(assignment)

    async def topic_ids(self, names: Collection[str]) -> Mapping[str, str]:
        return {}

    async def require_topics(self, names: Collection[str], ids: Mapping[str, str]) -> None:
        pass

    async def committed(self, partitions: Collection[TP]) -> Mapping[TP, tuple[int, Note]]:
        self._meanwhile("committed")
        return dict.fromkeys(partitions, (50, Note()))

    async def start_offsets(self, partitions: set[TP]) -> Mapping[TP, int]:
        return {}

    async def log_bounds(self, partitions: Collection[TP]) -> Mapping[TP, LogBounds]:
        return dict.fromkeys(partitions, LogBounds(0, 100))

    async def read_changelog(
        self, topic: str, partitions: Collection[int], newer: Any, at_least: Mapping[int, int]
    ) -> AsyncGenerator[tuple[int, dict[bytes, bytes]], None]:
        for number in sorted(partitions):
            self._meanwhile("changelog")
            yield number, {}


class Owner:
    """State that knows nothing of input, and must not be asked about partitions that it was not given."""

    def __init__(self) -> None:
        self.partitions: dict[int, int] = {}

    def state(self) -> StateTable:
        return StateTable(
            SimpleNamespace(changelog_topic_name=CHANGELOG),
            SOURCE,
            lambda number, items: self.partitions.update({number: -1}),
            self.partitions.pop,
            self._require,
            reach=self.partitions.__getitem__,
        )

    def _require(self, number: int, done: int) -> None:
        if self.partitions[number] < done - 1:
            raise LookupError(f"partition {number} below {done}")


def take_over(silent_at: str) -> list[tuple[dict[TP, int], dict[TP, int]]]:
    membership = Membership()

    def meanwhile(happens: str) -> None:
        if happens == silent_at:
            membership.end_if_silent(7.0, 6.0)

    assignment = membership.assign(1, "me", PLACES)
    made = TakeOver([Owner().state()], {SOURCE}, Cluster(membership, meanwhile))

    found = []

    async def begin(starts: dict[TP, int], committed: dict[TP, int]) -> None:
        found.append((starts, committed))

    asyncio.run(made.run(assignment, begin))
    return found


def test_silence_while_a_changelog_is_read_asks_nothing_of_a_state_that_is_not_there() -> None:
    assert take_over("changelog") == []


def test_what_the_next_owner_committed_is_not_held_against_a_state_that_was_left() -> None:
    """It looked as if the changelog had lost something, and the operator was told to rebuild all states."""
    assert take_over("committed") == []


def test_a_state_that_does_not_reach_what_was_committed_stops_the_worker() -> None:
    with pytest.raises(LookupError, match=r"partition [01] below 50"):
        take_over("never")
