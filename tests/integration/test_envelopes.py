"""Envelopes on their way into ClickHouse: what is stored of them is what is stored of their events one by one."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pipeline.clickhouse.store import Store
from pipeline.domain.retention import Retention, Retentions
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds, Source
from pipeline.roles.sink.sink import Sink
from pipeline.storage.dead_letter import DeadLetter
from pipeline.storage.kept import Keeping
from pipeline.storage.rows import unpacked
from tests.support.attribute_texts import EVENTS
from tests.support.envelope_lines import line_of, record_of
from tests.support.migrated import migrate

FOREVER = Keeping(Retentions(Retention(0, 0)))
"""The records are older than what would be kept."""
TABLES = ("z_event_rows", "z_notable_event_rows", "z_event_version_rows")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    migrate(store)
    for table in TABLES:
        store.command(f"SYSTEM STOP MERGES {table}")
    yield store
    store.close()


def rows(store: Store, table: str, device: str = "") -> list[bytes]:
    """All rows as they lie, with what is computed on the way; with `device` those of one, without its name."""
    # A star has no computed columns.
    columns = (
        "* EXCEPT (device_id), version, status_code" if table == "z_event_rows" else "* EXCEPT (device_id)"
    )
    if not device:
        columns = columns.replace(" EXCEPT (device_id)", "")
    sql = f"SELECT {columns} FROM {table} WHERE {{device:String}} IN ('', device_id) ORDER BY ALL"
    if table == "z_event_version_rows":
        sql = f"SELECT * FROM {table} ORDER BY ALL"
    return store.query(sql, {"device": device}).splitlines()


def test_events_of_an_envelope_are_stored_as_they_are_one_by_one(store: Store) -> None:
    store.insert("z_envelope_feed", line_of("packed", 7), token="a")
    store.insert("z_event_feed", unpacked(line_of("alone", 7)), token="b")
    for table in ("z_event_rows", "z_notable_event_rows"):
        assert rows(store, table, "packed") == rows(store, table, "alone") != []
    contents = [json.loads(row)["content"] for row in rows(store, "z_event_version_rows")]
    assert len(contents) == 2 * len(EVENTS) and len(set(contents)) == len(EVENTS)
    found = json.loads(
        store.query("SELECT count() AS n, max(event_index) AS last FROM events WHERE offset = 7")
    )
    assert found == {"n": 2 * len(EVENTS), "last": len(EVENTS) - 1}


def test_an_event_that_comes_again_in_an_envelope_contradicts_nothing(store: Store) -> None:
    store.insert("z_event_feed", unpacked(line_of("d", 7)), token="old")
    store.insert("z_envelope_feed", line_of("d", 9), token="new")
    found = json.loads(
        store.query("SELECT count() AS n, sum(conflicts) AS conflicts, max(offset) AS at FROM events")
    )
    assert found == {"n": len(EVENTS), "conflicts": 0, "at": 7}


def test_a_retried_block_of_envelopes_is_stored_once_in_every_table(store: Store) -> None:
    block = b"\n".join(line_of(f"d{number}", number) for number in range(5))
    store.command("DETACH TABLE z_notable_event_tap")
    store.insert("z_envelope_feed", block, token="retry")
    store.command("ATTACH TABLE z_notable_event_tap")
    stored = {table: rows(store, table) for table in ("z_event_rows", "z_event_version_rows")}
    assert [len(found) for found in stored.values()] == [5 * len(EVENTS)] * 2
    assert rows(store, "z_notable_event_rows") == []
    for _ in range(2):
        store.insert("z_envelope_feed", block, token="retry")
        assert {table: rows(store, table) for table in stored} == stored
        assert len(rows(store, "z_notable_event_rows")) == 5 * 3


def test_of_an_envelope_that_is_refused_all_events_but_the_one_at_fault_are_stored(store: Store) -> None:
    dead: list[DeadLetter] = []
    metrics = Metrics()

    async def insert(table: str, rows: bytes, *, token: str) -> Any:
        # ClickHouse refuses nothing that is decoded: one event is spoilt on its way.
        lines = [
            re.sub(rb'\["e2",[0-9.]+', b'["e2","never"', line) if b'"device_id":"b"' in line else line
            for line in rows.split(b"\n")
        ]
        return await store.insert_forever(table, b"\n".join(lines), token=token)

    async def keep(refused: Sequence[DeadLetter]) -> None:
        dead.extend(refused)

    async def run() -> None:
        sink = Sink(insert, keep, metrics, bounds=Bounds(max_rows=1), keeping=FOREVER)
        records = [record_of(device, offset) for offset, device in ((7, "a"), (8, "b"), (9, "c"))]
        pieces = sink.event_pieces(Source("sdk-events", 0), records)
        await sink.events.add_all(pieces, acknowledge=lambda: None, still_mine=lambda: True)

    asyncio.run(run())
    stored = json.loads(
        store.query("SELECT count() AS n, groupArrayIf(event_id, device_id = 'b') AS ids FROM events")
    )
    assert (stored["n"], sorted(stored["ids"])) == (11, ["e0", "e1", "e3"])
    assert [(each.offset, str(each.rejected.reason), each.rejected.event_index) for each in dead] == [
        (8, "not_storable", 2)
    ]
    assert json.loads(store.query("SELECT sum(received) AS r, sum(refused) AS f FROM ledger_records")) == {
        "r": 12,
        "f": 1,
    }
    assert metrics.registry.get_sample_value("pipeline_rows_total", {"table": "z_envelope_feed"}) == 11
