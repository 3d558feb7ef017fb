"""Devices whose worker died between setting them aside and telling so.

Where a worker takes the partition over, the record comes again, and that one tells. Where the states are moved to other
partitions it comes to nobody who knows the device, so whoever moves them tells.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline import topics
from pipeline.formats.native.partitioner import partition_of
from pipeline.formats.record_time import record_time_ms
from pipeline.formats.rejected import Reason, Rejected
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.one_record import record_at
from pipeline.state.aside import ASIDE_SUFFIX, aside_of
from pipeline.state.moving import Plan
from pipeline.storage.dead_letter import DeadLetter, dead_letters_of
from pipeline.topics import TP


async def untold(
    connection: KafkaConnection, number: int, items: Mapping[bytes, bytes], done: int, work: Plan
) -> list[DeadLetter]:
    """The dead letters of devices of a partition that were set aside by a record at or above the stored offset `done`:
    what is below was acknowledged, and told before that. Raises `KafkaFailure`, and what reading a mark raises."""
    letters: list[DeadLetter] = []
    for key, value in items.items():
        device = key.removesuffix(ASIDE_SUFFIX)
        if device == key or partition_of(device, work.before) != number:
            continue
        aside = aside_of(value)
        # What counts from the new base was told of by whoever went on after the move.
        if not done <= aside.offset < work.offset_base:
            continue
        record = await record_at(connection, TP(topics.SDK_EVENTS, number), aside.offset - work.base_before)
        letters += dead_letters_of(
            topics.SDK_EVENTS,
            number,
            aside.offset,
            record_ms=record_time_ms(record.headers, record.timestamp) if record else 0,
            key=device,
            value=record.value if record else None,
            faults=[Rejected(Reason.DEVICE_SET_ASIDE, aside.detail)],
        )
    return letters
