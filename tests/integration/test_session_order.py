"""Pages in every order while new sessions come in, and all sessions on the command line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from pipeline.clickhouse.store import Store, Unreachable
from pipeline.commands import analyse
from pipeline.commands.failure import CommandFailed
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query.session_order import Order, SortPlace, sorted_page
from pipeline.query.sessions import Cursor, choose, session_page
from pipeline.settings import Settings, load
from tests.support.migrated import migrate

T0 = 1_767_571_200_000
SPAN = (T0, T0 + 86_400_000)
ORDERS = ["-start", "start", "-duration", "failed"]
# Few values, so that most sessions share theirs with others and the id decides.
INSERT = """
INSERT INTO session_rows (app_id, device_id, session_id, status, state, started_at, ended_at, duration_ms, event_count,
    network_error_count, revision)
SELECT {app:String}, concat('device-', toString(number % 7)), generateUUIDv4(), 'closed', 'foreground',
    fromUnixTimestamp64Milli({t0:Int64} + (number * 37 % 11) * 1000, 'UTC') AS started, started, number * 31 % 5,
    number * 17 % 3, number % 2, number + {first:UInt64}
FROM numbers({count:UInt64})
"""


@pytest.fixture(scope="module")
def store(clickhouse: EmbeddedClickHouse) -> Iterator[Store]:
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate(store)
    yield store
    store.close()
    clickhouse.command(f"DROP DATABASE {name} SYNC")


def insert(store: Store, app: str, count: int, first: int = 0) -> None:
    store.command(INSERT, {"app": app, "t0": T0, "count": count, "first": first})


def ids(store: Store, app: str) -> set[str]:
    rows = store.query("SELECT session_id FROM sessions WHERE app_id = {app:String}", {"app": app}, "TSV")
    return set(rows.decode().split())


@pytest.mark.parametrize("text", ORDERS)
def test_none_twice_and_none_missed_while_others_come(store: Store, text: str) -> None:
    app, order = f"app{text}", Order.parse(text)
    insert(store, app, 60)
    there, seen, after = ids(store, app), list[str](), ""
    for page in range(1_000):
        if order.is_newest_first:
            place = Cursor.parse(after) if after else None
            found = session_page(store.query, app, None, *SPAN, place, 7)
            rows, after = found.rows, str(found.after or "")
        else:
            spot = SortPlace.parse(after) if after else None
            ordered = sorted_page(store.query, choose(app, None, *SPAN), order, spot, 7)
            rows, after = ordered.rows, str(ordered.after or "")
        seen += [row["session_id"] for row in rows]
        if not after:
            break
        if page < 5:
            # Before, at and behind the place where the next page goes on.
            insert(store, app, 15, first=1_000 * (page + 1))
    assert len(seen) == len(set(seen)) and there <= set(seen)
    assert len(ids(store, app)) == 60 + 5 * 15


RESTATED = """
INSERT INTO session_rows (app_id, device_id, session_id, status, state, started_at, ended_at, duration_ms, event_count,
    network_error_count, revision, is_deleted)
SELECT app_id, device_id, session_id, status, state, started_at, ended_at,
    if(cityHash64(session_id, 1) % 3 = 0, 1000 + cityHash64(session_id) % 50, duration_ms % 2), event_count,
    network_error_count, revision + 1, cityHash64(session_id, 2) % 4 = 0
FROM session_rows WHERE app_id = {app:String} AND cityHash64(session_id) % {one_in:UInt64} = 0
"""


@pytest.mark.parametrize("one_in", [1, 3])
@pytest.mark.parametrize("text", ["-duration", "duration", "failed"])
def test_what_was_restated_is_where_it_belongs_and_what_is_gone_is_not_there(
    store: Store, text: str, one_in: int
) -> None:
    """Of many sessions the first rows are outdated: nearly all of a page at most, or some."""
    app, order, after, seen = f"again{text}{one_in}", Order.parse(text), None, list[tuple[int, str]]()
    insert(store, app, 150)
    store.command(RESTATED, {"app": app, "one_in": one_in})
    column = "duration_ms" if "duration" in text else "network_error_count"
    end = "DESC" if order.descending else ""
    sql = (
        f"SELECT toInt64({column}) AS value, session_id FROM sessions WHERE app_id = {{app:String}}"
        f" ORDER BY value {end}, session_id {end}"
    )
    expected = [
        (int(row["value"]), row["session_id"])
        for row in map(json.loads, store.query(sql, {"app": app}).splitlines())
    ]
    assert 50 < len(expected) < 150
    while True:
        page = sorted_page(store.query, choose(app, None, *SPAN), order, after, 7)
        seen += [(order.value(row), row["session_id"]) for row in page.rows]
        if page.after is None:
            break
        after = page.after
    assert seen == expected


@pytest.fixture
def settings(store: Store, clickhouse: EmbeddedClickHouse) -> Settings:
    return load({"PIPELINE_CLICKHOUSE_URL": f"{clickhouse.url}/{store.database}"})


def test_the_command_writes_all_of_them(
    store: Store, settings: Settings, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    insert(store, "many", 1_500)
    chosen = analyse.Chosen(filter="session.event_count >= 1", app_id="many")
    analyse.listed(settings, chosen, analyse.Listing(is_all=True, order="-duration", format="csv"))
    told = capsysbinary.readouterr()
    rows = list(csv.DictReader(io.StringIO(told.out.decode())))
    durations = [int(row["duration_ms"]) for row in rows]
    assert len(rows) == 1_000 and durations == sorted(durations, reverse=True)
    assert told.err == b"Sessions, longest first; times are UTC.\n"
    analyse.listed(settings, chosen, analyse.Listing(is_all=True, format="ndjson"))
    lines = capsysbinary.readouterr().out.splitlines()
    assert {json.loads(line)["session_id"] for line in lines} == {row["session_id"] for row in rows}
    analyse.listed(settings, chosen, analyse.Listing(limit=3, format="parquet"))
    assert capsysbinary.readouterr().out.endswith(b"PAR1")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (analyse.Listing(is_all=True), "name one of the formats csv, ndjson, parquet"),
        (analyse.Listing(is_all=True, format="JSON"), "name one of the formats"),
        (analyse.Listing(order="-duration"), "name one of the formats"),
        (analyse.Listing(order="colour", format="csv"), "ordered by start, duration, events, failed"),
    ],
    ids=["no format", "another format", "a table in an order", "no such order"],
)
def test_what_the_command_cannot_do(settings: Settings, how: analyse.Listing, said: str) -> None:
    with pytest.raises(CommandFailed, match=said):
        analyse.listed(settings, analyse.Chosen(), how)


def test_a_file_that_breaks_off_is_said_to_be_no_whole_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    def breaking(*_: object) -> Iterator[bytes]:
        yield b"half of it"
        raise Unreachable("it is gone")

    monkeypatch.setattr(analyse, "exported", breaking)
    with pytest.raises(
        CommandFailed, match="broke off after 10 bytes, and what was written is not everything"
    ):
        analyse.listed(settings, analyse.Chosen(), analyse.Listing(is_all=True, format="csv"))
    assert capsysbinary.readouterr().out == b"half of it"
