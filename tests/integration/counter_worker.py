"""A toy worker for the tests of the transport: counts the records of each key, and keeps the counts in a changelog.

Run as a program with one JSON object of options; writes one JSON line to standard output for everything it does. A
count is `[applied offset, number of records]`; a partition's own applied offset is kept under the key MARKER.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

from faust.types import TP

from pipeline.kafka import record_batches
from pipeline.kafka.connection import KafkaConnection
from pipeline.runtime import leave
from pipeline.streaming import faust_app
from pipeline.streaming.faust_app import BatchApp, Limits

MARKER = b"\0applied"

Count = tuple[int, int]


def encode(count: Count) -> bytes:
    return json.dumps(count).encode()


def decode(value: bytes) -> Count:
    applied, number = json.loads(value)
    return applied, number


def newer(old: bytes, new: bytes) -> bool:
    return decode(new)[0] >= decode(old)[0]


def say(what: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"what": what, **facts}) + "\n")
    sys.stdout.flush()


class Counter:
    """What the worker does with chunks, as its options say."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.counts: dict[int, dict[bytes, Count]] = {}
        self.app: BatchApp
        self.changelog = ""

    def recovered(self, partition: int, items: dict[bytes, bytes]) -> None:
        self.counts[partition] = {key: decode(value) for key, value in items.items()}
        say("recovered", partition=partition, keys=len(items))

    def revoked(self, partition: int) -> None:
        del self.counts[partition]
        say("revoked", partition=partition)

    async def handle(self, event: Any) -> None:
        message, records = event.message, event.value
        say("chunk", topic=message.topic, partition=message.partition,
            first=message.first_offset, last=message.offset, records=len(records))  # fmt: skip
        if message.offset >= self.options.get("fail_at", 2**62):
            raise ValueError("the handler was told to fail")
        if message.offset >= self.options.get("hang_at", 2**62):
            say("hanging")
            await asyncio.sleep(3_600)
        await asyncio.sleep(self.options.get("pause_s", 0))
        if self.changelog:
            await self.count(event)
        elif faust_app.still_mine(self.app, event):
            event.ack()

    async def count(self, event: Any) -> None:
        partition = event.message.partition
        counts = self.counts.get(partition)
        if counts is None:  # revoked while the chunk was in hand, as `Sessionizer.handle` finds too
            say("dropped", partition=partition, first=event.message.first_offset)
            return
        before = counts.get(MARKER, (-1, 0))[0]
        changed: dict[bytes, Count] = {}
        for record in event.value:
            if record.offset > before:
                number = changed.get(record.key, counts.get(record.key, (-1, 0)))[1]
                changed[record.key] = record.offset, number + 1
        changed[MARKER] = max(before, event.message.offset), 0
        if not faust_app.still_mine(self.app, event):
            say("dropped", partition=partition, first=event.message.first_offset)
            return
        items = [(key, encode(count)) for key, count in changed.items()]
        await record_batches.send(
            faust_app.raw_producer(self.app), self.changelog, partition, items, event.value[-1].timestamp
        )
        counts.update(changed)
        event.ack()

    def build(self) -> list[BatchApp]:
        options = self.options
        self.app = app = faust_app.create_app(
            options["group"],
            connection=KafkaConnection(options["bootstrap"]),
            partitions=options["partitions"],
            data_dir=Path(options["folder"]) / "data",
            session_timeout_s=options["session_timeout_s"],
            heartbeat_interval_s=min(1.0, options["session_timeout_s"] / 6),
            instance_id=options.get("instance_id", ""),
            limits=Limits(**{"max_chunk": 20, "drain_timeout_s": 3.0, **options.get("limits", {})}),
        )
        if options.get("table"):
            self.changelog = faust_app.add_state_table(
                app, "counts", source_topic=options["topics"][0], newer=newer,
                on_partition_recovered=self.recovered, on_partition_revoked=self.revoked,
            ).changelog_topic  # fmt: skip
        if options.get("starts"):
            app.start_offsets = self.start_offsets
        faust_app.add_agent(app, "counter", options["topics"], self.handle)
        app.timer(0.1)(self.report)
        return [app]

    async def start_offsets(self, assigned: set[TP]) -> dict[TP, int]:
        starts = {TP(topic, partition): offset for topic, partition, offset in self.options["starts"]}
        return {tp: starts[tp] for tp in assigned if tp in starts}

    async def report(self) -> None:
        topics = self.options["topics"]
        active = {topic: sorted(faust_app.active_partitions(self.app, topic)) for topic in topics}
        caught_up = [
            [topic, partition]
            for topic in topics
            for partition in active[topic]
            if faust_app.caught_up(self.app, TP(topic, partition))
        ]
        say("state", active=active, caught_up=caught_up)


def main() -> None:
    logging.basicConfig(level="INFO", format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    leave(faust_app.run(Counter(json.loads(sys.argv[1])).build))


if __name__ == "__main__":
    main()
