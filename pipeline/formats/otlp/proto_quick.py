"""The common forms of log records and spans in protobuf, read the short way: None for all others.

Written out at length, since the router spends its time here. `proto_records.py` reads all there is, and what both read
is the same (tests/unit/test_otlp_proto.py).
"""

from __future__ import annotations

import struct
from math import isfinite
from sys import getsizeof
from typing import Any

from pipeline.formats.bounded_cache import BoundedCache
from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.message import MAX_ATTRIBUTES, MAX_VALUES, Attributes, LogRecord, SpanRecord
from pipeline.formats.otlp.proto_records import status_of
from pipeline.formats.otlp.proto_values import hex_of, pair_of
from pipeline.formats.otlp.wire import malformed

Pairs = dict[bytes, tuple[str, Any]]
"""Attributes that were read before, by their bytes: they repeat from record to record."""

_OF_SEVERAL = (b"\x2a", b"\x32")
"""Where a value begins, after a short key: an array, a map. What only looks like one is read in the other way, too."""
_KEPT_PAIR_BYTES = 256
"""Of those that are remembered; longer ones do not repeat."""
_KEPT_BYTES = 20_000_000
_NO_BUDGET = [MAX_VALUES]
"""No array or map passes with it."""
_new: Any = tuple.__new__
_uint64 = struct.Struct("<Q").unpack_from
_double = struct.Struct("<d").unpack_from


def quick_log(raw: bytes, pairs: Pairs) -> LogRecord | None:
    """A log record. Raises `UnicodeDecodeError`."""
    time_ns = observed_ns = severity = count = at = 0
    severity_text = trace_id = span_id = event_name = ""
    body: Any = None
    attributes: Attributes = {}
    known, end = pairs.get, len(raw)
    try:
        while at < end:
            tag = raw[at]
            if tag != 0x32:
                if tag == 0x09:
                    [time_ns] = _uint64(raw, at + 1)
                    at += 9
                    continue
                if tag == 0x59:
                    [observed_ns] = _uint64(raw, at + 1)
                    at += 9
                    continue
                if tag == 0x10 and raw[at + 1] < 0x80:
                    severity = raw[at + 1]
                    at += 2
                    continue
            size, start = raw[at + 1], at + 2
            if size > 0x7F:
                size, start = _long(raw, start, size)
            at = start + size
            part = raw[start:at]
            if tag == 0x32:
                key, value = known(part) or _pair_of(part, pairs)
                attributes[key] = value
                count += 1
            elif tag == 0x62:
                event_name = part.decode()
            elif tag == 0x4A:
                trace_id = hex_of(part)
            elif tag == 0x52:
                span_id = hex_of(part)
            elif tag == 0x2A and body is None:
                body = _quick_text(part)
            elif tag == 0x1A:
                severity_text = part.decode()
            else:
                return None
    except (IndexError, struct.error, Flaw):
        return None
    if at != end or count > MAX_ATTRIBUTES:
        return None
    said = time_ns, observed_ns, severity, severity_text, body, attributes
    record: LogRecord = _new(LogRecord, (*said, trace_id, span_id, event_name, (), True))
    return record


def quick_span(raw: bytes, pairs: Pairs) -> SpanRecord | None:
    """A span without events and links. Raises `UnicodeDecodeError`."""
    trace_id = span_id = parent_id = name = ""
    kind = start_ns = end_ns = count = at = 0
    status: tuple[int, str] | None = None
    attributes: Attributes = {}
    known, end = pairs.get, len(raw)
    try:
        while at < end:
            tag, size = raw[at], raw[at + 1]
            if tag == 0x39:
                [start_ns] = _uint64(raw, at + 1)
                at += 9
                continue
            if tag == 0x41:
                [end_ns] = _uint64(raw, at + 1)
                at += 9
                continue
            if tag == 0x30 and size < 0x80:
                kind = size
                at += 2
                continue
            if tag == 0x85 and size == 1:
                at += 6  # flags
                continue
            start = at + 2
            if size > 0x7F:
                size, start = _long(raw, start, size)
            at = start + size
            part = raw[start:at]
            if tag == 0x4A:
                pair = known(part) or _pair_of(part, pairs)
                attributes[pair[0]] = pair[1]
                count += 1
            elif tag == 0x0A:
                trace_id = hex_of(part)
            elif tag == 0x12:
                span_id = hex_of(part)
            elif tag == 0x22:
                parent_id = hex_of(part)
            elif tag == 0x2A:
                name = part.decode()
            elif tag == 0x7A and status is None:
                status = _quick_status(part)
            else:
                return None
    except (IndexError, struct.error, Flaw):
        return None
    if at != end or count > MAX_ATTRIBUTES:
        return None
    said = trace_id, span_id, parent_id, "", name, kind, start_ns, end_ns, attributes
    span: SpanRecord = _new(SpanRecord, (*said, [], [], *(status or (0, "")), ()))
    return span


