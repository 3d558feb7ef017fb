"""Native envelopes under any key, as `native-events` takes them: what of a record goes on to `sdk-events`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from pipeline.formats.envelope import Envelope
from pipeline.formats.limits import MAX_EVENTS
from pipeline.formats.native.events import decode
from pipeline.formats.native.key import key_of
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import NativeRecord, Translation

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])


class _Stamped(msgspec.Struct):
    time: int | float


_stamped = msgspec.json.Decoder(_Stamped)


class _Part(NamedTuple):
    """Some of a record's events, in an envelope of their own."""

    start: int
    """The place of its first event in the record."""
    events: Sequence[msgspec.Raw]
    read: Envelope


def translate(value: bytes | None, record_ms: int) -> Translation | Rejected:
    """The envelopes of one record under their right key, and what was refused; `record_ms` is its time, Unix ms.

    A sound envelope of at most 500 events goes on byte for byte. One of more is split, every part with all that the
    envelope says besides; what is refused is left out of it. What goes on is never refused at the same record time.
    Never raises because of the record; does not block.
    """
    key = key_of(value) if value else None
    whole = decode(value, key, record_ms)
    if isinstance(whole, Rejected) and (key is None or whole.reason is not Reason.TOO_MANY_EVENTS):
        return whole
    assert key is not None and value is not None, "decode refuses a record without a key or a value"
    if isinstance(whole, Envelope) and not whole.refused:
        return Translation([NativeRecord(key, value)], [])
    fields = _fields.decode(value)
    events = _list.decode(fields.pop("events"))
    parts = _read(fields, events, key, record_ms)
    if not isinstance(parts, Rejected) and _keep_together(fields, parts, record_ms):
        parts = _read(fields, events, key, record_ms)
    if isinstance(parts, Rejected):
        return parts
    records = [NativeRecord(key, _envelope(fields, kept)) for part in parts if (kept := list(_sound(part)))]
    return Translation(records, [_at(fault, part.start) for part in parts for fault in part.read.refused])


def _read(
    fields: dict[str, msgspec.Raw], events: Sequence[msgspec.Raw], key: bytes, record_ms: int
) -> list[_Part] | Rejected:
    """The parts that the events are cut into; or what the envelope is refused for, in any of them."""
    parts = []
    for start in range(0, len(events), MAX_EVENTS):
        some = events[start : start + MAX_EVENTS]
        read = decode(_envelope(fields, some), key, record_ms)
        if isinstance(read, Rejected):
            return read
        parts.append(_Part(start, some, read))
    return parts


def _envelope(fields: dict[str, msgspec.Raw], events: Sequence[msgspec.Raw]) -> bytes:
    """An envelope of these events and of all else that the record says."""
    return msgspec.json.encode(fields)[:-1] + b',"events":[' + b",".join(map(bytes, events)) + b"]}"


def _sound(part: _Part) -> Iterator[msgspec.Raw]:
    bad = {fault.event_index for fault in part.read.refused}
    return (event for place, event in enumerate(part.events) if place not in bad)


def _at(fault: Rejected, start: int) -> Rejected:
    """A fault of a part, told by the event's place in the record."""
    if not start or fault.event_index is None:
        return fault
    place = fault.event_index + start
    detail = fault.detail.replace(f"events[{fault.event_index}]", f"events[{place}]", 1)
    return Rejected(fault.reason, detail, place)


def _keep_together(fields: dict[str, msgspec.Raw], parts: Sequence[_Part], record_ms: int) -> bool:
    """Let the clock that a record's parts share be corrected alike in all of them; whether that takes a change.

    A clock that is fast is known by the latest event where no `sent_at` tells it, and only one part has that event: all
    get the `sent_at` that this clock would have said.
    """
    shifts = {
        part.read.events[0].time_ms - int(_stamped.decode(next(_sound(part))).time)
        for part in parts
        if part.read.events
    }
    if len(shifts) < 2 or (shift_ms := min(shifts)) >= 0:
        return False
    fields["sent_at"] = msgspec.Raw(str(record_ms - shift_ms).encode())
    return True
