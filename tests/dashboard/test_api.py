"""The HTTP API: the numbers of the pages as JSON, refused where they make no sense, for those who may see them."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median_high
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pipeline.api.access import AT_ONCE, Access
from pipeline.api.app import routes
from pipeline.api.openapi import name_of
from pipeline.api.outside import Outside
from pipeline.api.problem import KINDS, RequestRefused
from pipeline.api.table import ENDPOINTS
from pipeline.commands.dashboard import parts
from pipeline.commands.failure import CommandFailed
from pipeline.dashboard import words
from pipeline.dashboard.app import application
from pipeline.dashboard.reader import NotAnsweredNow, Unanswerable
from pipeline.dashboard.seal import STRANGER
from pipeline.query.session_counts import step_ms
from tests.dashboard import hostile
from tests.dashboard.stage import Stage
from tests.support.asked_api import APP, DOCUMENT, V1, WIDE, bearer, of_schema, refusal

ALL_DAYS = {"from": "2025-01-01", "until": "2026-03-01"}
HOSTILE_DAY = {"from": "2025-03-18", "until": "2025-03-19"}
FLOW = "app.launch then app.screen.view"
READ = [each for each in ENDPOINTS if not each.writes and each.answer]
"""What changes something, and files, are in `test_api_changes`."""
NAMES = [each.name for each in READ]
KEY, SHOP_KEY, HASHED_KEY = ("a" * 19 + "1", "b" * 19 + "2", "c" * 19 + "3")

Made = Callable[..., TestClient]


@pytest.fixture(scope="module")
def made(stage: Stage) -> Iterator[Made]:
    """`made(password, api_keys=…)` is a client of a dashboard of its own, that sends what no browser would."""
    opened: list[TestClient] = []

    def open_(password: str = "", **changed: Any) -> TestClient:
        own = replace(stage.settings, **{"api_rate": 1_000_000, **changed})
        opened.append(TestClient(application(parts(own, stage.store, password, frozenset()))))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def api(made: Made) -> TestClient:
    return made()


@pytest.fixture(scope="module")
def known(api: TestClient) -> dict[str, str]:
    """Values for what endpoints want, of things that are there."""
    crashed = {**WIDE, "filter": "session.crash_count > 0"}
    session = api.get(f"{V1}/sessions", params=crashed).json()["items"][0]
    events = api.get(f"{V1}/sessions/{session['session_id']}/timeline").json()["items"]
    group = next(each["crash_group"] for each in events if each["crash_group"])
    return {
        **crashed, "session_id": session["session_id"], "stitched_session_id": session["stitched_session_id"],
        "crash_group": group, "event_id": events[0]["event_id"], "device": session["device_id"],
        "q": session["session_id"][:6], "field": "app.version", "flow": FLOW, "a": "8.1.2", "b": "8.3.0",
        "at": "-1h", "tz": "Europe/Berlin",
    }  # fmt: skip


def asked(client: TestClient, name: str, values: Mapping[str, str], **headers: str) -> Any:
    (endpoint,) = (each for each in ENDPOINTS if each.name == name)
    query = {each.name: values[each.name] for each in endpoint.of_query() if each.name in values}
    return client.get(V1 + endpoint.path.format(**values), params=query, headers=headers)


@pytest.mark.parametrize("name", NAMES)
def test_each_answers_as_the_document_says(api: TestClient, known: dict[str, str], name: str) -> None:
    answer = asked(api, name, known)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert (
        answer.headers["Cache-Control"] == "no-store"
        and answer.headers["X-Content-Type-Options"] == "nosniff"
    )
    (endpoint,) = (each for each in ENDPOINTS if each.name == name)
    assert endpoint.answer
    of_schema(name_of(endpoint.answer.__name__)).validate(answer.json())
    for key, text in texts(answer.json()):
        if key in ("started_at", "ended_at", "time", "first_seen", "last_at", "from", "until"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text), (key, text)


def texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    for name, each in value.items() if isinstance(value, dict) else ():
        yield key, name
        yield from texts(each, name)
    for each in value if isinstance(value, list) else ():
        yield from texts(each, key)


FILTERS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "": lambda row: True,
    "session.crash_count > 0": lambda row: row["crash_count"] > 0,
    'app.version = "8.3.0"': lambda row: row["app_version"] == "8.3.0",
    'session.state = "background" or session.tap_count >= 3': (
        lambda row: row["state"] == "background" or row["tap_count"] >= 3
    ),
    "not session.duration_ms < 30s": lambda row: row["duration_ms"] >= 30_000,
}
ORDERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "start": lambda row: row["started_at"],
    "duration": lambda row: row["duration_ms"],
    "events": lambda row: row["event_count"],
    "failed": lambda row: row["network_error_count"],
}
FAILED = ("crash", "exception")


@pytest.fixture(scope="module")
def rows(stage: Stage) -> list[dict[str, Any]]:
    """Every session, for plain Python."""
    return stage.query("SELECT * FROM sessions")


def chosen(rows: list[dict[str, Any]], app: str, filter: str, first: int, last: int) -> list[dict[str, Any]]:
    """Those of an app, or of all, that pass and start in hours [first, last) of 5 January 2026."""
    start, end = f"2026-01-05 {first:02}", f"2026-01-05 {last:02}"
    return [
        row for row in rows
        if app in ("", row["app_id"]) and start <= row["started_at"] < end and FILTERS[filter](row)
    ]  # fmt: skip


QUESTIONS = st.fixed_dictionaries(
    {
        "app": st.sampled_from(["", APP, "org.example.arena", hostile.BUSY_APP]),
        "filter": st.sampled_from(sorted(FILTERS)),
        "hours": st.tuples(st.integers(0, 22), st.integers(1, 23)),
        "order": st.sampled_from(sorted(ORDERS)),
        "descending": st.booleans(),
        "limit": st.integers(12, 60),
    }
)


@settings(max_examples=4)
@given(question=QUESTIONS)
def test_lists_and_counts_are_those_of_plain_python(
    api: TestClient, rows: list[dict[str, Any]], question: dict[str, Any]
) -> None:
    app, filter, order = question["app"], question["filter"], question["order"]
    hours, descending, limit = question["hours"], question["descending"], question["limit"]
    first, last = min(hours[0], hours[1] - 1), max(hours[1], hours[0] + 1)
    expected = chosen(rows, app, filter, first, last)
    query = {
        **({"app": app} if app else {}), "filter": filter, "from": f"2026-01-05T{first:02}:00Z",
        "until": f"2026-01-05T{last:02}:00:00.000Z",
    }  # fmt: skip
    listed: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = {"order": f"{'-' if descending else ''}{order}", "limit": str(limit), **after}
        told = api.get(f"{V1}/sessions", params={**query, **page}).json()
        listed += told["items"]
        assert len(told["items"]) <= limit and len(listed) <= len(expected)
        if told["next"] is None:
            break
        after = {"after": told["next"]}
    assert Counter(row["session_id"] for row in listed) == Counter(row["session_id"] for row in expected)
    keys = [ORDERS[order](row) for row in listed]
    assert keys == sorted(keys, reverse=descending)
    by_id = {row["session_id"]: row for row in expected}
    assert all(row["duration_ms"] == by_id[row["session_id"]]["duration_ms"] for row in listed)

    counts = api.get(f"{V1}/sessions/counts", params=query).json()
    seen = [row for row in expected if row["state"] == "foreground"]
    bad = [
        row
        for row in expected
        if row["crash_count"] or row["end_reason"] in FAILED or row["exit_reason"] in FAILED
    ]
    assert counts["sessions"] == len(expected) == sum(bucket["sessions"] for bucket in counts["buckets"])
    assert counts["devices"] == len({row["device_id"] for row in expected})
    assert counts["users"] == len({user for row in expected for user in row["user_ids"]})
    assert counts["crashed"] == len(bad) and counts["foreground_sessions"] == len(seen)
    good = [row for row in seen if row not in bad]
    assert counts["crash_free_share"] == (pytest.approx(len(good) / len(seen)) if seen else None)
    durations = [row["duration_ms"] for row in expected]
    assert counts["median_duration_ms"] == (median_high(durations) if durations else None)
    assert counts["bucket_ms"] <= step_ms(0, 86_400_000)

    shown = api.get("/counts/sessions", params={**query, "to": query["until"]}).text
    assert f"<dt>Sessions</dt><dd>{words.number(len(expected))}" in shown, "the page says the same"


def test_health_is_that_of_plain_python(api: TestClient, rows: list[dict[str, Any]]) -> None:
    told = api.get(f"{V1}/metrics", params={**WIDE, "by": "app_version"}).json()
    mine = [row for row in rows if row["app_id"] == APP and row["started_at"] >= "2026-01-01"]
    versions = {row["app_version"] for row in mine}
    assert {line["group"] for line in told["lines"]} == versions and len(versions) > 1
    for line in told["lines"]:
        of = [row for row in mine if row["app_version"] == line["group"]]
        seen = [row for row in of if row["state"] == "foreground"]
        good = [
            row for row in seen
            if not row["crash_count"] and row["end_reason"] not in FAILED and row["exit_reason"] not in FAILED
        ]  # fmt: skip
        metrics = line["metrics"]
        assert metrics["sessions"]["value"] == len(of)
        assert metrics["crash_free_sessions"]["numerator"] == len(good)
        assert metrics["crash_free_sessions"]["denominator"] == len(seen)
        assert metrics["crash_free_sessions"]["value"] == pytest.approx(len(good) / len(seen))
        assert metrics["adoption"]["value"] == pytest.approx(len(of) / len(mine))
        assert metrics["devices"]["value"] == len({row["device_id"] for row in of})
    by_day = api.get(f"{V1}/metrics", params={**WIDE, "bucket": "day", "metrics": "sessions"}).json()
    days = Counter(row["started_at"][:10] for row in mine)
    assert {line["bucket"][:10]: line["metrics"]["sessions"]["value"] for line in by_day["lines"]} == days


def test_crash_groups_are_those_of_their_events(api: TestClient, stage: Stage) -> None:
    span = {"a": APP, "f": "2026-01-01 00:00:00", "u": "2026-03-01 00:00:00"}
    events = stage.query(
        "SELECT * FROM crash_events(app_id = {a:String}, from = {f:String}, until = {u:String})", **span
    )
    told = api.get(f"{V1}/crash-groups", params={**WIDE}).json()
    assert {each["crash_group"]: each["crashes"] for each in told["items"]} == Counter(
        event["crash_group"] for event in events
    )
    assert len(told["items"]) > 1
    for each in told["items"]:
        of = [event for event in events if event["crash_group"] == each["crash_group"]]
        assert each["sessions"] == len({event["session_id"] for event in of})
        assert each["users"] == len({event["user_id"] for event in of} - {""})
        one = api.get(f"{V1}/crash-groups/{each['crash_group']}", params=WIDE).json()
        assert one["crashes"] == len(of) == sum(day["crashes"] for day in one["days"])
        assert sum(part["crashes"] for part in one["spread"]["version"]) == len(of)
        assert (
            one["latest"]["event_id"]
            == max(of, key=lambda event: (event["time"], event["event_id"]))["event_id"]
        )
        assert one["path"]["sessions"] == each["sessions"]


def test_a_session_has_all_its_events_page_by_page(
    api: TestClient, stage: Stage, known: dict[str, str]
) -> None:
    id = known["session_id"]
    expected = stage.query("SELECT event_id FROM session_timeline(session_id = {id:UUID})", id=id)
    events: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        told = api.get(f"{V1}/sessions/{id}/timeline", params={"limit": "7", **after}).json()
        events += told["items"]
        if told["next"] is None:
            break
        after = {"after": told["next"]}
    assert [event["event_id"] for event in events] == [row["event_id"] for row in expected]
    assert len(events) == told["total"] > 7
    whole = api.get(f"{V1}/sessions/{id}").json()
    assert whole["stored_events"] == len(events) and whole["missing_events"] == 0
    lanes = api.get(f"{V1}/sessions/{id}/lanes", params={"filter": "has app.crash"}).json()["lanes"]
    marks = {mark["event_id"]: (lane["lane"], mark) for lane in lanes for mark in lane["marks"]}
    assert {id: lane for id, (lane, _) in marks.items()} == {
        event["event_id"]: event["lane"] for event in events
    }
    assert [mark["name"] for _, mark in marks.values() if mark["is_match"]] == ["app.crash"]
    assert sum(event["ends_session"] for event in events) == 1
    page = api.get(f"/sessions/{id}/marks.json").json()["marks"]
    assert sorted(mark["lane"] for mark in page) == sorted(lane for lane, _ in marks.values())


def test_what_took_time_has_a_beginning_and_an_end_on_its_lane(api: TestClient, stage: Stage) -> None:
    (row,) = stage.query(
        "SELECT session_id FROM sessions WHERE app_id = {app:String} ORDER BY started_at LIMIT 1",
        app=hostile.BUSY_APP,
    )
    lanes = api.get(f"{V1}/sessions/{row['session_id']}/lanes").json()["lanes"]
    (mark,) = (mark for lane in lanes for mark in lane["marks"] if mark["event_id"] == hostile.SPAN)
    assert (mark["took_ms"], mark["began_at"]) == (1_500, mark["time"])
    page = api.get(f"/sessions/{row['session_id']}/marks.json").json()["marks"]
    assert [each["to"] - each["from"] for each in page if "to" in each] == [1_500]


def test_curves_are_what_the_events_say(api: TestClient, stage: Stage) -> None:
    of = {"process.cpu.utilization": ("cpu", "share"), "process.memory.usage": ("memory", "bytes")}
    (busiest,) = stage.query(
        "SELECT session_id FROM measurements(app_id = {app:String}, from = '2026-01-01', until = '2026-02-01')"
        " WHERE subject = 'cpu' GROUP BY session_id ORDER BY count() DESC, session_id LIMIT 1",
        app=APP,
    )
    session = busiest["session_id"]
    mine = stage.query(
        "SELECT time, attributes FROM session_timeline(session_id = {id:UUID})"
        " WHERE mapContains(attributes, 'process.memory.usage') ORDER BY time, event_id",
        id=session,
    )
    told = api.get(f"{V1}/sessions/{session}/curves").json()["curves"]
    assert {(curve["subject"], curve["unit"]) for curve in told} == set(of.values()) and len(mine) > 1
    for name, (subject, _) in of.items():
        (curve,) = (curve for curve in told if curve["subject"] == subject)
        assert [(point["time"], point["value"]) for point in curve["points"]] == [
            (f"{row['time'].replace(' ', 'T')}Z", float(row["attributes"][name])) for row in mine
        ]


def test_users_and_their_events(api: TestClient, rows: list[dict[str, Any]]) -> None:
    told = api.get(f"{V1}/users", params={**WIDE, "order": "sessions"}).json()
    mine = [row for row in rows if row["app_id"] == APP and row["started_at"] >= "2026-01-01"]
    of = Counter(user for row in mine for user in row["user_ids"])
    assert {user["user_id"]: user["sessions"] for user in told["items"]} == of
    user = told["items"][0]["user_id"]
    visits = api.get(f"{V1}/user/sessions", params={"app": APP, "user": user, "limit": "2"}).json()
    more = api.get(
        f"{V1}/user/sessions", params={"app": APP, "user": user, "after": visits["next"], "limit": "500"}
    )
    found = [row["session_id"] for row in (*visits["items"], *more.json()["items"])]
    assert Counter(found) == Counter(row["session_id"] for row in rows if user in row["user_ids"])
    events = api.get(f"{V1}/user/timeline", params={**WIDE, "user": user, "page": "1"}).json()
    assert events["total"] == sum(row["event_count"] for row in rows if user in row["user_ids"])


@pytest.mark.parametrize(
    ("path", "query", "kind", "parameter"),
    [
        ("/sessions", "filter=session.crash_count+>", "bad-filter", "filter"),
        ("/sessions", "filter=nonsense+%3D+1", "bad-filter", "filter"),
        ("/sessions", "fliter=x", "bad-request", "fliter"),
        ("/sessions", "app=a&app=b", "bad-request", "app"),
        ("/sessions", "app=", "bad-request", "app"),
        ("/sessions", "limit=0", "bad-request", "limit"),
        ("/sessions", "limit=501", "bad-request", "limit"),
        ("/sessions", "limit=%D9%A1", "bad-request", "limit"),
        ("/sessions", "order=cost", "bad-request", "order"),
        ("/sessions", "fields=app_id,nonsense", "bad-request", "fields"),
        ("/sessions", "from=someday", "bad-request", "from"),
        ("/sessions", "from=", "bad-request", "from"),
        ("/sessions", "from=2026-02-01&until=2026-01-01", "bad-request", "from"),
        ("/sessions", "after=nonsense", "bad-request", "after"),
        ("/sessions", "cohort=none", "bad-request", "cohort"),
        ("/sessions", "app=%00", "bad-request", "app"),
        ("/sessions", "app=%FF", "bad-request", None),
        ("/sessions?", "&".join("a" for _ in range(50)), "bad-request", None),
        ("/crash-groups", "app=org.example.shop&from=2090-01-01", "bad-request", "from"),
        ("/crash-groups/1-0000", "app=org.example.shop", "not-found", None),
        ("/crash-groups", "kind=bug", "bad-request", "kind"),
        ("/metrics", "by=mood", "bad-request", "by"),
        ("/metrics", "metrics=joy", "bad-request", "metrics"),
        ("/comparison", "a=1", "bad-request", "b"),
        ("/flows", "flow=app.launch", "bad-filter", "flow"),
        ("/user/sessions", "", "bad-request", "user"),
        ("/user/sessions", "user=a&device=b", "bad-request", "user"),
        ("/filters/values", "field=session.nothing", "bad-request", "field"),
        ("/filters/values", "", "bad-request", None),
        ("/filters/read", "filter=session.duration_ms+>+x", "bad-filter", "filter"),
        ("/find", "q=+", "bad-request", "q"),
        ("/sessions/not-an-id", "", "not-found", None),
        ("/sessions/00000000-0000-8000-8000-000000000001", "", "not-found", None),
        ("/stitched-sessions/00000000-0000-8000-8000-000000000001", "", "not-found", None),
        ("/nothing", "", "not-found", None),
        ("/noth%0Aing", "", "not-found", None),
        ("/sessions/a%0Ab", "", "not-found", None),
        ("/sessions/a%2Fb", "", "not-found", None),
        ("/", "", "not-found", None),
        ("", "", "not-found", None),
        ("/sessions/", "", "not-found", None),
        ("/sessions", "filter=" + "x" * 40_000, "long-address", None),
    ],
    ids=lambda each: str(each)[:40],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_reason(
    api: TestClient, path: str, query: str, kind: str, parameter: str | None
) -> None:
    told = refusal(api.get(f"{V1}{path}{'?' if query else ''}{query}"), kind)
    assert told["detail"].endswith((".", "`", ")", "”")) or kind == "bad-filter"
    if parameter:
        assert told["parameter"] == parameter


def test_a_fault_of_a_filter_has_its_place(api: TestClient) -> None:
    text = 'app.version = "1" and session.mood = 3'
    told = refusal(api.get(f"{V1}/sessions", params={"filter": text}), "bad-filter")
    start, end = told["place"]
    assert text[start:end] == "session.mood"


def test_a_place_in_a_list_is_of_that_list_alone(api: TestClient) -> None:
    next = api.get(f"{V1}/sessions", params={**WIDE, "limit": "2"}).json()["next"]
    assert api.get(f"{V1}/sessions", params={**WIDE, "limit": "5", "after": next}).status_code == 200
    assert api.get(f"{V1}/sessions", params={"app": APP, "after": next}).status_code == 200, (
        "the range is in it"
    )
    for other in (
        {"app": "org.example.arena"}, {**WIDE, "filter": "session.live = true"}, {**WIDE, "order": "duration"},
        {**WIDE, "until": "2026-02-01"},
    ):  # fmt: skip
        told = refusal(api.get(f"{V1}/sessions", params={**other, "after": next}), "bad-request")
        assert told["parameter"] == "after"


def test_methods(api: TestClient) -> None:
    got, head = api.get(f"{V1}/apps"), api.head(f"{V1}/apps")
    assert head.status_code == 200 and head.headers["Content-Type"] == "application/json" and not head.content
    assert head.headers["Content-Length"] == str(len(got.content)) or "gzip" in got.headers.get(
        "Content-Encoding", ""
    )
    options = api.options(f"{V1}/sessions")
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["Allow"] == "GET, HEAD, OPTIONS"
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"):
        answer = api.request(method, f"{V1}/sessions", content=b"{}")
        assert refusal(answer, "wrong-method") and answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    refusal(api.request("GET", f"{V1}/apps", content=b"{}"), "body")


def test_other_sites_get_nothing(api: TestClient) -> None:
    told = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    for method in ("GET", "OPTIONS", "POST"):
        answer = api.request(method, f"{V1}/apps", headers={**told, "Origin": "https://evil.example"})
        assert answer.status_code == 403 and "Access-Control-Allow-Origin" not in answer.headers


def test_what_a_device_sends_comes_back_as_data(api: TestClient, stage: Stage) -> None:
    """Of the device whose texts are all markup and script."""
    own = {
        **HOSTILE_DAY,
        "app": hostile.APP,
        "device": hostile.DEVICE,
        "filter": "",
        "flow": FLOW,
        "field": "os.name",
    }
    device = stage.query(
        "SELECT * FROM sessions WHERE device_id = {d:String} ORDER BY started_at", d=hostile.DEVICE
    )
    group = api.get(f"{V1}/crash-groups", params={**HOSTILE_DAY, "app": hostile.APP}).json()["items"]
    own |= {
        "session_id": device[0]["session_id"], "stitched_session_id": device[0]["stitched_session_id"],
        "crash_group": next(each["crash_group"] for each in group if hostile.SCRIPT in each["title"]),
        "event_id": f"e{hostile.QUOTES}", "q": hostile.USER[:8], "by": "app_version",
        "a": f"1.0{hostile.SCRIPT}", "b": "",
    }  # fmt: skip
    for name in (
        "listSessions", "getSession", "getSessionTimeline", "getEvent", "listUsers", "listCrashGroups", "getCrashGroup",
        "getMetrics", "listScreens", "getPaths", "listDeadLetters", "find",
    ):  # fmt: skip
        # The refused record is no JSON: it names no app.
        without = {"app"} if name == "listDeadLetters" else set[str]()
        values = {key: value for key, value in own.items() if key not in without}
        answer = asked(api, name, values, Accept="text/html")
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "application/json", name
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        # (The view of screens has an arrow for each of its own signs.)
        assert any("alert('owned')" in text for _, text in texts(answer.json())), name
    event = asked(api, "getEvent", own).json()
    assert event["event_id"] == f"e{hostile.QUOTES}" and event["attributes"][hostile.SCRIPT] == hostile.QUOTES
    said = refusal(api.get(f"{V1}/sessions", params={"filter": hostile.SCRIPT}), "bad-filter")
    assert said["parameter"] == "filter"


def test_answers_are_compressed_for_those_who_take_it(api: TestClient) -> None:
    plain = api.get(f"{V1}/sessions", params=WIDE, headers={"Accept-Encoding": "identity"})
    with api.stream("GET", f"{V1}/sessions", params=WIDE, headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert answer.headers["Content-Encoding"] == "gzip" and len(packed) < len(plain.content) / 3
    assert gzip.decompress(packed) == plain.content


@pytest.fixture(scope="module")
def keyed(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[TestClient, Path]:
    """A dashboard with a password and keys, and the file of these."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    path.write_text(
        f'[[keys]]\nkey = "{KEY}"\napps = ["*"]\n[[keys]]\nkey = "{SHOP_KEY}"\napps = ["{APP}"]\n'
        f'[[keys]]\nkey = "sha256:{hashlib.sha256(HASHED_KEY.encode()).hexdigest()}"\n'
        f'apps = ["org.example.arena", "{APP}"]\n'
    )
    return made("correct horse", api_keys=str(path)), path


