"""The filter language: both forms and back, what is refused and how it is said, expressions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.query.dimensions import DIMENSIONS, KEYED_OPERATORS, ORDER_OPERATORS
from pipeline.query.filters.json_form import (
    EVERYTHING,
    All,
    AnyOf,
    CountEvents,
    Duration,
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
from pipeline.query.filters.times import duration_of, duration_text
from pipeline.query.versions import version_key

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
names = st.one_of(
    texts.filter(bool),
    st.sampled_from(("app.crash", "and", "Not", "a b", "`", "\\", "1x", "has", "all", "exists")),
)
integers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(integers, floats)
versions = st.from_regex(r"[0-9a-c.\-+_ ]{0,5}[0-9]", fullmatch=True)
times = st.integers(-2_208_988_800_000, 10_413_791_999_999)
ONE_VALUE = {
    "string": texts,
    "list": texts,
    "number": numbers,
    "time": times,
    "boolean": st.booleans(),
    "id": st.uuids().map(str),
}


def _value(
    operator: str, one: st.SearchStrategy[Any], key: Callable[[Any], Any] | None = None
) -> st.SearchStrategy[Any]:
    if operator == "exists":
        return st.just(True)
    if operator == "in":
        return st.lists(one, min_size=1, max_size=4).map(tuple)
    if operator == "between":
        return st.lists(one, min_size=2, max_size=2).map(lambda pair: tuple(sorted(pair, key=key)))
    if operator == "contains":
        return texts.filter(bool)
    return st.sampled_from(("a+", r"^\d{2}$", '"', "`'é")) if operator == "matches" else one


@st.composite
def session_tests(draw: st.DrawFn) -> Test:
    dimension = draw(st.sampled_from(sorted(DIMENSIONS.values(), key=lambda each: each.name)))
    operator = draw(st.sampled_from(dimension.operators))
    one = st.sampled_from(dimension.values) if dimension.values else ONE_VALUE[dimension.type]
    if dimension.is_version and operator in ORDER_OPERATORS:
        return Test(dimension.name, operator, draw(_value(operator, versions, version_key)))
    if dimension.type == "time" and draw(st.booleans()):
        one = st.integers(-(10**11), 0).map(Duration)
    if dimension.is_duration and draw(st.booleans()):
        one = st.integers(-(10**11), 10**11).map(Duration)
    return Test(dimension.name, operator, draw(_value(operator, one)))


@st.composite
def keyed_tests(draw: st.DrawFn, starts: tuple[str, ...]) -> Test:
    operator = draw(st.sampled_from(KEYED_OPERATORS))
    ordered = operator in ("gt", "gte", "lt", "lte", "between")
    one = numbers if ordered else draw(st.sampled_from((texts, numbers)))
    return Test(draw(st.sampled_from(starts)) + draw(names), operator, draw(_value(operator, one)))


durations = st.integers(1, 10**11).map(Duration)


@st.composite
def events(draw: st.DrawFn, following: int = 2, is_first: bool = True) -> HasEvent:
    tests = draw(st.lists(keyed_tests(("",)), max_size=2))
    then = draw(events(following - 1, False)) if following and draw(st.booleans()) else None
    absent = not is_first and draw(st.booleans())
    # Of what does not come, at the end alone and by itself.
    may_be_within = not is_first and (not absent or then is None)
    within = draw(st.none() | durations) if may_be_within else None
    if absent and then is not None and then.is_absent:
        then = replace(then, within_ms=None)
    return HasEvent(draw(names), tuple(tests), then, within, absent)


@st.composite
def counts(draw: st.DrawFn) -> CountEvents:
    tests = tuple(draw(st.lists(keyed_tests(("",)), max_size=2)))
    operators: list[Literal["gte", "eq", "lte"]] = ["gte", "eq", "lte"]
    operator = draw(st.sampled_from(operators))
    within = draw(st.none() | durations) if operator == "gte" else None
    return CountEvents(draw(names), tests, operator, draw(st.integers(0, 1_000_000)), within)


filters: st.SearchStrategy[Filter] = st.recursive(
    st.one_of(session_tests(), keyed_tests(("user.property.", "resource.")), events(), counts()),
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
            ("has a then b within 10s then c",
             HasEvent("a", (), HasEvent("b", (), HasEvent("c"), Duration(10_000)))),
            ("has a THEN NOT b WITHIN 1h30m", HasEvent("a", (), HasEvent("b", (), None, Duration(5_400_000), True))),
            ("has a then not b then c", HasEvent("a", (), HasEvent("b", (), HasEvent("c"), None, True))),
            ("has At Least 3 of a(n > 1) within 2s",
             CountEvents("a", (Test("n", "gt", 1),), "gte", 3, Duration(2_000))),
            ("exactly 0 of a", CountEvents("a", (), "eq", 0)),
            ("not at most 2 of a", Not(CountEvents("a", (), "lte", 2))),
            # Events may have these names, as they might before the words meant anything.
            ("has at then within", HasEvent("at", (), HasEvent("within"))),
            ("has exactly(of = 1) then within within 5m",
             HasEvent("exactly", (Test("of", "eq", 1),), HasEvent("within", (), None, Duration(300_000)))),
            ("session.duration_ms > 5m", Test("session.duration_ms", "gt", Duration(300_000))),
            ("session.started_at >= -7d", Test("session.started_at", "gte", Duration(-604_800_000))),
            ("session.started_at >= 2026-01-31", Test("session.started_at", "gte", 1_769_817_600_000)),
            ("session.started_at < 2026-01-31T08:30Z", Test("session.started_at", "lt", 1_769_848_200_000)),
            ("app.version >= '2.10'", Test("app.version", "gte", "2.10")),
            ("app.version between '2.9' and '2.10'", Test("app.version", "between", ("2.9", "2.10"))),
            ("has a(duration_ms >= 1.5s)", HasEvent("a", (Test("duration_ms", "gte", Duration(1_500)),))),
            ("has a then b or app.id = 'c'", AnyOf((HasEvent("a", (), HasEvent("b")), Test("app.id", "eq", "c")))),
        ],
    )  # fmt: skip
    def test_examples(self, text: str, filter: Filter) -> None:
        assert parse(text) == filter


ERRORS = {
    "app.versoin = '1'": (
        'no dimension "app.versoin"; the nearest: app.version, sdk.version, os.version, at character 1'
    ),
    "nothing = '1'": (
        'no dimension "nothing"; they begin with app., sdk., device., os., user., session., crash., resource., '
        "at character 1"
    ),
    "session.state = 'asleep'": (
        'the value of session.state must be one of foreground, background; found "asleep", at character 17'
    ),
    "session.duration_ms > 'long'": (
        'the value of session.duration_ms must be a number; found "long", at character 23'
    ),
    "session.duration_ms > 9223372036854775808": (
        "the value of session.duration_ms must be a whole number of 64 bits; found 9223372036854775808, "
        "at character 23"
    ),
    "session.cold_start = 1": (
        "the value of session.cold_start must be true or false; found 1, at character 22"
    ),
    "session.duration_ms between 5 and 3": (
        "`between` of session.duration_ms takes two values, the lower first; found [5, 3], at character 29"
    ),
    "session.started_at > 'soon'": (
        "the value of session.started_at must be a time, Unix milliseconds, "
        "YYYY-MM-DD[Thh:mm[:ss[.mmm]]][Z], today, yesterday, or how long ago, such as -7d, from 1900 to 2299; "
        'found "soon", at character 22'
    ),
    "session.id = 'x'": 'the value of session.id must be a UUID; found "x", at character 14',
    "app.version in ()": "`in` of app.version takes 1 to 200 values; found 0, at character 16",
    "app.version in ('1', 2)": "the value of app.version must be text, in quotes; found 2, at character 16",
    "app.version contains ''": "`contains` of app.version takes text that is not empty, at character 22",
    "app.version matches '('": (
        '"(" is not an accepted RE2 regular expression: a `(` without its `)` (at character 2), at '
        "character 21"
    ),
    "user.property.n > '5'": 'the value of "user.property.n" must be a number; found "5", at character 19',
    "user.property.n in ('5', 5)": (
        'the values of "user.property.n" must be all numbers or all text, at character 20'
    ),
    "user.id exists 'x'": '`exists` of user.id takes no value; found "x", at character 16',
    'user.id = "a\\u0000"': (
        'the value of user.id must not contain a NUL or half of a surrogate pair; found "a\\u0000", at '
        "character 11"
    ),
    "app.version": (
        "expected an operator after app.version (=, !=, >, >=, <, <=, in, contains, matches, between, "
        "exists); found the end"
    ),
    "app.version = ": (
        'expected a value: text in quotes ("..."), a number, a duration (5m), true or false; found the end'
    ),
    "app.version = x": (
        'expected a value: text in quotes ("..."), a number, a duration (5m), true or false; found "x" '
        "at character 15"
    ),
    "(app.version = '1'": "expected `)`; found the end",
    "app.version = '1')": 'expected `and`, `or` or the end; found ")" at character 18',
    "and": 'expected a dimension, `has`, `not` or `(`; found "and" at character 1',
    "has": "expected the name of an event; found the end",
    "has app.crash(= 3)": 'expected an attribute; found "=" at character 15',
    "app.version = '1": (
        '"\'1" at character 15 is not a name, value or operator; put texts in quotes and unusual names in '
        "backticks"
    ),
    "not " * 70 + "user.id exists": "a filter is at most 20 levels deep",
    "(" * 5000: "a filter is at most 20 levels deep",
    "not " * 21 + "user.id exists": "a filter is at most 20 levels deep",
    " or ".join(["user.id exists"] * 201): "a filter has at most 200 tests and events",
    "has a" + " then a" * 8: "at most 8 events in a row joined by `then`",
    f"user.id = '{'x' * 1025}'": (
        "the value of user.id has at most 1024 characters; found 1025, at character 11"
    ),
    "x" * 64_001: "the text of a filter has at most 64000 characters; found 64001",
    "app.id > '1'": (
        'app.id is a string and has no operator "gt"; allowed: eq, not, in, contains, matches, exists, '
        "at character 8"
    ),
    "app.version > 'new'": (
        'the value of app.version must be a version, such as "2.10"; found "new", at character 15'
    ),
    "app.version >= 2.10": "the value of app.version must be text, in quotes; found 2.1, at character 16",
    "app.version between '2.10' and '2.9'": (
        '`between` of app.version takes two values, the lower first; found ["2.10", "2.9"], at character 21'
    ),
    "duration > 5": 'no dimension "duration"; the nearest: session.duration_ms, at character 1',
    "os_name = 'x'": 'no dimension "os_name"; the nearest: os.name, sdk.name, at character 1',
    "session.started_at > 7d": (
        "the value of session.started_at must be a time, or how long ago, such as -7d; found 7d, at character 22"
    ),
    "session.tap_count > 5m": "the value of session.tap_count is a plain number, not a duration, at character 21",
    "has a(x > 3m)": (
        'a duration is compared with milliseconds, whose names end with _ms; "x" does not, at character 11'
    ),
    "session.duration_ms > 200000000d": '"200000000d" is longer than a hundred years, at character 23',
    "has a within 5s": "`within` may only come after an event that follows `then`, at character 5",
    "has a then b within x": 'expected a duration, such as 10s or 1h30m; found "x" at character 21',
    "has a then b within 0s": "`within` takes a duration above 0, such as 10s or 1h30m; found 0s, at character 5",
    "has a then not b within 5s then c": (
        "`then not … within` may only come at the end; elsewhere, the next event says until when, at character 5"
    ),
    "has not a": 'expected the name of an event; found "not" at character 5',
    "has at least 3 a": 'expected `of` and the name of an event; found "a" at character 16',
    "has at least 2000000 of a": (
        "a number of events is a whole number from 0 to 1000000; found 2000000, at character 5"
    ),
    "has exactly 3 of a within 5s": (
        "`within` goes with `at least`: so many events in a time as short as that, at character 5"
    ),
    "has at least 1.5 of a": "a number of events is a whole number from 0 to 1000000; found 1.5, at character 5",
}


_OLD_TEXTS = (
    'app.version in ("1.2", "1.3") and not (session.duration_ms < 5000 or user.persona = "premium")',
    'has http.client.request(url.full contains "/pay", http.response.status_code >= 500) then app.crash',
    'os.name = "android" and session.started_at >= "2026-01-05T00:00:00.000Z"',
    "has at then exactly then within then of",
    'os.name matches "^android$" or `user.property.my key` > 3',
    'session.duration_ms between 1000 and 2500.5 and user.property exists "plan"',
)
"""As they were saved before there were durations, versions and numbers of events."""


@pytest.mark.parametrize("text", _OLD_TEXTS)
def test_saved_filters_stay_as_they_are(text: str) -> None:
    assert to_text(parse(text)) == text
    assert to_text(from_json(to_json(parse(text)))) == text


@pytest.mark.parametrize(
    ("text", "ms", "written"),
    [
        ("5m", 300_000, "5m"),
        ("1h30m", 5_400_000, "1h30m"),
        ("90m", 5_400_000, "1h30m"),
        ("-7d", -604_800_000, "-7d"),
        ("1w", 604_800_000, "7d"),
        ("0.5s", 500, "500ms"),
        ("1.5h", 5_400_000, "1h30m"),
        ("0s", 0, "0s"),
        ("250ms", 250, "250ms"),
    ],
)
def test_durations(text: str, ms: int, written: str) -> None:
    found = duration_of(text)
    assert found == ms and found is not None and duration_text(found) == written


@given(st.integers(-(10**12), 10**12))
def test_every_duration_is_read_back(ms: int) -> None:
    assert duration_of(duration_text(Duration(ms))) == ms


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "5x", "--5m", "5m-", "1e3s", "99999999d"])
def test_what_is_no_duration(text: str) -> None:
    assert duration_of(text) is None


def test_versions_are_ordered_as_people_order_them() -> None:
    """Numbers by their size, what comes before a release below it; spellings of one version alike."""
    ordered = (
        *("0.9", "1.0-1", "1.0-alpha", "1.0-alpha.1", "1.0-beta", "1.0-beta.2", "1.0-beta.11", "1.0-rc.1"),
        *("1.0", "1.0.1", "1.2", "1.9", "1.10", "1.10.2 (4711)", "2.0", "10", "11.0"),
    )
    keys = [version_key(each) for each in ordered]
    assert keys == sorted(keys) and len(set(keys)) == len(keys)
    assert version_key("2.0") == version_key("2") == version_key("2.0.0") == version_key("2_00")
    assert version_key("2.0-beta") == version_key("2-beta")


def test_an_error_says_where_it_is() -> None:
    """For a page that marks the place: the name, the operator or the value that is at fault, and no more."""
    for text, wrong in (
        ("app.id = 'x' and app.versoin = '1'", "app.versoin"),
        ("not (session.state = 'asleep')", "'asleep'"),
        ("session.live > true", ">"),
        ("session.tap_count between 5 and 3", "5 and 3"),
        ("has a(n > 'x') then b", "'x'"),
        ("has a then b within c", "c"),
        ("app.id = ", ""),
    ):
        with pytest.raises(FilterError) as caught:
            parse(text)
        assert caught.value.place is not None
        start, end = caught.value.place
        assert text[start:end] == wrong


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
         'the value of app.id must not contain a NUL or half of a surrogate pair; found "\\ud800"'),
        ({"event": ""}, "the name of an event must not be empty"),
        ({"event": "a", "tests": [{"attribute": "", "operator": "exists"}]},
         "the name of an attribute must not be empty"),
        ({"event": "a", "tests": [{"attribute": "x", "operator": "is", "value": 1}]},
         '"x" has no operator "is"; allowed: eq, not, in, contains, matches, gt, gte, lt, lte, between, exists'),
        ({"event": "a", "then": {"all": []}}, '"then" must be an object with "event"'),
        ({"event": "a", "then": {"event": "b", "within": 10}},
         '"within" must be a duration, such as "10s" or "1h30m"; found 10'),
        ({"event": "a", "then": {"event": "b", "absent": 1}}, '"absent" must be true or false; found 1'),
        ({"event": "a", "absent": True},
         "`not` may come before an event only after `then`; elsewhere it comes before `has`"),
        ({"event": "a", "at_least": 1, "exactly": 1},
         'an event with "at_least" takes no other number and no "then" or "absent"'),
        ({"event": "a", "at_most": -1}, "a number of events is a whole number from 0 to 1000000; found -1"),
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
