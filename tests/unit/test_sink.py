"""A batch is inserted when it is full or old, and acknowledged once all of it is stored; what is refused is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest

from pipeline.formats.record_time import REPLAYED_RECORD_MS
from pipeline.formats.rejected import Reason, Rejected
from pipeline.roles.sink.batch import Batch, Bounds, Piece, Source, block_token, joined
from pipeline.roles.sink.sink import Sink
from pipeline.roles.sink.table_writer import TableWriter
from pipeline.storage.dead_letter import DeadLetter
from pipeline.storage.rows import unpacked
from tests.simulation.loop import Loop
from tests.support.sink_world import (
    AT_MS,
    BASE,
    DEAD_LETTERS,
    EVENTS,
    PARTITIONS,
    SESSIONS,
    Record,
    World,
    taken,
    told,
)


def piece(first: int = 0, last: int = 0, *, rows: int = 1, source: Source = EVENTS, **given: Any) -> Piece:
    return Piece(source, first, last, b"r" * 10, rows, **given)


def test_a_batch_is_full_by_rows_or_by_bytes() -> None:
    batch = Batch(Bounds(max_rows=10, max_bytes=1_000))
    batch.add(piece(rows=9), 0)
    assert not batch.is_full()
    batch.add(piece(rows=1), 0)
    assert batch.is_full() and (batch.row_count, batch.byte_count) == (10, 20)
    assert len(batch.take()) == 2
    assert not batch.is_full() and (batch.row_count, batch.byte_count, batch.take()) == (0, 0, [])
    refusal = DeadLetter("t", 0, 0, 0, None, b"v" * 500, Rejected(Reason.UNKNOWN, ""))
    nothing = DeadLetter("t", 0, 0, 0, None, None, Rejected(Reason.EMPTY_RECORD, ""))
    batch.add(piece(ledger=b"l" * 479, refused=[refusal, nothing]), 0)
    assert (batch.byte_count, batch.is_full()) == (989, False)
    batch.add(piece(ledger=b"l"), 0)
    assert (batch.byte_count, batch.is_full()) == (1_000, True)


def test_a_batch_is_due_by_the_age_of_its_first_piece() -> None:
    batch = Batch(Bounds(max_age_ms=1_000))
    assert batch.wait_ms(5) is None
    batch.add(piece(), 100)
    batch.add(piece(), 900)
    assert [batch.wait_ms(now_ms) for now_ms in (100, 1_099, 1_100, 5_000)] == [1_000, 1, 0, 0]
    batch.take()
    assert batch.wait_ms(5_000) is None
    batch.add(piece(), 2_000)
    assert batch.wait_ms(2_000) == 1_000


def test_a_token_is_that_of_table_and_offsets() -> None:
    pieces = [piece(0, 5), piece(6, 9, rows=7)]
    again = [piece(0, 5, rows=3), piece(6, 9)]
    assert block_token("t", pieces) == block_token("t", again)
    others = [
        ("u", pieces), ("t", pieces[:1]), ("t", [piece(0, 6), pieces[1]]), ("t", [piece(1, 5), pieces[1]]),
        ("t", [piece(0, 5, source=SESSIONS), pieces[1]]),
        ("t", [piece(0, 5, source=Source("sdk-events", 4)), pieces[1]]),
    ]  # fmt: skip
    assert len({block_token(*each) for each in [("t", pieces), *others]}) == 7


def test_a_token_stays_what_it_is() -> None:
    """A batch may be stored before an upgrade and sent again after it."""
    source = Source("sdk-events", 3)
    pieces = [piece(0, 5, source=source), piece(6, 9, source=source, first_event=3)]
    assert block_token("t", pieces) == "c09eaf1d45b77fd8e09574fdf043cee8"


def test_joined_leaves_no_empty_line() -> None:
    assert joined([b"a", b"", b"b\nc", b""]) == b"a\nb\nc"
    assert joined([]) == b""


class Clock:
    """Runs coroutines on a loop whose time is told."""

    def __init__(self) -> None:
        self.loop = Loop(lambda work: self.loop.create_future())  # type: ignore[abstract]
        self.now_ms = 1_000_000

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Go on with it as far as it comes now."""
        task = self.loop.start(work)
        self.loop.run(self.now_ms)
        return task

    def pass_ms(self, ms: int) -> None:
        self.now_ms += ms
        self.loop.run(self.now_ms)


