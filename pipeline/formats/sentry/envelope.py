"""Envelopes of Sentry, translated into native envelopes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pipeline.formats.checks import rejected_id, rejected_time, time_is_plausible
from pipeline.formats.clocks import shift_of
from pipeline.formats.cut_out import with_parts
from pipeline.formats.format import NOTHING_BESIDE, Beside
from pipeline.formats.hashed_ids import hashed_id
from pipeline.formats.limits import MAX_BODY_BYTES, MAX_BODY_EVENTS, MAX_NESTING, MAX_STAMP_MS
from pipeline.formats.listed import Listed, translation_of
from pipeline.formats.mending import MAX_PLACE_CHARS, Read, bounded, read_json, repairs_of
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.rfc3339 import unix_time
from pipeline.formats.sentry import items as of_items
from pipeline.formats.sentry import sessions
from pipeline.formats.sentry import streamed as of_streamed
from pipeline.formats.sentry.cut import KnownOfItems, SentrySource, Within, cut_out, known_of
from pipeline.formats.sentry.lines import EnvelopeLines, ItemLines, read_lines
from pipeline.formats.sentry.sender import SentrySdk, app_of, sdk_of, sender_of, session_id_of
from pipeline.formats.sentry.sessions import SentryFact, ToldByEvents
from pipeline.formats.translation import Draft, Sender, Translation

_EVENT, _TRANSACTION, _LOG, _SPAN, _AGGREGATES = "event", "transaction", "log", "span", "sessions"
_READ = (sessions.TYPE, _EVENT, _TRANSACTION, _LOG, _SPAN)
"""Items that are taken. All others are passed over, but for aggregates, which would be sessions that nobody sees."""
_OF_EVENTS = ("contexts.device.id", "tags[session.id]")
_NAMED_BY = {
    sessions.TYPE: ("did", "sid"),
    _LOG: ("attributes[device.id]", "attributes[session.id]"),
    _SPAN: ("attributes[device.id]", "attributes[session.id]"),
}
"""The fields in which an item could name its device, in an app and in a browser."""
_LEVELS = 3
"""Above an attribute in a native envelope, more than above a field of a payload."""


class _Payload(NamedTuple):
    """An item whose payload was read."""

    type: str
    path: str
    read: Read
    lines: bytes


class _Step(NamedTuple):
    """One native event to be, or what is refused in its place."""

    listed: Listed
    outcome: Draft | Rejected
    source: SentrySource


def translate(
    value: bytes | None, record_ms: int, beside: Beside = NOTHING_BESIDE, /
) -> Translation | Rejected:
    """Translate one envelope; `record_ms` is the broker's record time, Unix milliseconds.

    A bad item does not condemn its envelope: it is in `refused`. Indexes count what becomes an event or is refused, in
    order. Never raises because of the envelope; does not block.
    """
    lines = read_lines(value)
    if isinstance(lines, Rejected):
        return lines
    payloads = list(_payloads(lines))
    read = [each for each in payloads if isinstance(each, _Payload)]
    known, sdk = known_of(lines.header), _sdk(lines, read, beside)
    told = known.told.and_by(of_items.told_by((each.read.tree for each in read if each.type == _EVENT), sdk))
    clock = _Clock(_shift(lines.header, record_ms), record_ms)
    steps: list[_Step] = []
    for each in payloads:
        for step in _steps(each, sdk, told, clock, len(steps)):
            steps.append(step)
            if len(steps) > MAX_BODY_EVENTS:
                return Rejected(Reason.TOO_MANY_EVENTS, f"items: at most {MAX_BODY_EVENTS} events in them")
    drafts = [step.outcome for step in steps if isinstance(step.outcome, Draft)]
    refused = [step.outcome for step in steps if isinstance(step.outcome, Rejected)]
    made = translation_of(drafts, refused, record_ms, [step.listed for step in steps])
    return with_parts(
        made, lambda some: cut_out(lines, KnownOfItems.of(sdk, told), [step.source for step in steps], some)
    )


def apps_of(value: bytes, beside: Beside) -> set[str]:
    """The apps that the items of an envelope are of, as far as they and its header say so."""
    lines = read_lines(value)
    if isinstance(lines, Rejected):
        return set()
    read = [each for each in _payloads(lines) if isinstance(each, _Payload)]
    sdk = _sdk(lines, read, beside)
    said: list[Mapping[str, Any]] = []
    for each in read:
        listed = each.read.tree.get("items") if each.type in (_LOG, _SPAN) else None
        inner = listed if isinstance(listed, list) else ()
        said += [_as_payload(one) for one in inner if isinstance(one, dict)] or [each.read.tree]
    apps = (app_of(sdk, payload, "") for payload in said or [{}])
    return {app for app in apps if isinstance(app, str)}


def _payloads(lines: EnvelopeLines) -> Iterator[_Payload | Rejected]:
    for number, item in enumerate(lines.items):
        found = item if isinstance(item, Rejected) else _payload(item, f"items[{number}]")
        if found is not None:
            yield found


def _sdk(lines: EnvelopeLines, read: Iterable[_Payload], beside: Beside) -> SentrySdk:
    """What sent it, by the header and by the session, which an earlier refusal may have left in the header."""
    told = known_of(lines.header).session
    session = told or next((each.read.tree for each in read if each.type == sessions.TYPE), {})
    return sdk_of(lines.header, beside, session)


class _Clock(NamedTuple):
    """How the times of an envelope are read."""

    shift_ms: int
    record_ms: int


def _shift(header: Mapping[str, Any], record_ms: int) -> int:
    """What to add to the envelope's times, by when its device sent it. 0 if it does not say so."""
    sent_at = header.get("sent_at")
    moment = unix_time(sent_at) if isinstance(sent_at, str) else None
    return shift_of(moment[0], record_ms) if moment else 0


