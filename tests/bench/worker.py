"""The sessionizer as its users run it: from a topic of one partition to `sessions`, changelog and all."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from faust.types import TP

from pipeline import topics
from pipeline.adapters import kafka_topics
from pipeline.adapters.embedded.child import Child
from pipeline.adapters.kafka_connection import KafkaConnection
from pipeline.adapters.roles import group_of
from pipeline.state.partition import SourceRecord
from tests.bench.corpus import records
from tests.bench.peers.topic import Record, load
from tests.bench.processes import cpu_s, peak_rss_mb
from tests.services import start_broker
from tests.stack import command_line
from tests.stack import environment as environment_of

_POLL_S = 0.2
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 30.0
_TIMEOUT_S = 600.0


def sessionizer(kind: str, events: int, *, envelope: int, devices: int) -> dict[str, float]:
    """CPU seconds of worker and broker, and wall seconds, from when the worker reads to when all is committed.

    `kind` is the broker's: `kafka` or `embedded`. Raises RuntimeError if the worker ends or gets stuck.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        broker = start_broker(kind, Path(folder) / "broker")
        try:
            connection = KafkaConnection(broker.bootstrap)
            environment = environment_of(
                {"PIPELINE_KAFKA_BOOTSTRAP": broker.bootstrap, "PIPELINE_PARTITIONS": "1"}
            )
            corpus = records(events, envelope=envelope, devices=devices)
            worker = _worker(Path(folder), environment)
            worker.stop(timeout_s=_STOP_TIMEOUT_S)  # it has made the topics
            asyncio.run(load(broker.bootstrap, topics.SDK_EVENTS, _pairs(corpus)))
            worker = _worker(Path(folder), environment)
            try:
                pid = worker.pid
                assert pid is not None, "it was started"
                before_s, broker_before_s, started_s = cpu_s(pid), _cpu_of_others(pid), time.monotonic()
                while _committed(connection) < len(corpus):
                    if not worker.is_running or time.monotonic() - started_s > _TIMEOUT_S:
                        raise RuntimeError(f"not done; the worker's log ends with:\n{worker.log_tail()}")
                    time.sleep(_POLL_S)
                return {
                    "cpu_s": cpu_s(pid) - before_s,
                    "broker_cpu_s": _cpu_of_others(pid) - broker_before_s,
                    "wall_s": time.monotonic() - started_s,
                    "rss_mb": peak_rss_mb(pid),
                }
            finally:
                worker.stop(timeout_s=_STOP_TIMEOUT_S)
        finally:
            broker.stop()


def _worker(folder: Path, environment: dict[str, str]) -> Child:
    """A worker that reads its partition."""
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    worker = Child(
        "sessionizer",
        command_line("worker", "--role", "sessionizer", "--ready-file", str(ready)),
        log_file=folder / "worker.log",
        cwd=folder,
        with_variables=environment,
    )
    worker.start(ready.exists, timeout_s=_START_TIMEOUT_S)
    return worker


def _pairs(corpus: list[SourceRecord]) -> Iterator[Record]:
    for record in corpus:
        assert record.key is not None and record.value is not None
        yield Record(record.key, record.value)


def _cpu_of_others(worker: int) -> float:
    """CPU seconds of the other children of this process: the broker's."""
    return cpu_s(os.getpid()) - time.process_time() - cpu_s(worker)


def _committed(connection: KafkaConnection) -> int:
    tp = TP(topics.SDK_EVENTS, 0)
    found = asyncio.run(
        kafka_topics.committed_offsets(connection, group_of("sessionizer"), [topics.SDK_EVENTS])
    )
    return found.get(tp) or 0
