"""Records of OTLP as native events in JSON: what all have in common, whatever they say."""

from __future__ import annotations

from typing import Any, NoReturn

from pipeline.formats.checks import latest_of, rejected_time
from pipeline.formats.embrace.facts import EmbraceFact
from pipeline.formats.embrace.logs import is_log_of_embrace
from pipeline.formats.embrace.spans import is_span_of_embrace
from pipeline.formats.hashed_ids import digest_id
from pipeline.formats.limits import MAX_REPEATED_CHARS, MIN_TIME_MS
from pipeline.formats.mending import bounded
from pipeline.formats.otlp.embrace import TYPE, said_by_log, said_by_span
from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.identity import OF_RECORD, SESSION_ID, USER_SESSION, ResourceIdentity
from pipeline.formats.otlp.ids import canonical, fitting, of_exception
from pipeline.formats.otlp.logs import SEVERITY_NUMBER_FATAL, Said, has_rule, rule_of, source_name
from pipeline.formats.otlp.message import Attributes, InstrumentationScope, LogRecord, SpanRecord
from pipeline.formats.otlp.names import FIELDS, SOURCE_NAME
from pipeline.formats.otlp.spans import facts_of
from pipeline.formats.rejected import Reason
from pipeline.formats.strict_json import dumps, dumps_flat, dumps_text
from pipeline.formats.translation import Sender, TranslatedEvent

_CRASHES = ("app.crash", "device.crash")
_OF_EARLIER = ("app.crash", "app.exit")
"""What a later process may tell of an earlier one."""
_SMALLER_UNITS_END = 10**16
"""A time before it, in April 1970, is one in microseconds, milliseconds or seconds."""
_new: Any = tuple.__new__


class Quoted(dict[str, bytes]):
    """Texts as JSON, while a message is read: names and sessions repeat."""

    def __missing__(self, text: str) -> bytes:
        quoted = self[text] = dumps_text(text)
        return quoted


_SPECIAL = FIELDS | OF_RECORD - {SESSION_ID} | {"log.record.uid", "event.name", TYPE, USER_SESSION}
"""Attributes without which a log record is made into an event in the shortest way."""


class Context:
    """What the records of one scope have in common, that came at a time (Unix milliseconds)."""

    def __init__(
        self,
        who: ResourceIdentity,
        scope: InstrumentationScope,
        repaired: tuple[str, ...],
        record_ms: int,
        quoted: Quoted,
    ) -> None:
        """`repaired` is what was of the resource. Raises `Flaw` where a text is too long to stand on each event."""
        self.who = who
        for field, text in (("name", scope.name), ("version", scope.version)):
            if len(text) > MAX_REPEATED_CHARS:
                raise Flaw(
                    Reason.PROPERTY_TOO_LONG,
                    f"scope.{field}",
                    f"{len(text)} characters, which each event would repeat; at most {MAX_REPEATED_CHARS}",
                )
        said = {"otel.scope.name": scope.name, "otel.scope.version": scope.version}
        self.scope_json = _inner({key: value for key, value in said.items() if value})
        """Its attributes, each with a comma before it."""
        self.repaired = repaired
        self.record_ms = record_ms
        self.latest_ms = latest_of(record_ms)
        self.quoted = quoted
        self.scope_name = scope.name
        usual = who.usual
        self.sender_json = b"%b,%b," % (quoted[usual.app_id], quoted[usual.device_id])
        """App and device, each with a comma behind it."""
        self.around_ids = b"[" + self.sender_json, b",%b]" % quoted[scope.name]
        """What the content begins and ends with of which the ids of most of its records are made."""

    def is_time(self, time_ns: int) -> bool:
        """Whether something can have happened then (Unix nanoseconds)."""
        return MIN_TIME_MS <= time_ns // 1_000_000 <= self.latest_ms

    def beside(self, trace_id: str, span_id: str) -> bytes:
        """What fields say, as members of the attributes, each with a comma before it."""
        beside = self.scope_json
        if trace_id:
            beside += b',"trace_id":"%b"' % trace_id.encode()
        if span_id:
            beside += b',"span_id":"%b"' % span_id.encode()
        return beside


