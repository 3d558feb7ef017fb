"""Spans that Sentry's SDKs stream, each by itself with typed attributes, as native events.

From its version 11 on the SDK for browsers sends these and no transactions (`traceLifecycle`: `stream`). Ids are those
that a transaction's spans have: told both ways, a span is one event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pipeline.formats import performance
from pipeline.formats.hashed_ids import bounded_id
from pipeline.formats.sentry.items import HTTP, VIEWS, typed_attributes
from pipeline.formats.sentry.measured import of_streamed
from pipeline.formats.sentry.sessions import SentryFact

_LEFT_OUT = (
    *("sentry.release", "sentry.environment", "session.id", "device.id", "user.id", "user_agent.original"),
    *("sentry.sdk.name", "sentry.sdk.version", "sentry.sdk.integrations", "sentry.trace_lifecycle"),
)
"""What says whose it is, or how it was sent."""


def streamed_fact(span: Mapping[str, Any]) -> SentryFact | None:
    """What was shown, done or asked for; None for parts of these, and for measurements."""
    said = typed_attributes(span)
    operation = said.get("sentry.op")
    name = "app.screen.view" if operation in VIEWS else "http.client.request" if operation == HTTP else "span"
    if name == "span" and span.get("is_segment") is not True:
        return None
    attributes = {key: value for key, value in said.items() if key not in _LEFT_OUT}
    for field, native in (
        ("trace_id", "trace_id"),
        ("span_id", "span_id"),
        ("parent_span_id", "span.parent_id"),
        ("name", "span.name"),
        ("status", "span.status"),
    ):
        if isinstance(value := span.get(field), str) and value:
            attributes[native] = value
    start, end = span.get("start_timestamp"), span.get("end_timestamp")
    if isinstance(start, int | float) and isinstance(end, int | float) and end >= start:
        attributes["duration_ms"] = round((end - start) * 1_000, 3)
    if name == "app.screen.view" and (screen := _screen(attributes)):
        attributes["app.screen.name"] = screen
    if (
        name == "http.client.request"
        and "http.response.status_code" not in attributes
        and attributes.get("span.status") == "error"
    ):
        attributes.setdefault("error.type", "error")
    performance.add(attributes, of_streamed(attributes))
    return SentryFact(_id(span), name, start, "start_timestamp", attributes)


def _screen(attributes: Mapping[str, Any]) -> str:
    """The route; a path where the SDK knows none, and names all pages alike (`Pageload`)."""
    if attributes.get("sentry.segment.name.source") == "url":
        for name in ("url.path", "url.full"):
            told = attributes.get(name)
            if isinstance(told, str) and told:
                return told if name == "url.path" else _path(told)
    named = attributes.get("span.name")
    return named if isinstance(named, str) else ""


def _path(url: str) -> str:
    try:
        return urlsplit(url).path or "/"
    except ValueError:
        return ""


def _id(span: Mapping[str, Any]) -> str:
    parts = [span.get("trace_id"), span.get("span_id")]
    if all(isinstance(part, str) and part for part in parts):
        return bounded_id(f"{parts[0]}-{parts[1]}.e")
    return ""
