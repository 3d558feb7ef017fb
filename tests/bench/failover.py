"""`python -m tests.bench.failover`: for how long partitions stand when a sessionizer goes, dies, or another one comes.

Two sessionizers (one, before a second one comes) have a session of every device open while a few events a second come
for every partition. What counts is what comes out: of each partition the longest time between two records of
`sessions`. One JSON object a line for every round, and at last one for every situation with median and spread,
which is (max - min) / median.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from pipeline import topics
from pipeline.embedded.child import Child
from pipeline.settings import Settings
from tests.bench.corpus import another_event, one_each
from tests.bench.report import provenance, revision
from tests.bench.rig import Record, Rig, Stuck, rig

_BEAT_S = 0.1
"""So often an event comes for each partition."""
_SETTLE_S = 3.0
_WATCH_S = 600.0
"""The longest time to wait for every partition to go on."""
_QUIET_S = 6.0
"""Every partition has gone on, and no other stop begins, once all have moved for so long."""


class Stream:
    """Events for every partition, again and again, and when something came of them. Used within `flowing`."""

    def __init__(self, running: Rig, loaded: Sequence[Record]) -> None:
        self._rig = running
        self._rng = Random(2)
        self._seq = 1
        numbers, partition_of = list(range(running.partitions)), DefaultPartitioner()
        self._devices: list[list[Record]] = [[] for _ in numbers]
        for record in loaded:
            self._devices[partition_of(record[0], numbers, numbers)].append(record)
        self.moved_ms: dict[int, list[int]] = defaultdict(list)
        """Of each partition when records of `sessions` were written, Unix milliseconds."""
        self._stop = threading.Event()
        self.failure: BaseException | None = None

    def end(self) -> None:
        self._stop.set()

    def run(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self.failure = error
            raise

    async def _run(self) -> None:
        bootstrap = self._rig.broker.bootstrap
        async with (
            AIOKafkaProducer(bootstrap_servers=bootstrap) as producer,
            AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="latest") as consumer,
        ):
            places = [TopicPartition(topics.SESSIONS, number) for number in range(self._rig.partitions)]
            consumer.assign(places)
            await consumer.seek_to_end(*places)
            sending = asyncio.create_task(self._send(producer))
            while not self._stop.is_set():
                for tp, found in (await consumer.getmany(timeout_ms=100)).items():
                    self.moved_ms[tp.partition] += [record.timestamp for record in found]
            await sending

    async def _send(self, producer: Any) -> None:
        while not self._stop.is_set():
            self._seq += 1
            now_ms = int(time.time() * 1_000)
            for number, devices in enumerate(self._devices):
                key, value = another_event(self._rng.choice(devices), now_ms, self._seq)
                await producer.send(topics.SDK_EVENTS, value, key, partition=number, timestamp_ms=now_ms)
            await asyncio.sleep(_BEAT_S)

    def all_move_since(self, since_ms: int) -> bool:
        """Whether something came of every partition since then."""
        return all(self.moved_ms[n] and self.moved_ms[n][-1] >= since_ms for n in range(self._rig.partitions))

    def wait_until_it_flows(self, workers: Sequence[Child], since_ms: int, quiet_s: float) -> None:
        """Until every partition has moved since then, and no stop was longer than a second for a while."""
        deadline_s = time.monotonic() + _WATCH_S
        quiet_since_ms = since_ms
        while True:
            now_ms = int(time.time() * 1_000)
            if not self.all_move_since(max(since_ms, now_ms - 1_000)):
                quiet_since_ms = now_ms
            if now_ms - quiet_since_ms > quiet_s * 1_000:
                return
            ended = [worker for worker in workers if not worker.is_running]
            if ended or self.failure or time.monotonic() > deadline_s:
                raise Stuck(f"{self.failure}; {[worker.log_tail() for worker in (ended or workers)]}")
            time.sleep(0.1)

    def longest_s(self, since_ms: int) -> list[float]:
        """Of each partition the longest time without progress that ended after then, in seconds."""
        found = []
        for number in range(self._rig.partitions):
            times = sorted(self.moved_ms[number])
            gaps = [b - a for a, b in itertools.pairwise(times) if b >= since_ms]
            found.append(round(max(gaps, default=0) / 1_000, 2))
        return found


@contextmanager
def flowing(running: Rig, loaded: Sequence[Record]) -> Iterator[Stream]:
    """A stream whose events come meanwhile."""
    stream = Stream(running, loaded)
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    try:
        yield stream
    finally:
        stream.end()
        thread.join()


class Round:
    """One situation, once: what is done to the workers."""

    def __init__(self, running: Rig, stream: Stream, static: bool) -> None:
        self._rig, self._stream, self._static = running, stream, static
        self.workers: list[Child] = []

    def start(self, number: int, *, ready: bool = True) -> Child:
        """A worker that is known to Kafka by its number, if membership is static."""
        settings = {"PIPELINE_KAFKA_INSTANCE_ID": f"sessionizer-{number}"} if self._static else {}
        worker = self._rig.start("sessionizer", ready=ready, settings=settings)
        self.workers.append(worker)
        return worker

    def planned_restart(self) -> None:
        """SIGTERM, and a new one at once when it has ended."""
        first = self.workers.pop(0)
        self._rig.stop(first)
        self.start(0, ready=False)

    def killed_and_restarted(self) -> None:
        """SIGKILL, and a new one at once."""
        self.workers.pop(0).kill()
        self.start(0, ready=False)

    def killed(self) -> None:
        """SIGKILL, and nobody comes back."""
        self.workers.pop(0).kill()

    def scaled_down(self) -> None:
        """SIGTERM, and nobody comes back."""
        self._rig.stop(self.workers.pop(0))

    def scaled_up(self) -> None:
        """A second one comes."""
        self.start(1, ready=False)


SITUATIONS: dict[str, tuple[int, Callable[[Round], None]]] = {
    "planned_restart": (2, Round.planned_restart),
    "planned_restart_of_the_only_one": (1, Round.planned_restart),
    "kill_9": (2, Round.killed),
    "kill_9_and_restart": (2, Round.killed_and_restarted),
    "scale_1_to_2": (1, Round.scaled_up),
    "scale_2_to_1": (2, Round.scaled_down),
}
"""How many workers there are, and what happens then."""


def held(running: Rig, worker: Child) -> set[int]:
    """The partitions of a worker's last assignment, as its log says."""
    found: set[int] = set()
    for line in reversed(running.log(worker).splitlines()):
        said = re.search(r"reading \d+ partitions, (\d+) more to be recovered: (.*)", line)
        if not said:
            continue
        if found and said[1] == "0":
            break
        found |= {int(number) for number in re.findall(rf"{topics.SDK_EVENTS}\[(\d+)\]", said[2])}
    return found


