"""The partition of `sdk-events` that a key belongs to: the one that Kafka's own default partitioner gives it.

Only there do all events of a device meet. Sessionizer, sink, router and rebuild ask the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import unpack, unpack_from

from pipeline.formats.limits import MAX_ID_CHARS
from pipeline.formats.rejected import Reason, Rejected

REMEDY = (
    "set librdkafka partitioner=murmur2_random, kafka-go Murmur2Balancer, Sarama a murmur2 hash, kafkajs "
    "DefaultPartitioner, Java, aiokafka and franz-go their default, or send to native-events"
)
"""What the senders of misplaced records have to do; for the end of a sentence."""

_SEED, _MULTIPLIER = 0x9747B28C, 0x5BD1E995
_WORD, _POSITIVE = 0xFFFFFFFF, 0x7FFFFFFF
_LONGEST_KEY = 2 * 4 * MAX_ID_CHARS + 1
"""Bytes of the longest key that a sound record has: two ids with a slash between them, four bytes a character."""
_FEW, _MANY = 8, 4_096
"""Keys that are hashed one by one, and side by side: below this that takes longer, and above it no less."""


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key in a topic of so many. Some 3 µs for a device's key."""
    return (murmur2(key) & _POSITIVE) % partitions


def misplaced(keys: Iterable[bytes | None], partition: int, partitions: int) -> dict[bytes, Rejected]:
    """The keys that belong in another partition than this, of so many that `sdk-events` has: why their records are
    refused. Takes a tenth of the time of `partition_of` for each of many different keys.

    Asked before anything else of a record. A record without a key, or with one that no sound record has for its
    length, has other faults in any partition, and these are told.
    """
    by_length: dict[int, list[bytes]] = {}
    for key in keys:
        if key is not None:
            alike = by_length.get(len(key))
            if alike is None:
                by_length[len(key)] = [key]
            else:
                alike.append(key)
    wrong: dict[bytes, Rejected] = {}
    for length, alike in by_length.items():
        if length <= _LONGEST_KEY:
            for start in range(0, len(alike), _MANY):
                some = alike[start : start + _MANY]
                for key, number in zip(some, murmur2_of_each(some), strict=True):
                    if (right := (number & _POSITIVE) % partitions) != partition:
                        wrong[key] = _rejected(right, partition)
    return wrong


def misplaced_or_late(
    keys: Iterable[bytes | None], partition: int, partitions: int, before: Sequence[int]
) -> tuple[dict[bytes, Rejected], set[bytes]]:
    """`misplaced`, without the keys that belonged in this partition when there were another number of them, one of
    `before`; and these. Their producers have not heard of the present number, as clients may not for minutes."""
    wrong = misplaced(keys, partition, partitions)
    late = {key for key in wrong if any(partition_of(key, count) == partition for count in before)}
    for key in late:
        del wrong[key]
    return wrong, late


def _rejected(right: int, wrong: int) -> Rejected:
    return Rejected(
        Reason.WRONG_PARTITION,
        f"Kafka's default partitioner (murmur2) gives this key partition {right}, not {wrong}: {REMEDY}",
    )


def murmur2(data: bytes) -> int:
    """The hash of a key as Kafka's Java client computes it, 32 bits without a sign."""
    whole = len(data) // 4
    found = _SEED ^ len(data)
    for word in unpack_from(f"<{whole}I", data):
        mixed = word * _MULTIPLIER & _WORD
        found = (found * _MULTIPLIER ^ (mixed ^ mixed >> 24) * _MULTIPLIER) & _WORD
    if len(data) % 4:
        found = (found ^ int.from_bytes(data[4 * whole :], "little")) * _MULTIPLIER & _WORD
    found = (found ^ found >> 13) * _MULTIPLIER & _WORD
    return found ^ found >> 15


def murmur2_of_each(keys: Sequence[bytes]) -> Sequence[int]:
    """`murmur2` of keys that are of one length.

    All are in one number, 64 bits for each, of which the upper half takes what a multiplication carries over and is
    cleared after it. So the steps of the hash are taken once for all keys, and not in Python for each.
    """
    if len(keys) < _FEW:
        return [murmur2(key) for key in keys]
    whole, rest = divmod(len(keys[0]), 4)
    fill = bytes(4 - rest) if rest else b""
    words = memoryview(fill.join(keys) + fill).cast("I")
    lanes = memoryview(bytearray(8 * len(keys)))
    lower = lanes.cast("I")[::2]
    each = int.from_bytes(b"\1\0\0\0\0\0\0\0" * len(keys), "little")
    clear = each * _WORD
    width = whole + bool(rest)
    found = each * (_SEED ^ len(keys[0]))
    for place in range(whole):
        lower[:] = words[place::width]
        mixed = int.from_bytes(lanes, "little") * _MULTIPLIER & clear
        found = (found * _MULTIPLIER ^ (mixed ^ mixed >> 24 & clear) * _MULTIPLIER) & clear
    if rest:
        lower[:] = words[whole::width]
        found = (found ^ int.from_bytes(lanes, "little")) * _MULTIPLIER & clear
    found = (found ^ found >> 13 & clear) * _MULTIPLIER & clear
    found ^= found >> 15 & clear
    return unpack(f"<{len(keys)}Q", found.to_bytes(8 * len(keys), "little"))
