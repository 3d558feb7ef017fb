"""Whatever the clocks of devices say: what is bounded by days finds every event and every session, and nothing else."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from pipeline import wiring
from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query import journey
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.text_form import parse
from pipeline.query.metrics import retention
from pipeline.query.session_range import time_text
from pipeline.query.sessions import Cursor, session_by_id, session_list, timeline, user_sessions
from pipeline.query.statement import Statement
from pipeline.roles.rebuild import RebuildScope
from pipeline.settings import load
from tests.support.migrated import migrate

APP, OTHER = "org.example.clocks", "org.example.other"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
START_MS = 1_755_000_000_000
"""In August 2025, in the middle of a day."""
DAYS = 30
SHIFTS_MS: Mapping[str, int] = {
    "right": 0,
    "minutes": -15 * 60_000,
    "an hour": HOUR_MS,
    "days ahead": 5 * DAY_MS,
    "days behind": -20 * DAY_MS,
    "2040": 15 * 365 * DAY_MS,
    "as late as can be": 9_900_000_000_000 - START_MS,
    "1970": -START_MS,
}
"""By which a device's own stamps are off; that of 1970 begins there anew with each use."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class World:
    """What is stored, and the same as plain Python has it."""

    store: Store
    events: list[Row]
    """With `time_ms`."""
    sessions: list[Row]
    """With `started_at_ms`."""

    def ask(self, statement: Statement) -> list[Row]:
        return [
            orjson.loads(line) for line in self.store.query(statement.sql, statement.parameters).splitlines()
        ]

    def of_device(self, device_id: str) -> list[Row]:
        """Its sessions in order."""
        own = [row for row in self.sessions if row["device_id"] == device_id]
        return sorted(own, key=lambda row: int(row["started_at_ms"]))

    def ids(self, statement: Statement) -> list[str]:
        return sorted(row["event_id"] for row in self.ask(statement))

    def in_session(self, session: Row) -> list[Row]:
        """The events of the device from its start to the next one's."""
        starts = [int(row["started_at_ms"]) for row in self.of_device(session["device_id"])]
        later = bisect_right(starts, int(session["started_at_ms"]))
        end_ms = starts[later] if later < len(starts) else 1 << 62
        return [
            row
            for row in self.events
            if row["device_id"] == session["device_id"]
            and int(session["started_at_ms"]) <= row["time_ms"] < end_ms
        ]


def _rows(shift: str, n: int, dice: random.Random) -> Iterator[Row]:
    """A device's events: uses with days between them, passive events long after one, crashes here and there."""
    at_ms = START_MS + n * HOUR_MS
    number = 0
    while at_ms < START_MS + DAYS * DAY_MS:
        began_ms = at_ms
        for step in range(dice.randrange(3, 7)):
            name, kind = ("app.screen.view", "activity") if step else ("device.app.lifecycle", "foreground")
            if step == 4:
                name, kind = "app.crash", "crash"
            raw_ms = at_ms - began_ms if shift == "1970" else at_ms + SHIFTS_MS[shift]
            yield {
                "app_id": APP,
                "device_id": f"{shift} {n}",
                "event_id": f"{number:05}",
                "time_ms": at_ms,
                "raw_ms": max(0, raw_ms),
                "received_ms": at_ms + dice.choice([1_000, HOUR_MS, 3 * DAY_MS]),
                "name": name,
                "kind": kind,
                "user_id": f"user-{number % 3}-{n}" if step in (1, 3) else "",
            }
            number += 1
            at_ms += dice.choice([1_000, 20_000, 29 * 60_000])
        if dice.random() < 0.3:
            # Belongs to the session before it, days later.
            at_ms += dice.randrange(2, 4) * DAY_MS
            yield {
                "app_id": APP, "device_id": f"{shift} {n}", "event_id": f"{number:05}", "time_ms": at_ms,
                "raw_ms": max(0, at_ms + SHIFTS_MS[shift]), "received_ms": at_ms + 1_000, "name": "app.heartbeat",
                "kind": "passive", "user_id": "",
            }  # fmt: skip
            number += 1
        at_ms += dice.randrange(1, 6 * 24) * HOUR_MS


