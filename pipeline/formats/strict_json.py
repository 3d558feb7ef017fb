"""JSON as this pipeline accepts it: strict, and judged alike by every worker."""

from __future__ import annotations

from itertools import accumulate, islice
from typing import Any

import orjson

from pipeline.formats.limits import MAX_CONTAINERS, MAX_NESTING
from pipeline.formats.rejected import Reason, Rejected

_NO_MARKS = bytes(byte for byte in range(256) if byte not in b'{}[]"')
_CONTAINERS = (dict, list)  # a tuple is checked twice as fast as a union, and this is asked of every value


def _deepest_that_dumps() -> int:
    """How many levels of arrays orjson writes before it gives up: it counts, it does not ask for stack."""
    tree: list[Any] = []
    for levels in range(1, 10_000):
        try:
            orjson.dumps(tree)
        except orjson.JSONEncodeError:
            return levels - 1
        tree = [tree]
    raise AssertionError("orjson bounds the depth of what it writes")


_DUMPS_LEVELS = _deepest_that_dumps()
_CUT_LEVELS = 16
"""Few: orjson (3.13) writes past the end of its buffer where more than some 64 brackets close after a Fragment."""


def parse(
    value: bytes | None, max_bytes: int | None, max_nesting: int = MAX_NESTING
) -> dict[str, Any] | Rejected:
    """A record's JSON object. What passes is valid UTF-8 and strict JSON throughout, so that any reader of
    any part of it agrees: no NaN, no lone surrogate, no number beyond a double, no deep nesting.

    `max_bytes` bounds the record; None leaves that to the broker. Integers over 64 bits come back as floats.
    """
    if not value:
        return Rejected(Reason.EMPTY_RECORD, "the record has no value")
    if max_bytes is not None and len(value) > max_bytes:
        return Rejected(
            Reason.RECORD_TOO_LARGE, f"the record has {len(value)} bytes, at most {max_bytes} allowed"
        )
    # Each level takes a bracket to open and one to close.
    openings = value.count(b"{") + value.count(b"[") if len(value) > 2 * max_nesting else 0
    if openings > MAX_CONTAINERS and (fault := _fault_of_shape(value, max_nesting)) is not None:
        return fault
    try:
        tree = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return _why_not_json(value, error, max_nesting)
    if openings > max_nesting and _is_deeper(value, tree, openings, max_nesting):
        return _too_deep(max_nesting)
    if not isinstance(tree, dict):
        return Rejected(Reason.INVALID_TYPE, "$: an object")
    return tree


def dumps(tree: Any) -> bytes:
    """The JSON text of a tree that `parse` may have given: orjson writes fewer levels than are taken. Raises
    `orjson.JSONEncodeError` for what is no JSON."""
    try:
        return orjson.dumps(tree)
    except orjson.JSONEncodeError:
        return orjson.dumps(_in_pieces(tree, _CUT_LEVELS))


def _in_pieces(node: Any, levels: int) -> Any:
    """The same tree, with what is so many levels below written already."""
    if not isinstance(node, _CONTAINERS):
        return node
    if not levels:
        return orjson.Fragment(dumps(node))
    if isinstance(node, dict):
        return {name: _in_pieces(value, levels - 1) for name, value in node.items()}
    return [_in_pieces(value, levels - 1) for value in node]


def _why_not_json(value: bytes, error: orjson.JSONDecodeError, max_nesting: int) -> Rejected:
    try:
        value.decode()
    except UnicodeDecodeError as fault:
        return Rejected(Reason.INVALID_UTF8, f"byte {fault.start}: {fault.reason}; UTF-8 is required")
    if error.msg.startswith("depth limit exceeded"):
        return _too_deep(max_nesting)
    return Rejected(Reason.MALFORMED_JSON, f"strict JSON is required; character {error.pos}: {error.msg}")


def _too_deep(max_nesting: int) -> Rejected:
    return Rejected(Reason.TOO_DEEP, f"arrays and objects may nest {max_nesting} levels")


def _is_deeper(value: bytes, tree: Any, openings: int, levels: int) -> bool:
    """Whether containers of a text nest deeper than `levels`, those too that its tree does not have: of a field that
    stands twice the last counts, and others read the text anew. `openings` are its opening brackets, those in strings
    included.

    What orjson writes at all is not deeper than its own bound, and where as many brackets are written as came, nothing
    was left out: so nearly always nobody has to look at each of them.
    """
    wraps = max(0, _DUMPS_LEVELS - levels)
    for _ in range(wraps):
        tree = [tree]
    try:
        written = orjson.dumps(tree)
    except orjson.JSONEncodeError:
        return _depth(value) > levels
    is_whole = written.count(b"{") + written.count(b"[") - wraps == openings and b"\\u" not in value
    return not is_whole and _depth(value) > levels


def _depth(value: bytes) -> int:
    """How many levels of containers a JSON text has."""
    return max(accumulate(1 if byte in b"{[" else -1 for byte in _brackets(value)), default=0)


def _fault_of_shape(value: bytes, max_nesting: int) -> Rejected | None:
    """The fault of a record that may hold too many containers, found without building them."""
    bare = _brackets(value)
    count = bare.count(b"{") + bare.count(b"[")
    allowed = MAX_CONTAINERS * -(-len(value) // 1_000_000)
    if count <= allowed:
        return None
    steps = (1 if byte in b"{[" else -1 for byte in bare)
    if max(accumulate(islice(steps, 4 * max_nesting))) > max_nesting:
        return _too_deep(max_nesting)
    return Rejected(Reason.TOO_MANY_VALUES, f"{count} arrays and objects, at most {allowed} in so many bytes")


def _brackets(value: bytes) -> bytes:
    """The brackets of a JSON text that stand outside its strings."""
    if b"\\" in value:
        value = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Taking out two quotes side by side leaves everything else inside or outside of strings as it was.
    return b"".join(value.translate(None, _NO_MARKS).replace(b'""', b"").split(b'"')[::2])
