"""The largest legal input of one device, on Apache Kafka: its partition goes on, and all rows are right."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pipeline import topics
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats.limits import MAX_PROPERTIES, MAX_PROPERTY_VALUE_CHARS
from pipeline.formats.measure import FORMAT as MEASURE
from tests.support.stack import Stack, logs_if_failed, running_stack
from tests.support.stored_fold import assert_sessions_are_the_fold

APP = "org.example.app"
BEGIN_MS = int(time.time() * 1_000) - 4 * 3_600_000
STATES = ("foreground", "background")


def letter(number: int) -> str:
    """A text of the greatest length a property may have, of letters of four bytes that zstd cannot make small."""
    return "".join(
        chr(0x20000 + (number * 7_919 + n * n * 31) % 40_000) for n in range(MAX_PROPERTY_VALUE_CHARS)
    )


def event_of(event_id: str, state: str, time_ms: int) -> dict[str, Any]:
    return {
        "id": event_id,
        "name": "device.app.lifecycle",
        "time": BEGIN_MS + time_ms,
        "attributes": {"android.app.state": state},
    }


def native(number: int) -> bytes:
    """A visit of the app by a user of the largest properties."""
    events = [event_of(f"n{number}-{state}", state, number * 60_000 + n) for n, state in enumerate(STATES)]
    properties = {f"p{n}": letter(number * 100 + n) for n in range(MAX_PROPERTIES)}
    user = {"id": f"u{number}", "properties": properties}
    document = {"v": 1, "app_id": APP, "device_id": "native", "user": user, "events": events}
    return json.dumps(document, ensure_ascii=False).encode()


def measure(number: int) -> bytes:
    """A body of some 7 MB: 60 visits, each with a resource of nearly the greatest size, and no two alike."""

    def event(visit: int, state: str) -> dict[str, Any]:
        at_ms = BEGIN_MS + (number * 60 + visit) * 60_000
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_ms // 1_000))
        texts = {f"t{n}": letter(number * 1_000 + visit * 15 + n) for n in range(14)}
        return {
            "id": f"m{number}-{visit}-{state}",
            "type": "lifecycle_app",
            "timestamp": f"{stamp}.{STATES.index(state)}00Z",
            "lifecycle_app": {"type": state},
            "attribute": {"app_unique_id": APP, "installation_id": "measure", **texts},
        }

    events = [event(visit, state) for visit in range(60) for state in STATES]
    return json.dumps({"events": events}, ensure_ascii=False).encode()


PARTITION_SQL = "SELECT any(partition) FROM events WHERE device_id = 'native'"


async def limit_the_changelog(stack: Stack, most_bytes: int) -> None:
    client = AIOKafkaAdminClient(**stack.connection.client_options())
    await client.start()
    try:
        configs = {"cleanup.policy": "compact", "max.message.bytes": str(most_bytes)}
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topics.STATE, configs=configs)])
    finally:
        await client.close()


async def send(stack: Stack, records: list[tuple[str, bytes | None, bytes]]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.connection.servers, max_request_size=8_100_000, compression_type="zstd"
    )
    await producer.start()
    try:
        for topic, key, value in records:
            await producer.send_and_wait(topic, value, key=key)
    finally:
        await producer.stop()


def test_a_device_at_every_limit_does_not_stop_its_partition(
    clickhouse: EmbeddedClickHouse, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with (
        running_stack("kafka", clickhouse, tmp_path, partitions="2", idle_timeout="2s") as stack,
        logs_if_failed(request, stack),
    ):
        bodies = [(MEASURE.topic, None, measure(n)) for n in range(3)]
        visits = [(topics.SDK_EVENTS, f"{APP}/native".encode(), native(n)) for n in range(40)]
        assert max(len(value) for _, _, value in bodies) < 8_000_000
        # All of it is there before the workers are: as large a chunk as there may be.
        asyncio.run(send(stack, [*bodies, *visits]))
        stack.start_workers("router", "sessionizer", "sink")
        stack.wait_idle()
        assert stack.value("SELECT count() FROM events WHERE device_id = 'native'") == 80
        assert stack.value("SELECT count() FROM sessions WHERE device_id = 'native'") == 40
        assert stack.value("SELECT count() FROM events WHERE device_id = 'measure'") == 360
        assert stack.value("SELECT count() FROM sessions WHERE device_id = 'measure'") == 180
        assert stack.value("SELECT count() FROM dead_letters") == 0
        assert_sessions_are_the_fold(stack)

        # Where an operator lets the changelog take less than a device may need, that device alone stands still.
        asyncio.run(limit_the_changelog(stack, 300_000))
        beside = {"v": 1, "app_id": APP, "device_id": "light", "events": [event_of("light", "foreground", 1)]}
        light = (topics.SDK_EVENTS, f"{APP}/light".encode(), json.dumps(beside).encode())
        asyncio.run(send(stack, [(topics.SDK_EVENTS, f"{APP}/native".encode(), native(41)), light]))
        stack.wait_idle()
        assert stack.query("SELECT device_id, partition FROM devices_set_aside") == [
            {"device_id": "native", "partition": stack.value(PARTITION_SQL)}
        ]
        assert stack.value("SELECT count() FROM events WHERE device_id = 'native'") == 82
        assert stack.value("SELECT count() FROM sessions WHERE device_id = 'native'") == 40
        assert stack.value("SELECT countIf(is_set_aside) > 0 FROM sessions WHERE device_id = 'native'")
        assert stack.value("SELECT countIf(is_set_aside) FROM sessions WHERE device_id != 'native'") == 0
        assert stack.value("SELECT count() FROM sessions WHERE device_id = 'light'") == 1
        assert "devices set aside" in stack.run("status")

        asyncio.run(limit_the_changelog(stack, topics.MAX_MESSAGE_BYTES))
        stack.stop_worker("sessionizer-1")
        stack.run("rebuild", "--states")
        stack.start_workers("sessionizer")
        asyncio.run(send(stack, [(topics.SDK_EVENTS, f"{APP}/native".encode(), native(42))]))
        stack.wait_idle()
        assert stack.value("SELECT count() FROM sessions WHERE device_id = 'native'") == 42
        assert "devices set aside" not in stack.run("status")
        assert_sessions_are_the_fold(stack)
