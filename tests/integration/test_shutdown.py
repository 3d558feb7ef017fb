"""SIGTERM in every situation, and what a worker says while it waits."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.chaos.proxy import FaultProxy
from tests.chaos.schedule import Fault
from tests.support.stack import Stack, logs_if_failed, running_stack

# The promise is 10 s. A shared machine may stand still for seconds, and what is looked for here is a stop without a
# bound: before there was one, these cases took 40 s and more.
LEAVES_WITHIN_S = 20.0
_PATIENCE_S = 60.0


class Scene:
    """A stack whose workers reach ClickHouse through a proxy."""

    def __init__(self, stack: Stack, proxy: FaultProxy) -> None:
        self.stack = stack
        self.proxy = proxy
        database = stack.settings["PIPELINE_CLICKHOUSE_URL"].rpartition("/")[2]
        stack.worker_settings = {"PIPELINE_CLICKHOUSE_URL": f"{proxy.url}/{database}"}

    def wait_for_log(self, name: str, pattern: str) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while not re.search(pattern, self.stack.log_file(name).read_text()):
            assert time.monotonic() < deadline_s, f"{name} does not say {pattern!r}\n{self.stack.log_tails()}"
            time.sleep(0.05)

    def leave(self, *names: str) -> None:
        """SIGTERM to all of them; they end in time, with 0."""
        children = {name: self.stack.take(name) for name in names}
        began_s = time.monotonic()
        for child in children.values():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGTERM)
        for name, child in children.items():
            code = child.wait(_PATIENCE_S)
            seconds = time.monotonic() - began_s
            assert code == 0, f"{name} ended with code {code}\n{self.stack.log_tails()}"
            assert seconds < LEAVES_WITHIN_S, f"{name} took {seconds:.1f} s"


@contextmanager
def scene(kind: str, clickhouse: EmbeddedClickHouse, folder: Path) -> Iterator[Scene]:
    with (
        FaultProxy(clickhouse.url, hold_s=_PATIENCE_S) as proxy,
        running_stack(kind, clickhouse, folder, partitions="2", idle_timeout="2s") as stack,
    ):
        yield Scene(stack, proxy)


def test_under_load(clickhouse: EmbeddedClickHouse, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with scene("kafka", clickhouse, tmp_path) as it, logs_if_failed(request, it.stack):
        it.stack.start_workers("router", "sessionizer", "sink")
        it.stack.begin("simulate", "--devices", "50", "--events", "100000", "--rate", "3000")
        it.stack.poll("SELECT count() FROM z_event_rows", lambda count: count > 1_000, timeout_s=_PATIENCE_S)
        it.leave("router-1", "sessionizer-1", "sink-1")


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.HOLD])
def test_while_clickhouse_takes_nothing(
    fault: Fault, clickhouse: EmbeddedClickHouse, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What is in hand is dropped and not acknowledged; the next sink stores it."""
    with scene("kafka", clickhouse, tmp_path) as it, logs_if_failed(request, it.stack):
        it.stack.start_workers("sessionizer", "sink")
        it.proxy.set_fault(fault)
        it.stack.run("simulate", "--devices", "20", "--events", "2000")
        if fault is Fault.HOLD:
            deadline_s = time.monotonic() + _PATIENCE_S
            while not it.proxy.met[fault]:
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
        else:
            it.wait_for_log(
                "sink-1", r"ClickHouse http\S+ took no rows for z_envelope_feed \(try \d+, next in"
            )
        it.leave("sink-1")
        it.proxy.set_fault(None)
        it.stack.start_workers("sink")
        it.stack.wait_idle()
        account = it.stack.query(
            "SELECT sum(received) AS received, sum(events) AS events, sum(duplicates) AS d FROM ledger"
        )
        assert account == [
            {"received": 2_000, "events": account[0]["events"], "d": 2_000 - account[0]["events"]}
        ]


def test_while_kafka_is_gone(
    clickhouse: EmbeddedClickHouse, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with scene("kafka", clickhouse, tmp_path) as it, logs_if_failed(request, it.stack):
        it.stack.start_workers("router", "sessionizer", "sink")
        it.stack.run("simulate", "--devices", "20", "--events", "2000")
        it.stack.broker.kill9()
        for name in ("router-1", "sessionizer-1", "sink-1"):
            it.wait_for_log(name, r"Kafka has not answered a heartbeat for \d+ s")
        it.leave("router-1", "sessionizer-1", "sink-1")


def test_before_kafka_has_ever_answered(
    clickhouse: EmbeddedClickHouse, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with scene("kafka", clickhouse, tmp_path) as it, logs_if_failed(request, it.stack):
        it.stack.broker.kill9()
        name = it.stack.begin_worker("sessionizer")
        it.wait_for_log(
            name, r"waiting for Kafka at 127\.0\.0\.1:\d+ \(\d+ s so far, giving up after 600 s\)"
        )
        it.leave(name)
