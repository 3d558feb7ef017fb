"""Sessions and the fold's state as MessagePack arrays, with texts by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec

from pipeline.domain.event import COUNTERS, AppState
from pipeline.domain.fold_state import MAX_KNOWN, FoldState
from pipeline.domain.session import MAX_USER_IDS, Session, note_user
from pipeline.domain.stitching import Stitched
from pipeline.state.device_state import DeviceState, Report, Write, Written
from pipeline.state.tail import Ref

_COUNTERS, _FIRST_COUNTERS = len(COUNTERS), 8
"""Counters are added behind the others, and a state from before one was has counted none: 8 is what there was first."""
_Counts = Annotated[list[int], msgspec.Meta(min_length=_FIRST_COUNTERS, max_length=_COUNTERS)]


class SessionRow(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A session as it is encoded. What has a default is not in states from before version 3."""

    first_event_id: str
    started_at_ms: int
    start_reason: Ref
    foreground: bool
    resource: Ref
    last_ms: int
    ended_at_ms: int
    end_reason: Ref
    exit_reason: Ref
    cold_start: bool
    client_session_id: Ref
    user: Ref
    event_count: int
    counters: _Counts
    stitched_first_event_id: str
    stitched_index: int
    user_id: Ref | None = None
    user_ids: Annotated[list[Ref], msgspec.Meta(max_length=MAX_USER_IDS)] = []


StitchedRow = tuple[str, int, int, int, int | None, bool]


class FoldRow(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """The fold's state as it is encoded. What has a default is not in states from before version 3."""

    open: SessionRow | None
    prev: SessionRow | None
    app_state: int
    stitched: StitchedRow | None
    known: Annotated[list[Ref], msgspec.Meta(max_length=MAX_KNOWN)] | None = None
    shown_ms: int | None = None


WrittenRow = tuple[str, bytes, int, int, bool, int]
WriteRow = tuple[SessionRow, int, bool]

_encode = msgspec.msgpack.Encoder().encode
_decode_fold = msgspec.msgpack.Decoder(FoldRow).decode


def session_bytes(session: Session) -> bytes:
    """A session as bytes, for comparing what two rows would say."""
    return _encode(session_row(session, lambda text: text))


def session_row(s: Session, ref: Callable[[str], Any]) -> tuple[Any, ...]:
    """The fields of a SessionRow; `ref` gives the number of a text."""
    return (
        s.first_event_id, s.started_at_ms, ref(str(s.start_reason)), s.foreground, ref(s.resource), s.last_ms,
        s.ended_at_ms, ref(str(s.end_reason)), ref(s.exit_reason), s.cold_start, ref(s.client_session_id),
        ref(s.user), s.event_count, s.counters, s.stitched_first_event_id, s.stitched_index,
        ref(s.user_id), list(map(ref, s.user_ids)),
    )  # fmt: skip


def session(row: SessionRow, texts: Sequence[str]) -> Session:
    """The session of `session_row`. Raises LookupError for a number without a text."""
    counters = row.counters
    if len(counters) < _COUNTERS:
        counters += [0] * (_COUNTERS - len(counters))
    found = Session(
        row.first_event_id, row.started_at_ms, texts[row.start_reason], row.foreground, texts[row.resource],
        row.last_ms, row.ended_at_ms, texts[row.end_reason], texts[row.exit_reason], row.cold_start,
        texts[row.client_session_id], texts[row.user], row.event_count, counters, row.stitched_first_event_id,
        row.stitched_index,
    )  # fmt: skip
    if row.user_id is not None:
        found.user_id, found.user_ids = texts[row.user_id], [texts[number] for number in row.user_ids]
    elif found.user:
        # Before version 3 the last user was all that was kept.
        note_user(found, found.user)
    return found


def fold_row(f: FoldState, ref: Callable[[str], int]) -> tuple[Any, ...]:
    """The fields of a FoldRow."""
    stitched = f.stitched
    return (
        session_row(f.open, ref) if f.open else None,
        session_row(f.prev, ref) if f.prev else None,
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
        list(map(ref, f.known)),
        f.shown_ms,
    )


def fold_state(row: FoldRow, texts: Sequence[str]) -> FoldState:
    """The state of `fold_row`. Raises LookupError for a number without a text, ValueError for an unknown app state."""
    found = FoldState(
        session(row.open, texts) if row.open else None,
        session(row.prev, texts) if row.prev else None,
        AppState(row.app_state),
        Stitched(*row.stitched) if row.stitched else None,
        shown_ms=row.shown_ms,
    )
    if row.known is not None:
        found.known = tuple(texts[number] for number in row.known)
    else:
        # Before version 3 none were kept, but for those that the sessions have.
        found.known = tuple(
            dict.fromkeys(held.client_session_id for held in found.held if held.client_session_id)
        )
    return found


def checkpoint(state: DeviceState) -> FoldState:
    """The fold's state before a device's tail, to be changed in place. Raises `msgspec.DecodeError` if damaged."""
    if isinstance(state.checkpoint, bytes):
        try:
            state.checkpoint = fold_state(_decode_fold(state.checkpoint), list(state.strings))
        except (LookupError, ValueError) as fault:
            raise msgspec.DecodeError(f"a damaged checkpoint: {fault}") from fault
    return state.checkpoint


def written_rows(state: DeviceState) -> list[WrittenRow]:
    """What was written of a device's sessions, as it is encoded."""
    return [
        (first_id, w.digest, w.started_at_ms, int(w.report), w.is_final, w.at_ms)
        for first_id, w in state.written.items()
    ]


def write_rows(state: DeviceState, ref: Callable[[str], int]) -> list[tuple[Any, ...]]:
    """A device's outbox as it is encoded: the fields of its WriteRows."""
    return [(session_row(w.session, ref), int(w.report), w.is_final) for w in state.outbox]


def take_reported(
    state: DeviceState, written: Sequence[WrittenRow], outbox: Sequence[WriteRow], texts: Sequence[str]
) -> None:
    """Give a state what `written_rows` and `write_rows` wrote. Raises LookupError, ValueError for damaged rows."""
    state.written = {
        first_id: Written(digest, started, Report(report), final, at)
        for first_id, digest, started, report, final, at in written
    }
    state.outbox = [Write(session(row, texts), Report(report), final) for row, report, final in outbox]
