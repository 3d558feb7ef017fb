"""Whose an event is (SESSIONS.md, "Users"): timelines, crashes and counts of users go by it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline.clickhouse.store import Store
from pipeline.domain.event import Event
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.domain.session import Session
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import native
from pipeline.query import crashes
from pipeline.query.filters.sql import where
from pipeline.query.filters.text_form import parse
from pipeline.query.metrics import metric
from pipeline.query.sessions import session_list, timeline, user_sessions
from pipeline.query.statement import Statement
from pipeline.storage.columns import TABLES
from pipeline.storage.rows import session_row
from tests.support.event_rows import event_rows
from tests.support.migrated import migrate

FIELD = Path(__file__).parents[1] / "data" / "field"
ALICE_AND_BOB = FIELD / "14-user-a-crashes-user-b-logs-in.ndjson"
CRASH_THEN_NEXT_USER = FIELD / "43-fresh-crash-user-then-next-user.ndjson"
SHARED = "org.example.shared"
"""An app whose devices go from hand to hand: drawn at random."""
DAY_MS = 86_400_000
USERS = ("ann", "ben", "cem", "dora", "ed", "flo", "gia", "hal", "ida")
_PARTS = 2
Row = dict[str, Any]
Device = tuple[str, str]


class World:
    """Records stored as the workers would, and what came of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.events: dict[Device, list[Event]] = {}
        self.offset = 0

    def take(self, lines: Iterable[str]) -> None:
        """Store the events of native envelopes, one a line."""
        blocks = []
        for line in lines:
            body = json.loads(line)
            device = body["app_id"], body["device_id"]
            at_ms = max(event["time"] for event in body["events"])
            envelope = native.decode(line.encode(), "/".join(device).encode(), at_ms)
            assert isinstance(envelope, native.Envelope) and not envelope.refused, envelope
            self.events.setdefault(device, []).extend(native.to_events(envelope))
            rows = event_rows(envelope, topic="sdk-events", partition=0, offset=self.offset)
            blocks.append(rows)
            self.offset += 1
        for part in range(_PARTS):
            self.store.insert("z_event_feed", b"\n".join(blocks[part::_PARTS]), token="test")

    def fold(self) -> None:
        """Store the sessions of all events."""
        rows = [
            session_row(
                *device,
                session,
                status="closed",
                revision=2,
                is_final=False,
                arrived_at_ms=0,
                partition=0,
                offset=1,
            )
            for device in self.events
            for session in self.sessions(device)
        ]
        self.store.insert("session_rows", b"\n".join(rows), token="test")

    def sessions(self, device: Device) -> Sequence[Session]:
        return sessions(*device, self.events[device], Policy())

    def ask(self, statement: Statement) -> list[Row]:
        return [
            json.loads(line) for line in self.store.query(statement.sql, statement.parameters).splitlines()
        ]

    def sql(self, sql: str, **parameters: Any) -> list[Row]:
        return self.ask(Statement(sql, parameters))

    def timeline_of(self, app: str, user: str) -> list[str]:
        sql = "SELECT event_id FROM user_timeline(app_id = {app:String}, user_id = {user:String})"
        return [row["event_id"] for row in self.sql(sql, app=app, user=user)]

    def span(self, app: str) -> tuple[int, int]:
        times = [event.time_ms for (id, _), events in self.events.items() for event in events if id == app]
        return min(times) - DAY_MS, max(times) + DAY_MS


def drawn(random: Random) -> Iterator[str]:
    """Devices that several users share, some events of each millisecond, not in order."""
    for number in range(32):
        at_ms, records = 1_742_300_000_000, []
        for index in range(random.randrange(1, 30)):
            at_ms += random.choice((0, 0, 1, 400, 60_000, 3_600_000))
            names = (
                "tick",
                "app.screen.view",
                "app.heartbeat",
                "app.launch",
                "app.crash",
                "app.exit",
                "app.anr",
            )
            name = random.choices(names, (20, 10, 5, 3, 1, 1, 1) if number % 8 else (1, 1, 1, 1, 0, 0, 0))[0]
            attributes = {"app.exit": {"app.exit.reason": "crash"}, "app.launch": {"app.launch.type": "cold"}}
            body: Row = {
                "v": 1,
                "app_id": SHARED,
                "device_id": f"d{number}",
                "events": [
                    {
                        "id": f"{number}-{random.randrange(1_000)}-{index}",
                        "name": name,
                        "time": at_ms,
                        "seq": random.randrange(3),
                        "attributes": attributes.get(name, {}),
                    }
                ],
            }
            if random.random() < 0.3:
                body["user"] = {"id": random.choice(USERS[number % 3 :: 3])}
            elif random.random() < 0.1:
                body["user"] = {"personas": ["nobody"]}
            records.append(json.dumps(body))
        random.shuffle(records)
        yield from records


@pytest.fixture(scope="module")
def world(clickhouse: EmbeddedClickHouse) -> Iterator[World]:
    store = Store(f"{clickhouse.url}/test_users")
    migrate(store)
    for table in ("z_event_rows", *TABLES):
        if not table.endswith("_feed"):
            store.command(f"SYSTEM STOP MERGES {table}")
    made = World(store)
    for path in (ALICE_AND_BOB, CRASH_THEN_NEXT_USER):
        made.take(path.read_text().splitlines())
    made.take(drawn(Random(7)))
    made.fold()
    yield made
    store.close()
    clickhouse.command("DROP DATABASE test_users SYNC")


