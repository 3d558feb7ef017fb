"""Producers that are not ours: a device at every limit of size, and one whose partitioner is another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple
from zlib import crc32

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from pipeline import topics
from pipeline.formats import measure, native
from tests.chaos.load import Identity, Load, Said
from tests.support.stack import Stack

_APP = "org.example.guests"
_START_MS = 1_767_600_000_000
_HEAVY_RECORDS = 40
_APART_MS = 3_600_000
"""Long enough for each record to be a session of its own."""
_TEXT = "\U0001f980" * 1_024
_FOREIGN_DEVICES = 30
NATIVE_EVENTS = native.ANY_KEY.topic
_FOREIGN_RECORDS = 4
_MAX_REQUEST_BYTES = 8_000_000


class Outgoing(NamedTuple):
    """A record and where its producer puts it. None: where our own would."""

    topic: str
    key: bytes | None
    value: bytes
    partition: int | None = None


def send_heavy(stack: Stack, load: Load, number: int) -> None:
    """40 records of 411 kB of one device, foreground and background in each, each with another user of 100 properties
    of 1,024 characters of four bytes. It is all allowed. Blocks."""
    asyncio.run(_send(stack, list(_heavy(load, f"heavy-{number}"))))


def send_foreign(stack: Stack, load: Load, number: int, partitions: int) -> None:
    """Devices of a producer whose partitioner is CRC-32, not Kafka's murmur2: each in one partition, mostly another
    than its key belongs to, where all of its records are refused. The same on `native-events`, where none is; and
    Measure bodies, which may be in any partition too. Blocks."""
    asyncio.run(_send(stack, list(_foreign(load, number, partitions))))


def _heavy(load: Load, device: str) -> Iterator[Outgoing]:
    for number in range(_HEAVY_RECORDS):
        user = {"id": f"user-{number}", "properties": {f"p{at:02}": _TEXT for at in range(100)}}
        yield _native(load, device, number, ("foreground", "background"), {"user": user})


def _foreign(load: Load, number: int, partitions: int) -> Iterator[Outgoing]:
    for at in range(_FOREIGN_RECORDS):
        for one in range(_FOREIGN_DEVICES):
            topic, device = (topics.SDK_EVENTS, NATIVE_EVENTS)[one % 2], f"foreign-{number}-{one}"
            key = f"{_APP}/{device}".encode()
            place = crc32(key) % partitions
            is_refused = topic == topics.SDK_EVENTS and place != (murmur2(key) & 0x7FFFFFFF) % partitions
            made = _native(
                None if is_refused else load, device, at, ("foreground", "active", "background"), {}
            )
            load.misplaced += is_refused
            yield made._replace(topic=topic, partition=place)
        body = load.measure_body(number * _FOREIGN_RECORDS + at)
        yield Outgoing(measure.FORMAT.topic, b"any", body, at % partitions)


def _native(
    load: Load | None, device: str, number: int, states: tuple[str, ...], more: dict[str, Any]
) -> Outgoing:
    """An envelope; `load` notes its events, where they are to be stored."""
    events = []
    for at, state in enumerate(states):
        time_ms = _START_MS + number * _APART_MS + at * 60_000
        event = {
            "id": f"{device}-{number}-{at}",
            "name": "device.app.lifecycle",
            "time": time_ms,
            "attributes": {"ios.app.state": state},
        }
        if load is not None:
            load.note(Identity(_APP, device, str(event["id"])), Said(time_ms, str(event["name"]), 0))
        events.append(event)
    envelope = {"v": 1, "app_id": _APP, "device_id": device, "events": events, **more}
    return Outgoing(topics.SDK_EVENTS, f"{_APP}/{device}".encode(), orjson.dumps(envelope))


async def _send(stack: Stack, records: list[Outgoing]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.connection.servers,
        acks="all",
        max_request_size=_MAX_REQUEST_BYTES,
        request_timeout_ms=60_000,
    )
    await producer.start()
    try:
        for record in records:
            # One after the other, so that a device's records are in order whatever the broker does meanwhile.
            await producer.send_and_wait(
                record.topic, record.value, key=record.key, partition=record.partition
            )
    finally:
        await producer.stop()
