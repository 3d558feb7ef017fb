"""The page of paths: every number leads to the sessions that it counts, and the whole state is in the address."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from starlette.testclient import TestClient

from pipeline.dashboard.ways import tree
from tests.dashboard.stage import Stage
from tests.support.linked_sessions import RANGE, counted

APP = "org.example.shop"
LED = re.compile(r'<a href="(/sessions\?[^"]*)">([\d,]+)(?: sessions?)?</a>')


def page(client: TestClient, **fields: str) -> str:
    answer = client.get(f"/paths?{urlencode({'app': APP, **RANGE, **fields})}")
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("screen", ["", "Cart"], ids=["from the start", "from a screen"])
def test_every_number_leads_to_its_sessions(client: TestClient, stage: Stage, screen: str) -> None:
    text = page(client, screen=screen, depth="4", filter='os.name = "android"')
    drawn, listed = text.split('id="screens"')
    led = [(unescape(address), int(number.replace(",", ""))) for address, number in LED.findall(drawn)]
    assert len(led) >= 8 and any("crash_count" in address for address, _ in led)
    # The first ones, and from the end those that are deep in the tree.
    for address, number in {*led[:8], *led[-4:]}:
        assert "os.name" in address
        assert counted(stage, address) == number, address
    row = listed.split('<th scope="row">')[1]
    sessions, visits, exits, *_ = LED.findall(row)
    assert counted(stage, unescape(sessions[0])) == int(sessions[1]) <= int(visits[1])
    assert counted(stage, unescape(exits[0])) == int(exits[1])
    few = next(address for address, number in led if 0 < number < 20)
    assert client.get(few).text.count('href="/sessions/') >= 1


def test_every_number_of_a_flow_leads_to_its_sessions(client: TestClient, stage: Stage) -> None:
    flow = 'app.screen.view(app.screen.name = "Cart") then app.screen.view(app.screen.name = "Checkout")'
    answer = client.get(f"/paths/flows?{urlencode({'app': APP, **RANGE, 'flow': f'{flow} within 30s'})}")
    assert answer.status_code == 200, answer.text
    led = [(unescape(address), int(number.replace(",", ""))) for address, number in LED.findall(answer.text)]
    assert len(led) >= 8
    for address, number in led[:8]:
        assert counted(stage, address) == number, address


def test_a_flow_is_saved_and_found_again(client: TestClient) -> None:
    flow = 'app.screen.view(app.screen.name = "Cart") then app.screen.view(app.screen.name = "Checkout") within 30s'
    saved = {"app": APP, "name": "Buying", "flow": flow}
    try:
        shown = client.post("/filter/save", data=saved)
        assert str(shown.url).partition("?")[0].endswith("/paths/flows") and "How far they came" in shown.text
        client.post("/filter/save", data={"app": APP, "name": "No flow", "filter": "has app.crash"})
        listed = client.get(f"/paths/flows?{urlencode({'app': APP, **RANGE})}").text
        assert "Saved flows (1)" in listed and "No flow" not in listed.partition("Saved flows")[2]
        [at] = [unescape(each) for each in re.findall(r'<a href="([^"]*)">Buying</a>', listed)]
        assert parse_qs(urlsplit(at).query)["flow"] == [flow]
        span = {"app": APP, "from": "2026-01-01", "until": "2026-03-01"}
        answers = [
            client.get(f"/api/v1/flows?{urlencode({**span, **own})}")
            for own in ({"flow": flow}, {"saved": "Buying"})
        ]
        assert answers[0].json() == answers[1].json() and answers[0].json()["started"] > 0
        for wrong in ({}, {"saved": "Nobody's"}, {"saved": "No flow"}):
            refused = client.get(f"/api/v1/flows?{urlencode({'app': APP, **wrong})}")
            assert refused.status_code == 400, refused.text
        assert client.post("/filter/save", data={**saved, "flow": "app.crash"}).status_code == 400
    finally:
        away = {**saved, "delete": "1"}
        gone = [client.post("/filter/save", data={**away, "name": name}) for name in ("Buying", "No flow")]
    assert "None for" in gone[-1].text


@pytest.mark.parametrize(
    "flow",
    ["app.launch", "app.launch and app.crash", "at least 2 of app.crash", "then app.crash", 'os.name = "x"'],
)
def test_what_is_no_flow_is_told(client: TestClient, flow: str) -> None:
    answer = client.get(f"/paths/flows?{urlencode({'app': APP, 'flow': flow})}")
    assert answer.status_code == 400 and "The flow cannot be read" in answer.text


def test_a_screen_leads_to_its_ways(client: TestClient) -> None:
    text = page(client)
    (cart, *_) = [each for each in re.findall(r'href="(/paths\?[^"]*)"', text) if "screen=Cart" in each]
    onward = client.get(unescape(cart)).text
    assert "From Cart" in onward and "From where sessions start" in onward
    assert 'value="Cart"' in onward, "the address holds what the form shows"


def test_what_an_address_cannot_say_is_told(client: TestClient) -> None:
    for fields in ({"depth": "9"}, {"depth": "x"}, {"order": "name"}, {"filter": "nonsense ="}):
        answer = client.get(f"/paths?{urlencode({'app': APP, **fields})}")
        assert answer.status_code == 400 and 'role="alert"' in answer.text
    assert "No session of this range shows a screen" in page(
        client, **{"from": "2001-01-01", "to": "2001-02-01"}
    )
    assert "Nobody went on from there" in page(client, screen="No such screen")


def test_the_tree() -> None:
    """Written out by hand: ten sessions, of which three end on Home, one of them with a crash."""

    def row(
        *steps: str, sessions: int, exits: int = 0, crashes: int = 0, still_there: int = 0
    ) -> dict[str, object]:
        return {
            "steps": list(steps), "sessions": sessions, "visits": sessions, "exits": exits, "crashes": crashes,
            "still_there": still_there, "median_dwell_ms": 5,
        }  # fmt: skip

    rows = [
        row(sessions=10),
        row("Home", sessions=8, exits=3, crashes=1, still_there=1),
        row("Home", "Cart", sessions=3, exits=3),
        row("List", sessions=1, exits=1),
    ]
    root = tree(rows, None)
    assert (root.sessions, root.others, root.is_more) == (10, 1, True)
    home, listed = root.further
    assert (home.steps, home.share, home.crashes, home.others) == (("Home",), 0.8, 1, 1)
    assert [(each.steps, each.share, each.others) for each in home.further] == [(("Home", "Cart"), 0.3, None)]
    assert (listed.others, listed.is_more) == (0, False)
    # From a screen a session may go several ways: what is left over cannot be told from the sums.
    many = [row("Home", sessions=9), *(row("Home", f"{n}", sessions=9 - n) for n in range(7))]
    root = tree(many, "Home")
    assert [each.steps[-1] for each in root.further] == ["0", "1", "2", "3", "4", "5"]
    assert root.is_more and root.others is None
    # What goes on from a way that is not drawn is not drawn either.
    rare = [row(sessions=1_000), row("Rare", sessions=9), row("Rare", "Home", sessions=9)]
    root = tree(rare, None)
    assert (root.further, root.others) == ([], 1_000)
    assert tree([], "Home").sessions == 0
