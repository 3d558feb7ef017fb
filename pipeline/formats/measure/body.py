"""Request bodies of the Measure SDK (`measure-events`), translated into native envelopes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from pipeline.formats.checks import rejected_id, rejected_time, time_is_plausible
from pipeline.formats.identity import canonical_resource, canonical_user
from pipeline.formats.limits import MAX_BODY_BYTES, MAX_BODY_EVENTS, MAX_NESTING
from pipeline.formats.measure.blocks import is_of_ios, native_name_and_attributes
from pipeline.formats.mending import read_json, repairs_of
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Draft, NativeRecord, Sender, Translation, pack, set_right

__all__ = ["NativeRecord", "Translation", "decode"]

_RESOURCE_NAMES = {
    "app_version": "service.version",
    "app_build": "app.build_id",
    "os_name": "os.name",
    "os_version": "os.version",
    "device_manufacturer": "device.manufacturer",
    "device_model": "device.model.identifier",
    "device_name": "device.model.name",
    "device_cpu_arch": "host.arch",
    "measure_sdk_version": "telemetry.sdk.version",
    "platform": "platform",
}
"""Facts of the attribute block that hold for the app, the device, the OS, the SDK."""
_RESOURCE_PREFIXES = ("app_", "device_", "os_")
_EVENT_NAMES = {
    "thread_name": "thread.name",
    "network_type": "network.connection.type",
    "network_provider": "network.carrier.name",
    "device_low_power_mode": "device_low_power_mode",
    "device_thermal_throttling_enabled": "device_thermal_throttling_enabled",
}
"""Facts of the attribute block that change from event to event; so may all that is not known here."""
_IDENTITY = ("app_unique_id", "installation_id", "user_id")
_OWN_FIELDS = {"id", "session_id", "timestamp", "type", "attribute"}
_SAYS_NOTHING = (b"null", b"false", b"[]", b"{}")
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,30}))?"
    r"(?:[Zz]|([+-][0-9]{2}:[0-9]{2}))"
)

_Facts = dict[str, msgspec.Raw]
_Split = tuple[Sender, _Facts]
"""What an attribute block says: who sent, and the facts of the single event."""


class _RawBody(msgspec.Struct):
    # Raw, not a list: a key that is there twice counts as it came last, whatever came first.
    events: msgspec.Raw = msgspec.Raw(b"[]")


_raw_body = msgspec.json.Decoder(_RawBody)
_raw_events = msgspec.json.Decoder(list[msgspec.Raw])
_facts = msgspec.json.Decoder(_Facts)


def decode(value: bytes | None, record_ms: int) -> Translation | Rejected:
    """Translate one body; `record_ms` is the broker's record time, Unix milliseconds.

    One bad event does not condemn its body: it is in `refused`, with its index. A Rejected is for the whole
    body. What is translated here is never refused by the native decoder at the same record time. Never raises
    because of the body; does not block.
    """
    # A fact beside the block moves one level down into the native attributes.
    read = read_json(value, MAX_BODY_BYTES, MAX_NESTING - 1)
    if isinstance(read, Rejected):
        return read
    tree = read.tree
    spans, events = tree.get("spans"), tree.get("events")
    if events is not None and not isinstance(events, list):
        return Rejected(Reason.INVALID_TYPE, "events: an array")
    if not events and not spans:
        if events is None:
            return Rejected(Reason.MISSING_FIELD, "events: required, an array")
        return Rejected(Reason.NO_EVENTS, "events: at least one event")
    if events and len(events) > MAX_BODY_EVENTS:
        return Rejected(
            Reason.TOO_MANY_EVENTS, f"events: at most {MAX_BODY_EVENTS} events, not {len(events)}"
        )
    refused = _refused_spans(spans)
    drafts: list[Draft] = []
    repairs = repairs_of(read, head=(), fields=None)
    blocks: dict[bytes, _Split | Rejected] = {}
    raws = _raw_events.decode(_raw_body.decode(read.value).events) if events else []
    for index, (event, raw) in enumerate(zip(events or (), raws, strict=True)):
        translated = _translate(event, raw, index, record_ms, blocks)
        if isinstance(translated, Rejected):
            refused.append(translated)
        else:
            if repairs and (places := repairs.of(index)):
                translated.event["repaired"] = places
            drafts.append(translated)
    outgoing, misdated = set_right(drafts, record_ms, "timestamp")
    packed = pack(outgoing)
    refused = sorted(
        refused + misdated + packed.refused,
        key=lambda each: -1 if each.event_index is None else each.event_index,
    )
    return Translation(packed.records, refused)


def _refused_spans(spans: object) -> list[Rejected]:
    """One for all of them: every refusal costs a dead letter with the whole body."""
    if not spans:
        return []
    count = len(spans) if isinstance(spans, list) else 1
    return [
        Rejected(Reason.UNSUPPORTED, f"spans: spans of a Measure body are not taken, this one holds {count}")
    ]


def _translate(
    event: Any, raw: msgspec.Raw, index: int, record_ms: int, blocks: dict[bytes, _Split | Rejected]
) -> Draft | Rejected:
    path = f"events[{index}]"
    fault = _fault_of_event(event, path, index)
    if fault is not None:
        return fault
    moment = _unix_time(event["timestamp"])
    if moment is None:
        return Rejected(
            Reason.INVALID_VALUE,
            f"{path}.timestamp: RFC 3339 with Z or an offset, as 2025-03-22T16:34:55.159Z",
            index,
        )
    time_ms, seq = moment
    if not time_is_plausible(time_ms, record_ms):
        return rejected_time(time_ms, record_ms, f"{path}.timestamp", index)
    parts = _facts.decode(raw)
    raw_block = bytes(parts["attribute"])
    block = blocks.get(raw_block)
    if block is None:
        block = blocks[raw_block] = _read_block(_facts.decode(raw_block), event["attribute"])
    if isinstance(block, Rejected):
        return Rejected(block.reason, f"{path}.attribute.{block.detail}", index)
    sender, facts = block
    name, attributes = native_name_and_attributes(
        event["type"], event, parts, is_of_ios(event["attribute"]), len(bytes(raw))
    )
    for key, value in facts.items():
        attributes[key if key not in attributes else f"attribute.{key}"] = value
    for key, value in parts.items():
        if key not in _OWN_FIELDS and key != event["type"] and bytes(value) not in _SAYS_NOTHING:
            attributes[key if key not in attributes else f"event.{key}"] = value
    native = {"id": event["id"], "name": name, "time": time_ms}
    if seq:
        native["seq"] = seq
    if event.get("session_id"):
        native["session_id"] = event["session_id"]
    native["attributes"] = attributes
    return Draft(index, sender, time_ms, native)


def _fault_of_event(event: Any, path: str, index: int) -> Rejected | None:
    if not isinstance(event, dict):
        return Rejected(Reason.INVALID_TYPE, f"{path}: an object", index)
    fault = rejected_id(event.get("id"), f"{path}.id", index=index)
    if fault is None and event.get("session_id") not in (None, ""):
        fault = rejected_id(event["session_id"], f"{path}.session_id", forbidden="", index=index)
    if fault is not None:
        return fault
    for field, kind, meaning in (
        ("type", str, "a string"),
        ("timestamp", str, "a string, RFC 3339"),
        ("attribute", dict, "an object"),
    ):
        value = event.get(field)
        if value is None:
            return Rejected(Reason.MISSING_FIELD, f"{path}.{field}: required, {meaning}", index)
        if not isinstance(value, kind):
            return Rejected(Reason.INVALID_TYPE, f"{path}.{field}: {meaning}", index)
    return None if event["type"] else Rejected(Reason.INVALID_VALUE, f"{path}.type: not empty", index)


def _read_block(raws: _Facts, values: Mapping[str, Any]) -> _Split | Rejected:
    """Split an attribute block into what the sender's events share and what is of this event alone."""
    app_id, device_id = values.get("app_unique_id"), values.get("installation_id")
    fault = rejected_id(app_id, "app_unique_id", forbidden="/\0") or rejected_id(device_id, "installation_id")
    if fault is not None:
        return fault
    assert isinstance(app_id, str) and isinstance(device_id, str)
    user_id = values.get("user_id")
    user: str | Rejected = ""
    if user_id not in (None, ""):
        fault = rejected_id(user_id, "user_id", forbidden="")
        if fault is not None:
            return fault
        user = canonical_user(msgspec.json.encode({"id": user_id}))
    resource_facts: dict[str, object] = {"telemetry.sdk.name": "measure"}
    event_facts: _Facts = {}
    for key, raw in raws.items():
        if key in _IDENTITY or bytes(raw) == b"null":
            continue
        if key in _EVENT_NAMES:
            event_facts[_EVENT_NAMES[key]] = raw
        elif key in _RESOURCE_NAMES or key.startswith(_RESOURCE_PREFIXES):
            resource_facts[_RESOURCE_NAMES.get(key, key)] = raw
        else:
            event_facts[key] = raw
    resource = canonical_resource(msgspec.json.encode(resource_facts))
    if isinstance(resource, Rejected):
        return resource
    if isinstance(user, Rejected):
        return user
    return Sender(app_id, device_id, resource, user), event_facts


def _unix_time(timestamp: str) -> tuple[int, int] | None:
    """Unix milliseconds of an RFC 3339 time and the nanoseconds beyond them; None if it is no such time."""
    match = _TIMESTAMP.fullmatch(timestamp)
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{offset or '+00:00'}")
    except ValueError:
        return None
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    nanoseconds = int(f"{fraction or '':0<9}"[:9])
    seconds = elapsed.days * 86_400 + elapsed.seconds
    return seconds * 1_000 + nanoseconds // 1_000_000, nanoseconds % 1_000_000