def one_round(name: str, arguments: argparse.Namespace, loaded: Sequence[Record]) -> dict[str, Any]:
    """Measure one situation on a broker of its own."""
    workers, act = SITUATIONS[name]
    settings = {"PIPELINE_KAFKA_SESSION_TIMEOUT": arguments.session_timeout}
    with rig(arguments.broker, partitions=arguments.partitions, settings=settings) as running:
        running.load(topics.SDK_EVENTS, loaded)
        first = running.start("sessionizer")
        running.wait([first], lambda: running.done("sessionizer") >= len(loaded), running.progress)
        running.stop(first)
        with flowing(running, loaded) as stream:
            it = Round(running, stream, arguments.static)
            for number in range(workers):
                it.start(number)
            begun_ms = int(time.time() * 1_000)
            stream.wait_until_it_flows(it.workers, begun_ms, _SETTLE_S)
            kept = held(running, it.workers[-1]) if workers > 1 else set()
            since_ms = int(time.time() * 1_000)
            act(it)
            stream.wait_until_it_flows(it.workers, since_ms, _QUIET_S)
            if workers == 1 and len(it.workers) == 2:
                kept = held(running, it.workers[0])
            longest_s = stream.longest_s(since_ms)
        for worker in it.workers:
            running.stop(worker)
    others = set(range(running.partitions)) - kept
    return {
        "situation": name,
        "static": arguments.static,
        "session_timeout": arguments.session_timeout,
        "kept_s": max((longest_s[n] for n in kept), default=0.0),
        "others_s": max((longest_s[n] for n in others), default=0.0),
        "by_partition_s": longest_s,
        "kept": sorted(kept),
    }


def summary(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median and spread of rounds of one situation."""
    found = {name: rounds[0][name] for name in ("situation", "static", "session_timeout")} | {
        "rounds": len(rounds)
    }
    for name in ("kept_s", "others_s"):
        values = [each[name] for each in rounds]
        median = statistics.median(values)
        found[name] = round(median, 2)
        found[f"{name}_max"] = max(values)
        found[f"{name}_spread"] = round((max(values) - min(values)) / median, 2) if median else 0.0
    return found


def main() -> None:
    """Read the arguments, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=200_000)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--broker", choices=["kafka", "embedded"], default="kafka")
    parser.add_argument("--static", action="store_true", help="each worker has a PIPELINE_KAFKA_INSTANCE_ID")
    parser.add_argument(
        "--session-timeout",
        default=f"{Settings().kafka_session_timeout_ms}ms",
        help="as PIPELINE_KAFKA_SESSION_TIMEOUT; as long as without it by default",
    )
    parser.add_argument("--only", nargs="+", choices=SITUATIONS, default=list(SITUATIONS))
    parser.add_argument("--keep", type=Path, help="append the table to this file, too")
    arguments = parser.parse_args()
    loaded = one_each(arguments.devices, start_ms=int(time.time() * 1_000))
    summaries = []
    for name in arguments.only:
        rounds = []
        for _ in range(arguments.rounds):
            rounds.append(one_round(name, arguments, loaded))
            print(json.dumps(rounds[-1]), flush=True)
        summaries.append(summary(rounds))
        print(json.dumps(summaries[-1]), flush=True)
    if arguments.keep:
        with arguments.keep.open("a", encoding="utf-8") as file:
            file.write(table(summaries, sys.argv[1:]))


def table(summaries: Sequence[dict[str, Any]], arguments: Sequence[str]) -> str:
    """What was measured, as a part of a document."""
    about = provenance()
    lines = [
        f"\n## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {revision()}\n",
        f"`python -m tests.bench.failover {' '.join(arguments)}`\n",
        f"{about['machine']}, load {os.getloadavg()[2]:.0f}; {about['versions']}.\n",
        "| situation | membership | session timeout | rounds | kept, s | spread | others, s | spread | longest, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each['situation'].replace('_', ' ')} | {'static' if each['static'] else 'dynamic'} "
        f"| {each['session_timeout']} | {each['rounds']} | {each['kept_s']} | {each['kept_s_spread']} "
        f"| {each['others_s']} | {each['others_s_spread']} | {max(each['kept_s_max'], each['others_s_max'])} |"
        for each in summaries
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
