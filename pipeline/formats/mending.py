"""JSON of which single values are none: mended, with the places (CONTRACT, "A fault costs the smallest thing").

Half a surrogate pair, escaped or in bytes, and bytes that are not UTF-8 become U+FFFD; NaN, infinities and numbers
beyond a double become null; a byte order mark is passed over. All else stays byte for byte. The same bytes are mended
alike, always.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from math import isinf
from typing import Any, NamedTuple

from pipeline.formats.limits import MAX_NESTING
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.strict_json import parse

MAX_PLACES = 16
"""Of what is said to be repaired of one event; where there are more, the last one is `…`."""
MAX_PLACE_CHARS = 128
MORE = "…"
_MAX_LOOKED_AT = 256
"""Of places, among which those are looked for that are told: hundreds of thousands may all be cut to one text."""

_BOM = b"\xef\xbb\xbf"
_MENDABLE = (Reason.INVALID_UTF8, Reason.MALFORMED_JSON)

# No valid text has 0xED before these: so the halves of a pair look, each encoded as if it were a character (CESU-8).
_PAIR = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
_HALF = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_HALF_ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")
# Each pattern begins with what it can begin with alone: one that begins by looking back is tried at each byte.
_LONE_ESCAPED = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
_FLAT = bytes.maketrans(
    b"123456789. \t\n\r]}ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"0000000000,,,,,,abcdefghijklmnopqrstuvwxyz"
)
"""All digits as one, what can follow a number as a comma, and letters as small ones."""
_TOO_LARGE = re.compile(rb"0e\+?0{3,}+,")
# A text without an end goes to the end of all, or this would take quadratic time.
_TEXTS = re.compile(rb'("(?:[^"\\]++|\\.)*+(?:"|\\?\Z))', re.DOTALL)
_AFTER_NO_WORD = rb"(?<![0-9A-Za-z.+-].)"
_BEFORE_NO_WORD = rb"(?![0-9A-Za-z.+-])"
_INFINITY = rb"[nN][fF](?:[iI][nN][iI][tT][yY])?"
_NO_NUMBER = re.compile(
    rb"[+\-nNiI]" + _AFTER_NO_WORD + rb"(?:(?<=[nN])[aA][nN]|(?<=[iI])" + _INFINITY
    + rb"|(?<=[+-])(?:[nN][aA][nN]|[iI]" + _INFINITY + rb"))" + _BEFORE_NO_WORD,
    re.DOTALL,
)  # fmt: skip
_LARGE = re.compile(
    rb"[0-9-]" + _AFTER_NO_WORD + rb"(?:(?<=-)[0-9])?(?<=[0-9])(?:[0-9.]*+[eE]\+?[0-9]{3,}+"
    rb"|[0-9.]{99,}+(?:[eE][+-]?[0-9]++)?+)" + _BEFORE_NO_WORD,
    re.DOTALL,
)
"""Numbers that a double may not hold: any other has fewer than 100 digits, and fewer than 3 in its exponent."""

_CONTAINERS = (dict, list)


class Repairs(NamedTuple):
    """What was mended, as dead letters name places: of the record itself, and of its events by index."""

    head: tuple[str, ...]
    events: Mapping[int, tuple[str, ...]]

    def of(self, index: int) -> tuple[str, ...]:
        """What was mended of an event, and of what it shares with all others of its record."""
        return bounded((*self.head, *self.events.get(index, ())))

    def __bool__(self) -> bool:
        return bool(self.head or self.events)


NO_REPAIRS = Repairs((), {})


class Read(NamedTuple):
    """A record's JSON object."""

    value: bytes
    """Strict JSON, byte for byte as it came where nothing was mended."""
    tree: dict[str, Any]
    """The parsed `value`."""
    otherwise: dict[str, Any] | None
    """The same, had it been mended in another way; what differs was mended. None if nothing was."""


