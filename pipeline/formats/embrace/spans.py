"""Spans that are not session parts, and what happened at a moment of a span."""

from __future__ import annotations

from typing import Any

from pipeline.formats import performance
from pipeline.formats.embrace.facts import (
    Attributes,
    EmbraceFact,
    EmbraceMoment,
    EmbraceSpan,
    bounded_id,
    is_true,
    milliseconds,
    own,
    session_part_of,
    text,
    whole_number,
)
from pipeline.formats.embrace.parts import TYPES, LifecycleWords, facts_of_part
from pipeline.formats.strict_json import dumps

_STATES = {
    "sys.low_power": "device.power_save_mode.change",
    "sys.network_status": "network.change",
    "perf.thermal_state": "device.thermal_status.change",
    "perf.memory_warning": "device.memory.low",
    "sys.low_memory": "device.memory.low",
}
"""What the system tells of itself, whoever uses the app: passive by these names."""
_EVENTS_OF_NAMES = {
    "ui-tap": "ux.tap", "emb-ui-tap": "ux.tap", "web-view": "ux.webview", "emb-web-view": "ux.webview",
    "breadcrumb": "sys.breadcrumb", "emb-breadcrumb": "sys.breadcrumb",
    "push-notification": "sys.push_notification", "emb-push-notification": "sys.push_notification",
    "emb-device-low-memory": "sys.low_memory", "memory-warning": "perf.memory_warning",
    "emb-memory-warning": "perf.memory_warning",
}  # fmt: skip
"""Types of span events that say none."""
_OLD_NAMES = {
    "http.request.method": "http.method",
    "http.response.status_code": "http.status_code",
    "url.full": "http.url",
}
_EVENT_NAMES = {
    "sys.breadcrumb": "breadcrumb",
    "sys.push_notification": "app.push_notification",
    "ux.webview": "app.webview",
}


_OWN = frozenset((*TYPES, *_STATES, "ux.view", "state", "perf.network_request"))


def is_span_of_embrace(attributes: Attributes) -> bool:
    """Whether `emb.type` says of a span more than that it is one, or the SDK keeps it for itself."""
    return text(attributes, "emb.type") in _OWN or is_true(attributes, "emb.private")


def facts_of_span(span: EmbraceSpan, platform: LifecycleWords) -> list[EmbraceFact]:
    """The facts of a span of any type and of the events in it; none of those that the SDK keeps for itself."""
    told = span.attributes
    if is_true(told, "emb.private"):
        return []
    if text(told, "emb.type") in TYPES:
        return [*facts_of_part(span, platform), *_facts_of_events(span, None)]
    whole = _fact_of_span(span)
    return [*([] if whole is None else [whole]), *_facts_of_events(span, whole)]


def _fact_of_span(span: EmbraceSpan) -> EmbraceFact | None:
    """What a span comes to: at its start, since its session part is the one in which it began.

    A view and a state of the system are facts once they begin, and say only what is known then; of all others a
    snapshot says too little.
    """
    told = span.attributes
    type_, session = text(told, "emb.type"), session_part_of(told)
    if type_ == "ux.view":
        name = text(told, "view.name", "view.title") or span.name
        facts = {"app.screen.name": name, "emb.type": type_}
        return EmbraceFact(span.id(".s"), span.start_ns, "app.screen.view", facts, session)
    if type_ in _STATES:
        state = {key: told[key] for key in ("emb.type", "network", "status") if key in told}
        return EmbraceFact(span.id(".s"), span.start_ns, _STATES[type_], state, session)
    if not span.is_ended:
        return None
    attributes = own(told)
    attributes["span.name"] = span.name
    if span.parent_id:
        attributes["span.parent_id"] = span.parent_id
    if span.is_failed:
        attributes["span.status"] = "error"
    if (duration := milliseconds(span.start_ns, span.end_ns)) is not None:
        attributes["duration_ms"] = duration
        performance.add(attributes, performance.of_span(span.name, told, duration))
    if type_ == "perf.network_request":
        return EmbraceFact(
            span.id(".s"), span.start_ns, "http.client.request", _request(span, attributes), session
        )
    if type_ == "state":
        attributes["passive"] = True
    return EmbraceFact(span.id(".s"), span.start_ns, "span", attributes, session)


def _request(span: EmbraceSpan, attributes: dict[str, Any]) -> dict[str, Any]:
    told = span.attributes
    for name, old in _OLD_NAMES.items():
        if name not in attributes and old in told:
            attributes[name] = told[old]
    status = whole_number(attributes.get("http.response.status_code"))
    if status:
        attributes["http.response.status_code"] = status
    else:
        attributes.pop("http.response.status_code", None)
        if span.is_failed and not text(attributes, "error.type"):
            attributes["error.type"] = text(told, "emb.error_code") or "_OTHER"
    return attributes


def _facts_of_events(span: EmbraceSpan, whole: EmbraceFact | None) -> list[EmbraceFact]:
    """The span's events that mean something by themselves; the others of a span that is not a part are told with it."""
    facts: list[EmbraceFact] = []
    span_id = span.id("")  # Hashed once, where it is long.
    others: list[dict[str, Any]] = []
    session = session_part_of(span.attributes)
    is_part = text(span.attributes, "emb.type") in TYPES
    is_passive = text(span.attributes, "emb.type") == "state"
    for index, event in enumerate(span.events):
        if event is None:
            continue
        name, attributes = _name_and_attributes(event)
        if name == "span.event" and not is_part:
            others.append(
                {"name": event.name, "time_unix_nano": event.time_ns, "attributes": event.attributes}
            )
            continue
        if is_passive:
            attributes["passive"] = True
        facts.append(EmbraceFact(bounded_id(span_id, f".x{index}"), event.time_ns, name, attributes, session))
    if others and whole is not None and whole.name in ("span", "http.client.request"):
        whole.attributes["span.events"] = dumps(others).decode()
    return facts


def _name_and_attributes(event: EmbraceMoment) -> tuple[str, dict[str, Any]]:
    told = event.attributes
    type_ = text(told, "emb.type") or _EVENTS_OF_NAMES.get(event.name, "")
    attributes = own(told)
    if type_ == "ux.tap":
        return "app.widget.click", _tap(told, attributes)
    if type_ == "ux.view":
        attributes["app.screen.name"] = text(told, "view.name", "view.title") or event.name
        return "app.screen.view", attributes
    performance.add(
        attributes,
        performance.vital(told.get("emb.web_vital.name"), _as_number(told.get("emb.web_vital.value"))),
    )
    if event.name == "exception":
        # The process lives, or there would be a crash.
        return "exception", attributes
    if type_ in _STATES:
        return _STATES[type_], attributes
    if type_ == "sys.push_notification":
        attributes["passive"] = True
    if type_ not in _EVENT_NAMES:
        attributes["span.event.name"] = event.name
    return _EVENT_NAMES.get(type_, "span.event"), attributes


def _as_number(value: Any) -> Any:
    """Attributes of Embrace's envelope are texts."""
    try:
        return float(value) if isinstance(value, str) and len(value) < 32 else value
    except ValueError:
        return None


def _tap(told: Attributes, attributes: dict[str, Any]) -> dict[str, Any]:
    name = text(told, "view.name")
    if name:
        attributes["app.widget.name"] = name
    across, _, down = text(told, "tap.coords").partition(",")
    for axis, value in (("x", across), ("y", down)):
        at = whole_number(value.strip().partition(".")[0])
        if at is not None:
            attributes[f"app.screen.coordinate.{axis}"] = at
    return attributes
