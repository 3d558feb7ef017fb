"""The records of a chunk, put together by device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.formats.edge import Edge
from pipeline.formats.erasure import Erasures, is_control
from pipeline.formats.record_time import record_time_ms
from pipeline.state.effects import Fields
from pipeline.state.records import Record


class Grouped(NamedTuple):
    """A chunk by the keys of its records, in the order of their first ones."""

    by_key: dict[bytes | None, Fields]
    clock_ms: int
    """The latest record time by its end."""
    came_ms: dict[int, int]
    """The partition's time at records whose stamps are behind it, a broker's clock having gone back, by offset."""


def grouped(records: Sequence[Record], base: int, clock_ms: int) -> Grouped:
    """Group records, ascending by offset, to each of which `base` is added; `clock_ms` is the latest record time before
    them."""
    by_key: dict[bytes | None, Fields] = {}
    came_ms: dict[int, int] = {}
    record_ms = -1
    for record in records:
        key = record.key
        if record.timestamp != record_ms:
            record_ms = record.timestamp
            clock_ms = max(clock_ms, record_ms)
        if record_ms < clock_ms:
            came_ms[record.offset + base] = clock_ms
        fields = by_key.get(key)
        if fields is None:
            by_key[key] = fields = []
        # Side by side in one list, and the same object where values are the same: what is put here in order of
        # arrival is read in that of devices, and each object on its own has to be fetched from memory again.
        fields += record.offset + base, record_ms, record.value, record.headers or None
    return Grouped(by_key, clock_ms, came_ms)


def leave_out(by_key: dict[bytes | None, Fields], edge: Edge) -> None:
    """Leave out of a chunk what is sampled out, and what was erased and comes again."""
    for key in edge.out_of(by_key):
        del by_key[key]
    if not edge.erasures:
        return
    for key in [key for key in by_key if edge.erasures.of(key)]:
        assert key is not None
        if left := without_erased(key, by_key[key], edge.erasures):
            by_key[key] = left
        else:
            del by_key[key]


def without_erased(key: bytes, fields: Fields, erasures: Erasures) -> Fields:
    """The records of a device but for those that were erased."""
    left: Fields = []
    each = iter(fields)
    for offset, record_ms, value, headers in zip(each, each, each, each, strict=True):
        came_ms = record_time_ms(headers, record_ms) if headers else record_ms
        if is_control(value) or not erasures.takes(key, value, came_ms):
            left += offset, record_ms, value, headers
    return left
