"""Late, restated and unrestated in SQL, beside what the sessionizer did with the same input."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from pipeline.clickhouse.statements import statements
from pipeline.clickhouse.store import Store
from pipeline.domain.event import Event
from pipeline.domain.policy import Policy
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import native
from pipeline.query import finding
from pipeline.schema_files import schema_folder
from pipeline.state.device import Counts, apply, fall_silent
from pipeline.state.device_state import DeviceState
from pipeline.state.outbox import Rows
from pipeline.storage.columns import FOLLOWING, SESSION_COLUMNS
from tests.support.event_rows import event_rows
from tests.support.migrated import migrate

APP = "app"
SPAN = {"app": APP, "from": "2025-01-01", "until": "2026-01-01"}
T0 = 1_742_300_000_000
POLICY = Policy(
    restate_horizon_ms=600_000, restate_events=12, inactivity_timeout_ms=60_000, idle_timeout_ms=60_000
)
DEVICES = 12
NAMES = ("tick", "tick", "app.heartbeat", "app.crash", "session.end")
Row = dict[str, Any]


class Told:
    """What some devices sent, in the order in which it came, and what the sessionizer made of it."""

    def __init__(self, random: Random) -> None:
        self.events: list[bytes] = []
        self.sessions: list[bytes] = []
        self.late: set[tuple[str, str]] = set()
        self.counts = Counts()
        for number in range(DEVICES):
            self._device(f"d{number}", random)

    def _device(self, device: str, random: Random) -> None:
        state, key = DeviceState(), f"{APP}/{device}".encode()
        seen: list[Event] = []
        arrived_ms = T0
        for offset in range(random.randrange(5, 60)):
            arrived_ms += random.choice((1_000, 5_000, 90_000, 200_000))
            late_ms = [
                random.choice((0, 0, 0, 100, 70_000, 300_000, 900_000)) for _ in range(random.randrange(1, 4))
            ]
            events = [
                {
                    # Its own: of a duplicate beyond the horizon the sessionizer cannot know that it is one.
                    "id": f"e{offset}-{place}-{random.randrange(9)}",
                    # A passive one before the first session belongs to none, whether it was in time or not.
                    "name": random.choice(NAMES if by_ms < 300_000 else NAMES[:1]),
                    "time": arrived_ms - by_ms,
                }
                for place, by_ms in enumerate(late_ms)
            ]
            body = json.dumps({"v": 1, "app_id": APP, "device_id": device, "events": events}).encode()
            envelope = native.decode(body, key, arrived_ms)
            assert isinstance(envelope, native.Envelope)
            self.events.append(event_rows(envelope, topic="sdk-events", partition=0, offset=offset))
            # As a fast worker has it: silence is told before the next record.
            self._tell(state, key, fall_silent(state, arrived_ms, arrived_ms, POLICY), 2 * offset - 1)
            arrived = native.to_events(envelope)
            self._tell(
                state, key, apply(state, [(offset, arrived_ms, arrived)], POLICY, self.counts), 2 * offset
            )
            for event in arrived:
                if event.id not in {before.id for before in seen}:
                    if seen and event < max(seen):
                        self.late.add((device, event.id))
                    seen.append(event)
        self._tell(
            state, key, fall_silent(state, arrived_ms + 60_000, 0, POLICY), 2 * state.applied_offset + 1
        )

    def _tell(self, state: DeviceState, key: bytes, is_changed: bool, revision: int) -> None:
        if is_changed and state.outbox:
            rows = Rows(0)
            rows.add(key, state, revision)
            self.sessions += [row for _, row in rows]


@pytest.fixture(scope="module")
def told() -> Told:
    return Told(Random(3))


@pytest.fixture(scope="module")
def store(clickhouse: EmbeddedClickHouse, told: Told) -> Iterator[Store]:
    """All of it stored, some of it twice, and merged."""
    made = Store(f"{clickhouse.url}/test_lateness")
    migrate(made)
    made.insert("z_event_feed", b"\n".join(told.events), token="a")
    made.insert("z_event_feed", b"\n".join(told.events[::3]), token="b")
    for part in range(3):
        made.insert("session_rows", b"\n".join(told.sessions[part::3]), token=f"{part}")
    made.insert("session_rows", b"\n".join(told.sessions[::5]), token="again")
    for table in ("z_event_rows", "session_rows", "told_session_rows"):
        made.command(f"OPTIMIZE TABLE {table} FINAL")
    yield made
    made.close()
    clickhouse.command("DROP DATABASE test_lateness SYNC")


def ask(store: Store, view: str, select: str = "*") -> list[Row]:
    sql = f"SELECT {select} FROM {view}(app_id = {{app:String}}, from = {{from:String}}, until = {{until:String}})"
    return [json.loads(line) for line in store.query(sql, SPAN).splitlines()]


def test_late_events(store: Store, told: Told) -> None:
    found = ask(store, "late_events")
    assert {(row["device_id"], row["event_id"]) for row in found} == told.late and len(found) == len(
        told.late
    )
    assert len(found) == told.counts.late + told.counts.unrestated
    assert told.counts.late > 20 and min(row["behind_ms"] for row in found) >= 0


def test_unrestated_events(store: Store, told: Told) -> None:
    found = ask(store, "unrestated_sessions")
    assert sum(row["unrestated_events"] for row in found) == told.counts.unrestated > 20
    late = {row["session_id"] for row in ask(store, "late_events", "session_id")}
    assert {row["session_id"] for row in found} <= late


def test_restated_sessions(store: Store, told: Told) -> None:
    """A change of what had been told as ended, by the rows that were told, one after the other."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for line in told.sessions:
        row = json.loads(line)
        rows[row["session_id"]].append(row)
    wanted = {}
    for session_id, of_session in rows.items():
        of_session.sort(key=lambda row: (row["revision"], row.get("is_final", False)))
        changes = sum(
            before.get("status") == "closed" and said(before) != said(after)
            for before, after in pairwise(of_session)
        )
        if changes:
            wanted[session_id] = changes, bool(of_session[-1]["is_deleted"])
    found = ask(store, "restated_sessions")
    assert {row["session_id"]: (row["restatements"], bool(row["is_gone"])) for row in found} == wanted
    assert sum(gone for _, gone in wanted.values()) > 2 < sum(not gone for _, gone in wanted.values())
    assert all(row["told_at"] <= row["restated_at"] for row in found)