def whose(world: World, device: Device) -> dict[str, str]:
    """From the words of the definition: event id to user, of the events that belong to a session."""
    starts = [session.started_at_ms for session in world.sessions(device)]
    found = {}
    events = sorted(world.events[device])
    for start, end in zip(starts, [*starts[1:], 1 << 62], strict=True):
        members = [event for event in events if start <= event.time_ms < end]
        named = [json.loads(event.user or "{}").get("id", "") for event in members]
        for place, event in enumerate(members):
            before = [name for name in named[: place + 1] if name]
            after = [name for name in named[place:] if name]
            found[event.id] = before[-1] if before else after[0] if after else ""
    return found


def test_each_has_his_own_events(world: World) -> None:
    app = "org.example.field.c14"
    assert world.timeline_of(app, "alice") == ["l1", "l1", "t1", "t1", "e1", "c1", "lo", "t2"]
    assert world.timeline_of(app, "bob") == ["x", "t3", "t4", "b1"]


def test_a_crash_is_of_the_user_who_had_it_and_not_of_the_next_one(world: World) -> None:
    app = "org.example.field.c43"
    assert world.timeline_of(app, "alice") == ["l1", "c1"]
    assert world.timeline_of(app, "bob") == ["cfg"]
    # The session is of both; the crash is hers.
    (health,) = world.sql(
        "SELECT users, crash_free_users FROM release_health WHERE app_id = {app:String}", app=app
    )
    assert health == {"users": 2, "crash_free_users": 1}
    (crash,) = world.ask(crashes.groups((app, *world.span(app)), kind="crash"))
    assert (crash["crashes"], crash["users"]) == (1, 1)
    found = world.sql(
        "SELECT user_id FROM notable_events_in_sessions("
        "app_id = {app:String}, subject = 'crash', from = '2026-01-01', until = '2027-01-01')",
        app=app,
    )
    assert found == [{"user_id": "alice"}]


def test_timelines_are_as_the_definition_has_them(world: World) -> None:
    wanted: dict[str, set[str]] = {}
    for device in world.events:
        if device[0] == SHARED:
            for event_id, user in whose(world, device).items():
                wanted.setdefault(user, set()).add(event_id)
    assert len(wanted) == len(USERS) + 1 and len(wanted[""]) > 5
    for user in USERS:
        found = world.timeline_of(SHARED, user)
        assert len(found) == len(set(found)) and set(found) == wanted[user]


def test_the_timeline_of_a_session_says_whose_each_event_is(world: World) -> None:
    several = world.sql(
        "SELECT session_id, device_id FROM sessions WHERE app_id = {app:String} ORDER BY length(user_ids) DESC LIMIT 9",
        app=SHARED,
    )
    for row in several:
        wanted = whose(world, (SHARED, row["device_id"]))
        lines = world.ask(timeline(row["session_id"]))
        assert lines and all(line["user_id"] == wanted[line["event_id"]] for line in lines)


def test_users_of_failures_and_of_all_sessions(world: World) -> None:
    """Against the definition: a crash is its event's user's, a session is each of its users'."""
    users, crashed, hung = set(), set(), set()
    for device in world.events:
        if device[0] != SHARED:
            continue
        owner, events = whose(world, device), sorted(world.events[device])
        every = world.sessions(device)
        starts = [session.started_at_ms for session in every]
        for session, end in zip(every, [*starts[1:], 1 << 62], strict=True):
            if not session.foreground:
                continue
            users |= set(session.user_ids)
            members = [event for event in events if session.started_at_ms <= event.time_ms < end]
            for event in members:
                if event.counters & 1 or event.exit_reason == "crash":
                    crashed.add(owner[event.id])
                if event.counters & 2:
                    hung.add(owner[event.id])
    users -= {""}
    start_ms, end_ms = world.span(SHARED)
    [numbers] = world.ask(
        metric(["users", "crash_free_users"], app_id=SHARED, start_ms=start_ms, end_ms=end_ms)
    )
    assert numbers["users"] == len(users) == len(USERS)
    assert 0 < len(users - crashed) < len(users) and 0 < len(users - hung) < len(users)
    assert numbers["crash_free_users_numerator"] == len(users - crashed)
    [of_view] = world.sql(
        "SELECT users, crash_free_users, anr_free_users FROM release_health WHERE app_id = {app:String}",
        app=SHARED,
    )
    assert of_view["crash_free_users"] == len(users - crashed)
    assert of_view["anr_free_users"] == len(users - hung)


def test_a_filter_finds_the_sessions_of_any_of_their_users(world: World) -> None:
    app = "org.example.field.c43"
    for user in ("alice", "bob"):
        filtered = world.ask(
            session_list(app, parse(f'user.id = "{user}"'), *world.span(app), after=None, limit=10)
        )
        assert [row["user_ids"] for row in filtered] == [["alice", "bob"]]
        assert len(world.ask(user_sessions(app, user_id=user))) == 1
    assert (
        world.ask(session_list(app, parse('user.id != "alice"'), *world.span(app), after=None, limit=10))
        == []
    )
    condition = where(parse('user.id in ("carol", "bob")'))
    [count] = world.ask(
        Statement(f"SELECT count() AS n FROM sessions WHERE {condition.sql}", condition.parameters)
    )
    assert count["n"] == 3


def test_a_session_counts_for_each_of_its_users(world: World) -> None:
    app = "org.example.field.c43"
    rows = world.ask(
        metric(["sessions"], app_id=app, start_ms=world.span(app)[0], end_ms=world.span(app)[1], by="user_id")
    )
    assert {row["group"]: row["sessions"] for row in rows} == {"alice": 1, "bob": 1}
