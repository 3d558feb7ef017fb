"""The privacy rules on refused messages of OTLP: in protobuf on attributes and texts where opentelemetry-proto 1.x has
them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.formats.format import Cleans
from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.message import LOGS, Signal
from pipeline.formats.otlp.proto_values import any_value, pair_of
from pipeline.formats.otlp.wire import BYTES, VARINT, field_of, fields, written

_ID, _TEXT, _ATTRIBUTE, _VALUE = "id", "text", "attribute", "value"
_Kinds = Mapping[int, Any]
"""By number, what a field of bytes is: one of these, or a message of such fields."""
_RESOURCE: _Kinds = {1: _ATTRIBUTE}
_SCOPE: _Kinds = {1: _TEXT, 2: _TEXT, 3: _ATTRIBUTE}
_LOG: _Kinds = {3: _TEXT, 5: _VALUE, 6: _ATTRIBUTE, 9: _ID, 10: _ID, 12: _TEXT}
_EVENT: _Kinds = {2: _TEXT, 3: _ATTRIBUTE}
_LINK: _Kinds = {1: _ID, 2: _ID, 3: _TEXT, 4: _ATTRIBUTE}
_SPAN: _Kinds = {
    1: _ID,
    2: _ID,
    3: _TEXT,
    4: _ID,
    5: _TEXT,
    9: _ATTRIBUTE,
    11: _EVENT,
    13: _LINK,
    15: {2: _TEXT},
}
_ANY_NUMBER = -(2**62)
"""Of values, which are bounded where messages are taken."""


def cleaned(signal: Signal) -> Callable[[bytes, Cleans], bytes | None]:
    """The `cleaned` of one of the two formats."""
    records = _LOG if signal is LOGS else _SPAN
    kinds: _Kinds = {1: {1: _RESOURCE, 2: {1: _SCOPE, 2: records, 3: _TEXT}, 3: _TEXT}}

    def clean(value: bytes, cleans: Cleans) -> bytes | None:
        made = cleans.json(value)
        if made is not None or value[:1] != b"\n":
            return made
        try:
            return _message(value, kinds, cleans)
        except (Flaw, struct.error):
            return None

    return clean


def _message(raw: bytes, kinds: _Kinds, cleans: Cleans) -> bytes:
    """A message as the rules leave it, the same bytes where there is nothing to do. Raises `Flaw` if it is none.

    A field that nobody knows is left out if it may hold something that they name.
    """
    made, is_same = [], True
    for tag, content in fields(raw):
        if isinstance(content, int) or tag & 7 != BYTES:
            made.append(written(tag) + (written(content) if isinstance(content, int) else content))
            continue
        new = _field(content, kinds.get(tag >> 3), cleans)
        is_same = is_same and new == content
        if new is not None:
            made.append(field_of(tag >> 3, new))
    return raw if is_same else b"".join(made)


def _field(content: bytes, kind: Any, cleans: Cleans) -> bytes | None:
    if kind == _ID:
        return content
    if kind == _TEXT:
        text = cleans.tree(was := content.decode("utf-8", "replace"))
        return content if text == was else text and str(text).encode()
    if kind == _ATTRIBUTE:
        name, value = pair_of(content, _text, [_ANY_NUMBER])
        pair = cleans.tree({"key": name, "value": value})
        if pair is None:
            return None
        return content if pair["value"] == value else _pair(name, pair["value"])
    if kind == _VALUE:
        value = any_value(content, _text, [_ANY_NUMBER])
        body = cleans.tree({"body": value})
        if "body" not in body:
            return None
        return content if body["body"] == value else b"".join(_any(body["body"]))
    return cleans.opaque(content) if kind is None else _message(content, kind, cleans)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _pair(name: str, value: Any) -> bytes:
    return field_of(1, name.encode()) + field_of(2, b"".join(_any(value)))


def _any(value: Any) -> Iterator[bytes]:
    """The fields of an `AnyValue`; none for no value."""
    if isinstance(value, str):
        yield field_of(1, value.encode("utf-8", "replace"))
    elif isinstance(value, bool):
        yield written(2 << 3 | VARINT) + written(value)
    elif isinstance(value, int):
        yield written(3 << 3 | VARINT) + written(value & 0xFFFF_FFFF_FFFF_FFFF)
    elif isinstance(value, float):
        yield b"\x21" + struct.pack("<d", value)
    elif isinstance(value, list):
        yield field_of(5, b"".join(field_of(1, b"".join(_any(each))) for each in value))
    elif isinstance(value, dict):
        yield field_of(6, b"".join(field_of(1, _pair(name, each)) for name, each in value.items()))
