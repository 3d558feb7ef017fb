"""A record of `sdk-events` to the envelope in it: the quick way that most records take, and the thorough one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from pipeline.formats.checks import rejected_id, rejected_seconds, rejected_stamp
from pipeline.formats.clocks import is_in_seconds
from pipeline.formats.envelope import VERSION
from pipeline.formats.identity import canonical_resource, canonical_user
from pipeline.formats.limits import (
    FIRST_SECONDS,
    LAST_SECONDS,
    MAX_CONTAINERS,
    MAX_EVENTS,
    MAX_NESTING,
    MAX_RECORD_BYTES,
    MAX_SEQ,
    MAX_STAMP_MS,
)
from pipeline.formats.mending import MAX_PLACE_CHARS, NO_REPAIRS, Repairs, bounded, read_json, repairs_of
from pipeline.formats.mending import Read as ReadJson
from pipeline.formats.native.cleaner import AS_IT_CAME, Cleaner
from pipeline.formats.native.schema import (
    NOTHING,
    PlainEnvelope,
    RawEnvelope,
    RawEvent,
    WireEnvelope,
    WireEvent,
)
from pipeline.formats.rejected import Reason, Rejected

_decode_envelope = msgspec.json.Decoder(WireEnvelope).decode
_decode_plain = msgspec.json.Decoder(PlainEnvelope).decode

_raw_envelope = msgspec.json.Decoder(RawEnvelope)
_raw_events = msgspec.json.Decoder(list[msgspec.Raw])
_raw_event = msgspec.json.Decoder(RawEvent)

_LEVELS_OF_EVENT = 3
"""The envelope, its list of events, and the event around its attributes."""

Sound = tuple[WireEnvelope, list[int], list[Rejected]]
"""An envelope with its sound events, their indexes, and what was refused of the rest."""

Names = tuple[str, str]
"""App and device."""


class Notes(NamedTuple):
    """What is to be kept of events besides what they say, by index."""

    raw_times: Mapping[int, int]
    """As their devices stamped them, of those whose time is corrected already (field `raw_time`)."""
    repairs: Repairs
    """What was repaired of them, here or by those who sent them (field `repaired`)."""


NO_NOTES = Notes({}, NO_REPAIRS)

Read = tuple[WireEnvelope, Sequence[int] | None, Sequence[Rejected], str, str, Notes]
"""The envelope; the places of its events, None if all are there; those that were refused; resource and user in
canonical form; what else is to be kept."""

_HEAD = ("app_id", "device_id", "batch_id", "sent_at", "resource", "user")
_OF_EVENT = frozenset(("id", "name", "time", "seq", "session_id", "attributes"))
"""What is read, besides `v`. What is mended in other fields, which are ignored, is not worth telling."""


def names_of(key: bytes | None) -> Names | None:
    """The app and device that a record of this key has to name; None if no sound record has it."""
    if key is None or b"\0" in key:
        return None
    try:
        app_id, slash, device_id = key.decode().partition("/")
    except UnicodeDecodeError:
        return None
    return (app_id, device_id) if slash else None


def read_plain(value: bytes | None, names: Names | None, cleaner: Cleaner = AS_IT_CAME) -> Read | None:
    """A record without a fault in a form that needs no second look; None for all others, sound or not.

    Raises `orjson.JSONDecodeError` if resource or user are not strict JSON, and so the whole record is not either.
    """
    wire = plain_envelope(value, names)
    texts = None if wire is None else texts_of(wire, cleaner)
    return None if wire is None or texts is None else (wire, None, (), *texts, NO_NOTES)


def plain_envelope(value: bytes | None, names: Names | None) -> WireEnvelope | None:
    """The envelope of `read_plain`.

    Typed decoding judges what it decodes as strictly as `parse`. What it passes over is not: so the text must be UTF-8
    and have no field that is not known, and resource, user and attributes are parsed where they are used.
    """
    if not value or names is None or len(value) > MAX_RECORD_BYTES:
        return None
    # Each level takes a bracket to open and one to close.
    openings = value.count(b"{") + value.count(b"[") if len(value) > 2 * MAX_NESTING else 0
    if openings > MAX_CONTAINERS:
        return None
    try:
        if not value.isascii():
            value.decode()
        wire = _decode_plain(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if (
        wire.v != VERSION
        or wire.app_id != names[0]
        or wire.device_id != names[1]
        or not 0 < len(wire.events) <= MAX_EVENTS
        # As `is_in_seconds`, without the call, which would be made for every record.
        or (wire.sent_at is not None and FIRST_SECONDS <= wire.sent_at <= LAST_SECONDS)
        or (openings > MAX_NESTING and _may_be_too_deep(wire, openings))
    ):
        return None
    return wire


def _may_be_too_deep(wire: WireEnvelope, openings: int) -> bool:
    """Whether levels may go beyond the limit, in an envelope of so many opening brackets, those in texts included.

    What is opened in one part closes in it. So no part is deeper than it has brackets, nor is what was passed over,
    where a field stands twice, deeper than there are brackets left.
    """
    most = MAX_NESTING - _LEVELS_OF_EVENT
    left = openings - 2 - len(wire.events)
    if left <= most:
        return False
    for part in (wire.resource, wire.user, *[event.attributes for event in wire.events]):
        text = bytes(part)
        count = text.count(b"{") + text.count(b"[")
        if count > most:
            return True
        left -= count
    return left > most


def texts_of(wire: WireEnvelope, cleaner: Cleaner = AS_IT_CAME) -> tuple[str, str] | None:
    """Resource and user in canonical form; None if there is a fault in one. Raises as `read_plain` does."""
    resource = cleaner.resource(bytes(wire.resource))
    user = "" if wire.user is NOTHING else cleaner.user(bytes(wire.user))
    return (resource, user) if type(resource) is str and type(user) is str else None


def read_closely(value: bytes | None, key: bytes | None, cleaner: Cleaner = AS_IT_CAME) -> Read | Rejected:
    """What the rules leave of any record: parsed whole, single values mended, all else that is wrong with it named."""
    read = read_json(value, MAX_RECORD_BYTES)
    if isinstance(read, Rejected):
        return read
    came = read
    if not cleaner.is_idle:
        cleaned = cleaner.record(read.value)
        # What was mended is told by what came.
        read = ReadJson(cleaned, orjson.loads(cleaned), None)
    indexes: Sequence[int] | None = None
    refused: Sequence[Rejected] = ()
    try:
        wire = _decode_envelope(read.value)
    except msgspec.ValidationError:
        sound = _sound_parts(read.value, read.tree)
        if isinstance(sound, Rejected):
            return sound
        wire, indexes, refused = sound
    fault = _fault_of_envelope(wire, key, len(wire.events) + len(refused))
    if fault is not None:
        return fault
    resource = canonical_resource(bytes(wire.resource))
    user = canonical_user(bytes(wire.user))
    if isinstance(resource, Rejected):
        return resource
    if isinstance(user, Rejected):
        return user
    return wire, indexes, refused, resource, user, notes_of(came)


def notes_of(read: ReadJson) -> Notes:
    """The router alone writes these fields. What cannot be meant by one is ignored, as fields are that nobody knows."""
    repairs = repairs_of(read, _HEAD, _OF_EVENT)
    raw_times: dict[int, int] = {}
    repaired = dict(repairs.events)
    for index, event in enumerate(read.tree["events"]):
        if not isinstance(event, dict):
            continue
        raw_time, said = event.get("raw_time"), event.get("repaired")
        if type(raw_time) is int and 0 <= raw_time <= MAX_STAMP_MS:
            raw_times[index] = raw_time
        if isinstance(said, list):
            places = [each for each in said if isinstance(each, str) and 0 < len(each) <= MAX_PLACE_CHARS]
            repaired[index] = bounded((*places, *repaired.get(index, ())))
    return Notes(raw_times, Repairs(repairs.head, repaired)) if raw_times or repairs or repaired else NO_NOTES


def _fault_of_envelope(wire: WireEnvelope, key: bytes | None, event_count: int) -> Rejected | None:
    """What typed decoding cannot see. Version first: another may mean other things by the same names."""
    if wire.v != VERSION:
        return Rejected(Reason.UNKNOWN_VERSION, f"v: {VERSION}, not {wire.v}")
    if wire.sent_at is not None and is_in_seconds(wire.sent_at):
        return rejected_seconds(wire.sent_at, "sent_at")
    app_id = wire.app_id
    right_key = f"{app_id}/{wire.device_id}".encode()
    if key == right_key and b"\0" not in right_key and "/" not in app_id:
        return fault_of_event_count(event_count)
    fault = rejected_id(wire.app_id, "app_id", forbidden="/\0") or rejected_id(wire.device_id, "device_id")
    if fault is not None:
        return fault
    if key != right_key:
        return Rejected(
            Reason.KEY_MISMATCH, "the record's key must be app_id/device_id of its envelope, in UTF-8"
        )
    return fault_of_event_count(event_count)


def _sound_parts(value: bytes, tree: dict[str, Any]) -> Sound | Rejected:
    """What is sound in a record that typed decoding refused: fault by fault, with exact reasons.

    `tree` is the parsed `value`. Refuses the record whole for a fault of the envelope.
    """
    _make_whole(tree, ("v", "sent_at"))
    fault = _fault_of_version(tree.get("v")) or _fault_of_head(tree)
    if fault is not None:
        return fault
    raw = _raw_envelope.decode(value)
    events: list[WireEvent] = []
    indexes: list[int] = []
    refused: list[Rejected] = []
    pairs = zip(tree["events"], _raw_events.decode(raw.events), strict=True)
    for index, (event, raw_event) in enumerate(pairs):
        _make_whole(event, ("time", "seq"))
        fault = _fault_of_event(event, index)
        if fault is not None:
            refused.append(fault)
            continue
        attributes = _raw_event.decode(raw_event).attributes
        events.append(
            WireEvent(
                event["id"],
                event["name"],
                event["time"],
                event.get("seq"),
                event.get("session_id"),
                attributes,
            )
        )
        indexes.append(index)
    envelope = WireEnvelope(
        v=VERSION,
        app_id=tree["app_id"],
        device_id=tree["device_id"],
        events=events,
        batch_id=tree.get("batch_id"),
        sent_at=tree.get("sent_at"),
        resource=raw.resource,
        user=raw.user,
    )
    return envelope, indexes, refused


def _make_whole(tree: object, names: Sequence[str]) -> None:
    """Put integers, in place, where an object has floats of a whole value, which JSON does not tell apart."""
    if isinstance(tree, dict):
        for name in names:
            number = tree.get(name)
            if isinstance(number, float) and number.is_integer():
                tree[name] = int(number)


def _fault_of_version(version: object) -> Rejected | None:
    if version is None:
        return Rejected(
            Reason.MISSING_FIELD, f"v: required, {VERSION}, in an object with app_id, device_id and events"
        )
    if type(version) is not int:
        return Rejected(Reason.INVALID_TYPE, f"v: the integer {VERSION}")
    if version != VERSION:
        return Rejected(Reason.UNKNOWN_VERSION, f"v: {VERSION}, not {version}")
    return None


def _fault_of_head(tree: dict[str, Any]) -> Rejected | None:
    fault = (
        _fault_of_own_id(tree, "app_id", forbidden="/\0")
        or _fault_of_own_id(tree, "device_id", forbidden="\0")
        or _fault_of_optional_id(tree.get("batch_id"), "batch_id")
        or _fault_of_number(tree.get("sent_at"), "sent_at", MAX_STAMP_MS, Reason.TIME_OUT_OF_RANGE)
    )
    if fault is not None:
        return fault
    if tree.get("events") is None:
        return Rejected(Reason.MISSING_FIELD, "events: required, an array")
    if not isinstance(tree["events"], list):
        return Rejected(Reason.INVALID_TYPE, "events: an array")
    return fault_of_event_count(len(tree["events"]))


def _fault_of_own_id(tree: dict[str, Any], name: str, forbidden: str) -> Rejected | None:
    """The fault of an id of the envelope; of one that is not there, under which name it may have been meant."""
    fault = rejected_id(tree.get(name), name, forbidden=forbidden)
    if fault is None or fault.reason is not Reason.MISSING_FIELD:
        return fault
    meant = next((each for each in tree if _folded(each) == _folded(name) and each != name), None)
    said = f"; {meant[:MAX_PLACE_CHARS]} is ignored: the name is {name}" if meant else ""
    return Rejected(fault.reason, fault.detail + said)


def _folded(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def fault_of_event_count(count: int) -> Rejected | None:
    """The fault of a list of so many events. Asked before any of them is looked at."""
    if not count:
        return Rejected(Reason.NO_EVENTS, f"events: 1 to {MAX_EVENTS} events")
    if count > MAX_EVENTS:
        return Rejected(Reason.TOO_MANY_EVENTS, f"events: 1 to {MAX_EVENTS} events, not {count}")
    return None


def _fault_of_event(event: object, index: int) -> Rejected | None:
    path = f"events[{index}]"
    if not isinstance(event, dict):
        return Rejected(Reason.INVALID_TYPE, f"{path}: an object", index)
    if event.get("time") is None:
        return Rejected(Reason.MISSING_FIELD, f"{path}.time: required, Unix milliseconds", index)
    return (
        rejected_id(event.get("id"), f"{path}.id", index=index)
        or _fault_of_name(event.get("name"), f"{path}.name", index)
        or _fault_of_number(event["time"], f"{path}.time", MAX_STAMP_MS, Reason.TIME_OUT_OF_RANGE, index)
        or _fault_of_number(event.get("seq"), f"{path}.seq", MAX_SEQ, Reason.INVALID_VALUE, index)
        or _fault_of_optional_id(event.get("session_id"), f"{path}.session_id", index)
    )


def _fault_of_name(value: object, path: str, index: int) -> Rejected | None:
    if value is None:
        return Rejected(Reason.MISSING_FIELD, f"{path}: required, a string", index)
    if not isinstance(value, str):
        return Rejected(Reason.INVALID_TYPE, f"{path}: a string", index)
    return None if value else Rejected(Reason.INVALID_VALUE, f"{path}: at least one character", index)


def _fault_of_optional_id(value: object, path: str, index: int | None = None) -> Rejected | None:
    return None if value is None or value == "" else rejected_id(value, path, forbidden="", index=index)


def _fault_of_number(
    value: object, path: str, highest: int, reason: Reason, index: int | None = None
) -> Rejected | None:
    """The fault of an optional whole number; `reason` is for one that is out of 0 to `highest`."""
    if value is None:
        return None
    if type(value) is not int:
        what = "an integer of Unix milliseconds" if highest == MAX_STAMP_MS else "an integer"
        return Rejected(Reason.INVALID_TYPE, f"{path}: {what}, 0 to {highest}", index)
    if 0 <= value <= highest:
        return None
    if highest == MAX_STAMP_MS:
        return rejected_stamp(value, path, reason, index)
    return Rejected(reason, f"{path}: 0 to {highest}", index)
