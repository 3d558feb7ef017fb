"""The lines of a Sentry envelope: its header, then of each item a header and a payload.

https://develop.sentry.dev/sdk/foundations/transport/envelopes/ ("Serialization Format"): a payload has as many bytes as
`length` says, or goes up to the next new line where its header does not say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from pipeline.formats.limits import MAX_BODY_BYTES, MAX_BODY_EVENTS
from pipeline.formats.mending import read_json
from pipeline.formats.rejected import Reason, Rejected, record_too_large

_BLANKS = re.compile(rb"[ \t\r\n]*+")


class ItemLines(NamedTuple):
    """One item, its payload not read."""

    type: str
    payload: bytes
    lines: bytes
    """Its header and its payload."""


class EnvelopeLines(NamedTuple):
    """An envelope, the payloads of its items not read."""

    header: Mapping[str, Any]
    items: list[ItemLines | Rejected]
    """What is refused of them is without an index, with its own lines as its part."""


def read_lines(value: bytes | None) -> EnvelopeLines | Rejected:
    """The lines of an envelope, or why it is refused. It may come as one JSON text, so that it fits into a line.

    Where an item's header is none, it cannot be told where the next one begins, and the rest is refused.
    """
    if value and len(value) > MAX_BODY_BYTES:
        return record_too_large(len(value), MAX_BODY_BYTES)
    if value and value.lstrip()[:1] == b'"':
        try:
            value = str(orjson.loads(value)).encode()
        except orjson.JSONDecodeError as error:
            return Rejected(
                Reason.MALFORMED_JSON,
                f"an envelope, or one as a JSON text: character {error.pos}: {error.msg}",
            )
    first, _, _ = (value or b"").partition(b"\n")
    header = read_json(first if value else value, MAX_BODY_BYTES)
    if isinstance(header, Rejected):
        return header
    assert value is not None
    return EnvelopeLines(header.tree, _items(value, len(first) + 1))


def _items(value: bytes, at: int) -> list[ItemLines | Rejected]:
    items: list[ItemLines | Rejected] = []
    while (at := _after_blanks(value, at)) < len(value):
        path = f"items[{len(items)}]"
        if len(items) >= MAX_BODY_EVENTS:
            items.append(
                Rejected(Reason.TOO_MANY_EVENTS, f"{path}: at most {MAX_BODY_EVENTS} items", part=value[at:])
            )
            break
        begin, end = at, _end_of_line(value, at)
        read = read_json(value[at:end], MAX_BODY_BYTES)
        if isinstance(read, Rejected):
            items.append(Rejected(read.reason, f"{path}: its header: {read.detail}", part=value[at:]))
            break
        at, length = end + 1, read.tree.get("length")
        told = length if isinstance(length, int) and length >= 0 else None
        end = _end_of_line(value, at) if told is None else min(at + told, len(value))
        kind = read.tree.get("type")
        if isinstance(kind, str):
            items.append(ItemLines(kind, value[at:end], value[begin:end]))
        else:
            items.append(
                Rejected(Reason.INVALID_TYPE, f"{path}.type: required, a string", part=value[begin:end])
            )
        at = end + 1
    return items


def _after_blanks(value: bytes, at: int) -> int:
    found = _BLANKS.match(value, at)
    return found.end() if found else at


def _end_of_line(value: bytes, at: int) -> int:
    end = value.find(b"\n", at)
    return len(value) if end < 0 else end
