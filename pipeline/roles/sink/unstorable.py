"""Rows that ClickHouse will not take: the records that they came from, and the account of those."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from pipeline.formats.rejected import Rejected
from pipeline.roles.sink.batch import Piece
from pipeline.storage.event_copies import rows_of_copies
from pipeline.storage.kept import Keeping

Original = tuple[Piece, Any]
"""A record and a piece with rows of it."""


def by_offset(pieces: Sequence[Piece], offset_base: int) -> Callable[[bytes], Original]:
    """Finds the record that an event row came from."""
    records = {
        (piece.source.partition, record.offset + offset_base): (piece, record)
        for piece in pieces
        for record in piece.records
    }

    def find(row: bytes) -> Original:
        told = orjson.loads(row)
        return records[told["partition"], told["offset"]]

    return find


def by_value(pieces: Sequence[Piece], row_of: Callable[[Any], bytes]) -> Callable[[bytes], Original]:
    """Finds the record that a session row was made of; `row_of` makes it."""
    records = {
        row_of(record): (piece, record) for piece in pieces for record in piece.records if record.value
    }
    return lambda row: records[row]


def by_copy(pieces: Sequence[Piece], keeping: Keeping) -> Callable[[bytes], Original]:
    """Finds the record that names the copy which a row takes back."""
    records = {
        row: (piece, record)
        for piece in pieces
        for record in piece.records
        if not isinstance(rows := rows_of_copies(record.value, record.key, keeping), Rejected)
        for row in rows
    }
    return lambda row: records[row]


def with_refused(ledger: bytes, unstored: Mapping[int, int]) -> bytes:
    """Ledger rows of a partition with the events that ClickHouse refused (offset to number) counted as refused."""
    lines = []
    for line in ledger.split(b"\n") if ledger else ():
        row = orjson.loads(line)
        row["refused"] += unstored.get(row["offset"], 0)
        lines.append(orjson.dumps(row))
    return b"\n".join(lines)
