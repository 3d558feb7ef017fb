"""Schemas of other formats' bodies take what the decoders take and refuse what those refuse, but for what is here."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from pipeline.formats import faro, measure
from pipeline.formats.embrace_topic import FORMAT as EMBRACE
from pipeline.formats.format import Beside, Format
from pipeline.formats.rejected import Rejected
from tests.support.examples import EXAMPLES, load, value_of
from tests.support.json_schemas import validator

Place = tuple[str | int, ...]


class Told(NamedTuple):
    format: Format
    schema: str
    in_full: tuple[str, ...]
    """Examples of which each place is spoilt in turn."""
    beside: frozenset[str]
    """Examples that are refused for what stands beside the body, or for what a schema cannot say."""
    unsaid: tuple[str, ...]
    """Places, by their beginnings, where the decoder refuses what the schema does not."""
    passed_over: frozenset[str]
    """Places where the schema refuses what the decoder passes over."""


FORMATS = [
    Told(
        measure.FORMAT,
        "measure-body",
        ("one_event_in_full",),
        # A time against the record's, the size, and spans, of which the schema says little.
        frozenset({"fast_clock_of_one_installation", "one_event_too_large_for_a_record"}),
        (),
        frozenset(),
    ),
    Told(
        EMBRACE,
        "embrace-envelope",
        ("a_part_in_the_foreground", "logs"),
        frozenset({"nobodys"}),
        (),
        frozenset({"resource", "metadata"}),
    ),
    Told(
        faro.FORMAT,
        "faro-body",
        ("captured_view_logs_exception_web_vital", "traces"),
        frozenset({"no_device_and_no_session"}),
        # Where nothing else says whose a body is, it may be a header; the rest is OTLP's to say.
        ("meta.session", *(f"traces.resourceSpans.0.scopeSpans.0.spans.0.{field}" for field in (
            "kind", "status", "attributes", "events", "parentSpanId",
        ))),
        frozenset({"meta.user", "meta.user.id", "meta.user.attributes", "meta.session", "meta.session.id",
                   "meta.app.installationId", "traces"}),
    ),
]  # fmt: skip
_GONE = object()
_ODD: list[Any] = [
    *(_GONE, None, "", 0, -1, 1.5, True, "x" * 129, "a\0", "a/b", "2025-01-01T00:00:00Z"),
    *([], {}, [1], {"a": 1}, [{"a": 1}]),
]


def is_taken(told: Told, body: Any, example: Any) -> bool:
    """Whether the decoder takes all of it."""
    headers = [(name, said.encode()) for name, said in (example.get("headers") or {}).items()]
    key = (example.get("key") or "").encode() or None
    assert told.format.translate is not None
    read = told.format.translate(json.dumps(body).encode(), example["record_ms"], Beside(headers, key=key))
    return not isinstance(read, Rejected) and not read.refused


def places(node: Any, place: Place = ()) -> Iterator[Place]:
    """Of members and of the first of each list."""
    if place:
        yield place
    pairs = node.items() if isinstance(node, dict) else enumerate(node[:1]) if isinstance(node, list) else ()
    for name, value in pairs:
        yield from places(value, (*place, name))


def spoilt(body: Any, place: Place, odd: Any) -> Any:
    changed = copy.deepcopy(body)
    at = changed
    for name in place[:-1]:
        at = at[name]
    if odd is _GONE:
        del at[place[-1]]
    else:
        at[place[-1]] = odd
    return changed


@pytest.mark.parametrize("told", FORMATS, ids=lambda told: told.schema)
def test_examples_are_as_told(told: Told) -> None:
    validates, verdicts = validator(told.schema), set()
    for path in sorted((EXAMPLES / told.format.name).glob("*.json")):
        example = load(path)
        try:
            body = json.loads(value_of(example) or b"")
        except json.JSONDecodeError:
            continue
        verdict = is_taken(told, body, example)
        verdicts.add(verdict)
        if path.stem in told.beside:
            assert validates.is_valid(body) and not verdict
        else:
            assert validates.is_valid(body) == verdict, path.stem
    assert verdicts == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize("told", FORMATS, ids=lambda told: told.schema)
def test_a_value_that_the_decoder_refuses_is_refused_by_the_schema(told: Told) -> None:
    validates, refused_by_both = validator(told.schema), 0
    for name in told.in_full:
        example = load(EXAMPLES / told.format.name / f"{name}.json")
        body = json.loads(value_of(example) or b"")
        if "traces" in body:
            for scope in body["traces"]["resourceSpans"][0]["scopeSpans"]:
                scope["spans"] = scope["spans"][:1]
        assert is_taken(told, body, example)
        for place in places(body):
            path = ".".join(map(str, place))
            for odd in _ODD:
                changed = spoilt(body, place, odd)
                takes, valid = is_taken(told, changed, example), validates.is_valid(changed)
                refused_by_both += not (takes or valid)
                if takes:
                    assert valid or path in told.passed_over, (path, odd)
                else:
                    assert not valid or path.startswith(told.unsaid), (path, odd)
    assert refused_by_both > 50
