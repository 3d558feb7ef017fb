"""The batch transport: a Kafka transport under Faust whose agents get one event per partition and fetched chunk.

Faust's own consumer hands over single messages at the cost of several asyncio tasks each, acknowledges what failed,
commits past single gaps and reads source partitions before its tables are back. What is overridden here closes that;
agents, streams, tables with their changelog topics, assignment and rebalancing remain Faust's.

Two threads: aiokafka's consumer (fetching, heartbeats) has its own with its own event loop, everything else runs in
the application's. They meet in `BatchConsumer._in_thread`. What follows from what happens is decided in `Membership`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP
from mode import Service

from pipeline.kafka.errors import BrokerUnavailable, KafkaFailure, KafkaRefused
from pipeline.kafka.topic_identity import Note, PartitionsChanged, TopicMadeAnew, require_counts, require_same
from pipeline.kafka.topic_ids import partition_counts
from pipeline.kafka.topic_watch import TopicWatch
from pipeline.streaming.assignment import Assignment, Membership
from pipeline.streaming.chunk import Chunk, cut
from pipeline.streaming.consumer_thread import BatchConsumerThread, uptime_s
from pipeline.streaming.handing_over import HandingOver
from pipeline.streaming.silence import Silence
from pipeline.streaming.vitals import Vitals

logger = logging.getLogger(__name__)

T = TypeVar("T")

_COMMIT_TIMEOUT_S = 2.5
_WATCH_EVERY_S = 1.0
_TOPICS_EVERY_S = 2.0


class BatchConsumer(Consumer):  # type: ignore[misc]
    """Delivers chunks, counts acknowledgements per partition, commits what is done without a gap.

    An error in any of its tasks stops the worker.
    """

    logger = logger
    consumer_stopped_errors: ClassVar[tuple[type[BaseException], ...]] = Consumer.consumer_stopped_errors

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._membership = Membership()
        # Holds chunks that an agent dropped half done, too; with Faust's weak set they would seem finished.
        self._unacked_messages: set[Chunk] = self._membership.in_hand
        self._delivery_begun = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self._fetching = asyncio.Lock()
        self._handing_over = HandingOver(self.app.agents_of)
        self._topics_seen: dict[str, str] = {}
        """The ids of the topics that were ever assigned to this worker."""
        self.watch = TopicWatch()
        self.stopping_for = ""
        """Why the worker is about to stop, where that is for its topics."""
        self.vitals = Vitals()
        self.silence = Silence(self.app.connection, self.app.limits.give_up_s)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _in_thread(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._thread.thread_loop))

    # -- whose partitions these are

    @property
    def assignment_in_force(self) -> Assignment | None:
        return self._membership.in_force

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._membership.assign(generation_id, self._thread.member_id, frozenset(assigned))
        self.vitals.rebalances += 1
        await super().on_partitions_assigned(assigned, generation_id)

    def holds(self, assignment: Assignment) -> bool:
        """Whether this worker may still write for the partitions of an assignment. Ask right before every effect.

        False for good once it was False. Where heartbeats stayed away for longer than the session timeout (a frozen
        process, an unreachable broker) the assignment ends here.
        """
        self._end_if_silent()
        return self._membership.holds(assignment)

    def still_mine(self, chunk: Any) -> bool:
        """`holds` for the assignment of a chunk. On False it is to be dropped without acknowledgement."""
        return self.holds(chunk.assignment)

    def _silent_s(self) -> float:
        confirmed_s: float = self._thread.confirmed_s
        return uptime_s() - confirmed_s

    @property
    def silent_s(self) -> float | None:
        """For how many seconds Kafka has not answered a heartbeat; None before it has answered one."""
        return self._silent_s() if self._thread and self._thread.confirmed_s else None

    @property
    def refusal(self) -> KafkaFailure | None:
        """Why this worker can no longer be a member of its group."""
        return self._thread.refusal if self._thread else None

    @property
    def ends(self) -> Mapping[TP, int]:
        """Where the logs of partitions that were read lately end, as the last fetch knew."""
        return self._thread.ends if self._thread else {}

    def _end_if_silent(self) -> None:
        if self._thread.refusal and self._membership.holds(self.assignment_in_force):
            self._membership.end(lost=True)
            self._ended()
        silent_s = self._silent_s()
        if not self._membership.end_if_silent(silent_s, self.app.conf.broker_session_timeout):
            return
        logger.error(
            "no heartbeat has been answered for %.1f s, longer than the session timeout: other workers may have "
            "taken over, so this one drops what it has in hand and joins the group again", silent_s,
        )  # fmt: skip
        self._ended()
        self.add_future(self._in_thread(self._thread.rejoin()))

    def _ended(self) -> None:
        self._delivery_begun.clear()
        self._acknowledged.set()

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(_WATCH_EVERY_S)
            await self._in_thread(self._thread.check())
            self._end_if_silent()
            silent_s = self._silent_s() if self._thread.confirmed_s else 0.0
            if silent_s >= self.app.limits.give_up_s:
                raise BrokerUnavailable(
                    f"Kafka at {self.app.connection.bootstrap} has not answered a heartbeat for {silent_s:.0f} s"
                )
            self.silence.look(silent_s)
            if refused := self.silence.refusal:
                raise KafkaRefused(f"Kafka has not answered a heartbeat for {silent_s:.0f} s: {refused}")

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch_topics(self) -> None:
        """Nothing else tells a topic that was made anew while it is read: aiokafka goes on at the old position. Nor,
        for minutes, one that has got more partitions."""
        while not self.should_stop:
            await self.sleep(_TOPICS_EVERY_S)
            if self.should_stop:
                return
            try:
                await self.topic_ids(())
                await self.require_partitions()
                await self.look_at_topics()
                await self._join_for_new_partitions()
            except (KafkaError, TimeoutError) as error:
                logger.debug("Kafka did not say what its topics are: %r", error)
            except TopicMadeAnew as error:
                self.stopping_for = str(error)
                raise
            except PartitionsChanged as error:
                # What is in hand came by the number of before, and is done.
                self.stopping_for = str(error)
                self.app.ending = error
                return

    async def topic_ids(self, names: Collection[str]) -> dict[str, str]:
        """The present ids of topics, of those that exist and have one; those seen before are among them.

        Raises KafkaError, and `TopicMadeAnew` if one is not what it was while this worker ran.
        """
        wanted = self._topics_seen.keys() | set(names)
        found = await self._in_thread(self._thread.topic_ids(wanted)) if wanted else {}
        require_same(self._topics_seen, found)
        self._topics_seen |= found
        return found

    async def require_partitions(self) -> None:
        """Raises KafkaError, and `PartitionsChanged` if a topic has not as many partitions as this worker goes by."""
        known = self.app.partition_counts
        if known:
            require_counts(known, await self._in_thread(self._thread.partition_counts(known.keys())))

    async def look_at_topics(self) -> None:
        """Look at all topics that the app reads or writes. Raises KafkaError."""
        wanted = self.app.topics_wanted
        if wanted:
            ids = await self._in_thread(self._thread.topic_ids(wanted.keys()))
            self.watch.look(wanted, ids, await self._in_thread(self._thread.partition_counts(wanted.keys())))

    async def _join_for_new_partitions(self) -> None:
        """A static member that was restarted leads its group without being told, and then nobody sees to partitions
        that its topics have got since. Raises KafkaError."""
        before = self.app.counts_at_join
        if not self.app.member_name or not before:
            return
        now = await self._in_thread(self._thread.partition_counts(before.keys()))
        if any(now.get(topic, count) != count for topic, count in before.items()):
            logger.warning("topics have other partitions than at the start: joining the group again")
            self.app.counts_at_join = before | now
            await self._in_thread(self._thread.rejoin())

    # -- delivery

    async def committed(self, partitions: Collection[TP]) -> dict[TP, tuple[int, Note]]:
        """What the group has committed, where it has."""
        return await self._in_thread(self._thread.committed(partitions))

    async def begin_delivery(
        self, assignment: Assignment, offsets: Mapping[TP, int], committed: Mapping[TP, int]
    ) -> None:
        """Starts reading the source partitions of an assignment at `offsets`; no effect if it has ended."""
        # A fetch that was begun for the assignment before would take the first records from the new positions, and
        # with its assignment they would be dropped.
        async with self._fetching:
            if not assignment.open:
                return
            try:
                await self._in_thread(self._thread.read_from(offsets))
            except IllegalStateError:
                logger.info("the partitions were taken away before reading began")
                return
        assignment.begin_reading(offsets, committed)
        self._delivery_begun.set()

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                assignment = self.assignment_in_force
                if assignment and assignment.open and assignment.sources:
                    await self._deliver_what_is_there(assignment)
                else:
                    self._handing_over.forget_done()
                    await self.wait_first(self._delivery_begun.wait(), timeout=1.0)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        finally:
            await self._handing_over.stop()

    async def _deliver_what_is_there(self, assignment: Assignment) -> None:
        self._end_if_silent()
        sources = self._handing_over.free(tuple(assignment.sources))
        if not sources:
            return await self._handing_over.wait_for_one()
        try:
            async with self._fetching:
                found, at_end = await self._in_thread(
                    self._thread.fetch(sources, others_wait=self._handing_over.held_up)
                )
        except OffsetOutOfRangeError as error:
            if assignment.open:
                await self._start_over(assignment, {TP(*tp): offset for tp, offset in error.args[0].items()})
            return
        # A fetch that was under way when partitions were assigned anew meets what aiokafka has found out about the
        # new ones by itself: that nothing is committed for them, for example.
        except (IllegalStateError, AssertionError, NoOffsetForPartitionError):
            if assignment.open and self.assignment_in_force is assignment:
                raise
            return
        if not assignment.open:
            return
        by_agent: dict[str, dict[TP, Sequence[Any]]] = {}
        for tp, records in found.items():
            by_agent.setdefault(self._handing_over.agent(tp.topic), {})[tp] = records
        for agent, records_of in by_agent.items():
            # Nobody has caught up with a topic of which something waits: its other partitions are read no further.
            read = at_end & {tp for tp in sources if self._handing_over.agent(tp.topic) == agent}
            at_end -= read
            self._handing_over.begin(agent, self._hand_over(assignment, records_of, read))
        assignment.fetched(sources, at_end)
        await self._handing_over.wait(by_agent)

    async def _hand_over(
        self, assignment: Assignment, found: Mapping[TP, Sequence[Any]], at_end: frozenset[TP]
    ) -> None:
        """Give an agent what was fetched for it, which takes until it has room; then `at_end` is true."""
        limits = self.app.limits
        for tp, records in found.items():
            for part in cut(records, limits.max_chunk, limits.max_chunk_bytes):
                # What is not delivered because the assignment ends is read again by whoever has it next.
                if not assignment.open:
                    return
                chunk = Chunk(tp, part, assignment, assignment.deliver(tp, part[-1].offset + 1))
                await self.wait_first(self.callback(chunk), self.suspend_flow.wait())
        if assignment.open:
            assignment.caught_up |= at_end

    async def _start_over(self, assignment: Assignment, positions: Mapping[TP, int]) -> None:
        try:
            # If the topic was made anew, its first records are not to be taken for what the old one had there.
            await self.topic_ids(())
        except (KafkaError, TimeoutError) as error:
            logger.warning("waiting for Kafka, to learn the ids of topics: %r", error)
            return
        begins = await self._in_thread(self._thread.earliest(tuple(positions)))
        for tp, position in positions.items():
            lost = max(0, begins[tp] - position)
            logger.error(
                "%s[%d]: offset %d is no longer in the log, which begins at %d: reading on from there; %d records "
                "were deleted before they were read", tp.topic, tp.partition, position, begins[tp], lost,
            )  # fmt: skip
            assignment.read_on_from(tp, begins[tp], lost)
        await self._in_thread(self._thread.read_from(begins))

    # -- acknowledgement and commit

    def ack(self, message: Any) -> bool:
        """Marks a chunk as done; without effect, and False, when its assignment has ended."""
        if not isinstance(message, Chunk):
            raise AssertionError(f"{message.topic} is not registered as a batch topic")
        message.acked = True
        in_time = self._membership.acknowledge(message)
        if in_time:
            self.vitals.done(message.tp, len(message.value), message.timestamp)
        self._acknowledged.set()
        return in_time

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commits for each partition the offset before which everything is acknowledged."""
        assignment, offsets = self.assignment_in_force, self._membership.to_commit()
        if assignment is None or not offsets:
            return False
        notes = {
            tp: Note(assignment.topic_ids.get(tp.topic, ""), assignment.lost.get(tp, 0)) for tp in offsets
        }
        if not await self._in_thread(self._thread.commit_offsets(offsets, notes)):
            return False
        assignment.committed.update(offsets)
        return True

    async def wait_empty(self) -> None:
        """Before the partitions go: lets agents finish what they have in hand, for a bounded time, and commits.

        After that the assignment has ended: acknowledgements that come later count for nothing.
        """
        assignment = self.assignment_in_force
        if assignment is None or not assignment.open:
            return
        deadline_s = self.loop.time() + self.app.limits.drain_timeout_s
        while assignment.open and self._unacked_messages and not self.app.crashed:
            left_s = deadline_s - self.loop.time()
            if left_s <= 0:
                logger.warning(
                    "%d chunks were not finished in time and are dropped", len(self._unacked_messages)
                )
                break
            self._acknowledged.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._acknowledged.wait(), min(left_s, 1.0))
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                await self.commit()  # which, if another commit is under way, only waits for that one
                await self.force_commit()
        except TimeoutError:
            logger.warning(
                "the last offsets could not be committed in time: these records will be read again"
            )
        self._membership.end()
        self._ended()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's livelock report; it takes our paused changelog partitions for stuck ones."""


class BatchTransport(Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with the batch consumer."""

    Consumer: ClassVar[type[BatchConsumer]] = BatchConsumer

    async def _create_topic(
        self, owner: Any, client: Any, topic: str, partitions: int, replication: int, **kwargs: Any
    ) -> None:
        """As Faust has it, but for a topic that is there: to ask for it takes a right that a worker need not have."""
        if topic not in await partition_counts(client, [topic]):
            await super()._create_topic(owner, client, topic, partitions, replication, **kwargs)
