"""What ClickHouse has noted of the topics that its rows come from: the id of each, and under which offset base."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import orjson

from pipeline import topics
from pipeline.clickhouse.codes import NOT_THERE, code_of
from pipeline.clickhouse.store import StatementFailed, Store, Unreachable
from pipeline.errors import Terminal
from pipeline.kafka.topic_identity import TopicMadeAnew
from pipeline.query.operations import stored_up_to
from pipeline.roles.seldom import Seldom

logger = logging.getLogger(__name__)


_RETRY_S = 1.0


TopicsKnown = Callable[[Collection[str], Mapping[str, str]], Awaitable[None]]
"""Gets the topics just assigned and their ids; what it raises stops the worker."""


class Known(NamedTuple):
    """What is noted of a topic."""

    topic_id: str
    offset_base: int


def known_topics(store: Store) -> dict[str, Known]:
    """What is noted. Blocks; raises what the store raises."""
    lines = store.query("SELECT topic, topic_id, offset_base FROM topic_ids FINAL").splitlines()
    return {row["topic"]: Known(row["topic_id"], int(row["offset_base"])) for row in map(orjson.loads, lines)}


def note_topics(store: Store, ids: Mapping[str, str], offset_base: int) -> None:
    """Note the present ids of topics, whatever was noted before. Blocks; raises what the store raises."""
    for topic, topic_id in ids.items():
        row = {"topic": topic, "topic_id": topic_id, "offset_base": offset_base}
        store.insert("topic_ids", orjson.dumps(row), token=f"{topic}-{topic_id}-{offset_base}")


def made_anew(
    known: Mapping[str, Known], ids: Mapping[str, str], offset_base: int
) -> Iterable[tuple[str, str, str]]:
    """The topics, of those that have an id now, that were made anew under this base, each with its id then and now.

    Under a base that was raised every topic may be another one: that is what it is raised for.
    """
    for topic, now in sorted(ids.items()):
        was = known.get(topic)
        if was is not None and was.topic_id != now and was.offset_base >= offset_base:
            yield topic, was.topic_id, now


class OffsetBaseTooLow(Terminal):
    """Rows would be stored below those that are. Terminal: a setting is to be changed."""


def require_base(known: Mapping[str, Known], names: Iterable[str], offset_base: int) -> None:
    """Raises `OffsetBaseTooLow` where rows of one of these topics are stored under a higher base."""
    for topic in names:
        if topic in known and known[topic].offset_base > offset_base:
            raise OffsetBaseTooLow(
                f"what is stored of {topic} counts from {known[topic].offset_base}, and PIPELINE_OFFSET_BASE is "
                f"{offset_base}: set it to {known[topic].offset_base} for all workers and commands"
            )


def require_known(store: Store, ids: Mapping[str, str], offset_base: int) -> None:
    """Compare topics with what is noted, and note what is new. Blocks.

    Raises `OffsetBaseTooLow`; `TopicMadeAnew`, unless nothing is stored under the base that a topic was noted with,
    where no offset of the one before means anything; and what the store raises.
    """
    known = known_topics(store)
    require_base(known, ids, offset_base)
    for topic, was, now in made_anew(known, ids, offset_base):
        if stored_up_to(store.query) > known[topic].offset_base:
            raise TopicMadeAnew.by_id(topic, was, now)
    new = {
        topic: now
        for topic, now in ids.items()
        if topic not in known or known[topic].topic_id != now or known[topic].offset_base < offset_base
    }
    note_topics(store, new, offset_base)


def note_replaced(store: Store, topic_id: str, ends: Mapping[int, int]) -> None:
    """Note that a rebuild replaces all rows that `sessions` holds, given where its partitions end. Blocks; raises what
    the store raises. A topic without an id is not known again later, and nothing is noted."""
    if topic_id and ends:
        rows = [
            orjson.dumps({"topic_id": topic_id, "partition": number, "below_offset": end})
            for number, end in sorted(ends.items())
        ]
        token = "-".join(str(ends[number]) for number in sorted(ends))
        store.insert("replaced_rows", b"\n".join(rows), token=f"{topic_id}-{token}")


def replaced_rows(store: Store, topic_id: str) -> dict[int, int]:
    """The offset in each partition of `sessions` below which a rebuild has replaced all rows. Blocks; raises what the
    store raises."""
    lines = store.query(
        "SELECT partition, max(below_offset) AS below FROM replaced_rows"
        " WHERE topic_id = {topic_id:String} GROUP BY partition",
        {"topic_id": topic_id},
    ).splitlines()
    return {int(row["partition"]): int(row["below"]) for row in map(orjson.loads, lines)}


def known_topics_guard(
    store: Store, offset_base: int, on_replaced: Callable[[Mapping[int, int]], None]
) -> TopicsKnown:
    """A hook that raises `TopicMadeAnew` for topics that are not those noted. Waits for ClickHouse to answer.

    `on_replaced` gets what `replaced_rows` gives, before anything of `sessions` is read.
    """

    async def check(names: Collection[str], ids: Mapping[str, str]) -> None:
        wanted, said = {topic: ids[topic] for topic in names if topic in ids}, Seldom(logger)
        while wanted:
            try:
                await asyncio.to_thread(require_known, store, wanted, offset_base)
                if topics.SESSIONS in wanted:
                    on_replaced(await asyncio.to_thread(replaced_rows, store, wanted[topics.SESSIONS]))
                return
            except (Unreachable, StatementFailed) as error:
                if code_of(error) in NOT_THERE:
                    logger.warning("the ids of topics cannot be noted before `session-pipeline migrate`")
                    return
                said.warn(f"waiting for ClickHouse, to learn the ids of topics: {error}")
            await asyncio.sleep(_RETRY_S)

    return check
