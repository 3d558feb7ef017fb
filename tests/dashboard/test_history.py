"""What lies before a range costs nothing: with ten times the days of history, pages and questions read no more rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from html import unescape
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from pipeline.dashboard.words import iso
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query.operations import ledger_totals_lately
from tests.support.long_history import (
    APP,
    DAY_MS,
    FEW_DAYS,
    GRANULE,
    LAST_DAY_MS,
    LAST_ID,
    MANY_DAYS,
    History,
    history,
)

Visit = Callable[[TestClient], object]


def _page(path: str, **fields: str) -> Visit:
    def visit(client: TestClient) -> object:
        answer = client.get(f"{path}?{urlencode(fields)}" if fields else path)
        assert answer.status_code == 200, (path, fields, answer.text)
        return answer

    return visit


def _of_a_session(then: str = "") -> Visit:
    def visit(client: TestClient) -> object:
        return _page(f"/sessions/{LAST_ID}{then}")(client)

    return visit


def _of_a_group(then: str = "") -> Visit:
    def visit(client: TestClient) -> object:
        listed = client.get(f"/crashes?{urlencode({'app': APP, **WEEK})}").text
        found = re.search(r'href="(/crashes/[^"?]*)([^"]*)"', listed)
        assert found
        return _page(unescape(f"{found[1]}{then}{found[2]}"))(client)

    return visit


def _by_id(path: str, characters: int = 36) -> Visit:
    """By the id of a session or its beginning."""

    def visit(client: TestClient) -> object:
        return _page(path + LAST_ID[:characters])(client)

    return visit


DAY = {"from": iso(LAST_DAY_MS - DAY_MS), "to": iso(LAST_DAY_MS)}
WEEK = {"from": iso(LAST_DAY_MS - 7 * DAY_MS), "to": iso(LAST_DAY_MS)}
FILTERS = {
    "state": 'session.crash_count > 0 and os.name = "Android"',
    "user": 'user.id = "user-0"',
    "device": 'device.id = "device-0"',
    "event": "has http.client.request(http.response.status_code >= 500)",
    "events in order": "has app.launch then app.crash",
    "no event": "has app.never",
    "stitched": "session.stitched_length > 1",
    "first": "session.first = true",
    "returned": "session.returned_after_days = 7",
    "in time": "has app.screen.view then not app.crash within 10s",
    "counted": "has at least 2 of app.screen.view within 1m",
    "version": 'app.version >= "1.0.5"',
    "screen": 'session.last_screen = "nowhere"',
    "path": 'session.screen_path contains "> nowhere >"',
    "connection": 'session.connection = "cell"',
    "request": "session.slowest_request_ms > 1s",
    "start": "session.start_ms > 2s",
}
ATTRIBUTE = {"event": "app.crash", "attribute": "exception.type"}
PAGES: Mapping[str, Visit] = {
    "sessions": _page("/sessions"),
    "sessions of an app": _page("/sessions", app=APP),
    "sessions, no event": _page("/sessions", app=APP, filter=FILTERS["no event"]),
    **{
        f"sessions of a day, {name}": _page("/sessions", app=APP, filter=text, **DAY)
        for name, text in FILTERS.items()
    },
    "sessions of a day, longest first": _page("/sessions", app=APP, sort="-duration", **DAY),
    "sessions of all apps, no event": _page("/sessions", filter=FILTERS["no event"], **DAY),
    "session": _of_a_session(),
    "marks": _of_a_session("/marks.json"),
    "timeline of a user": _page("/timeline", app=APP, user="user-0"),
    "timeline of a device": _page("/timeline", app=APP, device="device-0"),
    "profile of a user": _page("/timeline/profile", app=APP, user="user-0"),
    "profile of a device": _page("/timeline/profile", app=APP, device="device-0"),
    "whose timeline": _page("/timeline"),
    "whose timeline, by user": _page("/timeline", user="user-0"),
    "events of a user": _page("/timeline/events", app=APP, user="user-0", **WEEK),
    "events of a device": _page("/timeline/events", app=APP, device="device-0", **WEEK),
    "users": _page("/users", app=APP, **WEEK),
    "users, filtered": _page("/users", app=APP, filter=FILTERS["event"], **WEEK),
    "stitched sessions": _page("/stitched", app=APP, **DAY),
    "stitched sessions, filtered": _page("/stitched", app=APP, filter=FILTERS["state"], **DAY),
    "stitched session": _by_id("/stitched/"),
    "found, a session": _by_id("/find?q="),
    "found, by the beginning of an id": _by_id("/find?q=", 8),
    "found, a user": _page("/find", q="user-0"),
    "found, devices": _page("/find", q="dev"),
    "found, no event": _page("/find", q="no-such-event"),
    "found, an exception": _page("/find", q="Boo"),
    "opened": _by_id("/open?session_id="),
    "health of a day": _page("/health", app=APP, **DAY),
    "health, filtered": _page("/health", app=APP, filter=FILTERS["event"], **WEEK),
    "two releases": _page("/health", app=APP, by="app_version", a="1.0", b="1.1", **WEEK),
    "crashes of a day": _page("/crashes", app=APP, **DAY),
    "a crash group": _of_a_group(),
    "what came before a group": _of_a_group("/before"),
    "two releases by issue": _page("/health/issues", app=APP, by="app_version", a="1.0", b="1.1", **WEEK),
    "retention": _page("/health/retention", app=APP, **WEEK),
    "failures": _page("/health/failures", app=APP, **WEEK),
    "requests": _page("/network", app=APP, **DAY),
    "performance": _page("/performance", app=APP, **DAY),
    "paths": _page("/paths", app=APP, **DAY),
    "a user flow": _page("/paths/flows", app=APP, flow="app.launch then app.screen.view within 1m", **DAY),
    "paths from a screen, filtered": _page("/paths", app=APP, screen="Home", filter=FILTERS["state"], **DAY),
    "pipeline": _page("/pipeline"),
    "ledger": _page("/pipeline/ledger"),
    "dimensions": _page("/filter/dimensions.json"),
    "values": _page("/filter/suggestions.json", app=APP, dimension="app.version"),
    "attributes": _page("/filter/suggestions.json", app=APP, event="app.crash"),
    "values of an attribute": _page("/filter/suggestions.json", app=APP, **ATTRIBUTE),
}

SESSIONS = f"app_id = '{APP}' AND started_at >= '2025-12-31' AND started_at < '2026-01-01'"
SPAN = f"app_id = '{APP}', from = '2025-12-31', until = '2026-01-01'"
LAST_SESSION = f"(SELECT argMax(session_id, started_at) FROM sessions WHERE {SESSIONS})"
LAST_STITCHED = LAST_SESSION.replace("argMax(session_id", "argMax(stitched_session_id")
QUESTIONS: Mapping[str, str] = {
    name: f"SELECT * FROM {name}({SPAN}{more})"
    for name, more in (
        ("events_between", ""),
        ("notable_events_between", ", subject = 'crash'"),
        ("top_crashes", ""),
        ("failing_requests", ""),
        ("cold_starts", ""),
        ("screen_views", ""),
        ("screen_paths", ""),
        ("screen_transitions", ""),
        ("requests_between", ""),
        ("endpoints", ""),
        ("issue_events", ""),
        ("restated_sessions", ""),
        ("unrestated_sessions", ""),
        ("late_events", ""),
        ("release_health_between", ""),
        ("event_users", ""),
        ("stitched_sessions_between", ""),
        ("session_counts", ""),
        ("sessions_over_time", ", seconds = 3600"),
        ("users_between", ""),
        ("user_timeline_between", ", user_id = 'user-0'"),
        ("crashed_sessions_of", ", user_id = 'user-0', device_id = ''"),
        ("retention", ", days = 7"),
    )
} | {
    "session_timeline": f"SELECT * FROM session_timeline(session_id = {LAST_SESSION})",
    "stitched_timeline": f"SELECT * FROM stitched_timeline(stitched_session_id = {LAST_STITCHED})",
    "session_as_last_told": f"SELECT * FROM session_as_last_told(id = {LAST_SESSION})",
    "session_successors": f"SELECT * FROM session_successors(id = {LAST_SESSION})",
    "ids_like": "SELECT * FROM ids_like(text = 'user')",
    "events_like": "SELECT * FROM events_like(text = '0-0-9', from = '2025-12-31', until = '2026-01-01')",
    "exceptions_like": "SELECT * FROM exceptions_like(text = 'boo', from = '2025-12-31', until = '2026-01-01')",
    "ledger_between": "SELECT * FROM ledger_between(from = '2026-01-01', until = '2026-01-02')",
    "sessions": f"SELECT * FROM sessions WHERE {SESSIONS}",
    **{
        name: f"SELECT * FROM {name} WHERE app_id = '{APP}' AND day >= '2025-12-31'"
        for name in ("daily_activity", "version_adoption")
    },
}
"""Views with a range, or of one thing: for people, and behind the pages."""


@pytest.fixture(scope="module")
def histories(
    clickhouse: EmbeddedClickHouse,
) -> Iterator[list[History]]:
    """With few days and with ten times as many."""
    names = [f"test_history_{uuid4().hex[:8]}" for _ in range(2)]
    with (
        history(f"{clickhouse.url}/{names[0]}", FEW_DAYS) as few,
        history(f"{clickhouse.url}/{names[1]}", MANY_DAYS) as many,
    ):
        yield [few, many]
    for name in names:
        clickhouse.command(f"DROP DATABASE IF EXISTS {name} SYNC")


def assert_no_more(few: Mapping[str, int], many: Mapping[str, int]) -> None:
    """Question by question; each place that it looks up may lie across the edge of a granule."""
    assert few.keys() == many.keys() and sum(few.values()) > 0
    grown = {sql: (rows, many[sql]) for sql, rows in few.items() if many[sql] > 1.2 * rows + 4 * GRANULE}
    assert not grown, grown


def test_there_is_ten_times_the_history(histories: list[History]) -> None:
    few, many = (int(each.store.query("SELECT count() FROM events", format="TSV")) for each in histories)
    assert many > 9 * few > 1_000


@pytest.mark.parametrize("name", PAGES)
def test_pages_read_no_more(histories: list[History], name: str) -> None:
    few, many = (each.read_by(PAGES[name]) for each in histories)
    assert_no_more(few, many)


@pytest.mark.parametrize("name", QUESTIONS)
def test_views_read_no_more(histories: list[History], name: str) -> None:
    few, many = ({name: each.rows_read(QUESTIONS[name], {})} for each in histories)
    assert_no_more(few, many)


def test_a_question_without_a_bound_would_be_seen(histories: list[History]) -> None:
    """Whoever asks for everything reads everything."""
    few, many = (
        each.read_by(_page("/sessions", app=APP, filter="has app.never", range="all")) for each in histories
    )
    with pytest.raises(AssertionError):
        assert_no_more(few, many)


def test_days_of_the_ledger_are_all_of_it_together(histories: list[History]) -> None:
    """What came on a day is in that day's account, wherever clocks put its events."""
    few, _ = histories
    numbers = ("records", "received", "events", "duplicates", "refused", "repaired", "expired", "sampled_out")
    sums = f"SELECT {', '.join(f'sum({name})' for name in numbers)} FROM"

    def account(source: str) -> list[int]:
        return [int(number) for number in few.store.query(f"{sums} {source}", format="TSV").split()]

    days = [date(2026, 1, 1) - timedelta(days=back) for back in range(3)]
    spans = [(day, day + timedelta(days=1)) for day in days] + [(date(1970, 1, 1), days[-1])]
    parts = [account(f"ledger_between(from = '{first}', until = '{until}')") for first, until in spans]
    assert [sum(column) for column in zip(*parts, strict=True)] == account("ledger")
    assert parts[0] == parts[1] == parts[2] == [5, 21, 20, 0, 1, 0, 0, 0]
    (lately,) = ledger_totals_lately(few.store.query)
    assert (lately.records, lately.events, lately.conflicts) == (7 * 5, 7 * 20, None)
