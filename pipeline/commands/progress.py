"""How far the pipeline has come: lag of each role, and whether all that was sent has arrived."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiokafka.errors import KafkaError
from faust.types import TP

from pipeline import topics
from pipeline.adapters.clickhouse import Store
from pipeline.adapters.kafka_connection import KafkaConnection
from pipeline.adapters.kafka_topics import committed_offsets, end_offsets
from pipeline.adapters.roles import group_of
from pipeline.domain.policy import Policies
from pipeline.query.operations import open_sessions

_POLL_S = 0.3

READS: Mapping[str, tuple[str, ...]] = {
    "router": (topics.MEASURE_EVENTS,),
    "sessionizer": (topics.SDK_EVENTS,),
    "sink": (topics.SDK_EVENTS, topics.SESSIONS, topics.DEAD_LETTERS),
}
"""The topics of each role, in the order in which records pass."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How much of a topic a role has yet to do."""

    role: str
    topic: str
    end: int
    """Records ever written, all partitions together."""
    behind: int


class NotIdleInTime(Exception):
    """The time is up; says what was waited for."""


async def lags(connection: KafkaConnection) -> list[Lag]:
    """The lag of every role on every topic it reads."""
    result = []
    for role, names in READS.items():
        ends = await end_offsets(connection, names)
        committed = await committed_offsets(connection, group_of(role), names)
        for name in names:
            mine = [tp for tp in ends if tp.topic == name]
            behind = sum(ends[tp] - (committed.get(tp) or 0) for tp in mine)
            result.append(Lag(role, name, sum(ends[tp] for tp in mine), behind))
    return result


async def wait_until_idle(
    connection: KafkaConnection, store: Store, policies: Policies, timeout_s: float
) -> None:
    """Wait until everything sent so far is stored and every idle session is closed.

    A session that turns idle only after the time to wait is not idle: it may stay open. Raises
    `NotIdleInTime`, and what the store raises.
    """
    started_ms = int(time.time() * 1_000)
    waiting_for = ["Kafka"]
    try:
        async with asyncio.timeout(timeout_s):
            for role, source in (
                ("router", topics.MEASURE_EVENTS),
                ("sessionizer", topics.SDK_EVENTS),
                ("sink", topics.SDK_EVENTS),
            ):
                await _until_done(connection, role, [source], waiting_for)
            while True:
                await _until_done(connection, "sink", [topics.SESSIONS, topics.DEAD_LETTERS], waiting_for)
                until_ms = started_ms + int(timeout_s * 1_000)
                still_open = await asyncio.to_thread(_turning_idle, store, policies, started_ms, until_ms)
                if not still_open:
                    return
                waiting_for[0] = f"{still_open} open sessions to be closed for inactivity"
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise NotIdleInTime(f"not idle after {timeout_s:g} s: waiting for {waiting_for[0]}") from None


async def _until_done(
    connection: KafkaConnection, role: str, names: Collection[str], waiting_for: list[str]
) -> None:
    """Until a role has done all that these topics hold now."""
    waiting_for[0] = f"the {role} to have read {' and '.join(names)}"
    ends = {tp: end for tp, end in (await end_offsets(connection, names)).items() if end}
    while ends:
        try:
            committed = await committed_offsets(connection, group_of(role), names)
        except KafkaError as error:
            waiting_for[0] = f"Kafka to answer about group {group_of(role)}: {error!r}"
            committed = {}
        behind = {tp: end - (committed.get(tp) or 0) for tp, end in ends.items()}
        left = sum(count for count in behind.values() if count > 0)
        if not left:
            return
        waiting_for[0] = f"the {role} to do {left} more records of {_names(behind)}"
        await asyncio.sleep(_POLL_S)


def _names(behind: Mapping[TP, int]) -> str:
    return ", ".join(sorted({tp.topic for tp, count in behind.items() if count > 0}))


def _turning_idle(store: Store, policies: Policies, before_ms: int, until_ms: int) -> int:
    return sum(
        found.count
        for found in open_sessions(store.query, before_ms)
        if found.earliest_arrival_ms + policies.of(found.app_id).idle_timeout_ms <= until_ms
    )
