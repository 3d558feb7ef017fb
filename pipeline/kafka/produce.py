"""Producing raw traffic: what `send` and `simulate` put into Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from pipeline.kafka.connection import COMPRESSION, KafkaConnection
from pipeline.kafka.errors import kafka_errors
from pipeline.kafka.waiting import require_broker
from pipeline.topics import MAX_MESSAGE_BYTES

_IN_FLIGHT = 2_000


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

    With `events_per_s` above 0 it keeps to that rate. Raises `KafkaFailure`; what was sent before stays sent.
    """
    async with producer_of(connection, linger_ms=5) as producer:
        return await _produce(producer, records, events_per_s, progress)


@asynccontextmanager
async def producer_of(connection: KafkaConnection, **options: Any) -> AsyncIterator[Any]:
    """A started aiokafka producer that waits for all replicas.

    What aiokafka raises within is raised as a `KafkaFailure`.
    """
    producer = AIOKafkaProducer(
        **connection.client_options(),
        acks="all",
        max_request_size=MAX_MESSAGE_BYTES,
        compression_type=COMPRESSION,
        **options,
    )
    with kafka_errors(connection.bootstrap):
        try:
            await require_broker(connection)
            await producer.start()
            yield producer
        finally:
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
            await asyncio.gather(*waiting)
            waiting.clear()
        if events_per_s:
            ahead_s = events / events_per_s - (loop.time() - started_s)
            if ahead_s > 0.005:
                await asyncio.sleep(ahead_s)
    await producer.flush()
    await asyncio.gather(*waiting)
    return sent
