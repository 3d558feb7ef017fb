"""Whether `receive` is ready, and what Kafka has of what it took."""

from __future__ import annotations

from http.client import HTTPConnection

import orjson
from aiokafka import AIOKafkaConsumer

from pipeline.embedded.child import LOOPBACK


def is_ready(port: int) -> bool:
    return readiness(port) == 200


def readiness(port: int) -> int:
    """The status of `/readyz`; 0 if nobody listens."""
    connection = HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


async def kept(bootstrap: str) -> list[str]:
    """The ids of all events on `native-events`."""
    async with AIOKafkaConsumer(
        "native-events", bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        ids = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                ids += [event["id"] for record in records for event in orjson.loads(record.value)["events"]]
        return ids
