"""Every query of the cookbook runs and finds something; of some, what plain Python finds in the same sessions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import orjson
import pytest

from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query import first_look
from pipeline.query.statement import Statement
from pipeline.schema_files import schema_folder
from pipeline.storage.kept import Kept
from pipeline.storage.rows import ledger_row
from tests.support.analysts import Traffic, fill, simulated
from tests.support.expected_rows import Row, has_crashed

APP = "org.example.shop"
TEXT = (schema_folder() / "COOKBOOK.md").read_text(encoding="utf-8")
RECIPES = {
    int(number): sql
    for number, sql in re.findall(r"^## (\d+)\. [^\n]+\n+```sql\n(.*?)```$", TEXT, re.MULTILINE | re.DOTALL)
}


class Kitchen:
    """A database with traffic in it, and the same sessions as Python sees them."""

    def __init__(self, store: Store, traffic: Traffic) -> None:
        self._store = store
        self.sessions = [row for row in traffic.sessions if row["app_id"] == APP]

    def cook(self, number: int) -> list[Row]:
        return self.ask(Statement(RECIPES[number]))

    def ask(self, statement: Statement) -> list[Row]:
        lines = self._store.query(statement.sql, statement.parameters).splitlines()
        return [orjson.loads(line) for line in lines]


@pytest.fixture(scope="module")
def kitchen(clickhouse: EmbeddedClickHouse) -> Iterator[Kitchen]:
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate(store)
    traffic = simulated(devices=500, seed=8, events=40_000)
    fill(store, traffic)
    store.insert(
        "ledger_records",
        ledger_row("sdk-events", 0, 0, received=2, refused=1, kept=Kept("2026-02-03", 0)),
        token="one",
    )
    yield Kitchen(store, traffic)
    store.close()
    clickhouse.command(f"DROP DATABASE IF EXISTS {name} SYNC")


def start_of(row: Row) -> str:
    """As ClickHouse writes it."""
    return f"{datetime.fromtimestamp(row['started_at_ms'] / 1_000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def is_crashed(row: Row) -> bool:
    return has_crashed(row)


def test_there_are_as_many_as_it_says() -> None:
    assert list(RECIPES) == list(range(1, 33)) and "Thirty-two questions" in TEXT


@pytest.mark.parametrize("number", RECIPES)
def test_it_finds_something(kitchen: Kitchen, number: int) -> None:
    assert kitchen.cook(number)


def test_what_the_demonstration_shows(kitchen: Kitchen) -> None:
    statements = (first_look.LATEST, first_look.BY_END, first_look.HEALTH, first_look.CRASHED)
    found = [kitchen.ask(each) for each in statements]
    assert all(found)
    (crashed,) = found[-1]
    story = kitchen.ask(first_look.story(crashed["session_id"]))
    assert "crash" in story[-1]["what"]


def test_days(kitchen: Kitchen) -> None:
    expected = Counter(start_of(row)[:10] for row in kitchen.sessions)
    assert {row["day"]: int(row["sessions"]) for row in kitchen.cook(1)} == expected


def test_days_of_all_devices(kitchen: Kitchen) -> None:
    """Every device is kept here, so there are as many as are estimated."""
    days = {row["day"]: int(row["sessions"]) for row in kitchen.cook(1)}
    found = {row["day"]: (int(row["kept"]), row["lowest_rate"], row["estimated"]) for row in kitchen.cook(24)}
    assert found == {day: (count, 1, count) for day, count in days.items()}


def test_releases(kitchen: Kitchen) -> None:
    seen = [row for row in kitchen.sessions if row["state"] == "foreground"]
    total = Counter(row["app_version"] for row in seen)
    crashed = Counter(row["app_version"] for row in seen if is_crashed(row))
    found = {row["app_version"]: (int(row["total"]), int(row["crash_free"])) for row in kitchen.cook(2)}
    assert found == {
        version: (total[version], total[version] - crashed[version])
        for version in {row["app_version"] for row in kitchen.sessions}
    }


def test_ends(kitchen: Kitchen) -> None:
    expected = Counter((row["end_reason"], row["exit_reason"]) for row in kitchen.sessions)
    found = {(row["end_reason"], row["exit_reason"]): int(row["sessions"]) for row in kitchen.cook(3)}
    assert found == expected


def test_crashed_sessions(kitchen: Kitchen) -> None:
    crashed = sorted((row for row in kitchen.sessions if is_crashed(row)), key=start_of)
    found = kitchen.cook(4)
    assert [row["started_at"] for row in found] == [start_of(row) for row in crashed[::-1][:20]]


def test_the_crash_comes_last(kitchen: Kitchen) -> None:
    kinds = [row["kind"] for row in kitchen.cook(5)]
    assert {"crash", "exception"} & set(kinds[:5]), kinds


def test_visits(kitchen: Kitchen) -> None:
    members = Counter(row["stitched_session_id"] for row in kitchen.sessions)
    expected = Counter(members.values())
    assert {int(row["session_count"]): int(row["visits"]) for row in kitchen.cook(12)} == expected
