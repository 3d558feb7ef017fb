"""The library for producers with real brokers: which partition, a broker that goes away, and processes that end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline.embedded.child import free_port
from pipeline.formats import native
from pipeline.formats.native.partitioner import partition_of
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.produce import RecordToSend, produce
from pipeline.sdk import AsyncProducer, Device, NotSent, Producer, SendFailure, Undelivered, event
from tests.support.services import Broker
from tests.support.stack import ROOT, environment

PARTITIONS = 5


async def create(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(topic, PARTITIONS, 1, topic_configs={"max.message.bytes": "8000000"})]
        )
    finally:
        await admin.close()


@pytest.fixture
def topic(broker: Broker) -> str:
    name = f"sdk-{uuid4().hex[:12]}"
    asyncio.run(create(broker.bootstrap, name))
    return name


class Found(NamedTuple):
    """A record. The transport, once it is imported, has aiokafka give its own kind, which knows no partition."""

    partition: int
    key: bytes
    value: bytes
    timestamp: int


async def _records(bootstrap: str, topic: str) -> list[Found]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False,
        max_partition_fetch_bytes=8_000_000,
    )  # fmt: skip
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        left, records = sum(ends.values()), list[Found]()
        while len(records) < left:
            for tp, some in (await consumer.getmany(timeout_ms=500)).items():
                records += [Found(tp.partition, each.key, each.value, each.timestamp) for each in some]
        return records
    finally:
        await consumer.stop()


def records(bootstrap: str, topic: str) -> list[Found]:
    return asyncio.run(_records(bootstrap, topic))


def events(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    return [
        each for record in records(bootstrap, topic) for each in msgspec.json.decode(record.value)["events"]
    ]


def test_all_that_is_sent_is_where_it_belongs(broker: Broker, topic: str) -> None:
    devices = [Device("org.example.app", f"Gerät {number}") for number in range(40)]
    with Producer(broker.bootstrap, topic=topic) as producer:
        for number in range(2_000):
            producer.send(devices[number % 40], event("a", {"n": number}))
        producer.send(devices[0], event("crash", {"stack": "x" * 900_000}))
        producer.flush(30)
        assert producer.counts == (2_001, 2_001, 0, 0)
    found = records(broker.bootstrap, topic)
    numbers = []
    for record in found:
        assert record.partition == partition_of(record.key, PARTITIONS)
        read = native.decode(record.value, record.key, record.timestamp)
        assert isinstance(read, native.Envelope) and not read.refused
        numbers += [msgspec.json.decode(each.attributes).get("n") for each in read.events]
    assert Counter(numbers) == {**dict.fromkeys(range(2_000), 1), None: 1}


def test_a_broker_that_goes_away_and_comes_back_costs_nothing(
    broker_kind: str, fresh_broker: Callable[[str], Broker]
) -> None:
    """The embedded one comes back empty, without the topic and without the idempotent producer that it knew."""
    broker, failures = fresh_broker(broker_kind), list[SendFailure]()
    asyncio.run(create(broker.bootstrap, "t"))
    phone = Device("a", "b")
    with Producer(broker.bootstrap, topic="t", linger_s=0, on_error=failures.append) as producer:
        producer.send(phone, event("before"))
        producer.flush(30)
        before = events(broker.bootstrap, "t")
        broker.kill9()
        for _ in range(3):
            producer.send(phone, event("meanwhile"))
        with pytest.raises(Undelivered, match="3 are still waiting"):
            producer.flush(0.5)
        broker.restart()
        if broker_kind == "embedded":
            asyncio.run(create(broker.bootstrap, "t"))
        producer.send(phone, event("after"))
        producer.flush(60)
        assert producer.counts == (5, 5, 0, 0)
    assert not failures
    ids = Counter(each["id"] for each in events(broker.bootstrap, "t"))
    if broker_kind == "embedded":
        ids.update(each["id"] for each in before)
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("how", "who", "code"),
    [
        ("exit", ["parent"], 0),
        ("error", ["parent"], 3),
        ("fork", ["child", "parent", "parent again"], 0),
        ("process", ["child", "parent"], 0),
    ],
)
def test_what_waits_at_the_end_of_a_process_arrives_once(
    embedded_broker: Broker, how: str, who: list[str], code: int
) -> None:
    topic = f"sdk-{uuid4().hex[:12]}"
    asyncio.run(create(embedded_broker.bootstrap, topic))
    # By name: to look up an address needs a thread elsewhere, and there are none at the end of a process.
    bootstrap = embedded_broker.bootstrap.replace("127.0.0.1", "localhost")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.sdk_program", bootstrap, topic, how],
        env=environment({}), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    assert ended.stderr == ""
    assert sorted(each["attributes"]["who"] for each in events(embedded_broker.bootstrap, topic)) == who


def test_a_process_does_not_wait_for_ever_for_a_broker_that_is_not_there() -> None:
    program = (
        "from pipeline.sdk import *\n"
        f"p = Producer('127.0.0.1:{free_port()}', exit_timeout_s=0.5, linger_s=0)\n"
        "p.send(Device('a', 'b'), event('x'))\n"
    )
    started_s = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0 and time.monotonic() - started_s < 15
    assert "1 events were not delivered; the first: closed" in ended.stderr


def test_in_a_loop(embedded_broker: Broker) -> None:
    async def run(topic: str) -> None:
        await create(embedded_broker.bootstrap, topic)
        async with AsyncProducer(embedded_broker.bootstrap, topic=topic) as producer:
            for number in range(1_000):
                await producer.send(Device("a", f"{number % 7}"), event("x"))
            await producer.flush(30)
            assert producer.counts == (1_000, 1_000, 0, 0)

    topic = f"sdk-{uuid4().hex[:12]}"
    asyncio.run(run(topic))
    assert len({each["id"] for each in events(embedded_broker.bootstrap, topic)}) == 1_000


def test_what_the_topic_does_not_take_is_told(embedded_broker: Broker, kafka_broker: Broker) -> None:
    """A topic with a smaller limit than the pipeline's: of Kafka's own, which refuses such a record."""
    topic, failures = f"sdk-{uuid4().hex[:12]}", list[SendFailure]()

    async def small() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "500"})])
        await admin.close()

    asyncio.run(small())
    producer = Producer(kafka_broker.bootstrap, topic=topic, on_error=failures.append)
    producer.send(
        Device("a", "b"), event("x", {"x": uuid4().hex * 10, "y": [uuid4().hex for _ in range(100)]})
    )
    with pytest.raises(Undelivered):
        producer.flush(30)
    producer.send(Device("a", "b"), event("small"))
    producer.close()
    assert [each.reason for each in failures] == [NotSent.KAFKA_REFUSED]
    assert [each["name"] for each in events(kafka_broker.bootstrap, topic)] == ["small"]


def test_finished_records_go_by_the_same_partitioner(broker: Broker, topic: str, tmp_path: Path) -> None:
    keys = [f"app/device-{number}".encode() for number in range(50)]
    sent = asyncio.run(
        produce(KafkaConnection(broker.bootstrap), [RecordToSend(topic, key, b"{}") for key in keys])
    )
    found = records(broker.bootstrap, topic)
    assert sent == len(found) == 50
    assert all(record.partition == partition_of(record.key, PARTITIONS) for record in found)


@pytest.mark.parametrize("what", ["schemas/README.md", "schemas/examples/clients/service.py"])
def test_what_is_printed_for_authors_works(what: str, fresh_broker: Callable[[str], Broker]) -> None:
    bootstrap = fresh_broker("embedded").bootstrap
    asyncio.run(create(bootstrap, "sdk-events"))
    program = (ROOT / what).read_text("utf-8")
    if what.endswith(".md"):
        program = program.split("## From Python")[1].split("```python\n")[1].split("```")[0]
        program = program.replace("localhost:9092", bootstrap)
        assert len(program.splitlines()) <= 10
    ended = subprocess.run(
        [sys.executable, "-", bootstrap],
        input=program, env=environment({}), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    found = records(bootstrap, "sdk-events")
    assert {record.partition for record in found} == {partition_of(found[0].key, PARTITIONS)}
    read = [native.decode(record.value, record.key, record.timestamp) for record in found]
    names = [each.name for one in read if isinstance(one, native.Envelope) for each in one.events]
    assert names[0] == "app.launch" and names[-1] == "device.app.lifecycle" and len(names) >= 4
