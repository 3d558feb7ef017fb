"""The Faust app of one role, on the batch transport: what to read, what state to keep, and running it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import faust
from aiokafka import codec
from mode import CrashingSupervisor

from pipeline.errors import PipelineError, Transient
from pipeline.kafka.bounded_fetch import LeftToPython
from pipeline.kafka.connection import COMPRESSION, KafkaConnection
from pipeline.kafka.errors import KafkaFailure
from pipeline.kafka.static_member import member_name
from pipeline.kafka.topic_ids import counts_of
from pipeline.kafka.waiting import wait_for_broker
from pipeline.roles.known_topics import TopicsKnown
from pipeline.roles.ledger_guard import StartOffsets
from pipeline.streaming.batch_transport import BatchTransport
from pipeline.streaming.recovery import ClaimPartition, StateTable
from pipeline.streaming.table_manager import StateTableManager
from pipeline.topics import MAX_MESSAGE_BYTES, TP

logger = logging.getLogger(__name__)

ChunkHandler = Callable[[Any], Awaitable[None]]
"""Handles one event: `event.value` is a chunk, a list of records as aiokafka unpacks them; ends with `event.ack()`."""

_COMPRESSION_LEVEL = 1
"""Of zstd. The third level, aiokafka's own, takes twice the time and leaves as much (`--only compression`)."""
# aiokafka has no way to say which.
codec.zstd_encode.__defaults__ = (_COMPRESSION_LEVEL,)
_WRITE_BATCH_BYTES = 900_000
# A dead letter is as large as what was refused; the broker's own limit is a topic's.
_WRITE_REQUEST_BYTES = MAX_MESSAGE_BYTES + 100_000
# With the drain this stays below the ten seconds that most orchestrators leave between SIGTERM and SIGKILL.
_STOP_MARGIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the transport."""

    max_chunk: int = 50_000
    """Records an event."""
    max_chunk_bytes: int = 16 * 1024 * 1024
    """Bytes of keys and values an event (a larger single record passes), and bytes a fetch and partition."""
    max_poll_records: int = 50_000
    """Records that are taken over from the fetcher at once."""
    buffered_chunks: int = 2
    """Events that wait for the agent."""
    drain_timeout_s: float = 4.0
    """How long a rebalance or a stop waits for chunks in hand. Well below the rebalance timeout."""
    give_up_s: float = 300.0
    """How long to go on without any answer from Kafka, at start and later."""


class ChunkFailed(Transient):
    """A handler raised. The worker stops; the chunk is not acknowledged and will be delivered again."""


class _Settings(faust.Settings):  # type: ignore[misc]
    def getenv(self, env_name: str) -> None:
        """Faust lets variables such as BROKER_URL or STORE override what it is given; only our settings count."""
        return


class BatchApp(faust.App):  # type: ignore[misc]
    """A Faust app that reads `batch_topics` in chunks and keeps `state_tables`. Made by `create_app`."""

    Settings = _Settings

    def __init__(self, app_id: str, connection: KafkaConnection, limits: Limits, **options: Any) -> None:
        self.connection = connection
        self.limits = limits
        self.batch_topics: set[str] = set()
        self.agents_of: dict[str, str] = {}
        """The name of the agent that takes a topic's chunks, by topic."""
        self.state_tables: list[StateTable] = []
        self.partition_counts: dict[str, int] = {}
        """How many partitions of topics it goes by; the worker stops with `PartitionsChanged` where that is not so."""
        self.topics_wanted: dict[str, int] = {}
        """All topics that it reads or writes, with how many partitions they should have."""
        self.ending: Exception | None = None
        """Why it is to be stopped in good order, what is in hand being done first."""
        self.instance_id = ""
        """What a static member is called, as it was set; empty for a dynamic one."""
        self.member_name = ""
        """What it is called in its group, once it starts."""
        self.counts_at_join: dict[str, int] = {}
        """How many partitions the topics that a static member reads had when it joined."""
        self.start_offsets: StartOffsets | None = None
        self.on_topics_known: TopicsKnown | None = None
        self.core: ModuleType | None = None
        """The compiled core, where it unpacks what is fetched."""
        self.left_to_python: LeftToPython | None = None
        """Told which records aiokafka had to unpack instead."""
        super().__init__(app_id, **options)
        self.transport = BatchTransport(self.conf.broker_consumer, self)


