"""The page of alerts: what rules say, what they saw and what is known by now, each with its sessions."""

from __future__ import annotations

from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from tests.dashboard import alert_rows
from tests.dashboard.alert_rows import APP, OTHER_APP
from tests.dashboard.markup import Page
from tests.dashboard.stage import Stage


@pytest.fixture(scope="module", autouse=True)
def evaluated(stage: Stage) -> None:
    alert_rows.put(stage)


def test_what_was_seen_and_what_is_known_stand_side_by_side(client: TestClient) -> None:
    text = client.get(f"/alerts?app={APP}").text
    now, changed = text.split('id="changes"')
    assert now.count("<tr") == 2 and "97.50% (390 of 400)" in now
    assert changed.count("<tr") == 2, "an evaluation that changed nothing is no change"
    assert (
        "97.50% (390 of 400)" in changed and "99.25% (397 of 400)" in changed and ">normal</span>" in changed
    )
    address = unescape(changed.split('<a href="/sessions')[1].split('"')[0])
    asked = parse_qs(urlsplit(address).query)
    assert asked["app"] == [APP] and asked["filter"] == ['os.name = "Android"'] and "from" in asked
    assert client.get(f"/sessions{address}").status_code == 200


def test_names_of_rules_and_groups_are_escaped(client: TestClient) -> None:
    text = client.get("/alerts").text
    assert not Page(text).unsafe()
    assert text.count("&lt;script&gt;alert") >= 3 and "7.0 s" in text and "2099" in text
    assert "Crash-free" in text and OTHER_APP in unescape(text)


def test_a_rule_that_cannot_be_evaluated_says_why_and_leads_to_no_other_sessions(client: TestClient) -> None:
    text = client.get("/alerts?app=of-a-cohort").text
    now, changed = text.split('id="changes"')
    for part in (now, changed):
        assert "no cohort &#34;payers&#34;" in part and "cohort payers" in part and ">error</span>" in part
        assert "/sessions?" not in part and "/crashes?" not in part


def test_other_days_and_none(client: TestClient) -> None:
    assert client.get("/alerts?days=30").status_code == 200
    wrong = client.get("/alerts?days=5")
    assert wrong.status_code == 400 and "Days are 1, 7, 30." in wrong.text
    nothing = client.get("/alerts?app=nobody").text
    assert "No rule was evaluated lately" in nothing
