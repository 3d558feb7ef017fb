"""Native envelopes under any key, as `native-events` takes them: what of a record goes on to `sdk-events`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import orjson

from pipeline.formats.envelope import Envelope
from pipeline.formats.format import NOTHING_BESIDE, Beside
from pipeline.formats.limits import MAX_CONTAINERS, MAX_EVENTS, MAX_RECORD_BYTES
from pipeline.formats.mending import Repairs, read_json
from pipeline.formats.native.array import elements_of, is_array
from pipeline.formats.native.events import decode
from pipeline.formats.native.key import key_of
from pipeline.formats.native.reading import notes_of
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import NativeRecord, Translation, too_large

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])


class _Part(NamedTuple):
    """Some of a record's events, in an envelope of their own."""

    places: Sequence[int]
    """Of its events in the record."""
    events: Sequence[msgspec.Raw]
    read: Envelope


def translate(
    value: bytes | None, record_ms: int, beside: Beside = NOTHING_BESIDE, /
) -> Translation | Rejected:
    """The envelopes of one record under their right key, and what was refused; `record_ms` is its time, Unix ms.

    A sound envelope of at most 500 events goes on byte for byte. One of more is split, every part with all that the
    envelope says besides; what is refused is left out of it. What goes on is never refused at the same record time.
    Never raises because of the record; does not block.
    """
    key = key_of(value) if value else None
    whole = decode(value, key, record_ms)
    if isinstance(whole, Rejected) and (key is None or whole.reason is not Reason.TOO_MANY_EVENTS):
        return _fault_of_array(value) or whole
    assert key is not None and value is not None, "decode refuses a record without a key or a value"
    if isinstance(whole, Envelope) and not whole.refused:
        return Translation([NativeRecord(key, value)], [])
    mended = read_json(value, MAX_RECORD_BYTES)
    assert not isinstance(mended, Rejected), "decode has read it"
    fields = _fields.decode(mended.value)
    listed = _list.decode(fields.pop("events"))
    if len(listed) > MAX_CONTAINERS:
        # An event is an object, and there are no more of those in a record.
        return Rejected(
            Reason.TOO_MANY_EVENTS, f"events: at most {MAX_CONTAINERS} in a record, not {len(listed)}"
        )
    events = _told(listed, notes_of(mended).repairs)
    cuts, refused = _cut(events, MAX_RECORD_BYTES - len(_envelope(fields, ())))
    parts = _read(fields, events, cuts, key, record_ms)
    if isinstance(parts, Rejected):
        return parts
    refused += [_at(fault, part.places) for part in parts for fault in part.read.refused]
    refused.sort(key=lambda fault: fault.event_index or 0)
    kept = [list(_sound(part)) for part in parts]
    shifts = {
        part.read.events[0].time_ms - _stamp(sound[0])
        for part, sound in zip(parts, kept, strict=True)
        if sound
    }
    if len(shifts) > 1:
        # Only one part has the latest event, by which a fast clock is known: what is right for it is so for all.
        fields.pop("sent_at", None)
        kept = [[_shifted(event, min(shifts)) for event in sound] for sound in kept]
    return Translation([record for sound in kept for record in _records(fields, sound, key)], refused)


def _fault_of_array(value: bytes | None) -> Rejected | None:
    """What HTTP says of an array that it cannot take apart, and so hands on as it is; None of all else."""
    found = elements_of(value) if value and is_array(value) else ()
    return found if isinstance(found, Rejected) else None


def told(value: bytes) -> bytes | None:
    """An envelope, or what should be one, with single values mended, and of each event the places of what was repaired
    of it; None if it is not JSON object even then."""
    mended = read_json(value, None)
    if isinstance(mended, Rejected):
        return None
    if not isinstance(mended.tree.get("events"), list):
        return mended.value
    fields = _fields.decode(mended.value)
    return _envelope(fields, _told(_list.decode(fields.pop("events")), notes_of(mended).repairs))


def _told(events: Sequence[msgspec.Raw], repairs: Repairs) -> list[msgspec.Raw]:
    """The events, each with the places of what was repaired of it: in what goes on nothing needs it any more."""
    if not repairs:
        return list(events)
    return [_with_places(event, repairs.of(index)) for index, event in enumerate(events)]


def _with_places(event: msgspec.Raw, places: Sequence[str]) -> msgspec.Raw:
    if not places or bytes(event)[:1] != b"{":
        return event
    return msgspec.Raw(msgspec.json.encode({**_fields.decode(event), "repaired": list(places)}))


def _stamp(event: msgspec.Raw) -> int:
    """The time of a sound event: the last one, where it is said twice."""
    return int(orjson.loads(bytes(_fields.decode(event)["time"])))


def _shifted(event: msgspec.Raw, shift_ms: int) -> msgspec.Raw:
    """The event with its time corrected, and the uncorrected one beside it."""
    stamp_ms, said = _stamp(event), _fields.decode(event)
    raw_time = said.get("raw_time", stamp_ms)
    return msgspec.Raw(msgspec.json.encode({**said, "time": stamp_ms + shift_ms, "raw_time": raw_time}))


def _records(fields: dict[str, msgspec.Raw], events: list[msgspec.Raw], key: bytes) -> list[NativeRecord]:
    """The events under all else that the record says, in one envelope; in several, where they have grown too large."""
    if not events:
        return []
    value = _envelope(fields, events)
    if len(value) <= MAX_RECORD_BYTES or len(events) == 1:
        return [NativeRecord(key, value)]
    half = len(events) // 2
    return [*_records(fields, events[:half], key), *_records(fields, events[half:], key)]


def _cut(events: Sequence[msgspec.Raw], room: int) -> tuple[list[list[int]], list[Rejected]]:
    """The places of the events that go into one envelope each, which has so much room, and those that are too large:
    what was mended may be longer than what came."""
    cuts: list[list[int]] = []
    refused: list[Rejected] = []
    used = 0
    for place, event in enumerate(events):
        size = len(bytes(event))
        if size > room:
            refused.append(too_large(place, size, room))
            continue
        if not cuts or len(cuts[-1]) == MAX_EVENTS or used + size > room:
            cuts.append([])
            used = 0
        cuts[-1].append(place)
        used += size + 1
    return cuts, refused


def _read(
    fields: dict[str, msgspec.Raw],
    events: Sequence[msgspec.Raw],
    cuts: Sequence[Sequence[int]],
    key: bytes,
    record_ms: int,
) -> list[_Part] | Rejected:
    """The parts that the events are cut into; or what the envelope is refused for, in any of them."""
    parts = []
    for places in cuts:
        some = [events[place] for place in places]
        read = decode(_envelope(fields, some), key, record_ms)
        if isinstance(read, Rejected):
            return read
        parts.append(_Part(places, some, read))
    return parts


def _envelope(fields: dict[str, msgspec.Raw], events: Sequence[msgspec.Raw]) -> bytes:
    """An envelope of these events and of all else that the record says."""
    head = msgspec.json.encode(fields)[:-1] + (b',"events":[' if fields else b'"events":[')
    return head + b",".join(map(bytes, events)) + b"]}"


def _sound(part: _Part) -> Iterator[msgspec.Raw]:
    bad = {fault.event_index for fault in part.read.refused}
    return (event for place, event in enumerate(part.events) if place not in bad)


def _at(fault: Rejected, places: Sequence[int]) -> Rejected:
    """A fault of a part, told by the event's place in the record."""
    if fault.event_index is None:
        return fault
    place = places[fault.event_index]
    detail = fault.detail.replace(f"events[{fault.event_index}]", f"events[{place}]", 1)
    return Rejected(fault.reason, detail, place)
