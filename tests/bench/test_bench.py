"""The benchmark runs and says what it measured; how fast anything is, no test decides."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.bench import __main__ as bench
from tests.bench import analysts, report, workers
from tests.bench.__main__ import Measure
from tests.bench.corpus import records
from tests.bench.peers import PEERS


def test_the_same_arguments_give_the_same_corpus() -> None:
    options = {"envelope": 5, "devices": 20, "late": 0.1, "duplicates": 0.1}
    once, again = (records(500, **options) for _ in range(2))  # type: ignore[arg-type]
    assert once == again
    assert len(once) == 100
    assert len({record.key for record in once}) == 20


@pytest.mark.slow
def test_each_measurement_is_a_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--events", "4000", "--rounds", "1", "--only", "decode"],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["what"] for line in lines] == ["decode"] * 3
    for line in lines:
        assert {"envelope", "devices", "events", "events_per_s", "events_per_core_s", "spread"} <= line.keys()
        assert line["events_per_core_s"] > 0


@pytest.mark.slow
def test_each_step_is_measured() -> None:
    """Of few devices, and all in one process, where a real run has one for each."""
    ask = (
        "import json; from tests.bench.__main__ import PLAN, PURE;"
        " print(json.dumps([PURE['step'](4_000, {**options, 'devices': 2_000}) for options in PLAN['step']]))"
    )
    done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, timeout=120)
    figures = json.loads(done.stdout)
    assert len(figures) == 11
    assert all(each["cpu_s"] > 0 and each["rss_mb"] > 0 for each in figures)


@pytest.mark.slow
@pytest.mark.parametrize("measure", [workers.sessionizer, workers.sink])
def test_a_worker_is_driven_to_the_end(measure: Measure) -> None:
    (figures,) = measure(2_000, {"envelope": 5, "devices": 50}, "embedded", 1)
    # So few may be done before anybody looks at the clock: how much CPU they took, nobody can say.
    assert {"cpu_s", "broker_cpu_s"} < figures.keys()
    assert figures["wall_s"] > 0
    assert figures["rss_mb"] > 0
    assert ("clickhouse_cpu_s" in figures) == (measure is workers.sink)


def test_a_run_too_short_to_be_measured_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.RUNNING, "sessionizer", lambda *_: [{"cpu_s": 0.0, "wall_s": 0.1}])
    with pytest.raises(bench.TooShort, match=r"sessionizer.*--events"):
        bench.measure("sessionizer", 2_000, {"envelope": 5}, "embedded", 1)


def test_results_name_every_target() -> None:
    lines = [
        {"what": "sink", "envelope": 20, "devices": 20_000, "events_per_core_s": 460_000, "events": 1},
        {
            "what": "pair",
            "envelope": 5,
            "devices": 20_000,
            "events_per_core_s": 1,
            "events": 1,
            "speed_up": 1.5,
        },
    ]
    text = report.targets(lines)
    assert "| ≥ 400,000 | 460,000 | yes |" in text
    assert "| ≥ 1.7 | 1.5 | **no** |" in text
    assert text.count("not measured") == len(report.TARGETS) - 2


def test_every_peer_says_what_it_does_not_do() -> None:
    assert set(PEERS) == {"flink", "kafka_streams", "quix", "quix_apply", "bytewax", "faust"}
    assert all(peer.does_not for peer in PEERS.values())


@pytest.mark.slow
def test_every_page_is_measured() -> None:
    size, *pages = analysts.run(events=16_000, template=8_000, times=1)
    assert size["sessions"] > 1_000
    assert [page["page"] for page in pages] == list(analysts.PAGES)
    for page in pages:
        assert page["p95_ms"] >= page["p50_ms"] > 0
        read, whole = map(int, str(page["granules"]).split(" of "))
        assert read <= whole, page
