"""More partitions while producers go on, with the command killed on its way: nothing missing, double or wrong."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pipeline import topics
from pipeline.domain.policy import Policy
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats.native.partitioner import partition_of
from pipeline.kafka.admin import committed_offsets, topic_partitions
from pipeline.kafka.topic_settings import settings_of_topics
from pipeline.roles import topology
from pipeline.roles.topology import group_of
from tests.chaos.load import Identity, Load, Said
from tests.chaos.verify import judge, read
from tests.support.probe import Probe
from tests.support.stack import Stack, environment, logs_if_failed, running_stack

BEFORE, AFTER = 3, 5
IDLE_S = 2
_SAYS_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def stack(clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(
        "kafka",
        clickhouse,
        tmp_path_factory.mktemp("repartition"),
        partitions=str(BEFORE),
        idle_timeout=f"{IDLE_S}s",
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest, stack: Stack) -> Iterator[None]:
    with logs_if_failed(request, stack):
        yield


def begin(stack: Stack, killed_at: str = "") -> subprocess.Popen[str]:
    """`repartition`, which kills itself with -9 right after it has said a line that begins so."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, killed_at],
        env=environment(stack.settings),
        cwd=stack.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


_PROGRAM = f"""
import os, signal, sys
from pipeline.commands import repartition
say = repartition._say
def killing(line):
    say(line)
    if sys.argv[1] and line.startswith(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
repartition._say = killing
repartition.repartition({AFTER}, 90)
"""


def said_by(process: subprocess.Popen[str], code: int) -> str:
    said, _ = process.communicate(timeout=_SAYS_WITHIN_S)
    assert process.returncode == code, said
    return said


def use(stack: Stack, said: str) -> None:
    """Set what the command says."""
    stack.settings |= dict(re.findall(r"^  (PIPELINE_\w+)=(\S+)$", said, re.MULTILINE))


def test_more_partitions_under_load(stack: Stack) -> None:
    load = Load(stack, events=4_000, seed=15, slices=2)
    stack.start_workers("router", "sessionizer", "sink")
    load.begin(12)
    load.send_slice()
    first = begin(stack, killed_at="2 of 4")
    assert first.stdout is not None
    waits = "waiting for all workers to be stopped"
    assert any(waits in line for line in first.stdout), (
        "until it says so it waits for what is there to be done"
    )
    stack.stop()
    said_by(first, -9)
    refused = stack.begin_worker("sessionizer")
    # The load goes on all the time.
    load.keep_up()
    said = said_by(begin(stack, killed_at="3 of 4: partition 0"), -9)
    assert f"going on with what was begun: {BEFORE} to {AFTER} partitions" in said
    assert stack.workers[refused].wait(60) == 1
    stack.take(refused)
    load.keep_up()
    said = said_by(begin(stack), 0)
    reached = asyncio.run(committed_offsets(stack.connection, group_of("sink"), [topics.SDK_EVENTS]))
    use(stack, said)
    assert stack.settings["PIPELINE_PARTITIONS"] == str(AFTER)
    probe = Probe()
    stack.start_workers("router", "sink")
    stack.worker_settings = {"PIPELINE_METRICS_PORT": str(probe.port)}
    stack.start_workers("sessionizer")
    asyncio.run(send_late(stack, load))
    load.finish(60)
    stack.wait_idle()
    assert probe.metric("pipeline_moved_records_total"), "producers went by the old number for some time"

    found = read(stack)
    base = int(stack.settings["PIPELINE_OFFSET_BASE"])
    found.raised = base, {tp.partition: offset or 0 for tp, offset in reached.items()}
    verdict = judge(load.sent, load.events, found, Policy(idle_timeout_ms=IDLE_S * 1_000), 0, load.again)
    assert verdict.is_good, verdict.examples
    assert stack.run("rebuild", "--dry-run").startswith("no difference")
    assert len({row["partition"] for row in found.ledger}) == AFTER
    assert len(asyncio.run(topic_partitions(stack.connection, [topics.STATE]))) == AFTER
    assert stack.run("status")


async def send_late(stack: Stack, load: Load) -> None:
    """As a client that goes by the number of before."""
    producer = AIOKafkaProducer(bootstrap_servers=stack.connection.servers)
    await producer.start()
    try:
        for number in range(40):
            app, device, time_ms = "org.example.late", f"late-{number}", 1_767_600_000_000 + number
            event = {"id": "e1", "name": "app.screen.view", "time": time_ms}
            envelope = {"v": 1, "app_id": app, "device_id": device, "events": [event]}
            key = f"{app}/{device}".encode()
            await producer.send_and_wait(
                topics.SDK_EVENTS, orjson.dumps(envelope), key=key, partition=partition_of(key, BEFORE)
            )
            load.note(Identity(app, device, "e1"), Said(time_ms, "app.screen.view", 0))
    finally:
        await producer.stop()


def test_again_it_has_nothing_to_do(stack: Stack) -> None:
    stack.stop()
    said = stack.run("repartition", "--partitions", str(AFTER))
    assert said.startswith("nothing to do") and stack.settings["PIPELINE_OFFSET_BASE"] in said
    fewer = stack.command("repartition", "--partitions", str(BEFORE))
    assert fewer.returncode == 1 and "Kafka takes none away" in fewer.stderr
    assert len(fewer.stderr.splitlines()) == 1


def test_topics_are_as_they_were_made_and_check_says_where_not(stack: Stack) -> None:
    """Whoever gave them more partitions, and whatever was changed by hand."""
    planned = {name: config for name, (_, config) in topology.plan(AFTER, 604_800_000).items()}
    found = asyncio.run(settings_of_topics(stack.connection, planned))
    told = {name: {key: found[name][key] for key in config} for name, config in planned.items()}
    assert told == planned
    asyncio.run(configure(stack, topics.STATE, {**planned[topics.STATE], "cleanup.policy": "delete"}))
    checked = stack.command("check", "--role", "sessionizer")
    assert checked.returncode == 1 and checked.stderr.endswith("it could not run: kafka topic set-up\n")
    says = f"cleanup.policy is delete, not compact, of {topics.STATE}. "
    assert any(line.startswith("fault") and says in line for line in checked.stdout.splitlines()), (
        checked.stdout
    )


async def configure(stack: Stack, topic: str, config: dict[str, str]) -> None:
    client = AIOKafkaAdminClient(**stack.connection.client_options())
    await client.start()
    try:
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
    finally:
        await client.close()