def add_log(record: LogRecord, context: Context, place: int, outgoing: list[TranslatedEvent]) -> int:
    """Add the event of a log record, the one at this place of its message; its time, Unix ms. Raises `Flaw`."""
    time_ns, observed_ns, severity, severity_text, body, attributes = record[:6]
    trace_id, span_id, name, repaired, is_flat = record[6:]
    who = context.who
    if not time_ns:
        time_ns = observed_ns
    time_ms = time_ns // 1_000_000
    if not MIN_TIME_MS <= time_ms <= context.latest_ms:
        _refuse_time(time_ns, "timeUnixNano" if record.time_ns else "observedTimeUnixNano", context)
    is_special = not who.device_id or not _SPECIAL.isdisjoint(attributes)
    if is_special and TYPE in attributes and is_log_of_embrace(attributes):
        sender, fact = said_by_log(record, time_ns, who)
        made = _of_embrace(sender, fact, record, context, place)
        outgoing.append(made)
        return max(time_ms, fact.time_ns // 1_000_000)
    sender, session_id = who.of_record(attributes, is_special)
    id_ = _own_id(attributes) if is_special else ""
    source = name = name if name and not is_special else source_name(record)
    rule = rule_of(source, attributes) if has_rule[source] else None
    said_json = dumps_flat(attributes) if is_flat else canonical(attributes)
    body_json = b"null" if body is None else dumps_text(body) if type(body) is str else dumps(body)
    if rule is not None and not id_:
        id_ = _id_of_log(record, source, sender, time_ms)
    if not id_:
        id_ = _id_by_content(record, (sender, time_ns, source, session_id), said_json, body_json, context)
    if rule is not None:
        name = rule(attributes, Said(severity, body, who.is_browser))
        if name != source:
            attributes[SOURCE_NAME] = source
        if name in _OF_EARLIER:
            sender = who.of_earlier_process(sender, attributes)
        said_json = canonical(attributes)
    if is_special:
        said_json = _marked(attributes, sender, context)
    beside = context.beside(trace_id, span_id) if trace_id or span_id else context.scope_json
    if severity:
        beside += b',"severity_number":%d' % severity
    if severity_text:
        beside += b',"severity_text":' + context.quoted[severity_text]
    if body is not None and body != "":
        beside += b',"body":' + body_json
    event = _event(id_, name, time_ns, session_id, said_json, beside, context.quoted)
    if repaired or context.repaired:
        event = _with_places(event, (*context.repaired, *repaired))
    outgoing.append(_new(TranslatedEvent, (place, sender, event)))
    return time_ms


def _id_by_content(
    record: LogRecord,
    said: tuple[Sender, int, str, str],
    attributes: bytes,
    body: bytes,
    context: Context,
) -> str:
    """The id of a record that has none: of sender, time (ns), name and session, attributes and body. The same as
    `hashed` of a list of these and of trace, span and scope, which would write them one by one."""
    sender, time_ns, source, session_id = said
    quoted = context.quoted
    begin, end = context.around_ids
    if sender is not context.who.usual:
        begin = b"[%b,%b," % (quoted[sender[0]], quoted[sender[1]])
    if body != b"null" and type(record.body) is not str:
        body = dumps(record.body, sort_keys=True)
    if record.trace_id or record.span_id:
        body += b',"%b","%b"' % (record.trace_id.encode(), record.span_id.encode())
    else:
        body += b',"",""'
    return digest_id(
        b"%b%d,%b,%b,%b,%b%b" % (begin, time_ns, quoted[source], quoted[session_id], attributes, body, end)
    )


def add_span(span: SpanRecord, context: Context, place: int, outgoing: list[TranslatedEvent]) -> int:
    """Add the events of a span; the latest of their times, Unix ms. Raises `Flaw`, and nothing is added then."""
    who, attributes = context.who, span.attributes
    latest_ms = _time_ms(span.start_ns, "startTimeUnixNano", context)
    for field, id_ in (("traceId", span.trace_id), ("spanId", span.span_id)):
        if not id_:
            raise Flaw(Reason.MISSING_FIELD, field, "required, and not of zeros alone")
    if TYPE in attributes and is_span_of_embrace(attributes):
        sender, told_by_it = said_by_span(span, who, context.is_time)
        outgoing += [_of_embrace(sender, fact, span, context, place) for fact in told_by_it]
        return max([latest_ms, *(fact.time_ns // 1_000_000 for fact in told_by_it)])
    sender, session_id = who.of_record(attributes, True)
    beside = context.beside(span.trace_id, span.span_id)
    repaired = (*context.repaired, *span.repaired)
    made = []
    for fact in facts_of(span, attributes, who.is_browser):
        told, time_ns = fact.attributes, fact.time_ns
        if fact.id:
            time_ms = _time_ms(time_ns, "endTimeUnixNano", context)
            id_ = fitting(f"{span.trace_id}-{span.span_id}{fact.id}")
        else:
            if not context.is_time(time_ns):
                time_ns = span.start_ns
                told["time.uncertain"] = True
            time_ms = time_ns // 1_000_000
            id_ = of_exception(sender, time_ms, span.trace_id, span.span_id, told)
        latest_ms = max(latest_ms, time_ms)
        sent_by = who.of_earlier_process(sender, told) if fact.name in _OF_EARLIER else sender
        said_json = _marked(told, sender, context)
        event = _event(id_, fact.name, time_ns, session_id, said_json, beside, context.quoted)
        made.append(TranslatedEvent(place, sent_by, _with_places(event, repaired) if repaired else event))
    outgoing += made
    return latest_ms


def _of_embrace(
    sender: Sender, fact: EmbraceFact, record: LogRecord | SpanRecord, context: Context, place: int
) -> TranslatedEvent:
    """A fact of Embrace's as the event of a record. Raises `Flaw` where it has no time."""
    if not context.is_time(fact.time_ns):
        _refuse_time(fact.time_ns, _field_of_time(fact, record), context)
    told = fact.attributes
    sent_by = context.who.of_earlier_process(sender, told) if fact.name in _OF_EARLIER else sender
    if context.who.is_session(sender):
        told["device.id.source"] = "session"
    beside = context.beside(record.trace_id, record.span_id)
    session_id = fitting(fact.session) if fact.session else ""
    event = _event(fact.id, fact.name, fact.time_ns, session_id, canonical(told), beside, context.quoted)
    repaired = (*context.repaired, *record.repaired)
    return TranslatedEvent(place, sent_by, _with_places(event, repaired) if repaired else event)


def _field_of_time(fact: EmbraceFact, record: LogRecord | SpanRecord) -> str:
    if isinstance(record, LogRecord):
        return "attributes[timestamp]"
    is_beat = fact.time_ns > record.end_ns
    return "attributes[emb.heartbeat_time_unix_nano]" if is_beat else "endTimeUnixNano"


def _time_ms(time_ns: int, field: str, context: Context) -> int:
    time_ms = time_ns // 1_000_000
    if not MIN_TIME_MS <= time_ms <= context.latest_ms:
        _refuse_time(time_ns, field, context)
    return time_ms


def _refuse_time(time_ns: int, field: str, context: Context) -> NoReturn:
    if not time_ns:
        raise Flaw(Reason.MISSING_FIELD, field.replace("observedTime", "time"), "required, Unix nanoseconds")
    if time_ns < _SMALLER_UNITS_END:
        raise Flaw(Reason.TIME_OUT_OF_RANGE, field, f"{time_ns} is not a time since 2000 in Unix nanoseconds")
    words = rejected_time(time_ns // 1_000_000, context.record_ms, "", 0).detail.removeprefix(": ")
    raise Flaw(Reason.TIME_OUT_OF_RANGE, field, words)


def _own_id(attributes: Attributes) -> str:
    """The id that a log record has of its own, which is taken out; empty if it has none."""
    uid = attributes.get("log.record.uid")
    if not isinstance(uid, str):
        return ""
    del attributes["log.record.uid"]
    return fitting(uid) if uid else ""


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


def _marked(attributes: Attributes, sender: Sender, context: Context) -> bytes:
    """The attributes as JSON, none of them under a name that a field has."""
    if context.who.is_session(sender):
        attributes["device.id.source"] = "session"
    for name in sorted(FIELDS & attributes.keys()):
        attributes[f"attribute.{name}"] = attributes.pop(name)
    return canonical(attributes)


def _inner(attributes: Attributes) -> bytes:
    return b"," + canonical(attributes)[1:-1] if attributes else b""


def _event(
    id_: str, name: str, time_ns: int, session_id: str, attributes: bytes, beside: bytes, quoted: Quoted
) -> bytes:
    """The event as JSON; `beside` is joined to its attributes."""
    time_ms, seq = divmod(time_ns, 1_000_000)
    session = b',"session_id":' + quoted[session_id] if session_id else b""
    return b'{"id":%b,"name":%b,"time":%d%b%b,"attributes":%b%b}}' % (
        dumps_text(id_),
        quoted[name],
        time_ms,
        b',"seq":%d' % seq if seq else b"",
        session,
        attributes[:-1],
        beside if len(attributes) > 2 else beside[1:],
    )


def _with_places(event: bytes, places: tuple[str, ...]) -> bytes:
    return event[:-1] + b',"repaired":' + dumps(bounded(places)) + b"}"