def _payload(item: ItemLines, path: str) -> _Payload | Rejected | None:
    """An item's payload, None if it is of no kind that is taken."""
    if item.type == _AGGREGATES:
        return Rejected(
            Reason.UNSUPPORTED,
            f"{path}: counts of many sessions in a minute, without device or times of their own",
            part=item.lines,
        )
    if item.type not in _READ:
        return None
    read = read_json(item.payload, MAX_BODY_BYTES, MAX_NESTING - _LEVELS)
    if isinstance(read, Rejected):
        return Rejected(read.reason, f"{path}: {read.detail}", part=item.lines)
    return _Payload(item.type, path, read, item.lines)


def _steps(
    payload: _Payload | Rejected, sdk: SentrySdk, told: ToldByEvents, clock: _Clock, first: int
) -> Iterator[_Step]:
    """What comes of an item; `first` is the index of the first of it."""
    if isinstance(payload, Rejected):
        path, lines = payload.detail.partition(":")[0], payload.part or b""
        fault = Rejected(payload.reason, payload.detail, first)
        yield _Step(Listed(path, ""), fault, SentrySource(path, lines))
        return
    tree, index = payload.read.tree, first
    mended = repairs_of(payload.read, head=tree.keys(), fields=None, listed="").head
    last: Mapping[str, Any] | None = None
    origin: _Origin | Rejected | None = None
    for path, source, fact, within in _facts_of(payload, sdk, told):
        if source is not last:
            last, origin = source, _origin(source, sdk, payload.type, path)
        assert origin is not None, "the first source is none that came before"
        outcome = _draft(fact, origin, path, index, clock)
        if mended and isinstance(outcome, Draft):
            outcome.event["repaired"] = bounded(
                f"{payload.path}.{place}"[:MAX_PLACE_CHARS] for place in mended
            )
        of_item = SentrySource(payload.path, payload.lines, payload.type, payload.read, within)
        yield _Step(Listed(path, fact.field), outcome, of_item)
        index += 1


class _Origin(NamedTuple):
    """Whose a fact is."""

    sender: Sender
    session_id: str
    is_session: bool
    """Whether its device is none, but a session that stands for one."""


def _origin(source: Mapping[str, Any], sdk: SentrySdk, kind: str, path: str) -> _Origin | Rejected:
    if kind == sessions.TYPE:
        named = session_id_of(source.get("sid"))
        if not named:
            return Rejected(Reason.MISSING_FIELD, f"{path}.sid: required, 1 to 128 characters")
    else:
        named = of_items.session_named(source)
    sender = sender_of(sdk, source, named, path, _NAMED_BY.get(kind, _OF_EVENTS))
    if isinstance(sender, Rejected):
        return sender
    session_id = named or sdk.session_id
    fault = rejected_id(session_id, f"{path}: its session", forbidden="") if session_id else None
    return fault or _Origin(sender, session_id, not sdk.is_mobile)


