"""Two versions of the program at once: the states that one writes are read by the other, or it stops and says why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import topics
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.kafka.changelog import read_changelog
from pipeline.state.codec import state_codec
from pipeline.state.marker import MARKER_KEY
from tests.integration.newer_program import NEWER
from tests.support.stack import SIMULATE, Stack, logs_if_failed, running_stack
from tests.support.stored_fold import assert_sessions_are_the_fold

_ENDS_WITHIN_S = 60.0
PARTITIONS = 2
OLD, NEW = "pipeline", "tests.integration.newer_program"


def versions(stack: Stack) -> Counter[int]:
    """How many devices have their state in which version."""

    async def read() -> Counter[int]:
        found: Counter[int] = Counter()
        async for _, items in read_changelog(stack.connection, topics.STATE, range(PARTITIONS)):
            found.update(value[0] for key, value in items.items() if key != MARKER_KEY)
        return found

    return asyncio.run(read())


def start(stack: Stack, program: str, **settings: str) -> str:
    """One more sessionizer, with its partitions; its name."""
    stack.worker_program = program
    stack.worker_settings = settings
    before = set(stack.workers)
    stack.start_workers("sessionizer")
    stack.worker_program, stack.worker_settings = OLD, {}
    (name,) = set(stack.workers) - before
    return name


def send(stack: Stack, events: int) -> None:
    """The first so many events of one and the same load: what was sent before comes again, and changes nothing."""
    stack.run(*SIMULATE, "--devices", "40", "--seed", "5", "--events", str(events))
    stack.wait_idle()


@contextmanager
def stack_with_sink(
    clickhouse: EmbeddedClickHouse, folder: Path, request: pytest.FixtureRequest
) -> Iterator[Stack]:
    """A stack that stores; no sessionizer runs yet."""
    with (
        running_stack("kafka", clickhouse, folder, partitions=str(PARTITIONS), idle_timeout="2s") as stack,
        logs_if_failed(request, stack),
    ):
        stack.start_workers("sink")
        yield stack


def test_versions_side_by_side_while_the_new_one_is_held_back(
    clickhouse: EmbeddedClickHouse, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As the runbook has it: partitions go to and fro between both, and back, without a stop."""
    with stack_with_sink(clickhouse, tmp_path, request) as stack:
        old = start(stack, OLD)
        send(stack, 1_500)
        held_back = start(stack, NEW, PIPELINE_STATE_VERSION=str(state_codec.VERSION))
        send(stack, 3_000)
        stack.stop_worker(held_back)
        send(stack, 4_500)
        held_back = start(stack, NEW, PIPELINE_STATE_VERSION=str(state_codec.VERSION))
        stack.stop_worker(old)
        send(stack, 6_000)
        assert set(versions(stack)) == {state_codec.VERSION}
        # All are new: now the version is let go, again one by one.
        free = start(stack, NEW)
        stack.stop_worker(held_back)
        send(stack, 7_500)
        assert versions(stack)[NEWER] > 0
        assert assert_sessions_are_the_fold(stack) > 0
        stack.stop_worker(free)


def test_an_old_version_stops_at_the_state_of_a_newer_one_and_nothing_is_lost(
    clickhouse: EmbeddedClickHouse, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with stack_with_sink(clickhouse, tmp_path, request) as stack:
        old = start(stack, OLD)
        send(stack, 1_500)
        new = start(stack, NEW)
        send(stack, 3_000)
        stack.kill_worker(new)
        assert stack.workers[old].wait(_ENDS_WITHIN_S) == 1
        stack.take(old)
        log = stack.log_file(old).read_text()
        assert "session-pipeline-sessionizer stopped: UnreadableState: changelog of partition " in log
        assert f"state version {NEWER}, known are 1 to {state_codec.VERSION}" in log
        stack.run(*SIMULATE, "--devices", "40", "--seed", "5", "--events", "4500")
        start(stack, NEW)
        stack.wait_idle()
        assert assert_sessions_are_the_fold(stack) > 0


def test_a_version_that_cannot_be_written_is_refused(clickhouse: EmbeddedClickHouse, tmp_path: Path) -> None:
    with running_stack("embedded", clickhouse, tmp_path) as stack:
        stack.settings["PIPELINE_STATE_VERSION"] = "99"
        done = stack.command("worker", "--role", "sessionizer")
        assert done.returncode == 1
        known = ", ".join(map(str, sorted(state_codec.ENCODERS)))
        assert f"state version 99 cannot be written, only {known}" in done.stderr
