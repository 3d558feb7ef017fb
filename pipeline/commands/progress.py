"""How far the pipeline has come: lag of each role, and whether everything that was sent has arrived."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pipeline import topics
from pipeline.clickhouse.store import Store
from pipeline.domain.policy import Policies
from pipeline.errors import Terminal, Transient
from pipeline.kafka.admin import LogBounds, commits, log_bounds, topic_partitions
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.errors import BrokerUnavailable, KafkaFailure
from pipeline.kafka.starts import of_these_topics
from pipeline.kafka.topic_identity import Note
from pipeline.kafka.topic_ids import ids_of
from pipeline.query.operations import open_sessions
from pipeline.roles.topology import all_read, from_others, group_of, reads
from pipeline.topics import TP

_POLL_S = 0.3
_FAULTS_EVERY_S = 3.0
_TRIES = 5
_AGAIN_S = 1.0
"""How often, and how long after, Kafka is asked what it did not answer."""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Lag:
    """How much of a topic a role has yet to do."""

    role: str
    topic: str
    end: int
    """Records ever written, all partitions together."""
    behind: int


class NotIdleInTime(Transient):
    """The time is up; says what was waited for."""


class NeverIdle(Terminal):
    """Waiting is of no use; says what is wrong."""


Commits = dict[str, dict[TP, tuple[int, Note] | None]]
"""By role, what its group has committed; None for nothing that counts."""


async def commits_of_roles(connection: KafkaConnection) -> tuple[Commits, dict[TP, LogBounds]]:
    """What every role has done of its topics, and where their logs begin and end, looked at in this order.

    So what was done is never beyond an end, unless a topic was made anew or its broker lost data.
    """
    ids, groups = await asyncio.gather(
        ids_of(connection, all_read()),
        asyncio.gather(*(commits(connection, group_of(role), names) for role, names in reads().items())),
    )
    found = {}
    for role, said in zip(reads(), groups, strict=True):
        counting = of_these_topics({tp: commit for tp, commit in said.items() if commit}, ids)
        found[role] = {tp: counting.get(tp) for tp in said}
    return found, await log_bounds(connection, {tp for said in found.values() for tp in said})


async def lags(connection: KafkaConnection) -> list[Lag]:
    """The lag of every role on every topic it reads."""
    found, bounds = await commits_of_roles(connection)
    result = []
    for role, names in reads().items():
        for name in names:
            mine = {tp: bound for tp, bound in bounds.items() if tp.topic == name}
            behind = sum(_behind(bound, found[role].get(tp)) for tp, bound in mine.items())
            result.append(Lag(role, name, sum(bound.end for bound in mine.values()), behind))
    return result


def _behind(bounds: LogBounds, said: tuple[int, Note] | None) -> int:
    """Records yet to be done; what the log has no more never will be."""
    return bounds.end - max(bounds.begin, said[0] if said else 0)


async def unstored(connection: KafkaConnection) -> int:
    """How many records that others sent, or what was refused of them, are not stored by the time of this call.

    Session rows do not count: they come from the events again.
    """
    wanted = from_others()
    return sum(max(0, lag.behind) for lag in await lags(connection) if (lag.role, lag.topic) in wanted)


async def wait_until_idle(
    connection: KafkaConnection,
    store: Store,
    policies: Policies,
    timeout_s: float,
    *,
    faults: Callable[[], Awaitable[list[str]]] | None = None,
) -> None:
    """Wait until everything that is in a raw topic by now is through every role, and its sessions are closed.

    A session that turns idle only after the time to wait is not idle: it may stay open. Raises `NotIdleInTime`,
    `NeverIdle` for what `faults` finds, and what the store raises.
    """
    waiting_for = ["Kafka"]
    idle = asyncio.create_task(_idle(connection, store, policies, timeout_s, waiting_for))
    try:
        async with asyncio.timeout(timeout_s):
            while faults:
                done, _ = await asyncio.wait({idle}, timeout=_FAULTS_EVERY_S)
                if found := await _patiently(faults):
                    raise NeverIdle("; ".join(found))
                if done:
                    break
            await idle
    except TimeoutError:
        raise NotIdleInTime(f"not idle after {timeout_s:g} s: waiting for {waiting_for[0]}") from None
    finally:
        idle.cancel()


async def _idle(
    connection: KafkaConnection, store: Store, policies: Policies, timeout_s: float, waiting_for: list[str]
) -> None:
    until_ms = int((time.time() + timeout_s) * 1_000)
    ids = await _patiently(lambda: ids_of(connection, all_read()))
    await until_done(connection, ids, "router", reads()["router"], waiting_for)
    # What it passed on while we waited arrived after we began.
    arrived_by_ms = int(time.time() * 1_000)
    for role in ("sessionizer", "sink"):
        await until_done(connection, ids, role, [topics.SDK_EVENTS], waiting_for)
    while True:
        written = [topics.SESSIONS, topics.EVENT_COPIES, topics.DEAD_LETTERS]
        await until_done(connection, ids, "sink", written, waiting_for)
        still_open = await asyncio.to_thread(_turning_idle, store, policies, arrived_by_ms, until_ms)
        if not still_open:
            return
        waiting_for[0] = f"{still_open} open sessions to be closed for inactivity"
        await asyncio.sleep(_POLL_S)


async def until_done(
    connection: KafkaConnection,
    ids: Mapping[str, str],
    role: str,
    names: Collection[str],
    waiting_for: list[str],
) -> None:
    """Until a role has done all that these topics hold now."""
    waiting_for[0] = f"the {role} to have read {' and '.join(names)}"
    partitions = await _patiently(lambda: topic_partitions(connection, names))
    bounds = await _patiently(lambda: log_bounds(connection, partitions))
    while any(bound.end > bound.begin for bound in bounds.values()):
        try:
            said = await commits(connection, group_of(role), names)
        except KafkaFailure as error:
            waiting_for[0] = f"Kafka to answer about group {group_of(role)}: {error}"
            said = {}
        counting = of_these_topics({tp: commit for tp, commit in said.items() if commit}, ids)
        behind = {tp: _behind(bound, counting.get(tp)) for tp, bound in bounds.items()}
        left = sum(count for count in behind.values() if count > 0)
        if not left:
            return
        waiting_for[0] = f"the {role} to process {left} more records of {_names(behind)}"
        await asyncio.sleep(_POLL_S)


async def _patiently(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """The answer. A broker closes connections that are idle, and those whose token has expired, so one that breaks says
    nothing of the broker. Raises `BrokerUnavailable` once it has not answered several times in a row."""
    for _ in range(_TRIES - 1):
        try:
            return await ask()
        except BrokerUnavailable:
            await asyncio.sleep(_AGAIN_S)
    return await ask()


def _names(behind: Mapping[TP, int]) -> str:
    return ", ".join(sorted({tp.topic for tp, count in behind.items() if count > 0}))


def _turning_idle(store: Store, policies: Policies, before_ms: int, until_ms: int) -> int:
    return sum(
        found.count
        for found in open_sessions(store.query, before_ms)
        if found.earliest_arrival_ms + policies.of(found.app_id).idle_timeout_ms <= until_ms
    )
