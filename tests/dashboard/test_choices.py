"""What an address says: filters, ranges, pages, users; all of it there and back."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pipeline.dashboard.address import LATEST_MS, BadAddress, SessionChoice
from pipeline.dashboard.pages.sessions import EXAMPLES
from pipeline.dashboard.pages.timeline import stitched
from tests.dashboard import hostile
from tests.dashboard.hostile import BUSY_APP, BUSY_DEVICE
from tests.dashboard.markup import Page
from tests.dashboard.stage import Stage
from tests.support.listed_sessions import ids, walk

times = st.none() | st.integers(0, LATEST_MS // 2)
choices = st.builds(
    SessionChoice,
    app=st.text(max_size=20),
    filter=st.none() | st.text(max_size=60),
    start_ms=times,
    end_ms=st.none() | st.integers(LATEST_MS // 2 + 1, LATEST_MS - 1),
    after=st.text(max_size=40),
)


@given(choices)
def test_an_address_holds_the_whole_choice(choice: SessionChoice) -> None:
    address = urlencode(choice.fields())
    assert SessionChoice.of(dict(parse_qsl(address, keep_blank_values=True))) == choice


@pytest.mark.parametrize(
    "text", ["someday", "1969-12-31", "2100-01-01", "9999-99-99", "0001-01-01T00:00:00+14:00"]
)
def test_times_that_cannot_be(text: str) -> None:
    with pytest.raises(BadAddress):
        SessionChoice.of({"from": text})


def test_a_range_has_a_length() -> None:
    with pytest.raises(BadAddress, match="before it begins"):
        SessionChoice.of({"from": "2026-01-02", "to": "2026-01-01"})


def test_pages_hold_every_session_once(client: TestClient, stage: Stage) -> None:
    order = "ORDER BY started_at DESC, app_id DESC, device_id DESC, session_id DESC"
    expected = [row["session_id"] for row in stage.query(f"SELECT session_id FROM sessions {order}")]
    assert walk(client, "/sessions?range=all") == expected


def test_everything_is_shown_to_whom_asks_for_it_alone(client: TestClient, stage: Stage) -> None:
    days = "(SELECT max(started_at) FROM sessions) - INTERVAL 30 DAY"
    recent = stage.query(f"SELECT session_id FROM sessions WHERE started_at >= {days}")
    (every,) = stage.query("SELECT count() AS n FROM sessions")
    found = walk(client, "/sessions")
    assert sorted(found) == sorted(row["session_id"] for row in recent)
    assert len(found) < int(every["n"]), "the stage has older ones, too"
    for address, shown in (("/sessions", "30 days"), ("/sessions?range=all", "everything")):
        page = Page(client.get(address).text)
        assert [
            each.text
            for each in page.all("a")
            if "aria-current" in each.attributes
            and each.text in ("last day", "7 days", "30 days", "90 days", "everything")
        ] == [shown]
    assert {
        each.attributes["value"]
        for each in Page(client.get("/sessions?range=all").text).all("input", name="range")
    } == {"all"}, "the forms ask for the same"


def test_a_range_without_a_beginning_has_one(client: TestClient, stage: Stage) -> None:
    """Up to a time that an address names are shown the days before it."""
    html = client.get("/sessions", params={"to": "2025-04-01"}).text
    expected = stage.query(
        "SELECT session_id FROM sessions WHERE started_at >= '2025-03-02' AND started_at < '2025-04-01'"
        " ORDER BY started_at DESC, app_id DESC, device_id DESC, session_id DESC LIMIT 50"
    )
    assert expected and ids(html) == [row["session_id"] for row in expected]


def test_pages_keep_filter_and_range(client: TestClient, stage: Stage) -> None:
    (middle,) = stage.query("SELECT toString(quantileExact(0.3)(started_at)) AS at FROM sessions")
    expected = stage.query(
        "SELECT session_id FROM sessions WHERE state = 'foreground' AND duration_ms >= 100"
        " AND started_at >= {at:DateTime64(3)}",
        at=middle["at"],
    )
    fields = {
        "filter": 'session.state = "foreground" and session.duration_ms >= 100',
        "from": middle["at"].replace(" ", "T"),
    }
    found = walk(client, f"/sessions?{urlencode(fields)}")
    assert len(found) == len(set(found))
    assert sorted(found) == sorted(row["session_id"] for row in expected)


def test_the_page_shows_what_its_address_says(client: TestClient) -> None:
    text = 'session.end_reason = "crash" and not (session.duration_ms < 5 or has app.screen.view)'
    fields = {"app": "org.example.shop", "filter": text, "from": "2025-01-02T03:04:00Z"}
    page = Page(client.get("/sessions", params=fields).text)
    assert page.texts("textarea") == [text]
    assert [each.attributes["value"] for each in page.all("input", id="from")] == ["2025-01-02T03:04"]
    (selected,) = (each.text for each in page.all("option") if "selected" in each.attributes)
    assert selected == "org.example.shop"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"filter": "session.colour = 1"}, "session.colour"),
        ({"filter": "(" * 50}, "The filter cannot be read"),
        ({"from": "tomorrow"}, "“tomorrow” is not a time"),
        ({"after": "[1]"}, "That page cannot be found"),
        ({"filter": "x" * 8_001}, "at most 8000 characters"),
    ],
)
def test_mistakes_are_told_on_the_page(client: TestClient, fields: dict[str, str], said: str) -> None:
    answer = client.get("/sessions", params=fields)
    assert answer.status_code == 400
    (told,) = Page(answer.text).texts("p", role="alert")
    assert said in told


def test_the_builder_reads_and_writes_the_same_language(client: TestClient) -> None:
    text = 'app.version in ("1", "2") and has http.client.request(http.response.status_code >= 500) then app.crash'
    document = client.get("/filter/parse.json", params={"text": text}).json()["filter"]
    assert client.get("/filter/text.json", params={"filter": json.dumps(document)}).json() == {"text": text}
    for bad in ("{", "[]", '{"dimension": "nope", "operator": "eq", "value": 1}'):
        answer = client.get("/filter/text.json", params={"filter": bad})
        assert answer.status_code == 200 and list(answer.json()) == ["error"]


def test_filters_are_saved_shown_used_and_deleted(client: TestClient) -> None:
    def send(**fields: str) -> int:
        form = {"app": "org.example.bank", **fields}
        return client.post("/filter/save", data=form, follow_redirects=False).status_code

    text = 'session.end_reason = "crash"'
    assert send(name="Crashed <b>", filter=text, default="1") == 303
    page = client.get("/sessions", params={"app": "org.example.bank"})
    assert Page(page.text).texts("textarea") == [text], "the app begins with it"
    assert "Crashed &lt;b&gt;" in page.text
    assert Page(client.get("/sessions?app=org.example.bank&filter=").text).texts("textarea") == [""]
    assert send(name="Bad", filter="nonsense ((") == 400

    def begins_with() -> list[str]:
        return Page(client.get("/sessions?app=org.example.bank").text).texts("textarea")

    assert send(name="Crashed <b>", begin="no") == 303 and begins_with() == [""]
    assert send(name="Crashed <b>", begin="yes") == 303 and begins_with() == [text]
    assert send(name="Crashed <b>", delete="1") == 303
    assert "Crashed &lt;b" not in client.get("/sessions", params={"app": "org.example.bank"}).text


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_examples_are_filters(client: TestClient, text: str) -> None:
    answer = client.get("/sessions", params={"filter": text})
    assert answer.status_code == 200
    assert Page(answer.text).texts("textarea") == [text], "in the very form that the page writes"


def test_suggestions_are_what_is_stored(client: TestClient, stage: Stage) -> None:
    def words(**fields: str) -> list[str]:
        return list(client.get("/filter/suggestions.json", params=fields).json()["words"])

    def stored(expression: str, table: str, condition: str) -> set[str]:
        rows = stage.query(f"SELECT DISTINCT {expression} AS word FROM {table} WHERE {condition}")
        return {row["word"] for row in rows} - {""}

    shop, of_shop = "org.example.shop", "app_id = 'org.example.shop' AND started_at > '2026-01-01'"
    assert set(words(app=shop, dimension="app.version")) == stored("app_version", "sessions", of_shop)
    views = "app_id = 'org.example.shop' AND name = 'app.screen.view' AND time > '2026-01-01'"
    screens = stored("attributes['app.screen.name']", "events", views)
    for dimension in ("session.first_screen", "session.last_screen"):
        assert set(words(app=shop, dimension=dimension)) == screens
    keys = stored("arrayJoin(mapKeys(properties))", "sessions", of_shop)
    assert keys and set(words(app=shop, dimension="user.property.")) == keys
    key = sorted(keys)[0]
    values = stored(f"properties['{key}']", "sessions", of_shop)
    assert set(words(app=shop, dimension=f"user.property.{key}")) == values
    requests = "app_id = 'org.example.shop' AND name = 'http.client.request'"
    attributes = words(app=shop, event="http.client.request")
    assert set(attributes) == stored("arrayJoin(mapKeys(attributes))", "events", requests)
    statuses = words(app=shop, event="http.client.request", attribute="http.response.status_code")
    assert "200" in statuses and set(statuses) <= stored(
        "attributes['http.response.status_code']", "events", requests
    )


@pytest.mark.parametrize(
    "name", ["", "user.id", "session.connection", "session.id", "session.duration_ms", "nope", "1 OR 1=1"]
)
def test_nothing_is_suggested_where_there_is_nothing_to_choose(client: TestClient, name: str) -> None:
    answer = client.get("/filter/suggestions.json", params={"dimension": name})
    assert answer.status_code == 400 and name in answer.json()["error"]


@pytest.mark.parametrize(
    "text", [hostile.QUOTES, "' OR 1=1 --", "{app:String}", "\\'); DROP TABLE event_rows; --"]
)
def test_what_is_asked_of_suggestions_is_just_a_text(client: TestClient, stage: Stage, text: str) -> None:
    before = stage.query("SELECT count() AS n FROM events")
    for fields in (
        {"app": text, "dimension": "app.version"},
        {"dimension": f"user.property.{text}"},
        {"event": text},
        {"event": "app.crash", "attribute": text},
    ):
        answer = client.get("/filter/suggestions.json", params=fields)
        assert answer.status_code == 200, fields
        known = [hostile.JINJA] if fields.get("attribute") == hostile.QUOTES else []
        assert [word for word in answer.json()["words"] if word not in known] == []
    assert stage.query("SELECT count() AS n FROM events") == before


def test_user_timeline_goes_through_all_sessions(client: TestClient, stage: Stage) -> None:
    expected = stage.query(
        "SELECT session_id, stitched_session_id FROM sessions"
        " WHERE app_id = {app:String} AND device_id = {device:String} ORDER BY started_at DESC",
        app=BUSY_APP, device=BUSY_DEVICE,
    )  # fmt: skip
    assert len({row["stitched_session_id"] for row in expected[:60]}) > 1
    address = f"/timeline?{urlencode({'app': BUSY_APP, 'device': BUSY_DEVICE})}"
    assert walk(client, address) == [row["session_id"] for row in expected]
    first = Page(client.get(address).text)
    groups = [each.attributes["data-group"] for each in first.all("article")]
    assert groups == list(dict.fromkeys(row["stitched_session_id"] for row in expected[:60]))


def session(start_ms: int, end_ms: int, stitched_id: str) -> dict[str, Any]:
    return {"started_at_ms": start_ms, "ended_at_ms": end_ms, "stitched_session_id": stitched_id}


def test_stitched_sessions_are_put_together() -> None:
    newest_first = [session(900, 1_000, "b"), session(300, 400, "a"), session(100, 200, "a")]
    later, earlier = stitched(newest_first)
    assert (later.id, later.gap_ms, later.pauses_ms) == ("b", None, 0)
    assert (earlier.id, earlier.start_ms, earlier.end_ms) == ("a", 100, 400)
    assert (earlier.gap_ms, earlier.pauses_ms) == (500, 100)
    assert [(bar.x, bar.width) for bar in earlier.bars] == [(0, 33.333), (66.667, 33.333)]


def test_sessions_of_no_length_can_be_seen() -> None:
    (only,) = stitched([session(100, 100, "a")])
    assert [(bar.x, bar.width) for bar in only.bars] == [(0, 0.4)]


def test_addresses_of_the_ranges_are_whole(client: TestClient) -> None:
    page = Page(client.get("/sessions?app=org.example.shop&filter=session.live+%3D+true").text)
    links = [each.attributes["href"] for each in page.all("a") if each.text in {"last day", "7 days"}]
    for link in links:
        fields = dict(parse_qsl(urlsplit(link).query))
        assert (
            fields["app"] == "org.example.shop"
            and fields["filter"] == "session.live = true"
            and fields["from"]
        )
    assert len(links) == 2
