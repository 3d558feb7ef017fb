"""Each program does its work in ClickHouse with the grants of its list and no other; tenants see their own alone.

The engine has one user. It is started anew, on the same data, with what `deploy/clickhouse-users.sql` gives to one of
ours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.clickhouse.erasure import Erased, ErasedRows, Letters, Removed
from pipeline.clickhouse.for_people import show_views
from pipeline.clickhouse.grants import missing_grants
from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.needs import PROGRAMS, grants_of
from pipeline.clickhouse.retention import DEAD_LETTERS, EVENTS, SESSIONS, Days, StoredRetention
from pipeline.clickhouse.store import StatementFailed, Store, Unreachable
from pipeline.commands import symbol_changes
from pipeline.commands.alerts import Alerts
from pipeline.commands.api_changes import ApiChanges
from pipeline.dashboard.reader import NoRight
from pipeline.domain.policy import Policies, Policy
from pipeline.query import saved
from pipeline.query.alerts import records as alert_records
from pipeline.query.alerts.rules import read_rules
from pipeline.query.operations import ledger_totals
from pipeline.roles.alerts.delivery import Delivery
from pipeline.roles.alerts.metrics import AlertMetrics
from pipeline.roles.known_topics import note_replaced, note_topics
from pipeline.roles.rebuild import Rebuild, RebuildScope
from pipeline.roles.regroup import regroup
from pipeline.settings import Settings
from tests.support.aged_rows import Stage
from tests.support.clickhouse_users import DATABASE, asked, given_to, policies_of, statements, user_of
from tests.support.limited_engine import LimitedClickHouse
from tests.support.symbols import DATA

NOW_MS = round(time.time() * 1_000)


class House:
    """The engine, and a store of whoever is let in at the moment."""

    def __init__(self, folder: Path) -> None:
        self.engine = LimitedClickHouse(folder)

    def enter(self, user: str) -> Store:
        """As one of the users of the file."""
        grants, policies = given_to(user), policies_of(user)
        self.engine.become(grants, policies, DATABASE)
        return Store(f"{self.engine.url}/{DATABASE}")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("limited") / "clickhouse")
    yield made
    made.engine.stop()


def require(store: Store, user: str) -> None:
    """That `check` finds nothing for its programs, and names all that it lacks of the others'."""
    given = set(given_to(user))
    for program in PROGRAMS:
        lacking = {grant for grant in grants_of(program) if grant.sql(DATABASE) not in given}
        assert not lacking or user_of(program) != user
        if user != "migrate":  # who makes the tables may do most with them, by wider names
            # This engine lets everybody read tables of the system; not every server does.
            names = {each.sql(DATABASE) for each in lacking if not each.table.startswith("system.")}
            assert set(missing_grants(store, grants_of(program)) or ()) == names


def made_of(store: Store) -> dict[str, str]:
    """How each table and view that this user sees was made."""
    lines = store.query(
        "SELECT name, create_table_query AS made FROM system.tables WHERE database = currentDatabase()"
    )
    return {row["name"]: row["made"] for row in map(json.loads, lines.splitlines())}


def denied(store: Store, sql: str) -> None:
    with pytest.raises((StatementFailed, Unreachable), match="Not enough privileges"):
        store.command(sql)


def test_every_program_works_with_the_grants_of_its_user_alone(house: House) -> None:
    work = {
        "migrate": migrates, "write": writes, "read": reads, "alerts": tells, "erase": erases,
        "rebuild": rebuilds, "retention": shortens,
    }  # fmt: skip
    assert {user_of(program) for program in PROGRAMS} == set(work)
    for user, its_work in (*work.items(), ("migrate", migrates_again)):
        store = house.enter(user)
        if its_work is not migrates:
            require(store, user)
        its_work(store)
        store.close()


