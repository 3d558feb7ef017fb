"""States under way when a worker lost its partition: the broker refuses them once another one has claimed it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from pipeline.kafka.admin import LogBounds, ensure_topics, log_bounds
from pipeline.kafka.changelog import read_changelog
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.fence import Fence, Fenced, kafka_fence
from pipeline.state.marker import newer
from pipeline.state.partition import Effects, Partition
from pipeline.state.records import SourceRecord
from tests.support.lifecycle_records import AT_MS, POLICIES, record
from tests.support.services import Broker

MINUTE_S = 60


def came(minute: int, offset: int, *events: tuple[str, str, int]) -> SourceRecord:
    """A record that came in this minute: no event of it is later."""
    return record(offset, *events)._replace(timestamp=AT_MS + minute * 60_000)


OPENED = came(0, 0, ("e1", "foreground", 0))
AFTER_A_GAP = came(60, 1, ("e2", "", 60 * MINUTE_S))
BRIDGE = came(60, 2, ("e3", "", 30 * MINUTE_S))
GONE = came(61, 3, ("e4", "background", 61 * MINUTE_S))


class Owner:
    """A worker that has taken the partition over: it claimed it, then read its changelog."""

    def __init__(self, fence: Fence, partition: Partition) -> None:
        self.fence = fence
        self._partition = partition

    def fold(self, *records: SourceRecord) -> Effects:
        """What a chunk is to write."""
        effects = self._partition.apply(records)
        self._partition.commit(effects)
        return effects

    async def keep(self, effects: Effects) -> None:
        """The states of a chunk land."""
        await self.fence.send(0, effects.states)


class Scene:
    """A changelog, and its owners one after the other, none of which has died yet."""

    def __init__(self, connection: KafkaConnection, stack: AsyncExitStack) -> None:
        self.connection = connection
        self.topic = f"late-{uuid4().hex[:8]}"
        self._stack = stack

    async def fence(self) -> Fence:
        """The fence of one more worker."""
        producer = AIOKafkaProducer(**self.connection.client_options(), acks="all", compression_type="lz4")
        await producer.start()
        self._stack.push_async_callback(producer.stop)
        return kafka_fence(self.topic, lambda: producer)

    async def owner(self) -> Owner:
        fence = await self.fence()
        end = await fence.claim(0, lambda: True)
        partition = Partition(0, POLICIES)
        at_least = {} if end is None else {0: end}
        async for _, items in read_changelog(self.connection, self.topic, [0], newer, at_least=at_least):
            partition.restore(items)
        return Owner(fence, partition)

    async def end(self) -> int:
        bounds: dict[TP, LogBounds] = await log_bounds(self.connection, [TP(self.topic, 0)])
        return bounds[TP(self.topic, 0)].end


@asynccontextmanager
async def _scene(broker: Broker) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        scene = Scene(KafkaConnection(broker.bootstrap), stack)
        await ensure_topics(scene.connection, {scene.topic: (1, {"cleanup.policy": "compact"})})
        yield scene


def play(broker: Broker, story: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        async with _scene(broker) as scene:
            await story(scene)

    asyncio.run(run())


def counts(effects: Effects) -> list[int]:
    """How many events the session of each row has."""
    return [json.loads(row)["event_count"] for _, row in [*effects.owed, *effects.rows]]


async def opened(scene: Scene) -> Owner:
    first = await scene.owner()
    await first.keep(first.fold(OPENED))
    return first


def test_a_late_state_that_reaches_further(kafka_broker: Broker) -> None:
    async def story(scene: Scene) -> None:
        first = await opened(scene)
        late = first.fold(AFTER_A_GAP, BRIDGE)
        second = await scene.owner()
        kept = second.fold(AFTER_A_GAP)
        assert len(kept.rows) == 2, "the session before the gap is closed, the one after it is open"
        await second.keep(kept)
        with pytest.raises(Fenced):
            await first.keep(late)
        # The second owner dies before it gets to the bridge, which makes one session of the two.
        rows = (await scene.owner()).fold(BRIDGE).rows
        assert any(b'"is_deleted":1' in row for _, row in rows), "the second session is taken back"

    play(kafka_broker, story)


def test_a_late_state_that_reaches_less_far(kafka_broker: Broker) -> None:
    """Compaction would keep it, as the last entry of its key: it must not get into the log."""

    async def story(scene: Scene) -> None:
        first = await opened(scene)
        late = first.fold(AFTER_A_GAP)
        second = await scene.owner()
        await second.keep(second.fold(AFTER_A_GAP, BRIDGE))
        end = await scene.end()
        with pytest.raises(Fenced):
            await first.keep(late)
        assert await scene.end() == end
        assert counts((await scene.owner()).fold(GONE)) == [4]

    play(kafka_broker, story)


def test_a_late_state_before_the_next_owner_has_written_any(kafka_broker: Broker) -> None:
    """The next owner has read the log by then."""

    async def story(scene: Scene) -> None:
        first = await opened(scene)
        await scene.owner()
        with pytest.raises(Fenced):
            await first.keep(first.fold(AFTER_A_GAP))

    play(kafka_broker, story)


def test_a_claim_that_is_answered_too_late_shuts_nobody_out(kafka_broker: Broker) -> None:
    async def story(scene: Scene) -> None:
        second = await opened(scene)
        slow = await scene.fence()
        assert await slow.claim(0, lambda: False) is None
        await second.keep(second.fold(AFTER_A_GAP))

    play(kafka_broker, story)


def test_an_owner_claims_again_and_goes_on(kafka_broker: Broker) -> None:
    async def story(scene: Scene) -> None:
        owner = await opened(scene)
        assert await owner.fence.claim(0, lambda: True) is not None
        await owner.keep(owner.fold(AFTER_A_GAP, BRIDGE))
        assert counts((await scene.owner()).fold(GONE)) == [4]

    play(kafka_broker, story)


def test_a_claim_holds_after_the_broker_was_killed(fresh_broker: Callable[[str], Broker]) -> None:
    broker = fresh_broker("kafka")

    async def story(scene: Scene) -> None:
        first = await opened(scene)
        late = first.fold(AFTER_A_GAP)
        second = await scene.owner()
        await asyncio.to_thread(broker.kill9)
        await asyncio.to_thread(broker.restart)
        with pytest.raises(Fenced):
            await first.keep(late)
        await second.keep(second.fold(AFTER_A_GAP, BRIDGE))

    play(broker, story)


def test_a_broker_that_cannot_fence_is_written_to_all_the_same(
    embedded_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(scene: Scene) -> None:
        first = await opened(scene)
        late = first.fold(AFTER_A_GAP)
        second = await scene.owner()
        await second.keep(second.fold(AFTER_A_GAP, BRIDGE))
        await first.keep(late)
        assert counts((await scene.owner()).fold(GONE)) == [4], "what reaches further counts"

    with caplog.at_level("INFO"):
        play(embedded_broker, story)
    assert "this broker gives no producer ids" in caplog.text
