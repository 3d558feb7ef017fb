"""Every query of the cookbook runs and finds something; of some, what plain Python finds in the same sessions."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import orjson
import pytest

from pipeline.clickhouse.store import Store
from pipeline.dashboard import outcomes, ways
from pipeline.domain.event import APPEARANCES, VIEWS, Event, Kind
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query import first_look, flows, screen_paths
from pipeline.query.endpoints import endpoints
from pipeline.query.filters.sql import where
from pipeline.query.filters.text_form import parse
from pipeline.query.sessions import choose
from pipeline.query.statement import Statement
from pipeline.schema_files import schema_folder
from pipeline.storage.kept import Kept
from pipeline.storage.rows import ledger_row
from tests.support.analysts import Traffic, fill, simulated
from tests.support.expected_rows import Row, has_crashed
from tests.support.migrated import migrate

APP = "org.example.shop"
TEXT = (schema_folder() / "COOKBOOK.md").read_text(encoding="utf-8")
RECIPES = {
    int(number): sql
    for number, sql in re.findall(r"^## (\d+)\. [^\n]+\n+```sql\n(.*?)```$", TEXT, re.MULTILINE | re.DOTALL)
}


class Kitchen:
    """A database with traffic in it, and the same sessions as Python sees them."""

    def __init__(self, store: Store, traffic: Traffic) -> None:
        self._store = store
        self.sessions = [row for row in traffic.sessions if row["app_id"] == APP]
        starts: dict[str, list[tuple[int, Row]]] = {}
        for row in sorted(self.sessions, key=lambda row: row["started_at_ms"]):
            starts.setdefault(row["device_id"], []).append((row["started_at_ms"], row))
        places = {
            event.id: event for (app, _), events in traffic.events.items() if app == APP for event in events
        }
        self.told: dict[str, list[tuple[Event, dict[str, Any]]]] = {}
        """The events of each session in order, each with its attributes."""
        for (app, device), native_event in traffic.attributes():
            if app == APP:
                event = places[native_event.id]
                of_device = starts[device]
                at = bisect_right(of_device, event.time_ms, key=lambda start: start[0])
                told = orjson.loads(native_event.attributes)
                self.told.setdefault(of_device[at - 1][1]["session_id"], []).append(
                    (event, {"name": native_event.name, **told})
                )
        for of_session in self.told.values():
            of_session.sort(key=lambda pair: pair[0])

    def screens(self) -> Iterator[tuple[Row, list[tuple[int, str]]]]:
        """Each session with its screens: when, and which."""
        for row in self.sessions:
            views = [
                (event.time_ms, told["app.screen.name"], event.counters >> VIEWS & 1)
                for event, told in self.told[row["session_id"]]
                if event.counters >> VIEWS & 1 or event.counters >> APPEARANCES & 1
            ]
            has_named = any(named for *_, named in views)
            yield row, [(at, screen) for at, screen, named in views if named or not has_named]

    def cook(self, number: int) -> list[Row]:
        return self.ask(Statement(RECIPES[number]))

    def ask(self, statement: Statement) -> list[Row]:
        lines = self._store.query(statement.sql, statement.parameters).splitlines()
        return [orjson.loads(line) for line in lines]


@pytest.fixture(scope="module")
def kitchen(clickhouse: EmbeddedClickHouse) -> Iterator[Kitchen]:
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate(store)
    traffic = simulated(devices=500, seed=8, events=40_000)
    fill(store, traffic)
    store.insert(
        "ledger_records",
        ledger_row("sdk-events", 0, 0, received=2, refused=1, kept=Kept("2026-02-03", 0)),
        token="one",
    )
    yield Kitchen(store, traffic)
    store.close()
    clickhouse.command(f"DROP DATABASE IF EXISTS {name} SYNC")


def start_of(row: Row) -> str:
    """As ClickHouse writes it."""
    return f"{datetime.fromtimestamp(row['started_at_ms'] / 1_000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def is_crashed(row: Row) -> bool:
    return has_crashed(row)


def test_there_are_as_many_as_it_says() -> None:
    assert list(RECIPES) == list(range(1, 39)) and "Thirty-eight questions" in TEXT


@pytest.mark.parametrize("number", RECIPES)
def test_it_finds_something(kitchen: Kitchen, number: int) -> None:
    assert kitchen.cook(number)


def test_what_the_demonstration_shows(kitchen: Kitchen) -> None:
    statements = (first_look.LATEST, first_look.BY_END, first_look.HEALTH, first_look.CRASHED)
    found = [kitchen.ask(each) for each in statements]
    assert all(found)
    (crashed,) = found[-1]
    story = kitchen.ask(first_look.story(crashed["session_id"]))
    assert "crash" in story[-1]["what"]


def test_days(kitchen: Kitchen) -> None:
    expected = Counter(start_of(row)[:10] for row in kitchen.sessions)
    assert {row["day"]: int(row["sessions"]) for row in kitchen.cook(1)} == expected


def test_days_of_all_devices(kitchen: Kitchen) -> None:
    """Every device is kept here, so there are as many as are estimated."""
    days = {row["day"]: int(row["sessions"]) for row in kitchen.cook(1)}
    found = {row["day"]: (int(row["kept"]), row["lowest_rate"], row["estimated"]) for row in kitchen.cook(24)}
    assert found == {day: (count, 1, count) for day, count in days.items()}


def test_releases(kitchen: Kitchen) -> None:
    seen = [row for row in kitchen.sessions if row["state"] == "foreground"]
    total = Counter(row["app_version"] for row in seen)
    crashed = Counter(row["app_version"] for row in seen if is_crashed(row))
    found = {row["app_version"]: (int(row["total"]), int(row["crash_free"])) for row in kitchen.cook(2)}
    assert found == {
        version: (total[version], total[version] - crashed[version])
        for version in {row["app_version"] for row in kitchen.sessions}
    }


def test_ends(kitchen: Kitchen) -> None:
    expected = Counter((row["end_reason"], row["exit_reason"]) for row in kitchen.sessions)
    found = {(row["end_reason"], row["exit_reason"]): int(row["sessions"]) for row in kitchen.cook(3)}
    assert found == expected


def test_crashed_sessions(kitchen: Kitchen) -> None:
    crashed = sorted((row for row in kitchen.sessions if is_crashed(row)), key=start_of)
    found = kitchen.cook(4)
    assert [row["started_at"] for row in found] == [start_of(row) for row in crashed[::-1][:20]]


def test_the_crash_comes_last(kitchen: Kitchen) -> None:
    kinds = [row["kind"] for row in kitchen.cook(5)]
    assert {"crash", "exception"} & set(kinds[:5]), kinds


def test_screens_are_shown_within_their_session(kitchen: Kitchen) -> None:
    """Until the next screen or the end of the session: what a phone spends in a pocket is no time on a screen."""
    views: Counter[str] = Counter()
    shown_ms: Counter[str] = Counter()
    for row, screens in kitchen.screens():
        ends = [at for at, _ in screens[1:]] + [row["ended_at_ms"]]
        assert len(screens) == row["view_count"]
        for (at, screen), end in zip(screens, ends, strict=False):
            views[screen] += 1
            shown_ms[screen] += max(0, min(end, max(row["ended_at_ms"], at)) - at)
    found = kitchen.cook(16)
    assert {row["screen"]: int(row["views"]) for row in found} == views
    assert {row["screen"]: row["hours"] for row in found} == {
        screen: pytest.approx(ms / 3_600_000, abs=0.0051) for screen, ms in shown_ms.items()
    }
    assert sum(shown_ms.values()) <= sum(row["duration_ms"] for row in kitchen.sessions)


def test_transitions(kitchen: Kitchen) -> None:
    """Of the sessions of January, from every screen to the next one, by hand."""
    until_ms = 1_769_904_000_000
    transitions: Counter[tuple[str, str]] = Counter()
    sessions: dict[tuple[str, str], set[str]] = {}
    dwells: dict[tuple[str, str], list[int]] = {}
    exits: Counter[str] = Counter()
    crashes: Counter[str] = Counter()
    for row, views in kitchen.screens():
        if not views or row["started_at_ms"] >= until_ms:
            continue
        shown = [("(start)", 0)]
        ends = [at for at, _ in views[1:]] + [row["ended_at_ms"]]
        for (at, screen), end in zip(views, ends, strict=True):
            on_it_ms = max(0, min(end, max(row["ended_at_ms"], at)) - at)
            # One that comes several times in a row is one.
            before_ms = shown.pop()[1] if shown[-1][0] == screen else 0
            shown.append((screen, before_ms + on_it_ms))
        for place, (screen, on_it_ms) in enumerate(shown):
            step = screen, shown[place + 1][0] if place + 1 < len(shown) else "(no other screen)"
            transitions[step] += 1
            sessions.setdefault(step, set()).add(row["session_id"])
            dwells.setdefault(step, []).append(on_it_ms)
        if row["status"] == "closed":
            exits[shown[-1][0]] += 1
            crashes[shown[-1][0]] += is_crashed(row)
    found = {(row["going_from"], row["going_to"]): row for row in kitchen.cook(35)}
    assert {step: int(row["transitions"]) for step, row in found.items()} == transitions
    assert {step: int(row["sessions"]) for step, row in found.items()} == {
        step: len(ids) for step, ids in sessions.items()
    }
    for (begin, end), row in found.items():
        left = end == "(no other screen)"
        assert (int(row["exits"]), int(row["crashes"])) == (
            (exits[begin], crashes[begin]) if left else (0, 0)
        )
        times = sorted(dwells[begin, end])
        assert row["median_s"] == pytest.approx(times[len(times) // 2] / 1_000, abs=0.051)
    assert crashes.total() > 2 and any(screen for screen in exits if exits[screen] > crashes[screen])


def plain_ways(kitchen: Kitchen, start: str | None, most: int) -> dict[tuple[str, ...], dict[str, set[str]]]:
    """The sessions of each way from a screen, or from the start of sessions, as a person would look for them."""
    found: dict[tuple[str, ...], dict[str, set[str]]] = {}
    for row, views in kitchen.screens():
        once = [
            screen for place, (_, screen) in enumerate(views) if not place or views[place - 1][1] != screen
        ]
        begins = [at for at, screen in enumerate(once) if screen == start] if start else [0] if once else []
        for begin in begins:
            for end in range(begin + 1 if start else 0, min(begin + most, len(once)) + 1):
                way = found.setdefault(tuple(once[begin:end]), {})
                way.setdefault("sessions", set()).add(row["session_id"])
                if end != len(once):
                    continue
                ended = "exits" if row["status"] == "closed" else "still_there"
                way.setdefault(ended, set()).add(row["session_id"])
                if ended == "exits" and is_crashed(row):
                    way.setdefault("crashes", set()).add(row["session_id"])
    return found


@pytest.mark.parametrize("start", [None, "Home", "Cart"])
def test_ways(kitchen: Kitchen, start: str | None) -> None:
    """Each as counted by hand, and found by the filters that its numbers lead to."""
    span = (APP, 1_767_225_600_000, 1_798_761_600_000)
    expected = plain_ways(kitchen, start, 4)
    rows = kitchen.ask(screen_paths.ways(span, start, 4))
    assert len(rows) >= 4
    for row in rows:
        way = expected[tuple(row["steps"])]
        for name in ("sessions", "exits", "crashes", "still_there"):
            assert int(row[name]) == len(way.get(name, ())), (row, name)
    by_parent: dict[tuple[str, ...], list[tuple[int, tuple[str, ...]]]] = {}
    for steps, way in expected.items():
        if steps:
            by_parent.setdefault(steps[:-1], []).append((-len(way["sessions"]), steps))
    for row in rows:
        following = [
            tuple(each["steps"]) for each in rows if each["steps"][:-1] == row["steps"] != each["steps"]
        ]
        most = sorted(by_parent.get(tuple(row["steps"]), []))[: screen_paths.WAYS + 1]
        assert following == [steps for _, steps in most]
    from_start = start is None
    for row in [row for row in rows if row["steps"] and int(row["crashes"])][:1] + rows[:2]:
        steps, way = tuple(row["steps"]), expected[tuple(row["steps"])]
        for name, filter in (
            ("sessions", ways.of_way(steps, from_start=from_start)),
            ("exits", ways.of_exits(steps, from_start=from_start)),
            ("crashes", ways.of_crashes(steps, from_start=from_start)),
            ("still_there", ways.of_still_there(steps, from_start=from_start)),
        ):
            if steps or name == "sessions":
                chosen = choose(APP, filter, *span[1:])
                listed = kitchen.ask(Statement(f"SELECT session_id {chosen.found}", chosen.parameters))
                assert {each["session_id"] for each in listed} == way.get(name, set()), (steps, name)


@pytest.mark.parametrize("within_s", [20, None])
def test_flows(kitchen: Kitchen, within_s: int | None) -> None:
    """Each session by hand: the first step, then the second in time, or later, or never."""
    text = 'app.screen.view(app.screen.name = "Product") then app.screen.view(app.screen.name = "Cart")'
    steps = flows.flow(f"{text} within {within_s}s" if within_s else f"has {text}")
    expected: dict[str, set[str]] = {name: set() for name in flows.OUTCOMES}
    for row in kitchen.sessions:
        views = [
            (place, event.time_ms, told["app.screen.name"])
            for place, (event, told) in enumerate(kitchen.told[row["session_id"]])
            if told["name"] == "app.screen.view"
        ]
        begun = [(place, at) for place, at, screen in views if screen == "Product"]
        apart = [
            at - began
            for first, began in begun
            for place, at, screen in views
            if screen == "Cart" and place > first
        ]
        hung = row["anr_count"] > 0 or "anr" in (row["end_reason"], row["exit_reason"])
        gone = {"out_of_memory", "unclean_exit"} & {row["end_reason"], row["exit_reason"]}
        if not begun:
            continue
        if apart and (within_s is None or min(apart) <= within_s * 1_000):
            outcome = "completed"
        elif apart:
            outcome = "timed_out"
        elif is_crashed(row) or hung or gone:
            outcome = "error"
        else:
            outcome = "going_on" if row["status"] == "open" else "abandoned"
        expected[outcome].add(row["session_id"])
    span = (1_767_225_600_000, 1_798_761_600_000)
    *buckets, whole = kitchen.ask(flows.outcomes(APP, steps, *span, 7 * 86_400_000))
    assert {name: int(whole[name]) for name in expected} == {name: len(ids) for name, ids in expected.items()}
    assert expected["completed"] and expected["abandoned"] and bool(expected["timed_out"]) is bool(within_s)
    assert int(whole["started"]) == sum(map(len, expected.values())) and int(whole["step_2"]) == int(
        whole["completed"]
    )
    for name in ("started", *expected):
        assert sum(int(bucket[name]) for bucket in buckets) == int(whole[name])
    for name, filter in outcomes.of_outcome(steps).items():
        chosen = choose(APP, filter, *span)
        listed = kitchen.ask(Statement(f"SELECT session_id {chosen.found}", chosen.parameters))
        assert {each["session_id"] for each in listed} == expected[name], name


def test_screens_of_all_ways(kitchen: Kitchen) -> None:
    span = (APP, 1_767_225_600_000, 1_798_761_600_000)
    found = {row["screen"]: row for row in kitchen.ask(screen_paths.screens(span, "exits"))}
    seen = {screen for _, views in kitchen.screens() for _, screen in views}
    assert found.keys() == seen
    for screen, row in found.items():
        way = plain_ways(kitchen, screen, 1)[screen,]
        assert [int(row[name]) for name in ("sessions", "exits", "crashes")] == [
            len(way.get(name, ())) for name in ("sessions", "exits", "crashes")
        ]
    exits = [int(row["exits"]) for row in found.values()]
    assert exits == sorted(exits, reverse=True)


def test_screens_at_the_crash_are_of_its_session(kitchen: Kitchen) -> None:
    expected: Counter[str] = Counter()
    for row, screens in kitchen.screens():
        for event, _ in kitchen.told[row["session_id"]]:
            before = [screen for at, screen in screens if at <= event.time_ms]
            if event.kind in (Kind.CRASH, Kind.EXCEPTION) and before:
                expected[before[-1]] += 1
    assert {row["last_screen"]: int(row["crashes"]) for row in kitchen.cook(7)} == expected


def test_requests_that_failed_before_a_crash_lead_to_sessions(kitchen: Kitchen) -> None:
    device_of = {row["session_id"]: row["device_id"] for row in kitchen.sessions}
    failed: dict[str, list[int]] = {}
    for session_id, events in kitchen.told.items():
        failed.setdefault(device_of[session_id], []).extend(
            event.time_ms for event, _ in events if event.counters >> 4 & 1
        )
    expected = Counter(
        {
            session_id: sum(
                event.time_ms - 60_000 <= at <= event.time_ms for at in failed[device_of[session_id]]
            )
            for session_id, events in kitchen.told.items()
            for event, _ in events
            if event.kind in (Kind.CRASH, Kind.EXCEPTION)
        }
    )
    found = {row["session_id"]: int(row["failed_in_the_minute_before"]) for row in kitchen.cook(10)}
    assert found == +expected != {}


def test_the_funnel_is_of_screens(kitchen: Kitchen) -> None:
    found = {row["furthest"]: int(row["devices"]) for row in kitchen.cook(17)}
    assert {"Home", "Product", "Cart", "Checkout"} <= found.keys()
    assert sum(found.values()) == len({row["device_id"] for row, screens in kitchen.screens() if screens})


def test_variants_are_those_of_an_experiment(kitchen: Kitchen) -> None:
    expected = Counter(row["properties"].get("experiment.checkout", "") for row in kitchen.sessions)
    assert {row["variant"]: int(row["sessions"]) for row in kitchen.cook(19)} == expected
    assert {"", "A", "B"} <= expected.keys()


def requests_of(kitchen: Kitchen, of: set[str] | None = None) -> dict[str, tuple[list[float], int, set[str]]]:
    """Each endpoint's times in order, how many failed, and sessions: by hand, of some sessions or all."""
    found: dict[str, tuple[list[float], int, set[str]]] = {}
    for session_id, events in kitchen.told.items():
        for _, told in events:
            if told["name"] != "http.client.request" or (of is not None and session_id not in of):
                continue
            address = urlsplit(told["url.full"])
            path = re.sub(r"/[^/]*[0-9][^/]{4,}|/[0-9]+", "/{}", address.path)
            request = f"{told['http.request.method']} {address.hostname}{path}"
            is_failed = int(told.get("http.response.status_code", 0)) >= 400 or "error.type" in told
            times, failed, sessions = found.get(request, ([], 0, set()))
            found[request] = ([*times, float(told["duration"])], failed + is_failed, sessions | {session_id})
    return {request: (sorted(times), *rest) for request, (times, *rest) in found.items()}


