"""aiokafka's consumer in the thread that Faust gives it: fetching, heartbeats, commits."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition, conn
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import HeartbeatRequest, SyncGroupRequest
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    InvalidSessionTimeoutError,
    KafkaError,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from pipeline.kafka.bounded_fetch import Room, room, within_room
from pipeline.kafka.errors import InstanceTaken, KafkaFailure, KafkaRefused
from pipeline.kafka.large_answers import ReadingInPieces
from pipeline.kafka.packed_records import KeptRecords, RecordsAsTheyAre
from pipeline.kafka.static_member import FENCED_INSTANCE_ID, NamedHeartbeat, is_fenced, with_name
from pipeline.kafka.topic_identity import Note, note_of
from pipeline.kafka.topic_ids import partition_counts, topic_ids

logger = logging.getLogger(__name__)

_POLL_MS = 200
_SHORT_POLL_MS = 20
_FETCH_WAIT_MS = 500
_NEVER_IDLE_MS = 365 * 24 * 3_600_000


# aiokafka has no way to say which classes its consumers use. All of this process are ours.
conn.AIOKafkaProtocol = ReadingInPieces
fetcher.MemoryRecords = KeptRecords
fetcher.PartitionRecords = RecordsAsTheyAre
fetcher.FetchResult.getall = within_room


def uptime_s() -> float:
    """Seconds, including those while the machine sleeps (where the system can tell) or the process is stopped."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class BatchConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """aiokafka's consumer in its thread. Its coroutines run in the thread's loop."""

    confirmed_s: float = 0.0
    """`uptime_s` up to which the group's coordinator is known to have counted this worker as a member."""
    refusal: KafkaFailure | None = None
    """Why this worker can no longer be a member of the group, under the name that it was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._knows_names = False
        self.ends: dict[TP, int] = {}
        """The offsets after the last records of the partitions that were read, as the last fetch of each knew them."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        app, conf = self.app, self.app.conf
        return AIOKafkaConsumer(
            **app.connection.client_options(),
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=app.member_name or None,
            partition_assignment_strategy=[app.assignor],
            enable_auto_commit=False,
            # Positions are set by us, and a position out of range must be heard of.
            auto_offset_reset="none",
            max_poll_records=app.limits.max_poll_records,
            # A consumer that waits for its sink is not dead. Its heartbeats say so.
            max_poll_interval_ms=_NEVER_IDLE_MS,
            max_partition_fetch_bytes=app.limits.max_chunk_bytes,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
        )

    async def on_start(self) -> None:
        await super().on_start()
        self._watch_membership()

    def _watch_membership(self) -> None:
        coordinator = self._ensure_consumer()._coordinator
        send = coordinator._send_req

        async def watched(request: Any) -> Any:
            sent_s = uptime_s()
            name = self.app.member_name
            response = await send(with_name(request, name) if name else request)
            if name and is_fenced(response):
                self._refuse_twin()
            # The coordinator counts from when it got a heartbeat, which is not before we sent it; a sync it may have
            # held back for the other members, so there it is the answer.
            elif isinstance(request, HeartbeatRequest):
                if response.error_code in (NoError.errno, RebalanceInProgressError.errno):
                    self.confirmed_s = sent_s
            elif isinstance(request, SyncGroupRequest) and response.error_code == NoError.errno:
                self.confirmed_s = uptime_s()
                if name and not self._knows_names:
                    await self._require_names(send, coordinator)
            return response

        coordinator._send_req = watched

    def _refuse_twin(self) -> None:
        self.refusal = self.refusal or InstanceTaken(
            f"another worker has joined {self.app.conf.id} with PIPELINE_KAFKA_INSTANCE_ID={self.app.instance_id}, and "
            "has this one's partitions now, so this one stops. Give each worker an id of its own, as its pod's name is"
        )

    async def _require_names(self, send: Any, coordinator: Any) -> None:
        """Find out whether the broker tells static members apart: one that nobody is has to be fenced. A broker that
        does not would let two workers have the same partitions."""
        stranger = NamedHeartbeat(
            self.app.conf.id, coordinator.generation, f"{coordinator.member_id}-not", self.app.member_name
        )
        try:
            code = (await send(stranger)).error_code
        except NotImplementedError:
            code = NoError.errno  # which is what aiokafka raises for a version that the broker does not have
        except KafkaError:
            return  # asked again after the next rebalance
        self._knows_names = code == FENCED_INSTANCE_ID
        if code in (NoError.errno, UnknownMemberIdError.errno, IllegalGenerationError.errno):
            self.refusal = KafkaRefused(
                f"Kafka at {self.app.connection.bootstrap} does not know static membership (group.instance.id, Kafka "
                "2.3 and later; the embedded broker has none): leave PIPELINE_KAFKA_INSTANCE_ID empty"
            )

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Raises the refusal, and not what aiokafka makes of it."""
        try:
            yield
        except KafkaError as error:
            if self.refusal:
                raise self.refusal from error
            raise
        if self.refusal:
            raise self.refusal

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # Nothing is read before recovery is through; changelogs never, recovery has a reader of its own.
        self._ensure_consumer().pause(*(TopicPartition(*tp) for tp in assigned))
        await super().on_partitions_assigned(assigned, generation_id)

    @property
    def member_id(self) -> str:
        member_id: str = self._ensure_consumer()._coordinator.member_id
        return member_id

    async def check(self) -> None:
        """Raises what aiokafka's background tasks died of, a session timeout that is refused as `KafkaRefused`, and the
        refusal."""
        try:
            with self._named():
                self._ensure_consumer()._coordinator.check_errors()
        except InvalidSessionTimeoutError as error:
            raise KafkaRefused(
                f"Kafka at {self.app.connection.bootstrap} refused a session timeout of "
                f"{self.app.conf.broker_session_timeout:g} s: set PIPELINE_KAFKA_SESSION_TIMEOUT to a time from its "
                "group.min.session.timeout.ms to its group.max.session.timeout.ms"
            ) from error

    async def rejoin(self) -> None:
        self._ensure_consumer()._coordinator.request_rejoin()

    async def committed(self, partitions: Collection[TP]) -> dict[TP, tuple[int, Note]]:
        """What the group has committed, where it has, with what it noted."""
        wanted = [TopicPartition(*tp) for tp in partitions]
        found = await self._ensure_consumer()._coordinator.fetch_committed_offsets(wanted)
        return {
            TP(*tp): (said.offset, note_of(said.metadata)) for tp, said in found.items() if said.offset >= 0
        }

    async def topic_ids(self, names: Collection[str]) -> dict[str, str]:
        """The present ids of topics."""
        return await topic_ids(self._ensure_consumer()._client, names)

    async def partition_counts(self, names: Collection[str]) -> dict[str, int]:
        """How many partitions topics have now."""
        return await partition_counts(self._ensure_consumer()._client, names)

    async def earliest(self, partitions: Collection[TP]) -> dict[TP, int]:
        """Where the logs begin."""
        found = await self._ensure_consumer().beginning_offsets([TopicPartition(*tp) for tp in partitions])
        return {TP(*tp): offset for tp, offset in found.items()}

    async def read_from(self, offsets: Mapping[TP, int]) -> None:
        """Sets positions and lets reading begin. IllegalStateError if a partition is not ours any more."""
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            consumer.seek(TopicPartition(*tp), offset)
            consumer.resume(TopicPartition(*tp))

    async def fetch(
        self, sources: Collection[TP], *, others_wait: bool = False
    ) -> tuple[dict[TP, Sequence[Any]], frozenset[TP]]:
        """Records that have arrived, after a short wait if there are none; and the sources read to their end.

        The wait is shorter where others are to be read as soon as their agent has room: `others_wait`.
        """
        consumer = self._ensure_consumer()
        app = self.app
        room.set(Room(app.limits.max_chunk_bytes, app.core, app.left_to_python))
        at_end, poll_ms = set(), _SHORT_POLL_MS if others_wait else _POLL_MS
        with self._named():
            found = await consumer.getmany(*(TopicPartition(*tp) for tp in sources), timeout_ms=poll_ms)
            for tp in sources:
                highwater = consumer.highwater(TopicPartition(*tp))
                if highwater is None:
                    continue
                self.ends[tp] = highwater
                if await consumer.position(TopicPartition(*tp)) >= highwater:
                    at_end.add(tp)
        return {TP(*tp): records for tp, records in found.items()}, frozenset(at_end)

    async def commit_offsets(self, offsets: Mapping[TP, int], notes: Mapping[TP, Note]) -> bool:
        """False if the partitions are not ours any more. Waits while the coordinator does not answer."""
        try:
            with self._named():
                await self._ensure_consumer().commit(
                    {
                        TopicPartition(*tp): OffsetAndMetadata(offset, notes[tp].text())
                        for tp, offset in offsets.items()
                    }
                )
        except (CommitFailedError, IllegalStateError) as error:
            logger.warning("not committed, the partitions have gone to another worker: %s", error)
            return False
        return True
