"""Event rows by the compiled core and by Python, of the same records."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds, Piece, Source
from pipeline.roles.sink.sink import Sink
from pipeline.storage.kept import DEFAULT_KEEPING, Keeping
from pipeline.storage.rows import unpacked
from tests.support.native_blocks import as_stored, rows_of

SOURCE = Source("sdk-events", 0)


class Made(NamedTuple):
    rows: list[dict[str, Any]]
    """As they stand in ClickHouse; in order."""
    ledger: list[bytes]
    refused: list[tuple[int, str, int | None]]
    compiled: int
    """How many of the records the core took."""


async def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing is stored here")


def made_by(
    core: ModuleType | None,
    records: Sequence[Any],
    *,
    edge: Edge = OPEN_EDGE,
    keeping: Keeping = DEFAULT_KEEPING,
    bounds: Bounds = Bounds(),  # noqa: B008
    offset_base: int = 0,
) -> Made:
    """What the sink makes of a chunk, with the core or without."""
    metrics = Metrics()
    sink = Sink(
        _never, _never, metrics, bounds=bounds, keeping=keeping, edge=edge, offset_base=offset_base,
        core=core, insert_native=_never,
    )  # fmt: skip
    made = of_pieces(list(sink.event_pieces(SOURCE, records)))
    assert not metrics.left_to_python.labels("sink", "panic")._value.get(), "the core fails"
    return made


def of_pieces(pieces: Sequence[Piece]) -> Made:
    """What is in some pieces, whichever way it was made."""
    rows = [row for piece in pieces for row in rows_of(piece.block)]
    for piece in pieces:
        assert piece.row_count >= len(list(rows_of(piece.block)))
        rows += [
            as_stored(row) for line in piece.rows.split(b"\n") if line for row in unpacked(line).split(b"\n")
        ]
    ledger = [line for piece in pieces for line in piece.ledger.split(b"\n") if line]
    refused = [
        (each.offset, str(each.rejected.reason), each.rejected.event_index)
        for piece in pieces
        for each in piece.refused
    ]
    rows.sort(key=lambda row: (row["offset"], row["event_index"]))
    return Made(rows, ledger, refused, sum(len(piece.compiled) for piece in pieces))
