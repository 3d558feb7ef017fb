"""What Embrace's SDKs say in OTLP, by `emb.type`: the same as in Embrace's own envelope (schemas/mapping/embrace.md).

Types of which Embrace's mapping says no more than a log or a span are none of this: `emb.otel_log` is an event of
OpenTelemetry's under its own name, and a span keeps its links, kind and status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipeline.formats.checks import rejected_id
from pipeline.formats.embrace.facts import EmbraceFact, EmbraceLog, EmbraceMoment, EmbraceSpan
from pipeline.formats.embrace.logs import fact_of_log
from pipeline.formats.embrace.parts import WEB
from pipeline.formats.embrace.sender import identity_of, platform_of
from pipeline.formats.embrace.spans import facts_of_span
from pipeline.formats.format import Beside, Headers
from pipeline.formats.otlp.identity import NOBODY, PERSONAL, BesideIt, ResourceIdentity
from pipeline.formats.otlp.message import Attributes, LogRecord, SpanEvent, SpanRecord
from pipeline.formats.otlp.names import FIELDS, SOURCE_NAME
from pipeline.formats.otlp.spans import STATUS_ERROR
from pipeline.formats.translation import Sender

TYPE = "emb.type"
_SESSIONS = ("emb.session_part_id", "session.id")
"""Read by both, and attributes of what Embrace says."""
_LAST_SEVERITY = 24
_KEPT = b"X-EM-DID/"


def named_beside(beside: Beside) -> BesideIt:
    """Whom the headers of a record name, as Embrace's SDKs have them; or its key, if `kept_key_of` made it."""
    if not beside.headers and not (beside.key or b"").startswith(_KEPT):
        return NOBODY
    kept = beside.key[len(_KEPT) :] if beside.key and beside.key.startswith(_KEPT) else None
    app, device = identity_of(beside.headers, kept)
    return BesideIt(
        *(each if rejected_id(each or None, "", forbidden="\0") is None else "" for each in (app, device))
    )


def kept_key_of(headers: Headers, key: bytes | None) -> bytes | None:
    """A key that says without headers what they say; the record's own where they name nobody.

    Keys of OTLP say nothing, and may look like anything: this one begins as no other does.
    """
    app, device = identity_of(headers, None)
    return _KEPT + f"{app}/{device}".encode() if app or device else key


def said_by_log(record: LogRecord, time_ns: int, who: ResourceIdentity) -> tuple[Sender, EmbraceFact]:
    """What a log record comes to that `is_log_of_embrace`, and who sent it. Raises `Flaw` where nobody did."""
    sender, attributes = _sender_and_attributes(record.attributes, who)
    severity = record.severity_number
    fact = fact_of_log(
        EmbraceLog(
            time_ns,
            severity if 0 < severity <= _LAST_SEVERITY else 0,
            record.severity_text,
            record.body,
            attributes,
        )
    )
    if record.event_name and record.event_name != fact.name:
        fact.attributes[SOURCE_NAME] = record.event_name
    return sender, fact


def said_by_span(
    span: SpanRecord, who: ResourceIdentity, is_time: Callable[[int], bool]
) -> tuple[Sender, list[EmbraceFact]]:
    """What a span comes to that `is_span_of_embrace`, and who sent it. Raises `Flaw` where nobody did.

    `is_time` says of Unix nanoseconds whether something can have happened then: what a span holds that cannot have,
    is told at the span's start.
    """
    sender, attributes = _sender_and_attributes(span.attributes, who)
    told = EmbraceSpan(
        span.trace_id,
        span.span_id,
        span.parent_id,
        span.name or "unnamed",
        span.start_ns,
        span.end_ns,
        span.status_code == STATUS_ERROR,
        attributes,
        list(_moments(span, is_time)),
    )
    return sender, facts_of_span(told, WEB if who.is_browser else platform_of(who.described))


def _moments(span: SpanRecord, is_time: Callable[[int], bool]) -> Iterator[EmbraceMoment]:
    for event in span.events:
        attributes = _beside_fields(_impersonal(event))
        time_ns = event.time_ns
        if not is_time(time_ns):
            time_ns, attributes["time.uncertain"] = span.start_ns, True
        yield EmbraceMoment(event.name or "unnamed", time_ns, attributes)


def _sender_and_attributes(attributes: Attributes, who: ResourceIdentity) -> tuple[Sender, Attributes]:
    """Who sent a record, and its attributes without what says so but for its sessions."""
    kept: dict[str, Any] = dict(attributes)
    sender, _ = who.of_record(kept, True)
    kept.update((name, attributes[name]) for name in _SESSIONS if name in attributes)
    return sender, _beside_fields(kept)


def _beside_fields(attributes: Attributes) -> Attributes:
    """The attributes, none of them under a name that a field has."""
    for name in sorted(FIELDS & attributes.keys()):
        attributes[f"attribute.{name}"] = attributes.pop(name)
    return attributes


def _impersonal(event: SpanEvent) -> Attributes:
    return {key: value for key, value in event.attributes.items() if key not in PERSONAL}
