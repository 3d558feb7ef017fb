"""Embrace's envelopes (`embrace-events`), translated into native ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.formats.checks import latest_of, rejected_time, time_is_plausible
from pipeline.formats.cut_out import with_parts
from pipeline.formats.embrace.facts import (
    NS,
    EmbraceFact,
    EmbraceLog,
    EmbraceMoment,
    EmbraceSpan,
    whole_number,
)
from pipeline.formats.embrace.logs import fact_of_log
from pipeline.formats.embrace.parts import LifecycleWords
from pipeline.formats.embrace.sender import platform_of, sender_of
from pipeline.formats.embrace.spans import facts_of_span
from pipeline.formats.format import NOTHING_BESIDE, Beside
from pipeline.formats.limits import MAX_BODY_BYTES, MAX_NESTING, MIN_TIME_MS
from pipeline.formats.mending import Read, bounded_place, read_json, repairs_of
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.strict_json import dumps
from pipeline.formats.translation import Draft, Sender, Translation, pack, set_right

MAX_PARTS = 20_000
"""Spans, events of spans and log records in an envelope: bounds the time that one record may take."""

_SHARED = ("resource", "metadata", "version", "type")
"""What an envelope says once for all its parts."""
_LISTS = ("spans", "span_snapshots", "logs")
_NO_PARENT = ("", "0" * 16)
_FIRST_NS = MIN_TIME_MS * NS


class _Part(NamedTuple):
    """A span or a log record, and where it stands."""

    path: str
    list: str
    """Its name, one of `_LISTS`."""
    value: Any

    @property
    def is_snapshot(self) -> bool:
        return self.list == "span_snapshots"

    @property
    def is_log(self) -> bool:
        return self.list == "logs"


def decode(value: bytes | None, record_ms: int, beside: Beside = NOTHING_BESIDE, /) -> Translation | Rejected:
    """The native envelopes of one of Embrace's; `record_ms` is the broker's record time, Unix milliseconds.

    One bad span or log record does not condemn its envelope: it is in `refused`, with its index among all of the
    envelope's spans, snapshots and log records. A Rejected is for the whole. What is translated here is never refused
    by the native decoder at the same record time. Never raises because of what it reads; does not block.
    """
    read = read_json(value, MAX_BODY_BYTES, MAX_NESTING)
    if isinstance(read, Rejected):
        return read
    parts = _parts_of(read.tree)
    if isinstance(parts, Rejected):
        return parts
    resource, metadata = (_facts(read.tree.get(name)) for name in ("resource", "metadata"))
    sender = sender_of(resource, metadata, beside)
    if isinstance(sender, Rejected):
        return sender
    made = _Made(record_ms, platform_of(resource), sender)
    for index, part in enumerate(parts):
        made.add(index, part)
    if read.otherwise is not None:
        _say_what_was_repaired(made.drafts, parts, read)
    outgoing, misdated = set_right(made.drafts, record_ms, "time_unix_nano")
    packed = pack(outgoing)
    placed = [_placed(each, parts) for each in misdated + packed.refused]
    refused = sorted(made.refused + placed, key=lambda each: each.event_index or 0)
    whole = Translation(packed.records, refused, packed.is_full)
    return with_parts(whole, lambda some: _cut_out(read.tree, parts, some))


def _cut_out(tree: dict[str, Any], parts: list[_Part], indexes: Sequence[int]) -> bytes | None:
    """The envelope with these of its parts alone; None if they are all of them."""
    if len(indexes) == len(parts):
        return None
    data: dict[str, list[Any]] = {}
    for index in indexes:
        data.setdefault(parts[index].list, []).append(parts[index].value)
    return dumps({**{name: tree[name] for name in _SHARED if name in tree}, "data": data})


def _facts(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parts_of(tree: dict[str, Any]) -> list[_Part] | Rejected:
    data = tree.get("data")
    if data is None:
        return Rejected(Reason.MISSING_FIELD, "data: required, an object of spans or logs")
    if not isinstance(data, dict):
        return Rejected(Reason.INVALID_TYPE, "data: an object of spans or logs")
    parts: list[_Part] = []
    count = 0
    for name in _LISTS:
        some = data.get(name)
        if some is None:
            continue
        if not isinstance(some, list):
            return Rejected(Reason.INVALID_TYPE, f"data.{name}: an array")
        for index, each in enumerate(some):
            parts.append(_Part(f"data.{name}[{index}]", name, each))
            events = each.get("events") if isinstance(each, dict) else None
            count += 1 + (len(events) if isinstance(events, list) else 0)
    if not parts:
        return Rejected(Reason.NO_EVENTS, "data: at least one span, snapshot of a span or log record")
    if count > MAX_PARTS:
        return Rejected(
            Reason.TOO_MANY_EVENTS,
            f"data: at most {MAX_PARTS} spans, events of spans and log records, not {count}",
        )
    return parts


class _Made:
    """What the parts of an envelope come to."""

    def __init__(self, record_ms: int, platform: LifecycleWords, sender: Sender) -> None:
        self._record_ms = record_ms
        self._latest_ms = latest_of(record_ms)
        self._platform = platform
        self._sender = sender
        self.drafts: list[Draft] = []
        self.refused: list[Rejected] = []

    def add(self, index: int, part: _Part) -> None:
        """Read a part; it comes to some drafts, and to refusals of what is wrong with it."""
        if not isinstance(part.value, dict):
            self.refused.append(Rejected(Reason.INVALID_TYPE, f"{part.path}: an object", index))
            return
        try:
            facts = [fact_of_log(self._log(part))] if part.is_log else self._facts_of_span(index, part)
        except _Fault as fault:
            self.refused.append(Rejected(fault.reason, fault.detail, index))
            return
        for fact in facts:
            self._draft(index, part, fact)

    def _draft(self, index: int, part: _Part, fact: EmbraceFact) -> None:
        time_ms, seq = divmod(fact.time_ns, NS)
        if not MIN_TIME_MS <= time_ms <= self._latest_ms:
            self.refused.append(rejected_time(time_ms, self._record_ms, part.path, index))
            return
        native: dict[str, object] = {"id": fact.id, "name": fact.name, "time": time_ms}
        if seq:
            native["seq"] = seq
        if fact.session:
            native["session_id"] = fact.session
        native["attributes"] = fact.attributes
        self.drafts.append(Draft(index, self._sender, time_ms, native))

    def _log(self, part: _Part) -> EmbraceLog:
        told = part.value
        number = whole_number(told.get("severity_number"))
        severity = told.get("severity_text")
        body = told.get("body")
        return EmbraceLog(
            _required_time(told, "time_unix_nano", part.path, self._record_ms),
            number if number is not None and 0 < number <= 24 else 0,
            severity if isinstance(severity, str) else "",
            body if isinstance(body, str) else _as_text(body),
            _attributes(told, part.path),
        )

    def _facts_of_span(self, index: int, part: _Part) -> list[EmbraceFact]:
        told = part.value
        start_ns = _required_time(told, "start_time_unix_nano", part.path, self._record_ms)
        ids = [told.get(name) for name in ("trace_id", "span_id", "parent_span_id")]
        trace_id, span_id, parent = (each if isinstance(each, str) else "" for each in ids)
        if not span_id:
            raise _Fault(Reason.MISSING_FIELD, f"{part.path}.span_id: required, a string")
        end_ns = 0 if part.is_snapshot else whole_number(told.get("end_time_unix_nano")) or 0
        name, status = told.get("name"), told.get("status")
        span = EmbraceSpan(
            trace_id,
            span_id,
            "" if parent in _NO_PARENT else parent,
            name if isinstance(name, str) and name else "unnamed",
            start_ns,
            max(0, end_ns),
            isinstance(status, str) and status.lower() == "error",
            _attributes(told, part.path),
            list(self._span_events(index, part)),
        )
        return facts_of_span(span, self._platform)

    def _span_events(self, index: int, part: _Part) -> Iterator[EmbraceMoment | None]:
        events = part.value.get("events")
        if not isinstance(events, list):
            return
        for position, told in enumerate(events):
            path = f"{part.path}.events[{position}]"
            try:
                if not isinstance(told, dict):
                    raise _Fault(Reason.INVALID_TYPE, f"{path}: an object")
                field = "timestamp" if "timestamp" in told else "time_unix_nano"
                time_ns = _required_time(told, field, path, self._record_ms)
                name = told.get("name")
                yield EmbraceMoment(
                    name if isinstance(name, str) and name else "unnamed", time_ns, _attributes(told, path)
                )
            except _Fault as fault:
                self.refused.append(Rejected(fault.reason, fault.detail, index))
                yield None


class _Fault(Exception):
    """What is wrong with a part."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def _required_time(told: dict[str, Any], field: str, path: str, record_ms: int) -> int:
    value = told.get(field)
    if value is None:
        raise _Fault(Reason.MISSING_FIELD, f"{path}.{field}: required, Unix nanoseconds")
    time_ns = whole_number(value)
    if time_ns is None:
        raise _Fault(Reason.INVALID_TYPE, f"{path}.{field}: Unix nanoseconds, a number or its text")
    if not time_is_plausible(time_ns // NS, record_ms):
        fault = rejected_time(time_ns // NS, record_ms, f"{path}.{field}", 0)
        unit = f" ({time_ns} as Unix nanoseconds)" if time_ns < _FIRST_NS else ""
        raise _Fault(fault.reason, fault.detail + unit)
    return time_ns


def _attributes(told: dict[str, Any], path: str) -> dict[str, Any]:
    """The attributes by name, the last of a name; what is not text, number or truth is its JSON as text."""
    pairs = told.get("attributes")
    if pairs is None:
        return {}
    try:
        found = {pair["key"]: pair["value"] for pair in pairs}
    except (TypeError, KeyError):
        found = None
    if found is None or not all(type(name) is str for name in found) or not isinstance(pairs, list):
        raise _Fault(Reason.INVALID_TYPE, f"{path}.attributes: an array of objects with key and value")
    for name, value in found.items():
        if type(value) is not str:
            found[name] = value if isinstance(value, int | float) else _as_text(value)
    if None in found.values():
        return {name: value for name, value in found.items() if value is not None}
    return found


def _as_text(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else dumps(value).decode()


def _placed(fault: Rejected, parts: list[_Part]) -> Rejected:
    """A fault of a native event, with the place of what it was made of."""
    assert fault.event_index is not None
    here, path = f"events[{fault.event_index}]", parts[fault.event_index].path
    return Rejected(fault.reason, fault.detail.replace(here, path, 1), fault.event_index)


def _say_what_was_repaired(drafts: list[Draft], parts: list[_Part], read: Read) -> None:
    """Write to each event the places of its part, and of what it shares with all others, that are mended."""
    names = [name for name in _LISTS if isinstance(read.tree["data"].get(name), list)]
    one, other = (
        {**tree, "events": [each for name in names for each in tree["data"][name]]}
        for tree in (read.tree, read.otherwise or {})
    )
    repairs = repairs_of(Read(b"", one, other), head=("resource", "metadata"), fields=None)
    for draft in drafts:
        if places := repairs.of(draft.place):
            here, path = f"events[{draft.place}]", parts[draft.place].path
            draft.event["repaired"] = [
                bounded_place(path + place[len(here) :]) if place.startswith(here) else place
                for place in places
            ]
