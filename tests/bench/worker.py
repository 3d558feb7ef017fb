"""The sessionizer as its users run it: from a topic of one partition to `sessions`, changelog and all."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer
from faust.types import TP

from pipeline import topics
from pipeline.adapters import kafka_topics, record_batches
from pipeline.adapters.kafka_connection import KafkaConnection
from pipeline.adapters.roles import group_of
from pipeline.state.partition import SourceRecord
from tests.bench import processes
from tests.bench.corpus import records
from tests.services import start_broker

_POLL_S = 0.2
_TIMEOUT_S = 600.0
_LOAD = 5_000


def sessionizer(kind: str, events: int, *, envelope: int, devices: int) -> dict[str, float]:
    """CPU seconds of worker and broker, and wall seconds, from when the worker reads to when all is committed.

    `kind` is the broker's: `kafka` or `embedded`. Raises RuntimeError if the worker ends or gets stuck.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        broker = start_broker(kind, Path(folder) / "broker")
        try:
            connection = KafkaConnection(broker.bootstrap)
            environment = {
                **os.environ,
                "PIPELINE_KAFKA_BOOTSTRAP": broker.bootstrap,
                "PIPELINE_PARTITIONS": "1",
            }
            corpus = records(events, envelope=envelope, devices=devices)
            worker = _Worker(Path(folder), environment)
            worker.start()  # which makes the topics
            worker.stop()
            asyncio.run(_load(connection, corpus))
            worker.start()
            try:
                before, broker_before_s, started_s = worker.cpu_s(), _cpu_of_brokers(), time.monotonic()
                while _committed(connection) < len(corpus):
                    if worker.ended() or time.monotonic() - started_s > _TIMEOUT_S:
                        raise RuntimeError(f"not done; the worker's log:\n{worker.log()[-2_000:]}")
                    time.sleep(_POLL_S)
                return {
                    "cpu_s": worker.cpu_s() - before,
                    "broker_cpu_s": _cpu_of_brokers() - broker_before_s,
                    "wall_s": time.monotonic() - started_s,
                    "rss_mb": processes.peak_rss_mb(worker.pid),
                }
            finally:
                worker.stop()
        finally:
            broker.stop()


class _Worker:
    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = folder / "ready"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns once it reads its partition."""
        self._ready.unlink(missing_ok=True)
        with (self._folder / "worker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "worker", "--role", "sessionizer",
                 "--ready-file", str(self._ready)],
                env=self._environment, stdout=log, stderr=log,
            )  # fmt: skip
        started_s = time.monotonic()
        while not self._ready.exists():
            if self.ended() or time.monotonic() - started_s > 90:
                raise RuntimeError(f"the worker did not start:\n{self.log()[-2_000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    def ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    def cpu_s(self) -> float:
        return processes.cpu_s(self.pid)

    def log(self) -> str:
        return (self._folder / "worker.log").read_text()


def _cpu_of_brokers() -> float:
    """CPU seconds of the other children of this process: the broker's."""
    return processes.cpu_s(os.getpid()) - time.process_time()


def _committed(connection: KafkaConnection) -> int:
    tp = TP(topics.SDK_EVENTS, 0)
    found = asyncio.run(
        kafka_topics.committed_offsets(connection, group_of("sessionizer"), [topics.SDK_EVENTS])
    )
    return found.get(tp) or 0


async def _load(connection: KafkaConnection, corpus: list[SourceRecord]) -> None:
    producer = AIOKafkaProducer(**connection.client_options(), max_batch_size=500_000)
    await producer.start()
    try:
        for at in range(0, len(corpus), _LOAD):
            pairs = [(record.key, record.value) for record in corpus[at : at + _LOAD]]
            now_ms = int(time.time() * 1_000)
            await record_batches.send(producer, topics.SDK_EVENTS, 0, pairs, now_ms)
    finally:
        await producer.stop()
