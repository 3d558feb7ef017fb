"""Alerts in ClickHouse: what is evaluated, told once, and what outages and kills change of that, which is nothing."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import orjson
import pytest

from pipeline import wiring
from pipeline.clickhouse.store import Store, Unreachable
from pipeline.commands import alerts, demo
from pipeline.commands.alert_channels import Channels
from pipeline.domain.alerts import FOLLOW_UPS_MS, WEEK_MS
from pipeline.domain.event import COUNTERS
from pipeline.domain.session import Session
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query import first_look, saved
from pipeline.query.alerts.records import states, transitions
from pipeline.query.alerts.rules import InvalidAlerts, read_rules
from pipeline.query.session_range import time_text
from pipeline.query.statement import Statement
from pipeline.roles.alerts import delivery as alert_delivery
from pipeline.roles.alerts import evaluating as role
from pipeline.roles.alerts.delivery import Delivery
from pipeline.roles.alerts.metrics import AlertMetrics
from pipeline.settings import load
from pipeline.storage.rows import session_row
from tests.support.migrated import migrate
from tests.support.stack import command_line, environment

MINUTE, HOUR = 60_000, 3_600_000
RULES = """
version = 1
dashboard_url = "http://sessions.example.org"
[channels.hook]
kind = "webhook"
url = "{url}"
secret_file = "{secret}"
[[rules]]
name = "crash-free of {app}"
app = "{app}"
metric = "crash_free_sessions"
window = "1h"
every = "30m"
error = {{ below = 0.9 }}
min_sessions = 10
channels = ["hook"]
"""
SECRET = "a secret that nobody else has"


class Hook:
    """A webhook that can be down."""

    def __init__(self) -> None:
        self.status, self.taken, self.refused = 200, list[Mapping[str, Any]](), 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if hook.status == 200:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    hook.taken.append({**json.loads(body), "headers": headers, "body": body})
                else:
                    hook.refused += 1
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/alerts"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(each["kind"], each["verdict"]) for each in self.taken]


class FaultyStore(Store):
    """A ClickHouse that can be away, before an insert or after it."""

    at: str
    """Its URL."""
    away = False
    dies_after: str | None = None
    """The insert into this table is made, and nobody hears of it."""

    def _ask(self, question: Any, *, is_insert: bool = False) -> Any:
        if self.away:
            raise Unreachable("away")
        return super()._ask(question, is_insert=is_insert)

    def insert(self, table: str, rows: bytes, *, token: str) -> None:
        super().insert(table, rows, token=token)
        if self.dies_after == table:
            self.dies_after = None
            raise Unreachable("nobody heard")


class Watch:
    """An app of its own in the database of all tests, a rule for it, and a clock that is moved by hand.

    What is known when is written beside the rows: times lie in the past, and nothing has to be waited for.
    """

    def __init__(self, store: FaultyStore, hook: Hook, folder: Path, rules: str = RULES) -> None:
        self.store, self.hook, self.app = store, hook, f"app-{uuid4().hex[:6]}"
        (folder / "secret").write_text(SECRET)
        self.text = rules.format(url=hook.url, secret=folder / "secret", app=self.app)
        self.rules = read_rules(self.text)
        (row,) = self.ask(Statement("SELECT toUnixTimestamp64Milli(now64(3)) AS now"))
        self.start_ms = int(row["now"]) // HOUR * HOUR - 9 * 24 * HOUR
        self.now_ms, self.number = self.start_ms, 0

    def ask(self, statement: Statement) -> list[dict[str, Any]]:
        return [
            orjson.loads(line) for line in self.store.query(statement.sql, statement.parameters).splitlines()
        ]

    def sessions(
        self, at_ms: int, count: int, crashed: int = 0, known_ms: int | None = None, first: int = -1
    ) -> int:
        """Sessions that start at a time and are known a little later; from `first` on, or new ones; their first
        number."""
        first = self.number if first < 0 else first
        self.number = max(self.number, first + count)
        known_ms = at_ms + 30_000 if known_ms is None else known_ms
        rows = []
        for number in range(first, first + count):
            crashes = int(number - first < crashed)
            session = Session(
                first_event_id=f"e{number}", started_at_ms=at_ms, start_reason="launch", foreground=True, resource="{}",
                last_ms=at_ms, ended_at_ms=at_ms, end_reason="crash" if crashes else "background", event_count=1,
                counters=[crashes, *[0] * (len(COUNTERS) - 1)], stitched_first_event_id=f"e{number}",
            )  # fmt: skip
            row = session_row(
                self.app, f"d{number}", session, status="closed", revision=known_ms, is_final=False,
                arrived_at_ms=known_ms, partition=0, offset=known_ms // 2,
            )  # fmt: skip
            rows.append(
                orjson.dumps(orjson.loads(row) | {"known_at": time_text(known_ms), "version": known_ms * 2})
            )
        self.store.insert("z_session_revision_rows", b"\n".join(rows), token=uuid4().hex)
        return first

    def begin(self) -> alerts.Alerts:
        """A process that starts."""
        self.metrics, self.looks = AlertMetrics(), 0

        def look() -> None:
            self.looks += 1

        return alerts.Alerts(self.store, self.rules, Channels().send, self.metrics, look)

    def caught_up_ms(self) -> int:
        """As the process that began last tells Prometheus."""
        seconds = self.metrics.registry.get_sample_value("pipeline_alert_caught_up_timestamp_seconds")
        assert seconds is not None
        return round(seconds * 1_000)

    def delivered(self) -> list[str]:
        return [each["id"] for each in self.hook.taken]


@pytest.fixture(scope="module")
def store(clickhouse: EmbeddedClickHouse) -> Iterator[FaultyStore]:
    name = f"test_{uuid4().hex[:12]}"
    made = FaultyStore(f"{clickhouse.url}/{name}")
    made.at = f"{clickhouse.url}/{name}"
    migrate(made)
    yield made
    made.close()
    clickhouse.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


@pytest.fixture
def watch(store: FaultyStore, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    store.away, store.dies_after = False, None
    made = Watch(store, hook, tmp_path)

    def clock(_: Store) -> tuple[str, int]:
        if store.away:
            raise Unreachable("away")
        return "", made.now_ms

    for module in (role, alert_delivery):
        monkeypatch.setattr(module, "server_version_and_clock", clock)
    yield made
    store.away, store.dies_after = False, None


def hours_of(watch: Watch, running: alerts.Alerts, hours: int, step_ms: int = 30 * MINUTE) -> None:
    end_ms = watch.now_ms + hours * HOUR
    while watch.now_ms < end_ms:
        watch.now_ms += step_ms
        running.do_all()


def a_bad_hour(watch: Watch) -> None:
    """Three hours: good, bad, good again."""
    for hour, crashed in ((0, 0), (1, 15), (2, 0)):
        watch.sessions(watch.start_ms + hour * HOUR + 5 * MINUTE, 50, crashed)


def test_what_becomes_worse_and_better_is_told_once_each(watch: Watch) -> None:
    a_bad_hour(watch)
    watch.now_ms += MINUTE
    hours_of(watch, watch.begin(), 3)
    assert watch.hook.said == [("alert", "error"), ("alert", "normal")]
    bad, good = watch.hook.taken
    # At 01:30 the window from 00:30 on has the sessions of the bad hour alone.
    assert bad["evaluated_at_ms"] == watch.start_ms + 90 * MINUTE
    assert (bad["saw"]["numerator"], bad["saw"]["denominator"], bad["saw"]["value"]) == (35, 50, 0.7)
    assert bad["headers"]["idempotency-key"] == bad["id"] == bad["headers"]["webhook-id"] != good["id"]
    assert bad["headers"]["webhook-signature"].startswith("v1,")
    assert f"app={watch.app}" in bad["link"]
    found = watch.ask(transitions(watch.app, watch.start_ms, watch.now_ms, 10))
    assert [(row["state"], row["state_before"]) for row in found if row["message_id"]] == [
        ("normal", "error"), ("error", "normal"),
    ]  # fmt: skip


def save_cohort(watch: Watch, text: str | None) -> None:
    statement = saved.delete(watch.app, "some") if text is None else saved.save(watch.app, "some", text)
    watch.store.command(statement.sql, statement.parameters)


@pytest.mark.parametrize("by", ["", 'by = "os_name"\n'], ids=["whole", "groups"])
def test_a_cohort_that_changes_is_an_error_and_never_other_people(
    watch: Watch, by: str, tmp_path: Path
) -> None:
    text = watch.text.replace("min_sessions = 10", f'min_sessions = 10\n{by}cohort = "some"')
    watch.rules = read_rules(text)
    (tmp_path / "rules.toml").write_text(text)
    asked = load({"PIPELINE_CLICKHOUSE_URL": watch.store.at, "PIPELINE_ALERTS": str(tmp_path / "rules.toml")})
    save_cohort(watch, 'session.end_reason = "background"')
    alerts.require_cohorts(asked, watch.rules)
    for half in range(12):
        watch.sessions(watch.start_ms + half * 30 * MINUTE + 5 * MINUTE, 50, crashed=15)

    def step() -> list[tuple[str, str]]:
        """What is told at the next evaluation, by a process that starts anew."""
        watch.hook.taken.clear()
        watch.now_ms += 30 * MINUTE
        watch.begin().do_all()
        return [(each["state"], each["fault"] or each["fault_before"]) for each in watch.hook.taken]

    watch.now_ms += MINUTE
    assert step() == [] == step(), "those who crashed are none of the cohort"
    save_cohort(watch, 'session.end_reason = "crash"')
    ((state, fault),) = step()
    assert (
        state == "error" and '`session.end_reason = "background"` to `session.end_reason = "crash"`' in fault
    )
    assert [each["group"] for each in watch.hook.taken] == [None]
    then = step()
    assert ("error", fault if not by else "") in then, (
        "of the cohort as it is now all crash, and that is news"
    )
    values = [each["saw"]["value"] for each in watch.hook.taken if each["group"] is None]
    assert values == [0.0]
    save_cohort(watch, None)
    ((state, fault),) = step()
    assert state == "error" and "deleted" in fault and step() == []
    with pytest.raises(InvalidAlerts, match="no cohort"):
        alerts.require_cohorts(asked, watch.rules)
    stands = [
        row for row in watch.ask(states(watch.app, watch.start_ms, watch.now_ms)) if not row["is_of_group"]
    ]
    assert [(row["state"], row["value"], row["cohort"]) for row in stands] == [("error", None, "some")]
    assert "deleted" in stands[0]["fault"]
    save_cohort(watch, 'session.end_reason = "crash"')
    assert (("normal" if by else "error"), fault) in step(), "it is over, or what it finds is told"
    assert step() == []


def test_an_outage_of_the_webhook_delays_and_doubles_nothing(watch: Watch) -> None:
    a_bad_hour(watch)
    watch.now_ms += MINUTE
    running = watch.begin()
    watch.hook.status = 500
    hours_of(watch, running, 3)
    assert watch.hook.refused > 2 and not watch.hook.taken
    watch.hook.status = 200
    hours_of(watch, running, 1)
    assert watch.hook.said == [("alert", "error"), ("alert", "normal")], "in order"
    hours_of(watch, watch.begin(), 1)
    assert len(watch.hook.taken) == 2
    sql = (
        "SELECT attempts, outcome FROM alert_deliveries(app_id = {app:String}, from = '2020-01-01',"
        " until = '2100-01-01') ORDER BY evaluated_at"
    )
    bad, good = watch.ask(Statement(sql, {"app": watch.app}))
    assert bad["outcome"] == good["outcome"] == "delivered" and bad["attempts"] > good["attempts"] == 1


def test_an_outage_of_clickhouse_is_made_up_for_in_order(watch: Watch) -> None:
    a_bad_hour(watch)
    watch.now_ms += MINUTE
    running = watch.begin()
    assert watch.caught_up_ms() == 0
    running.do_all()
    assert watch.caught_up_ms() == watch.now_ms
    watch.store.away = True
    for _ in range(5):
        watch.now_ms += 30 * MINUTE
        with pytest.raises(Unreachable):
            running.do_all()
        assert watch.caught_up_ms() == watch.start_ms + MINUTE
    watch.store.away = False
    hours_of(watch, running, 1)
    assert watch.caught_up_ms() == watch.now_ms
    # Whoever makes up for hours in one call says all the while that it lives: before each evaluation and try.
    assert watch.looks >= (watch.now_ms - MINUTE - watch.start_ms) // (30 * MINUTE) + 1 + 2
    assert watch.hook.said == [("alert", "error"), ("alert", "normal")]
    assert watch.hook.taken[0]["evaluated_at_ms"] == watch.start_ms + 90 * MINUTE
    sql = "SELECT uniqExact(evaluated_at) AS n, count() AS rows FROM z_alert_rows FINAL WHERE app_id = {app:String}"
    (row,) = watch.ask(Statement(f"{sql} AND known_at = evaluated_at", {"app": watch.app}))
    assert int(row["n"]) == int(row["rows"]) == (watch.now_ms - MINUTE - watch.start_ms) // (30 * MINUTE) + 1


def test_a_rule_that_cannot_be_evaluated_is_not_caught_up_with(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.now_ms += MINUTE
    running = watch.begin()
    with monkeypatch.context() as patched:
        patched.setattr(role, "reading", lambda *_, **__: Statement("SELECT throwIf(1, 'no')"))
        running.do_all()
    assert watch.caught_up_ms() == 0
    assert (
        sum(
            each.value
            for family in watch.metrics.failures.collect()
            for each in family.samples
            if each.name.endswith("_total")
        )
        >= 1
    )
    running.do_all()
    assert watch.caught_up_ms() == watch.now_ms


@pytest.mark.parametrize("table", ["z_alert_rows", "z_alert_delivery_rows"])
def test_who_does_not_hear_that_rows_are_stored_tells_nothing_twice(watch: Watch, table: str) -> None:
    a_bad_hour(watch)
    watch.now_ms += MINUTE
    running = watch.begin()
    running.do_all()
    watch.now_ms += 95 * MINUTE
    watch.store.dies_after = table
    with pytest.raises(Unreachable):
        running.do_all()
    hours_of(watch, running, 2)
    assert watch.hook.said == [("alert", "error"), ("alert", "normal")]


def test_a_kill_at_any_point_loses_nothing_and_doubles_no_id(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies at each of its effects in turn, and another one begins."""
    a_bad_hour(watch)
    watch.now_ms += MINUTE
    watch.begin().do_all()
    watch.now_ms += 3 * HOUR

    class Killed(BaseException):
        pass

    insert, left = Store.insert, 0

    def dying(self: Store, table: str, rows: bytes, *, token: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        insert(self, table, rows, token=token)
        if left == 1:
            left = 0
            raise Killed

    monkeypatch.setattr(Store, "insert", dying)
    kills = 0
    for point in range(1, 60):
        left = point % 2 + 1
        try:
            watch.begin().do_all()
            break
        except Killed:
            kills += 1
    left = 10**9
    watch.begin().do_all()
    assert kills > 5
    assert {each["verdict"] for each in watch.hook.taken} == {"error", "normal"}
    assert len(set(watch.delivered())) == 2, "the same id each time"
    bodies = {each["id"]: each["body"] for each in watch.hook.taken}
    assert all(each["body"] == bodies[each["id"]] for each in watch.hook.taken), "the same bytes each time"


def test_kill_9_of_the_process_while_it_makes_up_for_days_and_nobody_takes_what_it_tells(
    watch: Watch, clickhouse: EmbeddedClickHouse, tmp_path: Path
) -> None:
    """Nothing is lost, and nothing told twice: what was not taken is told once, by whoever runs when it can be."""
    # Of the real clock's last two days: what nobody took for three is given up.
    watch.start_ms = watch.now_ms = watch.start_ms + 7 * 24 * HOUR
    a_bad_hour(watch)
    watch.now_ms += MINUTE
    watch.begin().do_all()
    watch.hook.status = 503
    file = tmp_path / "rules.toml"
    file.write_text(watch.text)
    url = f"{clickhouse.url}/{watch.store.database}"
    settings = {"PIPELINE_CLICKHOUSE_URL": url, "PIPELINE_ALERTS": str(file)}

    def rows() -> int:
        (row,) = watch.ask(
            Statement("SELECT count() AS n FROM z_alert_rows WHERE app_id = {app:String}", {"app": watch.app})
        )
        return int(row["n"])

    def until(enough: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 90
        while not enough():
            assert time.monotonic() < deadline_s and process.poll() is None, log.read_text()
            time.sleep(0.02)

    log = tmp_path / "log"
    for kills in range(4):
        before = rows()
        with log.open("ab") as said:
            process = subprocess.Popen(
                command_line("alerts", "run"),
                env=environment(settings),
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        try:
            if kills < 3:
                # Twice with evaluations left; then when what they found was told in vain.
                until(lambda: rows() > before + 10 if kills < 2 else watch.hook.refused > 0)  # noqa: B023
                process.kill()
            else:
                watch.hook.status = 200
                until(lambda: len(watch.hook.taken) >= 2)
                time.sleep(1)
                process.terminate()
                assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
    assert watch.hook.refused > 0
    assert watch.hook.said == [("alert", "error"), ("alert", "normal")]
    assert len(set(watch.delivered())) == 2


def test_whoever_evaluates_late_comes_to_the_same(
    watch: Watch, store: FaultyStore, hook: Hook, tmp_path: Path
) -> None:
    """Also where rows came since that would have changed it."""
    first = watch.sessions(watch.start_ms + 5 * MINUTE, 50, 15)
    watch.now_ms += MINUTE
    watch.begin().do_all()
    # At 02:00 it becomes known that nothing was wrong.
    watch.sessions(watch.start_ms + 5 * MINUTE, 50, 0, watch.start_ms + 2 * HOUR, first)
    watch.now_ms += 7 * HOUR
    watch.begin().do_all()
    alert, follow_up = watch.hook.taken[0], watch.hook.taken[-1]
    assert (alert["kind"], alert["verdict"], alert["saw"]["value"]) == ("alert", "error", 0.7)
    assert alert["evaluated_at_ms"] == watch.start_ms + 30 * MINUTE
    assert (follow_up["kind"], follow_up["verdict"], follow_up["now"]["value"]) == (
        "follow_up",
        "normal",
        1.0,
    )
    assert "is 100.000% as known at" in follow_up["text"]


def test_late_data_turns_the_number_of_an_alert_and_it_says_so(watch: Watch) -> None:
    watch.rules = read_rules(watch.text.replace("30m", "1h"))
    first = watch.sessions(watch.start_ms + 5 * MINUTE, 50, 15)
    watch.sessions(watch.start_ms + 65 * MINUTE, 50, 0)
    watch.now_ms += MINUTE
    running = watch.begin()
    hours_of(watch, running, 2)
    assert watch.hook.said == [("alert", "error"), ("alert", "normal")]
    watch.sessions(watch.start_ms + 5 * MINUTE, 30, 0, watch.start_ms + 3 * HOUR, first)
    hours_of(watch, running, 8, HOUR)
    assert watch.hook.said[2:] == [("follow_up", "normal")]
    told = watch.hook.taken[2]
    assert told["known_at_ms"] == watch.start_ms + HOUR + FOLLOW_UPS_MS[1]
    bad, *_ = [
        row
        for row in watch.ask(transitions(watch.app, watch.start_ms, watch.now_ms, 10))
        if row["state"] == "error"
    ]
    assert (bad["value_seen"], bad["value_known"], bad["verdict_known"]) == (0.7, 1.0, "normal")
    hours_of(watch, watch.begin(), 16, 16 * HOUR)
    assert len(watch.hook.taken) == 3, "said once"
    assert len(set(watch.delivered())) == 3


def test_what_is_muted_is_evaluated_and_not_told(watch: Watch) -> None:
    watch.sessions(watch.start_ms + 5 * MINUTE, 50, 15)
    watch.sessions(watch.start_ms + 50 * MINUTE, 50, 15)
    row = {
        "rule": watch.rules.rules[0].name, "is_group": 0, "group": "", "written_at": time_text(watch.start_ms),
        "muted_from": time_text(watch.start_ms), "muted_until": time_text(watch.start_ms + HOUR), "reason": "",
    }  # fmt: skip
    watch.store.insert("z_alert_mute_rows", orjson.dumps(row), token=uuid4().hex)
    watch.now_ms += MINUTE
    running = watch.begin()
    hours_of(watch, running, 1)
    (now,) = watch.ask(states(watch.app, watch.start_ms, watch.start_ms + HOUR))
    assert (now["state"], now["verdict"], now["value"]) == ("muted", "error", 0.7) and not watch.hook.taken[
        :0
    ]
    assert [each["evaluated_at_ms"] for each in watch.hook.taken] == [watch.start_ms + HOUR]


GROUPS = (
    RULES.replace(
        'metric = "crash_free_sessions"', 'metric = "sessions"\nby = "app_version"\ncompare = "ratio"'
    )
    .replace("below = 0.9", "below = 0.5")
    .replace("min_sessions = 10", "min_sessions = 0")
)


def test_groups_are_alerts_of_their_own_and_compared_with_what_was_known_a_week_before(
    watch: Watch, tmp_path: Path
) -> None:
    own = Watch(watch.store, watch.hook, tmp_path, GROUPS)
    own.start_ms = watch.start_ms
    for day, counts in ((-WEEK_MS, {"1.0": 40, "2.0": 30}), (0, {"1.0": 10, "2.0": 29})):
        for version, count in counts.items():
            start = own.sessions(own.start_ms + day + 5 * MINUTE, count)
            own.store.command(
                "ALTER TABLE z_session_revision_rows UPDATE app_version = {v:String} WHERE app_id = {a:String}"
                " AND toUInt32(substring(first_event_id, 2)) >= {n:UInt32}",
                {"v": version, "a": own.app, "n": start},
                {"mutations_sync": 2},
            )
    # What came of that week later has no part in it.
    own.sessions(own.start_ms - WEEK_MS + 6 * MINUTE, 100, known_ms=own.start_ms - WEEK_MS + 10 * HOUR)
    watch.now_ms = own.start_ms + 31 * MINUTE
    own.begin().do_all()
    (told,) = own.hook.taken
    assert (told["group"], told["saw"]["value"], told["saw"]["before"]) == ("1.0", 10, 40)
    assert "app_version 1.0" in told["text"] and "app.version" in told["link"]


def test_a_channel_that_does_not_answer_holds_up_no_other(watch: Watch) -> None:
    watch.sessions(watch.start_ms - watch.start_ms % (24 * HOUR) + 24 * HOUR - MINUTE, 50, 15)
    watch.now_ms += MINUTE
    asked: list[str] = []

    def send(channel: Any, id: str, body: bytes) -> Delivery:
        asked.append(channel.name)
        return Delivery(channel.name == "b", "")

    slack = f'kind = "slack"\nurl = "{watch.hook.url}"\n'
    text = watch.text.replace("[[rules]]", f"[channels.a]\n{slack}[channels.b]\n{slack}[[rules]]")
    text = text.replace('["hook"]', '["a", "b"]').replace("30m", "12h")
    running = alerts.Alerts(watch.store, read_rules(text), send, AlertMetrics())
    hours_of(watch, running, 48, 6 * HOUR)
    assert asked.count("b") == 1 and asked.count("a") > 3
    hours_of(watch, running, 72, 12 * HOUR)
    sql = (
        "SELECT channel, outcome FROM alert_deliveries(app_id = {app:String}, from = '2020-01-01',"
        " until = '2100-01-01')"
    )
    found = {(row["channel"], row["outcome"]) for row in watch.ask(Statement(sql, {"app": watch.app}))}
    assert found == {("a", "given up"), ("b", "delivered")}


def test_the_commands(
    watch: Watch,
    clickhouse: EmbeddedClickHouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    a_bad_hour(watch)
    watch.now_ms += MINUTE
    hours_of(watch, watch.begin(), 3)
    file = tmp_path / "alerts.toml"
    file.write_text(watch.text)
    settings = load(
        {"PIPELINE_CLICKHOUSE_URL": f"{clickhouse.url}/{watch.store.database}", "PIPELINE_ALERTS": str(file)}
    )
    monkeypatch.setattr(wiring, "settings", lambda: settings)
    monkeypatch.setenv("COLUMNS", "200")
    alerts.check_command(file)
    assert "1 rules and 1 channels are sound" in capsys.readouterr().out
    alerts.list_command(app_id=watch.app, now=True)
    shown = capsys.readouterr().out
    assert "crash-free" in shown and "normal" in shown and "known now" in shown
    alerts.history_command(app_id=watch.app, days=30)
    assert "error" in capsys.readouterr().out
    alerts.mute_command("another", "2h", group=None, reason="an update")
    muted = "SELECT muted_until > now64(3) AS is_muted FROM alert_mutes WHERE rule = 'another'"
    assert watch.ask(Statement(muted)) == [{"is_muted": 1}]
    alerts.unmute_command("another", group=None)
    assert watch.ask(Statement(muted)) == [{"is_muted": 0}]
    # By the clock of ClickHouse itself, a rule that was never evaluated: once, as of now.
    monkeypatch.undo()
    file.write_text(watch.text.replace("crash-free of", "by the clock of"))
    alerts.run(settings, once=True)
    sql = "SELECT evaluated_at > now64(3) - INTERVAL 2 HOUR AS is_new FROM z_alert_rows WHERE rule = {rule:String}"
    assert watch.ask(Statement(sql, {"rule": f"by the clock of {watch.app}"})) == [{"is_new": 1}]


def test_the_demonstration_shows_an_alert(watch: Watch) -> None:
    watch.app = "org.example.shop"
    watch.sessions(watch.start_ms + 5 * MINUTE, 80, crashed=20)
    watch.now_ms += HOUR
    demo.evaluate(watch.store)
    [found] = [
        row for row in watch.ask(first_look.ALERTS) if row["rule"] == "Crash-free sessions of each release"
    ]
    assert (found["app_id"], found["state"], found["value"], found["sessions"]) == (
        watch.app, "error", 0.75, 80,
    )  # fmt: skip
