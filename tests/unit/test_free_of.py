"""Crash-free and ANR-free mean the same in metrics, comparisons, pages, and the views that the migrations make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pipeline
from pipeline.clickhouse.statements import statements
from pipeline.dashboard.verdict import compared
from pipeline.query.bad_ends import ANY, AS_SQL, CRASHED, GONE, HUNG, BadEnd
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
    assert found == {"query/free_of.py", "query/bad_ends.py", "api/of_people.py", "query/alerts/readings.py"}


SAYS = re.compile(
    r"\b(end|exit)_reason\b[\"')\]]*(,| in| IN| =).{0,12}\b(crash|exception|anr|out_of_memory|unclean_exit)\b"
)
"""A comparison of a reason with one of those that are bad, in SQL, in a filter or in Python."""


def test_no_other_module_says_by_which_reasons() -> None:
    for text in (
        "end_reason IN ('crash', 'exception')",
        'Test("session.exit_reason", "eq", "anr")',
        'session.end_reason in ("crash", "anr")',
        "exit_reason = 'anr'",
    ):
        assert SAYS.search(text)
    modules = [
        path for name in ("query", "dashboard", "api", "mcp") for path in (PACKAGE / name).rglob("*.py")
    ]
    found = [path.name for path in modules if SAYS.search(path.read_text(encoding="utf-8"))]
    # The demo tells of a session that a crash ended.
    assert found == ["first_look.py"]


def test_the_contract_says_the_same() -> None:
    assert BadEnd(("crash_count",), ("crash", "exception")) == CRASHED
    assert BadEnd(("anr_count",), ("anr",)) == HUNG
    assert BadEnd((), ("out_of_memory", "unclean_exit")) == GONE


@pytest.mark.parametrize("name", ["session_health", "session_health_known_at"])
def test_the_views_that_say_who_failed_agree(name: str) -> None:
    for word, end in (("crashed", CRASHED), ("hung", HUNG)):
        assert re.findall(rf"^\s*(\S.*) AS is_{word},?$", view(name), re.MULTILINE) == [end.sql[1:-1]]


def test_the_others_go_by_them() -> None:
    for name in ("release_health", "crash_free_users_daily"):
        assert "session_health_of_users(" in view(name) and "end_reason" not in view(name)
    over_time = " ".join(view("sessions_over_time").split())
    said = {
        kind: sql.replace(CRASHED.sql, "is_crashed").replace(HUNG.sql, "is_hung")
        for kind, sql in AS_SQL.items()
    }
    for kind, condition in said.items():
        bare = condition if kind == "crashed" else condition[1:-1]
        assert f"countIf({bare}) AS {kind}" in over_time


@pytest.mark.parametrize("counted", [0, 2])
@pytest.mark.parametrize("reason", [*ANY.reasons, "background", ""])
def test_a_row_is_of_the_ends_that_its_facts_say(reason: str, counted: int) -> None:
    well = {"crash_count": 0, "anr_count": 0, "end_reason": "", "exit_reason": "user_terminated"}
    for end in (CRASHED, HUNG, GONE):
        others = {name: counted for name in ("crash_count", "anr_count") if name not in end.counters}
        for name in ("end_reason", "exit_reason"):
            assert end.is_of({**well, **others, name: reason}) == (reason in end.reasons)
        for name in end.counters:
            assert end.is_of({**well, name: counted}) == bool(counted)


OF_VIEWS = [share for share in FREE_OF if share.condition.startswith("is_")]


@pytest.mark.parametrize("share", OF_VIEWS, ids=lambda share: share.name)
def test_a_share_is_that_of_the_view(share: FreeOf) -> None:
    """As `release_health` counts it, which has shorter names for what rates are of."""
    health, rated = view("release_health"), RATED[share.whole]
    assert f"{rated} AS {share.whole}," in health
    assert f"{share.free.replace(rated, share.whole)} AS {share.name}," in health
    assert f"{share.name} / nullIf({share.whole}, 0) AS {share.name[:-1]}_rate" in health
    metric = METRICS[share.name]
    assert (metric.label, metric.numerator, metric.denominator) == (share.label, share.free, rated)
    assert metric.needs_failed_users == ("_users" in share.free)
    sides = compare("app", Side(Statement("1"), 0, 1), Side(Statement("0"), 0, 2)).sql
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
