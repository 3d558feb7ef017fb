"""Moves the events of a database of before migration 0019 into the tables that have time first."""

from __future__ import annotations

import orjson

from pipeline.clickhouse.statements import statements
from pipeline.clickhouse.store import Store
from pipeline.schema_files import schema_folder


def settle(store: Store) -> None:
    """Bring the views of events over the tables that hold all events, and drop old tables that hold none.

    Any number of times. Blocks. Raises Unreachable and StatementFailed as Store does.
    """
    if not _is_there(store, "z_event_rows"):
        return
    if not _is_there(store, "event_rows"):
        _run(store, "new.sql")
        return
    _run(store, "taps.sql")
    if _counted(store, "SELECT count() AS n FROM event_rows"):
        _run(store, "old.sql")
    else:
        _run(store, "new.sql")
        _run(store, "finish.sql")


def _run(store: Store, name: str) -> None:
    for statement in statements((schema_folder() / "move" / name).read_text(encoding="utf-8")):
        store.command(statement)


def _is_there(store: Store, table: str) -> bool:
    return bool(
        _counted(
            store,
            "SELECT count() AS n FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
            name=table,
        )
    )


def _counted(store: Store, sql: str, **parameters: str) -> int:
    return int(orjson.loads(store.query(sql, parameters))["n"])
