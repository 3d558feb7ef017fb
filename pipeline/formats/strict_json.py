"""JSON as this pipeline accepts it: strict, and judged alike by every worker."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import msgspec
import orjson

from pipeline.formats.limits import MAX_CONTAINERS, MAX_NESTING
from pipeline.formats.rejected import Reason, Rejected, record_too_large

_NO_MARKS = bytes(byte for byte in range(256) if byte not in b'{}[]"')
_AS_IT_IS = msgspec.json.Encoder(decimal_format="number")
_SORTED = msgspec.json.Encoder(decimal_format="number", order="sorted")
_CONTAINERS = frozenset({dict, list, tuple})
_LIKE_ONE = re.compile(rb"e[0-9]")
"""Nearly no text has it, and it is found fast."""
_MAYBE_EXPONENT = re.compile(rb"(?:^|[:,\[])-?[0-9.]+e[0-9]")
"""What is found may also lie within a text."""
_EXPONENT = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")|e(?=[0-9])')
"""A text, to be passed over, or the sign of an exponent."""
_WITHOUT_SIGN = re.compile(rb"e(?=[0-9])")
_EASY_PASSES = 24
_FEW_BRACKETS = 4_096
"""Of these it takes less to count their levels one by one than to pass over all even a few times."""
_step = [1 if byte in b"{[" else -1 for byte in range(256)].__getitem__
"""What a bracket does to the depth."""


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
        return record_too_large(len(value), max_bytes)
    # Each level takes a bracket to open and one to close.
    openings = value.count(b"{") + value.count(b"[") if len(value) > 2 * max_nesting else 0
    if openings > MAX_CONTAINERS and (fault := _fault_of_shape(value, max_nesting)) is not None:
        return fault
    try:
        tree = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return _why_not_json(value, error, max_nesting)
    if openings > max_nesting and _is_deeper(value, max_nesting):
        return _too_deep(max_nesting)
    if not isinstance(tree, dict):
        return Rejected(Reason.INVALID_TYPE, "$: an object")
    return tree


def dumps(tree: Any, *, sort_keys: bool = False) -> bytes:
    """The JSON text of a tree of what devices sent, nested as deep as `parse` allows: what orjson would write.

    It is msgspec that writes it. orjson cannot be given such a tree: up to 3.13 it writes past the end of its buffer,
    into what the process keeps beside it. It makes room for an array when it begins, and none for what follows a text
    or an array in it, nor for the brackets that close at the end. The two differ in one thing: orjson writes a plus in
    front of a positive exponent. Integers of any size and Decimals are written as they are. Raises TypeError for what
    is not JSON.
    """
    if type(tree) is dict and _CONTAINERS.isdisjoint(map(type, tree.values())):
        # Of single values alone: it makes room at each name.
        try:
            return orjson.dumps(tree, option=orjson.OPT_SORT_KEYS if sort_keys else None)
        except TypeError:
            pass  # A Decimal, or an integer of more than 64 bits: below.
    text = _SORTED.encode(tree) if sort_keys else _AS_IT_IS.encode(tree)
    if _LIKE_ONE.search(text) and _MAYBE_EXPONENT.search(text):
        return _with_pluses(text)
    return text


def _with_pluses(text: bytes) -> bytes:
    """JSON whose positive exponents have a sign. Where no text holds a quote, all that is outside is done at once."""
    if b'\\"' in text.replace(b"\\\\", b""):
        return _EXPONENT.sub(_with_plus, text)
    parts = text.split(b'"')
    parts[::2] = _WITHOUT_SIGN.sub(b"e+", b'"'.join(parts[::2])).split(b'"')
    return b'"'.join(parts)


def _with_plus(found: re.Match[bytes]) -> bytes:
    return found[1] or b"e+"


dumps_text: Callable[[str], bytes] = orjson.dumps
"""The JSON text of a text alone, as fast as can be."""


def dumps_flat(flat: dict[str, Any]) -> bytes:
    """`dumps` with sorted keys, of an object that is known to hold single values alone: nothing looks for others."""
    return orjson.dumps(flat, option=orjson.OPT_SORT_KEYS)


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


def _is_deeper(value: bytes, levels: int) -> bool:
    """Whether containers of a text nest deeper than `levels`, those too that its tree does not have: of a field that
    stands twice the last counts, and others read the text anew."""
    bare = brackets = _brackets(value)
    if len(brackets) <= _FEW_BRACKETS:
        return _depth(brackets) > levels
    # Each pass takes away the innermost one or two levels of all, so nearly always few show that there are few.
    for _ in range(min(_EASY_PASSES, levels // 2)):
        bare = bare.replace(b"{}", b"").replace(b"[]", b"")
        if not bare:
            return False
    return _depth(brackets) > levels


def _depth(brackets: bytes) -> int:
    """How many levels these open, at most."""
    return max(accumulate(map(_step, brackets)), default=0)


def _fault_of_shape(value: bytes, max_nesting: int) -> Rejected | None:
    """The fault of a record that may hold too many containers, found without building them."""
    bare = _brackets(value)
    count = bare.count(b"{") + bare.count(b"[")
    allowed = MAX_CONTAINERS * -(-len(value) // 1_000_000)
    if count <= allowed:
        return None
    if _depth(bare[: 4 * max_nesting]) > max_nesting:
        return _too_deep(max_nesting)
    return Rejected(Reason.TOO_MANY_VALUES, f"{count} arrays and objects, at most {allowed} in so many bytes")


def _brackets(value: bytes) -> bytes:
    """The brackets of a JSON text that stand outside its strings."""
    if b"\\" in value:
        value = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Taking out two quotes side by side leaves everything else inside or outside of strings as it was.
    return b"".join(value.translate(None, _NO_MARKS).replace(b'""', b"").split(b'"')[::2])
