"""Workers with names (`group.instance.id`): one that comes back finds its partitions, and no two have the same name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.counter_stage import Stage, Worker, active_in, scenes
from tests.support.services import Broker

SESSION_TIMEOUT_S = 20.0
"""Long: a partition that was taken for a lost one's within it would stay away for the whole test."""


@pytest.fixture
def kafka_stage(kafka_broker: Broker, tmp_path: Path) -> Iterator[Stage]:
    yield from scenes(kafka_broker, tmp_path)


@pytest.fixture
def embedded_stage(embedded_broker: Broker, tmp_path: Path) -> Iterator[Stage]:
    yield from scenes(embedded_broker, tmp_path)


def named(stage: Stage, name: str) -> Worker:
    return stage.worker(table=True, session_timeout_s=SESSION_TIMEOUT_S, instance_id=name)


def test_one_that_comes_back_finds_its_partitions_and_no_two_have_the_same_name(kafka_stage: Stage) -> None:
    stage = kafka_stage
    first, other = named(stage, "pod-0"), named(stage, "pod-1")
    its, others = (worker.wait_active(lambda numbers: len(numbers) == 1) for worker in (first, other))
    assert its | others == {0, 1}
    stage.send(30)
    stage.wait_done(first, its)
    stage.wait_done(other, others)
    seen = len(other.said)

    assert first.terminate() == 0
    assert (
        "its partitions wait for pod-0 to come back, for as long as the session timeout of 20 s"
        in first.errors()
    )
    stage.send(30)
    stage.wait_done(other, others)
    again = named(stage, "pod-0")
    stage.wait_done(again, its)
    again.kill()
    stage.send(30)
    third = named(stage, "pod-0")
    stage.wait_done(third, its)
    stage.wait_done(other, others)

    twin = named(stage, "pod-0")
    assert third.ended() == 1
    (error,) = (line for line in third.errors().splitlines() if "faust_app" in line and "ERROR" in line)
    assert f"{stage.group} stopped: InstanceTaken: another worker has joined {stage.group} with " in error, (
        error
    )
    assert "PIPELINE_KAFKA_INSTANCE_ID=pod-0" in error
    stage.send(30)
    stage.wait_done(twin, its)
    stage.wait_done(other, others)

    states = [event for event in list(other.said)[seen:] if event["what"] == "state"]
    assert {frozenset(active_in(event)) for event in states} == {frozenset(others)}, (
        "the other one read its own all the time"
    )
    assert stage.counted() == stage.sent
    assert twin.terminate() == 0 and other.terminate() == 0


def test_a_broker_that_does_not_tell_them_apart_is_refused(embedded_stage: Stage) -> None:
    """There, two workers of one name have the same partitions, and none is told."""
    worker = embedded_stage.worker(instance_id="pod-0")
    assert worker.ended() == 1
    (error,) = (line for line in worker.errors().splitlines() if "faust_app" in line and "ERROR" in line)
    assert "does not know static membership" in error
    assert "leave PIPELINE_KAFKA_INSTANCE_ID empty" in error
