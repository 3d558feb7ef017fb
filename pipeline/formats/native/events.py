"""The events of a native envelope, twice: `decode` reads all that is stored, `arrivals_of` what the fold needs.

The second way is the shorter one; tests hold both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from pipeline.domain.event import RANK, Event
from pipeline.formats.checks import latest_of, rejected_id, rejected_seconds, rejected_time
from pipeline.formats.clocks import back_of, is_in_seconds, shift_of
from pipeline.formats.envelope import Envelope, NativeEvent
from pipeline.formats.limits import CLOCK_TOLERANCE_MS, MAX_TIME_MS, MIN_TIME_MS
from pipeline.formats.meaning import (
    RULES,
    Meaning,
    interpret,
    meaning_of_name,
    meaning_without_attributes,
)
from pipeline.formats.native.cleaner import AS_IT_CAME, UNWATCHED, Cleaner, HoldsPrivate, Watched
from pipeline.formats.native.reading import (
    NO_NOTES,
    Notes,
    Read,
    names_of,
    plain_envelope,
    read_closely,
    read_plain,
    texts_of,
)
from pipeline.formats.native.schema import NOTHING, WireEnvelope, WireEvent
from pipeline.formats.record_time import record_time_ms
from pipeline.formats.rejected import Reason, Rejected

Arrival = tuple[int, int, Sequence[Event]]
"""The events of one record of a device: its offset, its record time (Unix milliseconds), the events."""

_new = tuple.__new__
_loads = orjson.loads
_rule_of = RULES.get
_NO_ATTRIBUTES = (b"", b"null")


def decode(
    value: bytes | None, key: bytes | None, record_ms: int, cleaner: Cleaner = AS_IT_CAME
) -> Envelope | Rejected:
    """Read what the rules leave of one record; `record_ms` is the broker's record time, Unix milliseconds.

    A fault of the envelope (version, ids, limits, key, resource, user) refuses the record whole, a fault of an event
    that event alone; single values that are not JSON are repaired. Never raises because of the record; does not block.
    """
    if cleaner.has_own:
        value = cleaner.first(value)
    try:
        plain = read_plain(value, names_of(key), cleaner)
        if plain is not None:
            return _decoded(plain, record_ms, cleaner.watched)
    except (orjson.JSONDecodeError, HoldsPrivate):
        # Some part of it is not strict JSON: the thorough way mends that, or says why it cannot. Or it is to be
        # cleaned.
        plain = None
    read = read_closely(value, key, cleaner)
    return read if isinstance(read, Rejected) else _decoded(read, record_ms, UNWATCHED)


def _decoded(read: Read, record_ms: int, watched: Watched) -> Envelope:
    """The envelope of what was read. Raises `orjson.JSONDecodeError` if attributes are not strict JSON, and
    `HoldsPrivate`."""
    wire, indexes, faults, resource, user, notes = read
    events, refused, is_ahead = _interpreted(wire, indexes, record_ms, watched)
    repaired = 0
    if is_ahead or notes is not NO_NOTES:
        bad = {each.event_index for each in refused}
        places = [index for index in indexes or range(len(wire.events)) if index not in bad]
        repaired = _note(notes, places, events)
        if is_ahead:
            events, refused = _moved_back(events, places, refused, record_ms)
    if faults and refused:
        refused = sorted([*faults, *refused], key=_index)
    return Envelope(
        app_id=wire.app_id,
        device_id=wire.device_id,
        batch_id=wire.batch_id or "",
        sent_at=wire.sent_at,
        received_at_ms=record_ms,
        resource=resource,
        user=user,
        events=events,
        refused=refused or list(faults),
        repaired=repaired,
    )


def to_events(envelope: Envelope) -> list[Event]:
    """The events as the fold sees them, in the order of the envelope."""
    resource, user = envelope.resource, envelope.user
    return [
        Event(
            e.time_ms,
            RANK[e.kind],
            e.seq,
            e.id,
            e.kind,
            e.client_session_id,
            e.exit_reason,
            e.counters,
            resource,
            user,
            e.stated,
        )
        for e in envelope.events
    ]


def _interpreted(
    wire: WireEnvelope, indexes: Sequence[int] | None, record_ms: int, watched: Watched
) -> tuple[list[NativeEvent], list[Rejected], bool]:
    """The events that pass, what is refused, and whether one is ahead of its record."""
    shift_ms = 0 if wire.sent_at is None else shift_of(wire.sent_at, record_ms)
    latest_ms, punctual_ms = latest_of(record_ms), record_ms + CLOCK_TOLERANCE_MS
    is_ahead = False
    names, private = watched
    events: list[NativeEvent] = []
    refused: list[Rejected] = []
    for index, event in zip(indexes or range(len(wire.events)), wire.events, strict=True):
        found = understood(event, shift_ms, latest_ms, names, private)
        if found is None:
            refused.append(_fault_of_event(event, index, event.time + shift_ms, record_ms))
            continue
        time_ms, attributes, (kind, exit_reason, counters, stated) = found
        if time_ms > punctual_ms:
            is_ahead = True
        events.append(
            NativeEvent(
                event.id,
                event.name,
                time_ms,
                event.time,
                event.seq or 0,
                event.session_id or "",
                kind,
                exit_reason,
                counters,
                attributes,
                stated,
            )
        )
    return events, refused, is_ahead


def _note(notes: Notes, places: Sequence[int], events: Sequence[NativeEvent]) -> int:
    """Put what is noted into the events at these places; the number of those of which something was repaired."""
    for index, event in zip(places, events, strict=True):
        event.raw_time_ms = notes.raw_times.get(index, event.raw_time_ms)
        event.repaired = notes.repairs.of(index)
    return sum(1 for event in events if event.repaired)


def _moved_back(
    events: list[NativeEvent], places: Sequence[int], refused: list[Rejected], record_ms: int
) -> tuple[list[NativeEvent], list[Rejected]]:
    """The events, early enough for their record; what is before 2000 then is refused with the others."""
    back_ms = back_of(max(event.time_ms for event in events), record_ms)
    kept = []
    for index, event in zip(places, events, strict=True):
        event.time_ms -= back_ms
        if event.time_ms < MIN_TIME_MS:
            refused.append(rejected_time(event.time_ms, record_ms, f"events[{index}].time", index))
        else:
            kept.append(event)
    return kept, sorted(refused, key=_index)


def _fault_of_event(event: WireEvent, index: int, time_ms: int, record_ms: int) -> Rejected:
    path = f"events[{index}]"
    fault = rejected_id(event.id, f"{path}.id", index=index)
    if fault is not None:
        return fault
    attributes = bytes(event.attributes)
    if attributes[:1] != b"{" and attributes not in _NO_ATTRIBUTES:
        return Rejected(Reason.INVALID_TYPE, f"{path}.attributes: an object", index)
    if is_in_seconds(event.time):
        return rejected_seconds(event.time, f"{path}.time", index)
    return rejected_time(time_ms, record_ms, f"{path}.time", index)


def _index(rejected: Rejected) -> int:
    return -1 if rejected.event_index is None else rejected.event_index


def arrivals_of(
    key: bytes | None, fields: Sequence[Any], cleaner: Cleaner = AS_IT_CAME
) -> tuple[list[Arrival], int, int]:
    """What the records of one key hold; how many events (or whole records) were refused; and the latest time that was
    corrected, or may have been: of events that are later, time and stamp are the same. 0 if there is none.

    `fields` are offset, record time, value and headers (None: there are none) of the first record, then of the next.
    """
    arrivals: list[Arrival] = []
    refused = 0
    corrected: list[int] = []
    names = names_of(key)
    # Of the record before: most have the same resource and user, and to see that costs less than to look them up.
    raw_resource, raw_user, resource, user = NOTHING, NOTHING, "{}", ""
    each = iter(fields)
    watched, has_own = cleaner.watched, cleaner.has_own
    for offset, record_ms, value, headers in zip(each, each, each, each, strict=True):
        came_ms = record_time_ms(headers, record_ms) if headers else record_ms
        events = None
        if has_own:
            value = cleaner.first(value)  # noqa: PLW2901
        try:
            wire = plain_envelope(value, names)
            if wire is not None and (wire.resource != raw_resource or wire.user != raw_user):
                texts = texts_of(wire, cleaner)
                if texts is None:
                    wire = None
                else:
                    resource, user = texts
                    raw_resource, raw_user = wire.resource, wire.user
            if wire is not None:
                count, events = (
                    len(wire.events),
                    _events_of(wire, came_ms, resource, user, corrected, watched),
                )
        except (orjson.JSONDecodeError, HoldsPrivate):
            events = None  # As in `decode`.
        if events is None:
            read = read_closely(value, key, cleaner)
            if isinstance(read, Rejected):
                refused += 1
                continue
            wire, _, faults, resource, user, notes = read
            raw_resource, raw_user = wire.resource, wire.user
            count = len(wire.events) + len(faults)
            events = _events_of(wire, came_ms, resource, user, corrected, UNWATCHED)
            if notes.raw_times:
                corrected += _latest(events)
        refused += count - len(events)
        arrivals.append((offset, record_ms, events))
    return arrivals, refused, max(corrected) if corrected else 0


def _events_of(
    wire: WireEnvelope, record_ms: int, resource: str, user: str, corrected: list[int], watched: Watched
) -> list[Event]:
    """Those that pass; raises what `understood` does. Where it corrects times, the latest of
    them goes into `corrected`."""
    shift_ms = 0 if wire.sent_at is None else shift_of(wire.sent_at, record_ms)
    punctual_ms = record_ms + CLOCK_TOLERANCE_MS
    # With a clock that is off none takes the quick way: it does not see all that may be wrong with a time then.
    quick_ms = -1 if shift_ms or punctual_ms > MAX_TIME_MS else punctual_ms
    is_ahead = False
    looked_for = watched.names
    events = []
    for event in wire.events:
        id_, time_ms, attributes = event.id, event.time, event.attributes
        # What `understood` does, without a call and a tuple for each event.
        if MIN_TIME_MS <= time_ms <= quick_ms and "\0" not in id_:
            if attributes is NOTHING:
                kind, exit_reason, counters, stated = meaning_without_attributes(event.name)
            elif type(tree := _loads(bytes(attributes))) is dict:
                if looked_for.isdisjoint(tree):
                    # As `interpret`, without the call, and without a look for what none has.
                    rule = _rule_of(event.name)
                    kind, exit_reason, counters, stated = rule(tree) if rule else meaning_of_name(event.name)
                elif watched.private.isdisjoint(tree):
                    kind, exit_reason, counters, stated = interpret(event.name, tree)
                else:
                    raise HoldsPrivate
            elif tree is None:
                kind, exit_reason, counters, stated = meaning_without_attributes(event.name)
            else:
                continue
        elif found := understood(event, shift_ms, latest_of(record_ms), *watched):
            time_ms, _, (kind, exit_reason, counters, stated) = found
            if time_ms > punctual_ms:
                is_ahead = True
        else:
            continue
        events.append(
            _new(
                Event,
                (time_ms, RANK[kind], event.seq or 0, id_, kind, event.session_id or "", exit_reason,
                 counters, resource, user, stated),
            )
        )  # fmt: skip
    if not is_ahead:
        if shift_ms:
            corrected += _latest(events)
        return events
    back_ms = back_of(max(events)[0], record_ms)
    earlier = [event._replace(time_ms=event.time_ms - back_ms) for event in events]
    kept = [event for event in earlier if event.time_ms >= MIN_TIME_MS]
    corrected += _latest(kept)
    return kept


def _latest(events: Sequence[Event]) -> list[int]:
    """The latest time of some events; of none, nothing."""
    return [max(event.time_ms for event in events)] if events else []


def understood(
    event: WireEvent,
    shift_ms: int,
    latest_ms: int,
    names: frozenset[str] = UNWATCHED.names,
    private: frozenset[str] = UNWATCHED.private,
) -> tuple[int, bytes, Meaning] | None:
    """Corrected time, attributes and meaning of an event; None if it fails what typed decoding cannot see.

    Raises `orjson.JSONDecodeError` if the attributes are not strict JSON, and so the whole record is not either, and
    `HoldsPrivate` if one of the private names is among them.
    """
    time_ms, name = event.time + shift_ms, event.name
    if event.attributes is NOTHING:
        attributes, meaning = b"{}", meaning_without_attributes(name)
    else:
        attributes = bytes(event.attributes)
        tree = orjson.loads(attributes)
        if type(tree) is dict:
            if names.isdisjoint(tree):
                rule = _rule_of(name)
                meaning = rule(tree) if rule else meaning_of_name(name)
            elif private.isdisjoint(tree):
                meaning = interpret(name, tree)
            else:
                raise HoldsPrivate
        elif tree is None:
            attributes, meaning = b"{}", meaning_without_attributes(name)
        else:
            return None
    if not MIN_TIME_MS <= time_ms <= latest_ms or "\0" in event.id:
        return None
    if shift_ms and is_in_seconds(event.time):
        return None
    return time_ms, attributes, meaning
