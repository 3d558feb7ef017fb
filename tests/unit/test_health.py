"""What a worker says of itself to probes: whether its loop runs, and what keeps it from its work."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Gauge

from pipeline.commands import alerts
from pipeline.commands.interruption import Signals
from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.roles.health import STANDS_S, Health
from pipeline.roles.pages import serve


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock, lambda: 1_790_000_000.0 + clock.now_s)


def test_a_part_is_at_fault_from_when_it_first_says_so(health: Health, clock: Clock) -> None:
    said = {"kafka": "", "topics": ""}
    for part in ("kafka", "topics"):
        health.watch(part, lambda part=part: said[part])
    health.look()
    assert not health.faults
    said["kafka"] = "Kafka is away for 6 s"
    health.look()
    (first,) = health.faults
    clock.now_s += 4
    said["kafka"] = "Kafka is away for 10 s"
    health.look()
    (later,) = health.faults
    # The words may change, the fault is the same one.
    assert (later.part, later.reason, later.since) == ("kafka", "Kafka is away for 10 s", first.since)
    said["kafka"] = ""
    health.look()
    assert not health.faults


def test_a_change_is_one_line_in_the_log(health: Health, caplog: pytest.LogCaptureFixture) -> None:
    said = ""
    health.watch("clickhouse", lambda: said)
    with caplog.at_level(logging.INFO, logger="pipeline.roles.health"):
        for said in ("", "no database", "no database", "still none", "", ""):  # noqa: B007
            health.look()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0] == "not ready, clickhouse: no database" and lines[1].startswith("ready again, clickhouse")


def test_a_loop_that_stands_is_not_ready_and_then_does_not_live(health: Health, clock: Clock) -> None:
    health.watch("kafka", lambda: "")
    health.look()
    clock.now_s += 6
    (late,) = health.faults
    assert (late.part, late.since) == ("loop", "2026-09-21T14:30:00Z") and "6 s" in late.reason
    assert health.lives
    clock.now_s += STANDS_S
    assert not health.lives
    health.look()
    assert health.lives and not health.faults


def test_whoever_waits_for_long_has_limits_of_its_own(clock: Clock) -> None:
    health = Health(lambda: clock.now_s, late_s=90, stands_s=90)
    health.look()
    clock.now_s += 89
    assert health.lives and not health.faults
    clock.now_s += 1
    assert not health.lives and health.faults


def test_a_pause_of_a_minute_is_no_silence(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """`alerts run` waits so long while ClickHouse is away, and is not to be killed for it."""
    health, silent_s = Health(lambda: clock.now_s), []

    def sleep(seconds: float) -> None:
        clock.now_s += seconds
        silent_s.append(health.silent_s)

    monkeypatch.setattr(alerts.time, "sleep", sleep)
    monkeypatch.setattr(alerts.time, "monotonic", lambda: clock.now_s)
    started_s = clock.now_s
    alerts.pause(60, health, Signals())
    assert clock.now_s - started_s == 60 and max(silent_s) <= 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_pages(health: Health, clock: Clock, host: str) -> None:
    registry = CollectorRegistry()
    Gauge("some_thing", "Something.", registry=registry).set(3)
    port = serve(host, free_port(), registry, health)

    def asked(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    said = "a topic does not exist any more"
    health.watch("topics", lambda: said)
    health.look()
    status, text = asked("/readyz")
    (fault,) = json.loads(text)["faults"]
    assert (status, fault["part"], fault["reason"]) == (503, "topics", said)
    assert asked("/livez")[0] == 200
    said = ""
    health.look()
    assert asked("/readyz") == (200, '{"ready":true,"faults":[],"notes":[]}\n')
    assert "some_thing 3.0" in asked("/metrics")[1]
    assert asked("/nothing")[0] == 404
    clock.now_s += STANDS_S + 1
    assert asked("/livez")[0] == asked("/readyz")[0] == 503
