"""A batch: rows of one table on their way into one insert, and the input that they cover."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, NamedTuple

from pipeline.storage.dead_letter import DeadLetter


@dataclass(frozen=True, slots=True)
class Bounds:
    """What makes a batch full. An insert about every second, and under a backlog as many rows as its bytes allow: it
    makes a dozen parts, which costs ClickHouse as much as some 20,000 rows however few there are."""

    max_rows: int = 200_000
    max_bytes: int = 32_000_000
    max_age_ms: int = 1_000

    @property
    def of_sessions(self) -> Bounds:
        """Somebody may wait for the end of a session, and its rows are few: they wait half as long."""
        return replace(self, max_age_ms=self.max_age_ms // 2)

    @property
    def piece_bytes(self) -> int:
        """How much may be made of the input before it goes into a batch: what a batch may be over its bound by."""
        return min(self.max_bytes, _PIECE_BYTES)


_PIECE_BYTES = 8_000_000


class Source(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


@dataclass(slots=True)
class Piece:
    """Some records of one partition, turned into rows. Offsets are those that are stored.

    The pieces of a chunk follow one another; where one record makes too many rows for one, several pieces have rows of
    it, and the last of them its ledger row and what was refused of it.
    """

    source: Source
    first_offset: int
    last_offset: int
    rows: bytes
    """Newline-separated JSON."""
    row_count: int
    spread: int = 0
    """How many bytes more than here its rows are in ClickHouse."""
    block: bytes = b""
    """Rows of further records, in ClickHouse's format Native."""
    failing: bytes = b""
    """The rows, as JSON, of records of the block with a stack that needs symbol files; newline-separated."""
    compiled: Sequence[Any] = ()
    """The records that are in the block."""
    ledger: bytes = b""
    """Ledger rows of its records, newline-separated; none where the topic is not accounted for."""
    policies: bytes = b""
    """Rows of versions of the policies that came, newline-separated."""
    refused: Sequence[DeadLetter] = ()
    records: Sequence[Any] = ()
    """The records themselves, for the case that ClickHouse refuses a row of theirs."""
    first_event: int = 0
    """Of its first record: the event that its rows begin with."""
    end_event: int = -1
    """Of its last record: the event before which its rows end; -1 if they go on to the last one."""
    is_last: bool = True
    """Whether it ends its chunk."""
    unstored: dict[int, int] = field(default_factory=dict)
    """Offset to the number of its events that ClickHouse refused; the pieces of a chunk share it."""
    acknowledge: Callable[[], object] = lambda: None
    """Called once everything of the chunk is stored, on the last piece."""
    still_mine: Callable[[], bool] = lambda: True
    """Whether the chunk's partition is still this worker's."""

    @property
    def byte_count(self) -> int:
        """What it holds in memory, here or in ClickHouse: a flood of garbage has few rows and many bytes."""
        refused = sum(len(refusal.value or b"") for refusal in self.refused)
        return len(self.rows) + len(self.block) + len(self.failing) + self.spread + len(self.ledger) + refused


@dataclass(slots=True)
class Batch:
    """Pieces in order of arrival, per partition without gaps. Not safe for several threads; never blocks."""

    bounds: Bounds
    pieces: list[Piece] = field(default_factory=list)
    row_count: int = 0
    byte_count: int = 0
    opened_ms: int = 0

    def add(self, piece: Piece, since_ms: int) -> None:
        """Take a piece that has waited since then, by any clock that only goes forward."""
        if not self.pieces:
            self.opened_ms = since_ms
        self.pieces.append(piece)
        self.row_count += piece.row_count
        self.byte_count += piece.byte_count

    def is_full(self) -> bool:
        """Whether it must be inserted before more is taken."""
        return self.row_count >= self.bounds.max_rows or self.byte_count >= self.bounds.max_bytes

    def wait_ms(self, now_ms: int) -> int | None:
        """Milliseconds until it is due for its age; 0 if it is, None if it is empty."""
        if not self.pieces:
            return None
        return max(0, self.opened_ms + self.bounds.max_age_ms - now_ms)

    def take(self) -> list[Piece]:
        """Empty it: the pieces that one insert is to store."""
        pieces, self.pieces = self.pieces, []
        self.row_count = self.byte_count = 0
        return pieces


def block_token(table: str, pieces: Iterable[Piece]) -> str:
    """The deduplication token of an insert: the same table, offsets and events of them give the same token."""
    digest = blake2b(table.encode(), digest_size=16)
    for piece in pieces:
        topic, partition = piece.source
        digest.update(f"\0{topic}\0{partition}\0{piece.first_offset}\0{piece.last_offset}".encode())
        if piece.first_event or piece.end_event >= 0:
            digest.update(f"\0{piece.first_event}\0{piece.end_event}".encode())
    return digest.hexdigest()


def joined(blocks: Iterable[bytes]) -> bytes:
    """Blocks of newline-separated rows as one block."""
    return b"\n".join(block for block in blocks if block)
