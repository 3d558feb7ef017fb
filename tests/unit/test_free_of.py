"""Crash-free and ANR-free mean the same in metrics, comparisons, pages, and the views that the migrations make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pipeline
from pipeline.clickhouse.statements import statements
from pipeline.dashboard.verdict import compared
from pipeline.query.compare import Side, compare
from pipeline.query.free_of import BACKGROUND, FREE_OF, RATED, WHOLES, FreeOf
from pipeline.query.metric_definitions import METRICS
from pipeline.query.statement import Statement
from pipeline.schema_files import schema_folder

PACKAGE = Path(pipeline.__file__).parent


def view(name: str) -> str:
    """The statement that made the view last."""
    found = sorted((schema_folder() / "clickhouse").glob("*.sql"))
    texts = [text for path in found for text in statements(path.read_text(encoding="utf-8"))]
    return [text for text in texts if f"CREATE OR REPLACE VIEW {name} AS" in text][-1]


def test_no_other_module_says_what_crashed_or_hung() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".html")
        and re.search(r"\bis_(crashed|hung)\b", path.read_text(encoding="utf-8"))
    }
    # The API tells the columns by their own names, and numbers of alerts are counted by them.
    assert found == {"query/free_of.py", "api/of_people.py", "query/alert_readings.py"}


@pytest.mark.parametrize(("word", "counter", "reasons"), [
    ("crashed", "crash_count", "('crash', 'exception')"),
    ("hung", "anr_count", "('anr')"),
])  # fmt: skip
def test_one_view_says_who_failed_in_the_words_of_the_contract(word: str, counter: str, reasons: str) -> None:
    [said] = re.findall(rf"^\s*(\S.*) AS is_{word},?$", view("session_health"), re.MULTILINE)
    said = re.sub(r"= ('\w+')", r"IN (\1)", said.replace(f"{counter} > 0 OR ", ""))
    assert said == f"end_reason IN {reasons} OR exit_reason IN {reasons}"
    for name in ("release_health", "crash_free_users_daily"):
        assert "session_health_of_users(" in view(name) and "end_reason" not in view(name)


@pytest.mark.parametrize("share", FREE_OF, ids=lambda share: share.name)
def test_a_share_is_that_of_the_view(share: FreeOf) -> None:
    """As `release_health` counts it, which has shorter names for what rates are of."""
    health, rated = view("release_health"), RATED[share.whole]
    assert f"{rated} AS {share.whole}," in health
    assert f"{share.free.replace(rated, share.whole)} AS {share.name}," in health
    assert f"{share.name} / nullIf({share.whole}, 0) AS {share.name[:-1]}_rate" in health
    metric = METRICS[share.name]
    assert (metric.label, metric.numerator, metric.denominator) == (share.label, share.free, rated)
    assert metric.needs_failed_users == ("_users" in share.free)
    sides = compare("app", Side(Statement("1"), 0, 1), Side(Statement("0"), 0, 1)).sql
    assert sides.count(f"{share.free} AS {share.name}") == 2
    assert sides.count(f"{rated} AS rated_{share.whole}") == 2
    assert sides.count(f"{WHOLES[share.whole]} AS {share.whole}") == 2


@pytest.mark.parametrize("name", BACKGROUND)
def test_the_background_stands_beside_as_in_the_view(name: str) -> None:
    assert f"{BACKGROUND[name][1]} AS {name}" in view("release_health")
    assert METRICS[name].numerator == BACKGROUND[name][1]


def test_a_comparison_shows_each_of_them() -> None:
    row = dict.fromkeys((*WHOLES, *(f"rated_{whole}" for whole in RATED)), 10) | {
        share.name: 9 for share in FREE_OF
    }
    row |= {f"duration_{name}": 1 for name in ("n", "rank", "low", "value", "high")}
    shown = {line.label: line.a for line in compared(row, row)}
    assert {label: shown[label] for label in (share.label for share in FREE_OF)} == dict.fromkeys(
        (share.label for share in FREE_OF), shown["Crash-free sessions"]
    )
    assert shown["Crash-free sessions"].startswith("90")
