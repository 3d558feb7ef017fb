"""Version 1 of a device's state: one array, the tail in it event by event. Read forever."""

from __future__ import annotations

import msgspec

from pipeline.state.codec.session_codec import (
    FoldRow,
    WriteRow,
    WrittenRow,
    fold_state,
    take_reported,
)
from pipeline.state.device_state import DeviceState
from pipeline.state.tail import OrderKey, Tail, TailEntry, events_of, numbered

VERSION = 1


class _Layout(msgspec.Struct, array_like=True, gc=False):
    """Numbers of texts point into `strings`."""

    strings: list[str]
    applied_offset: int
    arrived_ms: int
    floor: OrderKey | None
    checkpoint: FoldRow
    head: FoldRow | None
    """Absent while the tail is empty: then it equals the checkpoint."""
    tail: list[TailEntry]
    written: list[WrittenRow]
    outbox: list[WriteRow]


_decode = msgspec.msgpack.Decoder(_Layout).decode


def decode(body: bytes | memoryview) -> DeviceState:
    """The state in what follows the version's byte.

    Raises `msgspec.DecodeError`, LookupError, ValueError or UnicodeDecodeError for a damaged one.
    """
    layout = _decode(body)
    texts = layout.strings
    if (layout.head is None) != (not layout.tail):
        raise ValueError("the fold after the tail is there if, and only if, there is a tail")
    state = DeviceState(strings=numbered(texts))
    state.checkpoint = before = fold_state(layout.checkpoint, texts)
    state.named = before.names
    state.floor = layout.floor
    state.tail = Tail(state.strings, events_of(layout.tail, texts))
    state.head = fold_state(layout.head, texts) if layout.head else before.copy()
    take_reported(state, layout.written, layout.outbox, texts)
    state.corrected_ms = state.tail.last[0] if state.tail.last else 0
    state.applied_offset = layout.applied_offset
    state.arrived_ms = layout.arrived_ms
    state.outdated = True
    return state
