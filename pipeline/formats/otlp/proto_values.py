"""Values of attributes and bodies in protobuf, and what else the parts of a record have in common."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.message import MAX_ATTRIBUTES, MAX_VALUE_LEVELS, MAX_VALUES, NOT_FINITE, Attributes
from pipeline.formats.otlp.wire import fields
from pipeline.formats.rejected import Reason

Text = Callable[[bytes], str]
"""How bytes are read as text: strictly, raising `UnicodeDecodeError`, or mended."""

_double = struct.Struct("<d").unpack_from


def parts(raw: bytes, wanted: int) -> Sequence[Any]:
    return [value for tag, value in fields(raw) if tag == wanted]


def resource_of(raw: bytes, text: Text) -> Attributes:
    return attributes_of(parts(raw, 0x0A), text, [0])


def attributes_of(pairs: Sequence[bytes], text: Text, budget: list[int]) -> Attributes:
    """Without those that have no value; of those of one key the last."""
    if len(pairs) > MAX_ATTRIBUTES:
        raise Flaw(Reason.TOO_MANY_VALUES, "attributes", f"{len(pairs)} attributes, at most {MAX_ATTRIBUTES}")
    attributes = dict(each_of("attributes", pairs, lambda part: pair_of(part, text, budget)))
    return {key: value for key, value in attributes.items() if value is not None}


def each_of(
    name: str, some: Sequence[bytes], read: Callable[[bytes], Any], budget: list[int] | None = None
) -> list[Any]:
    """What is read of each; `budget` is of the values that a record may have, of which each of these is one."""
    if budget is not None:
        _spend(budget, len(some))
    found = []
    for index, part in enumerate(some):
        try:
            found.append(read(part))
        except Flaw as flaw:
            raise flaw.under(f"{name}[{index}]") from None
    return found


def at(name: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Flaw as flaw:
        raise flaw.under(name) from None


def pair_of(raw: bytes, text: Text, budget: list[int], level: int = 0) -> tuple[str, Any]:
    """An attribute: its key and its value."""
    size = len(raw)
    # As nearly all are: a key, then a value, each of less than 128 bytes.
    if (
        size > 4
        and raw[0] == 0x0A
        and (value_at := raw[1] + 2) < min(size - 1, 0x82)
        and raw[value_at] == 0x12
        and raw[value_at + 1] == size - value_at - 2 < 0x80
    ):
        try:
            return text(raw[2:value_at]), any_value(raw[value_at + 2 :], text, budget, level)
        except Flaw as flaw:
            raise flaw.under("value") from None
    key = b""
    values: list[Any] = []
    value: Any
    for tag, value in fields(raw):
        if tag == 0x0A:
            key = value
        elif tag == 0x12:
            values.append(value)
    try:
        return text(key), any_value(b"".join(values), text, budget, level)
    except Flaw as flaw:
        raise flaw.under("value") from None


def any_value(raw: bytes, text: Text, budget: list[int], level: int = 0) -> Any:
    """The value. Where fields repeat the last one counts, and arrays and maps go on: so protobuf merges."""
    if len(raw) > 1 and raw[0] == 0x0A and raw[1] == len(raw) - 2 < 0x80:
        return text(raw[2:])
    case = 0
    last: Any = None
    values: list[Any] = []
    value: Any
    for tag, value in fields(raw):
        if tag in (0x2A, 0x32):
            if case != tag:
                values = []
            values.append(value)
            case = tag
        elif tag in (0x0A, 0x10, 0x18, 0x21, 0x3A):
            case, last = tag, value
        elif tag == 0x40:  # An index of texts that only profiles have.
            case = 0
    match case:
        case 0x0A:
            return text(last)
        case 0x10:
            return last != 0
        case 0x18:
            return last - (1 << 64) if last >> 63 else last
        case 0x21:
            return _number(_double(last)[0])
        case 0x3A:
            return b64encode(last).decode()
        case 0x2A | 0x32:
            if level >= MAX_VALUE_LEVELS:
                raise Flaw(Reason.TOO_DEEP, "", f"arrays and maps may nest {MAX_VALUE_LEVELS} levels")
            below = parts(b"".join(values), 0x0A)
            _spend(budget, len(below) + 1)
            if case == 0x2A:
                return each_of(
                    "arrayValue.values", below, lambda part: any_value(part, text, budget, level + 1)
                )
            return dict(
                each_of("kvlistValue.values", below, lambda part: pair_of(part, text, budget, level + 1))
            )
    return None


def _spend(budget: list[int], count: int) -> None:
    budget[0] += count
    if budget[0] > MAX_VALUES:
        raise Flaw(
            Reason.TOO_MANY_VALUES, "", f"at most {MAX_VALUES} values in the arrays and maps of a record"
        )


def _number(value: float) -> float | str:
    return value if isfinite(value) else NOT_FINITE[repr(value)]


def hex_of(raw: bytes) -> str:
    """An id; empty for one of zeros, which is none."""
    return raw.hex() if raw.strip(b"\0") else ""


def int32(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value
