"""Single values that are no JSON: what they become, and what is said of it, against documents broken on purpose."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.limits import MAX_BODY_BYTES
from pipeline.formats.mending import MORE, bounded, read_json, repairs_of

NUMBERS = [b"NaN", b"nan", b"-NaN", b"Infinity", b"-Infinity", b"+Infinity", b"inf", b"-INF", b"1e309", b"-1E+0999",
           b"9" * 309, b"-" + b"9" * 300 + b".5e9"]  # fmt: skip
SOUND = [b"0", b"-0.0", b"1e308", b"1E-999", b"9" * 308, b"1.50", b"true", b"false"]
# What stands in a text, and what it becomes: None stays as it came.
PARTS: list[tuple[bytes, str | None]] = [
    (b"\\ud83d", "\ufffd"), (b"\\uDC00", "\ufffd"), (b"\\udc00\\ud83d", "\ufffd\ufffd"),
    (b"\xed\xa0\xbd", "\ufffd"), (b"\xed\xb8\x80", "\ufffd"), (b"\xed\xa0\xbd\xed\xb8\x80", "\U0001f600"),
    (b"\\ud83d\xed\xb8\x80", "\ufffd\ufffd"), (b"\xff", "\ufffd"), (b"\xf0\x9f\x98", "\ufffd"), (b"\xc3", "\ufffd"),
    (b"\\ud83d\\ude00", None), (b"\xf0\x9f\x98\x80", None), (b"\\\\ud83d", None), (b"\\\\", None), (b'\\"', None),
    (b"NaN,", None), (b": 1e999 ", None), (b"\\ufffd", None), (b"\xef\xbf\xbd", None), (b"?", None), (b"\\n", None),
]  # fmt: skip


class Broken(NamedTuple):
    """A value as it stands in the record, as it is to be read, and where something in it is repaired."""

    text: bytes
    read: Any
    places: list[str]


@st.composite
def texts(draw: st.DrawFn) -> Broken:
    raw, read, is_broken = b"", "", False
    for part in draw(st.lists(st.sampled_from(PARTS), max_size=4)):
        # A letter between parts, which else may be one: half a pair and half a pair.
        raw += part[0] + b"x"
        read += (part[1] if part[1] is not None else json.loads(b'"' + part[0] + b'"')) + "x"
        is_broken |= part[1] is not None
    return Broken(b'"' + raw + b'"', read, [""] if is_broken else [])


leaves = (
    texts()
    | st.sampled_from(NUMBERS).map(lambda raw: Broken(raw, None, [""]))
    | st.sampled_from(SOUND).map(lambda raw: Broken(raw, orjson.loads(raw), []))
    | st.just(Broken(b"null", None, []))
)


def listed(items: list[Broken]) -> Broken:
    places = [f"[{index}]{place}" for index, item in enumerate(items) for place in item.places]
    return Broken(
        b"[" + b" ,".join(item.text for item in items) + b"]", [item.read for item in items], places
    )


def keyed(items: list[tuple[Broken, Broken]]) -> Broken:
    raw, read, places = [], {}, []
    for number, (key, value) in enumerate(items):
        # Keys that differ, so that none stands twice.
        name = f"k{number}{key.read}"
        raw.append(b'"k%d' % number + key.text[1:] + b": " + value.text)
        read[name] = value.read
        places += [f".{name}{place}" for place in (*key.places, *value.places)]
    return Broken(b"{" + b",\r\n".join(raw) + b"}", read, places)


def below(inner: st.SearchStrategy[Broken]) -> st.SearchStrategy[Broken]:
    pairs = st.lists(st.tuples(texts(), inner), max_size=3)
    return st.lists(inner, max_size=3).map(listed) | pairs.map(keyed)


values = st.recursive(leaves, below, max_leaves=6)
events = st.lists(st.tuples(st.just(Broken(b'""', "", [])), values), min_size=1, max_size=3).map(keyed)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.lists(events, max_size=3), values, values, st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_what_is_broken_is_mended_and_nothing_else(
    inside: list[Broken], head: Broken, unknown: Broken, mark: bytes
) -> None:
    record = b'{"head":%b,"unknown":%b,"events":%b}' % (head.text, unknown.text, listed(inside).text)
    read = read_json(mark + record, MAX_BODY_BYTES)
    assert not isinstance(read, tuple) or read == read_json(mark + record, MAX_BODY_BYTES)
    assert hasattr(read, "tree"), read
    expected = {"head": head.read, "unknown": unknown.read, "events": [event.read for event in inside]}
    assert read.tree == expected and orjson.loads(read.value) == expected
    repairs = repairs_of(read, ("head",), None)
    assert repairs.head == bounded(f"head{place}" for place in head.places)
    for index, event in enumerate(inside):
        own = bounded(f"events[{index}]{place}" for place in event.places)
        assert repairs.events.get(index, ()) == own
        assert repairs.of(index) == bounded((*repairs.head, *own))
        first = repairs_of(read, ("head",), frozenset(["k0"])).events.get(index, ())
        assert first == bounded(
            place for place in own if place.startswith(f"events[{index}].k0") or place == MORE
        )
    if not (head.places or unknown.places or any(event.places for event in inside)):
        assert read.value == record
