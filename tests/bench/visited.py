"""Pages and lists of the API that `analysts` asks for: the kind of each, which sets its goal, and how it is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import TYPE_CHECKING

from tests.bench.copies import rows

if TYPE_CHECKING:
    from tests.bench.analysts import Visitor

_FLOW = (
    'app.screen.view(app.screen.name = "Cart") then app.screen.view(app.screen.name = "Checkout") within 10m'
)
_FAILED = "has http.client.request(http.response.status_code >= 500)"


def deep(visitor: Visitor) -> None:
    app = visitor.one()["app_id"]
    text = visitor.get("/sessions", app=app)
    for _ in range(3):
        following = re.search(r'href="([^"]*after=[^"]*)"', text)
        if not following:
            return
        visitor.asked.clear()
        address = unescape(following.group(1))
        text = visitor.get(address if address.startswith("/") else f"/sessions{address}")


def _compared(visitor: Visitor, path: str = "/health") -> None:
    row = visitor.one()
    other = next(each for each in visitor.sessions if each["app_id"] == row["app_id"])
    visitor.get(path, app=row["app_id"], by="app_version", a=row["app_version"], b=other["app_version"])


def _crash_group(visitor: Visitor, then: str = "", part: str = "") -> str:
    """The page of any group that came in the last twenty days, or a part of it."""
    if not visitor.groups:
        visitor.groups = rows(
            visitor.store,
            "SELECT DISTINCT app_id, crash_group FROM z_crashes"
            " WHERE time > (SELECT max(newest) FROM z_apps) - INTERVAL 20 DAY"
            " ORDER BY cityHash64(app_id, crash_group) LIMIT 200",
        )
    row = visitor.random.choice(visitor.groups)
    if then:
        return visitor.get(then, app=row["app_id"], filter=f'crash.group = "{row["crash_group"]}"')
    return visitor.get(f"/crashes/{row['crash_group']}{part}", app=row["app_id"])


Page = tuple[str, Callable[["Visitor"], object]]
PAGES: Mapping[str, Page] = {
    "sessions, all apps": ("list", lambda v: v.get("/sessions")),
    "sessions of an app": ("list", lambda v: v.get("/sessions", app=v.one()["app_id"])),
    "sessions, fourth page": ("list", deep),
    "sessions, by device and state": (
        "list",
        lambda v: v.get(
            "/sessions", app=v.one()["app_id"], filter='session.crash_count > 0 and os.name = "iOS"'
        ),
    ),
    "sessions of all apps, by device and state": (
        "list",
        lambda v: v.get("/sessions", filter='session.crash_count > 0 and os.name = "iOS"'),
    ),
    "sessions, by user": (
        "list",
        lambda v: v.get(
            "/sessions", app=(row := v.one(user_id=True))["app_id"], filter=f'user.id = "{row["user_id"]}"'
        ),
    ),
    "sessions, by an event": (
        "list",
        lambda v: v.get(
            "/sessions",
            app=v.one()["app_id"],
            filter=_FAILED,
        ),
    ),
    "sessions, by a common event": (
        "list",
        lambda v: v.get("/sessions", app=v.one()["app_id"], filter="has app.screen.view"),
    ),
    "sessions, longest first": (
        "list",
        lambda v: v.get("/sessions", app=v.one()["app_id"], sort="-duration"),
    ),
    "sessions of all apps, longest first": ("list", lambda v: v.get("/sessions", sort="-duration")),
    "how many sessions": ("metrics", lambda v: v.get("/counts/sessions", app=v.one()["app_id"])),
    "how many sessions of all apps": ("metrics", lambda v: v.get("/counts/sessions")),
    "how many sessions, by an event": (
        "metrics",
        lambda v: v.get(
            "/counts/sessions",
            app=v.one()["app_id"],
            filter=_FAILED,
        ),
    ),
    "session": ("timeline", lambda v: v.get(f"/sessions/{v.one()['session_id']}")),
    "crashes": ("metrics", lambda v: v.get("/crashes", app=v.one()["app_id"])),
    "crashes, filtered": (
        "metrics",
        lambda v: v.get("/crashes", app=v.one()["app_id"], kind="crash", filter='os.name = "iOS"'),
    ),
    "crash group": ("metrics", _crash_group),
    "what came before a crash group": ("metrics", lambda v: _crash_group(v, part="/before")),
    "sessions, by crash group": ("list", lambda v: _crash_group(v, "/sessions")),
    "marks of a session": ("timeline", lambda v: v.get(f"/sessions/{v.one()['session_id']}/marks.json")),
    "timeline of a device": (
        "timeline",
        lambda v: v.get("/timeline", app=(row := v.one())["app_id"], device=row["device_id"]),
    ),
    "timeline of a user": (
        "timeline",
        lambda v: v.get("/timeline", app=(row := v.one(user_id=True))["app_id"], user=row["user_id"]),
    ),
    "release health": ("metrics", lambda v: v.get("/health", app=v.one()["app_id"])),
    "failures of release health": ("metrics", lambda v: v.get("/health/failures", app=v.one()["app_id"])),
    "release health by persona": ("metrics", lambda v: v.get("/health", app=v.one()["app_id"], by="persona")),
    "two releases": ("metrics", _compared),
    "two releases by issue": ("metrics", lambda v: _compared(v, "/health/issues")),
    "pipeline": ("metrics", lambda v: v.get("/pipeline")),
    "users": ("list", lambda v: v.get("/users", app=v.one()["app_id"])),
    "stitched sessions": ("list", lambda v: v.get("/stitched", app=v.one()["app_id"])),
    "stitched session": ("timeline", lambda v: v.get(f"/stitched/{v.one()['stitched_session_id']}")),
    "events of a user": (
        "timeline",
        lambda v: v.get("/timeline/events", app=(row := v.one(user_id=True))["app_id"], user=row["user_id"]),
    ),
    "found by the start of an id": ("list", lambda v: v.get("/find", q=v.one()["session_id"][:13])),
    "alerts": ("list", lambda v: v.get("/alerts")),
    "performance": ("metrics", lambda v: v.get("/performance", app=v.one()["app_id"])),
    "requests": ("metrics", lambda v: v.get("/network", app=v.one()["app_id"])),
    "paths": ("metrics", lambda v: v.get("/paths", app=v.one()["app_id"])),
    "flow": ("metrics", lambda v: v.get("/paths/flows", app=v.one()["app_id"], flow=_FLOW)),
    "retention": ("metrics", lambda v: v.get("/health/retention", app=v.one()["app_id"])),
    **{
        f"API {path}": (kind, lambda v, path=path: v.get(f"/api/v1{path}", app=v.one()["app_id"]))
        for kind, path in (
            ("list", "/sessions"),
            ("list", "/users"),
            ("list", "/stitched-sessions"),
            ("metrics", "/crash-groups"),
            ("metrics", "/requests"),
            ("metrics", "/screens"),
            ("metrics", "/failing-requests"),
            ("metrics", "/performance"),
        )
    },
}
"""Page to kind (whose goal is another) and how it is asked for."""
