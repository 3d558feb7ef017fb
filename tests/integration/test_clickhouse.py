"""Storage against a running ClickHouse: schema, inserts that are safe to repeat, and the views of CONTRACT.md."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.clickhouse.codes import BUSY_CODES, REFUSED_CODES
from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.statements import MigrationError, statements
from pipeline.clickhouse.store import StatementFailed, Store, Unreachable
from pipeline.domain.session import Session, session_id
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import native
from pipeline.formats.limits import LAST_STORED_MS, MAX_TIME_MS, MIN_TIME_MS
from pipeline.query.operations import next_offset, stored_up_to
from pipeline.schema_files import schema_folder
from pipeline.storage.columns import TABLES
from pipeline.storage.kept import Kept
from pipeline.storage.rows import dead_letter_row, deleted_row, ledger_row, session_row, with_kept
from tests.support import migrated as quick
from tests.support.event_rows import event_rows
from tests.support.one_device import APP, DEVICE, MINUTE, T0, envelope, event, session


@pytest.fixture(scope="module")
def migrated(clickhouse: EmbeddedClickHouse) -> Iterator[Store]:
    store = Store(f"{clickhouse.url}/test_storage")
    migrate(store)
    yield store
    store.close()
    clickhouse.command("DROP DATABASE test_storage SYNC")


@pytest.fixture(scope="module")
def stopped() -> set[str]:
    """The ids of tables in which nothing is merged any more."""
    return set()


@pytest.fixture
def store(migrated: Store, stopped: set[str]) -> Store:
    """A migrated and empty database in which nothing is merged, so that views cannot lean on merges.

    It is the same for all tests of this file: to empty it takes a tenth of what it takes to migrate another one. With
    its parts a table forgets the tokens of what was inserted.
    """
    quick.empty(migrated)
    tables = (
        "SELECT name, uuid FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    )
    found = {row["uuid"]: row["name"] for row in select(migrated, tables) if row["name"] != "migrations"}
    assert {*found.values()} >= {table for table in TABLES if not table.endswith("_feed")}
    for table in found.keys() - stopped:
        migrated.command(f"SYSTEM STOP MERGES `{found[table]}`")
    stopped.update(found)
    return migrated


def select(store: Store, sql: str, **parameters: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.query(sql, parameters).splitlines()]


def one(store: Store, sql: str, **parameters: Any) -> dict[str, Any]:
    (row,) = select(store, sql, **parameters)
    return row


def put(store: Store, table: str, *rows: bytes) -> None:
    """Each row in an insert of its own: parts that only a view can bring together."""
    for row in rows:
        store.insert(table, row, token="test")


def put_events(store: Store, *events: dict[str, Any], offset: int = 0, **rest: Any) -> None:
    put(
        store,
        "z_event_feed",
        event_rows(envelope(*events, **rest), topic="sdk-events", partition=3, offset=offset),
    )


def take_back(store: Store, id: str, offset: int, raw_ms: int) -> None:
    """A copy of an event, by where it came."""
    row = {
        "app_id": APP,
        "device_id": DEVICE,
        "event_id": id,
        "raw_time": f"{raw_ms / 1_000:.3f}",
        "offset": offset,
    }
    put(store, "z_event_copy_feed", json.dumps(row).encode())


def row_of(
    session: Session, *, device: str = DEVICE, revision: int = 2, is_final: bool = False, **rest: Any
) -> bytes:
    return session_row(
        APP,
        device,
        session,
        status=rest.get("status", "closed"),
        revision=revision,
        is_final=is_final,
        arrived_at_ms=T0,
        partition=3,
        offset=revision // 2,
    )


def granules(store: Store, source: str, columns: str = "*") -> tuple[int, int]:
    """How many granules a SELECT reads after all indexes, and how many there are."""
    plan = store.query(f"EXPLAIN indexes = 1 SELECT {columns} FROM {source}", format="TSVRaw").decode()
    steps = [step.split("/") for step in re.findall(r"Granules: (\d+/\d+)", plan)]
    assert steps, plan
    return int(steps[-1][0]), int(steps[0][1])


class TestMigrations:
    def test_applies_all_once_in_order(self, database_url: str) -> None:
        store = Store(database_url)
        names = sorted(path.name for path in (schema_folder() / "clickhouse").glob("*.sql"))
        assert migrate(store) == names
        assert migrate(store) == []
        assert [row["name"] for row in select(store, "SELECT name FROM migrations ORDER BY name")] == names
        store.close()

    def test_tests_get_the_same_database_for_less(self, database_url: str, migrated: Store) -> None:
        """Statement by statement and row by row; the first one that a process asks for is migrated, not made."""
        with closing(Store(database_url)) as first, closing(Store(f"{database_url}_made")) as made:
            quick.migrate(first)
            quick.migrate(made)
            asked = (
                "SELECT name, replaceAll(create_table_query, {name:String}, '') AS statement FROM system.tables"
                " WHERE database = currentDatabase() ORDER BY name"
            )
            expected = select(migrated, asked, name=migrated.database)
            assert select(made, asked, name=made.database) == expected != []
            noted = "SELECT name, checksum FROM migrations FINAL ORDER BY name"
            assert select(made, noted) == select(first, noted) != []
            assert migrate(made) == []
            made.command(f"DROP DATABASE {made.database} SYNC")

    def test_several_at_once_end_in_the_same_schema(self, database_url: str) -> None:
        stores = [Store(database_url) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            applied = list(pool.map(migrate, stores))
        assert any(applied)
        assert migrate(stores[0]) == []
        assert select(stores[0], "SELECT count() AS n FROM sessions") == [{"n": 0}]
        # The first to end drops tables that others have yet to make. Nothing of theirs may be left, in any view.
        made = select(
            stores[0], "SELECT name, as_select FROM system.tables WHERE database = currentDatabase()"
        )
        assert not [table["name"] for table in made if re.search(r"(?<!_)event_rows", str(table))]
        for store in stores:
            store.close()

    def test_an_interrupted_one_is_taken_up_again(self, database_url: str, tmp_path: Path) -> None:
        """As after a kill between the last statement of a file and its record, whichever file that is."""
        store = Store(database_url)
        for file in sorted((schema_folder() / "clickhouse").glob("*.sql")):
            (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
            store.create_database()
            for statement in statements(file.read_text(encoding="utf-8")):
                store.command(statement)
            assert migrate(store, tmp_path) == [file.name]
        store.close()

    def test_refuses_a_file_that_changed_and_applies_nothing(self, database_url: str, tmp_path: Path) -> None:
        store = Store(database_url)
        ledger_of_files = (schema_folder() / "clickhouse" / "0000_migrations.sql").read_text()
        (tmp_path / "0000_migrations.sql").write_text(ledger_of_files)
        (tmp_path / "0001_one.sql").write_text("CREATE TABLE IF NOT EXISTS one (x UInt8) ENGINE = Memory;\n")
        migrate(store, tmp_path)
        (tmp_path / "0001_one.sql").write_text("CREATE TABLE IF NOT EXISTS one (x UInt16) ENGINE = Memory;\n")
        (tmp_path / "0002_two.sql").write_text("CREATE TABLE IF NOT EXISTS two (x UInt8) ENGINE = Memory;\n")
        with pytest.raises(MigrationError, match="0001_one"):
            migrate(store, tmp_path)
        assert select(store, "SHOW TABLES LIKE 'two'") == []
        store.close()

    def test_tables_have_the_columns_that_rows_are_written_for(self, store: Store) -> None:
        for table, columns in TABLES.items():
            live = select(
                store,
                "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
                " AND default_kind != 'MATERIALIZED' ORDER BY position",
                table=table,
            )
            left_out = {"stored_on", "retention_days"} - dict(columns).keys()
            found = [(column["name"], column["type"]) for column in live if column["name"] not in left_out]
            assert found == list(columns)


class TestInserts:
    def test_codes_bear_the_names_that_the_server_gives_them(self, store: Store) -> None:
        for code, name in {**REFUSED_CODES, **BUSY_CODES}.items():
            assert one(store, "SELECT errorCodeToName({code:UInt32}) AS name", code=code) == {"name": name}

    def test_nobody_there_is_transient(self) -> None:
        store = Store("http://127.0.0.1:1/nowhere")
        with pytest.raises(Unreachable):
            store.insert("z_event_feed", b"{}", token="t")
        with pytest.raises(Unreachable):
            store.query("SELECT 1")
        store.close()

    def test_a_missing_table_is_waited_for_and_a_bad_query_is_not(self, store: Store) -> None:
        with pytest.raises(Unreachable, match="nowhere"):
            store.insert("nowhere", b"{}", token="t")
        with pytest.raises(StatementFailed, match="nowhere"):
            store.query("SELECT * FROM nowhere")

    def test_waits_until_the_schema_is_there(self, database_url: str) -> None:
        store, pauses = Store(database_url), []

        async def pause(seconds: float) -> None:
            pauses.append(seconds)
            # Whoever asks whether the worker is ready is told.
            assert "does not exist" in store.untaken["ledger_records"]
            if len(pauses) == 3:
                await asyncio.to_thread(migrate, store)

        row = ledger_row("sdk-events", 0, 7, received=1, refused=0)
        refused = asyncio.run(store.insert_forever("ledger_records", row, token="t", pause=pause))
        assert refused == [] and not store.untaken
        assert len(pauses) == 3
        assert all(0 < seconds <= 15 for seconds in pauses)
        assert one(store, "SELECT offset FROM ledger_records") == {"offset": 7}
        store.close()

    def test_finds_the_rows_at_fault_and_keeps_the_rest(self, store: Store) -> None:
        good = [ledger_row("sdk-events", 0, offset, received=1, refused=0) for offset in range(100)]
        bad = [good[17].replace(b'"received":1', b'"received":"x"'), b"not json"]
        block = b"\n".join([*good[:17], bad[0], *good[17:60], bad[1], *good[60:]]) + b"\n"
        refused = asyncio.run(store.insert_forever("ledger_records", block, token="t"))
        assert [found.row for found in refused] == bad
        assert all(found.message for found in refused)
        assert one(store, "SELECT count() AS rows, uniqExact(offset) AS offsets FROM ledger_records") == {
            "rows": 100,
            "offsets": 100,
        }

    def test_the_same_block_again_is_stored_once(self, store: Store) -> None:
        row = ledger_row("sdk-events", 0, 7, received=1, refused=0)
        for _ in range(3):
            store.insert("ledger_records", row, token="sdk-events/0/7")
        assert one(store, "SELECT count() AS n FROM ledger_records") == {"n": 1}

    def test_other_rows_under_the_same_token_are_stored(self, store: Store) -> None:
        """Offsets begin anew when a topic is made anew."""
        for received in (1, 2):
            row = ledger_row("sdk-events", 0, 7, received=received, refused=0)
            store.insert("ledger_records", row, token="sdk-events/0/7")
        assert one(store, "SELECT count() AS n FROM ledger_records") == {"n": 2}

    def test_a_block_may_touch_any_number_of_months(self, store: Store) -> None:
        starts = [946_684_800_000 + i * 31 * 86_400_000 for i in range(290)]
        block = b"\n".join(row_of(session(f"e{start}", start, start)) for start in starts)
        put(store, "session_rows", block)
        assert one(store, "SELECT count() AS n FROM sessions") == {"n": 290}
        assert one(store, "SELECT uniqExact(_partition_id) < 80 AS bounded FROM session_rows") == {
            "bounded": 1
        }

    def test_every_time_that_is_taken_is_found_by_its_range(self, store: Store) -> None:
        """Whatever the record's own time says: the day in the key of sessions is the true one."""
        far_ms = 6_000_000_000_000
        starts = []
        for index, time in enumerate([0, MIN_TIME_MS, T0, MAX_TIME_MS, MAX_TIME_MS + 1, far_ms]):
            body = {"v": 1, "app_id": APP, "device_id": DEVICE, "events": [event(f"e{index}", time)]}
            decoded = native.decode(json.dumps(body).encode(), f"{APP}/{DEVICE}".encode(), far_ms)
            assert isinstance(decoded, native.Envelope), decoded
            starts += [each.time_ms for each in decoded.events]
        put(store, "session_rows", *(row_of(session(f"e{start}", start, start)) for start in starts))
        at = "fromUnixTimestamp64Milli({at:Int64}, 'UTC')"
        for bound in (0, *starts, *(start + 1 for start in starts), far_ms, LAST_STORED_MS):
            for compared, expected in (
                (">=", [start for start in starts if start >= bound]),
                ("<", [start for start in starts if start < bound]),
            ):
                sql = (
                    "SELECT toString(toUnixTimestamp64Milli(started_at)) AS ms FROM sessions"
                    f" WHERE started_at {compared} {at} ORDER BY started_at"
                )
                assert [int(row["ms"]) for row in select(store, sql, at=bound)] == expected
        assert starts == [MIN_TIME_MS, T0, MAX_TIME_MS]

    def test_values_never_become_sql(self, store: Store) -> None:
        text = "x' OR 1=1 -- \\ \n ü"
        assert one(store, "SELECT {text:String} AS text", text=text) == {"text": text}


