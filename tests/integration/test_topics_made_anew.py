"""A topic that was deleted and made anew is known by its id, however long it has grown; nothing is silent about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from pipeline import topics
from pipeline.commands.progress import lags
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import measure
from pipeline.kafka.admin import end_offsets
from pipeline.query.operations import NEXT_OFFSET_SQL
from tests.support.runbook import Terminal, blocks
from tests.support.stack import SIMULATE, Stack, delete_and_create, logs_if_failed, running_stack
from tests.support.stored_fold import assert_sessions_are_the_fold

_ENDS_WITHIN_S = 60.0
PARTITIONS = 2


def make_anew(stack: Stack, name: str) -> None:
    """Delete a topic and create it at once, as a script of an operator would."""
    asyncio.run(delete_and_create(stack, name, PARTITIONS))


def simulate(stack: Stack, seed: int, events: int) -> None:
    stack.run(*SIMULATE, "--devices", "30", "--seed", str(seed), "--events", str(events))


def rebuild_states(stack: Stack) -> None:
    """As soon as the sink has stored what is there."""
    deadline_s = time.monotonic() + 60
    while (done := stack.command("rebuild", "--states")).returncode:
        assert "the sink has yet to store" in done.stderr, done.stderr
        assert time.monotonic() < deadline_s, stack.log_tails()


def wait_for_sessionizer(stack: Stack) -> None:
    """Until it has folded what there is."""
    deadline_s = time.monotonic() + 60
    while any(lag.behind for lag in asyncio.run(lags(stack.connection)) if lag.role == "sessionizer"):
        assert time.monotonic() < deadline_s, stack.log_tails()
        time.sleep(0.1)


def assert_end(stack: Stack, *names: str, says: tuple[str, ...]) -> None:
    """Workers end by themselves, with one of these in their logs."""
    for name in names:
        assert stack.workers[name].wait(_ENDS_WITHIN_S) == 1, stack.log_tails()
        stack.take(name)
        log = stack.log_file(name).read_text()
        assert any(f" stopped: {text}" in log for text in says), log


def assert_status_fails(stack: Stack, *options: str, says: tuple[str, ...]) -> None:
    """At once, in one line."""
    done = stack.command("status", *options, timeout_s=30)
    assert done.returncode == 1
    assert all(text in done.stderr for text in says), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.fixture(scope="module")
def stack(clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All roles on Kafka, and sessions of 500 events stored: the tests go on where the one before ended."""
    with running_stack(
        "kafka",
        clickhouse,
        tmp_path_factory.mktemp("made-anew"),
        partitions=str(PARTITIONS),
        idle_timeout="2s",
    ) as running:
        running.start_workers("sessionizer", "sink")
        simulate(running, 5, 500)
        running.wait_idle()
        yield running


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest, stack: Stack) -> Iterator[None]:
    with logs_if_failed(request, stack):
        yield


def test_input_that_was_made_anew_and_has_grown_beyond_the_old(stack: Stack) -> None:
    """The way back that the runbook gives. Devices of which nothing was stored go with the topic."""
    stack.stop_worker(next(name for name in stack.workers if name.startswith("sink")))
    simulate(stack, 9, 100)
    wait_for_sessionizer(stack)
    make_anew(stack, topics.SDK_EVENTS)
    simulate(stack, 6, 700)
    says = "TopicMadeAnew: sdk-events was made anew: its id was "
    # A sessionizer that looks while there is none says that.
    assert_end(stack, *stack.workers, says=(says, "PartitionMismatch: "))
    # They may have stored and committed something of it before they noticed. Started again they know at once.
    assert_end(stack, *(stack.begin_worker(role) for role in ("sessionizer", "sink")), says=(says,))
    assert_status_fails(stack, "--wait-idle", says=("sdk-events was made anew: its id was ", "OFFSET_BASE"))

    base = stack.value(NEXT_OFFSET_SQL)
    way_back, *_ = blocks("A topic was made anew")
    Terminal(stack).type(way_back)
    assert stack.settings["PIPELINE_OFFSET_BASE"] == str(base)
    simulate(stack, 6, 900)
    stack.wait_idle()
    assert assert_sessions_are_the_fold(stack) > 0
    account = "SELECT sum(received) FROM ledger WHERE first_offset >= {base:UInt64}"
    assert stack.value(account, base=base) == 1_600
    assert stack.value("SELECT min(duplicates) FROM ledger") >= 0


def test_other_topics_made_anew(stack: Stack) -> None:
    anew = {"router": measure.FORMAT.topic, "sessionizer": topics.STATE, "sink": topics.SESSIONS}
    for topic in anew.values():
        make_anew(stack, topic)
    # A sessionizer that writes or looks while there is no changelog says that.
    gone = ("ChunkFailed: ", "PartitionMismatch: ")
    for name in list(stack.workers):
        role = name.partition("-")[0]
        says = f"TopicMadeAnew: {anew[role]} was made anew: its id was "
        assert_end(stack, name, says=(says, *gone) if role == "sessionizer" else (says,))
    again = {role: stack.begin_worker(role) for role in ("sink", "sessionizer")}
    assert_end(stack, again["sink"], says=("TopicMadeAnew: sessions was made anew",))
    # What it holds depends on whether anything was written to it while the sessionizer ran.
    states = (f"TopicMadeAnew: {topics.STATE} was made anew", "StateLost: ")
    assert_end(stack, again["sessionizer"], says=states)
    assert_status_fails(stack, says=("sessions was made anew", "measure-events was made anew"))

    stack.run("migrate", "--made-anew", topics.SESSIONS, "--made-anew", measure.FORMAT.topic)
    rebuild_states(stack)


def test_records_that_were_deleted_unread(stack: Stack) -> None:
    received = stack.value("SELECT sum(received) FROM ledger")
    simulate(stack, 7, 200)
    asyncio.run(delete_all_records(stack, topics.SDK_EVENTS))
    simulate(stack, 8, 300)
    stack.start_workers("all")
    enough = received + 300
    stack.poll("SELECT sum(received) FROM ledger", lambda count: count == enough, timeout_s=60)
    assert_status_fails(
        stack,
        says=(
            "records were deleted before the sessionizer read them",
            "records were deleted before the sink read them",
            "offsets are missing in the ledger",
        ),
    )
    stack.run("status", "--accept-losses")
    stack.wait_idle()
    assert assert_sessions_are_the_fold(stack) > 0


async def delete_all_records(stack: Stack, topic: str) -> None:
    """As retention does."""
    client = AIOKafkaAdminClient(**stack.connection.client_options())
    ends = await end_offsets(stack.connection, [topic])
    await client.start()
    try:
        await client.delete_records(
            {TopicPartition(*tp): RecordsToDelete(before_offset=end) for tp, end in ends.items()}
        )
    finally:
        await client.close()
