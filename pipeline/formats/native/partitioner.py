"""The partition of `sdk-events` that a key belongs to: the one that Kafka's own default partitioner gives it.

Only there do all events of a device meet. Sessionizer, sink, router and rebuild ask the same functions.
"""

from __future__ import annotations

import sys
from struct import unpack_from

from pipeline.formats.bounded_cache import BoundedCache
from pipeline.formats.limits import MAX_ID_CHARS
from pipeline.formats.rejected import Reason, Rejected

_SEED, _MULTIPLIER = 0x9747B28C, 0x5BD1E995
_WORD = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF
_LONGEST_KEY = 2 * 4 * MAX_ID_CHARS + 1
"""Bytes of the longest key that a sound record has: two ids with a slash between them, four bytes a character."""
KEPT_BYTES = 20_000_000
"""Of keys whose hash is remembered."""


def murmur2(data: bytes) -> int:
    """The hash of a key, 32 bits without a sign, as Kafka's Java client computes it. Some 3 µs for a device's key."""
    whole = len(data) // 4
    found = _SEED ^ len(data)
    for word in unpack_from(f"<{whole}I", data):
        mixed = word * _MULTIPLIER & _WORD
        found = (found * _MULTIPLIER ^ (mixed ^ mixed >> 24) * _MULTIPLIER) & _WORD
    if len(data) % 4:
        found = (found ^ int.from_bytes(data[4 * whole :], "little")) * _MULTIPLIER & _WORD
    found = (found ^ found >> 13) * _MULTIPLIER & _WORD
    return found ^ found >> 15


_hashes: BoundedCache[bytes, int] = BoundedCache(murmur2, sys.getsizeof, KEPT_BYTES)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key in a topic of so many."""
    return (_hashes[key] & _POSITIVE) % partitions


def misplaced(key: bytes | None, partition: int, partitions: int) -> Rejected | None:
    """Why to refuse all records of a key in a partition, of so many that `sdk-events` has; None if it belongs there.

    Asked before anything else of a record. A record without a key, or with one that no sound record has for its
    length, has other faults in any partition, and these are told.
    """
    if key is None or len(key) > _LONGEST_KEY:
        return None
    right = partition_of(key, partitions)
    if right == partition:
        return None
    return Rejected(
        Reason.WRONG_PARTITION,
        f"Kafka's default partitioner (murmur2) gives this key partition {right}, not {partition}: {REMEDY}",
    )


REMEDY = (
    "set librdkafka partitioner=murmur2_random, kafka-go Murmur2Balancer, Sarama a murmur2 hash, kafkajs "
    "DefaultPartitioner, Java, aiokafka and franz-go their default, or send to native-events"
)
"""What the senders of misplaced records have to do; for the end of a sentence."""