def create_app(
    app_id: str,
    *,
    connection: KafkaConnection,
    partitions: int,
    data_dir: Path,
    limits: Limits | None = None,
    session_timeout_s: float = 6.0,
    heartbeat_interval_s: float = 1.0,
    rebalance_timeout_s: float = 30.0,
    commit_interval_s: float = 1.0,
    replication_factor: int = 1,
    instance_id: str = "",
) -> BatchApp:
    """An app whose consumer group is `app_id`. Makes `data_dir`; does not touch logging, nor the network yet."""
    limits = limits or Limits()
    if limits.drain_timeout_s >= rebalance_timeout_s:
        raise ValueError("drain_timeout_s has to be below rebalance_timeout_s")
    data_dir.mkdir(parents=True, exist_ok=True)
    app = BatchApp(
        app_id,
        connection,
        limits,
        broker=[f"kafka://{server}" for server in connection.servers],
        broker_credentials=credentials_of(connection),
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=heartbeat_interval_s,
        broker_rebalance_timeout=rebalance_timeout_s,
        broker_commit_interval=commit_interval_s,
        TableManager=StateTableManager,
        agent_supervisor=CrashingSupervisor,
        datadir=data_dir,
        store="memory://",
        # Standbys would hold nothing: state lives with its owner, who gets it from the changelog.
        table_standby_replicas=0,
        topic_disable_leader=True,
        topic_partitions=partitions,
        topic_replication_factor=replication_factor,
        web_enabled=False,
        stream_buffer_maxsize=limits.buffered_chunks,
        producer_acks=-1,
        producer_linger=0,
        producer_compression_type=COMPRESSION,
        producer_max_batch_size=_WRITE_BATCH_BYTES,
        producer_max_request_size=_WRITE_REQUEST_BYTES,
        producer_request_timeout=limits.give_up_s,
    )
    app.instance_id = instance_id
    return app


