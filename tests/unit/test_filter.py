"""The filter language: both forms and back, what is refused and how it is said, expressions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.query.dimensions import DIMENSIONS, KEYED_OPERATORS
from pipeline.query.filters.json_form import (
    EVERYTHING,
    All,
    AnyOf,
    Filter,
    FilterError,
    HasEvent,
    Not,
    Test,
    checked,
    from_json,
    to_json,
)
from pipeline.query.filters.regex import regex_fault
from pipeline.query.filters.sql import where
from pipeline.query.filters.text_form import parse, to_text

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
names = st.one_of(
    texts.filter(bool),
    st.sampled_from(("app.crash", "and", "Not", "a b", "`", "\\", "1x", "has", "all", "exists")),
)
integers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(integers, floats)
times = st.integers(-2_208_988_800_000, 10_413_791_999_999)
ONE_VALUE = {
    "string": texts,
    "list": texts,
    "number": numbers,
    "time": times,
    "boolean": st.booleans(),
    "id": st.uuids().map(str),
}


def _value(operator: str, one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    if operator == "exists":
        return st.just(True)
    if operator == "in":
        return st.lists(one, min_size=1, max_size=4).map(tuple)
    if operator == "between":
        return st.lists(one, min_size=2, max_size=2).map(sorted).map(tuple)
    if operator == "contains":
        return texts.filter(bool)
    return st.sampled_from(("a+", r"^\d{2}$", '"', "`'é")) if operator == "matches" else one


@st.composite
def session_tests(draw: st.DrawFn) -> Test:
    dimension = draw(st.sampled_from(sorted(DIMENSIONS.values(), key=lambda each: each.name)))
    operator = draw(st.sampled_from(dimension.operators))
    one = st.sampled_from(dimension.values) if dimension.values else ONE_VALUE[dimension.type]
    return Test(dimension.name, operator, draw(_value(operator, one)))


@st.composite
def keyed_tests(draw: st.DrawFn, starts: tuple[str, ...]) -> Test:
    operator = draw(st.sampled_from(KEYED_OPERATORS))
    ordered = operator in ("gt", "gte", "lt", "lte", "between")
    one = numbers if ordered else draw(st.sampled_from((texts, numbers)))
    return Test(draw(st.sampled_from(starts)) + draw(names), operator, draw(_value(operator, one)))


@st.composite
def events(draw: st.DrawFn, following: int = 2) -> HasEvent:
    tests = draw(st.lists(keyed_tests(("",)), max_size=2))
    then = draw(events(following - 1)) if following and draw(st.booleans()) else None
    return HasEvent(draw(names), tuple(tests), then)


filters: st.SearchStrategy[Filter] = st.recursive(
    st.one_of(session_tests(), keyed_tests(("user.property.", "resource.")), events()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: All(tuple(each))),
        st.lists(inner, max_size=3).map(lambda each: AnyOf(tuple(each))),
        inner.map(Not),
    ),
    max_leaves=8,
)


class TestRoundTrips:
    @given(filters)
    def test_text(self, filter: Filter) -> None:
        assert parse(to_text(filter)) == filter

    @given(filters)
    def test_json(self, filter: Filter) -> None:
        assert from_json(json.loads(json.dumps(to_json(filter)))) == filter

    @given(filters)
    def test_canonical_form_is_its_own(self, filter: Filter) -> None:
        assert checked(filter) == filter

    @given(filters)
    def test_names_and_values_are_parameters(self, filter: Filter) -> None:
        """The SQL alone is made of the same few words whatever was asked."""
        statement = where(filter)
        assert statement.sql.isascii() and statement.sql.isprintable()
        for name in statement.parameters:
            assert f"{{{name}:" in statement.sql
        assert set('"`\\;') & set(statement.sql) == set()

    @settings(max_examples=300)
    @given(
        st.lists(
            st.sampled_from((*"abz.()\"'`\\,=<>!- \n15\0é", "and ", "not ", "has ", "user.id ")), max_size=30
        ).map("".join)
    )
    def test_any_text_is_a_filter_or_an_error_of_one_line(self, text: str) -> None:
        try:
            filter = parse(text)
        except FilterError as error:
            assert str(error) and "\n" not in str(error) and len(str(error)) < 2_500
        else:
            assert parse(to_text(filter)) == filter

    @settings(max_examples=300)
    @given(
        st.recursive(
            st.none() | st.booleans() | numbers | texts | st.sampled_from(tuple(DIMENSIONS)),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ("all", "any", "not", "dimension", "operator", "value", "event", "tests", "then", "x")
                    ),
                    inner,
                    max_size=4,
                )
            ),
        )
    )
    def test_any_json_is_a_filter_or_an_error_of_one_line(self, document: Any) -> None:
        try:
            filter = from_json(document)
        except FilterError as error:
            assert str(error) and "\n" not in str(error) and len(str(error)) < 2_500
        else:
            assert from_json(to_json(filter)) == filter


class TestText:
    def test_what_it_means(self) -> None:
        text = (
            'app.version in ("1.2", "1.3") and not (session.duration_ms < 5000 or user.persona = "premium")'
            ' and has http.client.request(url.full contains "/pay", http.response.status_code >= 500) then app.crash'
        )
        filter = All(
            (
                Test("app.version", "in", ("1.2", "1.3")),
                Not(AnyOf((Test("session.duration_ms", "lt", 5000), Test("user.persona", "eq", "premium")))),
                HasEvent(
                    "http.client.request",
                    (
                        Test("url.full", "contains", "/pay"),
                        Test("http.response.status_code", "gte", 500),
                    ),
                    HasEvent("app.crash"),
                ),
            )
        )
        assert parse(text) == filter
        assert to_text(filter) == text
        assert to_json(filter)["all"][2] == {
            "event": "http.client.request",
            "tests": [
                {"attribute": "url.full", "operator": "contains", "value": "/pay"},
                {"attribute": "http.response.status_code", "operator": "gte", "value": 500},
            ],
            "then": {"event": "app.crash"},
        }

    @pytest.mark.parametrize(
        ("text", "filter"),
        [
            ("", EVERYTHING),
            ("  all( ) ", EVERYTHING),
            ("any()", AnyOf(())),
            ("user.id = 'u1'", Test("user.id", "eq", "u1")),
            ("user.id <> \"a\\\"\\u00e9\\n\"", Test("user.id", "not", 'a"é\n')),
            ("NOT user.id EXISTS", Not(Test("user.id", "exists"))),
            ('user.property exists "plan"', Test("user.property", "exists", "plan")),
            ("`user.property.my key` > 3", Test("user.property.my key", "gt", 3)),
            ("user.property.vip = true", Test("user.property.vip", "eq", "true")),
            ("session.live = true", Test("session.live", "eq", True)),
            ("session.duration_ms between 1 and 2 and session.live = true",
             All((Test("session.duration_ms", "between", (1, 2)), Test("session.live", "eq", True)))),
            ("session.started_at >= '2025-03-18T12:16:31+01:00'", Test("session.started_at", "gte", 1_742_296_591_000)),
            ("session.started_at < 1742296591764", Test("session.started_at", "lt", 1_742_296_591_764)),
            ("app.id = 'a' or app.id = 'b' and app.id = 'c'",
             AnyOf((Test("app.id", "eq", "a"), All((Test("app.id", "eq", "b"), Test("app.id", "eq", "c")))))),
            ("has a then b or app.id = 'c'", AnyOf((HasEvent("a", (), HasEvent("b")), Test("app.id", "eq", "c")))),
        ],
    )  # fmt: skip
    def test_examples(self, text: str, filter: Filter) -> None:
        assert parse(text) == filter


_ALL_NAMES = ", ".join((*DIMENSIONS, "user.property.KEY", "resource.KEY"))

ERRORS = {
    "app.versoin = '1'": f'no dimension "app.versoin" (did you mean app.version?); allowed: {_ALL_NAMES}',
    "nothing = '1'": f'no dimension "nothing"; allowed: {_ALL_NAMES}',
    "app.version > '1'": 'app.version is a string and has no operator "gt";'
        " allowed: eq, not, in, contains, matches, exists",
    "session.state = 'asleep'": 'the value of session.state must be one of foreground, background; found "asleep"',
    "session.duration_ms > 'long'": 'the value of session.duration_ms must be a number; found "long"',
    "session.duration_ms > 9223372036854775808":
        "the value of session.duration_ms must be a whole number of 64 bits; found 9223372036854775808",
    "session.cold_start = 1": "the value of session.cold_start must be true or false; found 1",
    "session.duration_ms between 5 and 3":
        "`between` of session.duration_ms takes two values, the lower first; found [5, 3]",
    "session.started_at > 'soon'":
        "the value of session.started_at must be a time, Unix milliseconds or YYYY-MM-DD[Thh:mm[:ss[.mmm]]][Z],"
        ' from 1900 to 2299; found "soon"',
    "session.id = 'x'": 'the value of session.id must be a UUID; found "x"',
    "app.version in ()": "`in` of app.version takes 1 to 200 values; found 0",
    "app.version in ('1', 2)": "the value of app.version must be text; found 2",
    "app.version contains ''": "`contains` of app.version takes text that is not empty",
    "app.version matches '('":
        '"(" is not an accepted RE2 regular expression: a `(` without its `)` (at character 2)',
    "user.property.n > '5'": 'the value of "user.property.n" must be a number; found "5"',
    "user.property.n in ('5', 5)": 'the values of "user.property.n" must be all numbers or all text',
    "user.id exists 'x'": '`exists` of user.id takes no value; found "x"',
    "user.id = \"a\\u0000\"": 'the value of user.id must hold no NUL and no half of a surrogate pair; found "a\\u0000"',
    "app.version":
        "expected an operator after app.version (=, !=, >, >=, <, <=, in, contains, matches, between, exists);"
        " found the end",
    "app.version = ": 'expected a value: text in quotes ("..."), a number, true or false; found the end',
    "app.version = x":
        'expected a value: text in quotes ("..."), a number, true or false; found "x" at character 15',
    "(app.version = '1'": "expected `)`; found the end",
    "app.version = '1')": 'expected `and`, `or` or the end; found ")" at character 18',
    "and": 'expected a dimension, `has`, `not` or `(`; found "and" at character 1',
    "has": "expected the name of an event; found the end",
    "has app.crash(= 3)": 'expected an attribute; found "=" at character 15',
    "app.version = '1": "\"'1\" at character 15 is not a name, value or operator;"
        " put texts in quotes and unusual names in backticks",
    "not " * 70 + "user.id exists": "a filter is at most 20 levels deep",
    "(" * 5000: "a filter is at most 20 levels deep",
    "not " * 21 + "user.id exists": "a filter is at most 20 levels deep",
    " or ".join(["user.id exists"] * 201): "a filter has at most 200 tests and events",
    "has a" + " then a" * 8: "at most 8 events in a row joined by `then`",
    f"user.id = '{'x' * 1025}'": "the value of user.id has at most 1024 characters; found 1025",
    "x" * 64_001: "the text of a filter has at most 64000 characters; found 64001",
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), ERRORS.items(), ids=range(len(ERRORS)))
def test_errors_of_texts(text: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "a filter must be an object; found []"),
        ({}, "a filter must be an object with one of all, any, not, dimension, event; found []"),
        ({"and": []}, 'a filter must be an object with one of all, any, not, dimension, event; found ["and"]'),
        ({"all": {}}, '"all" must be a list; found an object'),
        ({"all": [], "any": []}, 'a filter with "all" has no field "any"; allowed: all'),
        ({"dimension": "app.id"}, '"operator" of app.id must be text; found null'),
        ({"dimension": "app.id", "operator": "eq"}, "the value of app.id must be text; found null"),
        ({"dimension": "app.id", "operator": "=", "value": "x"},
         'app.id is a string and has no operator "="; allowed: eq, not, in, contains, matches, exists'),
        ({"dimension": "app.id", "operator": "eq", "value": ["x"]}, '`eq` of app.id takes one value; found ["x"]'),
        ({"dimension": "app.id", "operator": "in", "value": "x"},
         '`in` of app.id takes a list of values; found "x"'),
        ({"dimension": "app.id", "operator": "in", "value": [["x"]]},
         "the value of app.id must be text; found [\"x\"]"),
        ({"dimension": "session.event_count", "operator": "gt", "value": float("inf")},
         "the value of session.event_count must be a number; found Infinity"),
        ({"dimension": "session.event_count", "operator": "gt", "value": True},
         "the value of session.event_count must be a number; found true"),
        ({"dimension": "app.id", "operator": "eq", "value": "\ud800"},
         'the value of app.id must hold no NUL and no half of a surrogate pair; found "\\ud800"'),
        ({"event": ""}, "the name of an event must not be empty"),
        ({"event": "a", "tests": [{"attribute": "", "operator": "exists"}]},
         "the name of an attribute must not be empty"),
        ({"event": "a", "tests": [{"attribute": "x", "operator": "is", "value": 1}]},
         '"x" has no operator "is"; allowed: eq, not, in, contains, matches, gt, gte, lt, lte, between, exists'),
        ({"event": "a", "then": {"all": []}}, '"then" must be an object with "event"'),
    ],
)  # fmt: skip
def test_errors_of_json(document: Any, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        from_json(document)
    assert str(caught.value) == message


def test_deep_json_is_refused_before_it_is_walked() -> None:
    document: Any = {"event": "a"}
    for _ in range(900):
        document = {"not": document}
    with pytest.raises(FilterError, match="20 levels"):
        from_json(document)


def test_all_values_together_are_bounded() -> None:
    one = {"dimension": "user.id", "operator": "eq", "value": "x" * 1_000}
    from_json({"any": [one] * 15})
    with pytest.raises(FilterError, match="16000 bytes"):
        from_json({"any": [one] * 16})


@pytest.mark.parametrize(
    "pattern",
    [
        "a",
        "",
        "a|b|",
        "(?i)x",
        "(?:a|b)*",
        "[a-z_-]",
        r"[^\]\-a]",
        r"\.\d+\/",
        "a{2,5}?",
        r"\x{1F4A5}",
        r"^\w+\b$",
        "é",
    ],
)
def test_expressions_that_are_taken(pattern: str) -> None:
    assert regex_fault(pattern) == ""


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)", "(?<!a)b", r"(a)\1", "(?P<n>a)", "a**", "^*", "[z-a]", r"[\d-z]", "[[:alpha:]]", "(", "a)", "[a", "{",
     "a{1001}", "(a{100}){11}", r"\pL", r"\_", "\\", "x(?i)", "a{2,1}", r"\x{110000}", "a{9", "(" * 400 + ")" * 400],
)  # fmt: skip
def test_expressions_that_are_not(pattern: str) -> None:
    assert regex_fault(pattern) != ""


class TestDocumentation:
    text = (Path(__file__).parents[2] / "schemas" / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## Filters\n")[1].split("\n## ")[0]

    def test_every_example_is_a_filter(self) -> None:
        block = self.section.split("```\n")[1].splitlines()
        cells = [line.split(" | ")[0] for line in self.section.splitlines() if line.startswith("| `")]
        spans = [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]
        examples = block + [
            span.replace("\\|", "|") for span in spans if re.match(r"(has )?[a-z]+\.[a-z]|user\.", span)
        ]
        assert len(examples) > 15
        for example in examples:
            assert to_text(parse(example))

    def test_every_operator_is_shown(self) -> None:
        assert {f'"{operator}"' for operator in KEYED_OPERATORS} <= set(re.findall(r'"[a-z]+"', self.section))

    def test_every_dimension_is_listed(self) -> None:
        rows = [
            line for line in self.section.splitlines() if re.match(r"\| (app|device|user|session) \|", line)
        ]
        assert set(re.findall(r"`([^`]+)`", "".join(rows))) == {
            *DIMENSIONS,
            "user.property.KEY",
            "resource.KEY",
        }
