"""Records of OTLP as native events in JSON: what all have in common, whatever they say."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import orjson
from orjson import Fragment

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
from pipeline.formats.translation import Sender, TranslatedEvent

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
_new: Any = tuple.__new__


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

    def beside(self, trace_id: str, span_id: str) -> bytes:
        """What fields say, as members of the attributes, each with a comma before it."""
        beside = self.scope_json
        if trace_id:
            beside += b',"trace_id":"' + trace_id.encode() + b'"'
        if span_id:
            beside += b',"span_id":"' + span_id.encode() + b'"'
        return beside


def context_of(who: ResourceIdentity, scope: Scope, repaired: tuple[str, ...], record_ms: int) -> Context:
    """For the records of a scope that came at a time, Unix milliseconds."""
    said = {"otel.scope.name": scope.name, "otel.scope.version": scope.version}
    return Context(
        who, scope, _inner({k: v for k, v in said.items() if v}), repaired, record_ms, latest_of(record_ms)
    )


def add_log(record: LogRecord, context: Context, place: int, outgoing: list[TranslatedEvent]) -> int:
    """Add the event of a log record, the one at this place of its message; its time, Unix ms. Raises `Fault`."""
    time_ns, observed_ns, severity, severity_text, body, attributes, trace_id, span_id, _, repaired = record
    who = context.who
    if not time_ns:
        time_ns = observed_ns
    time_ms = time_ns // 1_000_000
    if not MIN_TIME_MS <= time_ms <= context.latest_ms:
        _refuse_time(time_ns, "timeUnixNano" if record.time_ns else "observedTimeUnixNano", context)
    sender, session_id = who.of_record(attributes)
    source = name = source_name(record)
    rule = rule_of(source)
    uid = attributes.pop("log.record.uid", None) if "log.record.uid" in attributes else None
    said_json = canonical(attributes)
    id_ = fitting(uid) if uid and isinstance(uid, str) else ""
    if not id_ and rule is not None:
        id_ = _id_of_log(record, source, sender, time_ms)
    if not id_:
        facts = [sender[0], sender[1], time_ns, source, session_id, Fragment(said_json)]
        id_ = hashed([*facts, body, trace_id, span_id, context.scope.name])
    if rule is not None:
        name = rule(attributes, Said(severity, body, who.is_browser))
        if name != source:
            attributes[SOURCE_NAME] = source
        if name in _OF_EARLIER:
            sender = who.of_earlier_process(sender, attributes)
        said_json = canonical(attributes)
    beside = context.beside(trace_id, span_id)
    if severity:
        beside += b',"severity_number":%d' % severity
    if severity_text:
        beside += b',"severity_text":' + _dumps(severity_text)
    if body is not None and body != "":
        beside += b',"body":' + _dumps(body)
    said_json = _marked(said_json, attributes, sender, context)
    event = _event(id_, name, time_ns, session_id, said_json, beside)
    if repaired or context.repaired:
        event = _with_places(event, (*context.repaired, *repaired))
    outgoing.append(_new(TranslatedEvent, (place, sender, event)))
    return time_ms


def add_span(span: Span, context: Context, place: int, outgoing: list[TranslatedEvent]) -> int:
    """Add the events of a span; the latest of their times, Unix ms. Raises `Fault`, and nothing is added then."""
    who, attributes = context.who, span.attributes
    latest_ms = _time_ms(span.start_ns, "startTimeUnixNano", context)
    for field, id_ in (("traceId", span.trace_id), ("spanId", span.span_id)):
        if not id_:
            raise Fault(Reason.MISSING_FIELD, field, "required, and not of zeros alone")
    sender, session_id = who.of_record(attributes)
    beside = context.beside(span.trace_id, span.span_id)
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
        latest_ms = max(latest_ms, time_ms)
        sent_by = who.of_earlier_process(sender, told) if fact.name in _OF_EARLIER else sender
        said_json = _marked(canonical(told), told, sender, context)
        event = _event(id_, fact.name, time_ns, session_id, said_json, beside)
        made.append(TranslatedEvent(place, sent_by, _with_places(event, repaired) if repaired else event))
    outgoing += made
    return latest_ms


def _time_ms(time_ns: int, field: str, context: Context) -> int:
    time_ms = time_ns // 1_000_000
    if not MIN_TIME_MS <= time_ms <= context.latest_ms:
        _refuse_time(time_ns, field, context)
    return time_ms


def _refuse_time(time_ns: int, field: str, context: Context) -> NoReturn:
    if not time_ns:
        raise Fault(Reason.MISSING_FIELD, field.replace("observedTime", "time"), "required, Unix nanoseconds")
    if time_ns < MIN_TIME_MS * 1_000:
        # Of the years from 2000 on as well, in a smaller unit.
        raise Fault(Reason.TIME_OUT_OF_RANGE, field, f"{time_ns} is no time since 2000 in Unix nanoseconds")
    words = rejected_time(time_ns // 1_000_000, context.record_ms, "", 0).detail.removeprefix(": ")
    raise Fault(Reason.TIME_OUT_OF_RANGE, field, words)


def _id_of_log(record: LogRecord, source: str, sender: Sender, time_ms: int) -> str:
    """The id of what may be told in two ways, or by two processes; empty for all else."""
    attributes = record.attributes
    if source in _CRASHES:
        crash_id = attributes.get("app.crash.id")
        return fitting(f"crash:{crash_id}") if crash_id and isinstance(crash_id, str) else ""
    # What ends the use of the app is told by the log record alone, which has to count then.
    is_fatal = record.severity_number >= SEVERITY_NUMBER_FATAL
    if source == "exception" and record.trace_id and record.span_id and not is_fatal:
        return of_exception(sender, time_ms, record.trace_id, record.span_id, attributes)
    return ""


def _marked(said_json: bytes, attributes: Attributes, sender: Sender, context: Context) -> bytes:
    """The attributes as JSON, `said_json` as long as there is nothing to add or to rename."""
    is_session = context.who.is_session(sender)
    if not is_session and _FIELDS.isdisjoint(attributes):
        return said_json
    if is_session:
        attributes["device.id.source"] = "session"
    for name in sorted(_FIELDS & attributes.keys()):
        attributes[f"attribute.{name}"] = attributes.pop(name)
    return canonical(attributes)


def _inner(attributes: Attributes) -> bytes:
    return b"," + canonical(attributes)[1:-1] if attributes else b""


def _event(id_: str, name: str, time_ns: int, session_id: str, attributes: bytes, beside: bytes) -> bytes:
    """The event as JSON; `beside` is joined to its attributes."""
    time_ms, seq = divmod(time_ns, 1_000_000)
    if beside:
        attributes = attributes[:-1] + beside + b"}" if len(attributes) > 2 else b"{" + beside[1:] + b"}"
    head = _dumps({"id": id_, "name": name, "time": time_ms})
    if seq:
        head = b'%b,"seq":%d}' % (head[:-1], seq)
    if session_id:
        head = b'%b,"session_id":%b}' % (head[:-1], _dumps(session_id))
    return b'%b,"attributes":%b}' % (head[:-1], attributes)


def _with_places(event: bytes, places: tuple[str, ...]) -> bytes:
    return event[:-1] + b',"repaired":' + _dumps(bounded(places)) + b"}"
