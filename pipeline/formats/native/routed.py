"""Native envelopes under any key, as `native-events` takes them: what of a record goes on to `sdk-events`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from pipeline.formats.envelope import Envelope
from pipeline.formats.limits import MAX_EVENTS, MAX_RECORD_BYTES
from pipeline.formats.mending import Read, bounded, read_json
from pipeline.formats.native.events import decode
from pipeline.formats.native.key import key_of
from pipeline.formats.native.reading import repairs_in
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import NativeRecord, Translation, too_large

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])


class _Stamped(msgspec.Struct):
    time: int | float


_stamped = msgspec.json.Decoder(_Stamped)


class _Part(NamedTuple):
    """Some of a record's events, in an envelope of their own."""

    places: Sequence[int]
    """Of its events in the record."""
    events: Sequence[bytes]
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
    read = read_json(value, MAX_RECORD_BYTES)
    assert not isinstance(read, Rejected), "decode read it"
    fields = _fields.decode(read.value)
    events = _told(_list.decode(fields.pop("events")), read)
    found = _read(fields, events, key, record_ms)
    if not isinstance(found, Rejected) and _keep_together(fields, found[0], record_ms):
        found = _read(fields, events, key, record_ms)
    if isinstance(found, Rejected):
        return found
    parts, refused = found
    refused += [_at(fault, part.places) for part in parts for fault in part.read.refused]
    records = [NativeRecord(key, _envelope(fields, kept)) for part in parts if (kept := list(_sound(part)))]
    return Translation(records, sorted(refused, key=lambda fault: fault.event_index or 0))


def _told(events: Sequence[msgspec.Raw], read: Read) -> list[bytes]:
    """The events, each with what was mended of it: who reads them later finds nothing to mend."""
    repairs = repairs_in(read)
    told = []
    for place, (came, event) in enumerate(zip(events, read.tree["events"], strict=True)):
        raw = bytes(came)
        places = repairs.of(place) if isinstance(event, dict) and event else ()
        if not places:
            told.append(raw)
            continue
        said = event.get("repaired")
        before = [each for each in said if isinstance(each, str)] if isinstance(said, list) else []
        more = msgspec.json.encode(bounded((*before, *places)))
        # Of a field that is there twice the last one counts.
        told.append(raw[:-1] + b',"repaired":' + more + b"}")
    return told


def _read(
    fields: dict[str, msgspec.Raw], events: Sequence[bytes], key: bytes, record_ms: int
) -> tuple[list[_Part], list[Rejected]] | Rejected:
    """The parts that the events are cut into, and those that are too large; or what the envelope is refused for."""
    room = MAX_RECORD_BYTES - len(_envelope(fields, ()))
    cuts: list[list[int]] = []
    refused: list[Rejected] = []
    used = 0
    for place, event in enumerate(events):
        if len(event) > room:
            # What was mended is longer than what came.
            refused.append(too_large(place, len(event), room))
            continue
        if not cuts or len(cuts[-1]) == MAX_EVENTS or used + len(event) > room:
            cuts.append([])
            used = 0
        cuts[-1].append(place)
        used += len(event) + 1
    parts = []
    for places in cuts:
        some = [events[place] for place in places]
        read = decode(_envelope(fields, some), key, record_ms)
        if isinstance(read, Rejected):
            return read
        parts.append(_Part(places, some, read))
    return parts, refused


def _envelope(fields: dict[str, msgspec.Raw], events: Sequence[bytes]) -> bytes:
    """An envelope of these events and of all else that the record says."""
    return msgspec.json.encode(fields)[:-1] + b',"events":[' + b",".join(events) + b"]}"


def _sound(part: _Part) -> Iterator[bytes]:
    bad = {fault.event_index for fault in part.read.refused}
    return (event for place, event in enumerate(part.events) if place not in bad)


def _at(fault: Rejected, places: Sequence[int]) -> Rejected:
    """A fault of a part, told by the event's place in the record."""
    if fault.event_index is None:
        return fault
    place = places[fault.event_index]
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
