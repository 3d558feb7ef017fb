"""The embedded broker's gate: shut, open, shut again, and who is let in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline.embedded.broker import EmbeddedBroker
from pipeline.embedded.child import LOOPBACK, StartError, free_port
from pipeline.embedded.gate import Gate
from pipeline.embedded.kafka_probe import broker_answers
from pipeline.embedded.peer import owner_of


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(folder=tmp_path_factory.mktemp("gate")) as running:
        yield running


@pytest.fixture
def gate(broker: EmbeddedBroker) -> Iterator[Gate]:
    made = Gate(free_port(), broker.port)
    made.reserve()
    made.open()
    yield made
    made.close()


def test_clients_see_no_other_address_than_the_gates(broker: EmbeddedBroker, gate: Gate) -> None:
    topic, values = f"gate-{uuid4().hex}", [b"small", os.urandom(900_000), b"last"]

    async def run() -> tuple[set[int], list[bytes | None]]:
        address = f"{LOOPBACK}:{gate.port}"
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", max_request_size=1_000_000)
        # A group asks for its coordinator's address too.
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=address,
            group_id=topic,
            auto_offset_reset="earliest",
            session_timeout_ms=2_000,
            heartbeat_interval_ms=500,
        )
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, 1)])
        await producer.start()
        await consumer.start()
        try:
            for value in values:
                await producer.send_and_wait(topic, value)
            async with asyncio.timeout(30):
                found = [(await consumer.getone()).value for _ in values]
            described = (await admin.describe_cluster())["brokers"]
            nodes = {
                node.port
                for node in (*producer.client.cluster.brokers(), *consumer._client.cluster.brokers())
            }
            return nodes | {node["port"] for node in described}, found
        finally:
            for part in (consumer, producer):
                await part.stop()
            await admin.close()

    ports, found = asyncio.run(run())
    assert found == values
    assert ports == {gate.port} != {broker.port}


def test_it_answers_only_while_it_is_open(broker: EmbeddedBroker) -> None:
    gate = Gate(free_port(), broker.port)
    gate.reserve()
    assert not broker_answers(LOOPBACK, gate.port)
    late = Gate(gate.port, broker.port)
    late.reserve()  # nobody listens yet: the first one does who opens
    gate.open()
    for refused in (late.open, Gate(gate.port, broker.port).reserve):
        with pytest.raises(StartError, match=f"{LOOPBACK}:{gate.port}"):
            refused()
    late.close()
    assert broker_answers(LOOPBACK, gate.port)
    with socket.create_connection((LOOPBACK, gate.port), timeout=10) as idle:
        gate.close()
        assert idle.recv(1) == b""
    assert not broker_answers(LOOPBACK, gate.port)
    gate.close()


@pytest.mark.parametrize(
    "begin",
    [
        # What a page makes a browser send, in the body too, and the beginning of TLS.
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n\0\0\0\x08\0\x03\0\x04\0\0\0\x01",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00",
        b"\xff\xff\xff\xff\0\x03\0\x04\0\0\0\x01",
        b"\0\0\0\0\0\x03\0\x04\0\0\0\x01",
    ],
)
def test_what_is_not_kafka_is_cut_off(gate: Gate, begin: bytes) -> None:
    with socket.create_connection((LOOPBACK, gate.port), timeout=10) as connection:
        connection.sendall(begin)
        # Reset, where it had said more than was read: cut off as well.
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert broker_answers(LOOPBACK, gate.port)


_CONNECT = """
import os, socket, sys
if sys.argv[3] != "-":
    os.setuid(int(sys.argv[3]))
family = socket.AF_INET6 if sys.argv[1].count(":") > 1 else socket.AF_INET
request = bytes.fromhex("00000014000300040000000100057072" "6f6265" "00000000" "00")
with socket.socket(family) as connection:
    connection.settimeout(10)
    connection.connect((sys.argv[1], int(sys.argv[2])))
    connection.sendall(request)
    try:
        print(len(connection.recv(4)))
    except ConnectionResetError:
        print(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whose a connection is")
def test_programs_of_other_users_are_not_let_in(gate: Gate) -> None:
    def answered(address: str, user: str) -> int:
        words = [sys.executable, "-I", "-c", _CONNECT, address, str(gate.port), user]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    # As some clients do, with a socket of the other family.
    assert answered(LOOPBACK, "-") == answered(f"::ffff:{LOOPBACK}", "-") == 4
    if os.getuid() != 0:
        pytest.skip("only root can be another user")
    assert answered(LOOPBACK, "65534") == answered(f"::ffff:{LOOPBACK}", "65534") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whose a connection is")
def test_the_owner_of_a_connection_is_known() -> None:
    with (
        socket.create_server((LOOPBACK, 0)) as listener,
        socket.create_connection(listener.getsockname()) as one,
    ):
        other, peer = listener.accept()
        with other:
            assert owner_of(peer, listener.getsockname()) == os.getuid()
            assert owner_of((LOOPBACK, one.getsockname()[1]), (LOOPBACK, 1)) is None
        assert Path("/proc/net/tcp").exists()
