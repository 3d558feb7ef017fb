"""A chunk cut into pieces by the bytes that are made of it, which may be hundreds of times those that came."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pipeline.roles.sink.batch import Piece, Source, joined
from pipeline.storage.dead_letter import DeadLetter

log = logging.getLogger(__name__)


class NativeRows(Protocol):
    """Rows in ClickHouse's format Native."""

    byte_count: int
    count: int

    def written(self) -> bytes | None:
        """The block of them; empty if there are none. None where it cannot be written: then they are made as JSON."""


class NoRows:
    """None, for those who make all rows as JSON."""

    byte_count = count = 0

    def written(self) -> bytes:
        return b""


def _no_line(record: Any) -> bytes:
    raise AssertionError("there is no block")


class Making:
    """The pieces of one chunk, one after the other. Offsets are stored with `offset_base` added."""

    def __init__(
        self,
        source: Source,
        records: Sequence[Any],
        offset_base: int,
        max_bytes: int,
        native_rows: Callable[[], NativeRows] = NoRows,
        line_of: Callable[[Any], bytes] = _no_line,
    ) -> None:
        """`native_rows` makes a block for some, and `line_of` makes the rows of a record of it as JSON."""
        self._native_rows = native_rows
        self._line_of = line_of
        self.has_failed = False
        """Rows in ClickHouse's format could not be made: the rest of the chunk is made without."""
        self.native: NativeRows = native_rows()
        self.compiled: list[Any] = []
        """The records whose rows those are."""
        self.ledger: list[bytes] = []
        self.policies: list[bytes] = []
        self.refused: list[DeadLetter] = []
        self.source = source
        self._records = records
        self._offset_base = offset_base
        self._max_bytes = max_bytes
        self._blocks: list[bytes] = []
        self._failing: list[bytes] = []
        """The rows, as JSON, of those of `compiled` that have a stack which needs symbol files."""
        self._failing_bytes = 0
        self._byte_count = self._row_count = self._spread = 0
        self._first = self._first_event = 0
        self._unstored: dict[int, int] = {}

    def add(self, rows: bytes, count: int, *, spread: int = 0) -> bool:
        """Take the rows of `count` events or records; whether that is enough for a piece.

        `spread` is how many bytes more they are in ClickHouse, which has to hold a block of them, too.
        """
        self._blocks.append(rows)
        self._row_count += count
        self._byte_count += len(rows) + spread
        self._spread += spread
        return self.room <= 0

    def keep_failing(self, lines: Sequence[bytes]) -> None:
        """Keep the rows, as JSON, of records of the block that have a stack which needs symbol files."""
        self._failing += lines
        self._failing_bytes += sum(map(len, lines))

    @property
    def room(self) -> int:
        """The bytes that a piece may have besides what there is."""
        return self._max_bytes - self._byte_count - self.native.byte_count - self._failing_bytes

    def drop_native(self, count: int, byte_count: int) -> None:
        """Make so many rows of the block, of so many bytes, as JSON instead: those of `compiled`. The rest of the chunk
        is to be made so, too."""
        log.error("the compiled core fails at rows of %s, partition %d: Python makes them", *self.source)
        lines = joined(map(self._line_of, self.compiled))
        self.native, self.compiled, self.has_failed = NoRows(), [], True
        self._failing, self._failing_bytes = [], 0
        self.add(lines, count, spread=max(0, byte_count - len(lines)))

    def take(self, place: int, *, end_event: int = -1) -> Piece:
        """What was made since the last piece: up to the record at `place`, or to an event of it."""
        base, records = self._offset_base, self._records
        block = self.native.written()
        if block is None:
            self.drop_native(self.native.count, self.native.byte_count)
            block = b""
        piece = Piece(
            source=self.source,
            first_offset=records[self._first].offset + base,
            last_offset=records[place].offset + base,
            rows=joined(self._blocks),
            row_count=self._row_count + self.native.count,
            block=block,
            compiled=self.compiled,
            failing=joined(self._failing),
            spread=self._spread,
            ledger=joined(self.ledger),
            policies=joined(self.policies),
            refused=self.refused,
            records=records[self._first : place + 1],
            first_event=self._first_event,
            end_event=end_event,
            is_last=place + 1 == len(records) and end_event < 0,
            unstored=self._unstored,
        )
        self.ledger, self.policies, self.refused, self._blocks = [], [], [], []
        self._failing, self._failing_bytes = [], 0
        self.native, self.compiled = NoRows() if self.has_failed else self._native_rows(), []
        self._byte_count = self._row_count = self._spread = 0
        self._first, self._first_event = (place, end_event) if end_event >= 0 else (place + 1, 0)
        return piece
