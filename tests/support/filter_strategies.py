"""Arbitrary filters as JSON documents, with values from a world's own rows so that they tell sessions apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from pipeline.query.dimensions import DIMENSIONS, KEYED_OPERATORS, Dimension
from pipeline.query.filters.check import MAX_TEXT
from tests.support.filter_oracle import Document, World, version_order

_ORDER = ("gt", "gte", "lt", "lte", "between")


class Vocabulary:
    """What occurs in a world: values by dimension, event names, attributes by event name, values by attribute."""

    def __init__(self, world: World) -> None:
        self.sessions = world.sessions
        self._world = world
        self.properties = _by_key(row["properties"] for row in world.sessions)
        self.resources = _by_key(row["resource"] for row in world.sessions)
        self.events: dict[str, dict[str, list[str]]] = {}
        for session in world.sessions:
            for event in world.events_of(session):
                of_name = self.events.setdefault(event["name"], {})
                for key, value in event["attributes"].items():
                    # As much as a filter's value may have: stack traces are longer.
                    of_name.setdefault(key, []).append(value[:MAX_TEXT])
        self.groups = sorted({group for row in world.sessions for group in world.groups_of(row)})
        self.lengths = (0, 1, 2, 3, 5)

    def values(self, dimension: Dimension) -> list[Any]:
        """Of a dimension without a key, as its tests take them."""
        match dimension.name:
            case "user.persona":
                return sorted({each for row in self.sessions for each in row["personas"]})
            case "user.id":
                return sorted({"", *(each for row in self.sessions for each in row["user_ids"])})
            case "crash.group":
                return self.groups
            case "user.property":
                return sorted(self.properties)
            case "session.stitched_length" | "session.returned_after_days":
                return list(self.lengths)
            case "device.country" | "device.region":
                key = f"geo.{dimension.name.removeprefix('device.')}.iso_code"
                return sorted(set(self.resources.get(key, ["DE"])))
        if dimension.type == "boolean":
            return [True, False]
        if dimension.type == "choice":
            return list(dimension.values)
        found = [self._world.found(dimension.name, row) for row in self.sessions]
        if dimension.type == "list":
            return sorted({each for several in found for each in several})
        # As much as a filter's value may have: all screens of a session are more.
        return sorted(
            {each[:MAX_TEXT] if isinstance(each, str) else each for each in found if each is not None}
        )


def _by_key(maps: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in maps:
        for key, value in each.items():
            found.setdefault(key, []).append(value)
    return found


def filters(words: Vocabulary) -> st.SearchStrategy[Document]:
    """Nested filters of all dimensions, operators and event tests."""
    leaves = st.one_of(session_tests(words), session_tests(words), keyed_tests(words), events(words))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(lambda each: {"all": each}, st.lists(inner, max_size=4)),
            st.builds(lambda each: {"any": each}, st.lists(inner, max_size=4)),
            st.builds(lambda each: {"not": each}, inner),
        ),
        max_leaves=6,
    )


@st.composite
def session_tests(draw: st.DrawFn, words: Vocabulary) -> Document:
    """A test of a dimension without a key."""
    dimension = draw(st.sampled_from(sorted(DIMENSIONS.values(), key=lambda each: each.name)))
    operator = draw(st.sampled_from(dimension.operators))
    known = words.values(dimension)
    if dimension.type == "time":
        return _test("dimension", dimension.name, operator, draw(_times(operator, known)))
    if dimension.is_version and operator in _ORDER:
        known = [each for each in known if re.search("[0-9]", each)] or ["1.0"]
        return _test("dimension", dimension.name, operator, draw(_versions(operator, known)))
    if dimension.is_duration and operator in _ORDER and draw(st.booleans()):
        span = st.integers(0, 10**7).map(lambda ms: (ms, f"{ms // 1_000}s{ms % 1_000}ms"))
        value = draw(_shaped(operator, span))
        told = [text for _, text in value] if isinstance(value, list) else value[1]
        return _test("dimension", dimension.name, operator, told)
    if dimension.type == "number":
        return _test("dimension", dimension.name, operator, draw(_numbers(operator, known)))
    if dimension.type in ("boolean", "choice", "id"):
        one = st.sampled_from(known)
        value = draw(st.lists(one, min_size=1, max_size=3)) if operator == "in" else draw(one)
        return _test("dimension", dimension.name, operator, value)
    if operator == "exists":
        key = dimension.name == "user.property" and draw(st.booleans())
        return _test("dimension", dimension.name, operator, draw(_text(known)) if key else True)
    return _test("dimension", dimension.name, operator, draw(_texts(operator, known)))


@st.composite
def keyed_tests(draw: st.DrawFn, words: Vocabulary) -> Document:
    """A test of a property or a part of the resource."""
    start, known = draw(
        st.sampled_from((("user.property.", words.properties), ("resource.", words.resources)))
    )
    key = draw(st.one_of(st.sampled_from(sorted(known)), st.just("nowhere")))
    return draw(_keyed("dimension", start + key, known.get(key, [])))


@st.composite
def events(draw: st.DrawFn, words: Vocabulary, following: int = 2) -> Document:
    """An event, tests of its attributes, and what follows it."""
    name = draw(st.sampled_from(sorted(words.events)))
    attributes = words.events[name]
    document: Document = {"event": name}
    if attributes:
        keys = draw(st.lists(st.sampled_from(sorted(attributes)), max_size=2))
        document["tests"] = [draw(_keyed("attribute", key, attributes[key])) for key in keys]
    if following and draw(st.booleans()):
        document["then"] = draw(_later(words, following - 1))
    elif draw(st.integers(0, 3)) == 0:
        document[draw(st.sampled_from(("at_least", "exactly", "at_most")))] = draw(st.integers(0, 4))
        if "at_least" in document and draw(st.booleans()):
            document["within"] = draw(_WITHIN)
    return document


_WITHIN = st.sampled_from(("1ms", "5ms", "700ms", "2s", "10s", "1m", "1h30m", "2d"))


@st.composite
def _later(draw: st.DrawFn, words: Vocabulary, following: int) -> Document:
    """What comes then, or does not: soon, or ever."""
    document = draw(
        events(words, 0).filter(lambda each: not each.keys() & {"at_least", "exactly", "at_most"})
    )
    then = draw(_later(words, following - 1)) if following and draw(st.booleans()) else None
    if draw(st.integers(0, 2)) == 0:
        document["absent"] = True
    if draw(st.booleans()):
        document["within"] = draw(_WITHIN)
    if then is not None:
        document["then"] = then
        if document.get("absent"):
            # Until the next one comes, or for so long with all that do not.
            document.pop("within", None)
            if then.get("absent"):
                then.pop("within", None)
    return document


def _versions(operator: str, known: Sequence[str]) -> st.SearchStrategy[Any]:
    one = st.sampled_from(known)
    if operator != "between":
        return one
    return st.lists(one, min_size=2, max_size=2).map(lambda pair: sorted(pair, key=version_order))


@st.composite
def _keyed(draw: st.DrawFn, kind: str, name: str, known: Sequence[str]) -> Document:
    operator = draw(st.sampled_from(KEYED_OPERATORS))
    if operator == "exists":
        return _test(kind, name, operator, True)
    numbers = [float(each) for each in known if re.fullmatch(r"-?\d{1,15}(\.\d{1,3})?", each)]
    as_number = operator in _ORDER or (operator in ("eq", "not", "in") and numbers and draw(st.booleans()))
    value = draw(_numbers(operator, numbers) if as_number else _texts(operator, known))
    return _test(kind, name, operator, value)


def _test(kind: str, name: str, operator: str, value: Any) -> Document:
    document = {kind: name, "operator": operator, "value": value}
    if operator == "exists" and value is True:
        del document["value"]
    return document


def _text(known: Sequence[str]) -> st.SearchStrategy[str]:
    own = st.sampled_from(sorted(set(known))) if known else st.nothing()
    return st.one_of(
        own, own, st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
    )


@st.composite
def _texts(draw: st.DrawFn, operator: str, known: Sequence[str]) -> Any:
    if operator == "in":
        return draw(st.lists(_text(known), min_size=1, max_size=4))
    text = draw(_text(known))
    if operator not in ("contains", "matches"):
        return text
    start = draw(st.integers(0, max(0, len(text) - 1)))
    piece = text[start : start + draw(st.integers(1, 20))] or "e"
    return piece if operator == "contains" else draw(_pattern(piece))


@st.composite
def _pattern(draw: st.DrawFn, piece: str) -> str:
    literal = re.escape(piece)
    form = draw(
        st.sampled_from(
            (
                "{}",
                "^{}",
                "{}$",
                "^{}$",
                "^(?:{}|x)",
                "(?i){}",
                ".{}",
                r"\d+",
                r"^\w*$",
                "[a-f0-9]{4}",
                r"\b\w{2,3}\b",
                "^$",
                ".",
            )
        )
    )
    return form.replace("{}", literal) if "{}" in form else form


def _numbers(operator: str, known: Sequence[float]) -> st.SearchStrategy[Any]:
    near = st.sampled_from(sorted(set(known)) or [1]).flatmap(
        lambda n: st.sampled_from((n, n, n + 1, n - 1, n + 0.5))
    )
    one = st.one_of(near, near, st.integers(-5, 1_000), st.integers(-(2**63), 2**63 - 1))
    return _shaped(operator, one)


def _times(operator: str, known: Sequence[int]) -> st.SearchStrategy[Any]:
    near = st.sampled_from(sorted(set(known))).flatmap(lambda ms: st.sampled_from((ms, ms + 1, ms - 1)))
    return _shaped(operator, near)


def _shaped(operator: str, one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    if operator == "in":
        return st.lists(one, min_size=1, max_size=4)
    return st.lists(one, min_size=2, max_size=2).map(sorted) if operator == "between" else one
