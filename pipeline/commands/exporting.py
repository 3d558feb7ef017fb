"""Sessions as the bytes of a file, as they come out of ClickHouse, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from pipeline.clickhouse.store import Store
from pipeline.clickhouse.streamed import whole_objects, whole_parquet, whole_rows
from pipeline.query.choice import Choice
from pipeline.query.export import FORMATS, Format, bounded_by, export, header
from pipeline.query.session_order import Order

_PIECE_BYTES = 64_000


def exported(
    store: Store, chosen: Choice, order: Order, format: Format, memory: int, limit: int | None = None
) -> Iterator[bytes]:
    """The file in pieces of some 64 kB, the last one when all is there. ClickHouse takes `memory` bytes at most.

    `limit` is for the first ones alone.

    Blocks. Raises Unreachable and StatementFailed, also after some of the pieces, which are then not a whole file.
    """
    statement = export(chosen, order, format, limit)
    asked = (statement.sql, statement.parameters, FORMATS[format])
    settings = bounded_by(memory)
    if format == "parquet":
        return store.streamed(*asked, whole_parquet, settings)
    if format == "ndjson":
        return _joined(line + b"\n" for line in store.streamed(*asked, whole_objects, settings))
    lines = store.streamed(*asked, whole_rows, settings)
    return _joined((orjson.loads(line)[0].encode() for line in lines), header())


def _joined(lines: Iterator[bytes], first: bytes = b"") -> Iterator[bytes]:
    held, size = [first], len(first)
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)
