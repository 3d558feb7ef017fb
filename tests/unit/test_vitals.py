"""How far behind a worker is, and what it says of itself once a minute."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.clickhouse.said import cause_of
from pipeline.commands.vital_signs import VitalSigns
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Piece, Source
from pipeline.streaming.assignment import Assignment
from pipeline.streaming.vitals import Behind, Vitals
from pipeline.topics import TP

A, B, C = TP("a", 0), TP("a", 1), TP("b", 0)


def reading(**ends: int) -> Assignment:
    assignment = Assignment(1, "m", frozenset((A, B, C)))
    assignment.begin_reading({A: 10, B: 20, C: 5}, {})
    return assignment


def test_behind_is_what_came_and_is_not_done() -> None:
    vitals, now_s = Vitals(), time.time()
    vitals.done(A, 7, now_s - 30)
    vitals.done(B, 3, now_s - 90)
    found = vitals.behind(reading(), {A: 14, B: 21})
    assert found["b"] == Behind(0, 0.0)
    assert found["a"].records == 5 and found["a"].seconds == pytest.approx(90, abs=2)
    assert vitals.records == 10 and vitals.behind(None, {}) == {}
    # A log that ends before what is done is one that was made anew: nothing of it is left.
    assert vitals.behind(reading(), {A: 3, B: 20, C: 5})["a"] == Behind(0, 0.0)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Too many parts (TOO_MANY_PARTS)", "TOO_MANY_PARTS"),
        ("ClickHouse at x does not answer: (no)", "UNREACHABLE"),
    ],
)
def test_a_cause_is_a_name(said: str, cause: str) -> None:
    assert cause_of(said) == cause


class App(SimpleNamespace):
    """What is asked of an app."""

    def __init__(self) -> None:
        self.vitals, self.assignment = Vitals(), reading()
        consumer = SimpleNamespace(
            vitals=self.vitals, assignment_in_force=self.assignment, ends={A: 12}, silent_s=0.1
        )
        conf = SimpleNamespace(id="sink", broker_heartbeat_interval=1.0)
        super().__init__(started=True, consumer=consumer, conf=conf)


def test_gauges_and_a_line_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, app = Metrics(), App()
    storing: Any = SimpleNamespace(failures={("t", "TOO_MANY_PARTS"): 2})
    caplog.set_level("INFO")
    signs = VitalSigns(metrics, [("sink", app)], storing)  # type: ignore[list-item]

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    app.vitals.done(A, 600, time.time() - 5)
    app.vitals.rebalances = 3
    signs.look()
    assert value("pipeline_connected", to="kafka") == 1
    assert value("pipeline_lag_records", role="sink", topic="a") == 2
    assert value("pipeline_lag_records", role="sink", topic="b") == 0
    assert value("pipeline_partitions", role="sink") == 3 and value("pipeline_rebalances", role="sink") == 3
    assert value("pipeline_insert_failures_total", table="t", cause="TOO_MANY_PARTS") == 2
    assert not caplog.messages
    later_s = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    del app.assignment.sources[C]
    signs.look()
    (line,) = caplog.messages
    assert line.startswith(
        "sink: 600 records in 60 s (10/s), 1 topics, 2 records behind, the oldest of 5 s ago"
    )
    assert value("pipeline_lag_records", role="sink", topic="b") is None
    assert value("pipeline_insert_failures_total", table="t", cause="TOO_MANY_PARTS") == 2


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        ((9.0, 9.0, 18.0), ". ClickHouse is slow: 3 inserts took 12.0 s each"),
        ((0.5, 0.5), "since it began"),
        ((0.4,) * 100, "since it began"),
    ],
    ids=["slow", "quick", "quick and many"],
)
def test_a_slow_clickhouse_is_named_in_the_summary(
    seconds: tuple[float, ...], says: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, app, now_s = Metrics(), App(), time.monotonic()
    caplog.set_level("INFO")
    signs = VitalSigns(metrics, [("sink", app)], SimpleNamespace(failures={}))  # type: ignore[list-item, arg-type]
    for number, took_s in enumerate(seconds):
        metrics.insert_seconds.labels(f"table {number % 2}").observe(took_s)
    for later_s in (61, 130):
        monkeypatch.setattr(time, "monotonic", lambda later_s=later_s: now_s + later_s)
        signs.look()
        monkeypatch.undo()
    first, second = caplog.messages
    assert first.endswith(says) and second.endswith("since it began")


def test_what_was_refused_is_a_line_a_minute_with_its_reasons(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, app, now_s = Metrics(), App(), time.monotonic()
    signs = VitalSigns(metrics, [("sink", app)], SimpleNamespace(failures={}))  # type: ignore[list-item, arg-type]
    told = []
    for later_s, refused in ((61, 3), (122, 0), (183, 2)):
        metrics.refused.labels("sdk-events", "wrong_partition").inc(refused)
        metrics.refused.labels("measure-events", "not_json").inc(10 * refused)
        monkeypatch.setattr(time, "monotonic", lambda later_s=later_s: now_s + later_s)
        signs.look()
        monkeypatch.undo()
        told.append([record.getMessage() for record in caplog.records if record.levelname == "WARNING"])
        caplog.clear()
    said = "on measure-events (not_json), {} on sdk-events (wrong_partition). `session-pipeline dead-letters list`"
    assert [len(lines) for lines in told] == [1, 0, 1]
    assert f"30 {said.format(3)}" in told[0][0] and f"20 {said.format(2)}" in told[2][0]


def test_how_long_rows_took_counts_from_the_oldest_record() -> None:
    metrics = Metrics()
    records = [SimpleNamespace(timestamp=ms) for ms in (1_000, 9_000)]
    pieces = [
        Piece(Source("t", 0), 0, 1, b"", 5, records=records[1:]),
        Piece(Source("t", 1), 0, 1, b"", 7, records=records),
    ]
    metrics.stored("t", pieces, 11_500)
    of = {"table": "t"}
    assert metrics.registry.get_sample_value("pipeline_delay_seconds_sum", of) == 10.5
    assert metrics.registry.get_sample_value("pipeline_batch_rows_sum", of) == 12
