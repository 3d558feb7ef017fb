"""Log records and spans in protobuf, in any form that there is."""

from __future__ import annotations

import struct
from typing import Any

from pipeline.formats.otlp.message import Link, LogRecord, SpanEvent, SpanRecord
from pipeline.formats.otlp.proto_values import Text, any_value, at, attributes_of, each_of, hex_of, int32
from pipeline.formats.otlp.wire import fields

_uint64 = struct.Struct("<Q").unpack_from


def log_of(raw: bytes, text: Text) -> LogRecord:
    time_ns = observed_ns = severity = 0
    severity_text = trace_id = span_id = event_name = b""
    body: list[Any] = []
    pairs: list[Any] = []
    value: Any
    for tag, value in fields(raw):
        match tag:
            case 0x09:
                time_ns = _uint64(value)[0]
            case 0x59:
                observed_ns = _uint64(value)[0]
            case 0x10:
                severity = int32(value)
            case 0x1A:
                severity_text = value
            case 0x2A:
                body.append(value)
            case 0x32:
                pairs.append(value)
            case 0x4A:
                trace_id = value
            case 0x52:
                span_id = value
            case 0x62:
                event_name = value
    budget = [0]
    return LogRecord(
        time_ns,
        observed_ns,
        severity,
        text(severity_text),
        at("body", lambda: any_value(b"".join(body), text, budget)),
        attributes_of(pairs, text, budget),
        hex_of(trace_id),
        hex_of(span_id),
        text(event_name),
    )


def span_of(raw: bytes, text: Text) -> SpanRecord:
    found: dict[int, Any] = {}
    lists: dict[int, list[Any]] = {0x4A: [], 0x5A: [], 0x6A: [], 0x7A: []}
    for tag, value in fields(raw):
        if tag in lists:
            lists[tag].append(value)
        else:
            found[tag] = value
    budget = [0]
    code, message = status_of(b"".join(lists[0x7A]))
    return SpanRecord(
        hex_of(found.get(0x0A, b"")),
        hex_of(found.get(0x12, b"")),
        hex_of(found.get(0x22, b"")),
        text(found.get(0x1A, b"")),
        text(found.get(0x2A, b"")),
        int32(found.get(0x30, 0)),
        _uint64(found.get(0x39, bytes(8)))[0],
        _uint64(found.get(0x41, bytes(8)))[0],
        attributes_of(lists[0x4A], text, budget),
        each_of("events", lists[0x5A], lambda part: _span_event(part, text, budget), budget),
        each_of("links", lists[0x6A], lambda part: _link(part, text, budget), budget),
        code,
        text(message),
    )


def _span_event(raw: bytes, text: Text, budget: list[int]) -> SpanEvent:
    time_ns, name = 0, b""
    pairs: list[Any] = []
    value: Any
    for tag, value in fields(raw):
        if tag == 0x09:
            time_ns = _uint64(value)[0]
        elif tag == 0x12:
            name = value
        elif tag == 0x1A:
            pairs.append(value)
    return SpanEvent(time_ns, text(name), attributes_of(pairs, text, budget))


def _link(raw: bytes, text: Text, budget: list[int]) -> Link:
    trace_id = span_id = b""
    pairs: list[Any] = []
    value: Any
    for tag, value in fields(raw):
        if tag == 0x0A:
            trace_id = value
        elif tag == 0x12:
            span_id = value
        elif tag == 0x22:
            pairs.append(value)
    return Link(hex_of(trace_id), hex_of(span_id), attributes_of(pairs, text, budget))


def status_of(raw: bytes) -> tuple[int, bytes]:
    code, message = 0, b""
    value: Any
    for tag, value in fields(raw):
        if tag == 0x18:
            code = int32(value)
        elif tag == 0x12:
            message = value
    return code, message
