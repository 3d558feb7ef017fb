"""What spans say, as native events (schemas/mapping/otlp.md, "Spans").

What is told of a span's start and what is known at its end alone are two facts, with ids of their own: an SDK may tell
of a span before it is over, and again then, and of two events of one id the first one counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.formats import performance
from pipeline.formats.limits import MAX_REPEATED_CHARS
from pipeline.formats.otlp.identity import PERSONAL
from pipeline.formats.otlp.logs import Said, is_known, native_name
from pipeline.formats.otlp.message import Attributes, SpanEvent, SpanRecord
from pipeline.formats.otlp.names import SOURCE_NAME, put, renamed

CLIENT = 3
STATUS_ERROR = 2
LONGEST_NS = 12 * 3_600_000_000_000
"""Of a span that says when its app was used: no session goes on for longer."""
START, END = ".s", ".e"
"""What ids of facts end in, after `<trace id>-<span id>`."""

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS = {1: "ok", 2: "error"}
_OLD_HTTP = {
    "http.method": "http.request.method",
    "http.status_code": "http.response.status_code",
    "http.url": "url.full",
}
_ACTIVITY = ("Created", "Started", "Paused", "Stopped", "Destroyed", "Restarted", "Resumed")
"""Spans of opentelemetry-android, one for each step in the life of an activity or a fragment."""
_METRICKIT = ("MXMetricPayload", "MXDiagnosticPayload")


class Fact(NamedTuple):
    """One thing that a span says, as a native event without its session."""

    id: str
    """What follows `<trace id>-<span id>`; empty for an exception, whose id goes by what it says."""
    name: str
    time_ns: int
    attributes: Attributes


def facts_of(span: SpanRecord, attributes: Attributes, is_browser: bool) -> Iterator[Fact]:
    """The facts of a span, its exceptions last. `attributes` are its own but for those that say whose it is."""
    is_long = span.end_ns - span.start_ns > LONGEST_NS
    if span.name in _METRICKIT or is_long:
        yield _of_a_window(span, attributes)
    elif span.start_ns == span.end_ns and is_known(span.name):
        # Splunk's SDKs send what others send as log records.
        told = dict(attributes)
        name = native_name(span.name, told, Said(0, None, is_browser))
        yield Fact(START, name, span.start_ns, told)
    else:
        at_start = _told_at_start(span, attributes)
        if at_start is not None:
            yield at_start
        if span.end_ns:
            ended = _ended(span, {} if at_start else attributes)
            performance.add(ended.attributes, _measured(span, attributes))
            yield ended
        elif at_start is None:
            yield Fact(START, "span.started", span.start_ns, {**attributes, "span.name": span.name})
    for event in span.events:
        if event.name == "exception":
            yield _exception(span, event, is_browser)


def _measured(span: SpanRecord, attributes: Attributes) -> Attributes:
    if span.end_ns < span.start_ns:
        return {}
    return performance.of_span(span.name, attributes, (span.end_ns - span.start_ns) / 1_000_000)


def _of_a_window(span: SpanRecord, attributes: Attributes) -> Fact:
    """What was gathered over hours: it says nothing of use, and was there when it ended."""
    told = {**attributes, "passive": True, "time.uncertain": True}
    name = span.name if span.name in _METRICKIT else "span"
    return Fact(END, name, span.end_ns or span.start_ns, _described(span, told))


def _told_at_start(span: SpanRecord, attributes: Attributes) -> Fact | None:
    """The fact that is true when a span begins, for spans that stand for one."""
    name, told = span.name, dict(attributes)
    if name == "AppStart":
        kind = told.get("start.type")
        if isinstance(kind, str):
            put(told, "app.launch.type", told.pop("start.type"))
        native = "app.launch"
    elif name in _ACTIVITY:
        screen = told.get("app.screen.name", told.get("screen.name"))
        native = f"android.activity.{name.lower()}"
        if name == "Resumed" and isinstance(screen, str):
            # No foreground: at each change of screens one is resumed (semantic conventions take "paused" for the
            # background, and an app would have a session for every screen).
            told["app.screen.name"] = screen
            if told.get("screen.name") == screen:
                del told["screen.name"]
            native = "app.screen.view"
    else:
        return None
    told[SOURCE_NAME] = name
    return Fact(START, native, span.start_ns, told)


def _ended(span: SpanRecord, attributes: Attributes) -> Fact:
    """All of a span, once it is over; at its start, since that is when the app was used, and its session is of then."""
    told = _described(span, attributes)
    if span.kind != CLIENT or not ("http.request.method" in told or "http.method" in told):
        return Fact(END, "span", span.start_ns, told)
    renamed(told, _OLD_HTTP)
    method = told.get("http.request.method")
    if isinstance(method, str):
        told["http.request.method"] = method.upper()
    is_told = told.get("http.response.status_code") or told.get("error.type")
    if span.status_code == STATUS_ERROR and not is_told:
        told["error.type"] = span.status_message or "_OTHER"
    return Fact(END, "http.client.request", span.start_ns, told)


def _described(span: SpanRecord, attributes: Attributes) -> Attributes:
    """The attributes with what the span is besides them."""
    told = dict(attributes)
    put(told, "span.name", span.name)
    if 0 < span.kind < len(_KINDS):
        put(told, "span.kind", _KINDS[span.kind])
    if span.status_code in _STATUS:
        put(told, "span.status", _STATUS[span.status_code])
    if span.status_message:
        put(told, "span.status_message", span.status_message)
    if span.end_ns >= span.start_ns:
        put(told, "duration_ms", (span.end_ns - span.start_ns) / 1_000_000)
    if span.parent_id:
        put(told, "span.parent_id", span.parent_id)
    if span.trace_state:
        put(told, "trace_state", span.trace_state)
    events = [_as_attribute(event) for event in span.events if event.name != "exception"]
    if events:
        put(told, "span.events", events)
    if span.links:
        links = [
            {"trace_id": link.trace_id, "span_id": link.span_id, **_impersonal(link.attributes)}
            for link in span.links
        ]
        put(told, "span.links", links)
    return told


def _as_attribute(event: SpanEvent) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": event.name, "time_ns": event.time_ns}
    attributes = _impersonal(event.attributes)
    if attributes:
        shown["attributes"] = attributes
    return shown


def _impersonal(attributes: Attributes) -> Attributes:
    """Without names and addresses, which have a place of their own, where they are kept at all."""
    return {key: value for key, value in attributes.items() if key not in PERSONAL}


def _exception(span: SpanRecord, event: SpanEvent, is_browser: bool) -> Fact:
    told = _impersonal(event.attributes)
    native_name("exception", told, Said(0, None, is_browser))
    # The span's own event has the name, however long; here each exception of the span would repeat it.
    if len(span.name) <= MAX_REPEATED_CHARS:
        told["span.name"] = span.name
    return Fact("", "exception", event.time_ns or span.start_ns, told)
