"""Every page over a real engine: it answers, runs nothing that a device sent, and says what is stored."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from starlette.testclient import TestClient

from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import application
from pipeline.dashboard.guard import HEADERS
from pipeline.dashboard.page import FOLDER
from pipeline.dashboard.reader import NotAnswered
from pipeline.storage.columns import SESSION_COLUMNS
from tests.dashboard import hostile
from tests.dashboard.conftest import page_paths
from tests.dashboard.markup import Page
from tests.dashboard.stage import Stage, staged

WHO = urlencode({"app": hostile.APP, "user": hostile.USER})
DEVICE = urlencode({"app": hostile.APP, "device": hostile.DEVICE})
OWN_FILES = sorted(
    path
    for path in FOLDER.rglob("*")
    if path.suffix in {".js", ".css", ".html", ".svg"} and "vendor" not in path.parts
)


def crashed(stage: Stage) -> str:
    """The id of the hostile device's first session."""
    (row,) = stage.query(
        "SELECT session_id FROM sessions WHERE device_id = {device:String} AND end_reason = 'crash'",
        device=hostile.DEVICE,
    )
    return str(row["session_id"])


def group_of_the_hostile(stage: Stage) -> str:
    (row,) = stage.query(
        "SELECT crash_group FROM z_crashes WHERE device_id = {device:String}", device=hostile.DEVICE
    )
    return str(row["crash_group"])


def addresses(stage: Stage) -> Iterator[str]:
    session = f"/sessions/{crashed(stage)}"
    yield from (
        "/sessions",
        f"/sessions?{urlencode({'app': hostile.APP})}",
        "/timeline",
        "/pipeline",
        "/pipeline/ledger",
    )
    yield from (f"/timeline/profile?{WHO}", f"/timeline/profile?{DEVICE}")
    yield from (f"/timeline?{WHO}", f"/timeline?{DEVICE}", session, f"{session}?q={quote(hostile.SCRIPT)}")
    yield f"{session}/event?id={quote('e' + hostile.QUOTES)}"
    (row,) = stage.query(
        "SELECT stitched_session_id AS id FROM sessions WHERE session_id = {id:UUID}", id=crashed(stage)
    )
    span = urlencode({"app": hostile.APP, "from": "2025-03-01", "to": "2025-04-01"})
    yield from (f"/stitched/{row['id']}", f"/stitched/{row['id']}?q={quote(hostile.SCRIPT)}&crash=1")
    yield from (
        f"/stitched?{span}",
        f"/users?{span}",
        f"/timeline/events?{WHO}",
        f"/timeline/events?{DEVICE}",
    )
    yield f"/find?{urlencode({'q': hostile.SCRIPT})}"
    yield f"/health?{urlencode({'app': hostile.APP})}"
    yield f"/network?{urlencode({'app': hostile.APP, 'from': '2020-01-01'})}"
    yield f"/performance?{urlencode({'app': hostile.APP, 'from': '2020-01-01'})}"
    for screen in ("", hostile.SCRIPT):
        yield f"/paths?{urlencode({'app': hostile.APP, 'from': '2025-03-01', 'to': '2025-04-01', 'screen': screen})}"
    flow = f"app.screen.view(app.screen.name = {json.dumps(hostile.SCRIPT)}) then app.crash within 1m"
    yield f"/paths/flows?{urlencode({'app': hostile.APP, 'from': '2025-03-01', 'to': '2025-04-01', 'flow': flow})}"
    yield f"/health?{urlencode({'app': hostile.APP, 'by': 'persona', 'a': hostile.SCRIPT, 'b': ''})}"
    yield f"/health?{urlencode({'app': hostile.APP, 'property': hostile.SCRIPT, 'a': hostile.QUOTES, 'b': 'x'})}"
    # The days on which it was there.
    span = {"app": hostile.APP, "from": "2025-03-01", "to": "2025-04-01"}
    yield f"/crashes?{urlencode(span)}"
    yield f"/crashes/{group_of_the_hostile(stage)}?{urlencode(span)}"
    yield f"/crashes/{group_of_the_hostile(stage)}/before?{urlencode(span)}"
    for split in ({"by": "app_version"}, {"by": "device_model"}, {"property": hostile.SCRIPT}):
        yield f"/health?{urlencode({**span, **split})}"
        yield f"/health/retention?{urlencode({**span, **split})}"
        yield f"/health/failures?{urlencode({**span, **split})}"
        two = {"a": f"1.0{hostile.SCRIPT}", "b": hostile.QUOTES}
        yield f"/health?{urlencode({**span, **split, **two})}"
        yield f"/health/issues?{urlencode({**span, **split, **two})}"


