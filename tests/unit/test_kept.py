"""Until when rows are kept, and what is kept of a flood of refused records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from pipeline.domain.retention import Retention, Retentions
from pipeline.formats.record_time import header_of
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds, Piece, Source
from pipeline.roles.sink.flood import Flood
from pipeline.roles.sink.sink import Sink
from pipeline.roles.sink.table_writer import TableWriter
from pipeline.storage.kept import EVER, Keeping, Kept, kept

DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000
"""2027-01-15 08:00 UTC."""
KEEPING = Keeping(
    Retentions(Retention(90, 400), {"short": Retention(7, 30), "ever": Retention(0, 0)}),
    dead_letter_days=30,
    dead_letters_a_minute=3,
)


class Record(NamedTuple):
    offset: int
    value: bytes | None
    key: bytes | None
    timestamp: int = NOW_MS
    headers: tuple[tuple[str, bytes], ...] | None = ()


class World:
    """A sink whose rows are kept in a list."""

    def __init__(self, keeping: Keeping = KEEPING) -> None:
        self.rows: list[dict[str, Any]] = []
        self.sink = Sink(self._insert, self._refuse, Metrics(), bounds=Bounds(max_rows=0), keeping=keeping)

    async def _insert(self, table: str, rows: bytes, *, token: str) -> Sequence[Any]:
        del token
        self.rows += [{"table": table, **json.loads(line)} for line in rows.split(b"\n")]
        return []

    async def _refuse(self, refused: Sequence[Any]) -> None:
        del refused

    def add(self, writer: TableWriter, made: Iterator[Piece]) -> list[dict[str, Any]]:
        """The rows of a chunk."""
        before = len(self.rows)
        asyncio.run(writer.add_all(made, acknowledge=lambda: None, still_mine=lambda: True))
        return self.rows[before:]

    def dead_letters(self, *records: Record) -> list[dict[str, Any]]:
        source = Source("dead-letters", 0)
        return self.add(self.sink.dead_letters, self.sink.dead_letter_pieces(source, records))


def events(app: str, *, timestamp: int = NOW_MS, **rest: Any) -> Record:
    made = [{"id": "e", "name": "n", "time": NOW_MS - 800 * DAY_MS}]
    value = {"v": 1, "app_id": app, "device_id": "d", "events": made}
    return Record(1, json.dumps(value).encode(), f"{app}/d".encode(), timestamp, **rest)


def refusal(
    offset: int, reason: str = "malformed_json", *, at_ms: int = NOW_MS, partition: int = 0
) -> Record:
    headers = {"reason": reason, "topic": "sdk-events", "partition": f"{partition}", "offset": f"{offset}"}
    # What headers say of the time is nothing that the bound goes by.
    headers["record_ms"] = str(offset * 60_000)
    return Record(offset, b"bytes", b"a/d", at_ms, tuple((k, v.encode()) for k, v in headers.items()))


def until(rows: Sequence[dict[str, Any]]) -> set[tuple[str, int]]:
    return {(row["stored_on"], row["retention_days"]) for row in rows}


@pytest.mark.parametrize(
    ("app", "days", "session_days"), [("any", 90, 400), ("short", 7, 30), ("ever", 0, 0)]
)
def test_rows_say_how_long_those_of_their_app_are_kept(app: str, days: int, session_days: int) -> None:
    world = World()
    made = world.add(world.sink.events, world.sink.event_pieces(Source("sdk-events", 0), [events(app)]))
    assert [row["table"] for row in made] == ["z_envelope_feed", "ledger_records"]
    assert made[1]["app_id"] == app
    assert until(made) == {("2027-01-15", days)}
    session = Record(1, b'{"session_id":"s"}', f"{app}/d".encode())
    made = world.add(world.sink.sessions, world.sink.session_pieces(Source("sessions", 0), [session]))
    assert until(made) == {("2027-01-15", session_days)}


def test_the_day_is_that_of_the_record_and_not_of_what_it_tells() -> None:
    """A recording, a replay and the router each say when something came first; events say anything."""
    again = events("any", headers=header_of(NOW_MS - 700 * DAY_MS))
    world = World()
    made = world.add(world.sink.events, world.sink.event_pieces(Source("sdk-events", 0), [again]))
    assert made[0]["received_at"] == (NOW_MS - 700 * DAY_MS) / 1_000
    assert until(made) == {("2027-01-15", 90)}
    assert until(world.dead_letters(refusal(7))) == {("2027-01-15", 30)}


def test_rows_of_a_record_that_is_read_again_are_the_same() -> None:
    first, again = (
        World().add(world.sink.events, world.sink.event_pieces(Source("sdk-events", 0), [events("any")]))
        for world in (World(), World())
    )
    assert first == again


def test_no_clock_makes_a_row_go_before_its_time() -> None:
    assert kept(NOW_MS, 90) == Kept("2027-01-15", 90)
    assert kept(NOW_MS // DAY_MS * DAY_MS - 1, 90) == Kept("2027-01-14", 90)
    for nonsense in (-1, 0, 1_577_836_799_999):
        assert kept(nonsense, 90) == EVER, "no record came then"
    assert kept(1_577_836_800_000, 90) == Kept("2020-01-01", 90)
    for days in (0, 1, 36_500):
        # The last day of a row is one that a Date holds.
        assert kept(10_413_791_999_999, days).stored_on <= "2149-06-01"
    assert kept(10_413_791_999_999, 36_500).stored_on < "2050"


def test_a_device_that_was_set_aside_stays_so() -> None:
    made = World().dead_letters(refusal(1, "device_set_aside"), refusal(2))
    assert [row["retention_days"] for row in made] == [0, 30]


def test_of_a_flood_all_are_counted_and_some_have_their_bytes() -> None:
    world = World()
    made = world.dead_letters(
        *(refusal(n) for n in range(8)), refusal(8, "too_large"), refusal(9, partition=1)
    )
    assert [row["offset"] for row in made] == list(range(10))
    assert [row["is_left_out"] for row in made] == [False] * 3 + [True] * 5 + [False] * 2
    assert {(row["value"], row["bytes"]) for row in made[:3]} == {("bytes", 5)}
    assert {(row["key"], row["value"], row["bytes"]) for row in made[3:8]} == {("a/d", "", 5)}
    later = world.dead_letters(refusal(20, at_ms=NOW_MS + 60_000))
    assert [row["is_left_out"] for row in later] == [False]


def test_a_long_key_is_cut_where_the_bytes_are_left_out() -> None:
    world = World()
    made = world.dead_letters(*(refusal(n)._replace(key=b"k" * 5_000) for n in range(4)))
    assert [len(row["key"]) for row in made] == [5_000] * 3 + [1_000]


def test_what_is_written_twice_counts_once_and_keeps_its_bytes() -> None:
    flood = Flood(2)
    kind = ("t", 0, "r")
    asked = [1, 1, 2, 1, 2, 3, 1, 3]
    said = [flood.leaves_out(kind, (offset, -1), NOW_MS) for offset in asked]
    assert said == [False] * 5 + [True, False, True]


def test_the_first_of_a_minute_keep_their_bytes_however_often_chunks_come_again() -> None:
    """A worker that begins anew in the middle of a minute knows nothing of what was before; the latest row counts."""
    records = [refusal(n) for n in range(12)]
    for cut in range(12):
        for again in range(cut + 1):
            table: dict[int, bool] = {}
            for world, some in ((World(), records[:cut]), (World(), records[again:])):
                table |= {
                    row["offset"]: row["is_left_out"] for row in (world.dead_letters(*some) if some else [])
                }
            assert not any(table[n] for n in range(3)) and len(table) == 12


def test_a_flood_is_bounded_whatever_its_records_call_themselves() -> None:
    flood = Flood(1)
    said = [flood.leaves_out((f"topic-{n}", n, "r"), (n, -1), NOW_MS) for n in range(5_000)]
    assert 1_000 <= said.count(False) <= 1_001


def test_a_clock_that_goes_back_ends_no_bound_and_one_that_was_ahead_stops_nothing() -> None:
    flood, kind = Flood(1), ("t", 0, "r")
    assert not flood.leaves_out(kind, (0, -1), NOW_MS)
    assert flood.leaves_out(kind, (1, -1), NOW_MS - 60_000), "a little back is the same minute"
    assert not flood.leaves_out(kind, (2, -1), NOW_MS + 3_650 * DAY_MS)
    assert not flood.leaves_out(kind, (3, -1), NOW_MS + 60_000)
    assert flood.leaves_out(kind, (4, -1), NOW_MS + 60_000)
