"""Request bodies as a Measure SDK makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import orjson

from tests.support.lives import Deed, Json, Life
from tests.support.writers.written import Record

LIMITS = {
    "a browser": "there is no SDK of Measure for pages",
    "iOS `active` and `inactive`": "its `lifecycle_app` knows foreground, background and terminated",
    "a launch that states the background": "`cold_launch` states nothing",
    "what else states the app's state": "only an exception, an ANR and an exit record do",
    "an end in code, a heartbeat, an SDK's own end of a session, diagnostics": "there are no such types",
    "a fatal ANR": "its `anr` does not say whether the app lived",
    "a fatal exception": "is a crash to it",
    "personas and properties of users": "it sends the id alone",
}
_UNKNOWN = {"app.heartbeat", "session.end", "session.end.reported", "metrickit.diagnostic"}


def sayable(life: Life, deed: Deed) -> Deed | None:
    """What Measure can say of a deed, in native words; None for nothing."""
    attributes = deed.attributes
    if life.platform == "Web" or deed.name in _UNKNOWN:
        return None
    if attributes.get("ios.app.state") in ("active", "inactive"):
        return None
    user = {"id": deed.user_id} if deed.user_id else {}
    deed = replace(deed, user=user)
    if attributes.get("android.app.state") == "created":
        return replace(deed, name="app.launch", attributes={"app.launch.type": "cold"})
    if deed.name in ("exception", "app.crash"):
        is_fatal = deed.name == "app.crash" or attributes.get("fatal") is True
        return replace(deed, name="app.crash" if is_fatal else "exception").without("fatal")
    if deed.name == "app.anr":
        return deed.without("fatal")
    return deed if deed.name == "app.exit" else deed.without("app.state")


def write(life: Life, batch: Sequence[Deed]) -> list[Record]:
    """One request."""
    return [Record("measure-events", orjson.dumps({"events": [_event(life, deed) for deed in batch]}))]


def _event(life: Life, deed: Deed) -> Json:
    type_, block = _type_and_block(life, deed)
    attribute: Json = {
        "app_unique_id": life.app_id,
        "installation_id": life.device_id,
        "platform": life.platform.lower(),
        "os_name": life.platform.lower(),
        "app_version": deed.version,
        "app_build": deed.resource.get("app.build_id", ""),
    }
    if deed.user_id:
        attribute["user_id"] = deed.user_id
    seconds, ns = divmod(deed.ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    event = {
        "id": deed.id,
        "timestamp": f"{moment}.{ns:09d}Z",
        "type": type_,
        type_: block,
        "attribute": attribute,
    }
    return {**event, "session_id": deed.session} if deed.session else event


def _type_and_block(life: Life, deed: Deed) -> tuple[str, Json]:
    name, said = deed.name, deed.attributes
    match name:
        case "device.app.lifecycle":
            state = said.get("ios.app.state", said.get("android.app.state"))
            return "lifecycle_app", {"type": "terminated" if state == "terminate" else state}
        case "app.launch":
            return f"{said['app.launch.type']}_launch", {"process_start_uptime": 1, "on_next_draw_uptime": 2}
        case "app.screen.view":
            return _view(life, said)
        case "exception" | "app.crash" | "app.anr":
            return _failure(name, said)
        case "app.exit":
            importance = {"foreground": "FOREGROUND", "background": "CACHED"}
            return "app_exit", {
                "reason": said["app.exit.reason"].upper(),
                "importance": importance.get(said.get("app.state", ""), "PERCEPTIBLE"),
            }
        case _ if name in _PLAIN:
            return _PLAIN[name](said)
    return name, {key.rpartition(".")[2]: value for key, value in said.items()}


def _view(life: Life, said: Json) -> tuple[str, Json]:
    if not said.get("app.screen.view.derived"):
        return "screen_view", {"name": said["app.screen.name"]}
    class_name = f"org.example.{said['app.screen.name']}"
    if life.platform == "iOS":
        return "lifecycle_view_controller", {"type": "viewDidAppear", "class_name": class_name}
    return "lifecycle_activity", {"type": "resumed", "class_name": class_name}


def _failure(name: str, said: Json) -> tuple[str, Json]:
    exceptions = [{"type": said["exception.type"], "message": said.get("exception.message", "")}]
    block: Json = {"exceptions": exceptions, "handled": name == "exception"}
    if "app.state" in said:
        block["foreground"] = said["app.state"] == "foreground"
    return "anr" if name == "app.anr" else "exception", block


def _request(said: Json) -> tuple[str, Json]:
    return "http", {
        "url": said["url.full"],
        "method": said["http.request.method"].lower(),
        "status_code": said.get("http.response.status_code", 0),
        "failure_reason": said.get("error.type", ""),
    }


_PLAIN: dict[str, Callable[[Json], tuple[str, Json]]] = {
    "http.client.request": _request,
    "app.widget.click": lambda said: ("gesture_click", {"target_id": said["app.widget.id"], "x": 1, "y": 2}),
    "log": lambda said: ("log", {"severity_number": said["severity_number"], "body": said["body"]}),
    "network.change": lambda said: (
        "network_change",
        {"network_type": said.get("network.connection.type", "")},
    ),
    "device.memory.low": lambda said: ("trim_memory", {"level": "TRIM_MEMORY_RUNNING_CRITICAL"}),
}
