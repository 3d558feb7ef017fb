"""The native envelope: one record of `sdk-events`, the events of one device."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson

from pipeline.domain.event import RANK, Event, Kind
from pipeline.wire.faults import fault_of_id, fault_of_time
from pipeline.wire.identity import canonical_resource, canonical_user
from pipeline.wire.limits import (
    CLOCK_TOLERANCE_MS,
    MAX_AHEAD_MS,
    MAX_EVENTS,
    MAX_NESTING,
    MAX_RECORD_BYTES,
    MIN_TIME_MS,
)
from pipeline.wire.native_form import (
    NOTHING,
    VERSION,
    PlainEnvelope,
    WireEnvelope,
    WireEvent,
    fault_of_event_count,
    sound_parts,
)
from pipeline.wire.parse import parse
from pipeline.wire.rejected import Reason, Rejected
from pipeline.wire.semantics import Meaning, interpret, meaning_without_attributes

_new = tuple.__new__
_NO_ATTRIBUTES = (b"", b"null")
_decode_envelope = msgspec.json.Decoder(WireEnvelope).decode
_decode_plain = msgspec.json.Decoder(PlainEnvelope).decode


class NativeEvent(msgspec.Struct, gc=False):
    """One event as it came, with what it means to a session. Times are Unix milliseconds."""

    id: str
    name: str
    time_ms: int
    """Corrected by the sender's clock."""
    raw_time_ms: int
    """As the device stamped it."""
    seq: int
    client_session_id: str
    kind: Kind
    exit_reason: str
    counters: int
    """Bit set over domain COUNTERS."""
    attributes: bytes
    """The JSON object exactly as it came; `{}` if there was none."""


class Envelope(msgspec.Struct):
    """What one record holds: the good events of one device, and what was refused of it."""

    app_id: str
    device_id: str
    batch_id: str
    sent_at: int | None
    received_at_ms: int
    resource: str
    """Canonical JSON."""
    user: str
    """Canonical JSON, empty if the envelope names no user."""
    events: list[NativeEvent]
    refused: list[Rejected]
    """One for each event that is not in `events`, in order, each with its index."""


def decode(value: bytes | None, key: bytes | None, record_ms: int) -> Envelope | Rejected:
    """Read one record; `record_ms` is the broker's record time, Unix milliseconds.

    A fault of the envelope (version, ids, limits, key, resource, user) refuses the record whole; a fault of
    an event refuses that event alone. Never raises because of the record; does not block.
    """
    try:
        read = _read_plain(value, names_of(key)) or _read_closely(value, key)
        if isinstance(read, Rejected):
            return read
        wire, indexes, refused, resource, user = read
        events, more_refused = _interpreted(wire, indexes, record_ms)
    except orjson.JSONDecodeError:
        return _refused_closely(value, key)
    if more_refused and refused:
        more_refused = sorted([*refused, *more_refused], key=_index)
    return Envelope(
        app_id=wire.app_id,
        device_id=wire.device_id,
        batch_id=wire.batch_id or "",
        sent_at=wire.sent_at,
        received_at_ms=record_ms,
        resource=resource,
        user=user,
        events=events,
        refused=more_refused or list(refused),
    )


def decode_events(
    value: bytes | None, key: bytes | None, record_ms: int
) -> tuple[list[Event], int] | Rejected:
    """The events of a record as the fold sees them, in its order, and how many were refused.

    What `decode` and `to_events` give, without the parts that only storage needs.
    """
    return events_of(value, key, names_of(key), record_ms)


def events_of(
    value: bytes | None, key: bytes | None, names: Names | None, record_ms: int
) -> tuple[list[Event], int] | Rejected:
    """`decode_events` for one of several records with the same key, whose `names_of` is known."""
    try:
        read = _read_plain(value, names) or _read_closely(value, key)
        if isinstance(read, Rejected):
            return read
        return _events_of(read, record_ms)
    except orjson.JSONDecodeError:
        return _refused_closely(value, key)


def names_of(key: bytes | None) -> Names | None:
    """The app and device that a record of this key has to name; None if no sound record has it."""
    if key is None or b"\0" in key:
        return None
    try:
        app_id, slash, device_id = key.decode().partition("/")
    except UnicodeDecodeError:
        return None
    return (app_id, device_id) if slash else None


def _events_of(read: _Read, record_ms: int) -> tuple[list[Event], int]:
    wire, _, refused, resource, user = read
    shift_ms = 0 if wire.sent_at is None else _shift_ms(wire.sent_at, record_ms)
    latest_ms = record_ms + MAX_AHEAD_MS
    events: list[Event] = []
    for event in wire.events:
        understood = _understood(event, shift_ms, latest_ms)
        if understood is not None:
            time_ms, _, (kind, exit_reason, counters) = understood
            events.append(
                _new(
                    Event,
                    (time_ms, RANK[kind], event.seq or 0, event.id, kind, event.session_id or "", exit_reason,
                     counters, resource, user),
                )
            )  # fmt: skip
    return events, len(refused) + len(wire.events) - len(events)


def to_events(envelope: Envelope) -> list[Event]:
    """The events as the fold sees them, in the order of the envelope."""
    resource, user = envelope.resource, envelope.user
    return [
        Event(
            e.time_ms,
            RANK[e.kind],
            e.seq,
            e.id,
            e.kind,
            e.client_session_id,
            e.exit_reason,
            e.counters,
            resource,
            user,
        )
        for e in envelope.events
    ]


Names = tuple[str, str]
"""App and device."""
_Read = tuple[WireEnvelope, Sequence[int] | None, Sequence[Rejected], str, str]
"""The envelope; the places of its events, None if all are there; those that were refused; resource and user in
canonical form."""


