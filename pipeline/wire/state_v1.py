"""Version 1 of a device's state: one array, the tail in it event by event. Read forever; written for older workers."""

from __future__ import annotations

import msgspec

from pipeline.wire.device_state import DeviceState, Report, Write, Written
from pipeline.wire.session_codec import (
    FoldRow,
    SessionRow,
    checkpoint,
    fold_row,
    fold_state,
    session,
    session_row,
)
from pipeline.wire.tail import EventRow, Place, Strings, events_of, mark_of, rows_of

VERSION = 1


class _Layout(msgspec.Struct, array_like=True, gc=False):
    """Numbers of texts point into `strings`."""

    strings: list[str]
    applied_offset: int
    arrived_ms: int
    floor: Place | None
    checkpoint: FoldRow
    head: FoldRow | None
    """Absent while the tail is empty: then it equals the checkpoint."""
    tail: list[EventRow]
    written: list[tuple[str, bytes, int, int, bool, int]]
    outbox: list[tuple[SessionRow, int, bool]]


_decode = msgspec.msgpack.Decoder(_Layout).decode


def encode(state: DeviceState) -> bytes:
    """A state as bytes, the version's byte first."""
    strings = Strings()
    ref = strings.__getitem__
    events = state.tail.thaw()
    layout = _Layout(
        strings=[],
        applied_offset=state.applied_offset,
        arrived_ms=state.arrived_ms,
        floor=state.floor,
        tail=rows_of(events, strings),
        checkpoint=fold_row(checkpoint(state), ref),
        head=fold_row(state.head, ref) if events else None,
        written=[
            (first_id, w.digest, w.started_at_ms, int(w.report), w.is_final, w.at_ms)
            for first_id, w in state.written.items()
        ],
        outbox=[(session_row(w.session, ref), int(w.report), w.is_final) for w in state.outbox],
    )
    layout.strings = list(strings)
    return bytes((VERSION,)) + msgspec.msgpack.encode(layout)


def decode(body: bytes | memoryview) -> DeviceState:
    """The state in what follows the version's byte.

    Raises `msgspec.DecodeError`, IndexError, ValueError or UnicodeDecodeError for a damaged one.
    """
    layout = _decode(body)
    texts = layout.strings
    if (layout.head is None) != (not layout.tail):
        raise ValueError("the fold after the tail is there if, and only if, there is a tail")
    state = DeviceState(strings=Strings(zip(texts, range(len(texts)), strict=True)))
    if len(state.strings) != len(texts):
        raise ValueError("a text has two numbers")
    checkpoint = fold_state(layout.checkpoint, texts)
    state.checkpoint = checkpoint
    state.named = checkpoint.names
    state.floor = layout.floor
    for event in events_of(layout.tail, texts):
        state.tail.append(event, mark_of(event.id))
    state.head = fold_state(layout.head, texts) if layout.head else checkpoint.copy()
    state.written = {
        first_id: Written(digest, started, Report(report), final, at)
        for first_id, digest, started, report, final, at in layout.written
    }
    state.outbox = [Write(session(row, texts), Report(report), final) for row, report, final in layout.outbox]
    state.applied_offset = layout.applied_offset
    state.arrived_ms = layout.arrived_ms
    return state
