"""A worker that cannot do its work says so to probes, and why; and when it can again. On Apache Kafka."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.probe import NOTICED_WITHIN_S, Probe, kind_of
from tests.support.stack import SIMULATE, Stack, delete, logs_if_failed, receiving, running_stack

TOPICS_NOTICED_WITHIN_S = 10.0


def test_what_keeps_a_worker_from_its_work_is_told(
    clickhouse: EmbeddedClickHouse, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    probe = Probe()
    with (
        running_stack("kafka", clickhouse, tmp_path, partitions="2") as stack,
        logs_if_failed(request, stack),
    ):
        stack.worker_settings = {"PIPELINE_METRICS_PORT": str(probe.port)}
        stack.start_workers("all")
        probe.wait()
        _is_told_of(stack, probe)
        _without_the_database(stack, probe, clickhouse)
        _without_kafka(stack, probe)
        _topics_are_gone(stack, probe)
        assert probe.ask("/livez")[0] == 200


def _topics_are_gone(stack: Stack, probe: Probe) -> None:
    """Read, written, or a list that is read as a whole: each is named by whoever uses it, and so is one made anew."""
    gone = ("measure-events", "event-copies", "dead-letters", "erasures")
    with receiving(stack) as base:
        for name in gone:
            asyncio.run(delete(stack, name))
        deadline_s = time.monotonic() + TOPICS_NOTICED_WITHIN_S
        while f"but {gone[0]} does not exist any more" not in _said_by(f"{base}/readyz"):
            assert time.monotonic() < deadline_s
            time.sleep(0.2)
    while not all(f"{name} does not exist any more" in "".join(probe.faults().values()) for name in gone):
        assert time.monotonic() < deadline_s, probe.faults()
        time.sleep(0.2)
    assert {"router topics", "sessionizer topics", "sink topics"} <= probe.faults().keys()
    assert all("runbook" in reason for part, reason in probe.faults().items() if kind_of(part) == "topics")
    lines = [line for line in stack.log_file("all-1").read_text().splitlines() if "erasures does not" in line]
    # Of the sessionizer and of the sink, and each of them not ready.
    assert sum("topic_watch" in line for line in lines) == 2 and len(lines) <= 4, lines


def _said_by(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def _is_told_of(stack: Stack, probe: Probe) -> None:
    """Metrics say what the worker does."""
    stack.run(*SIMULATE, "--devices", "5", "--seed", "1", "--events", "200")
    deadline_s = time.monotonic() + NOTICED_WITHIN_S
    while not probe.metric("pipeline_delay_seconds_count", table="z_envelope_feed"):
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
    assert (
        probe.metric("pipeline_connected", to="kafka")
        == probe.metric("pipeline_connected", to="clickhouse")
        == 1
    )
    assert probe.metric("pipeline_partitions", role="sessionizer")
    assert probe.metric("pipeline_rebalances", role="sink") == 1
    assert time.time() - (probe.metric("pipeline_last_progress_timestamp_seconds", role="sink") or 0) < 60
    assert probe.metric("pipeline_lag_records", role="sink", topic="sdk-events") is not None


def _without_the_database(stack: Stack, probe: Probe, clickhouse: EmbeddedClickHouse) -> None:
    database = stack.settings["PIPELINE_CLICKHOUSE_URL"].rpartition("/")[2]
    clickhouse.command(f"DROP DATABASE {database} SYNC")
    (reason,) = probe.wait("clickhouse").values()
    assert database in reason and "does not exist" in reason
    assert probe.metric("pipeline_connected", to="clickhouse") == 0
    stack.make_tables()
    probe.wait()


def _without_kafka(stack: Stack, probe: Probe) -> None:
    assert stack.broker.pid is not None
    os.kill(stack.broker.pid, signal.SIGSTOP)
    try:
        found, deadline_s = probe.wait("kafka"), time.monotonic() + NOTICED_WITHIN_S
        while len(found) < 3:
            assert time.monotonic() < deadline_s, f"each of its roles says so: {found}"
            found = probe.wait("kafka")
        assert all(stack.connection.bootstrap in reason for reason in found.values())
        assert probe.ask("/livez")[0] == 200
    finally:
        os.kill(stack.broker.pid, signal.SIGCONT)
    probe.wait()
