"""Device state <-> bytes: versioned MessagePack arrays with a table of strings.

Byte 0 is the version. Old versions decode forever; this program writes `VERSION`, or, while workers that only read an
older one are about, one of `ENCODERS`. Resources, users and SDK
session ids repeat from event to event, so they are stored once and referred to by number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from pipeline.domain.event import COUNTERS, RANK, Event, Kind
from pipeline.domain.fold_state import AppState, FoldState
from pipeline.domain.session import Session
from pipeline.domain.stitching import Stitched
from pipeline.wire.device_state import DeviceState, Report, Write, Written

VERSION = 1

_encode = msgspec.msgpack.Encoder().encode

_Ref = Annotated[int, msgspec.Meta(ge=0)]
_Counts = Annotated[list[int], msgspec.Meta(min_length=len(COUNTERS), max_length=len(COUNTERS))]
_SessionRow = tuple[
    str, int, _Ref, bool, _Ref, int, int, _Ref, _Ref, bool, _Ref, _Ref, int, _Counts, str, int
]  # fmt: skip
_StitchedRow = tuple[str, int, int, int, int | None, bool]
_FoldRow = tuple[_SessionRow | None, _SessionRow | None, int, _StitchedRow | None]
_EventRow = tuple[
    int, _Ref, int, str, _Ref, _Ref, Annotated[int, msgspec.Meta(ge=0, lt=1 << len(COUNTERS))], _Ref, _Ref
]  # fmt: skip


class _Layout(msgspec.Struct, array_like=True, gc=False):
    """Version 1, field by field. Numbers named `*_ref` point into `strings`."""

    strings: list[str]
    applied_offset: int
    arrived_ms: int
    floor: tuple[int, int, int, str] | None
    checkpoint: _FoldRow
    head: _FoldRow | None
    """Absent while the tail is empty: then it equals the checkpoint."""
    tail: list[_EventRow]
    written: list[tuple[str, bytes, int, int, bool, int]]
    outbox: list[tuple[_SessionRow, int, bool]]


_decode = msgspec.msgpack.Decoder(_Layout).decode


class UnknownStateVersion(ValueError):
    """The value was written by a newer program; raised, since to go on would lose what it says."""


def encode(state: DeviceState) -> bytes:
    """A state as bytes. The same state gives the same bytes."""
    refs: dict[str, int] = {}

    def ref(text: str) -> int:
        return refs.setdefault(text, len(refs))

    tail = [
        (e.time_ms, int(e.kind), e.seq, e.id, ref(e.client_session_id), ref(e.exit_reason), e.counters,
         ref(e.resource), ref(e.user))
        for e in state.tail
    ]  # fmt: skip
    layout = _Layout(
        strings=[],
        applied_offset=state.applied_offset,
        arrived_ms=state.arrived_ms,
        floor=state.floor,
        checkpoint=_fold_row(state.checkpoint, ref),
        head=_fold_row(state.head, ref) if state.tail else None,
        tail=tail,
        written=[
            (first_id, w.digest, w.started_at_ms, int(w.report), w.is_final, w.at_ms)
            for first_id, w in state.written.items()
        ],
        outbox=[(_session_row(w.session, ref), int(w.report), w.is_final) for w in state.outbox],
    )
    layout.strings = list(refs)
    return bytes((VERSION,)) + _encode(layout)


def decode(value: bytes) -> DeviceState:
    """The state that `encode` was given.

    Raises `UnknownStateVersion` for a version this program does not know, `msgspec.DecodeError` for a damaged
    value: both are terminal for the worker, since state is never guessed.
    """
    layout = _layout(value)
    try:
        return _state(layout)
    except (IndexError, ValueError) as error:
        raise msgspec.DecodeError(f"a damaged state: {error}") from error


def _state(layout: _Layout) -> DeviceState:
    """Raises IndexError for a reference to nowhere, ValueError for a number that names nothing."""
    strings = layout.strings
    if (layout.head is None) != (not layout.tail):
        raise ValueError("the fold after the tail is there if, and only if, there is a tail")
    tail = [
        Event(time_ms, RANK[kind], seq, id_, _KINDS[kind], strings[client], strings[exit_], counters,
              strings[resource], strings[user])
        for time_ms, kind, seq, id_, client, exit_, counters, resource, user in layout.tail
    ]  # fmt: skip
    checkpoint = _fold_state(layout.checkpoint, strings)
    return DeviceState(
        checkpoint=checkpoint,
        floor=layout.floor,
        tail=tail,
        head=_fold_state(layout.head, strings) if layout.head else checkpoint.copy(),
        written={
            first_id: Written(digest, started, Report(report), final, at)
            for first_id, digest, started, report, final, at in layout.written
        },
        outbox=[Write(_session(row, strings), Report(r), final) for row, r, final in layout.outbox],
        applied_offset=layout.applied_offset,
        arrived_ms=layout.arrived_ms,
    )


def applied_offset(value: bytes) -> int:
    """How far an encoded state reaches, without building it. Raises as `decode` does."""
    return _layout(value).applied_offset


ENCODERS: dict[int, Callable[[DeviceState], bytes]] = {1: encode}
"""By version. One stays for as long as workers may be about that read no newer one: one release."""


def encoder(version: int) -> Callable[[DeviceState], bytes]:
    """Writes a version, 0 for the newest. Raises `UnknownStateVersion`."""
    if version and version not in ENCODERS:
        known = ", ".join(str(number) for number in sorted(ENCODERS))
        raise UnknownStateVersion(f"state version {version} cannot be written, only {known}")
    return ENCODERS[version or VERSION]


def session_bytes(session: Session) -> bytes:
    """A session as bytes, for comparing what two rows would say."""
    return _encode(_session_row(session, lambda text: text))


def _layout(value: bytes) -> _Layout:
    if not value or value[0] != VERSION:
        raise UnknownStateVersion(f"state version {value[0] if value else 'missing'}, known is {VERSION}")
    try:
        return _decode(memoryview(value)[1:])
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"a damaged state: {error}") from error


_KINDS = tuple(Kind)


def _session_row(s: Session, ref: Any) -> Any:
    return (
        s.first_event_id, s.started_at_ms, ref(str(s.start_reason)), s.foreground, ref(s.resource), s.last_ms,
        s.ended_at_ms, ref(str(s.end_reason)), ref(s.exit_reason), s.cold_start, ref(s.client_session_id),
        ref(s.user), s.event_count, s.counters, s.stitched_first_event_id, s.stitched_index,
    )  # fmt: skip


def _session(row: _SessionRow, strings: list[str]) -> Session:
    (first_id, started, start_reason, foreground, resource, last, ended, end_reason, exit_reason, cold,
     client, user, count, counters, stitched_first, stitched_index) = row  # fmt: skip
    return Session(
        first_id, started, strings[start_reason], foreground, strings[resource], last, ended,
        strings[end_reason], strings[exit_reason], cold, strings[client], strings[user], count, counters,
        stitched_first, stitched_index,
    )  # fmt: skip


def _fold_row(f: FoldState, ref: Any) -> _FoldRow:
    stitched = f.stitched
    return (
        _session_row(f.open, ref) if f.open else None,
        _session_row(f.prev, ref) if f.prev else None,
        int(f.app_state),
        (
            stitched.first_event_id,
            stitched.started_at_ms,
            stitched.members,
            stitched.any_end_ms,
            stitched.foreground_end_ms,
            stitched.ended_manually,
        )
        if stitched
        else None,
    )


def _fold_state(row: _FoldRow, strings: list[str]) -> FoldState:
    opened, prev, app_state, stitched = row
    return FoldState(
        _session(opened, strings) if opened else None,
        _session(prev, strings) if prev else None,
        AppState(app_state),
        Stitched(*stitched) if stitched else None,
    )
