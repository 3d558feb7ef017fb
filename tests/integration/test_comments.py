"""Every table, view and column says what it is, wherever a client lists them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pipeline.clickhouse.comments import comment, read_comments
from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse


@pytest.fixture(scope="module")
def store(clickhouse: EmbeddedClickHouse) -> Iterator[Store]:
    made = Store(f"{clickhouse.url}/comments")
    migrate(made)
    assert comment(made)
    yield made
    made.close()
    clickhouse.command("DROP DATABASE comments SYNC")


def rows(store: Store, sql: str) -> list[list[str]]:
    return [json.loads(line) for line in store.query(sql, format="JSONCompactEachRow").splitlines()]


def tables(store: Store) -> dict[str, str]:
    return dict(rows(store, "SELECT name, comment FROM system.tables WHERE database = currentDatabase()"))


def columns(store: Store) -> dict[tuple[str, str], str]:
    found = rows(store, "SELECT table, name, comment FROM system.columns WHERE database = currentDatabase()")
    return {(table, name): said for table, name, said in found}


def test_everything_has_one(store: Store) -> None:
    assert not [name for name, said in tables(store).items() if not said]
    assert len(columns(store)) > 400
    assert not [each for each, said in columns(store).items() if not said]


def test_what_people_use_comes_before_what_is_internal(store: Store) -> None:
    assert not [
        name for name, said in tables(store).items() if name.startswith("z_") and "Internal" not in said
    ]


def test_no_comment_is_of_something_that_is_gone(store: Store) -> None:
    comments, there = read_comments(), columns(store)
    assert comments.tables.keys() == tables(store).keys()
    assert not comments.columns.keys() - there.keys()
    assert not comments.anywhere.keys() - {name for _, name in there}


def test_only_what_differs_is_written(store: Store) -> None:
    assert comment(store) == []
    store.command("ALTER TABLE events COMMENT COLUMN name 'other'")
    store.command("ALTER TABLE z_event_rows MODIFY COMMENT 'it''s \\\\ other'")
    assert comment(store) == ["events", "z_event_rows"]
    assert columns(store)["events", "name"] == read_comments().anywhere["name"]


def test_they_are_there_after_each_migration(store: Store) -> None:
    """It makes some views again, and then comments on them again, as `migrate` and `up` do."""
    migrate(store)
    made_again = {"notable_events", "event_users", "late_events"}
    assert all(table.startswith("z_") or table in made_again for table in comment(store))
    assert all(tables(store).values())
    assert all(columns(store).values())
