"""Versions of events come from eight partitions into one, while sinks insert, wherever it is killed."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pipeline.clickhouse import migrations, versions
from pipeline.clickhouse.rows import rows_of
from pipeline.clickhouse.statements import statements
from pipeline.clickhouse.store import Store
from pipeline.clickhouse.versions import is_left_to_do, versions_in_one_partition
from pipeline.schema_files import schema_folder
from tests.support.envelope_lines import line_of
from tests.support.migrated import migrate

TABLES = (
    "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'z_event_version%'"
    " ORDER BY name"
)
KEY = "SELECT partition_key FROM system.tables WHERE database = currentDatabase() AND name = 'z_event_version_rows'"
VERSIONS = "SELECT event_key, content, topic, partition, version FROM z_stored_event_versions ORDER BY ALL"
EXPECTED = (
    "SELECT sipHash64(app_id, device_id, event_id) AS event_key, topic, partition,"
    " toUInt64(18446744073709551615 - (offset * 512 + event_index)) AS version FROM z_stored_events ORDER BY ALL"
)


@pytest.fixture
def old(database_url: str) -> Iterator[Store]:
    """A database with the table of before, and with events."""
    store = Store(database_url)
    migrate(store)
    text = (schema_folder() / "clickhouse" / "0019_time_first.sql").read_text(encoding="utf-8")
    makes = (
        "CREATE TABLE IF NOT EXISTS z_event_version_rows",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS z_event_version_tap",
    )
    for drop in ("VIEW z_event_version_tap", "TABLE z_event_version_rows"):
        store.command(f"DROP {drop} SYNC")
    for statement in statements(text):
        if statement_makes(statement).startswith(makes):
            store.command(statement)
    for number in range(3):
        insert(store, number)
    assert one(store, KEY)["partition_key"] == "event_key % 8"
    yield store
    store.close()


def statement_makes(statement: str) -> str:
    """It, without the comment before it."""
    return re.sub(r"^(--[^\n]*\n)*", "", statement)


def insert(store: Store, number: int) -> None:
    store.insert("z_envelope_feed", line_of(f"d{number}", number), token=f"of-{number}")


def one(store: Store, sql: str) -> dict[str, Any]:
    (row,) = rows_of(store, sql)
    return row


def assert_whole(store: Store, records: int) -> None:
    """Each event has its version, at its place, and none has two."""
    found = [{name: row[name] for name in row if name != "content"} for row in rows_of(store, VERSIONS)]
    assert found == rows_of(store, EXPECTED) != []
    assert len({(row["partition"], row["version"]) for row in found}) == len(found)
    assert one(store, "SELECT uniqExact(offset) AS records FROM z_stored_events")["records"] == records


def assert_done(store: Store) -> None:
    assert one(store, KEY)["partition_key"] == ""
    names = [row["name"] for row in rows_of(store, TABLES)]
    assert names == ["z_event_version_rows", "z_event_version_tap"]


def test_a_new_database_has_one_partition(database_url: str) -> None:
    store = Store(database_url)
    migrate(store)
    insert(store, 0)
    assert_done(store)
    assert_whole(store, 1)
    assert one(
        store,
        "SELECT count() AS parts FROM system.parts"
        " WHERE database = currentDatabase() AND table = 'z_event_version_rows' AND active",
    ) == {"parts": 1}
    store.close()


def test_migrate_brings_an_older_database_there(old: Store) -> None:
    before = old.query(VERSIONS)
    assert migrations.migrate(old) == []
    assert_done(old)
    assert old.query(VERSIONS) == before
    insert(old, 2)
    insert(old, 3)
    # A copy of an event that was there before is no version of its own.
    old.insert("z_envelope_feed", line_of("d0", 9), token="again")
    assert_whole(old, 4)
    versions_in_one_partition(old)
    assert_done(old)


def text_of(name: str) -> str:
    return (schema_folder() / "versions" / name).read_text(encoding="utf-8")


def test_where_the_tap_is_missing_it_is_made_again(old: Store) -> None:
    """As after two migrations at once."""
    versions_in_one_partition(old)
    assert not is_left_to_do(old)
    old.command("DROP VIEW z_event_version_tap SYNC")
    assert is_left_to_do(old)
    versions_in_one_partition(old)
    assert_done(old)
    insert(old, 7)
    assert_whole(old, 4)


class Killed(Exception):
    pass


class Dying(Store):
    """Dies before or after one of its statements, and inserts a record before each."""

    def __init__(self, url: str, die_at: int, *, first: int) -> None:
        super().__init__(url)
        self._left = die_at
        self._numbers = itertools.count(first)
        self.records = 0

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        insert(self, next(self._numbers))
        self.records += 1
        if self._left == 0:
            raise Killed
        self._left -= 1
        super().command(sql, parameters, settings)
        assert_whole_but_for_copies(self)


def assert_whole_but_for_copies(store: Store) -> None:
    """At any moment: what the view has are the versions of the events that are stored."""
    found = [{name: row[name] for name in row if name != "content"} for row in rows_of(store, VERSIONS)]
    assert found == rows_of(store, EXPECTED)


def test_killed_at_any_statement_it_is_done_again(old: Store, database_url: str) -> None:
    records, die_at, is_swapped, deaths = 3, 0, False, [0, 0]
    for turn in itertools.count():
        dying = Dying(database_url, die_at, first=100 * (turn + 1))
        try:
            versions_in_one_partition(dying)
        except Killed:
            deaths[is_swapped] += 1
        finally:
            records += dying.records
            dying.close()
        assert_whole(old, records)
        if len(rows_of(old, TABLES)) == 2 and is_swapped:
            break
        was, is_swapped = is_swapped, one(old, KEY)["partition_key"] == ""
        die_at = die_at + 1 if was == is_swapped else 0
    before, after = (len(statements(text_of(name))) for name in ("1_both.sql", "3_finish.sql"))
    assert deaths == [before + 3, after + 1], (
        "at each statement, at that of the copy, of the swap, of the last drop"
    )
    assert_done(old)
    insert(old, 99)
    assert_whole(old, records + 1)


def test_an_insert_under_way_is_waited_for(old: Store, database_url: str) -> None:
    """It writes into the old table alone, since it began before anything else was there."""
    other = Store(database_url)
    columns = [
        each["name"] for each in rows_of(old, "DESCRIBE TABLE z_event_feed") if "failure" not in each["name"]
    ]

    def insert_slowly() -> None:
        # Half a second an event.
        slow = {
            "offset": "50 AS offset",
            "device_id": "concat('slow', toString(sleepEachRow(0.5))) AS device_id",
        }
        told = ", ".join(slow.get(name, name) for name in columns)
        other.command(
            f"INSERT INTO z_event_feed ({', '.join(columns)}) SELECT {told} FROM z_event_rows AS r WHERE r.offset = 1"
            " ORDER BY r.event_index",
            settings={"max_block_size": 1, "function_sleep_max_microseconds_per_block": 10_000_000},
        )

    thread = threading.Thread(target=insert_slowly)
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive()
    versions_in_one_partition(old)
    assert not thread.is_alive()
    assert_done(old)
    assert_whole(old, 4)
    other.close()


def test_while_older_events_are_moved_it_is_left_for_later(
    old: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.command("CREATE TABLE z_move_version_tap (nothing UInt8) ENGINE = Null")
    versions_in_one_partition(old)
    assert one(old, KEY)["partition_key"] == "event_key % 8" and not is_left_to_do(old)
    old.command("DROP TABLE z_move_version_tap")
    assert is_left_to_do(old)


def test_ranges_that_are_copied_are_not_copied_again(
    old: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_ROWS_AT_ONCE", 2)
    copied: list[int] = []

    class Copying(Store):
        def command(self, sql: str, parameters: Any = None, settings: Any = None) -> None:
            if sql == versions._COPY:
                copied.append(parameters["first"])
                if len(copied) == 3:
                    raise Killed
            super().command(sql, parameters, settings)

    store = Copying(database_url)
    with pytest.raises(Killed):
        versions_in_one_partition(store)
    assert versions.ranges_done(store) == 2
    versions_in_one_partition(store)
    assert len(copied) > 5 and copied[2] == copied[3] and len(set(copied)) == len(copied) - 1
    assert_done(old)
    assert_whole(old, 3)
    store.close()
