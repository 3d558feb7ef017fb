"""Events of a database of before migration 0019: moved while sinks write, killed on the way, right at any moment.

Right is what a database shows that had the tables of now from the beginning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

import orjson
import pytest

from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.move import Move
from pipeline.clickhouse.statements import MigrationError
from pipeline.clickhouse.store import Store, Unreachable
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.storage.rows import ledger_row
from tests.support.event_rows import event_rows
from tests.support.older_schema import migrate_to_before
from tests.support.one_device import T0, envelope, event

DAY_MS = 86_400_000
NAMES = ("tick", "app.crash", "app.screen.view", "http.client.request", "app.anr")
VIEWS = {
    "events": "count(), sum(cityHash64(* EXCEPT (attributes), mapSort(attributes)))",
    "narrated_events": "count(), sum(cityHash64(what, rank))",
    # The old table does not have the stamp of the device.
    "notable_events": "count(), sum(cityHash64(* EXCEPT raw_time))",
    "conflicting_events": "count(), sum(cityHash64(*))",
    "ledger": "sum(records), sum(events), sum(duplicates), sum(repaired), sum(conflicts)",
}
ROWS_AT_ONCE = 60
THREE_CLOCKS = (0, 0, 0, 1, 5), (0, 0, 0, -20_000, 5_000)
"""How many days old events are, and how many days wrong clocks of devices are."""
TWO_MONTHS = (0, 0, 0, 1, 40), (0,)


class Killed(Exception):
    """Stands for the end of the process that moves."""


class Traffic:
    """Records of a few devices, some of them twice, with clocks that say anything; the same for every run."""

    def __init__(self, seed: int, days: Sequence[int], shifts: Sequence[int]) -> None:
        """Events are so many days old, and devices' clocks so many days wrong: each of the first counts as often."""
        self._random = Random(seed)
        self._days, self._shifts = days, shifts
        self._offset = 0
        self._sent: list[dict[str, Any]] = []

    def record(self, *, restamped: bool = False) -> tuple[bytes, bytes, bytes]:
        """The rows of the next record's events, of its ledger, and of what takes copies back that are stamped anew."""
        random, offset = self._random, self._offset
        self._offset += random.choice((1, 1, 3_000))
        device = f"d'{random.randrange(40)}"
        day = random.choice(self._days)
        # How wrong the device's clock is.
        shift = random.choice(self._shifts) * DAY_MS
        events, copies = [], []
        for number in range(random.randrange(1, 6)):
            time = T0 - day * DAY_MS + random.randrange(DAY_MS // 2)
            said = event(f"{offset}-{number}", time, random.choice(NAMES), n=number, x="ü\\'")
            if self._sent and random.random() < 0.2:
                # Of its own device, as sent before, or stamped anew.
                said = random.choice(self._sent)
                device = said["device"]
                if restamped and random.random() < 0.5:
                    said = {**said, "time": said["time"] - 3 * DAY_MS}
            events.append({"shift": shift, **said, "device": device})
        events = [each for each in events if each["device"] == device]
        body = envelope(
            *({name: each[name] for name in each if name not in ("device", "shift")} for each in events),
            device=device,
            at=T0 + offset,
        )
        for each, decoded in zip(events, body.events, strict=True):
            decoded.raw_time_ms += each["shift"]
        rows = event_rows(body, topic="sdk-events", partition=offset % 2, offset=offset)
        for place, (each, row) in enumerate(zip(events, rows.split(b"\n"), strict=True)):
            first = next(
                (old for old in self._sent if old["id"] == each["id"] and old["device"] == device), None
            )
            if first is None:
                self._sent.append(each)
            elif first["time"] != each["time"]:
                copies.append(
                    orjson.dumps(
                        {
                            "app_id": "org.example.app",
                            "device_id": device,
                            "event_id": each["id"],
                            "raw_time": orjson.Fragment(re.search(rb'"raw_time":([^,]+)', row)[1]),
                            "offset": offset,
                            "event_index": place,
                        }
                    )
                )
        return (
            rows,
            ledger_row("sdk-events", offset % 2, offset, received=len(events), refused=0),
            b"\n".join(copies),
        )


class Site:
    """The database that is moved, and beside it the one that always had the tables of now."""

    def __init__(self, clickhouse: EmbeddedClickHouse, name: str, traffic: Traffic) -> None:
        self.store, self.exact = Watched(f"{clickhouse.url}/{name}"), Store(f"{clickhouse.url}/{name}_exact")
        self.traffic = traffic
        self.looked = self.waited = 0
        self._later: dict[str, list[bytes]] = {
            "z_event_feed": [],
            "ledger_records": [],
            "z_event_copy_feed": [],
        }
        self._expected: dict[str, bytes] = {}
        migrate_to_before(self.store)
        migrate(self.exact)
        for _ in range(4):
            self.put(30, "event_rows", restamped=True)

    def put(self, records: int, table: str, *, restamped: bool = False) -> None:
        """Store some records in both, in the one as a sink does that inserts events into this table.

        The other gets them when somebody looks.
        """
        made = [self.traffic.record(restamped=restamped) for _ in range(records)]
        events, ledger, copies = (b"\n".join(filter(None, rows)) for rows in zip(*made, strict=True))
        token = f"{self.traffic._offset}"
        try:
            self.store.insert(table, events, token=token)
        except Unreachable:
            # A sink of now waits. One of before need not.
            assert table == "z_event_feed"
            self.waited += 1
            self.store.insert("event_rows", events, token=token)
        self.store.insert("ledger_records", ledger, token=token)
        for later, rows in (
            ("z_event_feed", events),
            ("ledger_records", ledger),
            ("z_event_copy_feed", copies),
        ):
            self._later[later] += [rows] if rows else []
        self._expected.clear()

    def look(self) -> None:
        """Every view shows what it should."""
        self.looked += 1
        for table, blocks in self._later.items():
            if blocks:
                self.exact.insert(table, b"\n".join(blocks), token=f"{self.traffic._offset}")
                blocks.clear()
        for view, columns in VIEWS.items():
            sql = f"SELECT {columns} FROM {view}"
            if view not in self._expected:
                self._expected[view] = self.exact.query(sql, format="TSV")
            assert self.store.query(sql, format="TSV") == self._expected[view], view

    def close(self) -> None:
        """End the connections."""
        self.store.close()
        self.exact.close()


class Watched(Store):
    """Calls `before` with each statement, which may raise."""

    before: Callable[[str], None] | None = None

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """As it is."""
        self._tell(f"{sql} {parameters}")
        super().command(sql, parameters, settings)

    def insert(self, table: str, rows: bytes, *, token: str) -> None:
        """As it is."""
        self._tell(f"INSERT INTO {table} {rows.decode()}")
        super().insert(table, rows, token=token)

    def _tell(self, sql: str) -> None:
        # Not told of what is done meanwhile.
        before, self.before = self.before, None
        try:
            if before is not None:
                before(sql)
        finally:
            self.before = before


@pytest.fixture(params=[False], ids=["two_months"])
def site(clickhouse: EmbeddedClickHouse, database: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A database as 0018 left it, with events in it: of two months, or where `param` says so of one by clocks of three.

    A move goes through each month of a clock by itself, several times.
    """
    made = Site(clickhouse, database, Traffic(7, *(THREE_CLOCKS if request.param else TWO_MONTHS)))
    yield made
    made.close()
    clickhouse.command(f"DROP DATABASE {database}_exact SYNC")


def move(store: Store) -> Move:
    return Move(store, rows_at_once=ROWS_AT_ONCE)


def is_copied(sql: str) -> bool:
    """Whether all is copied and the first sum is about to be noted."""
    return '"step":"summed old events","place":"0"' in sql


def tables(store: Store) -> set[str]:
    return set(store.query("SHOW TABLES", format="TSV").decode().split())


@pytest.mark.parametrize("site", [True], ids=["three_clocks"], indirect=True)
def test_right_at_any_moment_while_sinks_write_and_the_move_is_killed(site: Site) -> None:
    """Between any two statements a sink of before or of now may insert, and some are the last of their process."""
    random, count, kills = Random(3), 0, 0
    statements: list[str] = []

    def between(sql: str) -> None:
        nonlocal count, kills
        count += 1
        statements.append(sql)
        if count % 6 == 0:
            site.put(2, random.choice(("event_rows", "z_event_feed")))
        if count % 30 == 0 or "VIEW z_stored" in sql:
            site.look()
        if count in (9, 75, 100):
            kills += 1
            raise Killed

    site.store.before = between
    while True:
        try:
            migrate(site.store, move=move(site.store))
            break
        except Killed:
            continue
    site.store.before = None
    assert kills == 3
    assert site.looked > 8 and site.waited
    copied = [sql for sql in statements if sql.startswith("INSERT INTO z_move_feed")]
    assert len(copied) < 2 * len(set(copied)), "a range that was done is not done again"
    state = move(site.store).state()
    assert state.phase == "moved"
    site.look()


def test_there_is_a_way_back_until_it_is_finished(site: Site) -> None:
    migrate(site.store)
    for step in (move(site.store).back, move(site.store).again, move(site.store).back):
        step()
        for table in ("z_event_feed", "event_rows"):
            site.put(2, table)
        # What an operator chose stays, whoever migrates.
        migrate(site.store)
        site.look()
    with pytest.raises(MigrationError, match="moved back"):
        move(site.store).finish()
    move(site.store).again()
    move(site.store).finish()
    site.put(2, "z_event_feed")
    site.look()
    migrate(site.store)
    assert tables(site.store) == tables(site.exact)
    assert move(site.store).state().phase == "finished"
    for step in (move(site.store).back, move(site.store).again):
        with pytest.raises(MigrationError):
            step()


def test_views_show_the_new_tables_only_when_they_are_what_the_old_ones_are(site: Site) -> None:
    """What is lost on the way is copied again, once in a migration; then it is an operator who says go on."""
    losses = 2

    def lose(sql: str) -> None:
        nonlocal losses
        if is_copied(sql) and losses:
            losses -= 1
            site.store.command("DELETE FROM z_event_rows WHERE cityHash64(event_id) % 50 = 1")

    site.store.before = lose
    with pytest.raises(MigrationError, match=r"summed new events: \d+ rows"):
        migrate(site.store)
    site.look()
    assert move(site.store).state().phase == "moving"
    migrate(site.store)
    site.store.before = None
    site.look()
    assert move(site.store).state().phase == "moved"
    assert site.store.query("SELECT max(round) FROM z_move_steps", format="TSV") == b"3\n"
    for loss in (
        "DELETE FROM z_notable_event_rows WHERE cityHash64(event_id) % 9 = 1",
        "DELETE FROM z_event_version_rows WHERE event_key % 9 = 1",
        # As many as before.
        "ALTER TABLE z_event_rows UPDATE app_version = 'other' WHERE cityHash64(event_id) % 9 = 1"
        " SETTINGS mutations_sync = 1",
    ):
        site.store.command(loss)
    found = move(site.store).differences()
    assert all(f"summed {what}" in found for what in ("old events", "old versions", "notable events")), found


def test_an_empty_database_has_no_old_tables_at_once(
    clickhouse: EmbeddedClickHouse, database_url: str
) -> None:
    store = Store(database_url)
    migrate_to_before(store)
    migrate(store)
    assert not {"event_rows", "notable_event_rows", "event_version_rows", "z_move_steps"} & tables(store)
    store.close()