def changes(store: Store) -> None:
    """What keys of the API may change."""
    work = ApiChanges(Settings(), store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(symbol_changes, "LIST_AGE_S", -1)
        assert work.mute("rule", None, 1_000, "")["rule"] == "rule"
        assert len(work.upload(DATA / "mapping.txt", "a", "2.0", "").stored) == 1
        assert len(work.delete("a", [], "2.0", "")[0]) == 1


def migrates(store: Store) -> None:
    assert migrate(store) and not migrate(store)
    assert "sessions" in show_views(store) and not show_views(store)
    note_topics(store, {"sdk-events": "id"}, 0)


def writes(store: Store) -> None:
    stage = Stage(store)
    for age in (0, 50):
        for app in ("a", "b"):
            stage.record(app, age, f"e{age}")
            stage.session(app, age, f"e{age}")
    stage.letter(3, "invalid_event")
    for device in ("gone", "stays"):
        stage.came(device, NOW_MS)
    stage.flush()
    assert stage.value("SELECT count() FROM events") > 0 < stage.value("SELECT count() FROM sessions")
    for sql in (
        "DROP TABLE session_rows",
        "TRUNCATE TABLE ledger_records",
        "ALTER TABLE z_event_rows DELETE WHERE 1",
    ):
        denied(store, sql)


def reads(store: Store) -> None:
    # Its grant is for everything, and views work as whoever asks: those that read the most tables.
    for view in (
        "sessions",
        "narrated_events",
        "session_health",
        "dead_letters",
        "ledger",
        "unrestated_sessions",
    ):
        store.query(f"SELECT * FROM {asked(view, made_of(store)[view])} LIMIT 0")
    statement = saved.save("a", "mine", "session.crash_count > 0")
    store.command(statement.sql, statement.parameters)
    denied(store, "INSERT INTO session_rows (app_id) VALUES ('a')")
    denied(store, "ALTER TABLE z_event_rows DELETE WHERE 1")
    changes(store)


_RULES = """
version = 1
settle = "1m"
[channels.team]
kind = "webhook"
url = "http://127.0.0.1:9"
[[rules]]
name = "few"
app = "a"
metric = "sessions"
window = "1h"
error = { below = 1000000 }
channels = ["team"]
"""


def tells(store: Store) -> None:
    taken: list[object] = []

    def send(*message: object) -> Delivery:
        taken.append(message)
        return Delivery(True, "")

    Alerts(store, read_rules(_RULES), send, AlertMetrics()).do_all()
    assert taken, "it evaluates, stores what it saw, and what it told"
    store.insert(alert_records.MUTES, b'{"rule":"few","written_at":"1.0"}', token="m")
    denied(store, "INSERT INTO session_rows (app_id) VALUES ('a')")
    denied(store, "ALTER TABLE z_alert_rows DELETE WHERE 1")


def erases(store: Store) -> None:
    rows, removed = ErasedRows(store), Removed()
    rows.remove(Erased("a", "gone", "digest", below=10**9), removed)
    rows.remove_letters(Letters("a", "gone", 4_000_000_000_000, is_device=True), removed)
    rows.note({"id": "00000000-0000-0000-0000-000000000001", "app_id": "a"}, 1)
    assert removed["z_event_rows"] == 1
    denied(store, "DROP TABLE session_rows")
    denied(store, "INSERT INTO session_rows (app_id) VALUES ('a')")


def shortens(store: Store) -> None:
    work = StoredRetention(store)
    for kind in (EVENTS, SESSIONS, DEAD_LETTERS):
        work.apply(kind, Days(40, {"b": 90}))
    denied(store, "INSERT INTO session_rows (app_id) VALUES ('a')")


def rebuilds(store: Store) -> None:
    again = Rebuild(store, Policies(Policy()), RebuildScope(), partitions=1, now_ms=NOW_MS)
    assert again.swap() > 0
    note_replaced(store, "id", {0: 5})
    store.command("DELETE FROM dead_letter_rows WHERE reason = 'device_set_aside'")
    store.insert(
        "dead_letter_replays", b'{"topic":"t","partition":0,"offset":1,"replayed_at":"1.0"}', token="r"
    )
    denied(store, "DROP TABLE z_event_rows")


def migrates_again(store: Store) -> None:
    assert not migrate(store) and ledger_totals(store.query)
    regroup(store, "run", all=True)


def test_a_tenant_sees_its_own_and_nothing_else(house: House) -> None:
    """After the one above: there are rows of two apps. The engine does not enforce quotas."""
    store = house.enter("tenant")
    granted = {table.partition(" ON ")[2].rpartition(".")[2] for table in given_to("tenant")}
    found = made_of(store)
    assert set(found) == granted, "nothing else is even there"
    lines = store.query(
        "SELECT DISTINCT table FROM system.columns WHERE database = currentDatabase() AND name = 'app_id'"
    )
    of_apps = {json.loads(line)["table"] for line in lines.splitlines()}
    seen = set()
    for name, made in found.items():
        app = "toString(app_id)" if name in of_apps else "'a'"
        rows = store.query(f"SELECT DISTINCT {app} AS app_id FROM {asked(name, made)}").splitlines()
        seen |= {json.loads(row)["app_id"] for row in rows}
    assert seen == {"a"}, "of both"
    assert int(json.loads(store.query("SELECT count() AS n FROM dead_letter_rows"))["n"]) == 0
    for table in ("migrations", "topic_ids", "replaced_rows"):
        with pytest.raises((StatementFailed, Unreachable), match=r"Not enough privileges|does not exist"):
            store.query(f"SELECT count() FROM {table}")
    denied(store, "INSERT INTO saved_filter_rows (app_id) VALUES ('a')")
    with pytest.raises(NoRight):
        ApiChanges(Settings(), store).mute("rule", None, 1_000, "")
    store.close()


def test_the_tenants_tables_are_all_that_have_an_app(house: House) -> None:
    store = house.enter("migrate")
    lines = store.query(
        "SELECT table FROM system.columns INNER JOIN (SELECT name AS table FROM system.tables WHERE database ="
        " currentDatabase() AND engine LIKE '%MergeTree') AS t USING (table) WHERE database = currentDatabase()"
        " AND name = 'app_id'"
    )
    tables = {json.loads(line)["table"] for line in lines.splitlines()}
    granted = {table.partition(" ON ")[2].rpartition(".")[2] for table in given_to("tenant")}
    assert set(policies_of("tenant")) == (granted & tables) | {"dead_letter_rows"}
    assert tables <= granted
    for statement in statements():
        # The engine has no users of its own, but knows how they are made.
        store.query("SELECT formatQuery({sql:String})", {"sql": statement}, format="TSVRaw")
    store.close()