class Storing:
    """Stores what a writer gives it, as soon as it may."""

    def __init__(self) -> None:
        self.stored: list[list[int]] = []
        self.may: asyncio.Event = asyncio.Event()
        self.may.set()

    async def __call__(self, pieces: Sequence[Piece]) -> None:
        self.stored.append([each.first_offset for each in pieces])
        await self.may.wait()


def test_a_writer_stores_what_is_full_at_once_and_what_is_old_in_time() -> None:
    clock, storing = Clock(), Storing()
    writer = TableWriter(Bounds(max_rows=3, max_age_ms=1_000), storing)
    clock.start(writer.run())
    clock.start(writer.add(piece(0)))
    clock.pass_ms(999)
    clock.start(writer.add(piece(1)))
    assert storing.stored == []
    clock.pass_ms(1)
    assert storing.stored == [[0, 1]]
    clock.start(writer.add(piece(2, rows=3)))
    assert storing.stored == [[0, 1], [2]]
    # Again from the beginning: the age is that of the piece, not of the batch before.
    clock.pass_ms(700)
    clock.start(writer.add(piece(3)))
    clock.pass_ms(999)
    assert storing.stored == [[0, 1], [2]]
    clock.pass_ms(1)
    assert storing.stored == [[0, 1], [2], [3]]


def test_what_waited_for_an_insert_waits_for_others_half_its_time_and_no_longer() -> None:
    clock, storing = Clock(), Storing()
    writer = TableWriter(Bounds(max_rows=9, max_age_ms=1_000), storing)
    clock.start(writer.run())
    clock.start(writer.add(piece(0)))
    storing.may.clear()
    clock.pass_ms(1_000)
    assert storing.stored == [[0]]
    clock.start(writer.add(piece(1)))
    clock.pass_ms(2_000)
    storing.may.set()
    clock.pass_ms(0)
    clock.pass_ms(499)
    assert storing.stored == [[0]]
    clock.pass_ms(1)
    assert storing.stored == [[0], [1]]


def test_rows_of_sessions_wait_half_as_long() -> None:
    assert Bounds(max_age_ms=800).of_sessions == Bounds(max_age_ms=400)


def test_a_writer_takes_no_more_while_it_stores() -> None:
    """So a full sink pauses fetching in the end."""
    clock, storing = Clock(), Storing()
    writer = TableWriter(Bounds(max_rows=1), storing)
    storing.may.clear()
    adding = [clock.start(writer.add(piece(offset))) for offset in range(2)]
    assert storing.stored == [[0]] and not any(each.done() for each in adding)
    storing.may.set()
    clock.pass_ms(0)
    assert storing.stored == [[0], [1]] and all(each.done() for each in adding)


def test_pieces_of_partitions_that_are_gone_are_dropped() -> None:
    clock, storing = Clock(), Storing()
    writer = TableWriter(Bounds(max_rows=2), storing)
    for offset, mine in enumerate((True, False, False, False)):
        clock.start(writer.add(piece(offset, still_mine=lambda mine=mine: mine)))
    assert storing.stored == [[0]]


def test_a_chunk_is_acknowledged_with_its_last_piece() -> None:
    clock, storing, done = Clock(), Storing(), list[str]()
    writer = TableWriter(Bounds(max_rows=1), acknowledging(storing))
    pieces = iter([piece(0, is_last=False), piece(1, is_last=False), piece(2)])
    storing.may.clear()
    clock.start(writer.add_all(pieces, acknowledge=lambda: done.append("done"), still_mine=lambda: True))
    assert storing.stored == [[0]] and done == []
    storing.may.set()
    clock.pass_ms(0)
    assert storing.stored == [[0], [1], [2]] and done == ["done"]


def acknowledging(storing: Storing) -> Callable[[Sequence[Piece]], Coroutine[Any, Any, None]]:
    async def store(pieces: Sequence[Piece]) -> None:
        await storing(pieces)
        for each in pieces:
            each.acknowledge()

    return store


def test_a_chunk_that_is_lost_is_made_no_further_and_not_stored() -> None:
    clock, storing, mine = Clock(), Storing(), [True]
    writer = TableWriter(Bounds(max_rows=2, max_age_ms=10), storing)
    made: list[int] = []

    def pieces() -> Iterator[Piece]:
        for offset in range(6):
            made.append(offset)
            mine[0] = offset < 2
            yield piece(offset, is_last=False)

    clock.start(writer.add_all(pieces(), acknowledge=lambda: None, still_mine=lambda: mine[0]))
    clock.start(writer.run())
    clock.pass_ms(20)
    assert made == [0, 1, 2] and storing.stored == [[0, 1]]


