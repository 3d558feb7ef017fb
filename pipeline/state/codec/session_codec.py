"""Sessions and the fold's state as MessagePack arrays, with texts by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec

from pipeline.domain.event import COUNTERS, AppState
from pipeline.domain.fold_state import FoldState
from pipeline.domain.session import Session
from pipeline.domain.stitching import Stitched
from pipeline.state.device_state import DeviceState, Report, Write, Written
from pipeline.state.tail import Ref

_COUNTERS, _FIRST_COUNTERS = len(COUNTERS), 8
"""Counters are added behind the others, and a state from before one was has counted none: 8 is what there was first."""
_Counts = Annotated[list[int], msgspec.Meta(min_length=_FIRST_COUNTERS, max_length=_COUNTERS)]
SessionRow = tuple[
    str, int, Ref, bool, Ref, int, int, Ref, Ref, bool, Ref, Ref, int, _Counts, str, int
]  # fmt: skip
StitchedRow = tuple[str, int, int, int, int | None, bool]
FoldRow = tuple[SessionRow | None, SessionRow | None, int, StitchedRow | None]

WrittenRow = tuple[str, bytes, int, int, bool, int]
WriteRow = tuple[SessionRow, int, bool]

_encode = msgspec.msgpack.Encoder().encode
_decode_fold = msgspec.msgpack.Decoder(FoldRow).decode


def session_bytes(session: Session) -> bytes:
    """A session as bytes, for comparing what two rows would say."""
    return _encode(session_row(session, lambda text: text))  # type: ignore[arg-type,return-value]


def session_row(s: Session, ref: Callable[[str], int]) -> SessionRow:
    """A session as it is encoded; `ref` gives the number of a text."""
    return (
        s.first_event_id, s.started_at_ms, ref(str(s.start_reason)), s.foreground, ref(s.resource), s.last_ms,
        s.ended_at_ms, ref(str(s.end_reason)), ref(s.exit_reason), s.cold_start, ref(s.client_session_id),
        ref(s.user), s.event_count, s.counters, s.stitched_first_event_id, s.stitched_index,
    )  # fmt: skip


def session(row: SessionRow, texts: Sequence[str]) -> Session:
    """The session of `session_row`. Raises IndexError for a number without a text."""
    (first_id, started, start_reason, foreground, resource, last, ended, end_reason, exit_reason, cold,
     client, user, count, counters, stitched_first, stitched_index) = row  # fmt: skip
    if len(counters) < _COUNTERS:
        counters += [0] * (_COUNTERS - len(counters))
    return Session(
        first_id, started, texts[start_reason], foreground, texts[resource], last, ended,
        texts[end_reason], texts[exit_reason], cold, texts[client], texts[user], count, counters,
        stitched_first, stitched_index,
    )  # fmt: skip


def fold_row(f: FoldState, ref: Callable[[str], int]) -> FoldRow:
    """The fold's state as it is encoded."""
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
    )


def fold_state(row: FoldRow, texts: Sequence[str]) -> FoldState:
    """The state of `fold_row`. Raises IndexError for a number without a text, ValueError for an unknown app state."""
    opened, prev, app_state, stitched = row
    return FoldState(
        session(opened, texts) if opened else None,
        session(prev, texts) if prev else None,
        AppState(app_state),
        Stitched(*stitched) if stitched else None,
    )


def checkpoint(state: DeviceState) -> FoldState:
    """The fold's state before a device's tail, to be changed in place. Raises `msgspec.DecodeError` if damaged."""
    if isinstance(state.checkpoint, bytes):
        try:
            state.checkpoint = fold_state(_decode_fold(state.checkpoint), list(state.strings))
        except (IndexError, ValueError) as fault:
            raise msgspec.DecodeError(f"a damaged checkpoint: {fault}") from fault
    return state.checkpoint


def written_rows(state: DeviceState) -> list[WrittenRow]:
    """What was written of a device's sessions, as it is encoded."""
    return [
        (first_id, w.digest, w.started_at_ms, int(w.report), w.is_final, w.at_ms)
        for first_id, w in state.written.items()
    ]


def write_rows(state: DeviceState, ref: Callable[[str], int]) -> list[WriteRow]:
    """A device's outbox as it is encoded."""
    return [(session_row(w.session, ref), int(w.report), w.is_final) for w in state.outbox]


def take_reported(
    state: DeviceState, written: Sequence[WrittenRow], outbox: Sequence[WriteRow], texts: Sequence[str]
) -> None:
    """Give a state what `written_rows` and `write_rows` wrote. Raises IndexError, ValueError for damaged rows."""
    state.written = {
        first_id: Written(digest, started, Report(report), final, at)
        for first_id, digest, started, report, final, at in written
    }
    state.outbox = [Write(session(row, texts), Report(report), final) for row, report, final in outbox]