def check_endpoints(
    rows: list[Row], expected: dict[str, tuple[list[float], int, set[str]]], top: int
) -> None:
    """Times as `quantileExact` takes them."""
    most = sorted(expected, key=lambda request: (-len(expected[request][0]), request))[:top]
    assert [row["request"] for row in rows] == most != []
    for row in rows:
        times, failed, sessions = expected[row["request"]]
        assert (int(row["requests"]), int(row["failures"]), int(row["sessions"])) == (
            len(times),
            failed,
            len(sessions),
        )
        assert [row["p50_ms"], row["p95_ms"], row["p99_ms"]] == [
            times[int(level * len(times))] for level in (0.5, 0.95, 0.99)
        ]


def test_endpoints(kitchen: Kitchen) -> None:
    expected = requests_of(kitchen)
    check_endpoints(kitchen.cook(30), expected, 20)
    assert sum(failed for _, failed, _ in expected.values()) > 5


def test_endpoints_of_some_sessions(kitchen: Kitchen) -> None:
    """What pages ask: of all sessions as the view has them, with a filter those of the sessions that meet it."""
    start_ms, end_ms = min(row["started_at_ms"] for row in kitchen.sessions), 4_000_000_000_000
    check_endpoints(kitchen.ask(endpoints(APP, start_ms, end_ms, top=20)), requests_of(kitchen), 20)
    crashed = {row["session_id"] for row in kitchen.sessions if row["crash_count"] > 0}
    chosen = where(parse("session.crash_count > 0"))
    found = kitchen.ask(endpoints(APP, start_ms, end_ms, where=chosen, top=20))
    check_endpoints(found, requests_of(kitchen, crashed), 20)
    (view,) = kitchen.ask(
        Statement(
            "SELECT * FROM endpoints(app_id = {a:String}, from = '2020-01-01', until = '2040-01-01') LIMIT 1",
            {"a": APP},
        )
    )
    assert view.keys() == found[0].keys()