@pytest.fixture(scope="module")
def world(clickhouse: EmbeddedClickHouse) -> Iterator[World]:
    name = f"test_{uuid4().hex[:12]}"
    url = f"{clickhouse.url}/{name}"
    migrate(store := Store(url))
    dice = random.Random(12)
    events = [row for n in range(2) for shift in SHIFTS_MS for row in _rows(shift, n, dice)]
    # Another app has the same devices at the same times.
    events += [{**row, "app_id": OTHER} for row in events if row["device_id"].startswith("right")]
    lines = []
    for offset, row in enumerate(sorted(events, key=lambda row: int(row["received_ms"]))):
        times = {"time": "time_ms", "raw_time": "raw_ms", "received_at": "received_ms"}
        stored = {key: value for key, value in row.items() if not key.endswith("_ms")}
        stored |= {key: row[ms] / 1_000 for key, ms in times.items()}
        counters = {"counters": int(row["kind"] == "crash")}
        user = {"user_json": orjson.dumps({"id": row["user_id"]}).decode() if row["user_id"] else ""}
        lines.append(
            orjson.dumps(
                {**stored, **counters, **user, "offset": offset, "topic": "sdk-events", "resource_json": "{}"}
            )
        )
    for begin in range(0, len(lines), 500):
        store.insert("z_event_feed", b"\n".join(lines[begin : begin + 500]), token=f"some-{begin}")
    work = wiring.rebuild(
        load({"PIPELINE_CLICKHOUSE_URL": url}), store, RebuildScope(), START_MS + 100 * DAY_MS
    )
    work.swap()
    _taken_back(store)
    found = [
        orjson.loads(line)
        for line in store.query(
            "SELECT session_id, device_id, app_id, user_ids, toUnixTimestamp64Milli(started_at) AS started_at_ms,"
            " toUnixTimestamp64Milli(last_event_at) AS last_event_ms FROM sessions WHERE app_id = {app:String}",
            {"app": APP},
        ).splitlines()
    ]
    yield World(store, [row for row in events if row["app_id"] == APP], found)
    store.close()
    clickhouse.command(f"DROP DATABASE IF EXISTS {name} SYNC")


def _taken_back(store: Store) -> None:
    """Every fifth session is gone again, as if late events had dissolved it: its place is still there."""
    _again(
        store, {"is_deleted": "1", "revision": "revision + 2"}, "FINAL WHERE cityHash64(session_id) % 5 = 0"
    )


def _again(store: Store, changed: Mapping[str, str], of: str) -> None:
    """Stores rows of sessions once more, with some columns changed."""
    columns = [
        line.split("\t")[0]
        for line in store.query("DESCRIBE TABLE session_rows", format="TSV").decode().splitlines()
        if "MATERIALIZED" not in line
    ]
    values = [changed.get(name, name) for name in columns]
    selected = ", ".join(f"{value} AS new_{name}" for value, name in zip(values, columns, strict=True))
    store.command(f"INSERT INTO session_rows ({', '.join(columns)}) SELECT {selected} FROM session_rows {of}")


def test_clocks_of_every_kind_are_there(world: World) -> None:
    (row,) = world.ask(Statement(
        "SELECT countIf(toDate32(raw_time) = '1970-01-01') AS ancient, countIf(raw_time > '2200-01-01') AS far,"
        " countIf(toDate32(raw_time) != toDate32(time)) AS elsewhere, count() AS n FROM events"
    ))  # fmt: skip
    assert int(row["ancient"]) > 50 < int(row["far"]) and int(row["elsewhere"]) > 0.5 * int(row["n"])
    assert sum(len(row["user_ids"]) > 1 for row in world.sessions) > 5
    gaps = [b["started_at_ms"] - a["started_at_ms"] for a, b in pairwise(world.of_device("2040 0"))]
    assert max(map(int, gaps)) > 4 * DAY_MS


def test_a_session_has_all_of_its_events(world: World) -> None:
    later = 0
    for session in world.sessions[::6]:
        expected = world.in_session(session)
        assert world.ids(timeline(session["session_id"])) == sorted(row["event_id"] for row in expected), (
            session
        )
        later += max(row["time_ms"] for row in expected) > int(session["started_at_ms"]) + DAY_MS
    assert later > 1, "none reached over days"


