"""The events of a device on the wire: each kind in the forms in which SDKs send it, natively or as Measure does."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

from pipeline.domain.event import AppState, Kind
from tests.support.phrases import EXIT_REASONS

Json = dict[str, Any]
Form = tuple[str, Json]
"""Name and attributes."""

_LIFECYCLE = "device.app.lifecycle"
_CREATED: Form = (_LIFECYCLE, {"android.app.state": "created"})
"""A launch that states the background by itself."""
_FORMS: dict[Kind, tuple[Form, ...]] = {
    Kind.LAUNCH: (("app.launch", {"app.launch.type": "cold"}),),
    Kind.FOREGROUND: (
        (_LIFECYCLE, {"android.app.state": "foreground"}),
        (_LIFECYCLE, {"ios.app.state": "foreground"}),
    ),
    Kind.ACTIVE: (
        (_LIFECYCLE, {"ios.app.state": "active"}),
        (_LIFECYCLE, {"browser.page.visibility": "visible"}),
    ),
    Kind.BACKGROUND: (
        (_LIFECYCLE, {"ios.app.state": "background"}),
        (_LIFECYCLE, {"browser.page.visibility": "hidden"}),
    ),
    Kind.SESSION_END: (("session.end", {}),),
    Kind.CRASH: (("app.crash", {"exception.type": "E"}),),
    Kind.EXCEPTION: (("exception", {"fatal": True}), ("exception", {"fatal": "true"})),
    Kind.ANR: (("app.anr", {"fatal": True}),),
    Kind.EXIT: (
        *(("app.exit", {"app.exit.reason": reason}) for reason in EXIT_REASONS),
        (_LIFECYCLE, {"ios.app.state": "terminate"}),
    ),
    Kind.PASSIVE: (
        ("app.heartbeat", {}),
        ("network.change", {"network.connection.type": "wifi"}),
        ("session.end.reported", {}),
        ("metrickit.hang", {"duration": 2}),
        ("log", {"severity_text": "ERROR", "passive": True}),
    ),
    Kind.ACTIVITY: (
        ("app.widget.click", {}),
        ("app.screen.view", {"app.screen.name": "Home"}),
        ("http.client.request", {"http.response.status_code": 500}),
        ("http.client.request", {"http.response.status_code": 200}),
        ("log", {"severity_text": "ERROR"}),
        ("custom", {"text": "Grüße\n\u2028"}),
        (_LIFECYCLE, {"ios.app.state": "inactive"}),
        ("exception", {"fatal": False}),
        ("app.anr", {}),
    ),
}
_MOSTLY_NOTHING = (AppState.UNKNOWN,) * 8 + (AppState.FOREGROUND, AppState.BACKGROUND)


def form_of(rng: Random, kind: Kind, stated: AppState | None) -> Form:
    """Name and attributes of an event of this kind. `stated`: of the app; None for anything, mostly nothing."""
    if stated is None:
        stated = rng.choice(_MOSTLY_NOTHING)
    name, attributes = rng.choice(_FORMS[kind])
    if not stated:
        return name, attributes
    if kind is Kind.LAUNCH and stated is AppState.BACKGROUND and rng.random() < 0.7:
        return _CREATED
    return name, {**attributes, "app.state": stated.name.lower()}


def measure_event(event: Json, attribute: Json) -> Json:
    """A native event as the Measure SDK writes one that says the same; what that has no word for is a tap."""
    type_, block = _measure_block(event["name"], event["attributes"])
    time = event["time"]
    stamp = (
        datetime.fromtimestamp(time / 1_000, UTC).isoformat(timespec="milliseconds")
        if isinstance(time, int)
        else time
    )
    return {
        "id": event["id"],
        "timestamp": stamp,
        "type": type_,
        type_: block,
        "attribute": attribute,
        "session_id": event.get("session_id", ""),
    }


def _measure_block(name: object, attributes: Json) -> tuple[str, Json]:
    stated = {"foreground": attributes["app.state"] == "foreground"} if "app.state" in attributes else {}
    state = attributes.get("android.app.state") or attributes.get("ios.app.state")
    if name == "app.launch" or state == "created":
        return "cold_launch", {"process_start_uptime": 1}
    if state in ("foreground", "background", "terminate"):
        return "lifecycle_app", {"type": "terminated" if state == "terminate" else state}
    if name in ("app.crash", "exception"):
        uncaught = name == "app.crash" or attributes.get("fatal") in (True, "true")
        return "exception", {"handled": not uncaught, **stated}
    if name == "app.anr":
        return "anr", {"handled": False, **stated}
    if name == "app.exit":
        return "app_exit", {"reason": attributes.get("app.exit.reason", "other").upper()}
    if name == "network.change":
        return "network_change", {"network_type": "wifi"}
    return "gesture_click", {"target": "button", **attributes}