class TestEvents:
    def test_holds_what_came(self, store: Store) -> None:
        body = envelope(
            {
                "id": "e1",
                "time": T0 - 2 * 86_400_000,
                "name": "http.client.request",
                "seq": 7,
                "session_id": "sdk",
                "attributes": {"http.response.status_code": 500, "url.full": "https://x/ü"},
            },
            resource={"service.version": "7.7", "os.name": 'i"OS'},
            user={"id": "u1", "personas": ["a", "b"], "properties": {"n": 1, "x": "ü"}},
            sent_at=T0 - 2 * 86_400_000,
        )
        put(store, "z_event_feed", event_rows(body, topic="sdk-events", partition=3, offset=9))
        stored = one(store, "SELECT * FROM events")
        assert stored.pop("raw_time") == "2025-03-16 11:16:31.764"
        assert stored.pop("time") == "2025-03-18 11:16:31.764"
        assert stored.pop("received_at") == "2025-03-18 11:16:31.764"
        assert stored.pop("resource_json") == body.resource
        assert stored.pop("user_json") == body.user
        assert stored == {
            "app_id": APP,
            "device_id": DEVICE,
            "event_id": "e1",
            "name": "http.client.request",
            "kind": "activity",
            "seq": 7,
            "client_session_id": "sdk",
            "user_id": "u1",
            "app_version": "7.7",
            "attributes": {"http.response.status_code": "500", "url.full": "https://x/ü"},
            "topic": "sdk-events",
            "partition": 3,
            "offset": 9,
            "event_index": 0,
            "exit_reason": "",
            "counters": 0b11000,
            "app_state": "",
            "repaired": [],
            "conflicts": 0,
            "resource": {"service.version": "7.7", "os.name": 'i"OS'},
            "personas": ["a", "b"],
            "properties": {"n": "1", "x": "ü"},
        }

    def test_any_attribute_value_becomes_text(self, store: Store) -> None:
        attributes = rb"""{"i": 1, "f": 1.50, "big": 123456789012345678901234, "tiny": -0.1e-7, "t": true, "n": null,
            "o": {"a": [1, {"b": null}]}, "l": [1, "zwei", null], "u": "\u00fc \"q\" \\ \n", "": "", "e": {}}"""
        body = envelope(event("e1"))
        body.events[0].attributes = attributes
        put(store, "z_event_feed", event_rows(body, topic="sdk-events", partition=0, offset=0))
        assert one(store, "SELECT attributes FROM events")["attributes"] == {
            "i": "1",
            "f": "1.50",
            "big": "123456789012345678901234",
            "tiny": "-0.1e-7",
            "t": "true",
            "n": "",
            "o": '{"a": [1, {"b": null}]}',
            "l": '[1, "zwei", null]',
            "u": 'ü "q" \\ \n',
            "": "",
            "e": "{}",
        }

    def test_times_are_exact_to_the_millisecond(self, store: Store) -> None:
        times = [T0 + i * 1_000_003 for i in range(500)] + [
            946_684_800_000,
            999_999_999_999,
            1_000_000_000_000,
        ]
        put_events(store, *[event(f"e{time}", time) for time in times[:500]], at=max(times))
        put_events(store, *[event(f"e{time}", time) for time in times[500:]], offset=1, at=max(times))
        rows = select(
            store,
            "SELECT event_id, toUnixTimestamp64Milli(time) AS time, toUnixTimestamp64Milli(raw_time) AS raw"
            " FROM events",
        )
        assert len(rows) == len(times)
        assert all(row["event_id"] == f"e{row['time']}" == f"e{row['raw']}" for row in rows)

    @pytest.mark.parametrize("raw_ms", [-5, 0, 1, 999, 1_000, -86_400_000, 10**13 - 1])
    def test_odd_stamps_of_devices_are_kept(self, store: Store, raw_ms: int) -> None:
        body = envelope(event("e1"))
        body.events[0].raw_time_ms = raw_ms
        put(store, "z_event_feed", event_rows(body, topic="sdk-events", partition=0, offset=0))
        assert one(store, "SELECT toUnixTimestamp64Milli(raw_time) AS raw FROM events") == {"raw": raw_ms}

    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 2, 0, 3)])
    def test_of_two_events_under_one_id_the_first_seen_counts(
        self, store: Store, order: tuple[int, ...]
    ) -> None:
        """However they were inserted and whatever was taken back of them, before and after merges."""
        days = 90 * 86_400_000
        copies = [
            (5, event("e1", T0, "app.crash")),
            # Stamped anew on another day: nothing but what takes it back tells that it is a copy.
            (6, event("e1", T0 - days, "app.anr")),
            (7, event("e1", T0 + 1, "third")),
            (8, event("e1", T0 - days, "exception")),
        ]
        put_events(store, event("e2", T0 - days, "app.crash"), offset=9)
        taken_back = [(6, T0 - days), (7, T0 + 1), (8, T0 - days)]
        steps = [partial(put_events, store, copies[i][1], offset=copies[i][0]) for i in order]
        # Said as often as a crash of the one who says it wants, also of a copy that shares the key of the first.
        steps += [partial(take_back, store, "e1", *each) for each in taken_back * 2]
        for step in steps if order[0] else reversed(steps):
            step()
        for merged in (False, True):
            if merged:
                for table in ("z_event_rows", "z_notable_event_rows"):
                    store.command(f"SYSTEM START MERGES {table}")
                    store.command(f"OPTIMIZE TABLE {table} FINAL")
            found = select(store, "SELECT event_id, name, offset FROM events ORDER BY event_id")
            assert found == [
                {"event_id": "e1", "name": "app.crash", "offset": 5},
                {"event_id": "e2", "name": "app.crash", "offset": 9},
            ]
            before = "SELECT event_id FROM events WHERE time < '2025-01-01'"
            assert one(store, before) == one(store, before.replace("time", "raw_time")) == {"event_id": "e2"}
            found = select(store, "SELECT event_id, subject FROM notable_events ORDER BY event_id")
            assert found == [
                {"event_id": "e1", "subject": "crash"},
                {"event_id": "e2", "subject": "crash"},
            ]

    def test_of_two_events_under_one_id_in_one_record_the_first_counts(self, store: Store) -> None:
        put_events(store, event("e1", T0, "first"), event("e1", T0, "second"))
        assert one(store, "SELECT name FROM events") == {"name": "first"}

    def test_one_device_is_found_through_the_key(self, store: Store) -> None:
        store.command(
            "INSERT INTO z_event_rows (app_id, device_id, event_id, time, raw_time, offset)"
            " SELECT 'app', toString(intDiv(number, 1000)), toString(number), toDateTime64(1.7e9 + number, 3) AS t,"
            " t, number FROM numbers(400000)"
        )
        read, total = granules(
            store,
            "events WHERE app_id = 'app' AND device_id = '42' AND time > '2023-01-01' AND name != 'x'",
            # What conflicts with an event is looked for among all.
            "* EXCEPT (conflicts)",
        )
        # One granule, or two at a border, in each partition.
        assert total > 40
        assert read <= 16


