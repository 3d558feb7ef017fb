"""Whose partitions these are: acknowledgements, commits and being caught up, each for the assignment in force alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError, NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.types import TP

from pipeline import topics
from pipeline.domain.policy import Policies
from pipeline.formats.edge import OPEN_EDGE
from pipeline.state.codec import state_codec
from pipeline.streaming import apps, batch_transport
from pipeline.streaming.assignment import Assignment, Progress
from pipeline.streaming.faust_app import Limits, active_partitions, caught_up, claim, still_mine
from tests.support.consumer_double import OTHER, SOURCE, TIMEOUT_S, Consumer, Record


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Consumer:
    """Its last heartbeat was answered at second 100, and that is now."""
    made = Consumer()
    monkeypatch.setattr(batch_transport, "uptime_s", lambda: 100.0 + made.app.silent_s)
    made.app.silent_s = 0.0
    return made


def test_an_acknowledgement_counts_in_its_own_assignment(consumer: Consumer) -> None:
    assignment = consumer.open()
    chunk = consumer.deliver(assignment, 0, 1)
    assert consumer.ack(chunk)
    assert chunk.acked and not consumer._unacked_messages and consumer._acknowledged.is_set()
    assert assignment.to_commit() == {SOURCE: 2}


def test_an_acknowledgement_for_an_ended_assignment_counts_for_nothing(consumer: Consumer) -> None:
    """Its records are another worker's now, or this one's again under another assignment, to be done once more."""
    before = consumer.open()
    chunk = consumer.deliver(before, 0, 1)
    before.close({SOURCE})
    assert not consumer.ack(chunk)
    assert before.sources[SOURCE].next_offset == 0
    assert not consumer._unacked_messages and consumer._acknowledged.is_set(), "a stop waits for it no longer"

    after = consumer.open(2)
    again = consumer.deliver(after, 0, 1)
    late = consumer.deliver(before, 0, 1)
    assert not consumer.ack(late)
    assert after.to_commit() == {} and before.sources[SOURCE].next_offset == 0
    assert consumer.ack(again)
    assert after.to_commit() == {SOURCE: 2}


def test_not_even_where_nobody_ended_it(consumer: Consumer) -> None:
    """One that is not in force any more, though it is open still."""
    before = consumer.open()
    chunk = consumer.deliver(before, 0)
    consumer._membership.in_force = Assignment(2, "me", before.partitions)
    assert before.open
    assert not consumer.ack(chunk) and before.sources[SOURCE].next_offset == 0
    assert not consumer.holds(before)


class Message:
    topic = "another"


def test_what_is_no_chunk_is_never_acknowledged(consumer: Consumer) -> None:
    with pytest.raises(AssertionError, match="not registered as a batch topic"):
        consumer.ack(Message())


def test_what_was_not_heard_of_for_a_session_timeout_is_not_held(consumer: Consumer) -> None:
    assignment = consumer.open()
    chunk = consumer.deliver(assignment, 0)
    event = SimpleNamespace(message=chunk)
    mine = claim(consumer.app, SOURCE)
    consumer.app.silent_s = TIMEOUT_S
    assert consumer.holds(assignment) and still_mine(consumer.app, event) and mine()
    assert active_partitions(consumer.app, "source") == {0, 1}
    assert active_partitions(consumer.app, "another") == set()
    consumer.app.silent_s = TIMEOUT_S + 0.1
    assert not mine() and not still_mine(consumer.app, event) and not consumer.holds(assignment)
    assert not assignment.open and not consumer._unacked_messages
    assert active_partitions(consumer.app, "source") == set()
    # False for good, and the group is asked in once.
    consumer.app.silent_s = 0.0
    assert not consumer.holds(assignment) and not mine()
    (rejoining,) = consumer.futures
    asyncio.run(rejoining)
    assert consumer._thread.rejoined == 1
    # Others may have had the partitions meanwhile: nothing of it is kept.
    after = Assignment(2, "me", assignment.partitions)
    after.succeed(assignment)
    assert after.kept == frozenset()


def test_no_timer_works_for_partitions_that_are_not_read(consumer: Consumer) -> None:
    assert not claim(consumer.app, SOURCE)()
    assert not caught_up(consumer.app, SOURCE)
    assert active_partitions(consumer.app, "source") == set()
    consumer.open()
    assert not claim(consumer.app, TP("another", 0))()
    mine = claim(consumer.app, SOURCE)
    assert mine()
    consumer.open(2)
    assert not mine(), "it stands for the assignment that was"


def test_caught_up_is_who_has_read_and_done_all(consumer: Consumer) -> None:
    """Silence goes by the wall clock then: records that are read but not worked on may still break it."""
    assignment = consumer.open()
    assert not caught_up(consumer.app, SOURCE)
    assignment.caught_up = frozenset({OTHER})
    assert not caught_up(consumer.app, SOURCE)
    assignment.caught_up = frozenset({SOURCE})
    assert caught_up(consumer.app, SOURCE)
    chunk = consumer.deliver(assignment, 0)
    assert not caught_up(consumer.app, SOURCE)
    consumer.ack(chunk)
    assert caught_up(consumer.app, SOURCE)
    assignment.close(set())
    assert not caught_up(consumer.app, SOURCE)


def test_a_fetch_is_delivered_in_chunks_and_says_who_is_caught_up(consumer: Consumer) -> None:
    assignment = consumer.open()
    records = [Record(offset) for offset in (0, 1, 5)]
    consumer._thread.fetched = [({SOURCE: records}, frozenset({SOURCE}))]
    asyncio.run(consumer._deliver_what_is_there(assignment))
    assert [[record.offset for record in chunk.value] for chunk in consumer.chunks] == [[0, 1], [5]]
    assert [(chunk.first_offset, chunk.offset) for chunk in consumer.chunks] == [(0, 1), (5, 5)]
    assert assignment.caught_up == {SOURCE} and not caught_up(consumer.app, SOURCE)
    consumer.ack(consumer.chunks[1])
    assert assignment.to_commit() == {}
    consumer.ack(consumer.chunks[0])
    assert assignment.to_commit() == {SOURCE: 6} and caught_up(consumer.app, SOURCE)


def test_what_a_fetch_brings_after_the_end_is_not_delivered(consumer: Consumer) -> None:
    assignment = consumer.open()

    def ended() -> Any:
        assignment.close(set())
        return {SOURCE: [Record(0)]}, frozenset({SOURCE})

    consumer._thread.fetched = [ended]
    asyncio.run(consumer._deliver_what_is_there(assignment))
    assert consumer.chunks == [] and assignment.caught_up == frozenset()
    assert assignment.sources[SOURCE].idle


@pytest.mark.parametrize("error", [IllegalStateError("gone"), AssertionError(), NoOffsetForPartitionError()])
def test_an_error_of_a_fetch_counts_while_the_assignment_does(consumer: Consumer, error: Exception) -> None:
    assignment = consumer.open()
    consumer._thread.fetched = [error, error]
    with pytest.raises(type(error)):
        asyncio.run(consumer._deliver_what_is_there(assignment))
    consumer.open(2)
    asyncio.run(consumer._deliver_what_is_there(assignment))


def test_where_records_are_gone_reading_goes_on_at_the_beginning(consumer: Consumer) -> None:
    assignment = consumer.open(at=3)
    consumer._thread.begins = {SOURCE: 8}
    consumer._thread.fetched = [OffsetOutOfRangeError({SOURCE: 3})] * 2
    asyncio.run(consumer._deliver_what_is_there(assignment))
    assert consumer._thread.read == [{SOURCE: 8}]
    assert assignment.sources[SOURCE].next_offset == 8 and assignment.sources[OTHER].next_offset == 3
    assert assignment.to_commit() == {SOURCE: 8}
    assignment.close(set())
    asyncio.run(consumer._deliver_what_is_there(assignment))
    assert len(consumer._thread.read) == 1


def test_what_the_group_took_is_not_committed_again(consumer: Consumer) -> None:
    assert not asyncio.run(consumer.force_commit())
    assignment = consumer.open()
    assert not asyncio.run(consumer.force_commit())
    consumer.ack(consumer.deliver(assignment, 0, 1))
    consumer._thread.takes_commits = False
    assert not asyncio.run(consumer.force_commit())
    consumer._thread.takes_commits = True
    assert asyncio.run(consumer.force_commit())
    assert not asyncio.run(consumer.force_commit())
    assert consumer._thread.committed == [{SOURCE: 2}] * 2
    consumer.ack(consumer.deliver(assignment, 2))
    assignment.close(set())
    assert not asyncio.run(consumer.force_commit()), "it has ended"


def test_delivery_begins_only_for_what_is_still_assigned(consumer: Consumer) -> None:
    assignment = Assignment(1, "me", frozenset({SOURCE}))
    consumer._membership.in_force = assignment
    asyncio.run(consumer.begin_delivery(assignment, {SOURCE: 5}, {SOURCE: 4}))
    assert consumer._thread.read == [{SOURCE: 5}] and consumer._delivery_begun.is_set()
    assert assignment.sources[SOURCE].next_offset == 5 and assignment.to_commit() == {SOURCE: 5}
    ended = Assignment(2, "me", frozenset({SOURCE}))
    ended.close(set())
    asyncio.run(consumer.begin_delivery(ended, {SOURCE: 5}, {SOURCE: 4}))
    assert len(consumer._thread.read) == 1 and not ended.sources


def test_partitions_go_once_what_is_in_hand_is_done(consumer: Consumer) -> None:
    assignment = consumer.open()
    chunks = [consumer.deliver(assignment, offset) for offset in (0, 1)]

    async def work() -> None:
        consumer.loop = asyncio.get_running_loop()
        going = asyncio.create_task(consumer.wait_empty())
        for chunk in chunks:
            for _ in range(5):
                await asyncio.sleep(0)
            assert assignment.open and not going.done()
            consumer.ack(chunk)
        await going

    asyncio.run(work())
    assert not assignment.open and consumer._thread.committed == [{SOURCE: 2}]
    after = Assignment(2, "me", assignment.partitions)
    after.succeed(assignment)
    assert after.kept == {0, 1}


def test_what_is_not_done_in_time_is_dropped_and_not_kept(consumer: Consumer) -> None:
    consumer.app.limits = Limits(drain_timeout_s=0.02)
    assignment = consumer.open()
    consumer.ack(consumer.deliver(assignment, 0))
    chunk = consumer.deliver(assignment, 1)

    async def work() -> None:
        consumer.loop = asyncio.get_running_loop()
        await consumer.wait_empty()

    asyncio.run(work())
    assert not assignment.open and consumer._thread.committed == [{SOURCE: 1}]
    assert not consumer.ack(chunk)
    after = Assignment(2, "me", assignment.partitions)
    after.succeed(assignment)
    assert after.kept == {1}


class Frame:
    """A role's app without Faust: it keeps its timers and handlers."""

    def __init__(self, consumer: Consumer) -> None:
        self.offset_base, self.metrics, self.partitions, self.edge = 0, None, 2, OPEN_EDGE
        self.left_to_python = None
        self.before = ()
        self.consumer = consumer
        self.should_stop = False
        self.timers: list[Any] = []
        self.handlers: list[Any] = []
        self.ticks: list[tuple[int, bool, bool]] = []
        """Of each: the partition, whether it was said to be caught up, and whether it was this worker's."""
        self.claimed: list[int] = []

    def app(self, role: str, core: object = None) -> Frame:
        return self

    def task(self, timer: Any) -> None:
        self.timers.append(timer)

    # -- the sessionizer and the fence behind it

    async def tick(self, number: int, now_ms: int, *, caught_up: bool, still_mine: Any) -> None:
        self.ticks.append((number, caught_up, still_mine()))
        self.should_stop = True

    async def handle(self, number: int, records: Any, still_mine: Any) -> bool:
        return bool(still_mine())

    @asynccontextmanager
    async def at_rest(self, number: int) -> AsyncIterator[None]:
        yield

    def is_old(self, number: int) -> bool:
        return number == 1

    async def claim(self, number: int, still_mine: Any) -> None:
        assert still_mine()
        self.claimed.append(number)


