"""Topics, and workers that count keys, as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from pipeline.kafka import admin, record_batches
from pipeline.kafka.admin import ensure_topics
from pipeline.kafka.changelog import read_changelog
from pipeline.kafka.connection import KafkaConnection
from tests.integration.counter_worker import MARKER, decode, newer
from tests.support.forked import Forked
from tests.support.services import Broker

PARTITIONS = 2
WAIT_S = 60.0
REPOSITORY = Path(__file__).parents[2]
Event = dict[str, Any]


class Worker:
    """A counter worker as a process, and what it has said so far."""

    def __init__(self, options: dict[str, Any], errors: Path) -> None:
        self.said: list[Event] = []
        self._errors = errors
        self._news = threading.Condition()
        with errors.open("w") as stderr:
            self.process = Forked(
                [json.dumps(options)], module="tests.integration.counter_worker", env=os.environ,
                cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=stderr, text=True,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._news:
                self.said.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, condition: Callable[[Event], bool], *, after: int = 0) -> int:
        """Waits for an event; returns how many had been said with it. Fails with the log if the process ends."""
        seen = after
        with self._news:
            while True:
                while seen < len(self.said):
                    seen += 1
                    if condition(self.said[seen - 1]):
                        return seen
                alive = self.process.poll() is None or self._reader.is_alive()
                if not alive or not self._news.wait(WAIT_S):
                    pytest.fail(f"the worker never got there; its log:\n{self.errors()[-4000:]}")

    def wait_caught_up(self, partitions: Collection[TP], *, after: int = 0) -> int:
        wanted = sorted([tp.topic, tp.partition] for tp in partitions)
        return self.wait_for(
            lambda event: event["what"] == "state" and sorted(event["caught_up"]) == wanted, after=after
        )

    def wait_active(self, condition: Callable[[set[int]], bool], *, after: int = 0) -> set[int]:
        """Waits until the partitions that it reads are as wished, and gives them."""
        seen = self.wait_for(
            lambda event: event["what"] == "state" and condition(active_in(event)), after=after
        )
        return active_in(self.said[seen - 1])

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Waits until the process has ended and all it said is read; its exit code."""
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.ended()

    def chunks(self, tp: TP) -> list[tuple[int, int]]:
        """First and last offsets of the chunks of a partition that its handler got."""
        return [
            (event["first"], event["last"])
            for event in list(self.said)
            if event["what"] == "chunk" and (event["topic"], event["partition"]) == tp
        ]

    def errors(self) -> str:
        return self._errors.read_text()


def active_in(event: Event) -> set[int]:
    return {partition for partitions in event["active"].values() for partition in partitions}


class Stage:
    """Topics, workers and the truth of one test. All names are its own."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.connection = KafkaConnection(broker.bootstrap)
        self.group = f"group-{uuid4().hex[:8]}"
        self.source = f"source-{self.group}"
        self.changelog = f"{self.group}-counts-changelog"
        self.sources = [TP(self.source, partition) for partition in range(PARTITIONS)]
        self.sent: dict[int, Counter[bytes]] = {partition: Counter() for partition in range(PARTITIONS)}
        self.workers: list[Worker] = []
        asyncio.run(
            ensure_topics(
                self.connection,
                {
                    self.source: (PARTITIONS, {}),
                    self.changelog: (PARTITIONS, {"cleanup.policy": "compact"}),
                },
            )
        )

    def worker(self, **options: Any) -> Worker:
        base = {
            "group": self.group,
            "bootstrap": self.broker.bootstrap,
            "partitions": PARTITIONS,
            "topics": [self.source],
            "folder": str(self.folder),
            # Short: a killed worker is missed soon, and the embedded broker takes half of it for a join.
            "session_timeout_s": 2.0,
        }
        worker = Worker(base | options, self.folder / f"worker-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker

    def send(self, count: int) -> None:
        """Sends `count` records more to each source partition."""
        items: dict[int, list[tuple[bytes, bytes]]] = {}
        for partition in range(PARTITIONS):
            start = self.sent[partition].total()
            keys = [b"p%d-key%d" % (partition, i % 7) for i in range(start, start + count)]
            self.sent[partition].update(keys)
            items[partition] = [(key, b"value") for key in keys]
        asyncio.run(self.write({TP(self.source, partition): each for partition, each in items.items()}))

    async def write(self, items: dict[TP, list[tuple[bytes, bytes | None]]] | Any, **options: Any) -> None:
        producer = AIOKafkaProducer(**self.connection.client_options(), **options)
        await producer.start()
        try:
            for tp, records in items.items():
                for i in range(0, len(records), 50):
                    await record_batches.send(
                        producer, tp.topic, tp.partition, records[i : i + 50], 1_700_000_000_000
                    )
        finally:
            await producer.stop()

    def wait_done(
        self, worker: Worker, partitions: Collection[int] = range(PARTITIONS), *, after: int = 0
    ) -> None:
        """Waits until a worker, which then reads just these partitions, has done all that was sent to them."""
        ends = {partition: self.sent[partition].total() for partition in partitions}
        seen = [
            worker.wait_for(
                lambda event, p=partition, end=end: (
                    event["what"] == "chunk"  # type: ignore[misc]
                    and (event["topic"], event["partition"], event["last"]) == (self.source, p, end - 1)
                ),
                after=after,
            )
            for partition, end in ends.items()
        ]
        worker.wait_caught_up([TP(self.source, partition) for partition in partitions], after=max(seen))

    def committed(self) -> list[int | None]:
        found = asyncio.run(admin.committed_offsets(self.connection, self.group, [self.source]))
        return [found[tp] for tp in self.sources]

    def counted(self) -> dict[int, Counter[bytes]]:
        """The counts that the changelog holds, as recovery reads them."""

        async def read() -> dict[int, Counter[bytes]]:
            found = read_changelog(self.connection, self.changelog, range(PARTITIONS), newer)
            return {
                partition: Counter({key: decode(value)[1] for key, value in items.items() if key != MARKER})
                async for partition, items in found
            }

        return asyncio.run(read())


def scenes(broker: Broker, folder: Path) -> Iterator[Stage]:
    stage = Stage(broker, folder)
    yield stage
    for worker in stage.workers:
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGCONT)
            worker.kill()
