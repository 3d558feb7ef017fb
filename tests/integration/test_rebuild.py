"""Rebuilding: nothing to do after quiet, exact after late events and under another policy, and no seam after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline import topics
from pipeline.commands.progress import lags
from pipeline.domain.policy import HOUR_MS, MINUTE_MS, Policy
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.expected_rows import (
    EVENTS_SQL,
    SESSIONS_SQL,
    Row,
    assert_same_rows,
    session_rows,
    stored_events,
)
from tests.support.stack import SIMULATE, Stack, forget_offsets, logs_if_failed, running_stack

NO_DIFFERENCE = "no difference: the stored sessions are those of the stored events"
WIDE = {"PIPELINE_RESTATE_HORIZON": "4000d", "PIPELINE_RESTATE_EVENTS": "100000"}
EXACT = Policy(restate_horizon_ms=4_000 * 24 * HOUR_MS, restate_events=100_000)
OTHER = replace(EXACT, inactivity_timeout_ms=MINUTE_MS)
KEY = ("app_id", "device_id", "session_id")
TRAFFIC = (*SIMULATE, "--devices", "40", "--seed", "5")


@pytest.fixture(scope="module")
def stack(clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that gives up on late events almost at once, so that rebuilding has something to do.

    On Apache Kafka: the embedded broker never forgets a member of a group, so that a rebuild cannot know that
    nobody folds. There `up` rebuilds when it starts (test_up.py).
    """
    folder = tmp_path_factory.mktemp("rebuild")
    settings = {"partitions": "2", "idle_timeout": "2s", "restate_events": "2"}
    with running_stack("kafka", clickhouse, folder, **settings) as running:
        running.start_workers("sessionizer", "sink")
        running.run(*TRAFFIC, "--events", "6000")
        running.wait_idle()
        yield running


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest, stack: Stack) -> Iterator[None]:
    with logs_if_failed(request, stack):
        yield


def exact_rows(stack: Stack, policy: Policy) -> list[Row]:
    return session_rows(stored_events(stack.query(EVENTS_SQL)), policy)


def printed(output: str) -> dict[str, str]:
    """Session id to what is said of it."""
    lines = [line.split() for line in output.splitlines()]
    return {line[3]: line[0] for line in lines if line[0] in {"new", "gone", "changed"}}


def differing(found: list[Row], exact: list[Row]) -> dict[str, str]:
    """What a rebuild has to say, from the rows alone."""
    before = {row["session_id"]: row for row in found}
    after = {row["session_id"]: row for row in exact}
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    return (
        dict.fromkeys(after.keys() - before.keys(), "new")
        | dict.fromkeys(before.keys() - after.keys(), "gone")
        | dict.fromkeys(changed, "changed")
    )


def test_a_dry_run_prints_what_late_events_would_change(stack: Stack) -> None:
    before = stack.query(SESSIONS_SQL)
    expected = differing(before, exact_rows(stack, EXACT))
    assert expected, "the traffic has events later than the horizon"
    output = stack.run("rebuild", "--dry-run")
    assert printed(output) == expected
    assert output.splitlines()[-1].startswith(f"{len(expected)} sessions differ: ")
    assert stack.query(SESSIONS_SQL) == before


def test_it_refuses_to_swap_under_a_running_sessionizer(stack: Stack) -> None:
    before = stack.query(SESSIONS_SQL)
    done = stack.command("rebuild")
    assert done.returncode == 1
    assert "1 sessionizers run: stop them first" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert stack.query(SESSIONS_SQL) == before


def test_it_puts_the_fold_in_place_and_streaming_goes_on_without_a_seam(stack: Stack) -> None:
    stack.stop_worker("sessionizer-1")
    stack.settings.update(WIDE)
    stack.run("rebuild")
    assert_same_rows(stack.query(SESSIONS_SQL), exact_rows(stack, EXACT), key=KEY)
    assert stack.run("rebuild", "--dry-run").strip() == NO_DIFFERENCE
    # The same devices go on: first what they sent already, all duplicates, then more.
    stack.run(*TRAFFIC, "--events", "12000")
    stack.start_workers("sessionizer")
    stack.wait_idle()
    assert_same_rows(stack.query(SESSIONS_SQL), exact_rows(stack, EXACT), key=KEY)
    assert stack.run("rebuild", "--dry-run").strip() == NO_DIFFERENCE
    assert stack.run("rebuild").strip() == NO_DIFFERENCE


def test_under_another_policy_it_prints_and_writes_exactly_what_changes(stack: Stack) -> None:
    stack.settings["PIPELINE_INACTIVITY_TIMEOUT"] = "1m"
    stack.settings["PIPELINE_IDLE_TIMEOUT"] = "2s"
    before = stack.query(SESSIONS_SQL)
    exact = exact_rows(stack, OTHER)
    expected = differing(before, exact)
    assert set(expected.values()) == {"new", "gone", "changed"} or set(expected.values()) == {
        "new",
        "changed",
    }
    assert printed(stack.run("rebuild", "--dry-run")) == expected
    app_id = before[0]["app_id"]
    of_app = differing(
        [row for row in before if row["app_id"] == app_id], [row for row in exact if row["app_id"] == app_id]
    )
    assert printed(stack.run("rebuild", "--dry-run", "--app", app_id)) == of_app
    for name in [name for name in stack.workers if name.startswith("sessionizer")]:
        stack.stop_worker(name)
    stack.run("rebuild", "--app", app_id)
    mixed = [row for row in before if row["app_id"] != app_id]
    mixed += [row for row in exact if row["app_id"] == app_id]
    assert_same_rows(stack.query(SESSIONS_SQL), mixed, key=KEY)
    stack.run("rebuild")
    assert_same_rows(stack.query(SESSIONS_SQL), exact, key=KEY)


def test_a_sink_that_reads_all_session_rows_again_brings_none_back(stack: Stack) -> None:
    """Offsets of a group are forgotten, or reset. Rows from before the rebuilds are in the topic still."""
    before = stack.query(SESSIONS_SQL)
    for name in [name for name in stack.workers if name.startswith("sink")]:
        stack.stop_worker(name)
    asyncio.run(forget_offsets(stack, "sink", topics.SESSIONS))
    stack.start_workers("sink")
    deadline_s = time.monotonic() + 30
    while any(lag.behind for lag in asyncio.run(lags(stack.connection)) if lag.role == "sink"):
        assert time.monotonic() < deadline_s, stack.log_tails()
        time.sleep(0.1)
    assert_same_rows(stack.query(SESSIONS_SQL), before, key=KEY)
