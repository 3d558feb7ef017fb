"""The records of a chunk, put together by device."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any, NamedTuple

from pipeline.formats.edge import Edge
from pipeline.formats.erasure import Erasures, is_control
from pipeline.formats.native.partitioner import misplaced_or_late
from pipeline.formats.record_time import REPLAYED_RECORD_MS, header_of, record_time_ms
from pipeline.state.effects import Fields, Waiting
from pipeline.state.records import Record

Moved = tuple[Any, ...]
"""Key, value and headers of a record for another partition of the same topic."""


ByKey = MutableMapping[bytes | None, Fields]


class CutOfSource(NamedTuple):
    """Which partition of a topic it is."""

    partition: int
    partitions: int
    before: tuple[int, ...] = ()
    """Earlier numbers of its partitions."""


class Grouped(NamedTuple):
    """A chunk by the keys of its records, in the order of their first ones."""

    by_key: ByKey
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


def take_misplaced(by_key: ByKey, place: CutOfSource, edge: Edge) -> tuple[int, list[Moved]]:
    """Take out of a chunk the records whose keys belong in another partition: how many are refused, and those that only
    come of an earlier number of partitions, to be written to where they belong now.

    These keep the time at which they came. What brings no events is not moved: the sink counts it where it is.
    """
    # The compiled core has them hashed sooner; of what it names the rest is asked.
    keys = by_key if type(by_key) is dict else by_key.misplaced(place.partition, place.partitions)  # type: ignore[attr-defined]
    wrong, late = misplaced_or_late(keys, *place)
    refused = sum(len(by_key.pop(key)) // 4 for key in wrong)
    moved = [each for key in sorted(late) for each in _moved(key, by_key.pop(key)) if not edge.is_out(key)]
    return refused, moved


def _moved(key: bytes, fields: Fields) -> Iterator[Moved]:
    each = iter(fields)
    for _, record_ms, value, headers in zip(each, each, each, each, strict=True):
        if value is not None:
            others = tuple(header for header in headers or () if header[0] != REPLAYED_RECORD_MS)
            yield key, value, *header_of(record_time_ms(headers, record_ms)), *others


def leave_out(by_key: ByKey, edge: Edge) -> None:
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


def waiting_of(by_key: ByKey) -> Waiting:
    """What there is to do of a chunk, the last first."""
    # What the compiled core has grouped it folds one after the other, and takes its turn as a whole.
    return list(by_key.items())[::-1] if type(by_key) is dict else [(None, by_key)]  # type: ignore[list-item]


def without_erased(key: bytes, fields: Fields, erasures: Erasures) -> Fields:
    """The records of a device but for those that were erased."""
    left: Fields = []
    each = iter(fields)
    for offset, record_ms, value, headers in zip(each, each, each, each, strict=True):
        came_ms = record_time_ms(headers, record_ms) if headers else record_ms
        if is_control(value) or not erasures.takes(key, value, came_ms):
            left += offset, record_ms, value, headers
    return left
