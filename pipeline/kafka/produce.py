"""Producing raw traffic: what `send`, `simulate` and the library of `pipeline.sdk` put into Kafka.

All of it by one kind of producer: Kafka's default partitioner, all replicas, idempotent, compressed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka

from pipeline.kafka.connection import COMPRESSION, KafkaConnection
from pipeline.kafka.errors import kafka_errors
from pipeline.kafka.waiting import require_broker
from pipeline.topics import MAX_MESSAGE_BYTES

logger = logging.getLogger(__name__)
# What it says of a cluster without idempotent producers, as an error, is said here, and is none.
logging.getLogger("aiokafka.producer.sender").addFilter(
    lambda record: "InitProducerIdRequest" not in str(record.msg)
)

_IN_FLIGHT = 2_000
GIVE_UP_S = 40.0
"""How long `produce` waits for a broker that does not confirm what it was sent. An idempotent producer of aiokafka
would try for ever."""
_STOP_S = 2.0
"""How long a producer that has nothing to wait for may take to close."""
_OF_THE_RECORD = (
    kafka.MessageSizeTooLargeError,
    kafka.RecordTooLargeError,
    kafka.RecordListTooLargeError,
    kafka.InvalidTopicError,
    kafka.InvalidTimestampError,
    kafka.UnsupportedForMessageFormatError,
    kafka.PolicyViolationError,
    kafka.TopicAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
)
"""What is said of a record, and would be again. Any other refusal is of the producer, and a new one may do better."""
_NOT_IDEMPOTENT = (kafka.UnknownError, kafka.UnsupportedVersionError, kafka.ClusterAuthorizationFailedError)
"""What clusters say to a producer that wants to be idempotent: the embedded broker has none, and before Kafka 2.8 that
was a right of its own."""


class RecordToSend(NamedTuple):
    """A record to be produced; with a key, its partition is Kafka's default one for that key."""

    topic: str
    key: bytes | None
    value: bytes
    events: int = 1
    headers: Sequence[tuple[str, bytes]] = ()


async def produce(
    connection: KafkaConnection,
    records: Iterable[RecordToSend],
    *,
    events_per_s: float = 0,
    progress: Callable[[RecordToSend], None] = lambda record: None,
) -> int:
    """Send records in order and wait until the broker has them all; returns how many.

    With `events_per_s` above 0 it keeps to that rate. Raises `KafkaFailure`, where the broker confirms nothing for
    `GIVE_UP_S` too; what was sent before stays sent.
    """
    async with producer_of(connection, idempotent=True, linger_ms=5) as producer:
        return await _produce(producer, records, events_per_s, progress)


class Outlet:
    """A producer that takes one record at a time until it is told otherwise, whatever becomes of the broker.

    Nothing is connected before the first record. It is of one event loop.
    """

    def __init__(self, connection: KafkaConnection, **options: Any) -> None:
        self._connection = connection
        self._options = options
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def deliver(self, record: RecordToSend) -> None:
        """Returns once all replicas have the record; tries for as long as it is let.

        Raises `KafkaRefused` if Kafka will never have it, and `BrokerUnavailable` if it may be tried again at once or
        later. Cancelled, the record may arrive all the same.
        """
        producer = await self._started()
        try:
            await producer.send_and_wait(
                record.topic, record.value, key=record.key, headers=list(record.headers)
            )
        except (kafka.KafkaError, TimeoutError, ConnectionError) as error:
            with kafka_errors(self._connection.bootstrap):
                if isinstance(error, _OF_THE_RECORD):
                    raise
                if not getattr(error, "retriable", False):
                    await self._drop(producer)
                raise kafka.KafkaConnectionError(str(error) or type(error).__name__) from error

    async def stop(self) -> None:
        """Closes it. What has not been confirmed by now is not waited for."""
        if self._producer is not None:
            await self._drop(self._producer)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                with kafka_errors(self._connection.bootstrap):
                    self._producer = await _started(self._connection, True, self._options)
            return self._producer

    async def _drop(self, producer: AIOKafkaProducer) -> None:
        """So that the next record has a new one. Of all that fail together, the first does it."""
        if producer is self._producer:
            self._producer = None
            await _abandon(producer)