def quick_resource(raw: bytes) -> Attributes | None:
    """The attributes of a resource of nothing else. Raises `UnicodeDecodeError`."""
    attributes: Attributes = {}
    count = at = 0
    end = len(raw)
    try:
        while at < end:
            if raw[at] != 0x0A:
                return None
            size, start = raw[at + 1], at + 2
            if size > 0x7F:
                size, start = _long(raw, start, size)
            at = start + size
            key, value = _kept_pairs[raw[start:at]]
            attributes[key] = value
            count += 1
    except (IndexError, struct.error, Flaw):
        return None
    return attributes if at == end and count <= MAX_ATTRIBUTES else None


def _long(raw: bytes, at: int, first: int) -> tuple[int, int]:
    """The size of a field in two bytes, and where it starts. Raises `Flaw` where it takes more."""
    if raw[at] > 0x7F:
        raise malformed("not in this way")
    return first & 0x7F | raw[at] << 7, at + 1


def _quick_text(raw: bytes) -> str:
    """A value that is a text. Raises `Flaw` where another way has to be taken."""
    if len(raw) > 1 and raw[0] == 0x0A:
        size, start = raw[1], 2
        if size > 0x7F and len(raw) > 2:
            size, start = size & 0x7F | raw[2] << 7, 3
        if size == len(raw) - start:
            return raw[start:].decode()
    raise malformed("not in this way")


def _quick_status(raw: bytes) -> tuple[int, str]:
    code, message = status_of(raw)
    return code, message.decode()


def _strict(raw: bytes) -> str:
    return raw.decode()


def _pair_of(raw: bytes, pairs: Pairs) -> tuple[str, Any]:
    """An attribute. Raises `Flaw`, also for one that has no value, or an array or a map."""
    pair = _quick_pair(raw)
    if pair is None:
        if raw[raw[1] + 4 : raw[1] + 5] in _OF_SEVERAL:
            raise malformed("not in this way")
        pair = pair_of(raw, _strict, _NO_BUDGET)
    if pair[1] is None:
        raise malformed("not in this way")
    if len(raw) <= _KEPT_PAIR_BYTES:
        pairs[raw] = pair
    return pair


def _quick_pair(raw: bytes) -> tuple[str, Any] | None:
    """An attribute with a key of at most 127 bytes and a value that is a text of no more, or a number."""
    try:
        at = raw[1] + 2
        start = at + 3
        size = raw[at + 1]
        if raw[0] != 0x0A or raw[1] > 0x7F or raw[at] != 0x12 or start - 1 + size != len(raw) or size > 0x7F:
            return None
        kind = raw[at + 2]
        if kind == 0x0A:
            return (raw[2:at].decode(), raw[start + 1 :].decode()) if raw[start] == size - 2 else None
        if kind == 0x18:
            if size == 2 and raw[start] < 0x80:
                return raw[2:at].decode(), raw[start]
            if size == 3 and raw[start] > 0x7F > raw[start + 1]:
                return raw[2:at].decode(), raw[start] & 0x7F | raw[start + 1] << 7
        elif kind == 0x21 and size == 9:
            value = _double(raw, start)[0]
            return (raw[2:at].decode(), value) if isfinite(value) else None
    except IndexError:
        pass
    return None


def _made(raw: bytes) -> tuple[str, Any]:
    return _pair_of(raw, {})


_kept_pairs = BoundedCache(_made, lambda pair: getsizeof(pair[0]) + getsizeof(pair[1]), _KEPT_BYTES)
"""Of resources: system, model and version repeat from device to device."""
