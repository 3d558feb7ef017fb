"""Producing raw traffic: what `send`, `simulate` and the library of `pipeline.sdk` put into Kafka.

All of it by one kind of producer: Kafka's default partitioner, all replicas, idempotent, compressed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka

from pipeline.kafka.connection import COMPRESSION, KafkaConnection
from pipeline.kafka.errors import kafka_errors
from pipeline.topics import MAX_MESSAGE_BYTES

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
    async with producer_of(connection, linger_ms=5, enable_idempotence=True) as producer:
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
                made = _producer(self._connection, enable_idempotence=True, **self._options)
                with kafka_errors(self._connection.bootstrap):
                    try:
                        await made.start()
                    except BaseException:
                        await _abandon(made)
                        raise
                self._producer = made
            return self._producer

    async def _drop(self, producer: AIOKafkaProducer) -> None:
        """So that the next record has a new one. Of all that fail together, the first does it."""
        if producer is self._producer:
            self._producer = None
            await _abandon(producer)


def _producer(connection: KafkaConnection, **options: Any) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **connection.client_options(),
        acks="all",
        max_request_size=MAX_MESSAGE_BYTES,
        compression_type=COMPRESSION,
        **options,
    )


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
async def producer_of(connection: KafkaConnection, **options: Any) -> AsyncIterator[Any]:
    """A started aiokafka producer that waits for all replicas.

    What aiokafka raises within is raised as a `KafkaFailure`.
    """
    producer = _producer(connection, **options)
    with kafka_errors(connection.bootstrap):
        try:
            await _within(GIVE_UP_S, producer.start())
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