def test_every_page_answers_safely(client: TestClient, stage: Stage) -> None:
    hostile_seen, seen = 0, set()
    for address in addresses(stage):
        answer = client.get(address)
        assert answer.status_code == 200, (address, answer.text)
        seen.add(urlsplit(address).path)
        assert {name: answer.headers[name] for name in HEADERS} == dict(HEADERS)
        assert answer.headers["Cache-Control"] == "no-store"
        page = Page(answer.text)
        assert not page.unsafe(), address
        assert not any(
            element.tag == "img" and element.attributes.get("src") == "x" for element in page.elements
        )
        assert "829348951" not in answer.text, "a template of the device's was filled in"
        hostile_seen += "&lt;script&gt;alert" in answer.text
    assert hostile_seen >= 11, "the hostile texts were not even there"
    forms = {path: re.sub("/x(?=/|$)", "/[^/]+", path) for path in page_paths(client)}
    others = {path for path, form in forms.items() if not any(re.fullmatch(form, each) for each in seen)}
    # Choices, files, parts of pages, what leads elsewhere; and the page of alerts, which has tests of its own.
    assert others == {"/", "/alerts", "/counts/sessions", "/export/sessions", "/find/event", "/open", "/zone"}


def test_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy and "data:" not in policy


def _remembering(stage: Stage) -> tuple[TestClient, Counter[str]]:
    """A visitor whose dashboard asks the same question once, however many minutes later; and how often each was asked.

    Most words of an address change no question.
    """
    real = parts(stage.settings, stage.store, "", frozenset())
    answers: dict[str, bytes] = {}
    asked = Counter[str]()

    def ask(sql: str, parameters: Mapping[str, Any]) -> bytes:
        question = re.sub(r"\d{13}|\d\d:\d\d:\d\d\.\d+", "", f"{sql} {sorted(parameters.items())}")
        asked[question] += 1
        if question not in answers:
            answers[question] = real.ask(sql, parameters)
        return answers[question]

    return TestClient(application(replace(real, ask=ask))), asked


def test_hostile_words_in_the_address_are_escaped(stage: Stage) -> None:
    client, asked = _remembering(stage)
    bad = hostile.QUOTES + hostile.SCRIPT
    not_asked = {"/", "/pipeline", "/pipeline/ledger", "/find/event", "/export/sessions", "/zone"}
    for path in sorted({path for path in page_paths(client) if "x" not in path.split("/")} - not_asked):
        for name in (
            "app",
            "filter",
            "from",
            "after",
            "user",
            "device",
            "by",
            "property",
            "a",
            "b",
            "before",
            "q",
            "cohort",
            "session_id",
        ):
            answer = client.get(path, params={name: bad})
            assert answer.status_code in {200, 400, 404 if path == "/open" else 200}, (
                path,
                name,
                answer.text,
            )
            assert not Page(answer.text).unsafe(), (path, name)
    for path, name in (
        ("/crashes", "kind"),
        ("/crashes", "order"),
        ("/crashes/1-0", "app"),
        ("/crashes/1-0", "filter"),
    ):
        answer = client.get(path, params={name: bad})
        assert answer.status_code in {200, 400, 404}, (path, name, answer.text)
        assert not Page(answer.text).unsafe(), (path, name)
    for path in ("/sessions", "/crashes"):
        answer = client.get(f"{path}/{quote(bad, safe='')}")
        assert answer.status_code == 404 and not Page(answer.text).unsafe()
    assert asked.total() > 500
    client.close()


