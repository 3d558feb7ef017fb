"""Events, transactions and logs of Sentry as native events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.formats import performance, strict_json
from pipeline.formats.hashed_ids import bounded_id
from pipeline.formats.sentry.debug_images import DebugImages
from pipeline.formats.sentry.measured import of_transaction
from pipeline.formats.sentry.sender import SentrySdk, session_id_of
from pipeline.formats.sentry.sessions import SentryFact, ToldByEvents
from pipeline.formats.stacks.frames import written_place

_NATIVE_PLATFORMS = ("native", "cocoa", "java", "objc", "swift", "c", "csharp")
"""Where what nobody caught ends the process. Virtual machines of their own (Dart, JavaScript) live on."""
_ANR = ("anr", "appexitinfo", "app_hang", "apphang", "fatal_app_hang")
_SEVERITIES = {
    "trace": 1,
    "debug": 5,
    "info": 9,
    "log": 9,
    "warning": 13,
    "warn": 13,
    "error": 17,
    "fatal": 21,
}
"""OpenTelemetry's numbers for Sentry's levels."""
_OF_SENDER = ("sentry.release", "sentry.environment", "session.id", "device.id", "user.id")
"""Attributes of a log that say whose it is."""
_PERSONAL = ("user.email", "user.name", "user.ip_address")
VIEWS = ("navigation", "pageload")
HTTP = "http.client"


def told_by(events: Iterator[Mapping[str, Any]], sdk: SentrySdk) -> ToldByEvents:
    """What the events of an envelope say of the session that it has an update of."""
    is_crash = is_unhandled = False
    for event in events:
        is_crash = is_crash or _kind_of(event, sdk) == "app.crash" or event.get("level") == "fatal"
        is_unhandled = is_unhandled or _mechanism(event).get("handled") is False
    return ToldByEvents(is_crash, is_unhandled)


def session_named(payload: Mapping[str, Any]) -> str:
    """The session that an event or transaction names in its tag `session.id`; empty if it does not."""
    return session_id_of(dict(_tags(payload)).get("session.id"))


def event_fact(event: Mapping[str, Any], sdk: SentrySdk) -> SentryFact:
    """An error, or a message."""
    name, attributes = _meaning(event, sdk)
    attributes.update(_common(event))
    event_id = bounded_id(session_id_of(event.get("event_id")))
    return SentryFact(event_id, name, event.get("timestamp"), "timestamp", attributes)


def transaction_fact(transaction: Mapping[str, Any]) -> SentryFact:
    """What was shown or done."""
    trace = _mapping(_mapping(transaction.get("contexts")).get("trace"))
    operation = trace.get("op")
    attributes = _common(transaction)
    attributes.update(_of_span(trace, transaction))
    name = "span"
    named = transaction.get("transaction")
    if operation in VIEWS:
        name = "app.screen.view"
        if isinstance(named, str) and named:
            attributes["app.screen.name"] = named
    if isinstance(named, str):
        attributes["span.name"] = named
    performance.add(attributes, of_transaction(transaction))
    return SentryFact(
        _span_id(trace), name, transaction.get("start_timestamp"), "start_timestamp", attributes
    )


def request_fact(span: Mapping[str, Any]) -> SentryFact | None:
    """A request that the app made; None for spans of all other kinds."""
    if span.get("op") != HTTP:
        return None
    data = _mapping(span.get("data"))
    attributes = _of_span(span, span)
    method, _, url = str(span.get("description") or "").partition(" ")
    for name, found in (
        (
            "http.request.method",
            data.get("http.request.method") or data.get("http.method") or data.get("method"),
        ),
        ("url.full", data.get("url.full") or data.get("http.url") or data.get("url")),
        ("http.response.status_code", data.get("http.response.status_code") or data.get("status_code")),
    ):
        if found is not None:
            attributes[name] = (
                found.upper() if name == "http.request.method" and isinstance(found, str) else found
            )
    if method.isalpha():
        attributes.setdefault("http.request.method", method.upper())
    if url:
        attributes.setdefault("url.full", url)
    status = span.get("status")
    if (
        "http.response.status_code" not in attributes
        and isinstance(status, str)
        and status not in ("ok", "unknown", "")
    ):
        attributes["error.type"] = status
    return SentryFact(
        _span_id(span), "http.client.request", span.get("start_timestamp"), "start_timestamp", attributes
    )


def log_fact(log: Mapping[str, Any]) -> SentryFact:
    """A line of a log; it has no id."""
    said = typed_attributes(log)
    attributes = {key: value for key, value in said.items() if key not in _OF_SENDER} | _severity(
        log.get("level")
    )
    if type(log.get("severity_number")) is int:
        attributes["severity_number"] = log["severity_number"]
    for field, name in (("body", "body"), ("trace_id", "trace_id"), ("span_id", "span_id")):
        if log.get(field) is not None:
            attributes[name] = log[field]
    return SentryFact("", "log", log.get("timestamp"), "timestamp", attributes)


def typed_attributes(told: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a log or a streamed span, without the types that are told beside their values, and without what
    is personal."""
    return {
        key: value
        for key, typed in _mapping(told.get("attributes")).items()
        if (value := _mapping(typed).get("value")) is not None and key not in _PERSONAL
    }


