"""Sessions, events, dead letters and ledger as rows of ClickHouse: one JSON object each (JSONEachRow).

The columns, in `pipeline.storage.columns`, are those of the tables. No function ends its bytes with a newline and
none holds one within a row, so `b"\\n".join` makes a block that can be cut at newlines.

Times are written in seconds with three decimals: ClickHouse reads that form digit by digit, without a float;
a bare integer would be read as seconds. Objects under resource_json and user_json go in as objects: a String
column takes their bytes as they stand, which spares escaping them here and unescaping them there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import orjson

from pipeline.domain.event import APPEARANCES, COUNTERS, VIEWS, AppState
from pipeline.domain.session import End, Session, session_id_text
from pipeline.formats.limits import FIRST_STORED_MS, LAST_STORED_MS
from pipeline.formats.stacks.crash_group import kind_of
from pipeline.storage.columns import EVENT_COLUMNS, SHOWN_COUNTERS
from pipeline.storage.crash_rows import FailureRow, SymbolsAsked, failures_of
from pipeline.storage.kept import EVER, Kept
from pipeline.storage.row_texts import (
    boolean,
    escaped,
    on_one_line,
    quoted,
    raw,
    resource_texts,
    seconds,
    text_of,
    user_texts,
)

if TYPE_CHECKING:
    from pipeline.formats.envelope import Envelope, NativeEvent


def session_row(
    app_id: str,
    device_id: str,
    session: Session,
    *,
    status: Literal["open", "closed"],
    revision: int,
    is_final: bool,
    arrived_at_ms: int,
    partition: int,
    offset: int,
    policy_version: int = 0,
) -> bytes:
    """The row of a session, and the value of its record on `sessions`.

    An open session with status `closed` is one written by silence: ended by inactivity at its latest event.
    `arrived_at_ms` is the record time of the device's latest record, Unix milliseconds.
    """
    # An open session has no end yet: the row shows how far it has come.
    ended_at_ms = session.last_ms if session.is_open else session.ended_at_ms
    end_reason = End.INACTIVITY if session.is_open and status == "closed" else session.end_reason
    own_id = session_id_text(app_id, device_id, session.first_event_id)
    stitched_id = (
        own_id
        if session.stitched_first_event_id == session.first_event_id
        else session_id_text(app_id, device_id, session.stitched_first_event_id)
    )
    return (
        f"{{{_identity(app_id, device_id, own_id, session.first_event_id)},"
        f'"status":"{status}","state":"{"foreground" if session.foreground else "background"}",'
        f'"start_reason":{quoted(session.start_reason)},"end_reason":{quoted(end_reason)},'
        f'"exit_reason":{quoted(session.exit_reason)},"cold_start":{boolean(session.cold_start)},'
        f'"started_at":{seconds(session.started_at_ms)},"ended_at":{seconds(ended_at_ms)},'
        f'"last_event_at":{seconds(session.last_ms)},"arrived_at":{seconds(arrived_at_ms)},'
        f'"duration_ms":{ended_at_ms - session.started_at_ms},"is_final":{boolean(is_final)},'
        f'"client_session_id":{quoted(session.client_session_id)},'
        f'"stitched_session_id":"{stitched_id}",'
        f'"stitched_index":{session.stitched_index},"user_id":{quoted(session.user_id)},'
        f'"user_ids":{orjson.dumps(session.user_ids).decode()},{user_texts(session.user).session_columns},'
        f'{resource_texts(session.resource).session_columns},"event_count":{session.event_count},'
        f"{_COUNTS % _shown_counters(session)},"
        f'"revision":{revision},"partition":{partition},"offset":{offset},"policy_version":{policy_version},'
        f'"is_deleted":0}}'
    ).encode()


def deleted_row(
    app_id: str,
    device_id: str,
    first_event_id: str,
    started_at_ms: int,
    *,
    revision: int,
    partition: int,
    offset: int,
    arrived_at_ms: int,
) -> bytes:
    """The row that takes a session back: its key, its place in the input, `is_deleted`; the rest is empty."""
    return (
        f"{{{_identity(app_id, device_id, session_id_text(app_id, device_id, first_event_id), first_event_id)},"
        f'"started_at":{seconds(started_at_ms)},"arrived_at":{seconds(arrived_at_ms)},'
        f'"revision":{revision},"partition":{partition},"offset":{offset},"is_deleted":1}}'
    ).encode()


class _Event(msgspec.Struct, array_like=True, gc=False):
    """Fields are those of an event in ENVELOPE_COLUMNS. Raw is JSON that came as JSON."""

    event_id: str
    time: msgspec.Raw
    raw_time: msgspec.Raw
    name: str
    kind: str
    seq: int
    client_session_id: str
    exit_reason: str
    counters: int
    stated: str
    attributes: msgspec.Raw
    repaired: tuple[str, ...]


class _EventLine(msgspec.Struct, gc=False):
    """Fields are ENVELOPE_COLUMNS but for `failures` and their symbols, of which nearly no envelope has any."""

    app_id: msgspec.Raw
    device_id: msgspec.Raw
    received_at: msgspec.Raw
    user_id: msgspec.Raw
    resource_json: msgspec.Raw
    user_json: msgspec.Raw
    app_version: msgspec.Raw
    topic: msgspec.Raw
    partition: int
    offset: int
    event_index: int
    events: list[_Event]
    stored_on: str
    retention_days: int


class _FailingLine(_EventLine, gc=False):
    """Fields are ENVELOPE_COLUMNS."""

    failures: list[FailureRow]
    failure_symbols: list[list[SymbolsAsked]]


_FAILED = sum(1 << COUNTERS.index(name) for name in ("crash_count", "anr_count", "exception_count"))
"""Bits of an event's counters. Whatever has a group counts as one of these."""
_STATED = [state.label for state in AppState]
MAX_LONE_KEY_BYTES = 1_000
"""Of the key of a refused record whose value is left out. The key of a device is shorter."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_events = msgspec.json.Decoder(list[list[msgspec.Raw]]).decode
_decode_failures = msgspec.json.Decoder(list[FailureRow]).decode
_decode_symbols = msgspec.json.Decoder(list[msgspec.Raw]).decode
_OF_AN_EVENT = _Event.__struct_fields__
_ROW_BYTES = 3_000
"""At most, of a row without resource, user, version and what the event itself says: names, ids, times."""


def events_at_once(envelope: Envelope, max_bytes: int) -> int:
    """Of how many events of an envelope the rows may be made at once, if they are to take no more than `max_bytes`.

    At least one. All that the events say themselves comes on top: it is no more than the record.
    """
    count = len(envelope.events)
    # A character is at most four bytes; the version of the app may be all of the resource, and is there again.
    if count * (_ROW_BYTES + 8 * len(envelope.resource) + 4 * len(envelope.user)) <= max_bytes:
        return count
    resource, user = len(envelope.resource.encode()), len(envelope.user.encode())
    version = len(resource_texts(envelope.resource).app_version.encode())
    return max(1, min(count, max_bytes // (_ROW_BYTES + resource + user + version)))


def event_line(
    envelope: Envelope,
    *,
    topic: str,
    partition: int,
    offset: int,
    start: int = 0,
    stop: int | None = None,
    kept: Kept = EVER,
) -> bytes:
    """The row of `z_envelope_feed` of an envelope and its events; empty if it has none.

    With `start` and `stop` that of some of its events: in ClickHouse each has the user again, and all may be too much
    at once (`events_at_once`). `event_index` counts the events that the envelope still has.
    Attributes go in as they came: in ClickHouse every value is text, a nested one its JSON text, null the empty text.
    """
    resource, user = resource_texts(envelope.resource), user_texts(envelope.user)
    made, failing = _written(envelope.events if stop is None else envelope.events[start:stop])
    if not made:
        return b""
    facts = (
        raw(quoted(envelope.app_id)),
        raw(quoted(envelope.device_id)),
        raw(seconds(envelope.received_at_ms)),
        raw(user.user_id),
        raw(envelope.resource),
        raw(envelope.user or '""'),
        raw(resource.app_version),
        raw(quoted(topic)),
        partition,
        offset,
        start,
        made,
        *kept,
    )
    return _encode(_FailingLine(*facts, *failures_of(envelope, failing)) if failing else _EventLine(*facts))


def _written(events: list[NativeEvent]) -> tuple[list[_Event], list[tuple[int, str, NativeEvent]]]:
    """The events as they are written; and of those that have a group the place, the kind, and the event."""
    made: list[_Event] = []
    failing: list[tuple[int, str, NativeEvent]] = []
    for event in events:
        time = raw(seconds(event.time_ms))
        made.append(
            _Event(
                event.id,
                time,
                time if event.raw_time_ms == event.time_ms else raw(seconds(event.raw_time_ms)),
                event.name,
                event.kind.label,
                event.seq,
                event.client_session_id,
                event.exit_reason,
                event.counters,
                _STATED[event.stated],
                msgspec.Raw(on_one_line(event.attributes)),
                event.repaired,
            )
        )
        if event.counters & _FAILED and (kind := kind_of(event.name, event.kind.label)):
            failing.append((len(made), kind, event))
    return made, failing


def spread_of(envelope: Envelope, count: int) -> int:
    """The bytes that so many events have in ClickHouse beyond those of their line: each has device and user."""
    user = envelope.user
    return (count - 1) * (len(envelope.device_id) + len(user if user.isascii() else user.encode()))


def unpacked(line: bytes) -> bytes:
    """The rows of `z_event_feed` that are a row of `z_envelope_feed`, by newlines: value by value the same bytes."""
    head = _decode(line)
    first, events = int(bytes(head.pop("event_index"))), _decode_events(head.pop("events"))
    found = _decode_failures(head.pop("failures", b"[]"))
    asked = _decode_symbols(head.pop("failure_symbols", b"[]"))
    # Each stands alone in its row.
    failures = {
        each.place: ([msgspec.structs.replace(each, place=1)], [files])
        for each, files in zip(found, asked, strict=True)
    }
    rows = []
    for index, event in enumerate(events, first):
        told = {**head, **dict(zip(_OF_AN_EVENT, event, strict=True)), "event_index": index}
        if failure := failures.get(index - first + 1):
            told["failures"], told["failure_symbols"] = failure
        rows.append(_encode({name: told[name] for name, _ in EVENT_COLUMNS if name in told}))
    return b"\n".join(rows)


def dead_letter_row(
    *,
    time_ms: int,
    reason: str,
    detail: str,
    topic: str,
    partition: int,
    offset: int,
    event_index: int | None,
    key: bytes | None,
    value: bytes | None,
    is_left_out: bool = False,
    kept: Kept = EVER,
) -> bytes:
    """The row of a refused record or event, key and value byte for byte (absent ones as no bytes).

    `time_ms` is the record time of the refused record; `event_index` is None if all of it was refused. With
    `is_left_out` the row has no value, and of a key no more than the beginning.
    """
    size = len(value or b"")
    if is_left_out:
        key, value = key and key[:MAX_LONE_KEY_BYTES], None
    head = (
        f'{{"time":{seconds(time_ms)},"reason":{quoted(reason)},"detail":{orjson.dumps(detail).decode()},'
        f'"topic":{quoted(topic)},"partition":{partition},"offset":{offset},'
        f'"event_index":{-1 if event_index is None else event_index},"key":"'
    ).encode()
    tail = f'","bytes":{size},"is_left_out":{boolean(is_left_out)},{kept.columns}}}'.encode()
    return b"".join((head, escaped(key or b""), b'","value":"', escaped(value or b""), tail))


def event_copy_row(
    app_id: str,
    device_id: str,
    event_id: str,
    *,
    raw_time_ms: int,
    offset: int,
    event_index: int,
    stored_on: str,
    retention_days: int,
) -> bytes:
    """The row that takes a copy of an event back: the copy's own key and place, as `event_rows` has them.

    The row lasts for so many days from the day on, and that has to be as long as the copy; 0 is for ever.
    """
    return (
        f'{{"app_id":{quoted(app_id)},"device_id":{quoted(device_id)},"event_id":{text_of(event_id)},'
        f'"raw_time":{seconds(raw_time_ms)},"offset":{offset},"event_index":{event_index},'
        f'"stored_on":{text_of(stored_on)},"retention_days":{retention_days}}}'
    ).encode()


def ledger_row(
    topic: str,
    partition: int,
    offset: int,
    *,
    received: int,
    refused: int,
    sampled_out: int = 0,
    erased: int = 0,
    app_id: str = "",
    kept: Kept = EVER,
) -> bytes:
    """The ledger's row of one record: events in it, how many of them were refused, are of a device that is sampled
    out, or were erased, and until when the others are kept.

    A record that cannot be decoded counts as one received and one refused, of no app.
    """
    return (
        f'{{"topic":{quoted(topic)},"partition":{partition},"offset":{offset},'
        f'"received":{received},"refused":{refused},"sampled_out":{sampled_out},"erased":{erased},'
        f'"app_id":{quoted(app_id)},{kept.columns}}}'
    ).encode()


def policy_version_row(
    version: int, partition: int, offset: int, *, from_ms: int, document: bytes, published_ms: int
) -> bytes:
    """The row of `z_policy_version_rows`: a version of the policies that came with a record."""
    # A time that ClickHouse cannot hold is before or after all that it can.
    holds_from = seconds(min(max(from_ms, FIRST_STORED_MS), LAST_STORED_MS))
    return (
        f'{{"version":{version},"partition":{partition},"offset":{offset},"holds_from":{holds_from},'
        f'"document":{orjson.dumps(document.decode()).decode()},"published_at":{seconds(published_ms)},'
        f'"came_first":{(1 << 62) - offset}}}'
    ).encode()


def with_kept(row: bytes, kept: Kept, sample_rate: float = 1.0) -> bytes:
    """A session row that says until when it is kept, and of how many devices it is one. What is not JSON object stays
    as it is, to be refused as that."""
    if not row.endswith(b"}"):
        return row
    return b'%b,%b,"sample_rate":%b}' % (row[:-1], kept.columns.encode(), repr(sample_rate).encode())


_COUNTS = ",".join(f'"{name}":%d' for name in SHOWN_COUNTERS)


def _shown_counters(session: Session) -> tuple[int, ...]:
    counters = session.counters.copy()
    counters[VIEWS] = session.view_count
    del counters[APPEARANCES]
    return tuple(counters)


def _identity(app_id: str, device_id: str, session_id: str, first_event_id: str) -> str:
    return (
        f'"app_id":{quoted(app_id)},"device_id":{text_of(device_id)},'
        f'"session_id":"{session_id}","first_event_id":{text_of(first_event_id)}'
    )
