"""Two producers for the same devices: one with Kafka's own partitioner, one with librdkafka's default, another one.

On `sdk-events` every record of the second that is where its key does not belong is refused by name, so no device is
split over two partitions. On `native-events` all is right, whatever the key.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import Producer

from pipeline import topics
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats.native.partitioner import REMEDY
from tests.support.stack import ROOT, Stack, logs_if_failed, running_stack
from tests.support.stored_fold import assert_sessions_are_the_fold

PARTITIONS = 4
DEVICES = 40
ROUNDS = 3
"""Each producer sends one event of each device in each."""
NATIVE_EVENTS = "native-events"
_ENDS_WITHIN_S = 60.0


class Sent(NamedTuple):
    """A record, where it went, and what is in it."""

    topic: str
    key: bytes | None
    partition: int
    offset: int
    device: str
    event: str
    by_kafka: bool
    """Whether Kafka's own partitioner put it there."""

    @property
    def belongs(self) -> bool:
        numbers = list(range(PARTITIONS))
        right: int = DefaultPartitioner()(self.key, numbers, numbers)
        return self.key is not None and right == self.partition


class Traffic:
    """What two producers sent, in turns."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.sent: list[Sent] = []
        self._now_ms = int(time.time() * 1_000)

    async def send(self) -> None:
        servers = self.stack.connection.servers
        ours = AIOKafkaProducer(**{**documented_for_aiokafka(), "bootstrap_servers": servers})
        theirs = Producer({"bootstrap.servers": ",".join(servers), "acks": "all", "linger.ms": 1})
        await ours.start()
        try:
            for number in range(ROUNDS):
                for topic, devices in ((topics.SDK_EVENTS, "straight"), (NATIVE_EVENTS, "routed")):
                    for device in (f"{devices}-{one}" for one in range(DEVICES)):
                        event = f"ours-{number}"
                        key, value = self._record(topic, device, event, 2 * number)
                        told = await ours.send(topic, value, key=key)
                        self._note(
                            topic, key, (await told).partition, told.result().offset, device, event, True
                        )
                for topic, devices in ((topics.SDK_EVENTS, "straight"), (NATIVE_EVENTS, "routed")):
                    for device in (f"{devices}-{one}" for one in range(DEVICES)):
                        self._send_theirs(theirs, topic, device, number)
                assert theirs.flush(30) == 0
            right = Producer({**documented_for_librdkafka(), "bootstrap.servers": ",".join(servers)})
            for device in (f"straight-{one}" for one in range(DEVICES)):
                self._send_theirs(right, topics.SDK_EVENTS, device, ROUNDS, by_kafka=True)
            assert right.flush(30) == 0
        finally:
            await ours.stop()

    async def send_late(self) -> None:
        """As a client that goes by the number of before."""
        ours = AIOKafkaProducer(bootstrap_servers=self.stack.connection.servers)
        await ours.start()
        numbers = list(range(PARTITIONS))
        try:
            for device in (f"straight-{one}" for one in range(DEVICES)):
                key, value = self._record(topics.SDK_EVENTS, device, "late", 2 * ROUNDS + 2)
                number = DefaultPartitioner()(key, numbers, numbers)
                await ours.send_and_wait(topics.SDK_EVENTS, value, key=key, partition=number)
        finally:
            await ours.stop()

    def _send_theirs(
        self, producer: Producer, topic: str, device: str, number: int, by_kafka: bool = False
    ) -> None:
        event = f"theirs-{number}"
        key, value = self._record(topic, device, event, 2 * number + 1)
        if topic == NATIVE_EVENTS:
            key = (None, b"any", device.encode())[number % 3]

        def told(error: Any, message: Any) -> None:
            assert error is None, error
            self._note(topic, key, message.partition(), message.offset(), device, event, by_kafka)

        producer.produce(topic, value, key=key, on_delivery=told)

    def _note(
        self,
        topic: str,
        key: bytes | None,
        partition: int,
        offset: int,
        device: str,
        event: str,
        by_kafka: bool,
    ) -> None:
        self.sent.append(Sent(topic, key, partition, offset, device, event, by_kafka))

    def _record(self, topic: str, device: str, event: str, place: int) -> tuple[bytes | None, bytes]:
        at_ms = self._now_ms - 60_000 + place * 1_000
        each = {"id": event, "name": "app.screen.view", "time": at_ms}
        envelope = {"v": 1, "app_id": "app", "device_id": device, "sent_at": at_ms, "events": [each]}
        return f"app/{device}".encode(), json.dumps(envelope).encode()

    @property
    def misplaced(self) -> list[Sent]:
        return [each for each in self.sent if each.topic == topics.SDK_EVENTS and not each.belongs]

    @property
    def stored(self) -> set[tuple[str, str]]:
        misplaced = set(self.misplaced)
        return {(each.device, each.event) for each in self.sent if each not in misplaced}


def documented(client: str, language: str) -> str:
    """The configuration that `schemas/README.md` has for a client."""
    page = (ROOT / "schemas" / "README.md").read_text(encoding="utf-8").partition("\n## Producers\n")[2]
    after = page.partition(f"\n\n{client}")[2]
    return after.partition(f"```{language}\n")[2].partition("```")[0]


def documented_for_librdkafka() -> dict[str, str]:
    settings = dict(line.split("=", 1) for line in documented("librdkafka, ", "properties").splitlines())
    assert settings["partitioner"] == "murmur2_random"
    return settings


def documented_for_aiokafka() -> dict[str, Any]:
    call = ast.parse(documented("aiokafka:", "python"), mode="eval").body
    assert isinstance(call, ast.Call)
    return {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in call.keywords}


@pytest.fixture(scope="module")
def traffic(
    request: pytest.FixtureRequest, clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Traffic]:
    folder = tmp_path_factory.mktemp("partitioners")
    with (
        running_stack("kafka", clickhouse, folder, partitions=str(PARTITIONS), idle_timeout="1s") as stack,
        logs_if_failed(request, stack),
    ):
        stack.start_workers("all")
        sent = Traffic(stack)
        asyncio.run(sent.send())
        stack.wait_idle()
        yield sent


def stored_events(stack: Stack) -> set[tuple[str, str]]:
    return {
        (row["device_id"], row["event_id"]) for row in stack.query("SELECT device_id, event_id FROM events")
    }


def events_of_sessions(stack: Stack) -> dict[str, int]:
    rows = stack.query(
        "SELECT device_id, count() AS sessions, sum(event_count) AS events FROM sessions GROUP BY ALL"
    )
    assert all(row["sessions"] == 1 for row in rows), "no device is split"
    return {row["device_id"]: int(row["events"]) for row in rows}


def test_what_is_in_a_wrong_partition_is_refused_by_name(traffic: Traffic) -> None:
    misplaced = traffic.misplaced
    assert len(misplaced) > DEVICES and not any(each.by_kafka for each in misplaced)
    rows = traffic.stack.query(
        "SELECT topic, partition, offset, event_index, key, detail FROM dead_letters WHERE reason = 'wrong_partition'"
    )
    assert {(row["topic"], row["partition"], row["offset"]) for row in rows} == {
        each[0:1] + each[2:4] for each in misplaced
    }
    assert all(row["event_index"] == -1 and row["detail"].endswith(REMEDY) for row in rows)
    assert traffic.stack.value("SELECT count() FROM dead_letters") == len(misplaced) == len(rows)
    account = traffic.stack.query(
        "SELECT sum(received) AS received, sum(events) AS events, sum(duplicates) AS duplicates,"
        " sum(refused) AS refused FROM ledger"
    )
    assert account == [
        {
            "received": len(traffic.sent),
            "events": len(traffic.stored),
            "duplicates": 0,
            "refused": len(misplaced),
        }
    ]


def test_no_session_is_wrong(traffic: Traffic) -> None:
    """Each device has one session, of all its events that were taken; those of `native-events` were all taken."""
    stored = traffic.stored
    assert stored_events(traffic.stack) == stored
    found = events_of_sessions(traffic.stack)
    assert found == {device: sum(1 for mine, _ in stored if mine == device) for device, _ in stored}
    assert {count for device, count in found.items() if device.startswith("routed")} == {2 * ROUNDS}
    assert assert_sessions_are_the_fold(traffic.stack) == 2 * DEVICES
    assert traffic.stack.run("rebuild", "--dry-run").startswith("no difference")


def test_status_says_so_and_how_to_mend_it(traffic: Traffic) -> None:
    count, devices = len(traffic.misplaced), len({each.device for each in traffic.misplaced})
    line = f"wrong_partition: {count} records of {devices} devices refused, the last at "
    said = traffic.stack.run("status")
    assert (
        line in said
        and f"{REMEDY}; then session-pipeline dead-letters replay --reason wrong_partition" in said
    )
    told = json.loads(traffic.stack.run("status", "--format", "json"))
    assert (told["wrong_partition"]["records"], told["wrong_partition"]["keys"]) == (count, devices)
    assert told["wrong_partition"]["says"].startswith(line) and told["faults"] == []
    assert "before sdk-events" not in said and not any(told["refused_before_sdk_events"].values())
    assert abs(told["wrong_partition"]["last_ms"] - time.time() * 1_000) < 3_600_000
    assert {(each["role"], each["topic"], each["lag"]) for each in told["workers"]} >= {
        ("router", NATIVE_EVENTS, 0)
    }
    assert sum(each["refused"] for each in told["ledger"]) == count


def test_sent_again_they_are_where_they_belong(traffic: Traffic) -> None:
    count = len(traffic.misplaced)
    said = traffic.stack.run("dead-letters", "replay", "--reason", "wrong_partition")
    assert said == f"sent {count} refused records again\n"
    traffic.stack.wait_idle()
    assert stored_events(traffic.stack) == {(each.device, each.event) for each in traffic.sent}
    assert set(events_of_sessions(traffic.stack).values()) == {2 * ROUNDS, 2 * ROUNDS + 1}
    assert assert_sessions_are_the_fold(traffic.stack) == 2 * DEVICES
    assert traffic.stack.value("SELECT countIf(replayed_at IS NULL) FROM dead_letters") == 0


def test_workers_stop_by_name_when_the_number_of_partitions_changes(traffic: Traffic) -> None:
    asyncio.run(add_partitions(traffic.stack, topics.SDK_EVENTS, PARTITIONS + 2))
    assert traffic.stack.workers["all-1"].wait(_ENDS_WITHIN_S) == 1, traffic.stack.log_tails()
    traffic.stack.take("all-1")
    log = traffic.stack.log_file("all-1").read_text()
    for role in ("router", "sessionizer", "sink"):
        says = (
            f"session-pipeline-{role} stopped: PartitionsChanged: sdk-events has {PARTITIONS + 2} partitions"
        )
        assert says in log or f"session-pipeline-{role} stopped" not in log, log
    assert f"repartition --partitions {PARTITIONS + 2}" in log
    assert "stopped: PartitionsChanged" in log and "runbook.md, 'The number of partitions changed'" in log


def test_the_way_out_that_they_name_is_one(traffic: Traffic) -> None:
    """Whoever follows it has all as it was, and each device in one partition."""
    stack = traffic.stack
    said = stack.run("repartition", "--partitions", str(PARTITIONS + 2))
    stack.settings |= dict(re.findall(r"^  (PIPELINE_\w+)=(\S+)$", said, re.MULTILINE))
    stack.start_workers("all")
    asyncio.run(traffic.send_late())
    stack.wait_idle()
    assert assert_sessions_are_the_fold(stack) == 2 * DEVICES
    assert (
        stack.value("SELECT countIf(reason = 'wrong_partition' AND replayed_at IS NULL) FROM dead_letters")
        == 0
    )


async def add_partitions(stack: Stack, topic: str, count: int) -> None:
    client = AIOKafkaAdminClient(**stack.connection.client_options())
    await client.start()
    try:
        await client.create_partitions({topic: NewPartitions(total_count=count)})
    finally:
        await client.close()