@pytest.fixture
def frame(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> Frame:
    """The sessionizer's app, which reads two partitions, one of them caught up."""
    made = Frame(consumer)
    table = SimpleNamespace(changelog_topic=topics.STATE)
    monkeypatch.setattr(apps, "_TICK_S", 0)
    monkeypatch.setattr(apps, "kafka_fence", lambda *_: made)
    monkeypatch.setattr(apps, "add_state_table", lambda *_, **__: table)
    monkeypatch.setattr(apps, "add_agent", lambda app, name, read, handle: made.handlers.append(handle))
    monkeypatch.setattr(apps, "Sessionizer", lambda *_, **__: made)
    apps.sessionizer_app(made, Policies(), state_codec.encode)  # type: ignore[arg-type]
    assignment = consumer.open()
    tps = [TP(topics.SDK_EVENTS, number) for number in range(2)]
    assignment.sources = {tp: Progress(0) for tp in tps}
    assignment.caught_up = frozenset(tps[1:])
    return made


def test_the_sessionizer_is_told_which_partitions_are_behind(frame: Frame) -> None:
    (tick,) = frame.timers
    asyncio.run(tick())
    assert sorted(frame.ticks) == [(0, False, True), (1, True, True)]
    assert frame.claimed == [1], "a claim is made again where it is old"


def test_a_chunk_that_is_not_the_sessionizers_any_more_is_not_acknowledged(
    frame: Frame, consumer: Consumer
) -> None:
    (handle,) = frame.handlers
    assignment = consumer.assignment_in_force
    assert assignment is not None
    acknowledged: list[int] = []
    for number in range(2):
        assignment.sources[SOURCE] = Progress(0)
        message = consumer.deliver(assignment, number)
        event = SimpleNamespace(
            message=message, value=message.value, ack=lambda number=number: acknowledged.append(number)
        )
        asyncio.run(handle(event))
        assignment.close(set())
    assert acknowledged == [0]
