"""The page of alerts: what rules say, what they saw and what is known by now, each with its sessions."""

from __future__ import annotations

import time
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from starlette.testclient import TestClient

from pipeline.query.session_range import time_text
from tests.dashboard import hostile
from tests.dashboard.markup import Page
from tests.dashboard.stage import Stage

APP = "org.example.shop"
HOUR = 3_600_000


def row(at_ms: int, known_ms: int | None = None, **other: Any) -> dict[str, Any]:
    return {
        "app_id": APP, "rule": "Crash-free", "definition": "1", "metric": "crash_free_sessions", "filter": "",
        "evaluated_at": time_text(at_ms), "is_group": 0, "group": "", "known_at": time_text(known_ms or at_ms),
        "window_from": time_text(at_ms - HOUR), "window_until": time_text(at_ms), "value": 0.975, "numerator": 390,
        "denominator": 400, "sessions": 400, "users": 10, "value_before": None, "sessions_before": 0,
        "users_before": 0, "verdict": "error", "state": "error", "state_before": "normal", "settled": "error",
        "told": "error", "told_before": "normal", "times": 1, "message_id": "", "message": "", "channels": [],
        **other,
    }  # fmt: skip


@pytest.fixture(scope="module")
def evaluated(stage: Stage) -> int:
    """When: two rules of different apps, one of them of a hostile name and group, and one that is muted."""
    at_ms = int(time.time() * 1_000) // HOUR * HOUR - 8 * HOUR
    told: dict[str, Any] = {"message_id": "m1", "channels": ["team"]}
    rows = [
        row(at_ms, filter='os.name = "Android"', **told),
        row(at_ms, at_ms + HOUR, value=0.9925, numerator=397, verdict="normal", message_id="m2"),
        row(at_ms + HOUR, state="error", state_before="error"),
        row(
            at_ms, app_id=hostile.APP, rule=hostile.SCRIPT, is_group=1, group=hostile.QUOTES + hostile.SCRIPT,
            filter=f"app.version = {orjson.dumps(hostile.SCRIPT).decode()}", metric="duration_p50", value=7_000.0,
            numerator=None, denominator=400,
        ),
    ]  # fmt: skip
    stage.store.insert("z_alert_rows", b"\n".join(map(orjson.dumps, rows)), token="alerts-page")
    mute = {"rule": hostile.SCRIPT, "is_group": 0, "group": "", "reason": hostile.SCRIPT}
    mute |= {"written_at": time_text(at_ms), "muted_from": time_text(at_ms), "muted_until": "2099-01-01"}
    stage.store.insert("z_alert_mute_rows", orjson.dumps(mute), token="alerts-page")
    return at_ms


def test_what_was_seen_and_what_is_known_stand_side_by_side(client: TestClient, evaluated: int) -> None:
    text = client.get(f"/alerts?app={APP}").text
    now, changed = text.split('id="changes"')
    assert now.count("<tr>") == 2 and "97.50% (390 of 400)" in now
    assert changed.count("<tr>") == 2, "an evaluation that changed nothing is no change"
    assert (
        "97.50% (390 of 400)" in changed and "99.25% (397 of 400)" in changed and ">normal</span>" in changed
    )
    address = unescape(changed.split('<a href="/sessions')[1].split('"')[0])
    asked = parse_qs(urlsplit(address).query)
    assert asked["app"] == [APP] and asked["filter"] == ['os.name = "Android"'] and "from" in asked
    assert client.get(f"/sessions{address}").status_code == 200


def test_names_of_rules_and_groups_are_escaped(client: TestClient, evaluated: int) -> None:
    text = client.get("/alerts").text
    assert not Page(text).unsafe()
    assert text.count("&lt;script&gt;alert") >= 3 and "7 s" in text and "2099" in text
    assert "Crash-free" in text and hostile.APP in unescape(text)


def test_other_days_and_none(client: TestClient, evaluated: int) -> None:
    assert client.get("/alerts?days=30").status_code == 200
    wrong = client.get("/alerts?days=5")
    assert wrong.status_code == 400 and "Days are 1, 7, 30." in wrong.text
    nothing = client.get("/alerts?app=nobody").text
    assert "No rule was evaluated lately" in nothing
