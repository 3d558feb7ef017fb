"""The sink role: batches of rows into ClickHouse, acknowledged once they are stored.

For one insert, in this order: rows stored, refused records on `dead-letters`, ledger rows stored, acknowledged.
A replay does all of it again under other batches, and every row collapses with its first copy.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Protocol

import orjson

from pipeline.clickhouse.store import UnstorableRow
from pipeline.formats import native
from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.formats.native.partitioner import misplaced_or_late
from pipeline.formats.record_time import record_time_ms
from pipeline.formats.rejected import Reason, Rejected
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds, Piece, Source, block_token, joined
from pipeline.roles.sink.compiled_rows import CompiledRows, InsertNative
from pipeline.roles.sink.flood import Flood
from pipeline.roles.sink.pieces import Making
from pipeline.roles.sink.policies_by_place import PoliciesByPlace
from pipeline.roles.sink.symbolicating import Symbolicating
from pipeline.roles.sink.table_writer import Pieces, TableWriter
from pipeline.roles.sink.unstorable import Original, by_copy, by_offset, by_value, with_refused
from pipeline.storage.dead_letter import DeadLetter, KeepDeadLetters, dead_letters_of, row_of_dead_letter
from pipeline.storage.event_copies import rows_of_copies
from pipeline.storage.kept import DEFAULT_KEEPING, EVER, Keeping, Kept, kept
from pipeline.storage.rows import event_line, events_at_once, ledger_row, spread_of, unpacked, with_kept

log = logging.getLogger(__name__)


class InsertForever(Protocol):
    """Stores rows, waiting for ClickHouse as long as it takes; returns the rows that it refuses."""

    async def __call__(self, table: str, rows: bytes, *, token: str) -> Sequence[UnstorableRow]: ...


class Sink:
    """Turns chunks of the four topics into pieces and stores them. `chunk` methods raise what storing raises."""

    def __init__(
        self,
        insert: InsertForever,
        dead_letter: KeepDeadLetters,
        metrics: Metrics,
        *,
        bounds: Bounds,
        partitions: int = 1,
        before: tuple[int, ...] = (),
        offset_base: int = 0,
        keeping: Keeping = DEFAULT_KEEPING,
        edge: Edge = OPEN_EDGE,
        symbolicating: Symbolicating | None = None,
        core: ModuleType | None = None,
        insert_native: InsertNative | None = None,
    ) -> None:
        """`partitions` is how many `sdk-events` has: records whose key belongs in another one are refused, but for what
        goes by how many it had `before`. The `edge` says what of the others is stored. `symbolicating` makes groups by
        symbol files; None: without. The compiled `core` makes rows for `insert_native`."""
        self._symbolicating = symbolicating
        self.policies = PoliciesByPlace(edge, keeping, offset_base)
        self._floods: dict[Source, Flood] = {}
        self._partitions = partitions
        self._before = before
        self._insert = insert
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._offset_base = offset_base
        self._piece_bytes = bounds.piece_bytes
        self._replaced: Mapping[int, int] = {}
        self._compiled = (
            CompiledRows(core, insert_native, self.policies.at, metrics) if core and insert_native else None
        )
        making = partial(metrics.stage, "sink", "make")
        self.events = TableWriter(bounds, self._store_events, making)
        self.sessions = TableWriter(bounds.of_sessions, self._store_sessions, making)
        self.copies = TableWriter(bounds, self._store_copies, making)
        self.dead_letters = TableWriter(bounds, self._store_dead_letters, making)

    def pass_over(self, replaced: Mapping[int, int]) -> None:
        """Store no row of `sessions` below these offsets, by partition, as Kafka counts: a rebuild replaced them."""
        self._replaced = replaced

    async def run(self) -> None:
        """Store what comes of age, until cancelled; raises what storing raises."""
        async with asyncio.TaskGroup() as group:
            for writer in (self.events, self.sessions, self.copies, self.dead_letters):
                group.create_task(writer.run())

    def event_pieces(self, source: Source, records: Sequence[Any]) -> Iterator[Piece]:
        """Event rows, ledger rows and refusals of a chunk of `sdk-events` (aiokafka records), as they are taken."""
        topic, partition = source
        making = self._making(source, records)
        last, full = len(records) - 1, False
        edge, keeping, left_out, some_out = self.policies.by(
            partition, records[0].offset + self._offset_base, self._metrics
        )
        (wrong, late), taken = self._misplaced(records, partition), 0
        for place, record in enumerate(records):
            if taken <= place and not some_out:
                taken = self._compile(making, records, place, wrong)
                if making.room <= 0 and place < taken <= last:
                    yield making.take(taken - 1)
            if place < taken:
                continue
            offset = record.offset + self._offset_base
            came_ms = record_time_ms(record.headers, record.timestamp) if record.headers else record.timestamp
            fault = wrong.get(record.key)
            if some_out and fault is None and (row := left_out.row(source, record, offset, came_ms)):
                making.ledger.append(row)
                continue
            cleaner = edge.only or edge.cleaner_of(record.key)
            decoded = fault or native.decode(record.value, record.key, came_ms, cleaner)
            if isinstance(decoded, Rejected):
                if fault is None and self.policies.take_told(making, record, offset, left_out):
                    edge, keeping, left_out, some_out = self.policies.by(partition, offset + 1, self._metrics)
                    continue
                received, faults, app_id, keep = 1, [decoded], "", EVER
            else:
                app_id = decoded.app_id
                keep = keeping.events_of(app_id, record.timestamp)
                count = len(decoded.events)
                received, faults = count + len(decoded.refused), decoded.refused
                if decoded.repaired:
                    self._metrics.repaired.labels(topic).inc(decoded.repaired)
                if count and count <= events_at_once(decoded, self._piece_bytes):
                    line = event_line(decoded, topic=topic, partition=partition, offset=offset, kept=keep)
                    full = making.add(line, count, spread=spread_of(decoded, count))
                elif count:
                    for stop, is_full in self._in_parts(decoded, making, source, offset, keep):
                        full = is_full
                        if full and stop < count:
                            yield making.take(place, end_event=stop)
            # The sessionizer moves such a record, and of what is refused of it is told there.
            faults = [] if record.key in late and record.value is not None else faults
            self._account(making, source, record, received, faults, app_id, keep)
            if full and place < last:
                yield making.take(place)
                full = False
        self._metrics.records.labels(topic).inc(len(records))
        yield making.take(last)

    def _account(
        self, making: Making, source: Source, record: Any, received: int, faults: Sequence[Rejected],
        app_id: str, keep: Kept,
    ) -> None:  # fmt: skip
        """The ledger's row of a record, and what was refused of it."""
        offset = record.offset + self._offset_base
        making.ledger.append(
            ledger_row(*source, offset, received=received, refused=len(faults), app_id=app_id, kept=keep)
        )
        if faults:
            self._count(source.topic, faults)
            making.refused += self._refusals(source, record, faults)

    def _making(self, source: Source, records: Sequence[Any]) -> Making:
        made, base = (source, records, self._offset_base, self._piece_bytes), self._offset_base
        if self._compiled is None:
            return Making(*made)
        return Making(
            *made, partial(self._compiled.rows, source), partial(self._compiled.line_again, source, base)
        )

    def _compile(
        self, making: Making, records: Sequence[Any], place: int, wrong: Mapping[bytes, Rejected]
    ) -> int:
        """The place up to which the core makes the rows, from a place on; that place where there is none."""
        if self._compiled is None:
            return place
        bounds = (self._offset_base, self._piece_bytes)
        return self._compiled.take(making, records, place, bounds=bounds, wrong=wrong)

    def _misplaced(self, records: Sequence[Any], partition: int) -> tuple[dict[bytes, Rejected], set[bytes]]:
        keys = {record.key for record in records}
        return misplaced_or_late(keys, partition, self._partitions, self._before)

    def _in_parts(
        self, decoded: native.Envelope, making: Making, source: Source, offset: int, keep: Kept
    ) -> Iterator[tuple[int, bool]]:
        """Makes the rows of a record that are too many at once; the event that each part ends before, and if it fills
        a piece."""
        count, step = len(decoded.events), events_at_once(decoded, self._piece_bytes)
        for start in range(0, count, step):
            stop = min(start + step, count)
            line = event_line(
                decoded,
                topic=source.topic,
                partition=source.partition,
                offset=offset,
                start=start,
                stop=stop,
                kept=keep,
            )
            yield stop, making.add(line, stop - start, spread=spread_of(decoded, stop - start))

    def session_pieces(self, source: Source, records: Sequence[Any]) -> Iterator[Piece]:
        """The rows of a chunk of `sessions`, as the sessionizer wrote them, but for those that a rebuild replaced."""
        begin = self._replaced.get(source.partition, 0)
        return self._pieces(
            source, records, lambda record: self._session_row(record) if record.offset >= begin else None
        )

    def _session_row(self, record: Any) -> bytes:
        """As the sessionizer wrote it, with the day on which it came; nothing without a value, or of who was erased."""
        edge, keeping = self.policies.newest
        if not record.value or edge.erasures.takes_row(record.key, record.value):
            return b""
        app_id = native.app_of(record.key)
        days = keeping.retentions.of(app_id).session_retention_days
        return with_kept(record.value, kept(record.timestamp, days), edge.rate_of(app_id))

    def copy_pieces(self, source: Source, records: Sequence[Any]) -> Iterator[Piece]:
        """The rows that take back what a chunk of `event-copies` names. It is refused as what others write is: of what
        is taken back here no other trace would be left."""
        topic, partition = source
        making = Making(source, records, self._offset_base, self._piece_bytes)
        last = len(records) - 1
        wrong, _ = self._misplaced(records, partition)
        edge, keeping = self.policies.newest
        for place, record in enumerate(records):
            if edge.erasures.takes_copy(record.key, record.timestamp):
                continue
            rows = wrong.get(record.key) or rows_of_copies(record.value, record.key, keeping)
            if isinstance(rows, Rejected):
                self._count(topic, [rows])
                making.refused += self._refusals(source, record, [rows])
            elif making.add(joined(rows), len(rows)) and place < last:
                yield making.take(place)
        self._metrics.records.labels(topic).inc(len(records))
        yield making.take(last)

    def dead_letter_pieces(self, source: Source, records: Sequence[Any]) -> Iterator[Piece]:
        """The rows of a chunk of `dead-letters`."""
        keeping = self.policies.newest[1]
        flood = self._floods.setdefault(source, Flood(keeping.dead_letters_a_minute))
        return self._pieces(
            source,
            records,
            lambda record: row_of_dead_letter(
                record.headers or (),
                key=record.key,
                value=record.value,
                record_ms=record.timestamp,
                place=(source.topic, source.partition, record.offset + self._offset_base),
                leaves_out=flood.leaves_out,
                retention_days=keeping.dead_letter_days,
            ),
        )

    def _pieces(
        self, source: Source, records: Sequence[Any], row_of: Callable[[Any], bytes | None]
    ) -> Iterator[Piece]:
        making = Making(source, records, self._offset_base, self._piece_bytes)
        last = len(records) - 1
        for place, record in enumerate(records):
            row = row_of(record)
            if row and making.add(row, 1) and place < last:
                yield making.take(place)
        self._metrics.records.labels(source.topic).inc(len(records))
        yield making.take(last)

    async def _store_events(self, pieces: Pieces) -> None:
        refused = [refusal for piece in pieces for refusal in piece.refused]
        not_storable = await self._put("z_envelope_feed", pieces)
        if not_storable:
            unstored = self._refusals_of_rows(not_storable, by_offset(pieces, self._offset_base))
            refused += unstored
            self._count("z_event_feed", [refusal.rejected for refusal in unstored])
        await self._keep_refused(refused)
        if came := joined(piece.policies for piece in pieces):
            # Before its offset counts as done: whoever goes on from there goes by it.
            token = block_token("z_policy_version_rows", pieces)
            if not_taken := await self._insert("z_policy_version_rows", came, token=token):
                raise AssertionError(f"ClickHouse refuses a version of the policies: {not_taken[0].message}")
        ledger = joined(
            with_refused(piece.ledger, piece.unstored) if piece.unstored else piece.ledger for piece in pieces
        )
        with self._metrics.stage("sink", "ledger"):
            token = block_token("ledger_records", pieces)
            bad = ledger and await self._insert("ledger_records", ledger, token=token)
        if bad:
            raise AssertionError(f"ClickHouse refuses a ledger row: {bad[0].message}")
        self._acknowledge(pieces)

    async def _store_sessions(self, pieces: Pieces) -> None:
        not_storable = await self._put("session_rows", pieces)
        if not_storable:
            await self._keep_refused(
                self._refusals_of_rows(not_storable, by_value(pieces, self._session_row))
            )
        self._acknowledge(pieces)

    async def _store_copies(self, pieces: Pieces) -> None:
        refused = [refusal for piece in pieces for refusal in piece.refused]
        not_storable = await self._put("z_event_copy_feed", pieces)
        if not_storable:
            refused += self._refusals_of_rows(not_storable, by_copy(pieces, self.policies.newest[1]))
        await self._keep_refused(refused)
        self._acknowledge(pieces)

    async def _store_dead_letters(self, pieces: Pieces) -> None:
        for row in await self._put("dead_letter_rows", pieces):
            # The end of the line: there is no further place to put it, and dropping it is not an option.
            raise AssertionError(f"ClickHouse refuses a dead letter: {row.message}: {row.row[:500]!r}")
        self._acknowledge(pieces)

    async def _keep_refused(self, refused: Sequence[DeadLetter]) -> None:
        if refused:
            with self._metrics.stage("sink", "dead_letters"):
                await self._dead_letter(refused)

    async def _put(self, table: str, pieces: Pieces) -> Sequence[UnstorableRow]:
        if not any(piece.rows or piece.block for piece in pieces):
            return ()
        started_s = time.monotonic()
        with self._metrics.stage("sink", "insert"):
            if self._compiled:
                await self._compiled.store(pieces)
            rows, failing = joined(piece.rows for piece in pieces), joined(piece.failing for piece in pieces)
            for piece in pieces:
                # The block has them now, and twice may be a lot.
                piece.rows = piece.failing = b""
            not_storable: Sequence[UnstorableRow] = ()
            if rows:
                not_storable = await self._insert(table, rows, token=block_token(table, pieces))
            if table == "z_envelope_feed":
                # Of rows some of which are refused it is left to `regroup`: nobody knows which are there.
                if self._symbolicating and (stored := failing if not_storable else joined([failing, rows])):
                    await self._symbolicating.stored(stored, token=block_token("z_crash_rows", pieces))
                not_storable = await self._one_by_one(not_storable, pieces)
        self._metrics.insert_seconds.labels(table).observe(time.monotonic() - started_s)
        now_ms = time.time() * 1_000
        self._metrics.stored(table, pieces, now_ms)
        if table == "z_envelope_feed":
            self._tell_delay(pieces, now_ms)
        self._metrics.rows.labels(table).inc(sum(p.row_count for p in pieces) - len(not_storable))
        return not_storable

    def _tell_delay(self, pieces: Pieces, now_ms: float) -> None:
        """How long the last event of the oldest record took; nothing where that record was refused."""
        record = min((piece.records[0] for piece in pieces), key=lambda record: int(record.timestamp))
        decoded = native.decode(record.value, record.key, record_time_ms(record.headers, record.timestamp))
        if not isinstance(decoded, Rejected) and decoded.events:
            delay_ms = now_ms - max(event.time_ms for event in decoded.events)
            self._metrics.event_delay_seconds.observe(max(0.0, delay_ms) / 1_000)

    async def _one_by_one(
        self, envelopes: Sequence[UnstorableRow], pieces: Pieces
    ) -> Sequence[UnstorableRow]:
        """Stores the events of envelopes that ClickHouse refuses, but for those at fault: the rows of these."""
        not_storable: list[UnstorableRow] = []
        for envelope in envelopes:
            # Each by itself: the rows of many may be more than the block was.
            token = block_token("z_event_feed", pieces)
            not_storable += await self._insert("z_event_feed", unpacked(envelope.row), token=token)
        return not_storable

    def _refusals_of_rows(
        self, not_storable: Sequence[UnstorableRow], find: Callable[[bytes], Original]
    ) -> list[DeadLetter]:
        """The dead letters of rows that ClickHouse refuses: the records that they came from."""
        found = []
        for refused in not_storable:
            piece, record = find(refused.row)
            offset = record.offset + self._offset_base
            piece.unstored[offset] = piece.unstored.get(offset, 0) + 1
            fault = Rejected(
                Reason.NOT_STORABLE, refused.message, orjson.loads(refused.row).get("event_index")
            )
            found += self._refusals(piece.source, record, [fault])
        return found

    def _refusals(self, source: Source, record: Any, faults: Sequence[Rejected]) -> list[DeadLetter]:
        return dead_letters_of(
            source.topic,
            source.partition,
            record.offset + self._offset_base,
            record_ms=record_time_ms(record.headers, record.timestamp),
            key=record.key,
            value=record.value,
            faults=faults,
        )

    def _count(self, topic: str, faults: Iterable[Rejected]) -> None:
        for fault in faults:
            self._metrics.refused.labels(topic, str(fault.reason)).inc()

    def _acknowledge(self, pieces: Pieces) -> None:
        for piece in pieces:
            piece.acknowledge()
