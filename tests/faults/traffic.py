"""A fleet that is awake: `python -m tests.faults.traffic HOST:PORT RATE` sends what happens now until it is ended.

Unlike that of `simulate`, whose events are spread over hours, it is as late as the pipeline is.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from random import Random

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline import topics

_APP = "org.example.awake"
_DEVICES = 60
_EVENTS_A_RECORD = 5
_NAMES = ("app.screen.view", "app.widget.click", "http.client.request")


def envelope(random: Random, number: int, now_ms: int) -> tuple[bytes, bytes]:
    """Key and value of what a device has done in the last second."""
    device = f"phone-{random.randrange(_DEVICES)}"
    events = [
        {
            "id": f"{now_ms}-{number}-{place}",
            "name": random.choice(_NAMES),
            "time": now_ms - (_EVENTS_A_RECORD - place) * 150,
            "attributes": {"app.screen.name": random.choice(("Home", "Search", "Basket"))},
        }
        for place in range(_EVENTS_A_RECORD)
    ]
    body = {"v": 1, "app_id": _APP, "device_id": device, "sent_at": now_ms, "events": events}
    return f"{_APP}/{device}".encode(), orjson.dumps(body)


async def send(bootstrap: str, events_a_second: float) -> None:
    """For ever."""
    random, number = Random(1), 0
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    while True:
        number += 1
        key, value = envelope(random, number, int(time.time() * 1_000))
        # While Kafka is away it keeps what fits, and leaves out the rest.
        with contextlib.suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(producer.send(topics.SDK_EVENTS, value, key=key), 1)
        await asyncio.sleep(_EVENTS_A_RECORD / events_a_second)


if __name__ == "__main__":
    asyncio.run(send(sys.argv[1], float(sys.argv[2])))
