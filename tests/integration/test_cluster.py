"""A cluster of two shards answers as one server does: the engine's own Distributed tables, without Keeper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from itertools import count

import orjson
import pytest

from pipeline.clickhouse.chosen import require_same_cluster
from pipeline.clickhouse.cluster import Cluster
from pipeline.clickhouse.clustered import MADE_BY_COMMANDS, clustered, schema
from pipeline.clickhouse.comments import comment
from pipeline.clickhouse.for_people import database_for_people, show_views
from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.retention import EVENTS, SESSIONS, Days, StoredRetention
from pipeline.clickhouse.statements import MigrationError
from pipeline.clickhouse.store import Store
from pipeline.domain.policy import Policies
from pipeline.query import (
    compare,
    crash_group,
    crashes,
    dead_letters,
    failures,
    flows,
    journey,
    operations,
    performance,
    screen_paths,
    suggestions,
)
from pipeline.query.filters.sql import where
from pipeline.query.filters.text_form import parse
from pipeline.query.metrics import metric
from pipeline.query.session_counts import session_counts
from pipeline.query.sessions import extent, session_list, timeline, user_sessions
from pipeline.query.statement import Statement
from pipeline.roles.ledger_sums import sum_some
from pipeline.roles.rebuild import Rebuild, RebuildScope
from pipeline.schema_files import schema_folder
from pipeline.state.codec import state_codec
from pipeline.storage.rows import ledger_row
from tests.dashboard import alert_rows
from tests.support.aged_rows import AGES, Stage, Watched, kept_for
from tests.support.analysts import fill, simulated
from tests.support.expected_rows import Row
from tests.support.two_shards import NAME, ONE, DoubleStore, TwoShards

APP = "org.example.shop"
DAY_MS = 86_400_000
FILTERS = (
    "not has http.client.request(http.response.status_code >= 500) and user.id exists",
    "has app.screen.view then http.client.request or session.first = true",
)
METRICS = ("sessions", "crash_free_users", "duration_p50")
RECIPES = {"1", "3", "7", "9", "10", "11", "13", "16", "17", "36"}
"""Of the cookbook: what joins, looks into another question, or counts over both shards; not what shows a view."""


KEPT = (*EVENTS.tables, *SESSIONS.tables)
"""Tables of the shards whose rows go after some days."""


class Both:
    """The same traffic in a cluster of two shards and on one server."""

    def __init__(self, two: TwoShards) -> None:
        self.url = two.url
        self.cluster, self.one = DoubleStore(two.url), Store(f"{two.url}/plain")
        self.traffic = simulated(devices=50, seed=8, events=2_000)
        for store in (self.cluster, self.one):
            migrate(store)
            fill(store, self.traffic)
            store.insert("ledger_records", ledger_row("sdk-events", 0, 0, received=2, refused=1), token="one")
            store.insert("dead_letter_rows", _set_aside(self.traffic.sessions[0]), token="aside")
            evaluated = alert_rows.row(
                self.traffic.sessions[0]["started_at_ms"], app_id=APP, message_id="m", channels=["c"]
            )
            store.insert("z_alert_rows", orjson.dumps(evaluated), token="alert")
            store.insert("z_alert_mute_rows", orjson.dumps(alert_rows.muted(DAY_MS)), token="mute")
        days = sorted(row["started_at_ms"] for row in self.traffic.sessions)
        self.first_ms, self.last_ms = days[0] - DAY_MS, days[-1] + DAY_MS
        self.device = next(row for row in self.traffic.sessions if row["app_id"] == APP)

    def ask(self, sql: str, parameters: dict[str, object] | None = None) -> tuple[list[Row], list[Row]]:
        """What both say, in their order."""
        answers = [store.query(sql, parameters or {}).splitlines() for store in (self.cluster, self.one)]
        of_cluster, of_one = ([orjson.loads(line) for line in lines] for lines in answers)
        return of_cluster, of_one

    @cached_property
    def statements(self) -> dict[str, str]:
        """What the tables and views of the one server are made by."""
        made = self.one.query(
            "SELECT name, create_table_query AS sql FROM system.tables WHERE database = 'plain'"
        )
        return {row["name"]: row["sql"] for row in map(orjson.loads, made.splitlines())}

    @cached_property
    def crash_group(self) -> str:
        """One that the app has."""
        row = self.one.query(
            "SELECT any(crash_group) AS g FROM z_crashes WHERE app_id = {app:String}", {"app": APP}
        )
        return str(orjson.loads(row)["g"])

    def same(self, statement: Statement, *, may_be_none: bool = False) -> list[Row]:
        of_cluster, of_one = self.ask(statement.sql, dict(statement.parameters))
        assert of_cluster == of_one
        assert may_be_none or of_one, "nothing to compare"
        return of_one


def _set_aside(session: Row) -> bytes:
    return orjson.dumps(
        {
            "time": "2026-01-01 00:00:00",
            "reason": "device_set_aside",
            "key": f"{session['app_id']}/{session['device_id']}",
            "topic": "sdk-events",
            "partition": 0,
            "offset": 1,
        }
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    two = TwoShards(tmp_path_factory.mktemp("two"))
    try:
        made = Both(two)
        yield made
        made.cluster.close()
        made.one.close()
    finally:
        two.stop()


def test_both_shards_have_a_part(both: Both) -> None:
    """Or else all else here would show nothing."""
    for table in ("events", "sessions", "notable_events", "z_stored_event_versions"):
        parts = both.cluster.query(
            f"SELECT _shard_num, count() FROM {table} GROUP BY 1 ORDER BY 1", format="TSV"
        )
        whole = both.one.query(f"SELECT count() FROM {table}", format="TSV")
        counts = [int(line.split(b"\t")[1]) for line in parts.splitlines()]
        assert len(counts) == 2 and sum(counts) == int(whole) and min(counts) > sum(counts) / 10, table


def _views() -> dict[str, bool]:
    """All views by name, and whether they take parameters."""
    made = {}
    for statement in schema():
        found = re.match(r"(?:\s*--.*\n)*\s*CREATE (?:OR REPLACE )?VIEW (?:IF NOT EXISTS )?(\w+)", statement)
        if found:
            made[found[1]] = "String}" in statement or "UUID}" in statement
    return made


@pytest.mark.parametrize(
    "view", sorted(view for view, has_parameters in _views().items() if not has_parameters)
)
def test_a_view_shows_the_same(both: Both, view: str) -> None:
    # When it was inserted differs.
    columns = "* EXCEPT (touched_at)" if view == "z_ledger_range_states" else "*"
    of_cluster, of_one = both.ask(f"SELECT {columns} FROM {view}")
    assert sorted(map(orjson.dumps, of_cluster)) == sorted(map(orjson.dumps, of_one))
    assert of_one or view in (
        *("dead_letters", "saved_filters", "conflicting_events", "erasures", "symbol_files"),
        *("policy_versions", "z_ledger_conflicts"),
    )


@pytest.mark.parametrize("view", sorted(view for view, has_parameters in _views().items() if has_parameters))
def test_a_view_with_parameters_shows_the_same(both: Both, view: str) -> None:
    texts = [f"{datetime.fromtimestamp(ms / 1_000):%Y-%m-%d}" for ms in (both.first_ms, both.last_ms)]
    session = both.device
    user = next(row["user_id"] for row in both.traffic.sessions if row["app_id"] == APP and row["user_id"])
    given = {
        "app_id": f"'{APP}'",
        "from": f"'{texts[0]}'",
        "until": f"'{texts[1]}'",
        "session_id": f"'{session['session_id']}'",
        "user_id": f"'{user}'",
        "subject": "'screen'" if view == "performance" else "'crash'",
        "by": "'app_version'",
        "id": f"'{session['session_id']}'",
        "days": "7",
        "seconds": "3600",
        "up_to_range": "1000",
        "untouched_from": "'2299-12-31'",
        "text": f"'{session['device_id'][:4]}'",
        "stitched_session_id": f"'{session['stitched_session_id']}'",
        "device_id": "''",
        "known_at": "'2100-01-01'",
        "crash_group": f"'{both.crash_group}'",
    }
    taken = set(re.findall(r"\{(\w+):\w+\}", both.statements[view]))
    arguments = ", ".join(f"{name} = {given[name]}" for name in sorted(taken))
    of_cluster, of_one = both.ask(f"SELECT * FROM {view}({arguments})")
    assert sorted(map(orjson.dumps, of_cluster)) == sorted(map(orjson.dumps, of_one))


def test_the_cookbook(both: Both) -> None:
    text = (schema_folder() / "COOKBOOK.md").read_text(encoding="utf-8")
    recipes = re.findall(r"^## (\d+)\. [^\n]+\n+```sql\n(.*?)```$", text, re.MULTILINE | re.DOTALL)
    chosen = [sql for number, sql in recipes if number in RECIPES]
    assert len(chosen) == len(RECIPES)
    for sql in chosen:
        # Of rows that come out alike in what they are ordered by, no server promises an order.
        of_cluster, of_one = both.ask(sql)
        assert sorted(map(repr, of_cluster)) == sorted(map(repr, of_one))


@pytest.mark.parametrize("text", FILTERS)
def test_a_filtered_list_and_its_metrics(both: Both, text: str) -> None:
    filter = parse(text)
    both.same(session_list(APP, filter, both.first_ms, both.last_ms, None, 50))
    condition = where(filter)
    span = {"app_id": APP, "start_ms": both.first_ms, "end_ms": both.last_ms, "where": condition}
    both.same(metric(METRICS, **span, by="app_version"))  # type: ignore[arg-type]


def test_what_pages_ask(both: Both) -> None:
    span = both.first_ms, both.last_ms
    app, device = APP, both.device["device_id"]
    user = next(row["user_id"] for row in both.traffic.sessions if row["app_id"] == APP and row["user_id"])
    session = both.device["session_id"]
    for statement in (
        session_list(None, None, *span, None, 100),
        user_sessions(app, user_id=user),
        user_sessions(app, device_id=device),
        timeline(session),
        journey.neighbours(app, device, both.device["started_at_ms"]),
        journey.events(app, device, *span, skip=0, limit=50),
        journey.marks(app, device, *span),
        suggestions.values_of(app, "app.version"),
        crashes.groups((app, *span), kind="crash", where=where(parse("session.duration_ms > 1000"))),
        failures.failures_by("crash", app, *span, by="app_version"),
        compare.compare(
            app,
            compare.Side(where(parse("has exception")), *span),
            compare.Side(where(parse("not has exception")), *span),
        ),
        compare.compare(
            app,
            compare.Side(where(parse("has exception")), *span),
            compare.Side(where(parse("session.tap_count > 0")), span[0], span[1] + 1),
        ),
        screen_paths.ways_and_screens((app, *span), None, 4),
        performance.measured((app, *span), (*performance.SUBJECTS, "frames"), "app_version"),
        flows.outcomes(app, flows.flow("app.screen.view then http.client.request within 1m"), *span, DAY_MS),
        session_counts(app, None, *span, DAY_MS),
        dead_letters.by_reason(),
    ):
        both.same(statement, may_be_none=True)
    for of_group in (crash_group.whole, crash_group.newest):
        both.same(of_group((app, *span), both.crash_group))
    # An account of apps has no device to be shared out by, so both shards of this double show the same one.
    (of_cluster,), (of_one,) = both.ask(extent(app).sql, extent(app).parameters)
    assert of_cluster | {"sessions": 0} == of_one | {"sessions": 0}
    assert int(of_cluster["sessions"]) == 2 * int(of_one["sessions"])
    for ask in (operations.ledger_totals, operations.devices_set_aside, operations.wrong_partition):
        assert ask(both.cluster.query) == ask(both.one.query)


def test_a_rebuild_exchanges_the_sessions(both: Both) -> None:
    """Twice, since names are exchanged. Sessions on both sides are then what the stored events make."""
    for _ in range(2):
        for store in (both.cluster, both.one):
            encode = state_codec.encoder(3)
            Rebuild(
                store, Policies(), RebuildScope(), partitions=8, now_ms=both.last_ms, encode=encode
            ).swap()
    of_cluster, of_one = both.ask(
        "SELECT session_id, event_count, end_reason, is_set_aside FROM sessions ORDER BY session_id"
    )
    assert of_cluster == of_one and of_one
    exchanged = [sql for sql in both.cluster.ran if sql.startswith("EXCHANGE") and "session_rows" in sql]
    assert len(exchanged) == 2


def test_ninety_days_set_to_thirty(both: Both) -> None:
    """Cut off after some commands and begun again: the cluster ends as one server does, and is right at any moment."""
    days = Days(0, {"goes": 30, "stays": 90})
    stages = [Stage(store) for store in (both.cluster, both.one)]
    for stage in stages:
        stage.partition = 7
        for age in AGES:
            for number in range(4):
                for app in ("goes", "stays"):
                    stage.record(app, age, f"{age}-{number}", "again", device=f"d{number}")
                    stage.session(app, age, f"{age}-{number}", days=90, device=f"d{number}")
        stage.flush()
    # They were stopped so that rows stay as they were inserted; what changes rows is stopped with them.
    both.one.command("SYSTEM START MERGES")
    before = stages[0].ledger()
    for table in set(KEPT) - {"z_crash_rows"}:  # the sink fills it, and not the event's row
        shards = f"SELECT uniqExact(_shard_num) FROM {table} WHERE app_id = 'goes'"
        assert both.cluster.query(shards, format="TSV") == b"2\n", table

    statements = count()

    def check() -> None:
        # To ask all of it after each statement takes minutes.
        if next(statements) % 8:
            return
        [row] = [each for each in operations.ledger_totals(both.cluster.query) if each.partition == 7]
        assert row.received == before.received == row.events + row.duplicates + row.expired
        assert stages[0].ages("events", "stays") == kept_for(90)
        assert kept_for(30) <= stages[0].ages("events", "goes") <= kept_for(90)

    both.cluster.ran.clear()
    for cut_off_at in (6, 1_000):
        work = StoredRetention(Watched(both.cluster, check, cut_off_at))  # type: ignore[arg-type]
        with suppress(KeyboardInterrupt):
            work.apply(EVENTS, days)
            work.apply(SESSIONS, days)
    for kind in (EVENTS, SESSIONS):
        StoredRetention(both.one).apply(kind, days)
        of_cluster, of_one = (StoredRetention(store).stored(kind, days) for store in (both.cluster, both.one))
        assert of_cluster == of_one and any(each.app_id == "goes" for each in of_one)
    for stage in stages:
        assert stage.ages("events", "goes") == stage.ages("sessions", "goes") == kept_for(30)
        assert stage.ages("events", "stays") == kept_for(90)
    assert stages[0].ledger() == stages[1].ledger()
    ran = [sql for sql in both.cluster.ran if sql.startswith("ALTER TABLE")]
    # Of a part its shard is told, if ClickHouse was not faster, of all else every host.
    assert all(
        " DROP PART " in sql for sql in ran if " ON CLUSTER " not in sql and "ledger_records" not in sql
    )
    assert not any(" DROP PART " in sql for sql in ran if " ON CLUSTER " in sql)
    for table in KEPT:
        hidden = f"SELECT count() AS n FROM {table} WHERE app_id = 'goes' AND stored_on + 30 < toDate(now('UTC')) - 2"
        assert [int(row["n"]) for row in (*both.ask(hidden)[0], *both.ask(hidden)[1])] == [0, 0], table
        assert b"TTL if(" in both.cluster.query(f"SHOW CREATE TABLE app_shards.{table}")


def test_the_ledger_is_summed_once_for_all_shards(both: Both) -> None:
    """What lies on both shards is in one sum. (The day after tomorrow, as the next sink would.)"""
    asked = "SELECT * FROM ledger ORDER BY topic, partition, first_offset"
    sums = "SELECT * EXCEPT summed_at FROM z_ledger_sums ORDER BY ALL"
    before, same = both.ask(asked)
    assert before == same and any(int(row["events"]) > 0 for row in before)
    later = (
        both.one.query("SELECT toString(now64(3, 'UTC') + toIntervalDay(2))", format="TSVRaw")
        .decode()
        .strip()
    )
    try:
        for store in (both.cluster, both.one):
            while sum_some(store, later):
                pass
            unsummed = store.query(
                "SELECT count() FROM z_ledger_range_states WHERE NOT is_summed", format="TSV"
            )
            assert int(unsummed) == 0
        of_cluster, of_one = both.ask(sums)
        assert of_cluster == of_one and sum(int(row["events"]) for row in of_one) > 0
        assert both.ask(asked) == (before, before)
    finally:
        for store in (both.cluster, both.one):
            store.command("ALTER TABLE z_ledger_sums DELETE WHERE 1", settings={"mutations_sync": 1})


def test_an_insert_that_is_repeated_through_a_distributed_table_is_stored_once(both: Both) -> None:
    """By its token, in the table and in all that views carry on from it."""
    shards = both.cluster.spread.shard_database
    through = Store(f"{both.url}/through")
    through.create_database()
    through.command(
        f"CREATE TABLE z_event_feed AS {shards}.z_event_feed"
        f" ENGINE = Distributed('{ONE}', '{shards}', 'z_event_feed', cityHash64(app_id, device_id))"
    )
    row = {"app_id": "again", "device_id": "d", "event_id": "e", "name": "app.crash", "kind": "crash"}
    stamp = {"time": "2026-01-01 00:00:00", "raw_time": "2026-01-01 00:00:00"}
    for _ in range(3):
        through.insert("z_event_feed", orjson.dumps({**row, **stamp, "offset": 1}), token="t")
    for table in ("z_event_rows", "z_notable_event_rows"):
        counted = through.query(f"SELECT count() FROM {shards}.{table} WHERE app_id = 'again'", format="TSV")
        assert int(counted) == 1, table
    through.close()


def test_what_tables_and_columns_are_is_said_in_front(both: Both) -> None:
    for store in (both.cluster, both.one):
        assert comment(store)
        assert comment(store) == []
    asked = (
        "SELECT name, comment FROM system.columns WHERE database = {database:String} AND table = {table:String}"
        " UNION ALL SELECT name, comment FROM system.tables"
        " WHERE database = {database:String} AND name = {table:String}"
    )
    for table in ("sessions", "events", "session_rows", "ledger_records", "release_health"):
        of_cluster, of_one = (
            sorted(store.query(asked, {"database": store.database, "table": table}).splitlines())
            for store in (both.cluster, both.one)
        )
        assert of_cluster == of_one
        assert not any(b'"comment":""' in line for line in of_one) or table not in ("sessions", "events")


def test_people_have_a_database_of_views_alone(both: Both) -> None:
    for store in (both.cluster, both.one):
        comment(store)
        assert {"sessions", "events", "release_health", "dead_letters"} <= set(show_views(store))
        assert show_views(store) == []
    listed = (
        "SELECT name, engine, comment FROM system.tables WHERE database = {database:String} ORDER BY name"
    )
    columns = "SELECT table, name, type, comment FROM system.columns WHERE database = {database:String} ORDER BY ALL"
    for asked in (listed, columns):
        of_cluster, of_one = (
            store.query(asked, {"database": database_for_people(store.database)}).splitlines()
            for store in (both.cluster, both.one)
        )
        assert of_cluster == of_one
        assert not any(b'"comment":""' in line for line in of_one)
    names = [orjson.loads(line) for line in both.one.query(listed, {"database": "plain_views"}).splitlines()]
    assert {row["engine"] for row in names} == {"View"}
    assert not any(row["name"].startswith("z_") or "_rows" in row["name"] for row in names)
    shown = [
        int(store.query(f"SELECT count() FROM {database_for_people(store.database)}.sessions", format="TSV"))
        for store in (both.cluster, both.one)
    ]
    assert shown[0] == shown[1] > 0
    # What changes in a view, or is none any more, does there too.
    both.one.command("ALTER TABLE sessions MODIFY COMMENT 'Other'")
    both.one.command("CREATE OR REPLACE VIEW plain_views.gone (a UInt8) AS SELECT 1 AS a")
    assert show_views(both.one) == ["gone", "sessions"] and show_views(both.one) == []


def test_the_choice_is_kept(both: Both) -> None:
    require_same_cluster(both.cluster)
    require_same_cluster(both.one)
    for store, cluster, said in (
        (both.cluster, None, f"made for the cluster {NAME}, and PIPELINE_CLICKHOUSE_CLUSTER is empty"),
        (both.cluster, clustered("other", "app"), f"made for the cluster {NAME}, and .* names other"),
        (both.one, clustered(NAME, "plain"), f"made for one server, and .* names {NAME}"),
    ):
        kept, store.cluster = store.cluster, cluster
        try:
            with pytest.raises(MigrationError, match=said):
                migrate(store)
        finally:
            store.cluster = kept


def test_the_engine_understands_every_statement(both: Both) -> None:
    """As it is sent to a real cluster, with ON CLUSTER and Replicated engines."""
    spread = Cluster("analytics", "app", [*schema(), *MADE_BY_COMMANDS])
    forms = [form for statement in schema() for form in spread.forms(statement)]
    forms += [*spread.create_databases(), spread.sync("app", "migrations")]
    texts = ["'" + form.replace("\\", "\\\\").replace("'", "\\'") + "'" for form in forms]
    formatted = [
        line
        # All of them are more than one statement may be long.
        for some in (texts[start : start + 50] for start in range(0, len(texts), 50))
        for line in both.one.query(f"SELECT formatQuery(arrayJoin([{', '.join(some)}])) AS sql").splitlines()
    ]
    assert len(formatted) == len(forms)
    for form, line in zip(forms, formatted, strict=True):
        assert ("ON CLUSTER" in form) == ("ON CLUSTER" in orjson.loads(line)["sql"])
