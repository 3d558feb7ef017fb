"""Version 3 of a device's state: MessagePack arrays with a table of texts. The newest; what follows the head.

Resources, users and SDK session ids repeat from event to event, so they are stored once and referred to by number.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.state.codec.session_codec import (
    FoldRow,
    WriteRow,
    WrittenRow,
    checkpoint,
    fold_row,
    fold_state,
    take_reported,
    write_rows,
    written_rows,
)
from pipeline.state.device_state import DeviceState
from pipeline.state.tail import OrderKey, Run, Strings, Tail, numbered, rows_of

VERSION = 3

_REPACK_CHARS = 8_192
"""Texts of more than this are cleared of those that nothing refers to any more whenever they have doubled."""
_MAX_IDLE_CHARS = 200_000
"""Or at the latest when they have grown by this much."""

encode_array = msgspec.msgpack.Encoder().encode


class Layout(msgspec.Struct, array_like=True, gc=False):
    """Field by field. Versions 2 and 3 differ in what the rows within have."""

    strings: list[str]
    floor: OrderKey | None
    named: list[str]
    checkpoint: msgspec.Raw
    """A FoldRow."""
    head: FoldRow | None
    """Absent while the tail is empty: then it equals the checkpoint."""
    runs: list[Run]
    marks: bytes
    last: OrderKey | None
    written: list[WrittenRow]
    outbox: list[WriteRow]


class _Newest(Layout, array_like=True, gc=False):
    corrected_ms: int | None = None
    """Absent in what a program wrote that did not know of it."""


_decode = msgspec.msgpack.Decoder(_Newest).decode


def encode(state: DeviceState) -> bytes:
    """A state without its head. Drops texts that are of no use any more, in place."""
    chars = sum(map(len, state.strings))
    if chars > max(_REPACK_CHARS, state.packed_chars + min(state.packed_chars, _MAX_IDLE_CHARS)):
        _repack(state)
        chars = 0
    ref = state.strings.__getitem__
    held = state.checkpoint
    fields: list[Any] = [
        [],
        state.floor,
        list(state.named),
        msgspec.Raw(held if isinstance(held, bytes) else encode_array(fold_row(held, ref))),
        fold_row(state.head, ref) if state.tail else None,
        state.tail.packed(),
        state.tail.marks,
        None if state.tail.last is None else state.tail.last[:4],
        written_rows(state),
        write_rows(state, ref),
        state.corrected_ms,
    ]
    fields[0] = texts = list(state.strings)
    if not chars:
        state.packed_chars = sum(map(len, texts))
    return encode_array(fields)


def decode(body: bytes | memoryview) -> DeviceState:
    """The state that `encode` was given, but for what its head says.

    Raises `msgspec.DecodeError`; LookupError, ValueError for a reference to nowhere or a number that names nothing.
    """
    layout = _decode(body)
    state = state_of(layout)
    if layout.corrected_ms is not None:
        state.corrected_ms = layout.corrected_ms
    return state


def state_of(layout: Layout) -> DeviceState:
    """The state of decoded parts. Raises as `decode` does."""
    texts = layout.strings
    if (layout.head is None) != (not layout.runs):
        raise ValueError("the fold after the tail is there if, and only if, there is a tail")
    state = DeviceState(strings=numbered(texts))
    state.packed_chars = sum(map(len, texts))
    state.checkpoint = bytes(layout.checkpoint)
    state.named = tuple(layout.named)
    state.floor = layout.floor
    state.tail = Tail.of_runs(state.strings, layout.runs, layout.marks, layout.last)
    state.head = fold_state(layout.head, texts) if layout.head else checkpoint(state).copy()
    state.corrected_ms = layout.last[0] if layout.last else 0
    take_reported(state, layout.written, layout.outbox, texts)
    return state


def _repack(state: DeviceState) -> None:
    """Number the texts anew, in the order in which parts refer to them."""
    checkpoint(state)
    events = state.tail.thaw()
    state.strings = Strings()
    rows_of(events, state.strings)
    state.tail = Tail(state.strings, events)