class TestSessions:
    def test_holds_what_was_written(self, store: Store) -> None:
        written = session(
            cold_start=True,
            exit_reason="crash",
            client_session_id="sdk",
            user='{"id":"u1","personas":["p"],"properties":{"k":"v"}}',
            counters=[1, 2, 3, 4, 5, 6, 7, 8, 9],
            stitched_index=2,
            stitched_first_event_id="z",
        )
        put(store, "session_rows", row_of(written, is_final=True))
        stored = one(store, "SELECT * FROM sessions")
        assert stored == {
            "app_id": APP,
            "device_id": DEVICE,
            "session_id": str(session_id(APP, DEVICE, "a")),
            "status": "closed",
            "state": "foreground",
            "start_reason": "launch",
            "end_reason": "background",
            "exit_reason": "crash",
            "cold_start": True,
            "started_at": "2025-03-18 11:16:31.764",
            "ended_at": "2025-03-18 11:17:31.764",
            "duration_ms": 60_000,
            "is_final": True,
            "client_session_id": "sdk",
            "stitched_session_id": str(session_id(APP, DEVICE, "z")),
            "stitched_index": 2,
            "user_id": "u1",
            "user_ids": ["u1"],
            "personas": ["p"],
            "properties": {"k": "v"},
            "app_version": "1.0",
            "app_build": "",
            "environment": "",
            "os_name": "iOS",
            "os_version": "",
            "device_manufacturer": "",
            "device_model": "",
            "sdk_name": "",
            "sdk_version": "",
            "resource": {"os.name": "iOS", "service.version": "1.0"},
            "event_count": 2,
            "crash_count": 1,
            "anr_count": 2,
            "exception_count": 3,
            "network_count": 4,
            "network_error_count": 5,
            "tap_count": 6,
            "view_count": 7,
            "log_error_count": 8,
            "revision": 2,
            "partition": 3,
            "offset": 1,
            "first_event_id": "a",
            "last_event_at": "2025-03-18 11:17:31.764",
            "arrived_at": "2025-03-18 11:16:31.764",
            "is_set_aside": False,
            "sample_rate": 1,
            "policy_version": 0,
        }

    def test_the_highest_revision_counts_then_the_final_row(self, store: Store) -> None:
        rows = [
            row_of(session(event_count=3), revision=6),
            row_of(session(event_count=1), revision=2),
            row_of(session(event_count=3), revision=6, is_final=True),
            row_of(session(event_count=3), revision=6),
            row_of(session(event_count=2), revision=4),
        ]
        put(store, "session_rows", *rows, *rows)
        assert one(store, "SELECT event_count, is_final FROM sessions") == {
            "event_count": 3,
            "is_final": True,
        }

    def test_a_dissolved_session_is_gone_until_it_comes_back(self, store: Store) -> None:
        gone = deleted_row(APP, DEVICE, "a", T0, revision=6, partition=3, offset=3, arrived_at_ms=T0)
        put(
            store,
            "session_rows",
            gone,
            row_of(session(), revision=2),
            row_of(session("b", T0 + 1), revision=6),
        )
        assert select(store, "SELECT first_event_id FROM sessions") == [{"first_event_id": "b"}]
        put(store, "session_rows", row_of(session(), revision=8))
        assert one(store, "SELECT count() AS n FROM sessions") == {"n": 2}

    def test_filters_see_the_newest_row_alone(self, store: Store) -> None:
        """An index that finds an old row must not bring it back."""
        put(store, "session_rows", row_of(session(user='{"id":"old"}'), revision=2))
        put(store, "session_rows", row_of(session(user='{"id":"new"}'), revision=4))
        assert select(store, "SELECT 1 FROM sessions WHERE user_id = 'old'") == []
        assert len(select(store, "SELECT 1 FROM sessions WHERE user_id = 'new'")) == 1

    def test_one_session_is_found_through_an_index(self, store: Store) -> None:
        store.command(
            "INSERT INTO session_rows (app_id, device_id, session_id, started_at)"
            " SELECT 'app', toString(number), toUUID(concat('00000000-0000-8000-8000-', leftPad(toString(number), 12,"
            " '0'))), toDateTime64(1.7e9, 3) FROM numbers(100000)"
        )
        for condition in (
            "session_id = '00000000-0000-8000-8000-000000004242'",
            "app_id = 'app' AND toDate(started_at) = '2023-11-14' AND device_id = '4242'",
        ):
            read, total = granules(store, f"sessions WHERE {condition}")
            assert total > 10, condition
            assert read <= 3, condition

    def test_stitched_sessions_sum_their_members(self, store: Store) -> None:
        first = session("a", T0, T0 + MINUTE, counters=[0, 0, 0, 3, 1, 0, 0, 0, 0], user='{"id":"u"}')
        second = session(
            "b",
            T0 + 5 * MINUTE,
            T0 + 7 * MINUTE,
            foreground=False,
            end_reason="crash",
            counters=[1, 0, 0, 2, 0, 0, 0, 0, 0],
            stitched_first_event_id="a",
            stitched_index=2,
        )
        put(store, "session_rows", row_of(second), row_of(first), row_of(second))
        stitched = one(store, "SELECT * FROM stitched_sessions")
        ids = [str(session_id(APP, DEVICE, first)) for first in ("a", "b")]
        expected = {
            "stitched_session_id": ids[0],
            "session_ids": ids,
            "session_count": 2,
            "status": "closed",
            "started_at": "2025-03-18 11:16:31.764",
            "ended_at": "2025-03-18 11:23:31.764",
            "duration_ms": 7 * MINUTE,
            "members_duration_ms": 3 * MINUTE,
            "foreground_duration_ms": MINUTE,
            "end_reason": "crash",
            "user_id": "u",
            "event_count": 4,
            "crash_count": 1,
            "network_count": 5,
            "network_error_count": 1,
            "is_final": False,
        }
        assert {name: stitched[name] for name in expected} == expected