def _read_plain(value: bytes | None, names: Names | None) -> _Read | None:
    """A record without a fault in a form that needs no second look; None for all others, sound or not.

    Typed decoding judges what it decodes as strictly as `parse`. What it passes over is not: so the text must be UTF-8
    and have no field that is not known, and resource, user and attributes are parsed where they are used.
    """
    if not value or names is None or len(value) > MAX_RECORD_BYTES:
        return None
    if len(value) > 2 * MAX_NESTING and value.count(b"{") + value.count(b"[") > MAX_NESTING:
        return None
    try:
        if not value.isascii():
            value.decode()
        wire = _decode_plain(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if (
        wire.v != VERSION
        or wire.app_id != names[0]
        or wire.device_id != names[1]
        or not 0 < len(wire.events) <= MAX_EVENTS
    ):
        return None
    resource = canonical_resource(bytes(wire.resource))
    user = "" if wire.user is NOTHING else canonical_user(bytes(wire.user))
    if type(resource) is not str or type(user) is not str:
        return None
    return wire, None, (), resource, user


def _read_closely(value: bytes | None, key: bytes | None) -> _Read | Rejected:
    """Any record: parsed whole, and all that is wrong with it named."""
    tree = parse(value, MAX_RECORD_BYTES)
    if isinstance(tree, Rejected):
        return tree
    assert value is not None, "parse refuses a record without a value"
    indexes: Sequence[int] | None = None
    refused: Sequence[Rejected] = ()
    try:
        wire = _decode_envelope(value)
    except msgspec.ValidationError:
        sound = sound_parts(value, tree)
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
    return wire, indexes, refused, resource, user


def _refused_closely(value: bytes | None, key: bytes | None) -> Rejected:
    """The reason to refuse a record that has a part which is no strict JSON."""
    refused = _read_closely(value, key)
    assert isinstance(refused, Rejected), "what a part of it is not, the whole is not either"
    return refused


def _shift_ms(sent_at: int, record_ms: int) -> int:
    """What to add to the device's times: nothing while its clock is right."""
    shift_ms = record_ms - sent_at
    return 0 if -CLOCK_TOLERANCE_MS <= shift_ms <= CLOCK_TOLERANCE_MS else shift_ms


def _understood(event: WireEvent, shift_ms: int, latest_ms: int) -> tuple[int, bytes, Meaning] | None:
    """Corrected time, attributes and meaning of an event; None if it fails what typed decoding cannot see.

    Raises `orjson.JSONDecodeError` if the attributes are no strict JSON, which makes it none of the whole record.
    """
    time_ms, name = event.time + shift_ms, event.name
    if event.attributes is NOTHING:
        attributes, meaning = b"{}", meaning_without_attributes(name)
    else:
        attributes = bytes(event.attributes)
        tree = orjson.loads(attributes)
        if type(tree) is dict:
            meaning = interpret(name, tree)
        elif tree is None:
            attributes, meaning = b"{}", meaning_without_attributes(name)
        else:
            return None
    if not MIN_TIME_MS <= time_ms <= latest_ms or "\0" in event.id:
        return None
    return time_ms, attributes, meaning


def _fault_of_envelope(wire: WireEnvelope, key: bytes | None, event_count: int) -> Rejected | None:
    """What typed decoding cannot see. Version first: another may mean other things by the same names."""
    if wire.v != VERSION:
        return Rejected(Reason.UNKNOWN_VERSION, f"v: {VERSION}, not {wire.v}")
    app_id = wire.app_id
    right_key = f"{app_id}/{wire.device_id}".encode()
    if key == right_key and b"\0" not in right_key and "/" not in app_id:
        return fault_of_event_count(event_count)
    fault = fault_of_id(wire.app_id, "app_id", forbidden="/\0") or fault_of_id(wire.device_id, "device_id")
    if fault is not None:
        return fault
    if key != right_key:
        return Rejected(
            Reason.KEY_MISMATCH, "the record's key must be app_id/device_id of its envelope, in UTF-8"
        )
    return fault_of_event_count(event_count)


def _interpreted(
    wire: WireEnvelope, indexes: Sequence[int] | None, record_ms: int
) -> tuple[list[NativeEvent], list[Rejected]]:
    shift_ms = 0 if wire.sent_at is None else _shift_ms(wire.sent_at, record_ms)
    latest_ms = record_ms + MAX_AHEAD_MS
    events: list[NativeEvent] = []
    refused: list[Rejected] = []
    for index, event in zip(indexes or range(len(wire.events)), wire.events, strict=True):
        understood = _understood(event, shift_ms, latest_ms)
        if understood is None:
            refused.append(_fault_of_event(event, index, event.time + shift_ms, record_ms))
            continue
        time_ms, attributes, (kind, exit_reason, counters) = understood
        events.append(
            NativeEvent(
                event.id,
                event.name,
                time_ms,
                event.time,
                event.seq or 0,
                event.session_id or "",
                kind,
                exit_reason,
                counters,
                attributes,
            )
        )
    return events, refused


def _fault_of_event(event: WireEvent, index: int, time_ms: int, record_ms: int) -> Rejected:
    path = f"events[{index}]"
    fault = fault_of_id(event.id, f"{path}.id", index=index)
    if fault is not None:
        return fault
    attributes = bytes(event.attributes)
    if attributes[:1] != b"{" and attributes not in _NO_ATTRIBUTES:
        return Rejected(Reason.INVALID_TYPE, f"{path}.attributes: an object", index)
    return fault_of_time(time_ms, record_ms, f"{path}.time", index)


def _index(rejected: Rejected) -> int:
    return -1 if rejected.event_index is None else rejected.event_index
