"""The wire format of protobuf: the fields of a message (protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.rejected import Reason

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)
_MAX_TAG = 2**32
_MAX_GROUPS = 100
"""Levels of groups, which OTLP does not use: they are passed over as all that is not known."""

Field = tuple[int, int | bytes]
"""Its tag (number * 8 + wire type), and its value: a varint as an unsigned number, all else as bytes."""


def malformed(detail: str = "no protobuf of OTLP") -> Flaw:
    return Flaw(Reason.MALFORMED_PROTOBUF, "", detail)


def varint(raw: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, of at most 64 bits, and where it ends. Raises `Flaw`."""
    value = shift = 0
    try:
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise malformed(f"byte {at}: a varint of more than 10 bytes")
    except IndexError:
        raise malformed("a varint is cut short") from None
    return value & 0xFFFF_FFFF_FFFF_FFFF, at


def fields(raw: bytes) -> Iterator[Field]:
    """The fields of a message in their order, groups left out. Raises `Flaw` if it is none."""
    at, end = 0, len(raw)
    while at < end:
        tag = raw[at]
        # Most numbers are of one byte.
        if tag < 0x80:
            at += 1
        else:
            tag, at = varint(raw, at)
        if not 8 <= tag < _MAX_TAG:
            raise malformed(f"byte {at}: a field of number {tag >> 3}")
        kind = tag & 7
        if kind == BYTES:
            if at < end and (size := raw[at]) < 0x80:
                at += 1
            else:
                size, at = varint(raw, at)
            start, at = at, at + size
            if at > end:
                raise malformed(f"byte {start}: a field of {size} bytes is cut short")
            yield tag, raw[start:at]
        elif kind == VARINT:
            value, at = varint(raw, at)
            yield tag, value
        elif kind in (FIXED64, FIXED32):
            start, at = at, at + (8 if kind == FIXED64 else 4)
            if at > end:
                raise malformed(f"byte {start}: a number is cut short")
            yield tag, raw[start:at]
        elif kind == START_GROUP:
            at = _after_group(raw, at, tag >> 3)
        else:
            raise malformed(f"byte {at}: wire type {kind}")


def _after_group(raw: bytes, at: int, number: int) -> int:
    """Where the group that has begun ends."""
    open_groups = [number]
    end = len(raw)
    while open_groups:
        tag, at = varint(raw, at)
        kind = tag & 7
        if not 8 <= tag < _MAX_TAG:
            raise malformed(f"byte {at}: a field of number {tag >> 3}")
        if kind == START_GROUP:
            open_groups.append(tag >> 3)
            if len(open_groups) > _MAX_GROUPS:
                raise malformed(f"byte {at}: groups nest deeper than {_MAX_GROUPS}")
        elif kind == END_GROUP:
            if open_groups.pop() != tag >> 3:
                raise malformed(f"byte {at}: another group ends than began")
        elif kind == VARINT:
            _, at = varint(raw, at)
        elif kind == BYTES:
            size, at = varint(raw, at)
            at += size
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise malformed(f"byte {at}: wire type {kind}")
        if at > end:
            raise malformed("a group is cut short")
    return at


def field_of(number: int, content: bytes) -> bytes:
    """A field of bytes, as it is written."""
    return written(number << 3 | BYTES) + written(len(content)) + content


def written(value: int) -> bytes:
    """A varint, as it is written."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
