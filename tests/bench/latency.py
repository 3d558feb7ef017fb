"""From the last event of a session to its row, while the pipeline is under a steady load.

The load is what the other measurements read, sent at a rate; now and then a probe is among it: a device with one event
and the end of its session. Its row's way is timed from the moment the broker has the probe to when ClickHouse shows it.
"""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import orjson
from aiokafka import AIOKafkaProducer

from pipeline import topics
from pipeline.clickhouse.store import Store
from pipeline.kafka import record_batches
from tests.bench.rig import Figures, Meter, Record, Rig, rig
from tests.bench.workers import Options, corpus

_EVERY_S = 0.05
_PROBES_A_S = 4
_ASK_EVERY_S = 0.05
_GRACE_S = 60.0
_PROBE_APP = "org.example.probe"
_SQL = f"SELECT device_id FROM session_rows WHERE app_id = '{_PROBE_APP}' AND status = 'closed'"


def under_load(events: int, options: Options, broker: str, rounds: int) -> list[Figures]:
    """Milliseconds, p50 and p99; `options["rate"]` is events a second, `options["seconds"]` how long."""
    rate, seconds = options["rate"], options["seconds"]
    loaded = corpus(min(events, int(rate * seconds)), options)
    found = []
    for _ in range(rounds):
        with rig(broker, clickhouse=True) as running:
            worker = running.start("all")
            meter = Meter(running, [worker])
            took_ms = sorted(asyncio.run(_probe(running, loaded, rate / int(options["envelope"]), seconds)))
            figures = meter.figures()
            found.append(
                {
                    "cpu_s": figures["cpu_s"],
                    "wall_s": figures["wall_s"],
                    "p50_ms": took_ms[len(took_ms) // 2],
                    "p99_ms": took_ms[min(len(took_ms) - 1, len(took_ms) * 99 // 100)],
                    "max_ms": took_ms[-1],
                    "probes": len(took_ms),
                }
            )
            running.stop(worker)
    return found


async def _probe(running: Rig, loaded: list[Record], records_a_s: float, seconds: float) -> list[float]:
    """Milliseconds of each probe. Raises AssertionError if one does not arrive."""
    producer = AIOKafkaProducer(
        bootstrap_servers=running.broker.bootstrap, acks="all", max_batch_size=500_000
    )
    await producer.start()
    store = running.store()
    sent_s: dict[str, float] = {}
    shown_s: dict[str, float] = {}
    watching = asyncio.create_task(_watch(store, shown_s))
    started_s, sent, probes = time.monotonic(), 0, 0
    try:
        while (passed_s := time.monotonic() - started_s) < seconds:
            due = min(int(passed_s * records_a_s), len(loaded))
            items = loaded[sent:due]
            sent = due
            if passed_s * _PROBES_A_S > probes:
                probes += 1
                device_id = str(uuid4())
                items.append(_probe_record(device_id))
                await record_batches.send(producer, topics.SDK_EVENTS, 0, items, _now_ms())
                sent_s[device_id] = time.monotonic()
            elif items:
                await record_batches.send(producer, topics.SDK_EVENTS, 0, items, _now_ms())
            await asyncio.sleep(_EVERY_S)
        for _ in range(int(_GRACE_S / _ASK_EVERY_S)):
            if len(shown_s) == len(sent_s):
                break
            await asyncio.sleep(_ASK_EVERY_S)
    finally:
        watching.cancel()
        await producer.stop()
        store.close()
    missing = sent_s.keys() - shown_s.keys()
    assert not missing, (
        f"{len(missing)} of {len(sent_s)} sessions were not shown within {_GRACE_S:.0f} s of the last"
    )
    return [(shown_s[device_id] - at_s) * 1_000 for device_id, at_s in sent_s.items()]


async def _watch(store: Store, shown_s: dict[str, float]) -> None:
    while True:
        found = await asyncio.to_thread(store.query, _SQL)
        now_s = time.monotonic()
        for line in found.splitlines():
            shown_s.setdefault(orjson.loads(line)["device_id"], now_s)
        await asyncio.sleep(_ASK_EVERY_S)


def _probe_record(device_id: str) -> Record:
    now_ms = _now_ms()
    events = [
        {"id": str(uuid4()), "name": "app.screen.view", "time": now_ms - 1_000},
        {"id": str(uuid4()), "name": "session.end", "time": now_ms},
    ]
    envelope = {"v": 1, "app_id": _PROBE_APP, "device_id": device_id, "sent_at": now_ms, "events": events}
    return f"{_PROBE_APP}/{device_id}".encode(), orjson.dumps(envelope)


def _now_ms() -> int:
    return int(time.time() * 1_000)
