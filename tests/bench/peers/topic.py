"""The peers' topic: native envelopes of one event each, in order of event time. And what peers wrote about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from heapq import heapify, heapreplace
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

GAP_MS = 30_000
"""Two events of a device further apart than this are in two sessions, for every peer."""
DEVICES = 20_000

_START_MS = 1_767_600_000_000
_SESSION_EVENTS = 20
_BETWEEN_EVENTS_MS = (500, 10_000)
_BETWEEN_SESSIONS_MS = (60_000, 600_000)
_BATCH_BYTES = 500_000
_RESOURCE = {"service.version": "7.7.4", "os.name": "iOS", "device.model.identifier": "iPhone17,1"}
_NAMES = ("app.screen.view", "app.screen.click", "http.client.request", "log")


class Record(NamedTuple):
    """One envelope."""

    key: bytes
    value: bytes


class Sessions(NamedTuple):
    """What a peer wrote: how many sessions, and the events in them."""

    sessions: int
    events: int


def envelopes(events: int, *, devices: int = DEVICES, seed: int = 1) -> Iterator[Record]:
    """Visits of about 20 events, some seconds apart, with minutes between: event times never fall.

    The same arguments give the same bytes.
    """
    rng = Random(seed)
    ids = [str(UUID(int=rng.getrandbits(128), version=4)) for _ in range(devices)]
    coming = [(_START_MS + rng.randrange(_BETWEEN_SESSIONS_MS[1]), index) for index in range(devices)]
    heapify(coming)
    for seq in range(events):
        time_ms, index = coming[0]
        pause_ms = _BETWEEN_SESSIONS_MS if rng.random() * _SESSION_EVENTS < 1 else _BETWEEN_EVENTS_MS
        heapreplace(coming, (time_ms + rng.randint(*pause_ms), index))
        event = {"id": f"{rng.getrandbits(64):016x}", "name": rng.choice(_NAMES), "time": time_ms, "seq": seq}
        envelope = {
            "v": 1,
            "app_id": "org.example.app",
            "device_id": ids[index],
            "resource": _RESOURCE,
            "events": [event],
        }
        yield Record(f"org.example.app/{ids[index]}".encode(), orjson.dumps(envelope))


async def make_topics(bootstrap: str, *names: str) -> None:
    """Makes topics of one partition. Raises if one is there already."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1) for name in names])
    finally:
        await admin.close()


async def load(bootstrap: str, topic: str, records: Iterable[Record]) -> int:
    """Sends records to the topic's only partition, in their order; how many. Returns when the broker has them."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=_BATCH_BYTES)
    await producer.start()
    sent = 0
    try:
        batch = producer.create_batch()
        for key, value in records:
            if batch.append(key=key, value=value, timestamp=None) is None:
                await _send(producer, batch, topic)
                batch = producer.create_batch()
                assert batch.append(key=key, value=value, timestamp=None) is not None
            sent += 1
        if batch.record_count():
            await _send(producer, batch, topic)
    finally:
        await producer.stop()
    return sent


async def _send(producer: AIOKafkaProducer, batch: Any, topic: str) -> None:
    delivered = await producer.send_batch(batch, topic, partition=0)
    await asyncio.wait_for(delivered, timeout=30)


async def written(bootstrap: str, topic: str) -> Sessions:
    """Reads what a peer wrote into a topic of one partition: JSON objects with a `count` each."""
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    consumer.assign([partition])
    await consumer.start()
    sessions = events = 0
    try:
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                sessions += len(records)
                events += sum(orjson.loads(record.value)["count"] for record in records)
    finally:
        await consumer.stop()
    return Sessions(sessions, events)