def read_json(value: bytes | None, max_bytes: int | None, max_nesting: int = MAX_NESTING) -> Read | Rejected:
    """`parse`, of what remains once single values are mended. `max_bytes` is for the record as it came."""
    tree = parse(value, max_bytes, max_nesting)
    if not isinstance(tree, Rejected):
        assert value is not None, "parse refuses a record without a value"
        return Read(value, tree, None)
    if tree.reason not in _MENDABLE or value is None:
        return tree
    refused = tree
    mended = _mended(value, _MENDED)
    if mended == value:
        return refused
    tree = parse(mended, None, max_nesting)
    if isinstance(tree, Rejected):
        # It is not JSON for another reason, which is the one to name; what is not even UTF-8 is not JSON at all.
        return refused if refused.reason is Reason.INVALID_UTF8 else tree
    otherwise = parse(_mended(value, _OTHERWISE), None, max_nesting)
    assert isinstance(otherwise, dict), "what is put in differs, what it is put into does not"
    return Read(mended, tree, otherwise)


def repairs_of(
    read: Read, head: Iterable[str], fields: frozenset[str] | None, listed: str = "events"
) -> Repairs:
    """The places that were mended of these fields of the record and of its events (None: of all their fields).

    `listed` is the field of the record that holds them.
    """
    tree, otherwise = read.tree, read.otherwise
    if otherwise is None:
        return NO_REPAIRS
    of_head = (place for name in head for place in _differences(tree.get(name), otherwise.get(name), name))
    events, others = tree.get(listed), otherwise.get(listed)
    of_events: dict[int, tuple[str, ...]] = {}
    if isinstance(events, list) and isinstance(others, list):
        for index, (event, other) in enumerate(zip(events, others, strict=True)):
            if isinstance(event, dict) and (
                places := bounded(_differences(event, other, f"{listed}[{index}]", fields))
            ):
                of_events[index] = places
    return Repairs(bounded(of_head), of_events)


def mended_places(one: Any, other: Any, name: str) -> tuple[str, ...]:
    """The places at which two ways to mend a value differ, as seen from what has it under a name."""
    return bounded(_differences(one, other, name))


def bounded(places: Iterable[str]) -> tuple[str, ...]:
    """The first of these places, each once."""
    found: dict[str, None] = {}
    for looked_at, place in enumerate(places):
        found[place] = None
        if len(found) > MAX_PLACES or looked_at == _MAX_LOOKED_AT:
            return (*list(found)[: MAX_PLACES - 1], MORE)
    return tuple(found)


def bounded_place(place: str) -> str:
    """A place as an event may have it: of what is too long, its beginning."""
    return place if len(place) <= MAX_PLACE_CHARS else place[: MAX_PLACE_CHARS - 1] + MORE


class _Means(NamedTuple):
    """What is put where something is mended."""

    pair: bytes | None
    """For a pair whose halves are encoded each by itself; None: the character that they are together."""
    half: bytes
    escaped: bytes
    """As the replacement in a regular expression is written."""
    number: bytes
    utf8: Callable[[bytes], bytes]


class _Joined(dict[bytes, bytes]):
    """Pairs, and the characters that they are: by hand, since codecs take ten times as long for each."""

    def __missing__(self, pair: bytes) -> bytes:
        high = (pair[1] & 0x0F) << 6 | pair[2] & 0x3F
        low = (pair[4] & 0x0F) << 6 | pair[5] & 0x3F
        self[pair] = chr(0x10000 + (high << 10 | low)).encode()
        return self[pair]


_MENDED = _Means(
    pair=None,
    half="\ufffd".encode(),
    escaped=rb"\\ufffd",
    number=b"null",
    utf8=lambda value: value.decode("utf-8", "replace").encode(),
)
_OTHERWISE = _Means(
    pair=b"?",
    half=b"?",
    escaped=rb"\\u003f",
    number=b"0",
    utf8=lambda value: value.decode("utf-8", "surrogateescape").encode("utf-8", "replace"),
)