class TestTimelines:
    def test_a_session_reads_as_a_person_would_tell_it(self, store: Store) -> None:
        put_events(
            store,
            {
                "id": "a",
                "time": T0,
                "name": "device.app.lifecycle",
                "attributes": {"android.app.state": "created"},
            },
            event("b", T0 + 10, "app.screen.view", **{"app.screen.name": "Checkout"}),
            event("c", T0 + 20, "app.widget.click", **{"app.widget.name": "Buy"}),
            event(
                "d",
                T0 + 30,
                "http.client.request",
                **{
                    "http.request.method": "POST",
                    "url.full": "https://x/pay",
                    "http.response.status_code": 500,
                },
            ),
            event(
                "g", T0 + 30, "http.client.request", **{"url.full": "https://x/ok", "error.type": "timeout"}
            ),
            # One millisecond: the rank of the kind settles the order.
            event(
                "e",
                T0 + 40,
                "app.crash",
                **{"exception.type": "NullPointerException", "exception.message": "x"},
            ),
            event("f", T0 + 40, "log", severity_text="ERROR", body="oops"),
            # The next session, and another device.
            event("n", T0 + 50, "app.screen.view", **{"app.screen.name": "Home"}),
        )
        put_events(store, event("z", T0 + 5), device="other", offset=1)
        put(
            store,
            "session_rows",
            row_of(session("a", T0, T0 + 40)),
            row_of(session("a", T0, T0 + 40), revision=4),
            row_of(session("n", T0 + 50, T0 + 50)),
        )
        told = select(
            store,
            "SELECT offset_ms, what FROM session_timeline(session_id = {id:UUID})",
            id=str(session_id(APP, DEVICE, "a")),
        )
        assert [(row["offset_ms"], row["what"]) for row in told] == [
            (0, "cold launch"),
            (10, "view Checkout"),
            (20, "tap Buy"),
            (30, "POST https://x/pay → 500"),
            (30, "https://x/ok → timeout"),
            (40, "log ERROR oops"),
            (40, "crash: NullPointerException: x"),
        ]
        last = select(
            store, f"SELECT what FROM session_timeline(session_id = '{session_id(APP, DEVICE, 'n')}')"
        )
        assert last == [{"what": "view Home"}]

    def test_an_unknown_session_has_no_events(self, store: Store) -> None:
        put_events(store, event("a"))
        sql = "SELECT * FROM session_timeline(session_id = '00000000-0000-8000-8000-000000000000')"
        assert select(store, sql) == []

    def test_a_user_is_followed_over_devices_and_sessions(self, store: Store) -> None:
        put_events(store, event("a", T0), event("a2", T0 + 1), user={"id": "u"})
        put_events(store, event("b", T0 + 100), event("b2", T0 + 101), user={"id": "v"}, offset=3)
        put_events(store, event("c", T0 + 50), device="tablet", user={"id": "u"}, offset=1)
        put_events(store, event("d", T0 + 60), device="stranger", offset=2)
        put(
            store,
            "session_rows",
            row_of(session("a", user='{"id":"u"}')),
            # The same device in other hands.
            row_of(session("b", T0 + 100, T0 + 101, user='{"id":"v"}')),
            row_of(session("c", T0 + 50, T0 + 60, user='{"id":"u"}'), device="tablet"),
            row_of(session("d", T0 + 60, T0 + 60), device="stranger"),
        )
        sql = "SELECT event_id, session_id FROM user_timeline(app_id = {app:String}, user_id = {user:String})"
        of_phone, of_tablet = str(session_id(APP, DEVICE, "a")), str(session_id(APP, "tablet", "c"))
        assert select(store, sql, app=APP, user="u") == [
            {"event_id": "a", "session_id": of_phone},
            {"event_id": "a2", "session_id": of_phone},
            {"event_id": "c", "session_id": of_tablet},
        ]
        assert [row["event_id"] for row in select(store, sql, app=APP, user="v")] == ["b", "b2"]