def test_without_a_key_nothing_is_told(keyed: tuple[TestClient, Path], known: dict[str, str]) -> None:
    client, _ = keyed
    for name in NAMES:
        for headers in ({}, bearer("x" * 20), bearer(""), {"Authorization": f"Basic {KEY}"}):
            answer = asked(client, name, known, **headers)
            refusal(answer, "no-key")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    refusal(client.get(f"{V1}/openapi.json"), "no-key")
    refusal(client.get(f"{V1}/nothing"), "not-found")
    assert client.get("/api", follow_redirects=False).status_code == 303, "the page is for who is signed in"
    assert client.get("/sessions", headers=bearer(KEY), follow_redirects=False).status_code == 303, (
        "a key opens no page"
    )
    assert client.get(f"{V1}/apps", headers=bearer(KEY)).status_code == 200
    assert client.get(f"{V1}/openapi.json", headers=bearer(KEY)).json() == DOCUMENT


def test_who_is_signed_in_needs_no_key(made: Made) -> None:
    client = made("correct horse")
    told = refusal(client.get(f"{V1}/apps", headers=bearer(KEY)), "no-key")
    assert "PIPELINE_API_KEYS" in told["detail"]
    client.post(
        "/login",
        data={"password": "correct horse"},
        headers={"Sec-Fetch-Site": "same-origin"},
        follow_redirects=False,
    )
    assert client.get(f"{V1}/apps").status_code == 200