def test_pages_of_a_session_have_them_too(world: World) -> None:
    for session in world.sessions[::18]:
        own = world.of_device(session["device_id"])
        place = own.index(session)
        (around,) = world.ask(journey.neighbours(APP, session["device_id"], int(session["started_at_ms"])))
        before, after = own[place - 1] if place else None, own[place + 1] if place + 1 < len(own) else None
        assert around["before_id"] == (before and before["session_id"])
        assert around["after_id"] == (after and after["session_id"])
        assert (around["after_ms"] and int(around["after_ms"])) == (after and int(after["started_at_ms"]))
        span = (
            APP,
            session["device_id"],
            int(session["started_at_ms"]),
            int(around["after_ms"] or journey.LAST_MS),
        )
        expected = sorted(row["event_id"] for row in world.in_session(session))
        assert world.ids(journey.events(*span, skip=0, limit=1_000)) == expected
        assert world.ids(journey.event(*span, expected[-1])) == expected[-1:]
        assert [row["session_id"] for row in world.ask(session_by_id(session["session_id"]))] == [
            session["session_id"]
        ]


def test_a_user_has_all_events_of_his_sessions(world: World) -> None:
    expected = Counter[tuple[str, str, str]]()
    for session in world.sessions:
        events = sorted(world.in_session(session), key=lambda row: row["time_ms"])
        owner = next((row["user_id"] for row in events if row["user_id"]), "")
        for row in events:
            owner = row["user_id"] or owner
            if owner in session["user_ids"]:
                expected[owner, row["device_id"], row["event_id"]] += 1
    users = sorted({user for user, _, _ in expected})
    for user in users[:3]:
        found = world.ask(
            Statement(
                "SELECT event_id, device_id FROM user_timeline(app_id = {app:String}, user_id = {user:String})",
                {"app": APP, "user": user},
            )
        )
        theirs = {place: n for place, n in expected.items() if place[0] == user}
        assert Counter((user, row["device_id"], row["event_id"]) for row in found) == theirs


@pytest.mark.parametrize("who", ["user_id", "device_id"])
def test_pages_of_a_user_or_a_device_go_back_to_the_first_session(world: World, who: str) -> None:
    names = {"1970 0", "2040 1"} if who == "device_id" else {"user-0-0", "user-2-1"}
    for name in sorted(names):
        found: list[str] = []
        before = None
        while rows := world.ask(user_sessions(APP, **{who: name}, before=before, limit=5)):
            found += [row["session_id"] for row in rows]
            before = Cursor.of(rows[-1])
        has = [
            row
            for row in world.sessions
            if name in (row["user_ids"] if who == "user_id" else [row["device_id"]])
        ]
        expected = sorted(has, key=lambda row: (int(row["started_at_ms"]), row["device_id"]), reverse=True)
        assert found == [row["session_id"] for row in expected]


