"""What was known at a time, beside plain Python over the same history."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from uuid import uuid4

import orjson
import pytest

from pipeline.clickhouse.statements import statements
from pipeline.clickhouse.store import StatementFailed, Store
from pipeline.domain.event import COUNTERS
from pipeline.domain.session import Session
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.schema_files import schema_folder
from pipeline.storage.columns import STORED_SESSION_COLUMNS
from pipeline.storage.rows import deleted_row, session_row
from tests.support.migrated import migrate

T0 = 1_760_000_000_000
SPAN = {"from": "2025-01-01", "until": "2026-01-01"}
RANGE = "app_id = {app:String}, from = {from:String}, until = {until:String}, known_at = {known:String}"
SHOWN = ("first_event_id", "device_id", "event_count", "crash_count", "user_ids", "revision", "is_final")
Row = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """One row that was told of a session."""

    number: int
    revision: int
    is_final: bool = False
    is_deleted: bool = False
    event_count: int = 2
    crashes: int = 0
    app: str = ""

    @property
    def version(self) -> int:
        return self.revision * 2 + self.is_final

    @property
    def row(self) -> bytes:
        key, start = (self.app, f"d{self.number % 5}", f"e{self.number}"), T0 + self.number * 600_000
        place: dict[str, Any] = {
            "revision": self.revision,
            "partition": 0,
            "offset": self.revision // 2,
            "arrived_at_ms": T0,
        }
        if self.is_deleted:
            return deleted_row(*key, start, **place)
        session = Session(
            first_event_id=key[2], started_at_ms=start, start_reason="launch", foreground=True, resource="{}",
            last_ms=start + 60_000, ended_at_ms=start + 60_000, end_reason="crash" if self.crashes else "background",
            event_count=self.event_count, stitched_first_event_id=key[2], user_ids=[f"u{self.number % 7}"],
            counters=[self.crashes, *[0] * (len(COUNTERS) - 1)],
        )  # fmt: skip
        return session_row(*key[:2], session, status="closed", is_final=self.is_final, **place)

    @property
    def shown(self) -> Row:
        return {
            "first_event_id": f"e{self.number}", "device_id": f"d{self.number % 5}", "event_count": self.event_count,
            "crash_count": self.crashes, "user_ids": [f"u{self.number % 7}"], "revision": self.revision,
            "is_final": self.is_final,
        }  # fmt: skip


def known(told: Sequence[Told]) -> list[Row]:
    """What plain Python knows after that: of each session the row of the highest version, unless it takes it back."""
    newest: dict[int, Told] = {}
    for each in told:
        if each.number not in newest or each.version >= newest[each.number].version:
            newest[each.number] = each
    return [each.shown for _, each in sorted(newest.items()) if not each.is_deleted]


class Database:
    """One for all tests, each with an app of its own."""

    def __init__(self, store: Store, app: str = "") -> None:
        self.store, self.app = store, app

    def ask(self, sql: str, **given: object) -> list[Row]:
        return [
            orjson.loads(line)
            for line in self.store.query(sql, {**SPAN, "app": self.app, **given}).splitlines()
        ]

    def now(self) -> str:
        """By the server's clock, between two inserts."""
        time.sleep(0.002)
        (row,) = self.ask("SELECT toString(now64(3, 'UTC')) AS now")
        time.sleep(0.002)
        return str(row["now"])

    def tell(self, told: Sequence[Told], token: str = "") -> None:
        self.store.insert(
            "session_rows",
            b"\n".join(replace(each, app=self.app).row for each in told),
            token=token or uuid4().hex,
        )

    def shown(self, source: str, at: str = "") -> list[Row]:
        sql = f"SELECT {', '.join(SHOWN)} FROM {source} WHERE app_id = {{app:String}}"
        sql += " ORDER BY toUInt32(substring(first_event_id, 2))"
        return self.ask(sql, known=at)

    def known_at(self, at: str) -> list[Row]:
        return self.shown(f"sessions_known_at({RANGE})", at)


@pytest.fixture(scope="module")
def filled(clickhouse: EmbeddedClickHouse) -> Iterator[Database]:
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate(store)
    yield Database(store)
    store.close()
    clickhouse.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture
def base(filled: Database) -> Database:
    return Database(filled.store, uuid4().hex[:6])


def history(random: Random, blocks: int) -> Iterator[list[Told]]:
    """Blocks as a sink may insert them: restated, taken back, final, and rows of before again."""
    told: list[Told] = []
    for at in range(1, blocks + 1):
        block = []
        for number in random.sample(range(30), random.randrange(1, 12)):
            kind = random.random()
            if kind < 0.2 and told:
                block.append(random.choice(told))
            elif kind < 0.35:
                block.append(Told(number, at * 2, is_deleted=True))
            else:
                events, crashes = random.randrange(1, 9), random.choice((0, 0, 1, 2))
                block.append(Told(number, at * 2, random.random() < 0.2, event_count=events, crashes=crashes))
        told += block
        yield block