def _facts_of(
    payload: _Payload, sdk: SentrySdk, told: ToldByEvents
) -> Iterator[tuple[str, Mapping[str, Any], SentryFact, Within | None]]:
    """The facts of an item, with the path of what says them, what says whose they are, and where in a list of the item
    they are said."""
    tree, path = payload.read.tree, payload.path
    if payload.type == sessions.TYPE:
        for fact in sessions.facts_of(tree, sdk, told):
            yield path, tree, fact, None
    elif payload.type == _EVENT:
        yield path, tree, of_items.event_fact(tree, sdk), None
    elif payload.type == _TRANSACTION:
        yield path, tree, of_items.transaction_fact(tree), None
        spans = tree.get("spans")
        for number, span in enumerate(spans if isinstance(spans, list) else ()):
            request = of_items.request_fact(span) if isinstance(span, dict) else None
            if request is not None:
                yield f"{path}.spans[{number}]", tree, request, Within("spans", number)
    elif payload.type == _SPAN:
        # One alone, without a list, is a measurement (before version 11 of the SDK).
        streamed = tree.get("items")
        for number, span in enumerate(streamed if isinstance(streamed, list) else ()):
            streamed_fact = of_streamed.streamed_fact(span) if isinstance(span, dict) else None
            if streamed_fact is not None:
                yield f"{path}.items[{number}]", _as_payload(span), streamed_fact, Within("items", number)
    else:
        logs = tree.get("items")
        for number, log in enumerate(logs if isinstance(logs, list) else [tree]):
            if isinstance(log, dict):
                within = Within("items", number)
                yield f"{path}.items[{number}]", _as_payload(log), of_items.log_fact(log), within


def _as_payload(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the attributes of a log or a span say of whose it is, as the payload of an event or a session has it."""
    said = of_items.typed_attributes(told)
    return {
        "release": said.get("sentry.release"),
        "environment": said.get("sentry.environment"),
        "user": {"id": said.get("user.id")},
        "tags": {"session.id": said.get("session.id")},
        "contexts": {"device": {"id": said.get("device.id")}},
        "attrs": {"user_agent": said.get("user_agent.original")},
    }


def _draft(
    fact: SentryFact, origin: _Origin | Rejected, path: str, index: int, clock: _Clock
) -> Draft | Rejected:
    if isinstance(origin, Rejected):
        return Rejected(origin.reason, origin.detail, index)
    sender, attributes = origin.sender, fact.attributes
    moment = _moment(fact.stamp, f"{path}.{fact.field}", index)
    if isinstance(moment, Rejected):
        return moment
    stamp_ms, seq = moment
    time_ms = stamp_ms + clock.shift_ms
    if not (0 <= stamp_ms <= MAX_STAMP_MS and time_is_plausible(time_ms, clock.record_ms)):
        return rejected_time(time_ms, clock.record_ms, f"{path}.{fact.field}", index)
    if origin.is_session:
        attributes["device.id.source"] = "session"
    id_ = fact.id or hashed_id(
        sender.app_id, sender.device_id, stamp_ms * 1_000_000 + seq, fact.name, attributes=attributes
    )
    fault = rejected_id(id_, f"{path}: its id", index=index)
    if fault is not None:
        return fault
    native: dict[str, Any] = {"id": id_, "name": fact.name, "time": time_ms}
    if clock.shift_ms:
        native["raw_time"] = stamp_ms
    if seq:
        native["seq"] = seq
    if origin.session_id:
        native["session_id"] = origin.session_id
    native["attributes"] = attributes
    return Draft(index, sender, time_ms, native)


def _moment(stamp: Any, path: str, index: int) -> tuple[int, int] | Rejected:
    """Unix milliseconds and the nanoseconds beyond them, of RFC 3339 or of Unix seconds with microseconds at most."""
    if isinstance(stamp, str):
        moment = unix_time(stamp)
        if moment is not None:
            return moment
    elif isinstance(stamp, int | float) and not isinstance(stamp, bool):
        if abs(stamp) < 1e12:
            microseconds = round(stamp * 1_000_000)
            return microseconds // 1_000, microseconds % 1_000 * 1_000
    elif stamp is None:
        return Rejected(Reason.MISSING_FIELD, f"{path}: required, RFC 3339 or Unix seconds", index)
    return Rejected(Reason.INVALID_VALUE, f"{path}: RFC 3339 or Unix seconds", index)