def test_json_is_no_page(client: TestClient, stage: Stage) -> None:
    for address in (
        f"/sessions/{crashed(stage)}/marks.json",
        "/filter/dimensions.json",
        "/filter/parse.json?text=(",
    ):
        answer = client.get(address)
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", OWN_FILES, ids=lambda path: path.name)
def test_own_files_name_no_address_outside(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|[\"'(]//", text)


@pytest.mark.parametrize(
    "path", [path for path in OWN_FILES if path.suffix == ".js"], ids=lambda path: path.name
)
def test_own_scripts_make_no_html_of_texts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", text
    )
    assert len(text.splitlines()) <= 320


def test_templates_never_switch_escaping_off() -> None:
    for path in (FOLDER / "templates").glob("*.html"):
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", path.read_text(encoding="utf-8")), path


def test_the_dashboard_reads_only(stage: Stage) -> None:
    ask = parts(stage.settings, stage.store, "", frozenset()).ask
    before = stage.query("SELECT count() AS n FROM events")
    for sql in (
        "INSERT INTO offset_bases (base) VALUES (1)",
        "DROP TABLE offset_bases",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_execution_time = 0",
    ):
        with pytest.raises(NotAnswered):
            ask(sql, {})
    assert stage.query("SELECT count() AS n FROM events") == before
    assert stage.query("SELECT count() AS n FROM offset_bases WHERE base = 1") == [{"n": 0}]


def test_answers_are_bounded(stage: Stage) -> None:
    ask = parts(stage.settings, stage.store, "", frozenset()).ask
    assert len(ask("SELECT number FROM numbers(100000)", {}).splitlines()) == 100_000
    with pytest.raises(NotAnswered):
        ask("SELECT number FROM numbers(200000)", {})


def test_session_page_tells_the_story(client: TestClient, stage: Stage) -> None:
    session = crashed(stage)
    html = client.get(f"/sessions/{session}").text
    page = Page(html)
    expected = stage.query("SELECT what FROM session_timeline(session_id = {id:UUID})", id=session)
    assert [unescape(text) for text in page.texts("span", **{"class": "what"})] == [
        row["what"] for row in expected
    ]

    rows = {
        element.attributes["id"]: element.attributes["class"].split()
        for element in page.all("li")
        if "id" in element.attributes
    }
    names = [
        row["name"]
        for row in stage.query("SELECT name FROM session_timeline(session_id = {id:UUID})", id=session)
    ]
    marked = {
        word: [names[int(key[1:])] for key, words in rows.items() if word in words]
        for word in ("end", "trailing", "fault")
    }
    assert marked == {
        "end": ["app.crash"],
        "trailing": ["log"],
        "fault": ["http.client.request", "app.crash"],
    }
    tags = page.texts("span", **{"class": "tag warn", "title": "It arrived after events that happened later"})
    assert tags == ["late"]
    (late_row,) = [key for key, words in rows.items() if names[int(key[1:])] == "app.widget.click"]
    assert html.index(f'id="{late_row}"') < html.index("It arrived after events that happened later")
    assert "Revision" in html and "not final" in html
    assert re.search(r"<dd>1 of [12] in <a", html)
    assert "x" * 2_000 in html and "x" * 2_001 not in html
    assert "x" * 5_000 in client.get(f"/sessions/{session}/event?id={quote('e' + hostile.QUOTES)}").text


def test_search_goes_round(client: TestClient, stage: Stage) -> None:
    session = crashed(stage)
    answer = client.get(f"/sessions/{session}", params={"q": "SCRIPT>ALERT"})
    assert "1 of 4 found" in answer.text
    page = Page(answer.text)
    (following,) = (element.attributes["href"] for element in page.all("a", rel="next"))
    (back,) = (element.attributes["href"] for element in page.all("a", rel="prev"))
    assert "2 of 4 found" in client.get(following.split("#")[0]).text
    assert "4 of 4 found" in client.get(back.split("#")[0]).text
    assert "Nothing found" in client.get(f"/sessions/{session}", params={"q": "no such text"}).text