def test_a_key_sees_its_apps_alone(
    keyed: tuple[TestClient, Path], known: dict[str, str], stage: Stage, rows: list[dict[str, Any]]
) -> None:
    client, _ = keyed
    mine = bearer(SHOP_KEY)
    assert [each["app_id"] for each in client.get(f"{V1}/apps", headers=mine).json()["items"]] == [APP]
    listed = client.get(f"{V1}/sessions", params={**ALL_DAYS, "limit": "500"}, headers=mine).json()
    assert {row["app_id"] for row in listed["items"]} == {APP} and listed["filter"] == ""
    assert len(listed["items"]) == sum(row["app_id"] == APP for row in rows)
    counts = client.get(f"{V1}/sessions/counts", params=ALL_DAYS, headers=mine).json()
    assert counts["sessions"] == len(listed["items"])
    two = client.get(f"{V1}/sessions/counts", params=ALL_DAYS, headers=bearer(HASHED_KEY)).json()
    assert (
        two["sessions"]
        == sum(row["app_id"] in (APP, "org.example.arena") for row in rows)
        > counts["sessions"]
    )

    foreign = next(row for row in rows if row["app_id"] == hostile.BUSY_APP)
    theirs = {
        **known, **{name: foreign[name] for name in ("session_id", "stitched_session_id")}, "app": hostile.BUSY_APP,
        "device": hostile.BUSY_DEVICE, "event_id": foreign["first_event_id"], "q": hostile.BUSY_DEVICE,
    }  # fmt: skip
    for name in NAMES:
        answer = asked(client, name, theirs, **mine)
        (endpoint,) = (each for each in ENDPOINTS if each.name == name)
        if any(each.name == "app" for each in endpoint.parameters) or endpoint.of_all_apps:
            refusal(answer, "not-your-app")
        elif endpoint.of_path():
            told = refusal(answer, "not-found")
            assert (
                told["detail"]
                == refusal(
                    client.get(f"{V1}/sessions/00000000-0000-8000-8000-000000000001", headers=mine),
                    "not-found",
                )["detail"]
            ), "as if there were none"
        else:
            assert hostile.BUSY_APP not in answer.text and answer.status_code == 200
    assert client.get(f"{V1}/find", params={"q": hostile.BUSY_DEVICE}, headers=bearer(KEY)).json()["items"]


