"""Sessions in pages, one by one and by user, and saved filters, against a running ClickHouse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query.filters.json_form import FilterError
from pipeline.query.filters.text_form import parse
from pipeline.query.saved import delete, make_default, save, saved_filters
from pipeline.query.sessions import (
    MAX_LIMIT,
    Cursor,
    session_by_id,
    session_list,
    session_page,
    timeline,
    user_sessions,
    windows,
)
from pipeline.query.statement import Statement
from tests.support.filter_oracle import World
from tests.support.filter_world import ODD_TEXTS, fill, read_world
from tests.support.migrated import migrate

ALL_TIMES = (0, 10_000_000_000_000)
DAY_MS = 86_400_000
Row = dict[str, Any]


@pytest.fixture(scope="module")
def store(clickhouse: EmbeddedClickHouse) -> Iterator[Store]:
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate(store)
    fill(store)
    yield store
    store.close()
    clickhouse.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture(scope="module")
def world(store: Store) -> World:
    return read_world(store)


def select(store: Store, statement: Statement) -> list[Row]:
    return [json.loads(line) for line in store.query(statement.sql, statement.parameters).splitlines()]


def newest_first(rows: list[Row]) -> list[str]:
    """Ids in the order of pages. ClickHouse orders UUIDs in its own way: no two here share all that comes before."""
    keys = [(row["started_at_ms"], row["app_id"].encode(), row["device_id"].encode()) for row in rows]
    assert len(set(keys)) == len(keys)
    return [
        row["session_id"]
        for _, row in sorted(zip(keys, rows, strict=True), key=lambda pair: pair[0], reverse=True)
    ]


@pytest.mark.parametrize("limit", [1, 7, 50, 1_000])
@pytest.mark.parametrize("text", ["", "session.crash_count > 0", "has app.screen.view"])
@pytest.mark.parametrize("stored", [None, 10], ids=["in_pieces", "at_once"])
def test_pages_hold_every_session_once_in_order(
    store: Store, world: World, text: str, limit: int, stored: int | None
) -> None:
    filter = parse(text)
    passing = {
        row["session_id"] for row in select(store, session_list(None, filter, *ALL_TIMES, None, 1_000))
    }
    times = ALL_TIMES if stored is None else (0, max(row["started_at_ms"] for row in world.sessions) + 1)
    found, after, pages = [], None, 0
    # Of small pages some are enough.
    is_begun = limit == 1 or (limit == 7 and "crash" not in text)
    while True:
        page = session_page(store.query, None, filter, *times, after, limit, stored=stored)
        assert page.after is None or len(page.rows) == limit
        found += [row["session_id"] for row in page.rows]
        pages += 1
        if page.after is None or (is_begun and pages == 12):
            break
        after = Cursor.parse(str(page.after))
    expected = newest_first([row for row in world.sessions if row["session_id"] in passing])
    assert len(expected) > 30 and found == (expected[: 12 * limit] if is_begun else expected)
    assert pages == max(1, -(-len(found) // limit))


def test_a_page_keeps_to_app_and_range(store: Store, world: World) -> None:
    starts = sorted(row["started_at_ms"] for row in world.sessions)
    start_ms, end_ms = starts[len(starts) // 4], starts[len(starts) * 3 // 4]
    ((app_id, _),) = Counter(
        row["app_id"] for row in world.sessions if start_ms <= row["started_at_ms"] < end_ms
    ).most_common(1)
    rows = select(store, session_list(app_id, None, start_ms, end_ms, None, 1_000))
    expected = [
        row for row in world.sessions if row["app_id"] == app_id and start_ms <= row["started_at_ms"] < end_ms
    ]
    assert [row["session_id"] for row in rows] == newest_first(expected)
    assert expected


def test_no_clock_is_too_wrong_for_a_page(clickhouse: EmbeddedClickHouse) -> None:
    """Also sessions of years that no Date holds, whose day in the key is another one; and none is shown outdated."""
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate(store)
    starts = ["2299-12-31 23:59:59", "2149-06-07", "2149-06-06", "2149-06-05"]
    # On both sides of where a partition ends: a month, and all before 2020.
    starts += ["2026-02-01", "2026-01-31 23:59:59", "2026-01-05", "2020-01-01", "2019-12-31 23:59:59"]
    starts += ["1970-01-01", "1969-12-31 23:59:59", "1900-01-01"]
    rows = [
        {
            "app_id": "a",
            "device_id": "d",
            "session_id": str(uuid4()),
            "started_at": start,
            "revision": revision,
            "user_id": f"u{revision}",
            "is_deleted": 0,
        }
        for start in starts
        for revision in (1, 2)
    ]
    for row in rows[1::2]:
        row["session_id"] = rows[rows.index(row) - 1]["session_id"]
    for part in (rows[::2], rows[1::2]):
        store.insert(
            "session_rows", "\n".join(map(json.dumps, part)).encode(), token=str(part[0]["revision"])
        )
    wanted = [row["session_id"] for row in rows[1::2]]
    bounds_ms = [-2_208_988_800_000, -1, 0, 1, 1_577_836_800_000, 1_767_600_000_000]
    bounds_ms += [1_769_904_000_000, 5_662_224_000_000, 5_662_310_400_000]
    bounds_ms += [5_662_310_400_001, 10_413_791_999_999]
    every = {
        row["session_id"]: row["started_at_ms"]
        for row in select(store, session_list(None, None, bounds_ms[0], bounds_ms[-1], None, 99))
    }
    assert list(every) == wanted
    # Each is an end and a beginning, of what is short and of what is long.
    first, last = bounds_ms[0], bounds_ms[-1]
    ranges = {
        *pairwise(bounds_ms),
        *((first, one) for one in bounds_ms[1:]),
        *((one, last) for one in bounds_ms[:-1]),
    }
    for start_ms, end_ms in sorted(ranges):
        page = session_page(store.query, "a", parse('user.id contains "u"'), start_ms, end_ms, None, 99)
        expected = [id for id, at_ms in every.items() if start_ms <= at_ms < end_ms]
        assert [row["session_id"] for row in page.rows] == expected, (start_ms, end_ms)
        assert all(row["user_id"] == "u2" for row in page.rows)
    store.close()
    clickhouse.command(f"DROP DATABASE {name} SYNC")


@pytest.mark.parametrize("times", [ALL_TIMES, (0, 2_000_000_000_000)], ids=["as_sessions", "of_days"])
def test_a_page_has_the_columns_of_the_view_in_order(store: Store, times: tuple[int, int]) -> None:
    statement = session_list(None, None, *times, None, 1)
    (row,) = select(store, statement)
    (described,) = select(store, Statement("SELECT * EXCEPT (resource) FROM sessions LIMIT 1"))
    assert list(row) == [*described, "started_at_ms", "ended_at_ms"]


def test_a_person_is_looked_for_in_one_question(store: Store, world: World) -> None:
    asked: list[str] = []

    def ask(sql: str, parameters: Any) -> bytes:
        asked.append(sql)
        return store.query(sql, parameters)

    user_id = max((row["user_id"] for row in world.sessions), key=len)
    filter = parse(f"session.event_count >= 0 and user.id = {json.dumps(user_id)}")
    page = session_page(ask, None, filter, *ALL_TIMES, None, 1_000)
    expected = [row for row in world.sessions if user_id in row["user_ids"]]
    assert [row["session_id"] for row in page.rows] == newest_first(expected) != []
    assert len(asked) == 1
    # Who names nobody asks for many.
    asked.clear()
    session_page(ask, None, parse('user.id = ""'), *ALL_TIMES, None, 1_000)
    assert len(asked) > 1


def test_the_history_before_a_range_does_not_make_it_be_read_day_by_day(store: Store, world: World) -> None:
    asked: list[str] = []

    def ask(sql: str, parameters: Any) -> bytes:
        asked.append(sql)
        return store.query(sql, parameters)

    filter = parse("session.crash_count > 0")
    # A single question tells that there are few in the range, and one lists them; an app of few has the list alone.
    page = session_page(ask, None, filter, *ALL_TIMES, None, 1_000, stored=10**9)
    assert len(asked) == 2 and "count()" in asked[0]
    assert page.rows == session_page(ask, None, filter, *ALL_TIMES, None, 1_000, stored=1).rows != []
    assert len(asked) == 3


def test_the_largest_page_has_a_next_one(database_url: str) -> None:
    """To know that there is one takes a row more than a page may have."""
    with closing(Store(database_url)) as many:
        migrate(many)
        many.command(
            "INSERT INTO session_rows (app_id, device_id, session_id, started_at) SELECT 'a', toString(number),"
            " generateUUIDv4(number), fromUnixTimestamp64Milli(toInt64(1767700000000 + number % 7)) FROM numbers(1500)"
        )
        for stored in (None, 1_500):
            first = session_page(many.query, None, None, *ALL_TIMES, None, MAX_LIMIT, stored=stored)
            assert first.after is not None
            rest = session_page(many.query, None, None, *ALL_TIMES, first.after, MAX_LIMIT, stored=stored)
            assert (len(first.rows), len(rest.rows), rest.after) == (MAX_LIMIT, 500, None)
            assert len({row["session_id"] for row in (*first.rows, *rest.rows)}) == 1_500
        for limit in (0, MAX_LIMIT + 1):
            with pytest.raises(ValueError, match="1 to 1000 rows"):
                session_page(many.query, None, None, *ALL_TIMES, None, limit)
            with pytest.raises(ValueError, match="1 to 1000 rows"):
                session_list(None, None, *ALL_TIMES, None, limit)


def test_a_page_never_passes_rows_over(store: Store) -> None:
    after = Cursor(1_767_700_000_000, "app", "device", str(uuid4()))
    statement = session_list("app", parse("session.live = true"), *ALL_TIMES, after, 50)
    # `offset` is a column, too.
    assert statement.sql.endswith("LIMIT {limit:UInt32}")


def test_windows_part_the_range() -> None:
    start_ms, end_ms = 1_767_600_000_123, 1_767_600_000_123 + 100 * DAY_MS
    for after in (None, Cursor(end_ms - 5 * DAY_MS, "", "", "")):
        pieces = list(windows(start_ms, end_ms, after))
        assert pieces[0][1] == (end_ms if after is None else after.started_at_ms + 1)
        assert pieces[-1][0] == start_ms
        assert all(later[0] == earlier[1] for later, earlier in pairwise(pieces))
        assert all(lower < upper for lower, upper in pieces)
        assert len(pieces) <= 8
    assert list(windows(5, 5)) == []


def test_a_session_and_its_timeline(store: Store, world: World) -> None:
    session = next(row for row in world.sessions if len(world.events_of(row)) > 5)
    (row,) = select(store, session_by_id(session["session_id"]))
    assert row == {key: value for key, value in session.items() if key != "last_event_at_ms"}
    events = [event["event_id"] for event in world.events_of(session)]
    assert [event["event_id"] for event in select(store, timeline(session["session_id"]))] == events
    assert [event["event_id"] for event in select(store, timeline(session["session_id"], 3))] == events[:3]
    assert select(store, session_by_id(str(uuid4()))) == []


@pytest.mark.parametrize("column", ["user_id", "device_id"])
def test_sessions_of_a_user_or_device_go_on(store: Store, world: World, column: str) -> None:
    def of(row: Row) -> list[str]:
        """A session of several users is one of each."""
        found: list[str] = row["user_ids"] if column == "user_id" else [row["device_id"]]
        return found

    counts = Counter((row["app_id"], one) for row in world.sessions for one in of(row))
    for app_id, who in sorted(counts, key=lambda each: (-counts[each], each))[:6]:
        of_one = [row for row in world.sessions if row["app_id"] == app_id and who in of(row)]
        found: list[str] = []
        before, limit = None, max(5, len(of_one) // 8)
        while rows := select(store, user_sessions(app_id, **{column: who}, before=before, limit=limit)):
            found += [row["session_id"] for row in rows]
            before = Cursor.of(rows[-1])
        assert found == newest_first(of_one)
    assert max(counts.values()) > 5


@pytest.mark.parametrize(
    "text", ["", "[]", "[1]", "{}", '["1","a","b","c"]', '[1,"a","b","not-an-id"]', "[1e400,1,1,1]"]
)
def test_what_is_no_cursor_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="not the"):
        Cursor.parse(text)


def test_saved_filters(store: Store) -> None:
    def run(*statements: Statement) -> None:
        for statement in statements:
            store.command(statement.sql, statement.parameters)

    def listed(app_id: str = "saving") -> list[tuple[str, str, int]]:
        rows = select(store, saved_filters(app_id))
        return [(row["name"], row["filter"], row["is_default"]) for row in rows]

    run(save("saving", "crashed", "has  app.crash"), save("saving", "live", "session.live=true"))
    run(save("other", "crashed", "app.id = 'x'"), make_default("other", "crashed"))
    assert listed() == [("crashed", "has app.crash", 0), ("live", "session.live = true", 0)]
    run(make_default("saving", "live"))
    run(make_default("saving", "crashed"), save("saving", "crashed", "has app.crash then app.launch"))
    assert listed() == [("crashed", "has app.crash then app.launch", 1), ("live", "session.live = true", 0)]
    run(delete("saving", "crashed"), delete("saving", "never there"))
    assert listed() == [("live", "session.live = true", 0)]
    run(make_default("saving", "live"), make_default("saving", None))
    assert listed() == [("live", "session.live = true", 0)]
    assert listed("other") == [("crashed", 'app.id = "x"', 1)]
    for name in (text.strip() for text in ODD_TEXTS):
        if name.isprintable() and name:
            run(save("odd", name, f"user.id = {json.dumps(name)}"))
            assert [parse(row[1]) for row in listed("odd") if row[0] == name] == [
                parse(f"user.id = {json.dumps(name)}")
            ]
    for name in ("", " x", "a\nb", "x" * 101):
        with pytest.raises(FilterError, match="1 to 100 printable"):
            save("saving", name, "")
    with pytest.raises(FilterError, match="no dimension"):
        save("saving", "bad", "nothing = 1")


def test_the_command(store: Store, world: World, clickhouse: EmbeddedClickHouse) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeline", "sessions", *arguments],
            env={**os.environ, "PIPELINE_CLICKHOUSE_URL": f"{clickhouse.url}/{store.database}"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    crashed = newest_first([row for row in world.sessions if row["crash_count"] > 0])
    done = run("--filter", "session.crash_count > 0", "--limit", "5", "--format", "JSONEachRow")
    assert [json.loads(line)["session_id"] for line in done.stdout.splitlines()] == crashed[:5], done.stderr
    of_app = [row for row in world.sessions if row["app_id"] == "tied"]
    done = run("--app", "tied", "--from", "2026-01-05T08:00", "--to", "2026-01-05T08:30")
    lines = done.stdout.rstrip("\n").split("\n")
    expected = newest_first([row for row in of_app if row["started_at"] < "2026-01-05 08:30"])
    assert [line.split("\t")[0] for line in lines] == ["session_id", *expected] and expected
    failed = run("--filter", "nothing = 1")
    assert failed.returncode == 1
    assert failed.stderr.startswith(
        'session-pipeline: --filter: no dimension "nothing"; they begin with app., '
    )
    assert failed.stderr.count("\n") == 1
