"""Brings the versions of events of an older database from eight partitions into one, while sinks insert.

ClickHouse changes no partitions. So a new table gets what comes beside the old one, then what there was before, and
takes its name in one step: views are right at any moment. What was killed half-way goes on, or is finished.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.clickhouse.rows import rows_of
from pipeline.clickhouse.statements import MigrationError, run_file
from pipeline.clickhouse.store import Store
from pipeline.clickhouse.under_way import wait_for_inserts
from pipeline.schema_files import schema_folder

log = logging.getLogger(__name__)

_TABLE = "z_event_version_rows"
_TAP = "z_event_version_tap"
_ONE = "z_event_version_rows_in_one"
_RANGES = "z_event_version_ranges"
_MOVING = "z_move_version_tap"
"""There while events of before 0019 are moved, into the old table."""
_NAMES = [_TABLE, _TAP, _ONE, _RANGES, _MOVING]
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
_HOWEVER_LARGE: Mapping[str, Any] = {"max_table_size_to_drop": 0}
"""A server would not drop a table of more than 50 GB by a mistake."""


def versions_in_one_partition(store: Store) -> None:
    """Bring them there if they are not, which takes as long as it takes to read them; any number of times.

    Left for a later migration while events of before 0019 are being moved. One at a time (`migrations.alone`). Blocks.
    Raises MigrationError where the hosts of a cluster differ, and Unreachable and StatementFailed as Store does.
    """
    found = _everywhere(store)
    if _TABLE not in found or _MOVING in found:
        return
    if found[_TABLE]:
        _run(store, "1_both.sql")
        # To drop the tap has waited for them as well, but for a migration that was killed meanwhile.
        wait_for_inserts(store, "z_envelope_feed", "z_event_feed")
        log.info("database %s: bringing versions of events into one partition", store.database)
        _copy(store)
        # Another migration may have come first, and the names would be what they were.
        if _everywhere(store)[_TABLE]:
            _run(store, "2_swap.sql")
        found = _everywhere(store)
    if _ONE in found or _TAP not in found:
        _run(store, "3_finish.sql")
        store.command("DROP TABLE IF EXISTS z_event_version_rows_in_one SYNC", settings=_HOWEVER_LARGE)


def is_left_to_do(store: Store) -> bool:
    """Whether they are in several partitions, or between both, and no other move has to come first. Of a cluster by the
    host that answers: a worker's user may not ask all of them. Blocks; raises what the store raises."""
    found = _partition_keys(store, "system.tables")
    if _TABLE not in found or _MOVING in found:
        return False
    return bool(found[_TABLE]) or _ONE in found or _TAP not in found


def ranges_done(store: Store) -> int:
    """How many ranges are copied, as a sign of life. Blocks; raises what the store raises."""
    if _RANGES not in _everywhere(store):
        return 0
    (found,) = rows_of(store, "SELECT count() AS ranges FROM z_event_version_ranges")
    return int(found["ranges"])


def _copy(store: Store) -> None:
    """What there was before, by ranges of its key, which is a hash: each has about as many rows."""
    (of_table,) = rows_of(
        store,
        "SELECT sum(rows) AS rows FROM system.parts"
        " WHERE database = {database:String} AND table = {table:String} AND active",
        {"database": _database(store), "table": _TABLE},
    )
    (done,) = rows_of(store, "SELECT count() AS ranges, max(last) AS last FROM z_event_version_ranges")
    first = int(done["last"]) + 1 if done["ranges"] else 0
    size = _KEYS // (1 + int(of_table["rows"]) // _ROWS_AT_ONCE)
    while first < _KEYS:
        last = min(first + size, _KEYS) - 1
        store.command(_COPY, {"first": first, "last": last}, _BLOCKS)
        note = orjson.dumps({"first": first, "last": last})
        store.insert("z_event_version_ranges", note, token=f"{first}-{last}")
        first = last + 1


def _everywhere(store: Store) -> dict[str, str]:
    return _partition_keys(store, store.on_all_hosts("system.tables"))


def _partition_keys(store: Store, tables: str) -> dict[str, str]:
    """The tables that this is about, as far as they are among these, each with its partition key."""
    rows = rows_of(
        store,
        f"SELECT name, groupUniqArray(partition_key) AS keys FROM {tables}"
        " WHERE database IN {databases:Array(String)} AND name IN {names:Array(String)}"
        # Of a cluster the tables themselves, not those in front of them.
        " AND engine != 'Distributed' GROUP BY name",
        {"databases": sorted({store.database, _database(store)}), "names": _NAMES},
    )
    for row in rows:
        if len(row["keys"]) > 1:
            raise MigrationError(
                f"database {store.database}: {row['name']} is in one partition on some hosts and in several on others. "
                "Wait until system.distributed_ddl_queue is empty, and run migrate again"
            )
    return {row["name"]: row["keys"][0] for row in rows}


def _database(store: Store) -> str:
    return store.cluster.shard_database if store.cluster else store.database


def _run(store: Store, name: str) -> None:
    run_file(store, schema_folder() / "versions" / name)
