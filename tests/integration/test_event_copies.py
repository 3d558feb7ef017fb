"""Copies of events that were stamped anew, from records to views: taken back within seconds, or by a rebuild."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from pipeline.clickhouse.store import Store
from pipeline.domain.policy import Policies, Policy
from pipeline.domain.retention import FOR_EVER, Retention, Retentions
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import native
from pipeline.roles.rebuild import Rebuild, RebuildScope
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord
from pipeline.storage.event_copies import rows_of_copies
from pipeline.storage.kept import Keeping
from pipeline.storage.rows import ledger_row
from tests.support.event_rows import event_rows
from tests.support.migrated import migrate

APP = "app"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
T0 = 20_000 * DAY_MS - HOUR_MS
"""An hour before midnight, on 2024-10-03."""
SPAN = {"app_id": APP, "from": "2024-01-01", "until": "2025-01-01"}
POLICIES = Policies(Policy(restate_horizon_ms=4 * DAY_MS, state_ttl_ms=7 * DAY_MS))
DEVICES, RECORDS = 4, 60
NAMES = ("tap", "app.crash", "app.screen.view")

KEPT = Keeping(Retentions(Retention(FOR_EVER, FOR_EVER)))
"""As the events here: their records are years old."""


class Traffic:
    """What some devices sent, some of it again under other stamps, and what came of it in plain Python."""

    def __init__(self, random: Random) -> None:
        self.records: list[SourceRecord] = []
        for offset in range(DEVICES * RECORDS):
            turn = offset // DEVICES
            # In the middle all are silent for so long that they are forgotten.
            came_ms = T0 + DAY_MS + turn * 60_000 + (9 * DAY_MS if turn >= RECORDS // 2 else 0)
            events = [self._event(random, turn) for _ in range(3)]
            device = f"d{offset % DEVICES}"
            value = {"v": 1, "app_id": APP, "device_id": device, "events": events}
            if random.random() < 0.2:
                value["sent_at"] = came_ms + random.choice((-2 * DAY_MS, 2 * HOUR_MS))
            key = f"{APP}/{device}".encode()
            self.records.append(SourceRecord(offset, came_ms, key, json.dumps(value).encode()))
        self.firsts: dict[tuple[str, str], tuple[int, int]] = {}
        self.stamps: dict[tuple[str, str], set[int]] = {}
        """The stamps of each event: what differs in them alone is another version."""
        self.received = 0
        for record in self.records:
            value = json.loads(record.value or b"")
            for index, event in enumerate(value["events"]):
                name = value["device_id"], event["id"]
                self.received += 1
                self.firsts.setdefault(name, (record.offset, index))
                self.stamps.setdefault(name, set()).add(event["time"])

    @property
    def conflicts(self) -> int:
        return sum(len(stamps) - 1 for stamps in self.stamps.values())

    @staticmethod
    def _event(random: Random, turn: int) -> dict[str, Any]:
        number = random.randrange(turn + 1) if random.random() < 0.4 else turn
        time_ms = T0 + number * 60_000 - random.choice((0, 0, 0, 1, DAY_MS, 2 * HOUR_MS))
        return {"id": f"e{number}-{random.randrange(3)}", "name": NAMES[number % 3], "time": time_ms}

    @property
    def event_blocks(self) -> list[tuple[bytes, bytes]]:
        blocks = []
        for record in self.records:
            decoded = native.decode(record.value, record.key, record.timestamp)
            assert isinstance(decoded, native.Envelope)
            rows = event_rows(decoded, topic="sdk-events", partition=0, offset=record.offset)
            account = ledger_row("sdk-events", 0, record.offset, received=len(decoded.events), refused=0)
            blocks.append((rows, account))
        return blocks

    def copy_blocks(self) -> list[bytes]:
        partition, blocks = Partition(0, POLICIES), list[bytes]()
        for at in range(0, len(self.records), 7):
            effects = partition.apply(self.records[at : at + 7])
            assert not effects.rest
            partition.commit(effects)
            for key, value in effects.copies:
                rows = rows_of_copies(value, key, KEPT)
                assert isinstance(rows, list)
                blocks += rows
        return blocks


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    made = Traffic(Random(12))
    assert sum(len({at_ms // DAY_MS for at_ms in stamps}) > 1 for stamps in made.stamps.values()) > 50
    return made


@pytest.fixture(scope="module")
def store(clickhouse: EmbeddedClickHouse) -> Iterator[Store]:
    made = Store(f"{clickhouse.url}/test_event_copies")
    migrate(made)
    yield made
    made.close()
    clickhouse.command("DROP DATABASE test_event_copies SYNC")


def ask(store: Store, sql: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.query(sql, parameters).splitlines()]


def places(store: Store) -> dict[tuple[str, str], list[tuple[int, int]]]:
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for row in ask(
        store, "SELECT device_id, event_id, offset, event_index FROM events ORDER BY offset, event_index"
    ):
        place = int(row["offset"]), int(row["event_index"])
        found.setdefault((row["device_id"], row["event_id"]), []).append(place)
    return found


def account(store: Store) -> Counter[str]:
    totals: Counter[str] = Counter()
    for row in ask(store, "SELECT * FROM ledger"):
        totals.update(
            {name: int(row[name]) for name in ("received", "events", "duplicates", "refused", "conflicts")}
        )
    return totals


def put(store: Store, table: str, rows: Sequence[bytes], token: str) -> None:
    assert not store.insert(table, b"\n".join(rows), token=token)


def test_from_records_to_views(store: Store, traffic: Traffic) -> None:
    copies, blocks = traffic.copy_blocks(), traffic.event_blocks
    # The topics are read each by itself: what takes back may come before what it takes back, or again.
    put(store, "z_event_copy_feed", copies[::2], "a")
    put(store, "z_event_feed", [rows for rows, _ in blocks], "a")
    put(store, "ledger_records", [rows for _, rows in blocks], "a")
    before = account(store)
    assert before["received"] == before["events"] + before["duplicates"] == traffic.received
    put(store, "z_event_copy_feed", copies, "b")
    put(store, "z_event_feed", [rows for rows, _ in blocks[::3]], "b")
    found = places(store)
    # All but what came again after its device had been forgotten: that is stored besides.
    assert {name: stored[0] for name, stored in found.items()} == traffic.firsts
    beside = {name: len(stored) - 1 for name, stored in found.items() if len(stored) > 1}
    half = DEVICES * RECORDS // 2
    assert beside and all(
        place[0] >= half > found[name][0][0] for name in beside for place in found[name][1:]
    )
    told = ask(
        store,
        "SELECT * FROM double_events(app_id={app_id:String}, from={from:String}, until={until:String})",
        SPAN,
    )
    assert {(row["device_id"], row["event_id"]): int(row["copies"]) for row in told} == beside
    meanwhile = account(store)
    assert meanwhile["events"] == len(traffic.firsts) + sum(beside.values())
    assert meanwhile["received"] == meanwhile["events"] + meanwhile["duplicates"]

    for merged in (False, True):
        if merged:
            store.command("OPTIMIZE TABLE z_event_rows FINAL")
            store.command("OPTIMIZE TABLE z_notable_event_rows FINAL")
        dry = rebuild(store)
        list(dry.differences())
        assert dry.copies == (0 if merged else sum(beside.values()))
        work = rebuild(store)
        list(work.differences(take_back=True))
        assert work.copies == dry.copies
        assert places(store) == {name: [place] for name, place in traffic.firsts.items()}
        after = account(store)
        assert after["events"] == len(traffic.firsts)
        assert after["duplicates"] == after["received"] - after["events"]
        assert after["conflicts"] == traffic.conflicts
        notable = ask(store, "SELECT subject, device_id, event_id FROM notable_events")
        expected = ask(
            store,
            "SELECT if(name = 'app.crash', 'crash', 'view') AS subject, device_id, event_id FROM events"
            " WHERE name IN ('app.crash', 'app.screen.view')",
        )
        assert Counter(map(str, notable)) == Counter(map(str, expected)) != Counter()
    assert (
        ask(
            store,
            "SELECT * FROM double_events(app_id={app_id:String}, from={from:String}, until={until:String})",
            SPAN,
        )
        == []
    )


def rebuild(store: Store) -> Rebuild:
    return Rebuild(store, POLICIES, RebuildScope(), partitions=1, now_ms=T0 + 30 * DAY_MS)
