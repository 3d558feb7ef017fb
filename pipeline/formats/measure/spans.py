"""Spans of a Measure body: each is one native event `span`, at its start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.formats import performance
from pipeline.formats.checks import rejected_id, rejected_time, time_is_plausible
from pipeline.formats.hashed_ids import bounded_id
from pipeline.formats.measure.sender import Blocks, facts_of, sender_of
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.rfc3339 import unix_time
from pipeline.formats.translation import Draft

TIME_FIELD = "start_time"
_IDS = ("trace_id", "span_id")
_NAMES = {
    "name": "span.name",
    "trace_id": "trace_id",
    "span_id": "span_id",
    "parent_id": "span.parent_id",
    "user_defined_attribute": "user_defined_attribute",
}
_STATUS = {1: "ok", 2: "error"}
"""OpenTelemetry's numbers; 0 is unset."""
_READ = {"session_id", "start_time", "end_time", "duration", "status", "attributes"}
_SAYS_NOTHING = (b"null", b'""', b"false", b"[]", b"{}")


def span(
    raw: msgspec.Raw, values: Any, path: str, index: int, record_ms: int, blocks: Blocks
) -> Draft | Rejected:
    """The draft of a span's event, or why it is refused.

    `values` is what `raw` holds, `path` its place in the body, `index` its running one over events and spans. Only
    spans that have ended are sent, so the one event says how long it took. Its time is the start: its session is the
    one that it began in.
    """
    fault = _fault_of(values, path, index)
    if fault is not None:
        return fault
    start, end = unix_time(values["start_time"]), unix_time(values["end_time"])
    if start is None or end is None:
        field = "start_time" if start is None else "end_time"
        return Rejected(
            Reason.INVALID_VALUE,
            f"{path}.{field}: RFC 3339 with Z or an offset, as 2025-03-22T16:34:55.159Z",
            index,
        )
    time_ms, seq = start
    if not time_is_plausible(time_ms, record_ms):
        return rejected_time(time_ms, record_ms, f"{path}.start_time", index)
    parts = facts_of(raw)
    block = sender_of(bytes(parts["attributes"]), values["attributes"], f"{path}.attributes", index, blocks)
    if isinstance(block, Rejected):
        return block
    sender, facts = block
    attributes = _attributes(values, parts, end[0] - time_ms)
    for key, value in facts.items():
        attributes[key if key not in attributes else f"attribute.{key}"] = value
    native: dict[str, Any] = {
        "id": bounded_id(f"{values['trace_id']}-{values['span_id']}.e"),
        "name": "span",
        "time": time_ms,
    }
    if seq:
        native["seq"] = seq
    if values.get("session_id"):
        native["session_id"] = values["session_id"]
    native["attributes"] = attributes
    return Draft(index, sender, time_ms, native)


def _fault_of(values: Any, path: str, index: int) -> Rejected | None:
    if not isinstance(values, dict):
        return Rejected(Reason.INVALID_TYPE, f"{path}: an object", index)
    for field in _IDS:
        fault = rejected_id(values.get(field), f"{path}.{field}", index=index)
        if fault is not None:
            return fault
    if values.get("session_id") not in (None, ""):
        fault = rejected_id(values["session_id"], f"{path}.session_id", forbidden="", index=index)
        if fault is not None:
            return fault
    for field, kind, meaning in (
        ("name", str, "a string"),
        ("start_time", str, "a string, RFC 3339"),
        ("end_time", str, "a string, RFC 3339"),
        ("attributes", dict, "an object"),
    ):
        value = values.get(field)
        if value is None:
            return Rejected(Reason.MISSING_FIELD, f"{path}.{field}: required, {meaning}", index)
        if not isinstance(value, kind):
            return Rejected(Reason.INVALID_TYPE, f"{path}.{field}: {meaning}", index)
    return None


def _attributes(
    values: Mapping[str, Any], parts: Mapping[str, msgspec.Raw], lasted_ms: int
) -> dict[str, Any]:
    """What the span says; `lasted_ms` is by its times, and counts where it does not say how long it took."""
    attributes: dict[str, Any] = {}
    for field, raw in parts.items():
        if field not in _READ and bytes(raw) not in _SAYS_NOTHING:
            attributes[_NAMES.get(field, f"span.{field}")] = raw
    status = values.get("status")
    if isinstance(status, int) and status in _STATUS:
        attributes["span.status"] = _STATUS[status]
    duration = values.get("duration")
    if isinstance(duration, int | float) and not isinstance(duration, bool) and duration >= 0:
        attributes["duration_ms"] = parts["duration"]
    elif lasted_ms >= 0:
        attributes["duration_ms"] = lasted_ms
    took_ms = lasted_ms if performance.number(duration) is None else duration
    performance.add(attributes, performance.of_span(values["name"], {}, took_ms))
    return attributes
