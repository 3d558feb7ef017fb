"""What lies before a range costs nothing: with ten times the days of history, pages and questions read no more rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from starlette.testclient import TestClient

from tests.support.long_history import APP, DAY_MS, LAST_DAY_MS

Visit = Callable[[TestClient], object]


def _page(path: str, **fields: str) -> Visit:
    def visit(client: TestClient) -> object:
        answer = client.get(f"{path}?{urlencode(fields)}" if fields else path)
        assert answer.status_code == 200, (path, fields, answer.text)
        return answer

    return visit


def _of_a_session(then: str = "") -> Visit:
    def visit(client: TestClient) -> object:
        found = client.get(f"/sessions?{urlencode({'app': APP})}").text
        id = found.split('href="/sessions/')[1].split('"')[0].split("?")[0]
        return _page(f"/sessions/{id}{then}")(client)

    return visit


def _iso(ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


DAY = {"from": _iso(LAST_DAY_MS - DAY_MS), "to": _iso(LAST_DAY_MS)}
WEEK = {"from": _iso(LAST_DAY_MS - 7 * DAY_MS), "to": _iso(LAST_DAY_MS)}
FILTERS = {
    "state": 'session.crash_count > 0 and os.name = "Android"',
    "user": 'user.id = "user-1"',
    "device": 'device.id = "device-1"',
    "event": "has http.client.request(http.response.status_code >= 500)",
    "events in order": "has app.launch then app.crash",
    "no event": "has app.never",
    "stitched": "session.stitched_length > 1",
    "first": "session.first = true",
}
PAGES: Mapping[str, Visit] = {
    "sessions": _page("/sessions"),
    "sessions of an app": _page("/sessions", app=APP),
    **{f"sessions, {name}": _page("/sessions", app=APP, filter=text) for name, text in FILTERS.items()},
    **{
        f"sessions of a day, {name}": _page("/sessions", app=APP, filter=text, **DAY)
        for name, text in FILTERS.items()
    },
    **{
        f"sessions of all apps, {name}": _page("/sessions", filter=text, **DAY)
        for name, text in FILTERS.items()
    },
    "session": _of_a_session(),
    "marks": _of_a_session("/marks.json"),
    "timeline of a user": _page("/timeline", app=APP, user="user-1"),
    "timeline of a device": _page("/timeline", app=APP, device="device-1"),
    "whose timeline": _page("/timeline"),
    "health": _page("/health", app=APP),
    "health of a day": _page("/health", app=APP, **DAY),
    "health of a week": _page("/health", app=APP, **WEEK),
    "health, filtered": _page("/health", app=APP, filter=FILTERS["event"], **WEEK),
    "two releases": _page("/health", app=APP, by="app_version", a="1.0", b="1.1", **WEEK),
    "retention": _page("/health/retention", app=APP, **WEEK),
    "pipeline": _page("/pipeline"),
    "ledger": _page("/pipeline/ledger"),
    "dimensions": _page("/filter/dimensions.json"),
    "values": _page("/filter/suggestions.json", app=APP, dimension="app.version"),
    "attributes": _page("/filter/suggestions.json", app=APP, event="app.crash"),
    "values of an attribute": _page(
        "/filter/suggestions.json", app=APP, event="app.crash", attribute="exception.type"
    ),
}