def test_keys_are_read_again_when_they_change(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(f'[[keys]]\nkey = "{KEY}"\napps = ["*"]\n')
    client = made("", api_keys=str(path))
    # Keys are asked for where there are any.
    refusal(client.get(f"{V1}/filters/saved"), "no-key")
    assert client.get(f"{V1}/filters/saved", headers=bearer(KEY)).status_code == 200
    path.write_text("nonsense")
    assert client.get(f"{V1}/filters/saved", headers=bearer(KEY)).status_code == 200, (
        "a slip opens and closes nothing"
    )
    path.write_text(f'[[keys]]\nkey = "{SHOP_KEY}"\napps = ["*"]\n')
    refusal(client.get(f"{V1}/filters/saved", headers=bearer(KEY)), "no-key")
    assert client.get(f"{V1}/filters/saved", headers=bearer(SHOP_KEY)).status_code == 200
    path.write_text('[[keys]]\nkey = "short"\napps = ["*"]\n')
    with pytest.raises(CommandFailed, match=r"PIPELINE_API_KEYS.*20 to 512 characters"):
        made("", api_keys=str(path))


class Asking:
    """A request as `Access` looks at it."""

    def __init__(self, host: str) -> None:
        self.headers: dict[str, str] = {}
        self.client = type("Client", (), {"host": host})
        self.state = type("State", (), {"visitor": STRANGER})


def test_each_may_ask_so_often_and_so_much_at_once() -> None:
    now_s = [0.0]
    access = Access(lambda: None, rate=60, is_open=True, clock=lambda: now_s[0])

    def ask(host: str) -> str:
        try:
            with access.of(Asking(host)):  # type: ignore[arg-type]
                return ""
        except RequestRefused as refused:
            return refused.headers["Retry-After"]

    assert [ask("a") for _ in range(11)] == [""] * 10 + ["1"], "those of ten seconds at once"
    assert ask("b") == "", "others are not concerned"
    now_s[0] += 1.5
    assert [ask("a"), ask("a")] == ["", "1"]
    now_s[0] += 3_600
    assert [ask("a") for _ in range(11)] == [""] * 10 + ["1"]
    held = [access.of(Asking("c")) for _ in range(AT_ONCE + 1)]  # type: ignore[arg-type]
    for each in held[:-1]:
        each.__enter__()
    with pytest.raises(RequestRefused) as told:
        held[-1].__enter__()
    assert told.value.kind == "too-fast" and str(AT_ONCE) in told.value.detail
    held[0].__exit__(None, None, None)
    assert ask("c") == ""
    slow = Access(lambda: None, rate=1, is_open=True, clock=lambda: now_s[0])
    for n in range(20_000):
        with slow.of(Asking(str(n))):  # type: ignore[arg-type]
            pass
    assert len(slow._uses) <= 10_000


def test_who_asks_too_often_is_told_when_to_come_again(made: Made) -> None:
    client = made("", api_rate=6)
    assert client.get(f"{V1}/filters/saved").status_code == 200
    answer = client.get(f"{V1}/filters/saved")
    refusal(answer, "too-fast")
    assert 1 <= int(answer.headers["Retry-After"]) <= 10


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotAnsweredNow("ClickHouse does not answer at the moment."), "not-now"),
        (Unanswerable("That takes more memory than one query may use (2 GB)."), "too-much"),
        (RuntimeError("a secret of ours"), "fault"),
    ],
    ids=["away", "too much", "a fault"],
)
def test_what_clickhouse_cannot_answer_is_told(stage: Stage, error: Exception, kind: str) -> None:
    def ask(sql: str, parameters: Mapping[str, Any]) -> bytes:
        raise error

    access = Access(lambda: None, rate=1_000_000, is_open=True)
    outside = Outside(apps_of=lambda topic, key, value: frozenset())
    shown = replace(parts(stage.settings, stage.store, "", frozenset()), beside=routes(ask, access, outside))
    client = TestClient(application(shown))
    for name in NAMES:
        if name in ("readFilter", "getLag"):
            continue  # reads nothing of ClickHouse
        values = {"session_id": "00000000-0000-8000-8000-000000000001", "crash_group": "g", "event_id": "e", "a": "1",
                  "b": "2", "flow": FLOW, "q": "abc", "user": "u", "app": APP, "field": "os.name",
                  "at": "-1d", "stitched_session_id": "00000000-0000-8000-8000-000000000001"}  # fmt: skip
        answer = asked(client, name, values)
        told = refusal(answer, kind)
        assert ("Retry-After" in answer.headers) == (kind == "not-now")
        assert "secret" not in answer.text and (kind == "fault" or told["detail"] == str(error))


def test_the_page_lists_all_of_it(api: TestClient) -> None:
    text = api.get("/api").text
    assert text.count('<details class="panel"') == len(ENDPOINTS)
    assert all(f'id="problem-{kind}"' in text for kind in KINDS)
    assert not re.search(r'(?:src|href)="(?!/)', text.replace('href="#', 'href="/')), "nothing from elsewhere"
    assert all(f"<code>{each.path}</code>" in text for each in ENDPOINTS)
