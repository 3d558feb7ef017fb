"""What the server has to plan of a view before it reads a row: a bound for each of those that pages ask most."""

from __future__ import annotations

import re

import pytest

from pipeline.clickhouse.statements import statements
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.text_form import parse
from pipeline.query.metrics import retention
from pipeline.schema_files import schema_folder

_VIEW = re.compile(r"CREATE OR REPLACE VIEW (\w+) AS\s(.*)", re.DOTALL)
_NAMED = re.compile(r"\b(\w+) AS\s*\((?=\s*SELECT)")
"""A subquery in WITH: the server has no more than its text, and plans it anew wherever its name stands."""
_READ = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)")

MOST = {
    "crash_events": 10,
    "crash_free_users_daily": 12,
    "crash_groups": 15,
    "event_users": 6,
    "failing_requests": 12,
    "issue_events": 13,
    # Six of them bound the days that are read by the index: tests/dashboard/test_history.py.
    "late_events": 27,
    "measurements": 3,
    "narrated_events": 5,
    "notable_events_in_sessions": 11,
    "release_health": 12,
    "session_health": 3,
    "session_health_of_users": 11,
    "session_timeline": 13,
    "stitched_timeline": 15,
    "top_crashes": 12,
    "unrestated_sessions": 17,
    "user_timeline": 17,
    "user_timeline_between": 14,
    "users_between": 13,
}
"""Tables and views that are planned, each as often as it is."""


def test_views_name_few_tables_and_few_views_however_deep() -> None:
    views = _views()
    found = {name: _planned(views[name], views) for name in MOST}
    assert found == {name: min(found[name], most) for name, most in MOST.items()}, (
        "a view reads more views, or a subquery in WITH is named more often: read what is below it, or raise the"
        " bound with the times that `python -m tests.bench.analysts` tells"
    )


@pytest.mark.parametrize("by", [None, "app_version"])
def test_who_came_first_is_looked_up_once(by: str | None) -> None:
    """In sessions of the range and before, in those of the week before, and in the days of the other devices."""
    found = where(parse("session.first = true"), scope=FilterScope("shop", 0, 86_400_000)).sql
    assert _planned(found, _views()) == 3
    # Besides, its rows are nested three times.
    assert _planned(retention("shop", 0, 86_400_000, 7, by=by).sql, _views()) <= 6


def test_what_is_named_twice_or_read_through_a_view_counts_each_time() -> None:
    views = {
        "low": "SELECT a FROM t",
        "high": "WITH x AS (SELECT a FROM low) SELECT a FROM x JOIN x AS y USING a",
    }
    # Twice the table behind `low`, and twice `low` itself.
    assert _planned(views["high"], views) == 4
    assert _planned(views["high"].replace("FROM low", "FROM t"), views) == 2


def _views() -> dict[str, str]:
    """The views as a new database has them: the last form of each."""
    files = [*sorted((schema_folder() / "clickhouse").glob("*.sql")), schema_folder() / "move" / "new.sql"]
    made = (_VIEW.match(sql) for file in files for sql in statements(re.sub(r"--.*", "", file.read_text())))
    return {view[1]: view[2] for view in made if view}


def _planned(sql: str, views: dict[str, str]) -> int:
    subqueries: dict[str, str] = {}
    rest, at = "", 0
    for named in _NAMED.finditer(sql):
        if named.start() < at:
            continue
        end = _closing(sql, named.end())
        rest, at = rest + sql[at : named.start()], end
        subqueries[named[1]] = sql[named.end() : end]
    return _of_text(rest + sql[at:], subqueries, views)


def _of_text(text: str, subqueries: dict[str, str], views: dict[str, str]) -> int:
    total = 0
    for name in _READ.findall(text):
        if name in subqueries:
            total += _of_text(subqueries[name], subqueries, views)
        else:
            total += 1 + (_planned(views[name], views) if name in views else 0)
    return total


def _closing(sql: str, at: int) -> int:
    """The place after the bracket that closes the one before `at`."""
    depth = 1
    while depth:
        depth += {"(": 1, ")": -1}.get(sql[at], 0)
        at += 1
    return at