class TestReleaseHealth:
    def test_sessions_of_a_sample_say_how_many_there_were(self, store: Store) -> None:
        kept = Kept("2025-03-18", 0)
        rows = [row_of(session(name, T0 + at, T0 + at + 1)) for at, name in enumerate("abc")]
        rates = (0.25, 0.25, 0.5)
        put(store, "session_rows", *(with_kept(*each) for each in zip(rows, [kept] * 3, rates, strict=True)))
        for view in (
            "release_health",
            f"release_health_between(app_id = '{APP}', from = '2025-03-01', until = '2025-04-01')",
        ):
            assert one(store, f"SELECT sessions, sample_rate, estimated_sessions FROM {view}") == {
                "sessions": 3,
                "sample_rate": 0.25,
                "estimated_sessions": 10,
            }
        assert select(store, "SELECT sample_rate FROM session_health ORDER BY started_at") == [
            {"sample_rate": rate} for rate in rates
        ]

    def test_what_is_sampled_out_is_no_duplicate(self, store: Store) -> None:
        row = ledger_row("sdk-events", 0, 0, received=5, refused=0, sampled_out=5, kept=Kept("2025-03-18", 1))
        put(store, "ledger_records", row)
        for ledger in ("ledger", "ledger_between(from = '2025-03-01', until = '2025-04-01')"):
            found = one(store, f"SELECT received, duplicates, sampled_out, expired FROM {ledger}")
            assert {name: int(value) for name, value in found.items()} == {
                "received": 5,
                "duplicates": 0,
                "sampled_out": 5,
                "expired": 0,
            }

    def test_counts_crash_free_sessions_and_users(self, store: Store) -> None:
        user = '{{"id":"{}"}}'.format
        put(
            store,
            "session_rows",
            row_of(session("a", T0, T0 + 1_000, user=user("u"))),
            row_of(
                session("b", T0 + 2_000, T0 + 5_000, user=user("u"), counters=[1, 0, 0, 0, 0, 0, 0, 0, 0])
            ),
            row_of(session("c", T0, T0 + 2_000, user=user("v"), end_reason="exception"), device="d2"),
            row_of(session("d", T0, T0 + 4_000, user=user("w"), end_reason="anr"), device="d3"),
            row_of(session("e", T0, T0 + 5_000), device="d4"),
            row_of(session("f", T0, T0, resource="{}"), device="d5"),
            # The next process tells that this one crashed and that one hung; no event of theirs does.
            row_of(session("g", T0, T0 + 3_000, user=user("x"), exit_reason="crash"), device="d6"),
            row_of(session("h", T0, T0 + 3_000, user=user("y"), exit_reason="anr"), device="d7"),
            # No rate is of the background.
            row_of(session("i", T0, T0 + 9_000, user=user("z"), foreground=False), device="d8"),
            row_of(session("j", T0 + MINUTE, T0 + MINUTE, foreground=False, end_reason="crash"), device="d8"),
            row_of(session("k", T0, T0, resource='{"service.version":"2.0"}', foreground=False), device="d8"),
        )
        health = one(store, "SELECT * FROM release_health WHERE app_version = '1.0'")
        assert health == {
            "app_id": APP,
            "app_version": "1.0",
            "day": "2025-03-18",
            "sessions": 7,
            "devices": 6,
            "users": 5,
            "crash_free_sessions": 4,
            "crash_free_session_rate": pytest.approx(4 / 7),
            "crash_free_users": 2,
            "crash_free_user_rate": 0.4,
            "crash_free_devices": 3,
            "crash_free_device_rate": 0.5,
            "anr_free_sessions": 5,
            "anr_free_session_rate": pytest.approx(5 / 7),
            "anr_free_users": 3,
            "anr_free_user_rate": 0.6,
            "median_duration_ms": 3_000,
            "p95_duration_ms": 5_000,
            "background_sessions": 2,
            "background_crashes": 1,
            "sample_rate": 1,
            "estimated_sessions": 7,
            "stitched_sessions": 7,
            "crash_free_stitched_sessions": 4,
            "crash_free_stitched_session_rate": pytest.approx(4 / 7),
        }
        behind = one(store, "SELECT * FROM release_health WHERE app_version = '2.0'")
        assert (behind["sessions"], behind["background_sessions"], behind["background_crashes"]) == (0, 1, 0)
        assert {
            behind[name]
            for name in behind
            if name.endswith(("free_rate", "_session_rate", "_user_rate", "_device_rate", "duration_ms"))
        } == {None}
        nobody = one(store, "SELECT crash_free_user_rate FROM release_health WHERE app_version = ''")
        assert nobody == {"crash_free_user_rate": None}


