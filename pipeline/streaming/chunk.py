"""A chunk: the records of one partition that an agent gets as one event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from faust.types import TP
from faust.types.tuples import ConsumerMessage

from pipeline.streaming.assignment import Assignment, Delivered


class Chunk(ConsumerMessage):  # type: ignore[misc]
    """The message of an event that carries a list of records as aiokafka unpacks them, in order, of one partition."""

    def __init__(self, tp: TP, records: Sequence[Any], assignment: Assignment, delivered: Delivered) -> None:
        last = records[-1]
        super().__init__(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000, last.timestamp_type,
            None, None, records, None, 0, 0, tp, generation_id=assignment.generation,
        )  # fmt: skip
        self.first_offset: int = records[0].offset
        self.assignment = assignment
        self.delivered = delivered


def cut(records: Sequence[Any], max_records: int, max_bytes: int) -> Iterator[Sequence[Any]]:
    """Cuts a fetched list into chunks of at most `max_records` and, unless one record alone is larger, `max_bytes`."""
    if len(records) <= max_records and _bytes_of(records) <= max_bytes:
        if records:
            yield records
        return
    first = size = 0
    for i, record in enumerate(records):
        length = len(record.key or b"") + len(record.value or b"")
        if i > first and (i - first >= max_records or size + length > max_bytes):
            yield records[first:i]
            first, size = i, 0
        size += length
    if first < len(records):
        yield records[first:]


def _bytes_of(records: Sequence[Any]) -> int:
    if type(records) is list:
        return sum([len(r.key or b"") + len(r.value or b"") for r in records])
    # The compiled core unpacked them, and knows.
    found: int = records.byte_count  # type: ignore[attr-defined]
    return found
