"""A sink whose inserts and dead letters are noted instead of made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds, Piece, Source
from pipeline.roles.sink.sink import Sink
from pipeline.roles.sink.table_writer import TableWriter
from pipeline.storage.dead_letter import DeadLetter
from pipeline.storage.rows import unpacked

AT_MS = 1_800_000_000_000
EVENTS, SESSIONS, DEAD_LETTERS = Source("sdk-events", 5), Source("sessions", 3), Source("dead-letters", 3)
PARTITIONS = 6
"""Of them the key `a/d` belongs in the last."""
BASE = 1_000


class Record(NamedTuple):
    offset: int
    value: bytes | None
    key: bytes | None = b"a/d"
    timestamp: int = AT_MS
    headers: tuple[tuple[str, bytes], ...] | None = ()


async def taken(
    writer: TableWriter, made: Iterator[Piece], acknowledge: Callable[[], object] = lambda: None
) -> None:
    """The pieces of a chunk, that is still this worker's."""
    await writer.add_all(made, acknowledge=acknowledge, still_mine=lambda: True)


class RefusedRow(NamedTuple):
    row: bytes
    message: str


class World:
    """A sink, and all that it did, in order."""

    def __init__(self, refuses: Callable[[str, bytes], bool] = lambda table, row: False) -> None:
        self.did: list[Any] = []
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.dead: list[DeadLetter] = []
        self._refuses = refuses
        self.metrics = Metrics()
        self.sink = Sink(
            self._insert,
            self._dead_letter,
            self.metrics,
            bounds=Bounds(max_rows=0),
            partitions=PARTITIONS,
            offset_base=BASE,
        )

    async def _insert(self, table: str, rows: bytes, *, token: str) -> Sequence[RefusedRow]:
        self.did.append(table)
        bad = [line for line in rows.split(b"\n") if self._refuses(table, line)]
        good = [line for line in rows.split(b"\n") if line not in bad]
        if table == "z_envelope_feed":
            table, good = "z_event_feed", [row for line in good for row in unpacked(line).split(b"\n")]
        self.rows.setdefault(table, []).extend(map(json.loads, good))
        return [RefusedRow(line, "out of range") for line in bad]

    async def _dead_letter(self, refused: Sequence[DeadLetter]) -> None:
        self.did.append("dead letters")
        self.dead += refused

    def add(self, writer: TableWriter, made: Iterator[Piece]) -> None:
        asyncio.run(taken(writer, made, lambda: self.did.append("acknowledged")))

    def take(self, *records: Record) -> None:
        """A chunk of events."""
        self.add(self.sink.events, self.sink.event_pieces(EVENTS, records))

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def told(refusals: Sequence[DeadLetter]) -> list[tuple[int, str, int | None]]:
    return [(each.offset, str(each.rejected.reason), each.rejected.event_index) for each in refusals]