def test_what_storing_raises_stops_both() -> None:
    async def failing(pieces: Sequence[Piece]) -> None:
        raise OSError("no")

    async def old() -> None:
        writer = TableWriter(Bounds(max_age_ms=0), failing)
        await writer.add(piece())
        await writer.run()

    with pytest.raises(OSError, match="no"):
        asyncio.run(TableWriter(Bounds(max_rows=1), failing).add(piece()))
    with pytest.raises(OSError, match="no"):
        asyncio.run(old())


def events(offset: int, *ids: str, **given: Any) -> Record:
    made = [{"id": id, "name": "n", "time": AT_MS} for id in ids]
    value = {"v": 1, "app_id": "a", "device_id": "d", "events": made}
    return Record(offset, json.dumps(value).encode(), **given)


def test_events_are_stored_then_accounted_for_then_acknowledged() -> None:
    world = World()
    world.take(events(5, "x", "y"), events(7, "z"))
    assert world.did == ["z_envelope_feed", "ledger_records", "acknowledged"]
    places = [(row["event_id"], row["offset"], row["event_index"]) for row in world.rows["z_event_feed"]]
    assert places == [("x", BASE + 5, 0), ("y", BASE + 5, 1), ("z", BASE + 7, 0)]
    rest = {
        "refused": 0,
        "sampled_out": 0,
        "erased": 0,
        "app_id": "a",
        "stored_on": "2027-01-15",
        "retention_days": 90,
    }
    assert world.rows["ledger_records"] == [
        {"topic": "sdk-events", "partition": 5, "offset": BASE + 5, "received": 2, **rest},
        {"topic": "sdk-events", "partition": 5, "offset": BASE + 7, "received": 1, **rest},
    ]
    assert world.counted("pipeline_records_total", topic="sdk-events") == 2
    assert world.counted("pipeline_rows_total", table="z_envelope_feed") == 3
    assert world.counted("pipeline_insert_seconds_count", table="z_envelope_feed") == 1
    assert 0 <= world.counted("pipeline_insert_seconds_sum", table="z_envelope_feed") < 60


def test_how_late_rows_are_is_told_from_the_record_and_from_the_event() -> None:
    world = World()
    now_ms = int(time.time() * 1_000)
    times = [{"id": f"{ago_s}", "name": "n", "time": now_ms - ago_s * 1_000} for ago_s in (90, 70)]
    value = json.dumps({"v": 1, "app_id": "a", "device_id": "d", "events": times}).encode()
    world.take(Record(5, value, timestamp=now_ms - 50_000), Record(6, value, timestamp=now_ms))
    assert 50 <= world.counted("pipeline_delay_seconds_sum", table="z_envelope_feed") < 70
    assert 70 <= world.counted("pipeline_event_delay_seconds_sum") < 90
    world.take(Record(7, b"garbage"))
    assert world.counted("pipeline_event_delay_seconds_count") == 1


def test_time_in_each_stage_is_told() -> None:
    world = World()
    world.take(events(5, "x"), Record(6, b"garbage"))
    for stage in ("make", "insert", "dead_letters", "ledger"):
        assert world.counted("pipeline_stage_seconds_total", role="sink", stage=stage) > 0


def test_events_of_which_a_value_was_repaired_are_counted_as_stored() -> None:
    world = World()
    broken = events(5, "x", "y?", "z").value.replace(b"y?", b"y\\ud800")
    world.take(Record(5, broken), events(6, "w"))
    assert [row["event_id"] for row in world.rows["z_event_feed"]] == ["x", "y\ufffd", "z", "w"]
    assert (world.counted("pipeline_repaired_total", topic="sdk-events"), world.dead) == (1, [])


def test_records_need_no_headers() -> None:
    world = World()
    world.take(events(5, "x", headers=None))
    chunk = [Record(6, b"w", headers=None)]
    world.add(world.sink.dead_letters, world.sink.dead_letter_pieces(DEAD_LETTERS, chunk))
    assert len(world.rows["z_event_feed"]) == len(world.rows["dead_letter_rows"]) == 1


