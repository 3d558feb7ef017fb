"""The floor: what the parts cost that nobody can leave out. Reading a topic, and putting rows into ClickHouse."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from types import SimpleNamespace

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline import topics
from pipeline.formats import native
from pipeline.formats.rejected import Rejected
from pipeline.roles.sink.batch import Source
from pipeline.storage.rows import event_line
from tests.bench.processes import cpu_s
from tests.bench.rig import Figures, Record, rig
from tests.bench.workers import Options, corpus

_BLOCK_ROWS = 50_000


def consume(events: int, options: Options, broker: str, rounds: int) -> list[Figures]:
    """Raw aiokafka over the topic: records fetched and counted, in a process of its own."""
    loaded = corpus(events, options)
    with rig(broker) as running:
        running.load(topics.SDK_EVENTS, loaded)
        return [_consumed(running.broker.bootstrap, len(loaded)) for _ in range(rounds)]


def insert(events: int, options: Options, broker: str, rounds: int) -> list[Figures]:
    """Event rows made before, put into ClickHouse in blocks; CPU of the client and of ClickHouse apart."""
    blocks = _blocks(corpus(events, options))
    found = []
    for number in range(rounds):
        with rig(broker, clickhouse=True) as running:
            assert running.clickhouse is not None
            pid = running.clickhouse.pid or 0
            store = running.store()
            before_s, started_s, wall_s = cpu_s(pid), time.process_time(), time.monotonic()
            for block_number, block in enumerate(blocks):
                store.insert("z_envelope_feed", block, token=f"{number}-{block_number}")
            found.append(
                {
                    "cpu_s": time.process_time() - started_s,
                    "wall_s": time.monotonic() - wall_s,
                    "clickhouse_cpu_s": cpu_s(pid) - before_s,
                }
            )
            store.close()
    return found


def _blocks(loaded: list[Record]) -> list[bytes]:
    source = Source(topics.SDK_EVENTS, 0)
    blocks, rows, count = [], [], 0
    for offset, (key, value) in enumerate(loaded):
        decoded = native.decode(value, key, int(time.time() * 1_000))
        assert not isinstance(decoded, Rejected), decoded
        rows.append(event_line(decoded, topic=source.topic, partition=source.partition, offset=offset))
        count += len(decoded.events)
        if count >= _BLOCK_ROWS:
            blocks.append(b"\n".join(rows))
            rows, count = [], 0
    return [*blocks, b"\n".join(rows)] if rows else blocks


def _consumed(bootstrap: str, count: int) -> Figures:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.floor", bootstrap, str(count)], check=True, stdout=subprocess.PIPE
    )
    figures: Figures = json.loads(done.stdout)
    return figures


async def _consume(bootstrap: str, count: int) -> Figures:
    partition = TopicPartition(topics.SDK_EVENTS, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    consumer.assign([partition])
    await consumer.start()
    measured = SimpleNamespace(cpu_s=time.process_time(), wall_s=time.monotonic())
    seen = 0
    while seen < count:
        for records in (await consumer.getmany(timeout_ms=1_000)).values():
            seen += len(records)
    figures = {"cpu_s": time.process_time() - measured.cpu_s, "wall_s": time.monotonic() - measured.wall_s}
    await consumer.stop()
    return figures


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_consume(sys.argv[1], int(sys.argv[2])))))
