"""Metrics against the fold: late failures, copies, sessions taken back, and nothing merged."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest

from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query import compare, failures, metrics
from pipeline.query.free_of import FREE_OF
from pipeline.query.metric_definitions import METRICS, Bucket
from pipeline.query.statement import Statement
from tests.support.analysts import Traffic, fill, put, recorded, short_session, simulated
from tests.support.expected_rows import Row, has_crashed
from tests.support.migrated import migrate
from tests.support.older_schema import migrate_to_before
from tests.support.stack import unavailable

FIRST_MS, LAST_MS = 946_684_800_000, 4_000_000_000_000
DAY_MS = 86_400_000
Ask = Callable[[Statement], list[Row]]
Key = Callable[[Row], Any]


class Filled:
    """A database with traffic in it."""

    def __init__(self, store: Store, traffic: Traffic) -> None:
        self.store, self.traffic = store, traffic
        self.found: dict[str, list[dict[str, Any]]] = {}
        """What `notable` found, by subject."""
        counted = Counter(row["app_id"] for row in traffic.sessions)
        self.app = counted.most_common(1)[0][0]

    def ask(self, statement: Statement) -> list[Row]:
        lines = self.store.query(statement.sql, statement.parameters).splitlines()
        return [orjson.loads(line) for line in lines]

    def sessions(self, app: str | None = None) -> list[Row]:
        return [row for row in self.traffic.sessions if row["app_id"] == (app or self.app)]

    @property
    def apps(self) -> list[str]:
        return sorted({row["app_id"] for row in self.traffic.sessions})


@pytest.fixture(scope="module")
def filled(clickhouse: EmbeddedClickHouse) -> Iterator[Filled]:
    traffic = simulated(devices=400, seed=13, events=25_000)
    yield from _filled(clickhouse, traffic)


@pytest.fixture(scope="module")
def real(clickhouse: EmbeddedClickHouse) -> Iterator[Filled]:
    traffic = recorded()
    if traffic is None:
        unavailable("recorded traffic not found beside the repository")
        raise AssertionError
    yield from _filled(clickhouse, traffic)


def _filled(clickhouse: EmbeddedClickHouse, traffic: Traffic) -> Iterator[Filled]:
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate(store)
    fill(store, traffic)
    yield Filled(store, traffic)
    store.close()
    clickhouse.command(f"DROP DATABASE IF EXISTS {name} SYNC")


def crashed(row: Row) -> bool:
    return has_crashed(row)


def hung(row: Row) -> bool:
    return bool(row["anr_count"]) or "anr" in (row["end_reason"], row["exit_reason"])


def users_of(rows: Iterable[Row]) -> set[str]:
    return {row["user_id"] for row in rows} - {""}


def devices_of(rows: Iterable[Row]) -> set[str]:
    return {row["device_id"] for row in rows}


def ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def at(rows: Iterable[Row], level: float) -> int | None:
    values = sorted(row["duration_ms"] for row in rows)
    return values[min(int(level * len(values)), len(values) - 1)] if values else None


def stitched_of(rows: list[Row]) -> set[str]:
    return {row["stitched_session_id"] for row in rows}


def expected(rows: list[Row], whole: int) -> Row:
    """Every metric that sessions alone decide, by plain Python."""
    n, all_users, all_devices = len(rows), len(users_of(rows)), len(devices_of(rows))
    seen = [row for row in rows if row["state"] == "foreground"]
    behind = [row for row in rows if row["state"] != "foreground"]
    parts: dict[str, tuple[float | None, int | None, int | None]] = {
        "sessions": (n, n, None),
        "stitched_sessions": (len(stitched_of(rows)), len(stitched_of(rows)), None),
        "devices": (all_devices, all_devices, None),
        "users": (all_users, all_users, None),
        "background_sessions": (len(behind), len(behind), None),
        "background_crashes": (sum(map(crashed, behind)), sum(map(crashed, behind)), None),
    }
    free_of: tuple[tuple[str, Callable[[Row], bool]], ...] = (
        ("crash_free", crashed),
        ("anr_free", hung),
        ("out_of_memory_free", lambda row: row["end_reason"] == "out_of_memory"),
        ("force_quit_free", lambda row: row["end_reason"] == "user_terminated"),
    )
    for name, failed in free_of:
        bad = [row for row in seen if failed(row)]
        for whole_name, of, all_of_them in (
            ("sessions", len(seen) - len(bad), len(seen)),
            ("users", len(users_of(seen) - users_of(bad)), len(users_of(seen))),
            ("devices", len(devices_of(seen) - devices_of(bad)), len(devices_of(seen))),
            ("stitched_sessions", len(stitched_of(seen) - stitched_of(bad)), len(stitched_of(seen))),
        ):
            parts[f"{name}_{whole_name}"] = (ratio(of, all_of_them), of, all_of_them)
    parts = {name: part for name, part in parts.items() if name in METRICS}
    parts |= {
        "duration_p50": (at(rows, 0.5), None, n),
        "duration_p95": (at(rows, 0.95), None, n),
        "adoption": (ratio(n, whole), n, whole),
    }
    return {
        f"{name}{suffix}": value
        for name, values in parts.items()
        for suffix, value in zip(("", "_numerator", "_denominator"), values, strict=True)
    }


SESSION_METRICS = [name for name in METRICS if not name.startswith("cold_start")]


def bucket_of(row: Row, bucket: str | None) -> int | None:
    if bucket is None:
        return None
    start = datetime.fromtimestamp(row["started_at_ms"] // 1_000, UTC)
    start = start.replace(minute=0, second=0)
    if bucket != "hour":
        start = start.replace(hour=0)
    if bucket == "week":
        start -= timedelta(days=start.weekday())
    return int(start.timestamp()) * 1_000


def expected_table(
    rows: list[Row], groups_of: Callable[[Row], list[str]], bucket: str | None, top: int
) -> list[Row]:
    counted = Counter(group for row in rows for group in set(groups_of(row)))
    best = sorted(counted, key=lambda group: (-counted[group], group))[:top]
    cells: dict[Any, list[Row]] = defaultdict(list)
    whole: Counter[int | None] = Counter()
    for row in rows:
        whole[bucket_of(row, bucket)] += 1
        for group in {(g, 0) if g in best else ("other", 1) for g in groups_of(row)}:
            cells[bucket_of(row, bucket), group].append(row)
    table = [
        {"bucket_ms": start, "group": name, "is_other": other, **expected(members, whole[start])}
        for (start, (name, other)), members in cells.items()
    ]
    return sorted(table, key=lambda row: (row["bucket_ms"] or 0, row["is_other"], row["group"]))


def assert_table(found: list[Row], wanted: list[Row]) -> None:
    for row in found:
        start = row.pop("bucket")
        assert (start is None) == (row["bucket_ms"] is None)
    assert [list(map(row.get, ("bucket_ms", "group", "is_other"))) for row in found] == [
        list(map(row.get, ("bucket_ms", "group", "is_other"))) for row in wanted
    ]
    for one, other in zip(found, wanted, strict=True):
        differs = {
            name: (one[name], other[name]) for name in other if one[name] != pytest.approx(other[name])
        }
        assert not differs, (one["bucket_ms"], one["group"], differs)


GROUPS: dict[str | None, Callable[[Row], list[str]]] = {
    None: lambda row: [""],
    "app_version": lambda row: [row["app_version"]],
    "os_version": lambda row: [row["os_version"]],
    "os": lambda row: [f"{row['os_name']} {row['os_version']}"],
    "device_model": lambda row: [row["device_model"]],
    "persona": lambda row: row["personas"] or [""],
    "end_reason": lambda row: [row["end_reason"]],
    "cold_start": lambda row: ["true" if row["cold_start"] else "false"],
    "property.experiment.checkout": lambda row: [row["properties"].get("experiment.checkout", "")],
    "resource.host.arch": lambda row: [row["resource"].get("host.arch", "")],
}


class TestAgainstTheFold:
    @pytest.mark.parametrize(
        ("by", "bucket"),
        [
            *((by, None) for by in GROUPS),
            # A session is in one group of these, or in several.
            *((by, bucket) for by in (None, "app_version", "persona") for bucket in ("hour", "day", "week")),
        ],
    )
    def test_every_metric(self, filled: Filled, by: str | None, bucket: Bucket | None) -> None:
        statement = metrics.metric(
            SESSION_METRICS,
            app_id=filled.app,
            start_ms=FIRST_MS,
            end_ms=LAST_MS,
            by=by,
            bucket=bucket,
            top=3,
        )
        wanted = expected_table(filled.sessions(), GROUPS[by], bucket, 3)
        assert_table(filled.ask(statement), wanted)

    def test_there_is_something_to_find(self, filled: Filled) -> None:
        """Or else the tests above would pass on nothing."""
        rows = filled.sessions()
        assert len(rows) > 50
        assert any(crashed(row) for row in filled.traffic.sessions)
        assert any(hung(row) for row in filled.traffic.sessions)
        assert len({row["device_model"] for row in rows}) > 4, "a long tail"
        assert any(len(row["personas"]) > 1 for row in rows)

    def test_rates_after_late_failures_in_every_app(self, filled: Filled) -> None:
        for app in filled.apps:
            (found,) = filled.ask(
                metrics.metric(SESSION_METRICS, app_id=app, start_ms=FIRST_MS, end_ms=LAST_MS)
            )
            rows = filled.sessions(app)
            wanted = expected(rows, len(rows))
            assert {name: found[name] for name in wanted} == pytest.approx(wanted), app

    def test_recorded_traffic(self, real: Filled) -> None:
        assert sum(crashed(row) for row in real.traffic.sessions) > 3
        for app in real.apps:
            statement = metrics.metric(
                SESSION_METRICS, app_id=app, start_ms=FIRST_MS, end_ms=LAST_MS, by="app_version", bucket="day"
            )
            assert_table(
                real.ask(statement), expected_table(real.sessions(app), GROUPS["app_version"], "day", 10)
            )

    def test_range_and_condition(self, filled: Filled) -> None:
        rows = sorted(filled.sessions(), key=lambda row: row["started_at_ms"])
        start_ms, end_ms = rows[len(rows) // 4]["started_at_ms"], rows[-len(rows) // 4]["started_at_ms"]
        chosen = [
            row
            for row in rows
            if start_ms <= row["started_at_ms"] < end_ms and row["end_reason"] == "background"
        ]
        assert 0 < len(chosen) < len(rows)
        (found,) = filled.ask(
            metrics.metric(
                ["sessions", "users", "duration_p50"],
                app_id=filled.app,
                start_ms=start_ms,
                end_ms=end_ms,
                where=Statement("end_reason = {f0:String}", {"f0": "background"}),
            )
        )
        assert found["sessions"] == len(chosen)
        assert found["duration_p50"] == at(chosen, 0.5)

    def test_a_range_with_nothing_in_it(self, filled: Filled) -> None:
        statement = metrics.metric(list(METRICS), app_id="nobody", start_ms=0, end_ms=1)
        assert filled.ask(statement) == []

    def test_values_are_never_sql(self, filled: Filled) -> None:
        for text in ("x'] OR 1=1 --", "{m_app:String}", "\\", "' UNION ALL SELECT 1 --"):
            assert filled.ask(metrics.metric(["sessions"], app_id=text, start_ms=0, end_ms=LAST_MS)) == []
            (row,) = filled.ask(
                metrics.metric(
                    ["sessions"],
                    app_id=filled.app,
                    start_ms=FIRST_MS,
                    end_ms=LAST_MS,
                    by=f"property.{text}",
                )
            )
            assert (row["group"], row["sessions"]) == ("", len(filled.sessions()))

    def test_unknown_names_say_what_is_known(self) -> None:
        with pytest.raises(ValueError, match="crash_free_sessions"):
            metrics.metric(["nonsense"], app_id="a", start_ms=0, end_ms=1)
        with pytest.raises(ValueError, match="app_version"):
            metrics.metric(["sessions"], app_id="a", start_ms=0, end_ms=1, by="app_version; DROP TABLE x")
        with pytest.raises(ValueError, match="no metric"):
            metrics.metric([], app_id="a", start_ms=0, end_ms=1)


def cold_starts(traffic: Traffic) -> dict[tuple[str, str], tuple[int, str]]:
    """By app and session id: milliseconds and source, from the events by plain Python."""
    launches, views = defaultdict(list), defaultdict(list)
    for device, event in traffic.attributes():
        if event.kind.label == "launch":
            launches[device].append((event.time_ms, _carried(orjson.loads(event.attributes))))
        elif event.name == "app.screen.view":
            views[device].append(event.time_ms)
    by_device = defaultdict(list)
    for row in traffic.sessions:
        by_device[row["app_id"], row["device_id"]].append(row)
    found = {}
    for device, rows in by_device.items():
        ends = [row["started_at_ms"] for row in rows[1:]] + [LAST_MS]
        for row, end_ms in zip(rows, ends, strict=True):
            inside = [one for one in launches[device] if row["started_at_ms"] <= one[0] < end_ms]
            if not row["cold_start"] or not inside:
                continue
            launch_ms, carried = min(inside, key=lambda one: one[0])
            seen = [time_ms for time_ms in views[device] if launch_ms <= time_ms < end_ms]
            if carried:
                found[row["app_id"], row["session_id"]] = (carried, "measured")
            elif seen and min(seen) - launch_ms <= 60_000:
                found[row["app_id"], row["session_id"]] = (min(seen) - launch_ms, "first_view")
    return found


def _carried(attributes: dict[str, Any]) -> int:
    names = ("process_start_requested", "process_start", "content_provider_attach")
    begun = next((v for name in names if (v := attributes.get(f"cold_launch.{name}_uptime", 0)) > 0), 0)
    took = attributes.get("cold_launch.on_next_draw_uptime", 0) - begun
    return took if begun and 0 < took <= 60_000 else 0


def most_of(counted: Counter[tuple[str, str]]) -> set[str]:
    """The apps of the three largest counts: where a question is asked in several ways, a few apps are enough."""
    return {app for (app, _), _ in counted.most_common(3)}


def notable(filled: Filled, subject: str) -> list[dict[str, Any]]:
    """Crashes or failed requests of the app that has most of them, each with its session, by plain Python.

    What they are called is taken from the table: `test_top_crashes` and `test_failing_requests` look at that.
    """
    if subject in filled.found:
        return filled.found[subject]
    statement = "SELECT app_id, device_id, event_id, label, detail FROM notable_events"
    called = {
        (row["app_id"], row["device_id"], row["event_id"]): (row["label"], row["detail"])
        for row in filled.ask(Statement(statement))
    }
    by_device = defaultdict(list)
    for row in filled.traffic.sessions:
        by_device[row["app_id"], row["device_id"]].append(row)
    found = []
    for (app, device), event in filled.traffic.attributes():
        attributes = orjson.loads(event.attributes)
        failed = int(attributes.get("http.response.status_code", 0)) >= 400 or attributes.get("error.type")
        is_crash = event.kind.label in ("crash", "exception")
        is_it = is_crash if subject == "crash" else event.name == "http.client.request" and failed
        if is_it:
            begun = [row for row in by_device[app, device] if row["started_at_ms"] <= event.time_ms]
            session = max(begun, key=lambda row: int(row["started_at_ms"]))
            kind = called[app, device, event.id]
            found.append({"app": app, "session": session, "time_ms": event.time_ms, "kind": kind})
    ((app, _),) = Counter(one["app"] for one in found).most_common(1)
    filled.found[subject] = [one for one in found if one["app"] == app]
    return filled.found[subject]


def expected_failures(
    all_of_them: list[dict[str, Any]], groups_of: Callable[[Row], list[str]], bucket: str | None, top: int
) -> dict[tuple[Any, ...], tuple[int, int, int, int]]:
    """`failures_by` in plain Python."""
    kinds = Counter(one["kind"] for one in all_of_them)
    groups = Counter(group for one in all_of_them for group in set(groups_of(one["session"])))
    best_kinds = sorted(kinds, key=lambda kind: (-kinds[kind], kind))[:top]
    best_groups = sorted(groups, key=lambda group: (-groups[group], group))[:top]
    cells: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for one in all_of_them:
        kind = (*one["kind"], 0) if one["kind"] in best_kinds else ("other", "", 1)
        start = bucket_of({"started_at_ms": one["time_ms"]}, bucket)
        for group in {(g, 0) if g in best_groups else ("other", 1) for g in groups_of(one["session"])}:
            cells[(start, *group, *kind)].append(one["session"])
    return {
        key: (
            len(rows),
            len({row["session_id"] for row in rows}),
            len({row["device_id"] for row in rows}),
            len({row["user_id"] for row in rows} - {""}),
        )
        for key, rows in cells.items()
    }


def counts_of(row: Row) -> tuple[int, int, int, int]:
    return row["failures"], row["sessions"], row["devices"], row["users"]


class TestEvents:
    @pytest.mark.parametrize("source", ["filled", "real"])
    def test_cold_starts(self, source: str, request: pytest.FixtureRequest) -> None:
        database: Filled = request.getfixturevalue(source)
        wanted = cold_starts(database.traffic)
        found = {}
        for app in database.apps:
            sql = (
                "SELECT toString(session_id) AS id, cold_start_ms, source"
                " FROM cold_starts(app_id = {app:String}, from = '2000-01-01', until = '2090-01-01')"
            )
            for row in database.ask(Statement(sql, {"app": app})):
                found[app, row["id"]] = (row["cold_start_ms"], row["source"])
        assert found == wanted
        sources = Counter(source for _, source in wanted.values())
        assert sources["measured" if source == "real" else "first_view"] > 20, sources
        app = Counter(app for app, _ in wanted).most_common(1)[0][0]
        (row,) = database.ask(
            metrics.metric(
                ["sessions", "cold_start_p50", "cold_start_p95"],
                app_id=app,
                start_ms=FIRST_MS,
                end_ms=LAST_MS,
            )
        )
        values = sorted(ms for (its_app, _), (ms, _) in wanted.items() if its_app == app)
        values = [value for value in values if value > 0]
        assert row["cold_start_p50"] == values[len(values) // 2]
        assert row["cold_start_p95"] == values[int(0.95 * len(values))]
        assert row["cold_start_p50_denominator"] == len(values)
        assert row["sessions"] == len(database.sessions(app))

    @pytest.mark.parametrize("source", ["filled", "real"])
    def test_notable_events_are_those_of_all_events(
        self, source: str, request: pytest.FixtureRequest
    ) -> None:
        """Copies were inserted and nothing is merged: each once."""
        database: Filled = request.getfixturevalue(source)
        wanted: Counter[str] = Counter()
        for _, event in database.traffic.attributes():
            attributes = orjson.loads(event.attributes)
            if event.kind.label in ("crash", "exception"):
                wanted["crash"] += 1
            elif event.name == "app.anr":
                wanted["anr"] += 1
            elif event.name == "exception":
                wanted["exception"] += 1
            elif event.kind.label == "launch":
                wanted["launch"] += 1
            elif event.name == "app.screen.view":
                wanted["view"] += 1
            elif event.name == "http.client.request":
                status = int(attributes.get("http.response.status_code", 0))
                wanted["request"] += status >= 400 or bool(attributes.get("error.type"))
        found = database.ask(Statement("SELECT subject, count() AS n FROM notable_events GROUP BY subject"))
        assert {row["subject"]: row["n"] for row in found} == dict(wanted)
        assert wanted["crash"] > 3

    @pytest.mark.parametrize("source", ["filled", "real"])
    def test_top_crashes(self, source: str, request: pytest.FixtureRequest) -> None:
        database: Filled = request.getfixturevalue(source)
        wanted: Counter[tuple[str, str]] = Counter()
        for (app, _), event in database.traffic.attributes():
            if event.kind.label in ("crash", "exception"):
                kind = orjson.loads(event.attributes).get("exception.type", "unknown error")
                wanted[app, kind] += 1
        found: Counter[tuple[str, str]] = Counter()
        for app in database.apps:
            view = (
                "SELECT * FROM top_crashes(app_id = {app:String}, from = '2000-01-01', until = '2090-01-01')"
            )
            rows = database.ask(Statement(view, {"app": app}))
            found.update({(app, row["exception_type"]): 0 for row in rows})
            for row in rows:
                found[app, row["exception_type"]] += row["crashes"]
        assert found == wanted

    def test_failing_requests(self, filled: Filled) -> None:
        wanted: Counter[tuple[str, str]] = Counter()
        for (app, _), event in filled.traffic.attributes():
            attributes = orjson.loads(event.attributes)
            status = int(attributes.get("http.response.status_code", 0))
            if event.name == "http.client.request" and (status >= 400 or attributes.get("error.type")):
                wanted[app, str(status) if status else attributes["error.type"]] += 1
        found: Counter[tuple[str, str]] = Counter()
        busiest = most_of(wanted)
        for app in filled.apps:
            rows = filled.ask(failures.failing_requests(app, FIRST_MS, LAST_MS, top=1_000))
            assert all("?" not in row["request"] for row in rows)
            for row in rows:
                found[app, row["status"]] += row["failures"]
            if app not in busiest:
                continue
            view = "SELECT * FROM failing_requests(app_id = {app:String}, from = '2000-01-01', until = '2090-01-01')"
            assert filled.ask(Statement(view, {"app": app})) == rows
        assert found == wanted

    @pytest.mark.parametrize(
        ("by", "bucket"),
        # Those of a column by itself are made as that of the version is.
        [
            *((by, None) for by in GROUPS if by not in ("os_version", "device_model", "end_reason")),
            *((None, "day"), ("app_version", "day"), ("persona", "day")),
        ],
    )
    def test_failures_by_group_and_day(self, filled: Filled, by: str | None, bucket: Bucket | None) -> None:
        """Against plain Python: every crash is in one kind and bucket, and in each group of its session."""
        for subject in ("crash", "request"):
            all_of_them = notable(filled, subject)
            app = all_of_them[0]["app"]
            statement = failures.failures_by(
                subject, app, FIRST_MS, LAST_MS, by=by, bucket=bucket, top=1, top_groups=1
            )
            wanted = expected_failures(all_of_them, GROUPS[by], bucket, 1)
            assert {key[-1] for key in wanted} == {0, 1}, "kinds for themselves, and the rest"
            found = filled.ask(statement)
            keys = ("bucket_ms", "group", "is_other", "label", "detail", "is_rest")
            assert {tuple(row[key] for key in keys): counts_of(row) for row in found} == wanted

    def test_failures_of_some_sessions(self, filled: Filled) -> None:
        some = Statement("state = {f0:String}", {"f0": "background"})
        all_of_them = notable(filled, "request")
        app = all_of_them[0]["app"]
        wanted = [one for one in all_of_them if one["session"]["state"] == "background"]
        rows = filled.ask(failures.failures_by("request", app, FIRST_MS, LAST_MS, where=some, top=1))
        assert sum(row["failures"] for row in rows) == len(wanted) > 0
        nothing = Statement("end_reason = {f0:String}", {"f0": "no such reason"})
        assert filled.ask(failures.failures_by("request", app, FIRST_MS, LAST_MS, where=nothing)) == []

    def test_names_of_splits_are_never_sql(self, filled: Filled) -> None:
        all_of_them = notable(filled, "request")
        app, total = all_of_them[0]["app"], len(all_of_them)
        for text in ("x'] OR 1=1 --", "{m_app:String}", "\\"):
            rows = filled.ask(
                failures.failures_by("request", app, FIRST_MS, LAST_MS, by=f"property.{text}", top=1)
            )
            assert {row["group"] for row in rows} == {""}
            assert sum(row["failures"] for row in rows) == total
        with pytest.raises(ValueError, match="app_version"):
            failures.failures_by("crash", "a", 0, 1, by="app_version; DROP TABLE x")
        with pytest.raises(ValueError, match="hour, day, week"):
            failures.failures_by("crash", "a", 0, 1, bucket="year")  # type: ignore[arg-type]

    def test_paths_lose_their_numbers(self, filled: Filled) -> None:
        rows = filled.ask(Statement("SELECT DISTINCT label FROM notable_events WHERE subject = 'request'"))
        labels = {row["label"] for row in rows}
        assert any(label.endswith("/{}") for label in labels)
        assert any("/v2/" in label or "/v3/" in label for label in labels), "a version is no number"
        assert not any(part.isdigit() for label in labels for part in label.split("/"))


def test_a_retry_reaches_what_a_failed_insert_did_not(filled: Filled) -> None:
    """The first try stored the events and died before the copy: the same block again must bring it."""
    store = filled.store
    row = orjson.dumps(
        {
            "app_id": "retry",
            "device_id": "d",
            "event_id": "e",
            "time": 1_767_600_000,
            "name": "app.crash",
            "kind": "crash",
        }
    )
    store.command("DETACH TABLE z_notable_event_tap")
    store.insert("z_event_feed", row, token="retry")
    store.command("ATTACH TABLE z_notable_event_tap")
    counted = Statement("SELECT count() AS n FROM notable_events WHERE app_id = 'retry'")
    assert filled.ask(counted) == [{"n": 0}]
    for _ in range(2):
        store.insert("z_event_feed", row, token="retry")
        assert filled.ask(counted) == [{"n": 1}]


def test_what_was_stored_before_the_migration_is_there_too(filled: Filled, database_url: str) -> None:
    row = orjson.dumps({"app_id": "old", "event_id": "e", "name": "app.crash", "kind": "crash"})
    store = Store(database_url)
    migrate_to_before(store, "0008")
    store.insert("event_rows", row, token="old")
    migrate(store)
    found = store.query("SELECT subject, count() AS n FROM notable_events GROUP BY subject")
    assert orjson.loads(found) == {"subject": "crash", "n": 1}
    store.close()


@pytest.fixture(scope="module")
def returning(clickhouse: EmbeddedClickHouse) -> Iterator[Store]:
    """A database for apps of which `filled` knows nothing."""
    with closing(Store(f"{clickhouse.url}/test_returning")) as store:
        migrate(store)
        yield store
    clickhouse.command("DROP DATABASE test_returning SYNC")


@pytest.mark.parametrize("days", [0, 3, 10])
def test_retention(returning: Store, days: int) -> None:
    """Forty devices over two weeks, each with habits of its own; some were there before the range."""
    rng = random.Random(days)
    first_day, range_day, last_day = 20_000, 20_003, 20_014
    store, app = returning, f"stay-{days}"
    seen: dict[str, list[int]] = {}
    for device in (f"device-{n}" for n in range(40)):
        begin = rng.randrange(first_day, last_day)
        later = (day for day in range(begin, last_day + 1) if rng.random() < 0.5)
        seen[device] = [begin, begin, *later]
    rows = [
        short_session(app, device, f"{day}-{n}", day * DAY_MS + n * 3_600_000)
        for device, its_days in seen.items()
        for n, day in enumerate(its_days)
    ]
    put(store, "session_rows", rows, app)
    wanted: dict[tuple[str, int], list[int]] = {}
    for its_days in seen.values():
        # The last day is beyond the range.
        cohort = min(its_days)
        for number in range(days + 1) if cohort >= range_day else ():
            if cohort + number < last_day:
                date = datetime.fromtimestamp(cohort * 86_400, UTC).date().isoformat()
                cell = wanted.setdefault((date, number), [0, 0])
                cell[0] += 1
                cell[1] += cohort + number in its_days
    statement = metrics.retention(app, range_day * DAY_MS, last_day * DAY_MS, days)
    lines = store.query(statement.sql, statement.parameters).splitlines()
    found = [orjson.loads(line) for line in lines]
    assert {(row["cohort"], row["day_number"]): [row["devices"], row["retained"]] for row in found} == wanted
    assert all(row["retention_rate"] == row["retained"] / row["devices"] for row in found)
    assert any(0 < row["retention_rate"] < 1 for row in found) is (days > 0)


@pytest.mark.parametrize("by", [None, "app_version", "persona", "property.experiment.checkout"])
def test_retention_by_group(filled: Filled, by: str | None) -> None:
    """Each device where its first session puts it; some of all sessions by a condition."""
    top, days = 2, 2
    by_device = defaultdict(list)
    for row in filled.sessions():
        by_device[row["device_id"]].append(row)
    for condition in (None, Statement("os_name = {f0:String}", {"f0": "Android"})):
        firsts = {
            device: min(rows, key=lambda row: (row["started_at_ms"], row["session_id"]))
            for device, rows in by_device.items()
        }
        chosen = {d: row for d, row in firsts.items() if condition is None or row["os_name"] == "Android"}
        counted = Counter(group for row in chosen.values() for group in set(GROUPS[by](row)))
        best = sorted(counted, key=lambda group: (-counted[group], group))[:top]
        wanted: dict[tuple[str, int, int], list[int]] = {}
        last_day = max(row["started_at_ms"] for row in filled.sessions()) // DAY_MS + 2
        for device, first in chosen.items():
            seen = {row["started_at_ms"] // DAY_MS for row in by_device[device]}
            for number in range(days + 1):
                if min(seen) + number >= last_day:
                    continue
                for group in {(g, 0) if g in best else ("other", 1) for g in GROUPS[by](first)}:
                    cell = wanted.setdefault((*group, number), [0, 0])
                    cell[0] += 1
                    cell[1] += min(seen) + number in seen
        found: dict[tuple[str, int, int], list[int]] = {}
        for row in filled.ask(
            metrics.retention(filled.app, FIRST_MS, last_day * DAY_MS, days, by=by, where=condition, top=top)
        ):
            cell = found.setdefault((row["group"], row["is_other"], row["day_number"]), [0, 0])
            cell[0] += row["devices"]
            cell[1] += row["retained"]
        assert found == wanted
        assert len(chosen) > 5 and (condition is None or len(chosen) < len(firsts))


def test_comparison_of_two_arms(filled: Filled) -> None:
    arms: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in filled.traffic.sessions:
        for key, value in row["properties"].items():
            arms[row["app_id"], key][value] += 1
    app, key = max(arms, key=lambda one: min(arms[one]["A"], arms[one]["B"]))

    def arm(name: str) -> Statement:
        return Statement("properties[{f0:String}] = {f1:String}", {"f0": key, "f1": name})

    sides = [compare.Side(arm(name), FIRST_MS, LAST_MS) for name in "AB"]
    found = filled.ask(compare.compare(app, *sides))
    assert [row["side"] for row in found] == ["a", "b"]
    # Sides with ranges of their own are asked for in another way, and so is one that has no session.
    nobody = compare.Side(arm("nobody"), FIRST_MS, LAST_MS)
    apart = [
        (sides[0], sides[1]._replace(end_ms=LAST_MS + 1)),
        (sides[0], nobody),
        (nobody._replace(end_ms=1), sides[1]),
    ]
    for (first, second), wanted in zip(apart, ([0, 1], [0, None], [None, 1]), strict=True):
        told = filled.ask(compare.compare(app, first, second))
        of_none = [{**dict.fromkeys(row, 0), "side": row["side"], "duration_rank": 1} for row in told]
        rows = [of_none[side] if place is None else found[place] for side, place in enumerate(wanted)]
        assert told == rows
    for row, name in zip(found, "AB", strict=True):
        members = [one for one in filled.sessions(app) if one["properties"].get(key) == name]
        wanted = expected(members, len(members))
        assert row["sessions"] == wanted["sessions"] > 0
        for rate in (each.name for each in FREE_OF):
            assert row[rate] == wanted[f"{rate}_numerator"]
        assert (row["users"], row["devices"]) == (wanted["users"], wanted["devices"])
        durations = sorted(one["duration_ms"] for one in members)
        rank = row["duration_rank"]
        assert row["duration_n"] == len(durations)
        assert row["duration_value"] == durations[len(durations) // 2]
        assert (row["duration_low"], row["duration_high"]) == (durations[rank - 1], durations[-rank])


def test_day_views(filled: Filled) -> None:
    by_day: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in filled.traffic.sessions:
        day = datetime.fromtimestamp(row["started_at_ms"] // 1_000, UTC).date().isoformat()
        by_day[row["app_id"], day].append(row)
    wanted = {key: expected(rows, len(rows)) for key, rows in by_day.items()}
    activity = filled.ask(Statement("SELECT * FROM daily_activity"))
    assert {
        (row["app_id"], row["day"]): (row["sessions"], row["devices"], row["users"]) for row in activity
    } == {key: (one["sessions"], one["devices"], one["users"]) for key, one in wanted.items()}
    crash_free = filled.ask(Statement("SELECT * FROM crash_free_users_daily"))
    assert {(row["app_id"], row["day"]): row["crash_free_users"] for row in crash_free} == {
        key: one["crash_free_users_numerator"] for key, one in wanted.items()
    }
    shares: Counter[tuple[str, str]] = Counter()
    for row in filled.ask(Statement("SELECT * FROM version_adoption")):
        key = (row["app_id"], row["day"])
        members = [one for one in by_day[key] if one["app_version"] == row["app_version"]]
        assert row["session_share"] == pytest.approx(len(members) / len(by_day[key]))
        assert row["devices"] == len({one["device_id"] for one in members})
        shares[key] += row["session_share"]
    assert shares.keys() == by_day.keys()
    assert all(share == pytest.approx(1) for share in shares.values())