@pytest.mark.parametrize("seed", range(2))
def test_it_is_what_had_been_told_by_then(base: Database, seed: int) -> None:
    random = Random(seed)
    told: list[Told] = []
    moments = [(base.now(), 0)]
    for block in history(random, 14):
        base.tell(block, token := uuid4().hex)
        if random.random() < 0.3:
            # The sink does not know whether it went through.
            base.tell(block, token)
        told += block
        moments.append((base.now(), len(told)))
        if random.random() < 0.3:
            base.store.command("OPTIMIZE TABLE session_rows FINAL")
            base.store.command("OPTIMIZE TABLE z_session_revision_rows FINAL")
    for at, count in moments:
        assert base.known_at(at) == known(told[:count]), (seed, count)
    assert base.known_at(base.now()) == base.shown("sessions") == known(told)


def test_the_share_that_is_free_of_crashes_as_it_was_known(base: Database) -> None:
    base.tell([Told(n, 2) for n in range(10)])
    before = base.now()
    base.tell([Told(0, 4, crashes=1), Told(1, 4, is_deleted=True)])
    after = base.now()
    sql = (
        "SELECT sessions, crash_free_sessions, crash_free_session_rate, users, crash_free_users,"
        f" anr_free_session_rate FROM crash_free_known_at({RANGE})"
    )
    names = ("sessions", "crash_free_sessions", "crash_free_session_rate", "users", "crash_free_users")
    for at, expected in ((before, (10, 10, 1, 7, 7)), (after, (9, 8, 8 / 9, 7, 6))):
        (row,) = base.ask(sql, known=at)
        assert (
            tuple(row[name] for name in names) == pytest.approx(expected)
            and row["anr_free_session_rate"] == 1
        )
    (row,) = base.ask(
        "SELECT sessions, crash_free_sessions, users, crash_free_users FROM"
        " release_health_between(app_id = {app:String}, from = {from:String}, until = {until:String})"
    )  # fmt: skip
    assert (row["sessions"], row["crash_free_sessions"], row["users"], row["crash_free_users"]) == (
        9,
        8,
        7,
        6,
    )
    (row,) = base.ask(sql, known=before, until="2025-01-02")
    assert row["crash_free_session_rate"] is None


def test_what_was_told_long_ago_is_known_at_any_time(base: Database) -> None:
    """Its row is no longer among those of the last weeks, and that of the sessions is."""
    base.tell([Told(n, 2) for n in range(4)])
    base.store.command(
        f"ALTER TABLE z_session_revision_rows DELETE WHERE app_id = '{base.app}'",
        settings={"mutations_sync": 2},
    )
    base.tell([Told(4, 4)])
    moment = base.now()
    base.tell([Told(5, 6)])
    assert [row["first_event_id"] for row in base.known_at(moment)] == ["e0", "e1", "e2", "e3", "e4"]
    with pytest.raises(StatementFailed, match="known_at: what was known is kept for 30 days"):
        base.known_at("2020-01-01")


def test_what_a_rebuild_makes_of_it_is_known_from_then_on(base: Database) -> None:
    """Also where its rows are of lower versions than those that were told before."""
    before = [Told(n, 20, is_final=True) for n in range(6)]
    base.tell(before)
    moment = base.now()
    rebuilt = [Told(0, 20, is_final=True), Told(1, 20), Told(2, 10, crashes=1), Told(7, 10)]
    steps = {
        name: statements((schema_folder() / "rebuild" / name).read_text())
        for name in ("1_prepare.sql", "2_swap.sql")
    }
    for statement in steps["1_prepare.sql"]:
        base.store.command(statement)
    base.store.insert(
        "session_rows_rebuilt",
        b"\n".join(replace(each, app=base.app).row for each in rebuilt),
        token="rebuilt",
    )
    for statement in steps["2_swap.sql"]:
        base.store.command(statement)
    done = base.now()
    assert base.known_at(moment) == known(before)
    assert base.known_at(done) == base.shown("sessions") == known(rebuilt)
    base.tell([Told(2, 22, event_count=9), replace(Told(1, 20), is_final=True)])
    assert base.known_at(done) == known(rebuilt)
    assert base.known_at(base.now()) == base.shown("sessions")


def test_the_rows_have_all_that_a_session_has(base: Database) -> None:
    """A column more of `session_rows` has to be in here, and in the view that fills it, and in the swap of a
    rebuild."""
    sql = (
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
    )
    of_rows = [(row["name"], row["type"]) for row in base.ask(sql, table="z_session_revision_rows")]
    of_sessions = [(row["name"], row["type"]) for row in base.ask(sql, table="session_rows")]
    assert set(of_rows) - {("known_at", "DateTime64(3, 'UTC')")} == set(of_sessions)
    assert {name for name, _ in STORED_SESSION_COLUMNS} < {name for name, _ in of_rows}
    views = [[row["name"] for row in base.ask(sql, table=view)] for view in ("sessions", "session_health")]
    base.tell([Told(1, 2)])
    (shown,) = base.ask(
        f"SELECT * FROM session_health_of_users_known_at({RANGE}) LIMIT 1", known="2100-01-01"
    )
    assert set(shown) == {*views[1], "crash_users", "anr_users"} and set(views[0]) < set(views[1])
