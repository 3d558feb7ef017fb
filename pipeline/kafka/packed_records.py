"""Records of a fetch that the compiled core unpacks, without an object for each.

aiokafka makes an object of each record, which takes longer than the core's fold of it. So the core is given what a
fetch brought of a partition, and unpacks it into a sequence whose records become objects only where somebody takes one
out. What it is not sure of (an older format, a batch that is damaged, a codec that is not there) aiokafka reads from
there on, and says what is wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from struct import unpack_from
from types import ModuleType
from typing import Any

from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.record import MemoryRecords

log = logging.getLogger(__name__)

_READ_UNCOMMITTED = 0
_HEAD_BYTES = 12
"""Of a batch: its first offset, and how many bytes come behind."""
_LAST_AT = 23
"""Where it says how far its last offset is from the first."""
_DECODERS = {1: codec.gzip_decode, 2: codec.snappy_decode, 3: codec.lz4_decode, 4: codec.zstd_decode}


class KeptRecords(MemoryRecords):  # type: ignore[misc]
    """What a fetch brought, which is still there as it came."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class RecordsAsTheyAre(fetcher.PartitionRecords):  # type: ignore[misc]
    """Unpacks a fetched batch without making a ConsumerRecord of each record, which cost as much as the unpacking.

    What comes has offset, timestamp, timestamp_type, key, value and headers, under the names of ConsumerRecord.
    """

    packed: Any = None
    left_why = "batch"
    """Why aiokafka unpacks it where the core is asked for."""

    def __init__(self, tp: Any, records: Any, *others: Any) -> None:
        super().__init__(tp, records, *others)
        self._others = others

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record

    def packed_by(self, core: ModuleType) -> Any:
        """The same as the core unpacks it; None if aiokafka has begun with it, or has to."""
        if self.packed is None and type(self._records) is KeptRecords and self._is_plain():
            self.packed = core.Fetched(self._records.data, self.next_fetch_offset, decompressed)
            # Whoever asks for the next record meets an error rather than the same records again.
            self._records_iterator = None
        return self.packed

    def _is_plain(self) -> bool:
        return (
            self._isolation_level == _READ_UNCOMMITTED
            and self._key_deserializer is None
            and self._value_deserializer is None
            and self._check_crcs
        )

    def again(self) -> RecordsAsTheyAre:
        """For aiokafka what comes after the records that were taken."""
        aborted, _, *others = self._others
        rest = _from(self._records.data, self.next_fetch_offset)
        records = RecordsAsTheyAre(self._tp, MemoryRecords(rest), aborted, self.next_fetch_offset, *others)
        records.left_why = "panic"
        return records

    def left(self) -> RecordsAsTheyAre:
        """What the core has not unpacked, for aiokafka."""
        aborted, _, *others = self._others
        packed = self.packed
        return RecordsAsTheyAre(
            self._tp, MemoryRecords(packed.rest()), aborted, packed.next_fetch_offset, *others
        )


def _from(data: bytes, offset: int) -> bytes:
    """A fetch from the batch on that has an offset. Those before it were unpacked: they are of the present format."""
    at = 0
    while at + _LAST_AT + 4 <= len(data):
        first, size = unpack_from(">qi", data, at)
        (more,) = unpack_from(">i", data, at + _LAST_AT)
        if first + more >= offset:
            break
        at += _HEAD_BYTES + size
    return data[at:]


def take(result: Any, core: ModuleType, most: int, room: int) -> Sequence[Any] | None:
    """What `FetchResult.getall` gives, by the core: at most so many records and bytes, or one record. None if it is not
    sure of the next batch: then aiokafka has to go on."""
    records = result._partition_records
    packed = records.packed_by(core)
    if packed is None:
        return None
    try:
        found: Sequence[Any] = packed.take(most, room)
    except core.Panic:
        log.exception("the compiled core fails at a fetch of %s: aiokafka unpacks it", records._tp)
        result._partition_records = records.again()
        return None
    records.next_fetch_offset = packed.next_fetch_offset
    if packed.is_doubtful:
        result._partition_records = records.left()
    result._update_position()
    if packed.is_done:
        result._partition_records = None
    return found if found or not packed.is_doubtful else None


def decompressed(number: int, payload: bytes) -> bytes:
    """The records of a batch, of aiokafka's codec of that number."""
    return bytes(_DECODERS[number](payload))
