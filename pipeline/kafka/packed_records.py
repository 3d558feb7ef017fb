"""Records of a fetch that the compiled core unpacks, without an object for each.

aiokafka makes an object of each record, which takes longer than the core's fold of it. So the core is given what a
fetch brought of a partition, and unpacks it into a sequence whose records become objects only where somebody takes one
out. What it is not sure of (an older format, a batch that is damaged, a codec that is not there) aiokafka reads from
there on, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.record import MemoryRecords

_READ_UNCOMMITTED = 0
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

    def left(self) -> RecordsAsTheyAre:
        """What the core has not unpacked, for aiokafka."""
        aborted, _, *others = self._others
        packed = self.packed
        return RecordsAsTheyAre(
            self._tp, MemoryRecords(packed.rest()), aborted, packed.next_fetch_offset, *others
        )


def take(result: Any, core: ModuleType, most: int, room: int) -> Sequence[Any] | None:
    """What `FetchResult.getall` gives, by the core: at most so many records and bytes, or one record. None if it is not
    sure of the next batch: then aiokafka has to go on."""
    records = result._partition_records
    packed = records.packed_by(core)
    if packed is None:
        return None
    found: Sequence[Any] = packed.take(most, room)
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
