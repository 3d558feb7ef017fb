"""Brings the versions of events of an older database from eight partitions into one, while sinks insert.

ClickHouse changes no partitions. So a new table gets what comes beside the old one, then what there was before, and
takes its name in one step: views are right at any moment. What was killed half-way is done again, or finished.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pipeline.clickhouse.rows import rows_of
from pipeline.clickhouse.statements import run_file
from pipeline.clickhouse.store import Store
from pipeline.schema_files import schema_folder

log = logging.getLogger(__name__)

_TABLE = "z_event_version_rows"
_ONE = "z_event_version_rows_in_one"
_MOVING = "z_move_version_tap"
"""There while events of before 0019 are moved, into the old table."""
_COPY = (
    "INSERT INTO z_event_version_rows_in_one"
    " (event_key, content, topic, partition, version, stored_on, retention_days)"
    " SELECT event_key, content, topic, partition, version, stored_on, retention_days FROM z_event_version_rows"
    " WHERE event_key BETWEEN {first:UInt64} AND {last:UInt64}"
)
_KEYS = 2**64
_ROWS_AT_ONCE = 5_000_000
_BLOCKS: Mapping[str, Any] = {
    # Bounds of memory: what is read by two threads and written by one, a million rows of 40 bytes a part.
    "max_threads": 2,
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1_000_000,
    # What is copied again after a kill shall arrive again; rows that are alike are one.
    "insert_deduplicate": 0,
}


def versions_in_one_partition(store: Store) -> None:
    """Bring them there if they are not, which takes as long as it takes to read them; any number of times.

    Left for a later migration while events of before 0019 are being moved. Blocks. Raises Unreachable and
    StatementFailed as Store does.
    """
    found = _partition_keys(store)
    if _TABLE not in found or _MOVING in found:
        return
    if found[_TABLE]:
        _run(store, "1_both.sql")
        log.info("database %s: bringing versions of events into one partition", store.database)
        _copy(store)
        found = _partition_keys(store)
        # Another migration may have come first, and the names would be what they were.
        if found[_TABLE]:
            _run(store, "2_swap.sql")
            found = _partition_keys(store)
    if _ONE in found:
        _run(store, "3_finish.sql")


def _copy(store: Store) -> None:
    """What there was before, by ranges of its key, which is a hash: each has about as many rows."""
    (found,) = rows_of(
        store,
        "SELECT sum(rows) AS rows FROM system.parts"
        " WHERE database = {database:String} AND table = {table:String} AND active",
        {"database": _database(store), "table": _TABLE},
    )
    ranges = 1 + int(found["rows"]) // _ROWS_AT_ONCE
    for number in range(ranges):
        first, last = number * _KEYS // ranges, (number + 1) * _KEYS // ranges - 1
        store.command(_COPY, {"first": first, "last": last}, _BLOCKS)


def _partition_keys(store: Store) -> dict[str, str]:
    """The tables that this is about, as far as they are there, each with its partition key."""
    rows = rows_of(
        store,
        "SELECT name, partition_key FROM system.tables"
        " WHERE database = {database:String} AND name IN {names:Array(String)}",
        {"database": _database(store), "names": [_TABLE, _ONE, _MOVING]},
    )
    return {row["name"]: row["partition_key"] for row in rows}


def _database(store: Store) -> str:
    return store.cluster.shard_database if store.cluster else store.database


def _run(store: Store, name: str) -> None:
    run_file(store, schema_folder() / "versions" / name)
