"""Filters against a running ClickHouse: what the SQL finds is what plain Python finds over the same rows."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query.dimensions import DIMENSIONS, KEYED
from pipeline.query.filters.json_form import from_json
from pipeline.query.filters.matches import first_match
from pipeline.query.filters.regex import regex_fault
from pipeline.query.filters.sequence import Moment
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.text_form import parse, to_text
from pipeline.roles.regroup import regroup
from tests.support.filter_oracle import Document, World
from tests.support.filter_strategies import Vocabulary, events, filters
from tests.support.filter_world import ODD_TEXTS, fill, read_world
from tests.support.migrated import migrate
from tests.support.older_schema import migrate_to_before


@dataclass(frozen=True)
class Stored:
    """A database and what is in it."""

    store: Store
    world: World
    words: Vocabulary

    def passing(self, filter: Document, scope: FilterScope | None = None) -> set[str]:
        """The ids of the sessions that ClickHouse lets pass."""
        condition = where(from_json(filter), scope=scope)
        rows = self.store.query(
            f"SELECT session_id FROM sessions WHERE {condition.sql}", condition.parameters, "TSV"
        ).decode()
        ids = rows.split()
        assert len(ids) == len(set(ids))
        return set(ids)

    def passing_each(self, filters: Sequence[Document]) -> list[set[str]]:
        """The same of each of several, in one question: planning a statement takes longer than answering it."""
        conditions = [where(from_json(filter), f"p{number}_") for number, filter in enumerate(filters)]
        columns = ", ".join(f"groupArrayIf(toString(session_id), {each.sql})" for each in conditions)
        parameters = {name: value for each in conditions for name, value in each.parameters.items()}
        answer = self.store.query(f"SELECT {columns} FROM sessions", parameters, "JSONCompactEachRow")
        found: list[list[str]] = json.loads(answer)
        assert all(len(ids) == len(set(ids)) for ids in found)
        return [set(ids) for ids in found]


@pytest.fixture(scope="module")
def stored(clickhouse: EmbeddedClickHouse) -> Iterator[Stored]:
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate(store)
    fill(store)
    world = read_world(store)
    assert len(world.sessions) > 200
    yield Stored(store, world, Vocabulary(world))
    store.close()
    clickhouse.command(f"DROP DATABASE {name} SYNC")


def checked_examples(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )


def test_sql_finds_what_python_finds(stored: Stored) -> None:
    told_apart: Counter[bool] = Counter()

    @checked_examples(50)
    @given(st.lists(filters(stored.words), min_size=5, max_size=5))
    def check(filters: list[Document]) -> None:
        for filter, found in zip(filters, stored.passing_each(filters), strict=True):
            expected = stored.world.passing(filter)
            told_apart[0 < len(expected) < len(stored.world.sessions)] += 1
            assert found == expected, filter
        # As a page asks, too: what it reads is chosen by the filter.
        assert stored.passing(filters[0]) == stored.world.passing(filters[0])

    check()
    assert told_apart[True] > told_apart.total() / 20, "filters that pass all or nothing show little"


def test_events_in_order(stored: Stored) -> None:
    told_apart: Counter[bool] = Counter()

    @checked_examples(100)
    @given(events(stored.words, following=3))
    def check(filter: Document) -> None:
        expected = stored.world.passing(filter)
        told_apart[0 < len(expected) < len(stored.world.sessions)] += 1
        assert stored.passing(filter) == expected

    check()
    assert told_apart[True] > told_apart.total() / 20, "filters that pass all or nothing show little"


def test_how_long_ago_is_counted_from_the_moment_of_asking(stored: Stored) -> None:
    """In the middle between two starts that are minutes apart, so that a test that takes its time sees the same."""
    now_ms = time.time() * 1_000
    starts = sorted(row["started_at_ms"] for row in stored.world.sessions)
    apart = [pair for pair in pairwise(starts) if pair[1] - pair[0] > 600_000]
    for before, after in apart[:: len(apart) // 5]:
        ago_ms = round(now_ms - (before + after) / 2)
        assert ago_ms > 0, "the sessions of this world are in the past"
        found = stored.passing(
            {"dimension": "session.started_at", "operator": "gte", "value": f"-{ago_ms}ms"}
        )
        assert found == {row["session_id"] for row in stored.world.sessions if row["started_at_ms"] >= after}
    assert len(apart) > 10
    every = {"dimension": "session.started_at", "operator": "between", "value": ["-36500d", "0s"]}
    assert stored.passing(every) == {row["session_id"] for row in stored.world.sessions}


def absent_steps(filter: Document) -> int:
    """Bit i: the i-th step of a row is one that may not come."""
    return sum(1 << place for place, step in enumerate(steps_of(filter)) if step.get("absent"))


def steps_of(filter: Document) -> Iterator[Document]:
    step = filter
    while step:
        yield step
        step = step.get("then", {})


@pytest.mark.parametrize(
    ("filter", "passes"),
    [
        # a at 0 s and 100 s, b at 105 s, c at 106 s; then a at 200 s, and an end.
        ({"event": "a", "then": {"event": "b", "within": "5s"}}, True),
        ({"event": "a", "then": {"event": "b", "within": "4s999ms"}}, False),
        ({"event": "a", "then": {"event": "c", "within": "5s"}}, False),
        (
            {"event": "a", "then": {"event": "b", "within": "5s", "then": {"event": "c", "within": "1s"}}},
            True,
        ),
        ({"event": "b", "then": {"event": "a", "absent": True}}, False),
        ({"event": "a", "then": {"event": "b", "absent": True}}, True),
        ({"event": "c", "then": {"event": "b", "absent": True, "within": "1m"}}, True),
        ({"event": "b", "then": {"event": "a", "absent": True, "within": "1m"}}, True),
        ({"event": "b", "then": {"event": "a", "absent": True, "within": "95s"}}, False),
        ({"event": "b", "then": {"event": "c", "absent": True, "then": {"event": "a"}}}, False),
        ({"event": "c", "then": {"event": "b", "absent": True, "then": {"event": "a"}}}, True),
        ({"event": "a", "at_least": 3}, True),
        ({"event": "a", "at_least": 3, "within": "3m19s"}, False),
        ({"event": "a", "at_least": 3, "within": "3m20s"}, True),
        ({"event": "a", "at_least": 2, "within": "100s"}, True),
        ({"event": "a", "exactly": 3}, True),
        ({"event": "a", "at_most": 2}, False),
        ({"event": "none", "at_most": 0}, True),
        ({"event": "none", "exactly": 0}, True),
        ({"event": "b", "exactly": 0}, False),
    ],
    ids=str,
)
def test_sequences_said_in_words(stored: Stored, filter: Document, passes: bool) -> None:
    """One session whose events are known by heart: what SQL finds there, and which events a page would point at."""
    mine = {row["session_id"] for row in stored.world.sessions if row["app_id"] == "by.heart"}
    assert len(mine) == 1
    assert (stored.passing(filter) & mine == mine) is passes
    assert (stored.world.passing(filter) & mine == mine) is passes


def test_the_first_events_that_match_are_a_match(stored: Stored) -> None:
    """What a page points at: there where the session passes and nowhere else, and all of it is needed."""
    pointed_at: Counter[int] = Counter()

    @checked_examples(150)
    @given(events(stored.words, following=3))
    @example({"event": "tie.a", "then": {"event": "tie.b"}})
    def check(document: Document) -> None:
        filter = from_json(document)
        for session in stored.world.sessions[::5]:
            of_session = stored.world.events_of(session)
            masks = [stored.world.mask(document, event) for event in of_session]
            found = first_match(
                filter,
                [Moment(event["time_ms"], mask) for event, mask in zip(of_session, masks, strict=True)],
            )
            passes = stored.world.holds(document, of_session)
            is_empty = {"exactly": 0, "at_least": 0}.items() & document.items() or "at_most" in document
            assert bool(found) is passes or (is_empty and passes), document
            pointed_at[len(found)] += 1
            # They alone, with what may not come, are a match as well.
            kept = [
                event
                for place, event in enumerate(of_session)
                if place in found or masks[place] & absent_steps(document)
            ]
            assert not found or stored.world.holds(document, kept) or "exactly" in document, document

    check()
    assert pointed_at[0] and pointed_at[1] and pointed_at[2]


def test_of_events_in_one_millisecond_the_order_says_which_is_later(stored: Stored) -> None:
    tied = {row["session_id"] for row in stored.world.sessions if row["app_id"] == "tied"}
    both = []
    for first, second in (("tie.a", "tie.b"), ("tie.b", "tie.a")):
        filter = {"event": first, "then": {"event": second}}
        both.append(stored.passing(filter))
        assert both[-1] == stored.world.passing(filter)
    assert both[0] | both[1] == tied and not both[0] & both[1]
    assert len(both[0]) > 20 and len(both[1]) > 20


def test_a_scope_changes_nothing_within_it(stored: Stored) -> None:
    starts = sorted(row["started_at_ms"] for row in stored.world.sessions)
    apps = sorted({row["app_id"] for row in stored.world.sessions})

    @checked_examples(100)
    @given(
        st.one_of(filters(stored.words), events(stored.words)),
        st.none() | st.sampled_from(apps),
        st.none() | st.sampled_from(starts),
        st.none() | st.sampled_from(starts),
        # Also where it is wrong: a session may have started since.
        st.sampled_from([None, 0, starts[-1]]),
    )
    def check(
        filter: Document, app_id: str | None, start_ms: int | None, end_ms: int | None, newest_ms: int | None
    ) -> None:
        within = {
            row["session_id"]
            for row in stored.world.sessions
            if app_id in (None, row["app_id"])
            and (start_ms or 0) <= row["started_at_ms"] < (end_ms or starts[-1] + 1)
        }
        found = stored.passing(filter, FilterScope(app_id, start_ms, end_ms, newest_ms))
        assert found & within == stored.world.passing(filter) & within

    check()


def test_membership_is_that_of_the_timeline(stored: Stored) -> None:
    """What the oracle takes for granted."""
    for session in stored.world.sessions[::9]:
        lines = stored.store.query(
            "SELECT event_id FROM session_timeline(session_id = {id:UUID})", {"id": session["session_id"]}
        )
        found = [json.loads(line)["event_id"] for line in lines.splitlines()]
        assert found == [event["event_id"] for event in stored.world.events_of(session)]


@pytest.mark.parametrize("name", sorted(DIMENSIONS))
def test_every_operator_of_every_dimension(stored: Stored, name: str) -> None:
    """Each once with a value that occurs: nothing is left to chance."""
    dimension = DIMENSIONS[name]
    known: list[Any] = stored.words.values(dimension)
    filters: list[Document] = []
    for operator in dimension.operators:
        one = known[len(known) // 2]
        value = {"in": [one], "between": [one, one], "exists": True}.get(operator, one)
        if operator in ("contains", "matches"):
            value = next(part[0] for text in known if (part := re.search("[0-9A-Za-z]{2}", text)))
        filters.append({"dimension": name, "operator": operator, "value": value})
    for filter, found in zip(filters, stored.passing_each(filters), strict=True):
        assert found == stored.world.passing(filter), filter


@pytest.mark.parametrize("event", ["odd name", "app.crash", "app.screen.view", "http.client.request"])
@pytest.mark.parametrize("operator", ["eq", "not", "gt", "gte", "lt", "lte", "in", "between", "exists"])
def test_a_status_is_found_in_its_column_as_in_the_attributes(
    stored: Stored, event: str, operator: str
) -> None:
    """Numbers in every spelling, texts that are none, and events that have no status."""
    values: list[Any] = [-1, 0, 1, 1.5, 200, 400, 499.5, 500, "500", "500.0", ""]
    filters: list[Document] = []
    for value in [True] if operator == "exists" else values:
        if isinstance(value, str) and operator not in ("eq", "not", "in"):
            continue
        wanted = {"in": [value], "between": [value, value if isinstance(value, str) else value + 100]}
        test = {"attribute": "http.response.status_code", "operator": operator}
        test["value"] = wanted.get(operator, value)
        filters.append({"event": event, "tests": [test]})
    # What is no number is neither above nor below one: the opposite of a test is not another operator.
    filters += [{"not": each} for each in filters[::3]]
    found = stored.passing_each(filters)
    assert any(found)
    for filter, passing in zip(filters, found, strict=True):
        assert passing == stored.world.passing(filter), filter


def test_events_from_before_their_status_had_a_column(stored: Stored, clickhouse: EmbeddedClickHouse) -> None:
    name = f"test_{uuid4().hex[:12]}"
    store = Store(f"{clickhouse.url}/{name}")
    migrate_to_before(store)
    store.command("ALTER TABLE event_rows DROP COLUMN status_code SETTINGS mutations_sync = 1")
    store.command("ALTER TABLE migrations DELETE WHERE name >= '0011' SETTINGS mutations_sync = 1")
    fill(store, "event_rows")
    migrate(store)
    filter = {
        "event": "http.client.request",
        "tests": [{"attribute": "http.response.status_code", "operator": "gte", "value": 400}],
    }
    expected = stored.world.passing(filter)
    assert Stored(store, stored.world, stored.words).passing(filter) == expected != set()
    # Nor had they groups.
    groups = (
        "SELECT app_id, device_id, event_id, kind, crash_group, title, culprit FROM z_crashes ORDER BY ALL"
    )
    assert store.query(groups) == b""
    assert regroup(store, "first") == len(stored.store.query(groups).splitlines()) > 50
    assert store.query(groups) == stored.store.query(groups)
    assert regroup(store, "second") == 0
    store.close()
    clickhouse.command(f"DROP DATABASE {name} SYNC")


def test_one_user_is_enough_to_read_few_events(stored: Stored) -> None:
    """What stands beside a user's or device's id is looked for on its devices alone, and comes out the same."""
    told_apart: Counter[bool] = Counter()
    ids = [
        {"dimension": "user.id", "operator": "eq", "value": row["user_id"]}
        for row in stored.world.sessions[::11]
    ] + [
        {"dimension": "device.id", "operator": "in", "value": [row["device_id"]]}
        for row in stored.world.sessions[::17]
    ]

    @checked_examples(40)
    @given(st.sampled_from(ids), st.sampled_from(ids), st.one_of(events(stored.words), filters(stored.words)))
    def check(one: Document, other: Document, filter: Document) -> None:
        view = {"event": "app.screen.view"}
        both = {
            "any": [{"all": [{"not": filter}, one]}, {"all": [other, filter, view]}, {"event": "app.crash"}]
        }
        expected = stored.world.passing(both)
        told_apart[0 < len(expected) < len(stored.world.sessions)] += 1
        assert stored.passing(both) == expected

    check()
    assert told_apart[True] > told_apart.total() / 20
    someone = next(each for each in ids if each["value"])
    sql = where(from_json({"all": [{"event": "app.crash"}, someone]})).sql
    assert (
        sql.count("(app_id, device_id) IN (SELECT app_id, device_id FROM sessions WHERE (has(user_ids, ") == 2
    )


HOSTILE = (
    *ODD_TEXTS[1:],
    *(
        "{f0:String}",
        "{f0:Identifier}",
        "f0",
        "') OR ('1'='1",
        "x'); DROP TABLE event_rows; --",
        "\\' OR 1=1 --",
    ),
    *(
        "'||(SELECT 1)||'",
        "); SELECT 1 --",
        "a\\",
        "a\\\\'",
        "\r\n",
        "\x1a",
        "\x7f",
        "\u02bc OR 1=1",
        "%27 OR 1=1",
        "`) --",
    ),
    *(
        "* EXCEPT",
        "SETTINGS max_threads=1",
        "FORMAT Null",
        "\u202e",
        "\U0001d54f" * 50,
        "\\x27",
        "&#39;",
        "?",
        "$$x$$",
        "#!",
    ),
)


def test_hostile_values_and_names_are_just_texts(stored: Stored) -> None:
    """In every place where a text can stand: as in Python, and nothing else happens."""
    before = _counts(stored.store)
    for text in sorted(set(HOSTILE)):
        places = _places(text)
        for filter, found in zip(places, stored.passing_each(places), strict=True):
            assert found == stored.world.passing(filter), filter
            # The way over the text form ends at the same filter.
            assert parse(to_text(from_json(filter))) == from_json(filter)
            assert where(from_json(filter)).sql == where(from_json(_with_words(filter))).sql
    assert _counts(stored.store) == before


def _places(text: str) -> list[Document]:
    return [
        {"dimension": "user.id", "operator": "eq", "value": text},
        {"dimension": "user.id", "operator": "in", "value": [text, "a"]},
        {"dimension": "os.version", "operator": "contains", "value": text},
        {"dimension": "user.persona", "operator": "not", "value": text},
        {"dimension": "user.persona", "operator": "in", "value": [text]},
        {"dimension": "user.property", "operator": "exists", "value": text},
        {"dimension": f"user.property.{text}", "operator": "exists"},
        {"dimension": f"user.property.{text}", "operator": "not", "value": text},
        {"dimension": f"resource.{text}", "operator": "gt", "value": 0},
        {"event": text},
        {"event": "odd name", "tests": [{"attribute": text, "operator": "exists"}]},
        {
            "event": "odd name",
            "tests": [{"attribute": text, "operator": "in", "value": [text]}],
            "then": {"event": text},
        },
    ]


def _with_words(document: Any, key: str = "") -> Any:
    """The same filter with a plain word wherever a user's text stands."""
    if isinstance(document, dict):
        return {key: _with_words(value, key) for key, value in document.items()}
    if isinstance(document, list):
        return [_with_words(each, key) for each in document]
    if key == "dimension":
        return next((f"{start}word" for start in KEYED if document.startswith(start)), document)
    return "word" if isinstance(document, str) and key != "operator" else document