def test_a_session_that_is_gone_has_the_successors_that_have_its_events(store: Store, told: Told) -> None:
    """By plain Python: in which of the sessions that are there each event of its time lies."""
    of_id: dict[str, list[Row]] = defaultdict(list)
    for line in told.sessions:
        row = json.loads(line)
        of_id[row["session_id"]].append(row)
    last = {id: max(rows, key=lambda row: row["revision"]) for id, rows in of_id.items()}
    starts: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for id, row in last.items():
        if not row["is_deleted"]:
            starts[row["device_id"]].append((float(row["started_at"]), id))
    times: dict[str, set[float]] = defaultdict(set)
    for block in told.events:
        for line in block.splitlines():
            event = json.loads(line)
            times[event["device_id"]].add(float(event["time"]))
    gone = [id for id, row in last.items() if row["is_deleted"]]
    assert len(gone) > 5
    for id in (*gone[:8], *[id for id in last if id not in gone][:2]):
        began = float(of_id[id][0]["started_at"])
        ended = max(float(row.get("last_event_at", 0)) for row in of_id[id] if not row["is_deleted"])
        device = of_id[id][0]["device_id"]
        wanted = {
            max(start for start in starts[device] if start[0] <= at)[1]
            for at in times[device]
            if began <= at <= ended
        }
        statement = finding.successors(id)
        found = [json.loads(line) for line in store.query(statement.sql, statement.parameters).splitlines()]
        assert {row["session_id"] for row in found} == (wanted if id in gone else set()), id
        statement = finding.as_last_told(id)
        (row,) = (json.loads(line) for line in store.query(statement.sql, statement.parameters).splitlines())
        assert (row["was_there"], row["device_id"], row["is_kept"]) == (1, device, 1)
        assert row["was_taken_back"] == (id in gone)


def said(row: Row) -> Row:
    """What a row says of its session, beside where it comes from."""
    about = ("revision", "offset", "partition", "arrived_at", "is_final")
    return {name: value for name, value in row.items() if name not in about}


def test_what_is_told_after_a_rebuild_is_noted_too(store: Store, told: Told) -> None:
    """A rebuild puts another table in the place of `session_rows`."""
    for name in ("1_prepare.sql", "2_swap.sql"):
        for statement in statements((schema_folder() / "rebuild" / name).read_text(encoding="utf-8")):
            store.command(statement)
    row = json.loads(told.sessions[0]) | {"device_id": "after"}
    store.insert("session_rows", json.dumps(row).encode(), token="after")
    sql = "SELECT count() AS n FROM told_session_rows WHERE device_id = 'after'"
    assert json.loads(store.query(sql)) == {"n": 1}


def test_all_that_a_row_says_of_its_session_is_compared() -> None:
    text = next((schema_folder() / "clickhouse").glob("0018_*.sql")).read_text(encoding="utf-8")
    compared = [re.findall(r"\w+", said) for said in re.findall(r"sipHash64\((.*?)\) AS", text, re.DOTALL)]
    names = {name for name, _ in SESSION_COLUMNS} - FOLLOWING
    # The resource is that of the first event, the version of policies that of its time, and the rest is the key.
    names -= {"app_id", "device_id", "session_id", "started_at", "resource", "policy_version"}
    assert [set(said) - {"mapSort"} for said in compared] == [names, names]
