"""Migrated databases for less: what all migrations end in is read once in a process, and made at once after that.

To run every migration takes 4 s of processor time, to make the tables and views of their end 1 s. Tests of migrations
themselves use the pipeline's own `migrate`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import orjson

from pipeline.clickhouse.migrations import migrate as run_migrations
from pipeline.clickhouse.store import Store

_PREFIX = "test_"
"""What is read of a database by this prefix holds its name nowhere but where the database is meant."""
_NAME = "{as_migrated}"
"""Stands for the name of the database in what was read."""


class _Schema(NamedTuple):
    tables: list[str]
    rows: list[tuple[str, bytes]]
    """By table, those that migrations inserted."""
    views: list[str]
    """Materialized ones too: they must not see the rows."""


_read: list[_Schema] = []
Changed = Callable[[str], str]


def unchanged(statement: str) -> str:
    """It itself."""
    return statement


def migrate(store: Store, changed: Changed = unchanged) -> None:
    """As `pipeline.clickhouse.migrations.migrate` leaves a database on one host. Where tables are, it runs itself.

    `changed` is done to each statement that makes a table. Blocks; raises what that one does.
    """
    store.create_database()
    if store.query("SELECT name FROM system.tables WHERE database = currentDatabase()"):
        run_migrations(store)
        return
    if not _read:
        run_migrations(store)
        if store.database.startswith(_PREFIX):
            _read.append(_schema(store))
        if changed is unchanged:
            return
        store.command(f"DROP DATABASE {store.database} SYNC")
        store.create_database()
    (schema,) = _read
    for statement in schema.tables:
        store.command(changed(statement.replace(_NAME, store.database)))
    for table, rows in schema.rows:
        store.insert(table, rows, token=f"as-migrated-{table}")
    for statement in schema.views:
        store.command(statement.replace(_NAME, store.database))


def empty(store: Store) -> None:
    """Take all rows out of a migrated database, as if nothing had been stored. Blocks; raises what the store raises."""
    tables = store.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        " AND total_rows > 0 AND name != 'migrations'"
    )
    for row in map(orjson.loads, tables.splitlines()):
        store.command(f"TRUNCATE TABLE {row['name']} SYNC")


def _schema(store: Store) -> _Schema:
    found = store.query(
        "SELECT name, create_table_query AS made, engine LIKE '%View' AS is_view,"
        " engine LIKE '%MergeTree' AS has_rows FROM system.tables WHERE database = currentDatabase() ORDER BY name"
    )
    schema = _Schema([], [], [])
    for row in map(orjson.loads, found.splitlines()):
        statement = row["made"].replace(store.database, _NAME)
        (schema.views if row["is_view"] else schema.tables).append(statement)
        if row["has_rows"] and (rows := store.query(f"SELECT * FROM `{row['name']}`")):
            schema.rows.append((row["name"], rows))
    return schema
