"""What a sink holds is bounded by the bytes that it makes, not only by those that came."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.clickhouse.store import UnstorableRow
from pipeline.formats.bounded_cache import BoundedCache
from pipeline.formats.native.partitioner import partition_of
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds, Piece, Source, block_token
from pipeline.roles.sink.sink import Sink
from pipeline.storage.dead_letter import DeadLetter
from pipeline.storage.rows import unpacked
from tests.bench.corpus import Fetched
from tests.support.worst_cases import CONTROL, envelope, resource, turns, user

T0 = 1_742_296_591_764
ROOM_BYTES = 160_000_000
"""What may come on top of a sink at rest: a batch, its compressed form, and what is made for the next."""

LIMITED = """
import resource, sys
from pipeline.runtime import keep_freed_memory
from tests.bench import worst
keep_freed_memory()
fetched = worst.records(int(sys.argv[2]))
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + int(sys.argv[1]),) * 2)
print(*worst.store_all(fetched))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to know its own size")
def test_the_worst_records_pass_a_sink_of_bounded_memory() -> None:
    """Three records of 700 kB make 1.1 GB of rows."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(ROOM_BYTES), "3"], capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.startswith("1500 ")


class Stored:
    """Stands for ClickHouse, the broker and the acknowledgement: notes what is done, in its order."""

    def __init__(self, refuses: Sequence[str] = ()) -> None:
        self.done: list[str] = []
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.tokens: list[str] = []
        self.largest = 0
        self._refuses = refuses
        self.dead: list[DeadLetter] = []

    async def insert(self, table: str, rows: bytes, *, token: str) -> list[UnstorableRow]:
        self.done.append(table)
        self.tokens.append(token)
        self.largest = max(self.largest, len(rows))
        refused = []
        for line in rows.split(b"\n"):
            is_envelope = table == "z_envelope_feed"
            found = [json.loads(row) for row in (unpacked(line).split(b"\n") if is_envelope else [line])]
            if any(row.get("event_id") in self._refuses for row in found):
                refused.append(UnstorableRow(line, "not for me"))
            else:
                self.rows.setdefault("z_event_feed" if is_envelope else table, []).extend(found)
        return refused

    async def dead_letter(self, refused: Sequence[DeadLetter]) -> None:
        self.done.append("dead-letters")
        self.dead += refused

    def acknowledge(self) -> None:
        self.done.append("acknowledged")


def fetched(*offsets: int, events: int = 6, large: bool = True, device: str = "device") -> list[Fetched]:
    """Records of a device at these offsets; with `large` each makes some 65 kB a row."""
    found = []
    for offset in offsets:
        head = {"resource": resource(str(offset)), "user": user("u", properties=1)} if large else {}
        made = envelope("app", device, turns(f"e{offset}", T0 + offset, events), **head)
        found.append(Fetched(offset, T0, made.key, made.value))
    return found


def device_in(partition: int, partitions: int) -> str:
    """A device of `app` that belongs in a partition."""
    names = (f"device-{number}" for number in itertools.count())
    return next(name for name in names if partition_of(f"app/{name}".encode(), partitions) == partition)


def put(
    stored: Stored, chunk: list[Fetched], bounds: Bounds, still_mine: Callable[[], bool] = lambda: True
) -> None:
    """Takes a chunk in and stores what is left of it at the end."""

    async def run() -> None:
        sink = Sink(stored.insert, stored.dead_letter, Metrics(), bounds=bounds)
        pieces = sink.event_pieces(SOURCE, chunk)
        await sink.events.add_all(pieces, acknowledge=stored.acknowledge, still_mine=still_mine)
        running = asyncio.create_task(sink.run())
        await asyncio.sleep(0.02)
        running.cancel()

    asyncio.run(run())


SOURCE = Source("sdk-events", 0)
BOUNDS = Bounds(max_bytes=200_000, max_age_ms=1)
"""A batch of some rows of `fetched`."""


def test_each_event_is_stored_once_in_pieces_of_bounded_size() -> None:
    stored = Stored()
    put(stored, fetched(7, 8, 20), BOUNDS)
    found = [(row["offset"], row["event_index"], row["event_id"]) for row in stored.rows["z_event_feed"]]
    assert found == [(offset, n, f"e{offset}-{n}") for offset in (7, 8, 20) for n in range(6)]
    assert stored.done.count("z_envelope_feed") > 5
    # A piece, and the one that it is put to.
    assert stored.largest < 2 * BOUNDS.max_bytes
    assert len(set(stored.tokens)) == len(stored.tokens)
    again = Stored()
    put(again, fetched(7, 8, 20), BOUNDS)
    assert again.tokens == stored.tokens


def test_a_record_is_accounted_for_after_its_last_rows_and_acknowledged_last() -> None:
    stored = Stored()
    put(stored, fetched(7, 8), BOUNDS)
    (first, second) = stored.rows["ledger_records"]
    assert (first["offset"], first["received"], second["offset"], second["received"]) == (7, 6, 8, 6)
    assert stored.done.count("acknowledged") == 1
    assert stored.done[-2:] == ["ledger_records", "acknowledged"]
    assert stored.done[:2] == ["z_envelope_feed", "z_envelope_feed"], (
        "the first rows are stored before any account"
    )
    stored_before = stored.done[: stored.done.index("ledger_records")].count("z_envelope_feed")
    assert stored_before * BOUNDS.max_bytes > 6 * 65_536 - BOUNDS.max_bytes


def test_what_clickhouse_refuses_of_an_earlier_piece_is_in_the_account_of_the_record() -> None:
    stored = Stored(refuses=["e7-0", "e7-5", "e8-1"])
    put(stored, fetched(7, 8, 9), BOUNDS)
    assert {row["offset"]: row["refused"] for row in stored.rows["ledger_records"]} == {7: 2, 8: 1, 9: 0}
    assert [(each.offset, each.rejected.event_index) for each in stored.dead] == [(7, 0), (7, 5), (8, 1)]


def test_a_chunk_whose_partition_is_lost_half_way_is_neither_made_nor_acknowledged_further() -> None:
    stored = Stored()
    put(stored, fetched(7, 8), BOUNDS, still_mine=lambda: stored.done.count("z_envelope_feed") < 2)
    assert stored.done == ["z_envelope_feed", "z_envelope_feed"]


def test_of_many_partitions_few_pieces_are_made_while_one_batch_is_stored() -> None:
    made = 0
    at_most = 0
    stored = Stored()

    async def slow(table: str, rows: bytes, *, token: str) -> list[UnstorableRow]:
        nonlocal at_most
        for _ in range(10):
            await asyncio.sleep(0)
        at_most = max(at_most, made - stored.done.count("z_envelope_feed"))
        return await stored.insert(table, rows, token=token)

    def counted(pieces: Iterator[Piece]) -> Iterator[Piece]:
        nonlocal made
        for piece in pieces:
            made += 1
            yield piece

    async def run() -> None:
        sink = Sink(slow, stored.dead_letter, Metrics(), bounds=Bounds(max_rows=1), partitions=20)
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                chunk = fetched(1, large=False, device=device_in(number, 20))
                pieces = counted(sink.event_pieces(Source("sdk-events", number), chunk))
                group.create_task(
                    sink.events.add_all(pieces, acknowledge=stored.acknowledge, still_mine=lambda: True)
                )

    asyncio.run(run())
    assert stored.done.count("acknowledged") == 20
    assert 1 < at_most <= 3


def test_dead_letters_that_grow_sixfold_are_cut_too() -> None:
    sink = Sink(Stored().insert, Stored().dead_letter, Metrics(), bounds=Bounds(max_bytes=100_000))
    chunk = [Fetched(n, T0, b"k", CONTROL.encode() * 30_000) for n in range(4)]
    pieces = list(sink.dead_letter_pieces(Source("dead-letters", 0), chunk))
    assert [(piece.first_offset, piece.is_last) for piece in pieces] == [
        (0, False),
        (1, False),
        (2, False),
        (3, True),
    ]
    assert all(len(piece.rows) < 200_000 for piece in pieces)


def test_sessions_go_in_pieces_as_well() -> None:
    sink = Sink(Stored().insert, Stored().dead_letter, Metrics(), bounds=Bounds(max_bytes=100_000))
    chunk = [Fetched(n, T0, b"k", b"x" * 60_000) for n in range(5)]
    pieces = list(sink.session_pieces(Source("sessions", 0), chunk))
    assert [piece.row_count for piece in pieces] == [2, 2, 1]
    assert [piece.is_last for piece in pieces] == [False, False, True]


def test_a_token_names_the_events_of_a_cut_record() -> None:
    piece = {"source": SOURCE, "first_offset": 1, "last_offset": 2, "rows": b"", "row_count": 0}
    parts = [Piece(**piece), Piece(**piece, end_event=3), Piece(**piece, first_event=3)]
    parts += [Piece(**piece, first_event=first, end_event=end) for first, end in ((0, 0), (0, 5), (3, 5))]
    assert len({block_token("z_event_feed", [part]) for part in parts}) == len(parts)


def test_a_piece_has_the_records_that_its_rows_are_of() -> None:
    sink = Sink(Stored().insert, Stored().dead_letter, Metrics(), bounds=BOUNDS)
    pieces = list(sink.event_pieces(SOURCE, fetched(7, 8, 20)))
    for piece in pieces:
        offsets = [record.offset for record in piece.records]
        assert offsets == [n for n in (7, 8, 20) if piece.first_offset <= n <= piece.last_offset]
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_what_is_kept_of_texts_is_bounded_by_their_bytes() -> None:
    made: list[str] = []

    def double(text: str) -> str:
        made.append(text)
        return text + text

    kept = BoundedCache(double, sys.getsizeof, 100_000)
    for n in range(1_000):
        text = f"{n}" * (n % 7) * 200
        assert kept[text] == text + text
        assert kept.byte_count <= 100_000
        assert (
            sum(sys.getsizeof(key) + sys.getsizeof(value) for key, value in kept.items()) <= kept.byte_count
        )
    count = len(made)
    assert kept["999" * 5 * 200] == "999" * 10 * 200, "remembered or made anew, it is the same"
    assert len(made) <= count + 1
    large = "x" * 50_000
    assert kept[large] == kept[large]
    assert made[-2:] == [large, large], "what would take all the room is not remembered"
    assert kept["a"] == kept["a"]
    assert made[-1] == "a" and made[-2] == large