def _counts(store: Store) -> bytes:
    """Rows that count: a merge may take the others at any moment."""
    return store.query(
        "SELECT (SELECT count() FROM session_rows FINAL) AS s, (SELECT count() FROM z_event_rows FINAL) AS e"
    )


def test_the_largest_filter_is_answered(stored: Stored) -> None:
    ids = [f"nobody-{index}-{'é' * 30}" for index in range(199)]
    users = {"dimension": "user.id", "operator": "in", "value": [*ids, stored.world.sessions[0]["user_id"]]}
    many = {"any": [users, *({"event": f"none {index}"} for index in range(5))]}
    assert stored.passing(many) == stored.world.passing(many) != set()
    tests = {"any": [{"dimension": "user.id", "operator": "eq", "value": text} for text in ids]}
    assert stored.passing({"not": tests}) == {row["session_id"] for row in stored.world.sessions}


@checked_examples(200)
@given(st.text(st.sampled_from(r"ab1-\dwsxnt.[]^$(){},*+?|:i_ é"), max_size=14))
def test_what_passes_for_an_expression_compiles(clickhouse: EmbeddedClickHouse, pattern: str) -> None:
    if regex_fault(pattern) == "":
        literal = pattern.replace("\\", "\\\\").replace("'", "\\'")
        clickhouse.command(f"SELECT match('ab', '{literal}')")


@pytest.mark.parametrize(
    "pattern", ["(?:.{30}){30}", "[^a]{900}", "(?i)(?:[a-zé]{9}|[^b]{9}){45}", "(((a?){7}){7}){7}"]
)
def test_the_largest_expressions_compile(clickhouse: EmbeddedClickHouse, pattern: str) -> None:
    assert regex_fault(pattern) == ""
    clickhouse.command(f"SELECT match(repeat('ab', 1000), '{pattern}')")
