"""The embedded broker, Apache Kafka for tests, and the embedded ClickHouse as processes: start, stop, crash."""

from __future__ import annotations

import asyncio
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline.embedded.broker import EmbeddedBroker
from pipeline.embedded.child import LOOPBACK, Child, StartError
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.services import Broker

MAX_RECORD_BYTES = 1_000_000


async def _create_topic(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        created = await admin.create_topics([NewTopic(topic, partitions, 1)])
        assert [error[1] for error in created.topic_errors] == [0]
    finally:
        await admin.close()


async def _produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=1_100_000)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, key=b"k", partition=0)
    finally:
        await producer.stop()


async def _consume(bootstrap: str, topic: str, count: int, *, group: str | None = None) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        *([topic] if group else []),
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=2_000,
        heartbeat_interval_ms=500,
    )
    await consumer.start()
    try:
        if group is None:
            consumer.assign([TopicPartition(topic, 0)])
        async with asyncio.timeout(30):
            values = [(await consumer.getone()).value for _ in range(count)]
        if group is not None:
            await consumer.commit()
        return values
    finally:
        await consumer.stop()


def test_largest_record_comes_back_as_it_was(broker: Broker) -> None:
    topic = f"embedded-{uuid4().hex}"
    values = [b"small", os.urandom(MAX_RECORD_BYTES), b"after"]

    async def run() -> list[bytes]:
        await _create_topic(broker.bootstrap, topic, 2)
        await _produce(broker.bootstrap, topic, values)
        return await _consume(broker.bootstrap, topic, 3)

    assert asyncio.run(run()) == values


def test_group_goes_on_where_it_committed(broker: Broker) -> None:
    topic, group = f"embedded-{uuid4().hex}", f"group-{uuid4().hex}"

    async def run() -> list[bytes]:
        await _create_topic(broker.bootstrap, topic, 1)
        await _produce(broker.bootstrap, topic, [b"1", b"2", b"3"])
        assert await _consume(broker.bootstrap, topic, 2, group=group) == [b"1", b"2"]
        return await _consume(broker.bootstrap, topic, 1, group=group)

    assert asyncio.run(run()) == [b"3"]


def test_kafka_keeps_its_records_when_killed(fresh_broker: Callable[[str], Broker]) -> None:
    kafka = fresh_broker("kafka")
    before = kafka.bootstrap
    asyncio.run(_create_topic(kafka.bootstrap, "t", 1))
    asyncio.run(_produce(kafka.bootstrap, "t", [b"kept"]))
    kafka.kill9()
    kafka.restart()
    assert kafka.bootstrap == before
    assert asyncio.run(_consume(kafka.bootstrap, "t", 1)) == [b"kept"]


def test_embedded_broker_is_empty_after_a_restart(fresh_broker: Callable[[str], Broker]) -> None:
    broker = fresh_broker("embedded")
    asyncio.run(_create_topic(broker.bootstrap, "t", 1))
    broker.kill9()
    broker.restart()

    async def topics() -> list[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        try:
            found: list[str] = await admin.list_topics()
            return found
        finally:
            await admin.close()

    assert asyncio.run(topics()) == []


def test_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind((LOOPBACK, 0))
        holder.listen()
        port = holder.getsockname()[1]
        for service in (
            EmbeddedBroker(folder=tmp_path, port=port),
            EmbeddedClickHouse(folder=tmp_path, port=port),
        ):
            with pytest.raises(StartError, match=f"{LOOPBACK}:{port}"):
                service.start()


def test_missing_binary_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", str(tmp_path / "nothing"))
    with pytest.raises(StartError, match="no binary for this platform"):
        EmbeddedBroker(folder=tmp_path).start()


def test_ctrl_c_of_a_terminal_does_not_reach_a_child(tmp_path: Path) -> None:
    with EmbeddedBroker(folder=tmp_path) as broker:
        assert broker.pid is not None
        assert os.getpgid(broker.pid) == broker.pid != os.getpgrp()


def test_child_that_ends_early_is_reported_with_what_it_printed(tmp_path: Path) -> None:
    child = Child(
        "a program",
        [sys.executable, "-c", "print('no such luck'); raise SystemExit(3)"],
        log_file=tmp_path / "log",
    )
    with pytest.raises(StartError, match=r"(?s)code 3.*no such luck"):
        child.start(lambda: False, timeout_s=30)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_services_die_with_their_parent(tmp_path: Path) -> None:
    # The child is started from a thread that ends at once: Linux counts the thread as the parent.
    program = f"""
import os, pathlib, sys, threading
from pipeline.embedded.broker import EmbeddedBroker
from pipeline.embedded.clickhouse import EmbeddedClickHouse
folder = pathlib.Path({str(tmp_path)!r})
services = [EmbeddedBroker(folder=folder), EmbeddedClickHouse(folder=folder)]
for service in services:
    starter = threading.Thread(target=service.start)
    starter.start()
    starter.join()
assert all(service.exit_code is None for service in services)
print(*(service.pid for service in services), flush=True)
sys.stdin.read()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    watched = [os.pidfd_open(pid) for pid in pids]
    parent.kill()
    parent.communicate()
    for descriptor in watched:
        _wait_until_ended(descriptor)


def _wait_until_ended(process_descriptor: int) -> None:
    poll = select.poll()
    poll.register(process_descriptor, select.POLLIN)
    assert poll.poll(30_000), "the process is still there"
    os.close(process_descriptor)


def _count(clickhouse: EmbeddedClickHouse) -> int:
    return int(clickhouse.command("SELECT count() FROM d.t"))


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_stored_rows_survive(tmp_path: Path, how: str) -> None:
    clickhouse = EmbeddedClickHouse(folder=tmp_path)
    with clickhouse:
        clickhouse.command("CREATE DATABASE d")
        clickhouse.command("CREATE TABLE d.t (a UInt64) ORDER BY a")
        clickhouse.command("INSERT INTO d.t SELECT number FROM numbers(1000)")
        getattr(clickhouse, how)()
        assert clickhouse.exit_code == (0 if how == "stop" else -signal.SIGKILL)
        clickhouse.start()
        assert _count(clickhouse) == 1_000


def test_killed_during_inserts_keeps_whole_inserts(tmp_path: Path) -> None:
    rows, acknowledged = 5_000, 0
    clickhouse = EmbeddedClickHouse(folder=tmp_path)
    with clickhouse:
        clickhouse.command("CREATE DATABASE d")
        clickhouse.command("CREATE TABLE d.t (a UInt64) ORDER BY a")
        enough = threading.Event()

        def insert() -> int:
            done = 0
            statement = "INSERT INTO d.t FORMAT CSV\n" + "1\n" * rows
            while True:
                try:
                    clickhouse.command(statement)
                except (OSError, http.client.HTTPException):
                    return done
                done += 1
                if done == 5:
                    enough.set()

        with ThreadPoolExecutor(1) as thread:
            inserter = thread.submit(insert)
            assert enough.wait(60)
            clickhouse.kill()
            acknowledged = inserter.result()
        clickhouse.start()
        stored = _count(clickhouse)
        assert stored % rows == 0
        # One insert may have been stored and not acknowledged.
        assert acknowledged <= stored // rows <= acknowledged + 1


def test_folder_in_use_is_named(clickhouse: EmbeddedClickHouse, tmp_path: Path) -> None:
    first, second = EmbeddedClickHouse(folder=tmp_path), EmbeddedClickHouse(folder=tmp_path)
    with first, pytest.raises(StartError, match="in use by another process"):
        second.start()