def _kind_of(event: Mapping[str, Any], sdk: SentrySdk) -> str:
    """Native name."""
    if _thrown(event) is None:
        return "log"
    mechanism = _mechanism(event)
    if sdk.is_mobile and str(mechanism.get("type")).lower() in _ANR:
        return "app.anr"
    is_crash = (
        sdk.is_mobile and event.get("platform") in _NATIVE_PLATFORMS and mechanism.get("handled") is False
    )
    return "app.crash" if is_crash else "exception"


def _thrown(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The last exception of an event, which is the one that it is about; None if it is a message."""
    values = _mapping(event.get("exception")).get("values")
    last = values[-1] if isinstance(values, list) and values else None
    return last if isinstance(last, dict) else None


def _meaning(event: Mapping[str, Any], sdk: SentrySdk) -> tuple[str, dict[str, Any]]:
    """Native name, and what the exception or message says."""
    name, level, thrown = _kind_of(event, sdk), event.get("level"), _thrown(event)
    if thrown is None:
        logged = event.get("logentry") or event.get("message")
        body = logged.get("formatted") or logged.get("message") if isinstance(logged, dict) else logged
        return name, {**_severity(level), **({"body": body} if body is not None else {})}
    images = DebugImages(event.get("debug_meta"))
    attributes: dict[str, Any] = {
        name: value
        for name, value in (
            ("exception.type", thrown.get("type")),
            ("exception.message", thrown.get("value")),
            ("exception.stacktrace", _stacktrace(thrown, images)),
            ("symbols.mapping_id", images.mapping_id),
            ("symbols.script_ids", _json(images.script_ids)),
            ("sentry.level", level),
        )
        if isinstance(value, str) and value
    }
    mechanism = _mechanism(event)
    if isinstance(mechanism.get("type"), str):
        attributes["exception.mechanism"] = mechanism["type"]
    if isinstance(mechanism.get("handled"), bool):
        attributes["exception.handled"] = mechanism["handled"]
    if name == "app.anr" and level == "fatal":
        attributes["fatal"] = True
    return name, attributes


def _json(pairs: Mapping[str, str]) -> str:
    return strict_json.dumps(pairs).decode() if pairs else ""


def _mechanism(event: Mapping[str, Any]) -> Mapping[str, Any]:
    values = _mapping(event.get("exception")).get("values")
    return _mapping(_mapping(values[-1]).get("mechanism")) if isinstance(values, list) and values else {}


def _stacktrace(thrown: Mapping[str, Any], images: DebugImages) -> str:
    """The frames as text, the innermost first, as a Java or a browser's stack trace has them; Sentry has it last."""
    frames = _mapping(thrown.get("stacktrace")).get("frames")
    if not isinstance(frames, list):
        return ""
    return "\n".join(
        images.line(frame, number) or _frame(frame)
        for number, frame in enumerate(map(_mapping, reversed(frames)))
    )


def _frame(frame: Mapping[str, Any]) -> str:
    # A stack may have fifty thousand of them.
    get = frame.get
    module, function = get("module"), get("function")
    code = f"{module}.{function}" if module and function else module or function
    place = written_place(get("filename"), get("lineno"), get("colno"))
    return f"{code or get('instruction_addr') or '?'} ({place or get('package') or ''})"


def _severity(level: Any) -> dict[str, Any]:
    if not isinstance(level, str) or not level:
        return {}
    number = _SEVERITIES.get(level.lower())
    return {"severity_text": level.upper(), **({"severity_number": number} if number else {})}


def _common(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What events and transactions have alike."""
    trace = _mapping(_mapping(payload.get("contexts")).get("trace"))
    said = {
        "url.full": _mapping(payload.get("request")).get("url"),
        "sentry.transaction": payload.get("transaction"),
    }
    said |= {name: trace.get(name) for name in ("trace_id", "span_id")}
    attributes = {name: value for name, value in said.items() if value not in (None, "")}
    attributes.update((f"tags.{key}", value) for key, value in _tags(payload))
    attributes.update((f"extra.{key}", value) for key, value in _mapping(payload.get("extra")).items())
    return attributes


def _tags(payload: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Tags, which may be an object or a list of pairs."""
    tags = payload.get("tags")
    pairs = list(tags.items()) if isinstance(tags, dict) else tags
    for pair in pairs if isinstance(pairs, list) else ():
        if (
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and isinstance(pair[0], str)
            and pair[1] is not None
        ):
            yield pair[0], pair[1]


def _of_span(span: Mapping[str, Any], timed: Mapping[str, Any]) -> dict[str, Any]:
    """What a span says of itself; `timed` is what holds its times."""
    said = {
        "sentry.op": span.get("op"),
        "trace_id": span.get("trace_id"),
        "span_id": span.get("span_id"),
        "span.parent_id": span.get("parent_span_id"),
        "span.status": span.get("status"),
    }
    attributes = {name: value for name, value in said.items() if value not in (None, "")}
    start, end = timed.get("start_timestamp"), timed.get("timestamp")
    if isinstance(start, int | float) and isinstance(end, int | float) and end >= start:
        attributes["duration_ms"] = round((end - start) * 1_000, 3)
    return attributes


def _span_id(span: Mapping[str, Any]) -> str:
    trace_id, span_id = span.get("trace_id"), span.get("span_id")
    if isinstance(trace_id, str) and trace_id and isinstance(span_id, str) and span_id:
        return bounded_id(f"{trace_id}-{span_id}.e")
    return ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