class TestDeadLetters:
    def test_any_bytes_come_back_unchanged(self, store: Store) -> None:
        value = bytes(range(256)) * 2 + b'\r\n{"a": "\\u0000"}\xff\xfe'
        row = dead_letter_row(
            time_ms=T0,
            reason="malformed_json",
            detail='say "what"\nü',
            topic="measure-events",
            partition=1,
            offset=2**53 + 1,
            event_index=None,
            key=b"\x00key",
            value=value,
        )
        assert b"\n" not in row
        put(store, "dead_letter_rows", row, row)
        stored = one(
            store, "SELECT * EXCEPT (key, value), hex(key) AS key, hex(value) AS value FROM dead_letters"
        )
        assert bytes.fromhex(stored.pop("value")) == value
        assert bytes.fromhex(stored.pop("key")) == b"\x00key"
        assert stored == {
            "time": "2025-03-18 11:16:31.764",
            "reason": "malformed_json",
            "detail": 'say "what"\nü',
            "topic": "measure-events",
            "partition": 1,
            "offset": 2**53 + 1,
            "event_index": -1,
            "replayed_at": None,
            "bytes": len(value),
            "is_left_out": False,
        }


class TestLedger:
    def test_balances_whatever_was_inserted_twice(self, store: Store) -> None:
        put_events(store, event("a"), event("b"), event("a"), offset=0)
        put_events(store, event("a"), event("c"), offset=1)
        rows = [
            ledger_row("sdk-events", 3, 0, received=4, refused=1),
            ledger_row("sdk-events", 3, 1, received=2, refused=0),
            ledger_row("sdk-events", 3, 2, received=1, refused=1),
            ledger_row("sdk-events", 4, 0, received=1, refused=1),
        ]
        # The same input, cut into other batches by a replay.
        put(store, "ledger_records", b"\n".join(rows[:2]), b"\n".join(rows[1:]), rows[0], *rows)
        put_events(store, event("a"), event("b"), event("a"), offset=0)
        assert select(store, "SELECT * FROM ledger ORDER BY partition") == [
            {
                "topic": "sdk-events",
                "partition": 3,
                "first_offset": 0,
                "last_offset": 2,
                "records": 3,
                "received": 7,
                "events": 3,
                "duplicates": 2,
                "refused": 2,
                "repaired": 0,
                "conflicts": 0,
                "expired": 0,
                "sampled_out": 0,
                "erased": 0,
            },
            {
                "topic": "sdk-events",
                "partition": 4,
                "first_offset": 0,
                "last_offset": 0,
                "records": 1,
                "received": 1,
                "events": 0,
                "duplicates": 0,
                "refused": 1,
                "repaired": 0,
                "conflicts": 0,
                "expired": 0,
                "sampled_out": 0,
                "erased": 0,
            },
        ]

    def test_events_ahead_of_the_ledger_are_not_counted_yet(self, store: Store) -> None:
        put(store, "ledger_records", ledger_row("sdk-events", 3, 0, received=1, refused=0))
        put_events(store, event("a"), offset=0)
        put_events(store, event("b"), offset=1)
        row = one(store, "SELECT events, duplicates FROM ledger")
        assert row == {"events": 1, "duplicates": 0}

    def test_ranges_part_every_offset(self, store: Store) -> None:
        rows = [ledger_row("sdk-events", 0, offset, received=1, refused=1) for offset in range(0, 30_000, 7)]
        put(store, "ledger_records", b"\n".join(rows))
        ranges = select(store, "SELECT first_offset, last_offset, records FROM ledger ORDER BY first_offset")
        assert sum(row["records"] for row in ranges) == len(rows)
        assert all(a["last_offset"] < b["first_offset"] for a, b in pairwise(ranges))


def test_offsets_begin_anew_above_all_that_is_stored(store: Store) -> None:
    """Whichever table reaches furthest; and above 0 where nothing is stored, as the runbook counts."""
    assert (stored_up_to(store.query), next_offset(store.query)) == (0, 10_000)
    put(store, "ledger_records", ledger_row("sdk-events", 0, 9_998, received=1, refused=0))
    assert (stored_up_to(store.query), next_offset(store.query)) == (9_999, 10_000)
    put_events(store, event("a"), offset=9_999)
    assert (stored_up_to(store.query), next_offset(store.query)) == (10_000, 10_000)
    put_events(store, event("b"), offset=10_000)
    assert (stored_up_to(store.query), next_offset(store.query)) == (10_001, 20_000)
