"""Records of OTLP as native events in JSON: what all have in common, whatever they say."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from pipeline.formats.checks import latest_of, rejected_time
from pipeline.formats.limits import MIN_TIME_MS
from pipeline.formats.mending import bounded
from pipeline.formats.otlp.fault import Fault
from pipeline.formats.otlp.identity import ResourceIdentity
from pipeline.formats.otlp.ids import canonical, fitting, hashed, of_exception
from pipeline.formats.otlp.logs import SEVERITY_NUMBER_FATAL, Said, rule_of, source_name
from pipeline.formats.otlp.message import Attributes, LogRecord, Scope, Span
from pipeline.formats.otlp.names import SOURCE_NAME
from pipeline.formats.otlp.spans import facts_of
from pipeline.formats.rejected import Reason
from pipeline.formats.translation import Sender

_FIELDS = frozenset(
    (
        "otel.scope.name",
        "otel.scope.version",
        "trace_id",
        "span_id",
        "severity_number",
        "severity_text",
        "body",
    )
)
"""Attributes that say what a field of the record says."""
_CRASHES = ("app.crash", "device.crash")
_OF_EARLIER = ("app.crash", "app.exit")
"""What a later process may tell of an earlier one."""
_dumps = orjson.dumps


class Made(NamedTuple):
    """A native event, and who sent it."""

    sender: Sender
    time_ms: int
    event: bytes


class Context(NamedTuple):
    """What the records of one scope have in common."""

    who: ResourceIdentity
    scope: Scope
    scope_json: bytes
    """Its attributes, each with a comma before it."""
    repaired: tuple[str, ...]
    """What was repaired of the resource."""
    record_ms: int
    latest_ms: int


def context_of(who: ResourceIdentity, scope: Scope, repaired: tuple[str, ...], record_ms: int) -> Context:
    """For the records of a scope that came at a time, Unix milliseconds."""
    said = {"otel.scope.name": scope.name, "otel.scope.version": scope.version}
    return Context(
        who, scope, _inner({k: v for k, v in said.items() if v}), repaired, record_ms, latest_of(record_ms)
    )


def events_of_log(record: LogRecord, context: Context) -> list[Made]:
    """The event of a log record. Raises `Fault`."""
    who, attributes = context.who, record.attributes
    time_ns, field = record.time_ns, "timeUnixNano"
    if not time_ns:
        time_ns, field = record.observed_ns, "observedTimeUnixNano"
    time_ms = _time_ms(time_ns, field, context)
    sender, session_id = who.of_record(attributes)
    source = source_name(record)
    if attributes.get("event.name") == source:
        del attributes["event.name"]
    uid = attributes.pop("log.record.uid", None)
    said_json = canonical(attributes)
    id_ = (
        fitting(uid)
        if uid and isinstance(uid, str)
        else _id_of_log(record, source, attributes, sender, time_ms)
    )
    if not id_:
        facts = [sender.app_id, sender.device_id, time_ns, source, session_id, orjson.Fragment(said_json)]
        id_ = hashed([*facts, record.body, record.trace_id, record.span_id, context.scope.name])
    name, rule = source, rule_of(source)
    if rule is not None:
        name = rule(attributes, Said(record.severity_number, record.body, who.is_browser))
        if name != source:
            attributes[SOURCE_NAME] = source
        if name in _OF_EARLIER:
            sender = who.of_earlier_process(sender, attributes)
        said_json = b""
    beside = _beside_log(record, context)
    event = _event(id_, name, time_ns, session_id, _marked(said_json, attributes, sender, context), beside)
    repaired = (*context.repaired, *record.repaired)
    return [Made(sender, time_ms, _with_places(event, repaired) if repaired else event)]


def events_of_span(span: Span, context: Context) -> list[Made]:
    """The events of a span. Raises `Fault`."""
    who, attributes = context.who, span.attributes
    _time_ms(span.start_ns, "startTimeUnixNano", context)
    for field, id_ in (("traceId", span.trace_id), ("spanId", span.span_id)):
        if not id_:
            raise Fault(Reason.MISSING_FIELD, field, "required, and not of zeros alone")
    sender, session_id = who.of_record(attributes)
    beside = _beside(context, span.trace_id, span.span_id)
    repaired = (*context.repaired, *span.repaired)
    made = []
    for fact in facts_of(span, attributes, who.is_browser):
        told, time_ns = fact.attributes, fact.time_ns
        if fact.id:
            time_ms = _time_ms(time_ns, "endTimeUnixNano", context)
            id_ = fitting(f"{span.trace_id}-{span.span_id}{fact.id}")
        else:
            if not MIN_TIME_MS <= time_ns // 1_000_000 <= context.latest_ms:
                time_ns = span.start_ns
                told["time.uncertain"] = True
            time_ms = time_ns // 1_000_000
            id_ = of_exception(sender, time_ms, span.trace_id, span.span_id, told)
        sent_by = who.of_earlier_process(sender, told) if fact.name in _OF_EARLIER else sender
        event = _event(id_, fact.name, time_ns, session_id, _marked(b"", told, sender, context), beside)
        made.append(Made(sent_by, time_ms, _with_places(event, repaired) if repaired else event))
    return made


def _time_ms(time_ns: int, field: str, context: Context) -> int:
    time_ms = time_ns // 1_000_000
    if MIN_TIME_MS <= time_ms <= context.latest_ms:
        return time_ms
    if not time_ns:
        raise Fault(Reason.MISSING_FIELD, field.replace("observedTime", "time"), "required, Unix nanoseconds")
    if time_ns < MIN_TIME_MS * 1_000:
        # Of the years from 2000 on as well, in a smaller unit.
        raise Fault(Reason.TIME_OUT_OF_RANGE, field, f"{time_ns} is no time since 2000 in Unix nanoseconds")
    words = rejected_time(time_ms, context.record_ms, "", 0).detail.removeprefix(": ")
    raise Fault(Reason.TIME_OUT_OF_RANGE, field, words)


def _id_of_log(record: LogRecord, source: str, attributes: Attributes, sender: Sender, time_ms: int) -> str:
    """The id of what may be told in two ways, or by two processes; empty for all else."""
    if source in _CRASHES:
        crash_id = attributes.get("app.crash.id")
        return fitting(f"crash:{crash_id}") if crash_id and isinstance(crash_id, str) else ""
    # What ends the use of the app is told by the log record alone, which has to count then.
    is_fatal = record.severity_number >= SEVERITY_NUMBER_FATAL
    if source == "exception" and record.trace_id and record.span_id and not is_fatal:
        return of_exception(sender, time_ms, record.trace_id, record.span_id, attributes)
    return ""


def _marked(said_json: bytes, attributes: Attributes, sender: Sender, context: Context) -> bytes:
    """The attributes as JSON; `said_json` is that already, where they have not changed since."""
    if context.who.is_session(sender.device_id):
        attributes["device.id.source"] = "session"
        said_json = b""
    if not _FIELDS.isdisjoint(attributes):
        for name in _FIELDS & attributes.keys():
            attributes[f"attribute.{name}"] = attributes.pop(name)
        said_json = b""
    return said_json or canonical(attributes)


def _beside_log(record: LogRecord, context: Context) -> bytes:
    beside = _beside(context, record.trace_id, record.span_id)
    if record.severity_number:
        beside += b',"severity_number":%d' % record.severity_number
    if record.severity_text:
        beside += b',"severity_text":' + _dumps(record.severity_text)
    if record.body is not None and record.body != "":
        beside += b',"body":' + _dumps(record.body)
    return beside


def _beside(context: Context, trace_id: str, span_id: str) -> bytes:
    """What fields say, as members of the attributes, each with a comma before it."""
    beside = context.scope_json
    if trace_id:
        beside += b',"trace_id":"' + trace_id.encode() + b'"'
    if span_id:
        beside += b',"span_id":"' + span_id.encode() + b'"'
    return beside


def _inner(attributes: Attributes) -> bytes:
    return b"," + canonical(attributes)[1:-1] if attributes else b""


def _event(id_: str, name: str, time_ns: int, session_id: str, attributes: bytes, beside: bytes) -> bytes:
    """The event as JSON; `beside` is joined to its attributes."""
    time_ms, seq = divmod(time_ns, 1_000_000)
    if beside:
        attributes = attributes[:-1] + beside + b"}" if len(attributes) > 2 else b"{" + beside[1:] + b"}"
    return b'{"id":%b,"name":%b,"time":%d%b%b,"attributes":%b}' % (
        _dumps(id_),
        _dumps(name),
        time_ms,
        b',"seq":%d' % seq if seq else b"",
        b',"session_id":' + _dumps(session_id) if session_id else b"",
        attributes,
    )


def _with_places(event: bytes, places: tuple[str, ...]) -> bytes:
    return event[:-1] + b',"repaired":' + _dumps(bounded(places)) + b"}"
