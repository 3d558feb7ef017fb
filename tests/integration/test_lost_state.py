"""State that is damaged or lost stops the sessionizer, and `rebuild --states` is the way back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from pipeline import topics
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.runbook import Terminal, blocks
from tests.support.stack import SIMULATE, Stack, logs_if_failed, running_stack
from tests.support.stored_fold import assert_sessions_are_the_fold

_ENDS_WITHIN_S = 60.0
TRAFFIC = (*SIMULATE, "--devices", "30", "--seed", "5", "--events")


async def damage_a_state(stack: Stack) -> None:
    """As a fault of a disk or of a program would."""
    row = stack.query("SELECT app_id, device_id, partition FROM events LIMIT 1")[0]
    producer = AIOKafkaProducer(bootstrap_servers=stack.connection.servers)
    await producer.start()
    try:
        key = f"{row['app_id']}/{row['device_id']}".encode()
        await producer.send_and_wait(topics.STATE, b"\x01damaged", key=key, partition=row["partition"])
    finally:
        await producer.stop()


async def delete_topics(stack: Stack, *names: str) -> None:
    client = AIOKafkaAdminClient(**stack.connection.client_options())
    await client.start()
    try:
        await client.delete_topics(list(names))
    finally:
        await client.close()


async def delete_the_changelog(stack: Stack) -> None:
    await delete_topics(stack, topics.STATE)


HARMS = (
    (damage_a_state, "UnreadableState: changelog of partition "),
    (delete_the_changelog, "StateLost: all of partition "),
)


def test_the_sessionizer_stops_and_a_rebuild_brings_the_state_back(
    clickhouse: EmbeddedClickHouse, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with (
        running_stack("kafka", clickhouse, tmp_path, partitions="2", idle_timeout="2s") as stack,
        logs_if_failed(request, stack),
    ):
        stack.start_workers("sessionizer", "sink")
        stack.run(*TRAFFIC, "1500")
        stack.wait_idle()
        before = assert_sessions_are_the_fold(stack)
        for number, (harm, says) in enumerate(HARMS, 2):
            (running,) = (name for name in stack.workers if name.startswith("sessionizer"))
            stack.stop_worker(running)
            asyncio.run(harm(stack))

            assert_stops(
                stack,
                "sessionizer",
                f"session-pipeline-sessionizer stopped: {says}",
                "Stop all sessionizers, then: session-pipeline rebuild --states",
            )
            (way_back,) = blocks(
                "The sessionizer ends: `UnreadableState: changelog of partition P, key K: …`"
            )
            printed = Terminal(stack).type(way_back)
            assert "no difference" in printed and "from the rebuilt state of" in printed
            # Those of before again, which changes nothing, and 1,500 more of the same devices.
            stack.run(*TRAFFIC, str(1500 * number))
            stack.wait_idle()
            after = assert_sessions_are_the_fold(stack)
            assert after > before
            before = after


def test_a_rebuild_of_states_is_for_all_devices(tmp_path: Path, clickhouse: EmbeddedClickHouse) -> None:
    with running_stack("embedded", clickhouse, tmp_path) as stack:
        done = stack.command("rebuild", "--states", "--app", "org.example.app")
        assert done.returncode == 2
        assert "without any other option" in done.stderr


def assert_stops(stack: Stack, role: str, *says: str) -> None:
    """A worker of the role ends by itself, with what it says in its log."""
    name = stack.begin_worker(role)
    assert stack.workers[name].wait(_ENDS_WITHIN_S) == 1
    stack.take(name)
    log = stack.log_file(name).read_text()
    assert all(each in log for each in says), log
