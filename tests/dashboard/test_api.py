"""The HTTP API: the numbers of the pages as JSON, refused where they make no sense, for those who may see them."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from pipeline.api.table import ENDPOINTS

V1 = "/api/v1"
APP = "org.example.shop"
WIDE = {"app": APP, "from": "2026-01-01", "until": "2026-03-01"}
FLOW = "app.launch then app.screen.view"


def known(client: TestClient) -> dict[str, str]:
    """Values for what an endpoint wants, of things that are there."""
    session = client.get(f"{V1}/sessions", params={**WIDE, "filter": "session.crash_count > 0"}).json()[
        "items"
    ][0]
    group = client.get(f"{V1}/crash-groups", params=WIDE).json()["items"][0]
    events = client.get(f"{V1}/sessions/{session['session_id']}/timeline").json()["items"]
    return {
        **WIDE, "session_id": session["session_id"], "stitched_session_id": session["stitched_session_id"],
        "crash_group": group["crash_group"], "event_id": events[0]["event_id"], "device": session["device_id"],
        "q": session["session_id"][:6], "field": "app.version", "filter": "session.crash_count > 0", "flow": FLOW,
        "a": "8.1.2", "b": "8.3.0",
    }  # fmt: skip


@pytest.mark.parametrize("name", [each.name for each in ENDPOINTS])
def test_each_answers(client: TestClient, name: str) -> None:
    (endpoint,) = (each for each in ENDPOINTS if each.name == name)
    values = known(client)
    given = {each.name: values[each.name] for each in endpoint.of_query() if each.name in values}
    answer = client.get(V1 + endpoint.path.format(**values), params=given)
    assert answer.status_code == 200, answer.text
    print(name, answer.text[:700])
