"""A bound on the bytes of records that are unpacked at once.

What a fetch brings is bounded as it came, compressed; a record batch of 100 kB may hold some MB, and aiokafka unpacks
all that it has at every call, up to a number of records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from aiokafka.consumer import fetcher

from pipeline.kafka.packed_records import take

LeftToPython = Callable[[str, int], None]
"""Told why, and how many records."""


class Room:
    """How many bytes may still be unpacked in this call."""

    __slots__ = ("core", "left", "left_to_python")

    def __init__(
        self, max_bytes: int, core: ModuleType | None = None, left_to_python: LeftToPython | None = None
    ) -> None:
        """The compiled `core`, if there is one, unpacks; `left_to_python` is told what it leaves to aiokafka."""
        self.left = max_bytes
        self.core = core
        self.left_to_python = left_to_python


room: ContextVar[Room | None] = ContextVar("room", default=None)
"""To be set around a call of the consumer; without, there is no bound."""


_all_there_is = fetcher.FetchResult.getall


def within_room(result: Any, max_records: int | None = None) -> Sequence[Any]:
    """`FetchResult.getall`, but what there is no room for stays there, packed as it came.

    A record that is larger than all the room passes if it is the first.
    """
    within = room.get()
    if within is None:
        return list(_all_there_is(result, max_records))
    if within.left <= 0 or not result.has_more() or not result.check_assignment(result._topic_partition):
        return []
    most = max_records or 1 << 62
    if within.core is not None and (packed := take(result, within.core, most, within.left)) is not None:
        within.left -= packed.byte_count  # type: ignore[attr-defined]
        return packed
    left, found, records = within.left, [], result._partition_records
    for record in records:
        found.append(record)
        left -= len(record.value or b"") + len(record.key or b"")
        if left <= 0 or len(found) >= most:
            result._update_position()
            break
    else:
        result._update_position()
        result._partition_records = None
    within.left = left
    if within.core is not None and within.left_to_python is not None:
        within.left_to_python(records.left_why, len(found))
    return found
