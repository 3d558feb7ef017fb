"""Event rows by the compiled core: of the records that it is sure of, with the values that Python's rows have.

It reads a record and writes its events as columns. What rules, resources and users mean it asks here, once for each.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

import orjson
from msgspec.structs import astuple

from pipeline.formats import native
from pipeline.formats.edge import Edge
from pipeline.formats.native.cleaner import Cleaner
from pipeline.formats.rejected import Rejected
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Piece, Source, block_token, joined
from pipeline.roles.sink.pieces import Making, NativeRows
from pipeline.storage.columns import EVENT_COLUMNS
from pipeline.storage.crash_rows import failures_in
from pipeline.storage.kept import Keeping
from pipeline.storage.row_texts import quoted, resource_texts, user_texts
from pipeline.storage.rows import event_line

log = logging.getLogger(__name__)

NATIVE_TABLE = "z_event_feed"
NATIVE_COLUMNS = tuple(name for name, _ in EVENT_COLUMNS)


PoliciesAt = Callable[[int, int], tuple[Edge, Keeping]]


class InsertNative(Protocol):
    """Stores a block, waiting for ClickHouse as long as it takes; returns why it is refused, or nothing."""

    def __call__(self, table: str, block: bytes, *, columns: Sequence[str], token: str) -> Awaitable[str]: ...


class CompiledRows:
    """What the core makes of records for the sink, and how it is stored. Not safe for several threads."""

    def __init__(
        self, core: ModuleType, insert: InsertNative, policies_at: PoliciesAt, metrics: Metrics
    ) -> None:
        """`policies_at` tells what holds at a partition and offset."""
        self._core = core
        self._insert = insert
        self._policies_at = policies_at
        self._metrics = metrics
        self._encoder: tuple[object, Any] = None, None
        """What it goes by, and itself: it remembers what that says."""
        self._failing: list[bytes] = []
        """Rows of records that are being taken, as JSON: those whose stacks need symbol files."""

    def rows(self, source: Source) -> NativeRows:
        """An empty block for rows of a partition."""
        rows: NativeRows = self._core.EventRows(source.topic, quoted(source.topic), source.partition)
        return rows

    def take(
        self,
        making: Making,
        records: Sequence[Any],
        place: int,
        *,
        bounds: tuple[int, int],
        wrong: Mapping[bytes, Rejected],
    ) -> int:
        """Make the rows of records from a place on; the place of the first one that is left, to Python or to the next
        piece. `bounds` are the base of stored offsets, and the bytes that a piece may have; `wrong` are keys of records
        that are refused."""
        if making.has_failed:
            self._metrics.left_to_python.labels("sink", "panic").inc()
            return place
        by = self._policies_at(making.source.partition, records[place].offset + bounds[0])
        if self._encoder[0] is not by:
            rules = _Rules(*by)
            self._encoder = by, self._core.EventEncoder(rules.of, rules.resource, rules.user, self._failures)
        before = making.native.count, making.native.byte_count
        self._failing = []
        try:
            stop, reason, _, ledger = self._encoder[1].take(
                making.native,
                records,
                place,
                bounds[0],
                before[1] + max(making.room, 0),
                bounds[1],
                wrong,
            )
        except self._core.Panic:
            # Half a row may be in the block.
            self._encoder = None, None
            making.drop_native(*before)
            return self.take(making, records, place, bounds=bounds, wrong=wrong)
        if ledger:
            making.ledger.append(ledger)
        making.compiled += records[place:stop]
        making.keep_failing(self._failing)
        # Where some were taken before it, it is asked for once more.
        if reason and stop == place:
            self._metrics.left_to_python.labels("sink", reason).inc()
        return int(stop)

    async def store(self, pieces: Sequence[Piece]) -> None:
        """Store the blocks of some pieces. Of one that ClickHouse refuses the rows are made once more, as JSON: to find
        those at fault, and to store the others."""
        block = b"".join(piece.block for piece in pieces)
        for piece in pieces:
            piece.block = b""
        if not block:
            return
        token = block_token(NATIVE_TABLE, pieces)
        said = await self._insert(NATIVE_TABLE, block, columns=NATIVE_COLUMNS, token=token)
        if said:
            log.warning("ClickHouse refuses a block of events, they are sent row by row: %s", said)
            for piece in pieces:
                base = piece.first_offset - piece.records[0].offset
                lines = (self._line(piece.source, each.offset + base, each) for each in piece.compiled)
                piece.rows, piece.failing = joined([piece.rows, *lines]), b""

    def line_again(self, source: Source, offset_base: int, record: Any) -> bytes:
        """The rows of a record, as JSON, that were in a block which cannot be written."""
        self._metrics.left_to_python.labels("sink", "panic").inc()
        return self._line(source, record.offset + offset_base, record)

    def _failures(self, record: Any, topic: str, partition: int, offset: int) -> list[tuple[Any, ...]]:
        """Of a record's crashes, ANRs and exceptions the index of the event, kind, group, title and culprit, and the
        symbol files that the stack needs (SymbolsAsked)."""
        line = self._line(Source(topic, partition), offset, record)
        found = failures_in(line)
        if any(files for _, files in found):
            self._failing.append(line)
        return [
            (
                row.place - 1,
                row.kind,
                row.crash_group,
                row.title,
                row.culprit,
                [astuple(each) for each in files],
            )
            for row, files in found
        ]

    def _line(self, source: Source, offset: int, record: Any) -> bytes:
        topic, partition = source
        edge, keeping = self._policies_at(partition, offset)
        envelope = native.decode(record.value, record.key, record.timestamp, edge.cleaner_of(record.key))
        assert not isinstance(envelope, Rejected), "the core takes sound records alone"
        until = keeping.events_of(envelope.app_id, record.timestamp)
        return event_line(envelope, topic=topic, partition=partition, offset=offset, kept=until)


class _Rules:
    """What the policies of a place say of apps, for the core."""

    def __init__(self, edge: Edge, keeping: Keeping) -> None:
        self._edge = edge
        self._keeping = keeping
        self._groups = 0

    def _cleaner_of(self, app_id: str) -> Cleaner:
        return self._edge.cleaner_of(f"{app_id}/".encode())

    def of(self, app_id: str) -> tuple[int, int, frozenset[str]] | None:
        """The group of an app, those of which have the same rules; for how many days its events are kept; attributes of
        which the rules may have something to say. None: all is left to Python."""
        cleaner = self._cleaner_of(app_id)
        if cleaner.has_own:
            return None
        group = 0
        if self._edge.only is None:
            self._groups += 1
            group = self._groups
        return group, self._keeping.retentions.of(app_id).retention_days, cleaner.watched.private

    def resource(self, app_id: str, raw: bytes) -> tuple[str, str] | None:
        """A resource in canonical form, and the version of the app; None where there is a fault in it."""
        try:
            text = self._cleaner_of(app_id).resource(raw)
        except orjson.JSONDecodeError:
            return None
        return None if isinstance(text, Rejected) else (text, orjson.loads(resource_texts(text).app_version))

    def user(self, app_id: str, raw: bytes) -> tuple[str, str] | None:
        """The same of a user, and the user's id."""
        try:
            text = self._cleaner_of(app_id).user(raw) if raw else ""
        except orjson.JSONDecodeError:
            return None
        return None if isinstance(text, Rejected) else (text, orjson.loads(user_texts(text).user_id))
