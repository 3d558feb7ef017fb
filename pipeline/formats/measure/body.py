"""Request bodies of the Measure SDK (`measure-events`), translated into native envelopes."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.formats.checks import rejected_id, rejected_time, time_is_plausible
from pipeline.formats.format import Beside
from pipeline.formats.limits import MAX_BODY_BYTES, MAX_BODY_EVENTS, MAX_NESTING
from pipeline.formats.listed import Listed, translation_of
from pipeline.formats.measure import spans as spans_of
from pipeline.formats.measure.blocks import is_of_ios, native_name_and_attributes
from pipeline.formats.measure.sender import Blocks, facts_of, sender_of
from pipeline.formats.mending import read_json, repairs_of
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.rfc3339 import unix_time
from pipeline.formats.translation import Draft, NativeRecord, Translation

__all__ = ["NativeRecord", "Translation", "decode"]

_OWN_FIELDS = {"id", "session_id", "timestamp", "type", "attribute"}
_SAYS_NOTHING = (b"null", b"false", b"[]", b"{}")


class _RawBody(msgspec.Struct):
    # Raw, not a list: a key that is there twice counts as it came last, whatever came first.
    events: msgspec.Raw = msgspec.Raw(b"null")
    spans: msgspec.Raw = msgspec.Raw(b"null")


_raw_body = msgspec.json.Decoder(_RawBody)
_raw_items = msgspec.json.Decoder(list[msgspec.Raw] | None)


def decode(value: bytes | None, record_ms: int) -> Translation | Rejected:
    """Translate one body; `record_ms` is the broker's record time, Unix milliseconds.

    One bad event or span does not condemn its body: it is in `refused`, with its index; spans count on after the
    events. A Rejected is for the whole body. What is translated here is never refused by the native decoder at the
    same record time. Never raises because of the body; does not block.
    """
    # A fact beside the block moves one level down into the native attributes.
    read = read_json(value, MAX_BODY_BYTES, MAX_NESTING - 1)
    if isinstance(read, Rejected):
        return read
    events, spans = read.tree.get("events"), read.tree.get("spans")
    fault = _fault_of_body(events, spans)
    if fault is not None:
        return fault
    raw = _raw_body.decode(read.value)
    refused: list[Rejected] = []
    if spans is not None and not isinstance(spans, list):
        refused.append(Rejected(Reason.INVALID_TYPE, "spans: an array"))
        spans, raw.spans = None, msgspec.Raw(b"null")
    drafts: list[Draft] = []
    places: list[Listed] = []
    blocks: Blocks = {}
    for (name, translate, time_field), values, raws in zip(
        LISTS, (events, spans), (raw.events, raw.spans), strict=True
    ):
        repairs = repairs_of(read, head=(), fields=None, listed=name)
        for at, (item, raw_item) in enumerate(zip(values or (), _raw_items.decode(raws) or (), strict=True)):
            index, path = len(places), f"{name}[{at}]"
            places.append(Listed(path, time_field))
            translated = translate(raw_item, item, path, index, record_ms, blocks)
            if isinstance(translated, Rejected):
                refused.append(translated)
            else:
                if repairs and (mended := repairs.of(at)):
                    translated.event["repaired"] = mended
                drafts.append(translated)
    # Ids are the SDK's own: a dead letter is the body as it came, and what was taken of it is a duplicate in a replay.
    return translation_of(drafts, refused, record_ms, places)


def apps_of(value: bytes, beside: Beside) -> set[str]:
    """The apps that the blocks of a body name; none where it cannot be read."""
    read = read_json(value, MAX_BODY_BYTES, MAX_NESTING - 1)
    found: set[str] = set()
    for name, field in (("events", "attribute"), ("spans", "attributes")):
        items = None if isinstance(read, Rejected) else read.tree.get(name)
        for item in items if isinstance(items, list) else ():
            block = item.get(field) if isinstance(item, dict) else None
            app_id = block.get("app_unique_id") if isinstance(block, dict) else None
            if isinstance(app_id, str):
                found.add(app_id)
    return found


def _fault_of_body(events: Any, spans: Any) -> Rejected | None:
    if events is not None and not isinstance(events, list):
        return Rejected(Reason.INVALID_TYPE, "events: an array")
    if events is None and not spans:
        return Rejected(Reason.MISSING_FIELD, "events: required, an array")
    if not events and not isinstance(spans, list | None):
        return Rejected(Reason.INVALID_TYPE, "spans: an array")
    count = len(events or ()) + (len(spans) if isinstance(spans, list) else 0)
    if not count:
        return Rejected(Reason.NO_EVENTS, "events: at least one event")
    if count > MAX_BODY_EVENTS:
        return Rejected(Reason.TOO_MANY_EVENTS, f"events: at most {MAX_BODY_EVENTS} events, not {count}")
    return None


def _event(
    raw: msgspec.Raw, event: Any, path: str, index: int, record_ms: int, blocks: Blocks
) -> Draft | Rejected:
    fault = _fault_of_event(event, path, index)
    if fault is not None:
        return fault
    moment = unix_time(event["timestamp"])
    if moment is None:
        return Rejected(
            Reason.INVALID_VALUE,
            f"{path}.timestamp: RFC 3339 with Z or an offset, as 2025-03-22T16:34:55.159Z",
            index,
        )
    time_ms, seq = moment
    if not time_is_plausible(time_ms, record_ms):
        return rejected_time(time_ms, record_ms, f"{path}.timestamp", index)
    parts = facts_of(raw)
    block = sender_of(bytes(parts["attribute"]), event["attribute"], f"{path}.attribute", index, blocks)
    if isinstance(block, Rejected):
        return block
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


LISTS = (("events", _event, "timestamp"), ("spans", spans_of.span, spans_of.TIME_FIELD))
"""What of a body becomes events: the field, what translates each of it, and its own field that says when."""