def credentials_of(connection: KafkaConnection) -> Any:
    """How Faust's own clients (its producer) log in; None for PLAINTEXT. Reads the files of certificates."""
    context = connection.ssl_context()
    if connection.tokens:
        return faust.OAuthCredentials(oauth_cb=connection.tokens, ssl_context=context)
    if connection.sasl:
        return faust.SASLCredentials(
            username=connection.username,
            password=connection.password,
            mechanism=connection.mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context else None


def add_state_table(
    app: BatchApp,
    name: str,
    *,
    source_topic: str,
    on_partition_recovered: Callable[[int, dict[bytes, bytes]], None],
    on_partition_revoked: Callable[[int], None],
    on_reading_begins: Callable[[int, int], None] | None = None,
    newer: Callable[[bytes, bytes], bool] | None = None,
    claim: ClaimPartition | None = None,
    reach: Callable[[int], int] | None = None,
) -> StateTable:
    """A table whose changelog is `<app_id>-<name>-changelog`, cut as `source_topic` is. See StateTable.

    Its owner writes it with `Fence.send`, if it gave a `claim`.
    """
    table = app.Table(name, partitions=app.conf.topic_partitions, key_type=bytes, value_type=bytes)
    state = StateTable(
        table,
        source_topic,
        on_partition_recovered,
        on_partition_revoked,
        on_reading_begins,
        newer,
        claim,
        reach,
    )
    app.state_tables.append(state)
    return state


def add_agent(app: BatchApp, name: str, topics: Sequence[str], handle: ChunkHandler) -> None:
    """An agent that gets the chunks of `topics`: those of one partition one after the other, partitions side by side.

    `handle` acknowledges when its effects are durable (`event.ack()`), or returns without when `still_mine` says no.
    What it raises stops the worker as ChunkFailed, with nothing of the chunk acknowledged.
    """
    app.batch_topics.update(topics)
    app.agents_of.update(dict.fromkeys(topics, name))
    channel = app.topic(*topics, key_serializer="raw", value_serializer="raw")

    async def consume(stream: Any) -> None:
        at_work: dict[TP, asyncio.Task[None]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                async for event in stream.noack().events():
                    before = at_work.get(event.message.tp)
                    if before and not before.done():
                        await before
                    at_work[event.message.tp] = group.create_task(_guarded(handle, event))
        except ExceptionGroup as failures:
            # All tasks raise is ChunkFailed, and the first one is what stops the worker.
            raise failures.exceptions[0] from failures.exceptions[0].__cause__

    app.agent(channel, name=name)(consume)


async def _guarded(handle: ChunkHandler, event: Any) -> None:
    try:
        await handle(event)
    except Exception as error:
        message = event.message
        raise ChunkFailed(
            f"{message.topic}[{message.partition}], offsets {message.first_offset} to {message.offset}: {error!r}"
        ) from error


def still_mine(app: BatchApp, event: Any) -> bool:
    """Whether the partition of an event is still this worker's. Ask right before each effect; on False drop it."""
    mine: bool = app.consumer.still_mine(event.message)
    return mine


def claim(app: BatchApp, tp: TP) -> Callable[[], bool]:
    """What `still_mine` is for events, for work that no event brings, such as timers: ask it before each effect.

    It stands for the assignment in force now. False at once if `tp` is not being read.
    """
    assignment = app.consumer.assignment_in_force
    if assignment is None or tp not in assignment.sources:
        return lambda: False
    return lambda: bool(app.consumer.holds(assignment))


def active_partitions(app: BatchApp, topic: str) -> set[int]:
    """Partitions of a source topic that this worker reads now; none during rebalancing and recovery."""
    assignment = app.consumer.assignment_in_force
    if assignment is None or not assignment.open:
        return set()
    return {tp.partition for tp in assignment.sources if tp.topic == topic}


def caught_up(app: BatchApp, tp: TP) -> bool:
    """Whether all that the last fetch knew of a partition is read, and acknowledged."""
    assignment = app.consumer.assignment_in_force
    return assignment is not None and bool(assignment.has_caught_up(tp))


def raw_producer(app: BatchApp) -> Any:
    """The app's started AIOKafkaProducer, for `record_batches.send`."""
    return app.producer._ensure_producer()


async def run_app(app: BatchApp, stop: asyncio.Event) -> None:
    """Runs an app until `stop` is set; what is in hand is finished and committed then.

    Waits for the broker first. Raises what made the app crash, or BrokerUnavailable.
    """
    stopping = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(_start(app))
    try:
        while not (stopping.done() or app.should_stop or app.ending):
            pending = {stopping} if starting.done() else {stopping, starting}
            await asyncio.wait(pending, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
    finally:
        stopping.cancel()
        starting.cancel()
        try:
            async with asyncio.timeout(app.limits.drain_timeout_s + _STOP_MARGIN_S):
                await app.stop()
        except TimeoutError:
            # Nothing is lost by that: what is not committed is read again.
            logger.warning("%s: leaving without a good-bye to Kafka, which does not answer", app.conf.id)
        except RuntimeError as error:
            if not app.crash_reason:
                raise
            # The consumer's thread ends with the crash, at any moment of the stop, and its event loop is closed then.
            logger.debug("%s: stopped half-way: %r", app.conf.id, error)
    if app.crash_reason:
        # Whatever aiokafka made of it where it was met first.
        raise app.consumer.refusal or app.crash_reason
    if app.ending:
        raise app.ending
    if app.member_name:
        logger.info(
            "%s: its partitions wait for %s to come back, for as long as the session timeout of %g s",
            app.conf.id, app.instance_id, app.conf.broker_session_timeout,
        )  # fmt: skip


async def _start(app: BatchApp) -> None:
    await wait_for_broker(app.connection, give_up_s=app.limits.give_up_s)
    if app.instance_id:
        names = app.batch_topics | {state.changelog_topic for state in app.state_tables}
        app.counts_at_join = await counts_of(app.connection, names)
        app.member_name = member_name(app.instance_id, app.counts_at_join)
    await app.start()


def run(
    build: Callable[[], Sequence[BatchApp]], prepare: Callable[[], Coroutine[Any, Any, None]] | None = None
) -> int:
    """Builds and runs apps in this process until SIGTERM or SIGINT, or until one fails; gives the exit code.

    What `prepare` raises, before there are apps, is raised here.

    0 after a clean stop, 1 after a failure, with its traceback and one line of error in the log. Blocks.
    """
    return asyncio.run(_run(build, prepare))


async def _run(
    build: Callable[[], Sequence[BatchApp]], prepare: Callable[[], Coroutine[Any, Any, None]] | None
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if prepare and not await _before(stop, prepare()):
        return 0
    apps = build()

    async def one(app: BatchApp) -> None:
        try:
            await run_app(app, stop)
        finally:
            stop.set()

    results = await asyncio.gather(*(one(app) for app in apps), return_exceptions=True)
    failed = 0
    for app, result in zip(apps, results, strict=True):
        if isinstance(result, BaseException):
            failed = 1
            trace = None if _is_named(result) else result
            logger.error("%s stopped: %s: %s", app.conf.id, type(result).__name__, result, exc_info=trace)
    return failed


def _is_named(failure: BaseException) -> bool:
    """Whether its message says all that there is to say: where it was found out is of no use to who reads the log."""
    return isinstance(failure, KafkaFailure) or (isinstance(failure, PipelineError) and not failure.__cause__)


async def _before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work was done before `stop` was set; it is cancelled then. Raises what the work raises."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait({working})
        return False
    working.result()
    return True