def test_marks_are_the_events(client: TestClient, stage: Stage) -> None:
    session = crashed(stage)
    told = client.get(f"/sessions/{session}/marks.json").json()
    assert [mark["lane"] for mark in told["marks"]] == [
        "lifecycle",
        "view",
        "tap",
        "network",
        "other",
        "problem",
        "log",
    ]
    assert [mark["at"] - told["start_ms"] for mark in told["marks"]] == [
        0,
        100,
        1_000,
        2_000,
        2_500,
        4_000,
        5_500,
    ]
    assert told["ended_ms"] - told["start_ms"] == 4_000


def test_what_is_not_there_is_told(client: TestClient) -> None:
    for address in ("/sessions/00000000-0000-0000-0000-000000000000", "/sessions/x", "/nowhere"):
        answer = client.get(address)
        assert answer.status_code == 404 and "Not found" in answer.text
        assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


def test_a_new_database_says_what_to_do(database_url: str) -> None:
    with staged(database_url) as empty:
        client = TestClient(application(parts(empty.settings, empty.store, "", frozenset())))
        for path in ("/sessions", "/health", "/timeline", "/network", "/paths"):
            assert "session-pipeline simulate" in client.get(path).text, path
        for path in ("/pipeline", "/pipeline/ledger"):
            assert client.get(path).status_code == 200
        told = client.get("/filter/dimensions.json").json()
        assert told["events"] == [] and told["dimensions"]
        assert client.get("/filter/suggestions.json?dimension=app.version").json() == {"words": []}
        client.close()


def test_pipeline_page_shows_what_was_refused(client: TestClient) -> None:
    html = client.get("/pipeline").text
    assert "not_json" in html and "2 records" in html
    assert "&lt;b&gt;key&lt;/b&gt;" in html
    ledger = Page(client.get("/pipeline/ledger").text)
    cells = ledger.texts("td")
    assert cells[2] == "0", "no offset is missing"
    assert int(cells[3].replace(",", "")) == sum(int(cell.replace(",", "")) for cell in cells[4:7])


def test_a_session_of_several_users_leads_to_each_and_says_whose_each_event_is(database_url: str) -> None:
    """A crash, and then the next user in the same session; what came later than the horizon and was not counted."""
    file = Path(__file__).parents[1] / "data" / "field" / "43-fresh-crash-user-then-next-user.ndjson"
    app = "org.example.field.c43"
    with staged(database_url) as stage:
        lines = file.read_bytes().splitlines()
        at_ms = max(event["time"] for line in lines for event in json.loads(line)["events"])
        stage.put((f"{app}/d".encode(), line, at_ms) for line in lines)
        (row,) = stage.query("SELECT session_id FROM sessions")
        own = f"/sessions/{row['session_id']}"
        client = TestClient(application(parts(stage.settings, stage.store, "", frozenset())))
        for user in ("alice", "bob"):
            assert own in client.get("/timeline", params={"app": app, "user": user}).text
            assert f"user={user}" in client.get(own).text and f"user={user}" in client.get("/sessions").text
        assert "Not counted" not in client.get(own).text and "Restated" not in client.get(own).text
        for event_id, owner in (("l1", "alice"), ("c1", "alice"), ("cfg", "bob")):
            values = Page(client.get(f"{own}/event", params={"id": event_id}).text).texts("dd")
            assert owner in values, event_id
        # As a late event leaves it that no session counts any more, and one that was told after the end.
        change = "SELECT * REPLACE ({} AS event_count, revision + {} AS revision) FROM session_rows FINAL"
        columns = ", ".join(name for name, _ in SESSION_COLUMNS)
        change = f"INSERT INTO session_rows ({columns}) SELECT {columns} FROM ({change})"
        for count, step in ((2, 2), (1, 4)):
            stage.store.command(change.format(count, step))
        html = client.get(own).text
        assert "2 events came too late to change this session" in html
        assert "<dt>Restated</dt><dd>2 times by late events" in html
        assert "no longer kept" not in html
        stage.store.command(change.format(5, 6))
        assert "2 of the 5 events of this session are no longer kept" in client.get(own).text
        client.close()
