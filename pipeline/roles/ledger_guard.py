"""Whether what ClickHouse has of a topic can stem from the topic that is there.

A topic that was made anew begins at offset 0 again. Stored under the old numbering its rows would lose against what is
there, or pass for copies of it, without an error. So the sink asks before it reads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import orjson

from pipeline import topics
from pipeline.clickhouse.codes import NOT_THERE, code_of
from pipeline.clickhouse.store import StatementFailed, Store, Unreachable
from pipeline.kafka.admin import log_bounds
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topic_identity import TopicMadeAnew
from pipeline.roles.seldom import Seldom
from pipeline.topics import TP

logger = logging.getLogger(__name__)

StartOffsets = Callable[[set[TP]], Awaitable[Mapping[TP, int]]]
"""Gets the source partitions just assigned; gives offsets to read from in place of the committed ones."""

_BEYOND = """
SELECT max(offset) AS seen FROM ledger_records
WHERE topic = {topic:String} AND partition = {partition:UInt32} AND offset >= {end:UInt64} HAVING count() > 0
"""
_RETRY_S = 1.0
# After a change of leader the log's end can lag behind for a moment.
_PATIENCE = 4


def ledger_guard(store: Store, connection: KafkaConnection, offset_base: int) -> StartOffsets:
    """A hook that changes no offset, but raises `TopicMadeAnew`. Waits while ClickHouse does not answer."""
    checked: set[TP] = set()

    async def check(assigned: set[TP]) -> Mapping[TP, int]:
        wanted = {tp for tp in assigned if tp.topic == topics.SDK_EVENTS} - checked
        for tries_left in reversed(range(_PATIENCE)):
            bounds = await log_bounds(connection, wanted)
            beyond = {tp: await _beyond(store, tp, bound.end + offset_base) for tp, bound in bounds.items()}
            found = [(tp, seen) for tp, seen in sorted(beyond.items()) if seen is not None]
            if not found:
                break
            if not tries_left:
                tp, seen = found[0]
                raise TopicMadeAnew.by_end(tp, bounds[tp].end, seen - offset_base)
            await asyncio.sleep(_RETRY_S)
        checked.update(wanted)
        return {}

    return check


async def _beyond(store: Store, tp: TP, end: int) -> int | None:
    """The highest offset stored of a partition, if it is not below `end`."""
    parameters = {"topic": tp.topic, "partition": tp.partition, "end": end}
    said = Seldom(logger)
    while True:
        try:
            answer = await asyncio.to_thread(store.query, _BEYOND, parameters)
            return int(orjson.loads(answer)["seen"]) if answer.strip() else None
        except (Unreachable, StatementFailed) as error:
            if code_of(error) in NOT_THERE:
                return None
            said.warn(f"waiting for ClickHouse, to see what it has of {tp.topic}[{tp.partition}]: {error}")
        await asyncio.sleep(_RETRY_S)
