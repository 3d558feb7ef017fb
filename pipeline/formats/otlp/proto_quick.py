"""The common forms of log records and spans in protobuf, read the short way: None for all others.

Written out at length, since the router spends its time here. `proto_records.py` reads all there is, and what both read
is the same (tests/unit/test_otlp_proto.py).
"""

from __future__ import annotations

import struct
from typing import Any

from pipeline.formats.otlp.fault import Fault
from pipeline.formats.otlp.message import MAX_ATTRIBUTES, MAX_VALUES, Attributes, LogRecord, Span
from pipeline.formats.otlp.proto_records import status_of
from pipeline.formats.otlp.proto_values import any_value, hex_of, pair_of

Pairs = dict[bytes, tuple[str, Any]]
"""Attributes that were read before, by their bytes: they repeat from record to record."""

_KEPT_PAIR_BYTES = 256
"""Of those that are remembered; longer ones do not repeat."""
_NO_BUDGET = [MAX_VALUES]
"""No array or map passes with it."""
_uint64 = struct.Struct("<Q").unpack_from


def quick_log(raw: bytes, pairs: Pairs) -> LogRecord | None:
    """A log record. Raises `UnicodeDecodeError`."""
    found: dict[int, Any] = {}
    attributes = _quick_fields(raw, 0x32, found, pairs)
    if attributes is None:
        return None
    get = found.get
    body: Any = get(0x2A)
    if body is not None:
        try:
            body = any_value(body, _strict, _NO_BUDGET)
        except Fault:
            return None
    return LogRecord(
        get(0x09, 0),
        get(0x59, 0),
        get(0x10, 0),
        get(0x1A, b"").decode(),
        body,
        attributes,
        hex_of(get(0x4A, b"")),
        hex_of(get(0x52, b"")),
        get(0x62, b"").decode(),
    )


def quick_span(raw: bytes, pairs: Pairs) -> Span | None:
    """A span without events and links. Raises `UnicodeDecodeError`."""
    found: dict[int, Any] = {}
    attributes = _quick_fields(raw, 0x4A, found, pairs)
    if attributes is None or 0x5A in found or 0x6A in found:
        return None
    get = found.get
    try:
        code, message = status_of(get(0x7A, b""))
    except Fault:
        return None
    return Span(
        hex_of(get(0x0A, b"")),
        hex_of(get(0x12, b"")),
        hex_of(get(0x22, b"")),
        get(0x1A, b"").decode(),
        get(0x2A, b"").decode(),
        get(0x30, 0),
        get(0x39, 0),
        get(0x41, 0),
        attributes,
        (),
        (),
        code,
        message.decode(),
    )


def _quick_fields(raw: bytes, of_attributes: int, found: dict[int, Any], pairs: Pairs) -> Attributes | None:
    """The attributes, which have this tag; all other fields go into `found`. None if one of those comes twice, or
    anything is longer or wider than is usual."""
    attributes: Attributes = {}
    count = at = 0
    end = len(raw)
    try:
        while at < end:
            tag = raw[at]
            kind = tag & 7
            if kind == 2 and tag < 0x80:
                size, start = raw[at + 1], at + 2
                if size > 0x7F:
                    if raw[start] > 0x7F:
                        return None
                    size, start = size & 0x7F | raw[start] << 7, start + 1
                at = start + size
                part = raw[start:at]
                if tag == of_attributes:
                    pair = pairs.get(part) or _pair_of(part, pairs)
                    if pair is None:
                        return None
                    attributes[pair[0]] = pair[1]
                    count += 1
                    continue
                value: Any = part
            elif kind == 1 and tag < 0x80:
                value = _uint64(raw, at + 1)[0]
                at += 9
            elif kind == 0 and tag < 0x80:
                value = raw[at + 1]
                at += 2
                if value > 0x7F:
                    return None
            elif kind == 5 and (tag < 0x80 or raw[at + 1] == 1):
                value = None
                at += 5 if tag < 0x80 else 6
            else:
                return None
            if tag in found or tag < 8:
                return None
            found[tag] = value
    except (IndexError, struct.error, Fault):
        return None
    if at != end or count > MAX_ATTRIBUTES:
        return None
    if None in attributes.values():
        return {key: value for key, value in attributes.items() if value is not None}
    return attributes


def _strict(raw: bytes) -> str:
    return raw.decode()


def _pair_of(raw: bytes, pairs: Pairs) -> tuple[str, Any] | None:
    """An attribute; None if its value is an array or a map. Raises `Fault`."""
    pair = _quick_pair(raw) or pair_of(raw, _strict, _NO_BUDGET)
    if len(raw) <= _KEPT_PAIR_BYTES:
        pairs[raw] = pair
    return pair


def _quick_pair(raw: bytes) -> tuple[str, Any] | None:
    """An attribute whose value is a text of at most 127 bytes."""
    try:
        if raw[0] != 0x0A:
            return None
        at = raw[1] + 2
        start = at + 4
        if (
            raw[1] > 0x7F
            or raw[at] != 0x12
            or raw[at + 2] != 0x0A
            or raw[at + 3] > 0x7F
            or raw[at + 1] != raw[at + 3] + 2
            or start + raw[at + 3] != len(raw)
        ):
            return None
    except IndexError:
        return None
    return raw[2:at].decode(), raw[start:].decode()
