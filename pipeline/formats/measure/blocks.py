"""A Measure event's own block as a native name and attributes, OpenTelemetry's names where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.formats import performance
from pipeline.formats.measure.measured import measured
from pipeline.formats.measure.screens import appeared
from pipeline.formats.measure.stacktrace import stacktrace

_facts = msgspec.json.Decoder(dict[str, msgspec.Raw])

_NAMES = {
    "app_exit": "app.exit",
    "anr": "app.anr",
    "cold_launch": "app.launch",
    "gesture_click": "app.widget.click",
    "gesture_long_click": "app.widget.click",
    "http": "http.client.request",
    "low_memory": "device.memory.low",
    "navigation": "app.screen.view",
    "network_change": "network.change",
    "screen_view": "app.screen.view",
    "session_start": "session.start",
    "string": "log",
}
"""What is not here keeps its own name; what hangs on the block is in `_steering`."""

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
    "log": {"severity_number": "severity_number", "severity_text": "severity_text", "body": "body"},
    "navigation": {"to": "app.screen.name"},
    "screen_view": {"name": "app.screen.name"},
    "session_start": dict.fromkeys(
        ("previous_session_id", "previous_id", "previous_session"), "session.previous_id"
    ),
    "string": {"severity_text": "severity_text", "string": "body"},
}
_IOS = ("ios", "ipados", "tvos", "watchos", "visionos")
_SYSTEMS = (*_IOS, "android")
_STATE_OF_IMPORTANCE = {
    "foreground": "foreground",
    "foreground_service": "background",
    "service": "background",
    "cached": "background",
    "empty": "background",
}
"""Android's words for a process; the others say neither, or not for sure."""
_LACKS_MEMORY = tuple(
    f"TRIM_MEMORY_{level}"
    for level in ("RUNNING_MODERATE", "RUNNING_LOW", "RUNNING_CRITICAL", "BACKGROUND", "MODERATE", "COMPLETE")
)
_CONTAINED_FRAMEWORKS = ("dart", "js")
"""What is uncaught in their virtual machines does not end the process."""
_MAX_DERIVED_CHARS = 8_000
_LARGE_EVENT_BYTES = 800_000
_MAX_NAME_CHARS = 200

Attributes = dict[str, Any]


def native_name_and_attributes(
    type_: str, event: Mapping[str, Any], parts: Mapping[str, msgspec.Raw], is_ios: bool, event_bytes: int
) -> tuple[str, Attributes]:
    """The name and attributes of a Measure event from its type and own block.

    `event` holds the parsed values, `parts` the same as they came: what has no OpenTelemetry name is passed
    on byte for byte as `<type>.<field>`. Nulls are left out. A renamed event says its type in `measure.type`.
    All of it follows from this one event: what else is in its body has no say, for sent again it may be in another.
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
    name, attributes = _steering(type_, values, fields, is_ios)
    renames = _FIELDS.get(type_, {})
    for field, value in fields.items():
        key = renames.get(field, f"{type_}.{field}")
        attributes[key if key not in attributes else f"{type_}.{field}"] = value
    if type_ in ("exception", "anr"):
        for key, text in _exception_facts(values.get("exceptions"), event_bytes).items():
            attributes.setdefault(key, text)
    performance.add(attributes, measured(type_, values, is_ios=is_ios))
    if name != type_:
        attributes["measure.type"] = type_
    return name, {**attributes, **own}


def is_of_ios(attribute: Mapping[str, Any]) -> bool:
    """Whether an attribute block is of an Apple device: by its platform or, where that names a framework that runs
    on both (`flutter`) or nothing, by its system."""
    platform, system = (
        value.lower() if isinstance(value, str) else ""
        for value in (attribute.get("platform"), attribute.get("os_name"))
    )
    return (platform if platform in _SYSTEMS else system) in _IOS


def _steering(
    type_: str, values: Mapping[str, Any], fields: dict[str, msgspec.Raw], is_ios: bool
) -> tuple[str, Attributes]:
    """The name, and the attributes that sessions hang on; those it has named are taken from `fields`."""
    name = _NAMES.get(type_, type_)
    if type_ == "cold_launch":
        return name, {"app.launch.type": "cold"}
    if type_ == "lifecycle_app":
        return _lifecycle(values, fields, is_ios)
    if type_ == "http":
        return name, _http(values, fields)
    if type_ in ("exception", "anr"):
        foreground = values.get("foreground")
        stated = {"app.state": "foreground" if foreground else "background"}
        is_crash = type_ == "exception" and _is_crash(values)
        return "app.crash" if is_crash else name, stated if isinstance(foreground, bool) else {}
    if type_ == "app_exit":
        importance = values.get("importance")
        state = _STATE_OF_IMPORTANCE.get(importance.lower()) if isinstance(importance, str) else None
        return name, {"app.state": state} if state else {}
    if type_ == "trim_memory":
        # The system's word, whoever uses the app. TRIM_MEMORY_UI_HIDDEN tells of no lack of memory.
        is_low = values.get("level") in _LACKS_MEMORY
        return ("device.memory.low", {}) if is_low else (name, {"passive": True})
    if appeared(type_, values):
        return "app.screen.view", {
            "app.screen.view.derived": True,
            "app.screen.name": fields.pop("class_name"),
        }
    return name, {}


def _lifecycle(
    values: Mapping[str, Any], fields: dict[str, msgspec.Raw], is_ios: bool
) -> tuple[str, Attributes]:
    state = values.get("type")
    if not isinstance(state, str):
        return "device.app.lifecycle", {}
    del fields["type"]
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


def _exception_facts(exceptions: object, event_bytes: int) -> dict[str, str]:
    """Type (else the name of the signal), message and stack trace of a chain of exceptions, where it has them and
    they are short.

    Of an event that already nearly fills a record no more than a name, so that its crash is not one of no name.
    """
    if not isinstance(exceptions, list) or not exceptions or not isinstance(exceptions[0], dict):
        return {}
    first = exceptions[0]
    facts = {"exception.type": first.get("type") or first.get("signal")}
    limit = _MAX_NAME_CHARS
    if event_bytes <= _LARGE_EVENT_BYTES:
        facts["exception.message"] = first.get("message")
        facts["exception.stacktrace"] = stacktrace(exceptions, _MAX_DERIVED_CHARS)
        limit = _MAX_DERIVED_CHARS
    return {key: text for key, text in facts.items() if isinstance(text, str) and 0 < len(text) <= limit}