RANGES_MS = [
    (START_MS, START_MS + DAYS * DAY_MS),
    *(
        (START_MS + n * DAY_MS, START_MS + n * DAY_MS + length)
        for n, length in ((9, DAY_MS), (20, 7 * DAY_MS))
    ),
    (START_MS // DAY_MS * DAY_MS + 12 * DAY_MS, START_MS // DAY_MS * DAY_MS + 13 * DAY_MS),
]


@pytest.mark.parametrize(("start_ms", "end_ms"), RANGES_MS)
def test_a_range_has_all_of_its_events(world: World, start_ms: int, end_ms: int) -> None:
    expected = [row for row in world.events if start_ms <= row["time_ms"] < end_ms]
    assert expected
    span = f"from = '{time_text(start_ms)}', until = '{time_text(end_ms)}'"
    found = world.ask(Statement(f"SELECT device_id, event_id FROM events_between(app_id = '{APP}', {span})"))
    assert sorted(map(_name, found)) == sorted(map(_name, expected))
    crashes = world.ask(
        Statement(
            "SELECT device_id, event_id FROM"
            f" notable_events_between(app_id = '{APP}', subject = 'crash', {span})"
        )
    )
    assert sorted(map(_name, crashes)) == sorted(_name(row) for row in expected if row["kind"] == "crash")


@pytest.mark.parametrize(("start_ms", "end_ms"), RANGES_MS)
@pytest.mark.parametrize("app", [APP, None])
def test_filters_of_a_range_see_all_events_of_its_sessions(
    world: World, start_ms: int, end_ms: int, app: str | None
) -> None:
    """Also those behind the end of the range: a passive one may come days after all else."""
    for text, name in (("has app.heartbeat", "app.heartbeat"), ("has app.crash", "app.crash")):
        counted, stored = set(), set()
        for row in world.sessions:
            times_ms = [each["time_ms"] for each in world.in_session(row) if each["name"] == name]
            if times_ms and start_ms <= int(row["started_at_ms"]) < end_ms:
                stored.add(row["session_id"])
                # An event that no session counts may be seen or not where the range does not reach to its day.
                if min(times_ms) <= max(int(row["last_event_ms"]), end_ms - 1):
                    counted.add(row["session_id"])
        listed = session_list(app, parse(text), start_ms, end_ms, None, 1_000)
        found = {row["session_id"] for row in world.ask(listed) if row["app_id"] == APP}
        assert counted <= found <= stored


@pytest.mark.parametrize(("start_ms", "end_ms"), RANGES_MS)
def test_what_came_first_is_told_by_what_was_before(world: World, start_ms: int, end_ms: int) -> None:
    firsts = [world.of_device(name)[0] for name in {row["device_id"] for row in world.sessions}]
    condition = where(parse("session.first = true"), scope=FilterScope(APP, start_ms, end_ms))
    found = world.ask(
        Statement(
            f"SELECT session_id FROM sessions WHERE app_id = '{APP}' AND started_at >= '{time_text(start_ms)}'"
            f" AND started_at < '{time_text(end_ms)}' AND {condition.sql}",
            condition.parameters,
        )
    )
    expected = [row["session_id"] for row in firsts if start_ms <= int(row["started_at_ms"]) < end_ms]
    assert sorted(row["session_id"] for row in found) == sorted(expected)


@pytest.mark.parametrize(
    ("days", "gone", "first"),
    [
        ((40,), (), {40}),
        ((20, 40), (), set()),
        ((20, 40), (20,), {40}),
        ((1, 20, 40), (20,), set()),
        ((1, 20, 40), (1, 20), {40}),
        ((20, 36, 40), (20, 36), {40}),
    ],
)
def test_a_device_was_there_before_if_any_earlier_day_has_a_session_still(
    world: World, days: tuple[int, ...], gone: tuple[int, ...], first: set[int]
) -> None:
    app = f"org.example.back.{uuid4().hex[:8]}"
    for day in days:
        at = f"fromUnixTimestamp64Milli({START_MS + day * DAY_MS}, 'UTC')"
        changed = {"app_id": f"'{app}'", "device_id": "'back'", "session_id": f"toUUID('{_uuid_of(day)}')"}
        changed |= dict.fromkeys(("started_at", "ended_at", "last_event_at"), at)
        _again(world.store, changed, "FINAL WHERE is_deleted = 0 ORDER BY session_id LIMIT 1")
        if day in gone:
            _again(
                world.store,
                {"is_deleted": "1", "revision": "revision + 2"},
                f"WHERE app_id = '{app}' AND session_id = toUUID('{_uuid_of(day)}')",
            )
    range_ms = (START_MS + 38 * DAY_MS, START_MS + 42 * DAY_MS)
    found = world.ask(session_list(app, parse("session.first = true"), *range_ms, None, 10))
    assert [row["session_id"] for row in found] == [_uuid_of(day) for day in first]
    for by in (None, "app_version"):
        kept = world.ask(retention(app, *range_ms, 0, by=by))
        assert sum(row["devices"] for row in kept) == len(first)


def test_rows_that_replace_each_other_are_in_one_partition(world: World) -> None:
    """So each partition may be made final by itself, as questions of many months do."""
    days = {
        "if(toDate(started_at) < toDate('2020-01-01'), 0, toYYYYMM(toDate(started_at)))": "toDate(started_at)",
        "if(raw_time < toDateTime64('2020-01-01 00:00:00', 3, 'UTC'), 999,"
        " ((toYear(raw_time) % 3) * 100) + toMonth(raw_time))": "toDate32(raw_time)",
        "event_key % 8": "event_key",
        "toYYYYMM(evaluated_at)": "evaluated_at",
    }
    tables = world.ask(
        Statement(
            "SELECT name, partition_key, sorting_key FROM system.tables WHERE database = currentDatabase()"
            " AND partition_key != '' AND engine LIKE '%Replacing%'",
            {},
        )
    )
    assert "session_rows" in {row["name"] for row in tables}
    for row in tables:
        assert days[row["partition_key"]] in row["sorting_key"].split(", "), row["name"]


def _uuid_of(day: int) -> str:
    return str(UUID(int=day))


def _name(row: Row) -> tuple[str, str]:
    return row["device_id"], row["event_id"]
