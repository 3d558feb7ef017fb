"""A Measure event's own block as a native name and attributes, OpenTelemetry's names where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.formats.measure.stacktrace import stacktrace

_facts = msgspec.json.Decoder(dict[str, msgspec.Raw])

_NAMES = {
    "app_exit": "app.exit",
    "anr": "app.anr",
    "cold_launch": "app.launch",
    "gesture_click": "app.widget.click",
    "gesture_long_click": "app.widget.click",
    "http": "http.client.request",
    "screen_view": "app.screen.view",
}
"""What is not here keeps its own name; `exception` and `lifecycle_app` depend on their block."""

_TAP_FIELDS = {
    "target_id": "app.widget.id",
    "target": "app.widget.name",
    "x": "app.screen.coordinate.x",
    "y": "app.screen.coordinate.y",
}
_FIELDS: dict[str, dict[str, str]] = {
    "app_exit": {"reason": "app.exit.reason"},
    "gesture_click": _TAP_FIELDS,
    "gesture_long_click": _TAP_FIELDS,
    "http": {"url": "url.full"},
    "screen_view": {"name": "app.screen.name"},
}
_CONTAINED_FRAMEWORKS = ("dart", "js")
"""What is uncaught in their virtual machines does not end the process."""
_MAX_DERIVED_CHARS = 8_000
_LARGE_EVENT_BYTES = 800_000
"""Nothing is derived from an event that already nearly fills a record."""

Attributes = dict[str, Any]


def native_name_and_attributes(
    type_: str, event: Mapping[str, Any], parts: Mapping[str, msgspec.Raw], platform: object, event_bytes: int
) -> tuple[str, Attributes]:
    """The name and attributes of a Measure event from its type and own block.

    `event` holds the parsed values, `parts` the same as they came: what has no OpenTelemetry name is passed
    on byte for byte as `<type>.<field>`. Nulls are left out. A renamed event says its type in `measure.type`.
    """
    raw = parts.get(type_, msgspec.Raw(b"null"))
    values = event.get(type_)
    if not isinstance(values, dict):
        own = {type_: raw} if values is not None and type_ != "attribute" else {}
        values = {}
        fields: dict[str, msgspec.Raw] = {}
    else:
        own = {}
        fields = {key: value for key, value in _facts.decode(raw).items() if bytes(value) != b"null"}
    name, attributes = _steering(type_, values, fields, platform)
    renames = _FIELDS.get(type_, {})
    for field, value in fields.items():
        attributes[renames.get(field, f"{type_}.{field}")] = value
    if type_ in ("exception", "anr") and event_bytes <= _LARGE_EVENT_BYTES:
        for key, text in _exception_facts(values.get("exceptions")).items():
            attributes.setdefault(key, text)
    if name != type_:
        attributes["measure.type"] = type_
    return name, {**attributes, **own}


def _steering(
    type_: str, values: Mapping[str, Any], fields: dict[str, msgspec.Raw], platform: object
) -> tuple[str, Attributes]:
    """The name, and the attributes that sessions hang on; those it has named are taken from `fields`."""
    name = _NAMES.get(type_, type_)
    if type_ == "cold_launch":
        return name, {"app.launch.type": "cold"}
    if type_ == "lifecycle_app":
        return _lifecycle(values, fields, platform)
    if type_ == "http":
        return name, _http(values, fields)
    if type_ == "exception" and _is_crash(values):
        return "app.crash", {}
    return name, {}


def _lifecycle(
    values: Mapping[str, Any], fields: dict[str, msgspec.Raw], platform: object
) -> tuple[str, Attributes]:
    state = values.get("type")
    if not isinstance(state, str):
        return "device.app.lifecycle", {}
    del fields["type"]
    is_ios = isinstance(platform, str) and platform.lower() in (
        "ios",
        "ipados",
        "tvos",
        "watchos",
        "visionos",
    )
    if state != "terminated":
        return "device.app.lifecycle", {"ios.app.state" if is_ios else "android.app.state": state}
    if is_ios:
        return "device.app.lifecycle", {"ios.app.state": "terminate"}
    return "app.exit", {"app.exit.reason": "user_terminated"}


def _http(values: Mapping[str, Any], fields: dict[str, msgspec.Raw]) -> Attributes:
    attributes: Attributes = {}
    method, status, failure = values.get("method"), values.get("status_code"), values.get("failure_reason")
    if isinstance(method, str):
        del fields["method"]
        attributes["http.request.method"] = method.upper()
    if status:
        attributes["http.response.status_code"] = fields.pop("status_code")
    elif failure:
        attributes["error.type"] = fields.pop("failure_reason")
    return attributes


def _is_crash(values: Mapping[str, Any]) -> bool:
    severity = values.get("severity")
    if severity:
        return bool(severity == "fatal")
    return not values.get("handled") and values.get("framework") not in _CONTAINED_FRAMEWORKS


def _exception_facts(exceptions: object) -> dict[str, str]:
    """Type, message and stack trace of a chain of exceptions, where it has them and they are short."""
    if not isinstance(exceptions, list) or not exceptions or not isinstance(exceptions[0], dict):
        return {}
    first = exceptions[0]
    facts = {
        "exception.type": first.get("type"),
        "exception.message": first.get("message"),
        "exception.stacktrace": stacktrace(exceptions, _MAX_DERIVED_CHARS),
    }
    return {
        key: text
        for key, text in facts.items()
        if isinstance(text, str) and 0 < len(text) <= _MAX_DERIVED_CHARS
    }
