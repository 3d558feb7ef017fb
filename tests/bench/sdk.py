"""`python -m tests.bench.sdk`: what `pipeline.sdk` costs its caller, and how much it brings to a broker.

Microseconds a call: CPU of the calling thread, and wall clock, which has in it what the producer's own thread takes
from it by the interpreter's lock. First against nothing (records are encoded and dropped), then the embedded broker.
Promised are at most 10 µs of the caller's CPU: it exits with 1 if that is not so. Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.kafka.produce import RecordToSend
from pipeline.sdk import Device, Producer, User, WhenFull, events
from tests.support.services import Broker, start_broker

PROMISED_US = 10.0


class Nothing:
    """A Kafka that takes all at once."""

    async def deliver(self, record: RecordToSend) -> None:
        return None

    async def stop(self) -> None:
        return None


def devices(count: int) -> list[Device]:
    resource = {
        "service.version": "7.7.4",
        "os.name": "iOS",
        "os.version": "18.3.1",
        "device.manufacturer": "Apple",
    }
    return [
        Device("org.example.app", f"device-{n}", resource=resource, user=User(f"u{n}")) for n in range(count)
    ]


def pushed(producer: Producer, count: int, fleet: list[Device]) -> dict[str, float]:
    """Taps as fast as one thread makes them, from helper to queue."""
    some = len(fleet)
    cpu_s, wall_s = time.thread_time(), time.perf_counter()
    for number in range(count):
        producer.send(fleet[number % some], events.tap("buy", "Buy now"))
    cpu_s, called_s = time.thread_time() - cpu_s, time.perf_counter() - wall_s
    producer.flush(120)
    wall_s = time.perf_counter() - wall_s
    assert producer.counts.failed == 0
    return {
        "cpu_us": 1e6 * cpu_s / count,
        "wall_us": 1e6 * called_s / count,
        "events_per_s": count / wall_s,
    }


def paced(producer: Producer, count: int, fleet: list[Device], per_s: float) -> dict[str, float]:
    """One call at a time at a rate that leaves time between them: what a service pays."""
    took_us = []
    for number in range(count):
        device, begun = fleet[number % len(fleet)], time.perf_counter()
        producer.send(device, events.tap("buy", "Buy now"))
        took_us.append(1e6 * (time.perf_counter() - begun))
        time.sleep(1 / per_s)
    producer.flush(120)
    return {"median_us": statistics.median(took_us), "p99_us": statistics.quantiles(took_us, n=100)[98]}


def measure(count: int, broker: Broker) -> dict[str, Any]:
    fleet, result = devices(200), dict[str, Any]()
    choices: dict[str, Any] = {"when_full": WhenFull.BLOCK, "block_s": 60, "queue_events": 200_000}
    for name, bootstrap in (("nothing", ""), ("embedded", broker.bootstrap)):
        producer = Producer(bootstrap or "nowhere:1", **choices)
        if not bootstrap:
            producer._make_deliverer = Nothing
        pushed(producer, count // 10, fleet)
        runs = [pushed(producer, count, fleet) for _ in range(3)]
        result[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        result[name] |= paced(producer, 1_000, fleet, 1_000)
        producer.close()
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sdk", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="a run; there are three of each kind")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broker = start_broker("embedded", Path(folder))
        try:
            result = measure(given.events, broker)
        finally:
            broker.stop()
    for name, numbers in result.items():
        print(f"{name:9}", "  ".join(f"{key} {value:,.1f}" for key, value in numbers.items()))
    print(json.dumps(result))
    return int(any(numbers["cpu_us"] > PROMISED_US for numbers in result.values()))


if __name__ == "__main__":
    raise SystemExit(main())
