"""A broker, if wanted a ClickHouse, and workers as their users run them: loaded, driven and measured from outside."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import DefaultPartitioner

from pipeline import topics
from pipeline.clickhouse.store import Store
from pipeline.embedded.child import Child
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import measure
from pipeline.kafka import admin, record_batches
from pipeline.kafka.connection import KafkaConnection
from pipeline.roles import topology
from pipeline.roles.topology import group_of
from tests.bench.processes import cpu_s, peak_rss_mb, rss_mb
from tests.support.services import Broker, start_broker
from tests.support.stack import command_line, environment

Figures = dict[str, float]
Record = tuple[bytes, bytes]
"""Key and value."""

POLL_S = 0.1
_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 30.0
_STALL_S = 120.0
_BATCH_BYTES = 500_000
_READS = {"router": measure.FORMAT.topic, "sessionizer": topics.SDK_EVENTS, "sink": topics.SDK_EVENTS}
"""The topic whose end says that a role is done."""


class Stuck(RuntimeError):
    """A worker ended or makes no progress; the message has the end of its log."""


class Rig:
    """Made by `rig`. All methods block."""

    def __init__(
        self,
        broker: Broker,
        clickhouse: EmbeddedClickHouse | None,
        folder: Path,
        partitions: int,
        settings: Mapping[str, str],
    ) -> None:
        self.folder, self.broker, self.clickhouse, self.partitions = folder, broker, clickhouse, partitions
        self.connection = KafkaConnection(broker.bootstrap)
        settings = {
            "PIPELINE_KAFKA_SESSION_TIMEOUT": "6s",
            **settings,
            "PIPELINE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "PIPELINE_PARTITIONS": str(partitions),
        }
        if clickhouse is not None:
            settings["PIPELINE_CLICKHOUSE_URL"] = f"{clickhouse.url}/bench"
        self._environment = environment(settings)
        self._started: list[Child] = []
        self._logs: dict[Child, Path] = {}
        self._prepare()

    def _prepare(self) -> None:
        if self.clickhouse is not None:
            subprocess.run(
                command_line("migrate"),
                env=self._environment,
                cwd=self.folder,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        plan = topology.plan(self.partitions, 7 * 24 * 3_600_000)
        asyncio.run(admin.ensure_topics(self.connection, plan, replication_factor=1))

    def store(self) -> Store:
        """The database of the workers."""
        return Store(self._environment["PIPELINE_CLICKHOUSE_URL"])

    def load(self, topic: str, records: Iterable[Record]) -> None:
        """Put records into a topic, by key as every producer would; returns when the broker has them."""
        asyncio.run(self._load(topic, records))

    async def _load(self, topic: str, records: Iterable[Record]) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.broker.bootstrap,
            acks="all",
            max_batch_size=_BATCH_BYTES,
            max_request_size=1_100_000,
        )
        await producer.start()
        numbers, partition_of = list(range(self.partitions)), DefaultPartitioner()
        parts: list[list[Record]] = [[] for _ in numbers]
        try:
            for key, value in records:
                parts[partition_of(key, numbers, numbers) if self.partitions > 1 else 0].append((key, value))
            for number, part in enumerate(parts):
                await record_batches.send(producer, topic, number, part, int(time.time() * 1_000))
        finally:
            await producer.stop()

    def start(self, role: str, *, ready: bool = True, settings: Mapping[str, str] | None = None) -> Child:
        """A worker, with settings of its own; with `ready`, one that reads its partitions by now."""
        number = len(self._started)
        flag = self.folder / f"ready-{number}"
        child = Child(
            f"{role}-{number}",
            command_line("worker", "--role", role, "--ready-file", str(flag)),
            log_file=self.folder / f"{role}-{number}.log",
            cwd=self.folder,
            with_variables={**self._environment, **(settings or {})},
        )
        self._started.append(child)
        self._logs[child] = self.folder / f"{role}-{number}.log"
        child.start(flag.exists if ready else lambda: True, timeout_s=_START_TIMEOUT_S)
        return child

    def log(self, child: Child) -> str:
        """All that a worker has logged."""
        return self._logs[child].read_text()

    def stop(self, child: Child) -> None:
        """SIGTERM."""
        child.stop(timeout_s=_STOP_TIMEOUT_S)

    def close(self) -> None:
        """Ends all workers that still run."""
        for child in self._started:
            child.kill()

    def done(self, role: str) -> int:
        """How many records of its topic a role has committed."""
        topic = _READS[role]
        found = asyncio.run(admin.committed_offsets(self.connection, group_of(role), [topic]))
        return sum(offset or 0 for tp, offset in found.items() if tp.topic == topic)

    def progress(self) -> int:
        """How far the sessionizers are."""
        return self.done("sessionizer")

    def members(self, role: str) -> int:
        """How many workers of a role have a partition."""
        return asyncio.run(_members(self.connection, group_of(role)))

    def wait(
        self, workers: Sequence[Child], enough: Callable[[], bool], progress: Callable[[], object]
    ) -> None:
        """Until enough is done. Raises `Stuck` if a worker ends, or nothing moves for long."""
        seen, moved_s = progress(), time.monotonic()
        while not enough():
            time.sleep(POLL_S)
            now = progress()
            if now != seen:
                seen, moved_s = now, time.monotonic()
            for worker in workers:
                if not worker.is_running or time.monotonic() - moved_s > _STALL_S:
                    raise Stuck(f"done so far: {seen}; the log ends with\n{worker.log_tail()}")

    def drive(self, role: str, records: int) -> Figures:
        """Run one worker of a role over all that is loaded: CPU and wall seconds from when it reads to when all is
        committed. `records` is how many there are."""
        worker = self.start(role)
        meter = Meter(self, [worker])
        try:
            self.wait([worker], lambda: self.done(role) >= records, lambda: self.done(role))
            return meter.figures()
        finally:
            self.stop(worker)


class Meter:
    """CPU and wall seconds since it was made; CPU of workers, broker and ClickHouse apart."""

    def __init__(self, rig: Rig, workers: Sequence[Child]) -> None:
        self._rig = rig
        self._pids = [worker.pid for worker in workers if worker.pid is not None]
        self._before = self._read()

    def _read(self) -> tuple[float, float, float, float]:
        clickhouse = self._rig.clickhouse
        return (
            sum(map(cpu_s, self._pids)),
            cpu_s(self._rig.broker.pid or 0),
            cpu_s(clickhouse.pid or 0) if clickhouse else 0.0,
            time.monotonic(),
        )

    def figures(self) -> Figures:
        """What was used so far."""
        spent = [now - before for now, before in zip(self._read(), self._before, strict=True)]
        figures = {"cpu_s": spent[0], "broker_cpu_s": spent[1], "wall_s": spent[3]}
        if self._rig.clickhouse:
            figures["clickhouse_cpu_s"] = spent[2]
        figures["rss_mb"] = sum(map(peak_rss_mb, self._pids))
        figures["rss_now_mb"] = sum(map(rss_mb, self._pids))
        return figures


async def _members(connection: KafkaConnection, group: str) -> int:
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([group])
        (described,) = answer.groups
        state, members = described[2], described[5]
        return len(members) if state == "Stable" else 0
    finally:
        await admin.close()


@contextmanager
def rig(
    broker: str, *, clickhouse: bool = False, partitions: int = 1, settings: Mapping[str, str] | None = None
) -> Iterator[Rig]:
    """A fresh broker (`kafka` or `embedded`) with the topics, and a fresh ClickHouse with the tables.

    `settings` are further `PIPELINE_*` variables.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        running = start_broker(broker, folder / "broker")
        database = None
        try:
            if clickhouse:
                database = EmbeddedClickHouse(folder=folder / "clickhouse")
                database.start()
            made = Rig(running, database, folder, partitions, settings or {})
            try:
                yield made
            finally:
                made.close()
        finally:
            if database is not None:
                database.stop()
            running.stop()