def _mended(value: bytes, means: _Means) -> bytes:
    """Every step is linear in the record, and done by the libraries: it may be a million bytes of faults."""
    value = value.removeprefix(_BOM)
    try:
        value.decode()
    except UnicodeDecodeError:
        joined = _Joined()
        value = _PAIR.sub((lambda found: joined[found[0]]) if means.pair is None else means.pair, value)
        value = means.utf8(_HALF.sub(means.half, value))
    if _HALF_ESCAPED.search(value) and b"\0" not in value:
        # Escaped backslashes out of the way, behind which there may be an escape in seeming only.
        value = _LONE_ESCAPED.sub(means.escaped, value.replace(rb"\\", b"\0\0")).replace(b"\0\0", rb"\\")
    if _may_be_infinite(value):
        value = _finite(value, means.number)
    return value


def _may_be_infinite(value: bytes) -> bool:
    """Whether there may be a number of no double outside of texts, or what looks like one within: seldom, for no id or
    name ends like that in front of a comma or bracket. What is followed by anything else cannot be mended."""
    flat = value.translate(_FLAT) + b","
    return any(each in flat for each in (b"nan,", b"inf,", b"infinity,", b"0" * 100)) or bool(
        _TOO_LARGE.search(flat)
    )


def _finite(value: bytes, number: bytes) -> bytes:
    """The JSON text with `number` for what stands outside of texts and is a number of no double."""
    # Where no text holds a quote, as is usual, they are all that begins and ends one, and are found ten times as fast.
    if b'\\"' in value.replace(rb"\\", b"\0\0"):
        around, between = _TEXTS.split(value), b""
    else:
        around, between = value.split(b'"'), b'"'
    bare = b'"'.join(around[::2])
    lowered = bare.lower()
    if b"nan" in lowered or b"inf" in lowered:
        bare = _NO_NUMBER.sub(number, bare)
    bare = _LARGE.sub(lambda found: number if _is_infinite(found[0]) else found[0], bare)
    around[::2] = bare.split(b'"')
    return between.join(around)


def _is_infinite(number: bytes) -> bool:
    try:
        return isinf(float(number))
    except ValueError:
        return False


def _differences(one: Any, other: Any, place: str, fields: frozenset[str] | None = None) -> Iterator[str]:
    """The places from this one down at which two readings of a text differ, in the order of the text; of its own
    `fields` alone, where they are given.

    Each is told in bounded time: of what is below a place that is too long to be told, the place itself is.
    """
    if len(place) > MAX_PLACE_CHARS or not _are_alike(one, other):
        if one != other and fields is None:
            yield bounded_place(place)
        return
    below = [(place, _children(one, other, fields))]
    while below:
        place, children = below[-1]
        for key, a, b in children:
            if isinstance(a, _CONTAINERS):
                inner = _inner(place, key)
                if len(inner) <= MAX_PLACE_CHARS and _are_alike(a, b):
                    below.append((inner, _children(a, b)))
                    break
            if a != b:
                yield bounded_place(_inner(place, key))
        else:
            below.pop()


def _inner(place: str, key: int | str) -> str:
    return f"{place}[{key}]" if isinstance(key, int) else f"{place}.{key}"


def _are_alike(one: Any, other: Any) -> bool:
    """Whether both are objects, or both arrays, of as many members."""
    return isinstance(one, _CONTAINERS) and type(one) is type(other) and len(one) == len(other)


def _children(
    one: Any, other: Any, fields: frozenset[str] | None = None
) -> Iterator[tuple[int | str, Any, Any]]:
    """Keys and values of two readings; a key that was mended is one more difference."""
    if isinstance(one, list):
        yield from zip(count(), one, other)
        return
    for (key, a), (same, b) in zip(one.items(), other.items(), strict=True):
        if fields is not None and key not in fields:
            continue
        if key != same:
            yield key, True, False
        yield key, a, b
