"""The native envelope: one record of `sdk-events`, the events of one device."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson

from pipeline.domain.event import RANK, Event, Kind
from pipeline.wire.faults import fault_of_id, fault_of_time, latest_ms
from pipeline.wire.limits import (
    CLOCK_TOLERANCE_MS,
    MIN_TIME_MS,
)
from pipeline.wire.native_form import (
    NOTHING,
    WireEnvelope,
    WireEvent,
)
from pipeline.wire.native_reading import Names, Read, names_of, read_closely, read_plain, refused_closely
from pipeline.wire.rejected import Reason, Rejected
from pipeline.wire.semantics import Meaning, interpret, meaning_without_attributes

_new = tuple.__new__
_NO_ATTRIBUTES = (b"", b"null")


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
        read = read_plain(value, names_of(key)) or read_closely(value, key)
        if isinstance(read, Rejected):
            return read
        wire, indexes, refused, resource, user = read
        events, more_refused = _interpreted(wire, indexes, record_ms)
    except orjson.JSONDecodeError:
        return refused_closely(value, key)
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
        read = read_plain(value, names) or read_closely(value, key)
        if isinstance(read, Rejected):
            return read
        return _events_of(read, record_ms)
    except orjson.JSONDecodeError:
        return refused_closely(value, key)


def _events_of(read: Read, record_ms: int) -> tuple[list[Event], int]:
    wire, _, refused, resource, user = read
    shift_ms = 0 if wire.sent_at is None else _shift_ms(wire.sent_at, record_ms)
    last_ms = latest_ms(record_ms)
    events: list[Event] = []
    for event in wire.events:
        id_, time_ms = event.id, event.time + shift_ms
        if event.attributes is NOTHING and MIN_TIME_MS <= time_ms <= last_ms and "\0" not in id_:
            kind, exit_reason, counters = meaning_without_attributes(event.name)
        elif understood := _understood(event, shift_ms, last_ms):
            time_ms, _, (kind, exit_reason, counters) = understood
        else:
            continue
        events.append(
            _new(
                Event,
                (time_ms, RANK[kind], event.seq or 0, id_, kind, event.session_id or "", exit_reason,
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


def _shift_ms(sent_at: int, record_ms: int) -> int:
    """What to add to the device's times: nothing while its clock is right."""
    shift_ms = record_ms - sent_at
    return 0 if -CLOCK_TOLERANCE_MS <= shift_ms <= CLOCK_TOLERANCE_MS else shift_ms


def _understood(event: WireEvent, shift_ms: int, last_ms: int) -> tuple[int, bytes, Meaning] | None:
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
    if not MIN_TIME_MS <= time_ms <= last_ms or "\0" in event.id:
        return None
    return time_ms, attributes, meaning


def _interpreted(
    wire: WireEnvelope, indexes: Sequence[int] | None, record_ms: int
) -> tuple[list[NativeEvent], list[Rejected]]:
    shift_ms = 0 if wire.sent_at is None else _shift_ms(wire.sent_at, record_ms)
    last_ms = latest_ms(record_ms)
    events: list[NativeEvent] = []
    refused: list[Rejected] = []
    for index, event in zip(indexes or range(len(wire.events)), wire.events, strict=True):
        understood = _understood(event, shift_ms, last_ms)
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
