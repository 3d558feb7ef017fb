"""Copies of events that may be stamped otherwise than the ones that came first: what is told of them.

Not of every duplicate: one that is sent again as it was meets the first one where it is stored. What its stamp was the
state does not know; it knows the corrected time, and until when stamps may differ from that. So nothing is told where
both have the same time and neither was corrected. To tell more than is needed does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.formats import native
from pipeline.formats.native.cleaner import AS_IT_CAME, Cleaner
from pipeline.formats.record_time import WAS_REFUSED, record_time_ms
from pipeline.formats.rejected import Rejected
from pipeline.state.device import Copy
from pipeline.state.effects import Fields
from pipeline.state.outbox import split_key
from pipeline.state.tail import UNTOLD
from pipeline.storage.event_copies import EventCopy, value_of


def told_copies(
    key: bytes, fields: Fields, copies: Sequence[Copy], corrected_ms: int, cleaner: Cleaner = AS_IT_CAME
) -> list[tuple[bytes, bytes]]:
    """Keys and values for `event-copies`, of the copies that records of a device brought.

    `fields` are the records, and the `cleaner` that by which their events were taken. Times up to `corrected_ms` may
    have been corrected, those of the copies or those of the events that came first. A value follows from its record
    alone, but for how many of its copies it tells of.
    """
    suspects: dict[int, list[Copy]] = {}
    for copy in copies:
        if copy.first_ms != copy.time_ms or copy.time_ms <= corrected_ms:
            suspects.setdefault(copy.offset, []).append(copy)
    if not suspects:
        return []
    app_id, device_id = split_key(key)
    told = []
    each = iter(fields)
    for offset, record_ms, value, headers in zip(each, each, each, each, strict=True):
        some = suspects.get(offset, [])
        if headers and any(name == WAS_REFUSED for name, _ in headers):
            some = [copy for copy in some if _was_another(copy)]
        if some:
            # Once more, for the stamps: what is folded of a record does not have them.
            envelope = native.decode(value, key, record_time_ms(headers or (), record_ms), cleaner)
            assert not isinstance(envelope, Rejected), "events were taken of it"
            found = [(envelope.events[copy.place], copy.place) for copy in some]
            named = [EventCopy(event.id, event.raw_time_ms, place) for event, place in found]
            told.append((key, value_of(app_id, device_id, offset=offset, record_ms=record_ms, copies=named)))
    return told


def _was_another(copy: Copy) -> bool:
    """Whether a copy in a record that was refused is surely not of the event that this record brought before.

    That one was folded, but ClickHouse may have refused its row: then this copy is the only one that is stored.
    """
    return copy.first_ms not in (None, UNTOLD, copy.time_ms)
