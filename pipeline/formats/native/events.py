"""The native envelope: one record of `sdk-events`, the events of one device."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson

from pipeline.domain.event import RANK, Event, Kind
from pipeline.wire.faults import fault_of_id, fault_of_time, latest_of
from pipeline.wire.native_events import shift_of, understood
from pipeline.wire.native_form import WireEnvelope, WireEvent
from pipeline.wire.native_reading import names_of, read_closely, read_plain, refused_closely
from pipeline.wire.rejected import Reason, Rejected

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


def _interpreted(
    wire: WireEnvelope, indexes: Sequence[int] | None, record_ms: int
) -> tuple[list[NativeEvent], list[Rejected]]:
    shift_ms = 0 if wire.sent_at is None else shift_of(wire.sent_at, record_ms)
    latest_ms = latest_of(record_ms)
    events: list[NativeEvent] = []
    refused: list[Rejected] = []
    for index, event in zip(indexes or range(len(wire.events)), wire.events, strict=True):
        found = understood(event, shift_ms, latest_ms)
        if found is None:
            refused.append(_fault_of_event(event, index, event.time + shift_ms, record_ms))
            continue
        time_ms, attributes, (kind, exit_reason, counters) = found
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
