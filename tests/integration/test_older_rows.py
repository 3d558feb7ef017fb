"""Rows from before a column, and rows that workers from before it still write, read as what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.clickhouse.store import Store
from pipeline.domain.event import AppState, Kind
from pipeline.storage import stored_event, stored_session
from pipeline.storage.rows import session_row
from tests.support.event_rows import event_rows
from tests.support.migrated import migrate
from tests.support.older_schema import migrate_to_before
from tests.support.one_device import APP, DEVICE, T0, envelope, event, session

NEW_COLUMNS = "0015"


def older(row: bytes, *newer: str) -> bytes:
    """The row as a worker writes it that does not know these columns."""
    said = json.loads(row)
    return json.dumps({name: value for name, value in said.items() if name not in newer}).encode()


def put_event(store: Store, id: str, offset: int, *, is_older: bool, **changes: Any) -> None:
    body = envelope(event(id, T0 + offset, name="app.screen.view"), user={"id": "u"})
    for name, value in changes.items():
        setattr(body.events[0], name, value)
    row = event_rows(body, topic="sdk-events", partition=0, offset=offset)
    # Where sinks of before insert, and those of now.
    table, row = ("event_rows", older(row, "stated", "repaired")) if is_older else ("z_event_feed", row)
    store.insert(table, row, token="test")


def put_session(store: Store, first: str, user_ids: list[str], *, is_older: bool) -> None:
    made = session(first, user_id=user_ids[-1] if user_ids else "", user_ids=user_ids)
    row = session_row(
        APP,
        DEVICE,
        made,
        status="closed",
        revision=2,
        is_final=False,
        arrived_at_ms=T0,
        partition=0,
        offset=1,
    )
    store.insert("session_rows", older(row, "user_ids") if is_older else row, token="test")


@pytest.fixture(scope="module")
def store(clickhouse: Any) -> Iterator[Store]:
    """Rows of the version before, the migration, then rows of both versions side by side."""
    made = Store(f"{clickhouse.url}/older_rows")
    migrate_to_before(made, NEW_COLUMNS)
    put_event(made, "before", 1, is_older=True)
    put_session(made, "before", ["u"], is_older=True)
    put_session(made, "before-nobody", [], is_older=True)
    migrate(made)
    put_event(made, "beside", 2, is_older=True)
    put_session(made, "beside", ["u"], is_older=True)
    put_event(
        made,
        "new",
        3,
        is_older=False,
        stated=AppState.BACKGROUND,
        repaired=("attributes.x",),
        counters=1 << 20 | 64,
    )
    put_session(made, "new", ["v", "u"], is_older=False)
    yield made
    made.close()
    clickhouse.command("DROP DATABASE older_rows SYNC")


def rows(store: Store, sql: str) -> list[list[Any]]:
    return [json.loads(line) for line in store.query(sql, format="JSONCompactEachRow").splitlines()]


def test_events(store: Store) -> None:
    view = 1 << 6
    assert rows(store, "SELECT event_id, counters, app_state, repaired FROM events ORDER BY offset") == [
        ["before", view, "", []],
        ["beside", view, "", []],
        ["new", 1 << 20 | view, "background", ["attributes.x"]],
    ]


def test_what_is_notable_in_them(store: Store) -> None:
    found = rows(store, "SELECT event_id, subject FROM notable_events ORDER BY time")
    assert found == [["before", "view"], ["beside", "view"], ["new", "view"]]


def test_events_as_a_rebuild_folds_them(store: Store) -> None:
    sql = f"{stored_event.SELECT} WHERE event_id != 'new' {stored_event.ORDER}"
    (device,) = stored_event.devices(store.lines(sql))
    events = [each for record in device.records for each in record.events]
    assert [(each.id, each.stated, each.kind) for each in events] == [
        ("before", AppState.UNKNOWN, Kind.ACTIVITY),
        ("beside", AppState.UNKNOWN, Kind.ACTIVITY),
    ]


def test_sessions(store: Store) -> None:
    assert rows(store, "SELECT first_event_id, user_id, user_ids FROM sessions ORDER BY first_event_id") == [
        ["before", "u", ["u"]],
        ["before-nobody", "", []],
        ["beside", "u", ["u"]],
        ["new", "u", ["v", "u"]],
    ]


def test_sessions_as_a_rebuild_compares_them(store: Store) -> None:
    sql = f"{stored_session.SELECT} {stored_session.ORDER}"
    ((_, found),) = stored_session.by_device(store.lines(sql))
    assert sorted(facts["user_ids"] for facts in found.values()) == [[], ["u"], ["u"], ["v", "u"]]


def test_a_session_is_found_by_any_of_its_users(store: Store) -> None:
    found = rows(
        store, "SELECT first_event_id FROM sessions WHERE has(user_ids, 'u') ORDER BY first_event_id"
    )
    assert found == [["before"], ["beside"], ["new"]]
    assert rows(store, "SELECT first_event_id FROM sessions WHERE has(user_ids, 'v')") == [["new"]]
