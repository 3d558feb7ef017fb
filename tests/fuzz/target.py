"""What the fuzzer asks of a decoder under test, and what it may say of an outcome."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from random import Random
from typing import Any, NamedTuple, Protocol

import orjson

from pipeline.formats.rejected import MAX_DETAIL_CHARS, Reason, Rejected


class Escaped(AssertionError):
    """A decoder broke one of its promises."""


class Seen(NamedTuple):
    """What became of one input."""

    accepted: bool
    shape: Hashable
    """Inputs of one shape took about the same way; one of a new shape is worth changing further."""


class Target(Protocol):
    """One decoder, its seeds, and the promises that it must keep. An input is bytes."""

    limit_ms: float | None
    """Longest time for a record at the size limit; None where nobody outside chooses the input."""

    def seeds(self) -> list[bytes]:
        """Inputs to begin with, always the same."""

    def mutate(self, data: bytes, random: Random) -> bytes:
        """Another input, a function of its arguments."""

    def at_limit(self, data: bytes, random: Random) -> bytes | None:
        """One like it, blown up to the size limit; None if the decoder has none."""

    def prepared(self, data: bytes) -> Callable[[], object]:
        """The decoder alone on an input, for timing; catches its documented errors."""

    def check(self, data: bytes) -> Seen:
        """Decode and check every promise; raises `Escaped`, or whatever escapes from the decoder."""


def require(kept: object, promise: str) -> None:
    """Raise `Escaped` unless a promise was kept. Not `assert`: it must hold under -O and say what broke."""
    if not kept:
        raise Escaped(promise)


def check_rejected(rejected: Rejected) -> tuple[str, bool]:
    """Its shape, once reason and detail are as promised."""
    require(isinstance(rejected.reason, Reason), "a refusal has a reason of the list")
    require(0 < len(rejected.detail) <= MAX_DETAIL_CHARS, "a refusal's detail is 1 to 300 characters")
    rejected.detail.encode()
    return str(rejected.reason), rejected.event_index is None


def check_indexes(refused: Iterable[Rejected], count: int) -> set[int]:
    """The events at fault: in order, each once, each one of the record's."""
    indexes = [each.event_index for each in refused if each.event_index is not None]
    require(indexes == sorted(set(indexes)), "refused events come in order, each once")
    require(all(0 <= index < count for index in indexes), "a refused event is one of the record's")
    return set(indexes)


def check_row(row: bytes, columns: Iterable[tuple[str, str]], *, binary: bool = False) -> dict[str, Any]:
    """A row of the sink's, parsed: one line of strict JSON whose fields are columns, their numbers in range.

    With `binary` the row may carry bytes that are not UTF-8: each byte is read as the character of its number.
    """
    require(b"\n" not in row and b"\r" not in row, "a row is one line")
    parsed: dict[str, Any] = orjson.loads(row.decode("latin-1") if binary else row)
    types = dict(columns)
    require(parsed.keys() <= types.keys(), "a row's fields are columns")
    for name, value in parsed.items():
        bounds = _RANGES.get(types[name])
        if bounds is not None:
            require(type(value) is int and bounds[0] <= value <= bounds[1], f"{name} fits its column")
    return parsed


_RANGES = {f"UInt{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)}
_RANGES |= {f"Int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (32, 64)}
