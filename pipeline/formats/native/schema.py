"""The native envelope as typed decoding sees it, and the slow way to what is sound in one that fails it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pipeline.wire.faults import fault_of_id
from pipeline.wire.limits import MAX_EVENTS, MAX_ID_CHARS, MAX_SEQ, MAX_STAMP_MS
from pipeline.wire.rejected import Reason, Rejected

VERSION = 1

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]
_Stamp = Annotated[int, msgspec.Meta(ge=0, le=MAX_STAMP_MS)]
NOTHING = msgspec.Raw(b"")


class WireEvent(msgspec.Struct, gc=False):
    id: _Id
    name: Annotated[str, msgspec.Meta(min_length=1)]
    time: _Stamp
    seq: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)] | None = None
    session_id: _Id | None = None
    attributes: msgspec.Raw = NOTHING


class WireEnvelope(msgspec.Struct, gc=False):
    v: int
    app_id: _Id
    device_id: _Id
    events: list[WireEvent]
    batch_id: _Id | None = None
    sent_at: _Stamp | None = None
    resource: msgspec.Raw = NOTHING
    user: msgspec.Raw = NOTHING


class _PlainEvent(WireEvent, gc=False, forbid_unknown_fields=True):
    """An event without fields that nobody knows."""


class PlainEnvelope(WireEnvelope, gc=False, forbid_unknown_fields=True):
    """An envelope without fields that nobody knows."""

    events: list[_PlainEvent]  # type: ignore[assignment]


class _RawEnvelope(msgspec.Struct):
    events: msgspec.Raw
    resource: msgspec.Raw = NOTHING
    user: msgspec.Raw = NOTHING


class _RawEvent(msgspec.Struct):
    attributes: msgspec.Raw = NOTHING


_raw_envelope = msgspec.json.Decoder(_RawEnvelope)
_raw_events = msgspec.json.Decoder(list[msgspec.Raw])
_raw_event = msgspec.json.Decoder(_RawEvent)

Sound = tuple[WireEnvelope, list[int], list[Rejected]]
"""An envelope with its sound events, their indexes, and what was refused of the rest."""


def sound_parts(value: bytes, tree: dict[str, Any]) -> Sound | Rejected:
    """What is sound in a record that typed decoding refused: fault by fault, with exact reasons.

    `tree` is the parsed `value`. Refuses the record whole for a fault of the envelope.
    """
    fault = _fault_of_version(tree.get("v")) or _fault_of_head(tree)
    if fault is not None:
        return fault
    raw = _raw_envelope.decode(value)
    events: list[WireEvent] = []
    indexes: list[int] = []
    refused: list[Rejected] = []
    pairs = zip(tree["events"], _raw_events.decode(raw.events), strict=True)
    for index, (event, raw_event) in enumerate(pairs):
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


def _fault_of_version(version: object) -> Rejected | None:
    if version is None:
        return Rejected(Reason.MISSING_FIELD, f"v: required, {VERSION}")
    if type(version) is not int:
        return Rejected(Reason.INVALID_TYPE, f"v: the integer {VERSION}")
    if version != VERSION:
        return Rejected(Reason.UNKNOWN_VERSION, f"v: {VERSION}, not {version}")
    return None


def _fault_of_head(tree: dict[str, Any]) -> Rejected | None:
    fault = (
        fault_of_id(tree.get("app_id"), "app_id", forbidden="/\0")
        or fault_of_id(tree.get("device_id"), "device_id")
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
        fault_of_id(event.get("id"), f"{path}.id", index=index)
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
    return None if value is None else fault_of_id(value, path, forbidden="", index=index)


def _fault_of_number(
    value: object, path: str, highest: int, reason: Reason, index: int | None = None
) -> Rejected | None:
    """The fault of an optional whole number; `reason` is for one that is out of 0 to `highest`."""
    if value is None:
        return None
    if type(value) is not int:
        return Rejected(Reason.INVALID_TYPE, f"{path}: an integer, 0 to {highest}", index)
    return None if 0 <= value <= highest else Rejected(reason, f"{path}: 0 to {highest}", index)