def test_what_does_not_decode_is_on_dead_letters_before_it_is_acknowledged() -> None:
    world = World()
    world.take(Record(5, b"garbage"), events(6, "x", "", "y"))
    assert world.did == ["z_envelope_feed", "dead letters", "ledger_records", "acknowledged"]
    assert told(world.dead) == [(BASE + 5, "malformed_json", None), (BASE + 6, "id_length", 1)]
    assert (world.dead[0].key, world.dead[0].value, world.dead[0].record_ms) == (b"a/d", b"garbage", AT_MS)
    counts = [(row["received"], row["refused"]) for row in world.rows["ledger_records"]]
    assert counts == [(1, 1), (3, 1)]
    assert world.counted("pipeline_refused_total", topic="sdk-events", reason="id_length") == 1


def test_a_chunk_of_nothing_but_garbage_inserts_no_rows() -> None:
    world = World()
    world.take(Record(5, b"garbage"))
    assert world.did == ["dead letters", "ledger_records", "acknowledged"]


def test_a_record_sent_again_is_read_by_the_time_of_its_first_coming() -> None:
    """Its events are days old by now, which is no fault of theirs."""
    world = World()
    first_ms = AT_MS - 3 * 86_400_000
    world.take(events(5, "x", timestamp=AT_MS + 5, headers=((REPLAYED_RECORD_MS, b"%d" % AT_MS),)))
    assert world.did[-1] == "acknowledged" and world.dead == []
    too_early = ((REPLAYED_RECORD_MS, b"%d" % first_ms),)
    world.take(events(6, "x", headers=too_early))
    assert told(world.dead) == [(BASE + 6, "time_out_of_range", 0)]
    assert world.dead[0].record_ms == first_ms


def refuses_second(table: str, row: bytes) -> bool:
    return table in ("z_envelope_feed", "z_event_feed") and b'"bad' in row


def test_events_that_clickhouse_refuses_are_told_and_accounted_for() -> None:
    world = World(refuses_second)
    world.take(events(5, "x", "bad1", "bad2"), Record(6, b"garbage"), events(7, "bad3"), events(8, "y"))
    assert world.did == [
        "z_envelope_feed", "z_event_feed", "z_event_feed", "dead letters", "ledger_records", "acknowledged",
    ]  # fmt: skip
    assert [row["event_id"] for row in world.rows["z_event_feed"]] == ["y", "x"]
    assert told(world.dead) == [
        (BASE + 6, "malformed_json", None),
        (BASE + 5, "not_storable", 1), (BASE + 5, "not_storable", 2), (BASE + 7, "not_storable", 0),
    ]  # fmt: skip
    assert (
        world.dead[-1].value == events(7, "bad3").value and world.dead[-1].rejected.detail == "out of range"
    )
    assert world.dead[-1].record_ms == AT_MS
    counts = [(row["received"], row["refused"]) for row in world.rows["ledger_records"]]
    assert counts == [(3, 2), (1, 1), (1, 1), (1, 0)]
    assert world.counted("pipeline_refused_total", topic="z_event_feed", reason="not_storable") == 3
    assert world.counted("pipeline_rows_total", table="z_envelope_feed") == 2


def session_row(offset: int) -> Record:
    return Record(offset, b'{"session_id":"s%d"}' % offset)


def test_session_rows_are_stored_as_they_are() -> None:
    world = World(lambda table, row: b"s7" in row)
    chunk = [session_row(5), Record(6, None), Record(6, b""), session_row(7)]
    world.add(world.sink.sessions, world.sink.session_pieces(SESSIONS, chunk))
    assert world.did == ["session_rows", "dead letters", "acknowledged"]
    kept = {"stored_on": "2027-01-15", "retention_days": 400, "sample_rate": 1.0}
    assert world.rows["session_rows"] == [{"session_id": "s5", **kept}]
    assert told(world.dead) == [(BASE + 7, "not_storable", None)]
    assert world.dead[0].topic == "sessions" and world.dead[0].value == session_row(7).value
    assert world.counted("pipeline_rows_total", table="session_rows") == 1
    assert world.counted("pipeline_records_total", topic="sessions") == 4
    world = World()
    world.add(world.sink.sessions, world.sink.session_pieces(SESSIONS, [session_row(5)]))
    assert world.did == ["session_rows", "acknowledged"]


def test_rows_that_a_rebuild_has_replaced_are_passed_over_when_they_are_read_again() -> None:
    world = World()
    world.sink.pass_over({SESSIONS.partition: 6, SESSIONS.partition + 1: 9})
    world.add(world.sink.sessions, world.sink.session_pieces(SESSIONS, [session_row(n) for n in (4, 5, 6)]))
    assert [row["session_id"] for row in world.rows["session_rows"]] == ["s6"]
    world = World()
    world.sink.pass_over({SESSIONS.partition: 6})
    world.add(world.sink.sessions, world.sink.session_pieces(SESSIONS, [session_row(4)]))
    assert world.did == ["acknowledged"]