async def _started(
    connection: KafkaConnection, idempotent: bool, options: Mapping[str, Any]
) -> AIOKafkaProducer:
    """A producer that has found the cluster. Raises what aiokafka raises.

    Where there are no idempotent ones, it is one that is not: a duplicate costs nothing, since events have ids.
    """
    producer = AIOKafkaProducer(
        **connection.client_options(),
        acks="all",
        max_request_size=MAX_MESSAGE_BYTES,
        compression_type=COMPRESSION,
        enable_idempotence=idempotent,
        **options,
    )
    try:
        await _within(GIVE_UP_S, producer.start())
    except _NOT_IDEMPOTENT as error:
        await _abandon(producer)
        if not idempotent:
            raise
        logger.info("%s has no idempotent producers for us: %s", connection.bootstrap, error)
        return await _started(connection, False, options)
    except BaseException:
        await _abandon(producer)
        raise
    return producer


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Close a producer at once. Its own `stop` waits for the broker to have all, for ever if it is idempotent."""
    await producer.client.close()
    task = producer._sender.sender_task
    if task is not None:
        task.cancel()
        await asyncio.wait([task], timeout=_STOP_S)
    # Nothing is left to wait for; it marks the producer as closed.
    producer._message_accumulator.fail_all(kafka.ProducerClosed())
    await asyncio.wait([asyncio.ensure_future(producer.stop())], timeout=_STOP_S)


@asynccontextmanager
async def producer_of(
    connection: KafkaConnection, *, idempotent: bool = False, **options: Any
) -> AsyncIterator[Any]:
    """A started aiokafka producer that waits for all replicas; idempotent where that is asked for and can be had.

    What aiokafka raises within is raised as a `KafkaFailure`.
    """
    with kafka_errors(connection.bootstrap):
        await require_broker(connection)
        producer = await _started(connection, idempotent, options)
        try:
            yield producer
        except BaseException:
            await _abandon(producer)
            raise
        await producer.stop()


async def _produce(
    producer: AIOKafkaProducer,
    records: Iterable[RecordToSend],
    events_per_s: float,
    progress: Callable[[RecordToSend], None],
) -> int:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    waiting: list[asyncio.Future[object]] = []
    sent = events = 0
    for record in records:
        waiting.append(
            await producer.send(record.topic, record.value, key=record.key, headers=list(record.headers))
        )
        sent += 1
        events += record.events
        progress(record)
        if len(waiting) >= _IN_FLIGHT:
            await _within(GIVE_UP_S, asyncio.gather(*waiting))
            waiting.clear()
        if events_per_s:
            ahead_s = events / events_per_s - (loop.time() - started_s)
            if ahead_s > 0.005:
                await asyncio.sleep(ahead_s)
    await _within(GIVE_UP_S, asyncio.gather(*waiting))
    return sent


async def _within(seconds: float, waited_for: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await waited_for
    except TimeoutError as error:
        raise TimeoutError(f"nothing confirmed for {seconds:.0f} s") from error


async def placed(
    connection: KafkaConnection, records: Iterable[tuple[str, int, bytes | None, bytes]]
) -> list[tuple[int, int, int]]:
    """Send few records, each to its topic and partition with key and value; where each is: partition, offset, and the
    broker's record time in Unix milliseconds. Raises `KafkaFailure`."""
    async with producer_of(connection, idempotent=True) as producer:
        places = []
        for topic, partition, key, value in records:
            sent = await producer.send_and_wait(topic, value, key=key, partition=partition)
            places.append((sent.partition, sent.offset, sent.timestamp))
        return places
