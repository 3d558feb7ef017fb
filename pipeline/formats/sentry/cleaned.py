"""The privacy rules on a refused envelope of Sentry's: on each of its lines by itself, so that it stays an envelope."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from pipeline.formats.format import Cleans
from pipeline.formats.limits import MAX_BODY_EVENTS
from pipeline.formats.mending import read_json
from pipeline.formats.rejected import Rejected
from pipeline.formats.strict_json import dumps


def cleaned(value: bytes, cleans: Cleans) -> bytes | None:
    """An envelope, or a part of one, as the rules leave it, where an item's header says the new length of its payload.

    Payloads that are not JSON stay as they are; None if such a one may hold something that the rules name. What was
    written as one JSON text is one again.
    """
    whole = cleans.json(value)
    if whole is not None:
        return whole
    if value.lstrip()[:1] == b'"':
        try:
            text = str(orjson.loads(value)).encode()
        except orjson.JSONDecodeError:
            return None
        made = _lines(text, cleans)
        return value if made == text else made and dumps(made.decode("utf-8", "replace"))
    made = _lines(value, cleans)
    return value if made == value else made


def _lines(value: bytes, cleans: Cleans) -> bytes | None:
    made = []
    for piece in _pieces(value):
        header, payload = (_piece(each, cleans) for each in piece)
        if header is None or payload is None:
            return None
        made += [_with_length(header, len(payload)) if payload != piece[1] else header, payload]
    return b"".join(made)


def _pieces(value: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Headers with their payloads, together all of the bytes: the envelope's first, which has none. Behind what is no
    header, or behind too many, all of the rest is a payload, line by line."""
    at = _end_of_line(value, 0)
    yield value[:at], b""
    for _ in range(2 * MAX_BODY_EVENTS):  # A blank line may be between any two.
        end = _end_of_line(value, at)
        header, at = value[at:end], end
        if not header:
            return
        if not header.isspace():
            read = read_json(header, None)
            if isinstance(read, Rejected):
                at -= len(header)
                break
            length = read.tree.get("length")
            told = length if isinstance(length, int) and length >= 0 else None
            end = _end_of_line(value, at) if told is None else min(at + told, len(value))
        yield header, value[at:end]
        at = end
    for _ in range(MAX_BODY_EVENTS):
        end = _end_of_line(value, at)
        yield b"", value[at:end]
        at = end
    yield b"", value[at:]


def _piece(piece: bytes, cleans: Cleans) -> bytes | None:
    """A line, or a payload: with the blanks behind it as they are."""
    text = piece.rstrip(b" \t\r\n")
    if not text:
        return piece
    made = cleans.json(text)
    if made is None:
        made = cleans.opaque(text)
    return made and made + piece[len(text) :]


def _with_length(header: bytes, length: int) -> bytes:
    text = header.rstrip(b" \t\r\n")
    read = read_json(text, None)
    if isinstance(read, Rejected) or "length" not in read.tree:
        return header
    return dumps({**read.tree, "length": length}) + header[len(text) :]


def _end_of_line(value: bytes, at: int) -> int:
    end = value.find(b"\n", at)
    return len(value) if end < 0 else end + 1