def test_dead_letters_are_stored_and_have_nowhere_else_to_go() -> None:
    world = World()
    chunk = [Record(5, b"v", headers=(("reason", b"malformed_json"), ("topic", b"t"))), Record(6, b"w")]
    world.add(world.sink.dead_letters, world.sink.dead_letter_pieces(DEAD_LETTERS, chunk))
    assert world.did == ["dead_letter_rows", "acknowledged"]
    rows = [
        (row["reason"], row["topic"], row["offset"], row["value"]) for row in world.rows["dead_letter_rows"]
    ]
    assert rows == [
        ("malformed_json", "t", BASE + 5, "v"),
        ("unknown", "dead-letters", BASE + 6, "w"),
    ]
    assert world.counted("pipeline_records_total", topic="dead-letters") == 2
    refusing = World(lambda table, row: True)
    with pytest.raises(AssertionError, match="refuses a dead letter: out of range"):
        refusing.add(refusing.sink.dead_letters, refusing.sink.dead_letter_pieces(DEAD_LETTERS, chunk))
    assert refusing.did == ["dead_letter_rows"]


def test_a_ledger_row_that_is_refused_stops_the_worker() -> None:
    world = World(lambda table, row: table == "ledger_records")
    with pytest.raises(AssertionError, match="refuses a ledger row: out of range"):
        world.take(events(5, "x"))
    assert world.did == ["z_envelope_feed", "ledger_records"]


def test_a_chunk_is_acknowledged_after_its_last_record_alone() -> None:
    (made,) = World().sink.event_pieces(EVENTS, [events(5, "x"), events(9, "y")])
    assert (made.first_offset, made.last_offset, made.row_count) == (BASE + 5, BASE + 9, 2)


def test_all_three_tables_are_stored_in_time() -> None:
    world, clock = World(), Clock()
    sink = Sink(
        world._insert, world._dead_letter, world.metrics, bounds=Bounds(max_age_ms=10), partitions=PARTITIONS
    )

    clock.start(sink.run())
    for writer, made in (
        (sink.events, sink.event_pieces(EVENTS, [events(0, "x")])),
        (sink.sessions, sink.session_pieces(SESSIONS, [session_row(0)])),
        (sink.dead_letters, sink.dead_letter_pieces(DEAD_LETTERS, [Record(0, b"v")])),
    ):
        clock.start(taken(writer, made))
    assert world.did == []
    clock.pass_ms(10)
    assert sorted(world.did) == ["dead_letter_rows", "ledger_records", "session_rows", "z_envelope_feed"]


@pytest.mark.parametrize("max_bytes", [1, 300, 1_500, 100_000])
def test_a_record_of_many_rows_is_made_in_parts_that_follow_one_another(max_bytes: int) -> None:
    world = World()
    sink = Sink(
        world._insert,
        world._dead_letter,
        world.metrics,
        bounds=Bounds(max_bytes=max_bytes),
        partitions=PARTITIONS,
    )
    made = list(sink.event_pieces(EVENTS, [events(5, *"abcdef"), Record(6, b"garbage"), events(7, *"gh")]))
    rows = [
        [json.loads(row) for line in each.rows.split(b"\n") if line for row in unpacked(line).split(b"\n")]
        for each in made
    ]
    assert [row["event_id"] for some in rows for row in some] == list("abcdefgh")
    assert [len(some) for some in rows] == [each.row_count for each in made]
    assert [each.is_last for each in made] == [False] * (len(made) - 1) + [True]
    assert len({block_token("t", [each]) for each in made}) == len(made)
    places = []
    for each, some in zip(made, rows, strict=True):
        # Where it says that it begins and ends is where its rows do.
        if some and each.first_event:
            assert some[0]["event_index"] == each.first_event
        if each.end_event >= 0:
            assert some[-1]["event_index"] == each.end_event - 1
        places += [json.loads(line)["offset"] for line in each.ledger.split(b"\n") if line]
        # Enough is where the bound is met; one more row may have met it.
        assert len(each.rows) < max_bytes + 600
    assert places == [5, 6, 7]
    assert (len(made) == 1) == (max_bytes == 100_000) and len(made) >= {1: 8, 300: 4, 1_500: 2}.get(
        max_bytes, 1
    )
