"""Device state <-> bytes: a fixed head, then MessagePack arrays with a table of texts.

Byte 0 is the version. Old versions can be decoded for ever; this program writes `VERSION`, or, while there are workers
that read only an older one, one of `ENCODERS`. Resources, users and SDK session ids repeat from event to event, so they
are stored once and referred to by number. The head says what recovery and timers need to know of a device whose state
nobody has to decode.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct, error
from typing import NamedTuple

import msgspec

from pipeline.errors import Terminal
from pipeline.state.codec import state_v1
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

VERSION = 2

HEAD = Struct(">BBqqq")
"""Version, flags, applied offset, arrival time, applied offset of the base (steps build on one)."""
SILENCE_DUE, HAS_TAIL, IS_STEPS = 1, 2, 4

_REPACK_CHARS = 8_192
"""Texts of more than this are cleared of those that nothing refers to any more whenever they have doubled."""
_MAX_IDLE_CHARS = 200_000
"""Or at the latest when they have grown by this much."""

_encode = msgspec.msgpack.Encoder().encode


class _Layout(msgspec.Struct, array_like=True, gc=False):
    """Version 2, field by field, after the head."""

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


_decode = msgspec.msgpack.Decoder(_Layout).decode


class UnknownStateVersion(Terminal):
    """The value was written by a newer program; raised, since to go on would lose what it says."""


class Outline(NamedTuple):
    """What the head of a value says."""

    applied_offset: int
    arrived_ms: int
    base_offset: int
    silence_due: bool
    """A session is open whose row does not say yet that it ended by inactivity."""
    has_tail: bool
    is_steps: bool


def encode(state: DeviceState) -> bytes:
    """A state as bytes. The same state gives the same bytes. Drops texts that are of no use any more, in place."""
    chars = sum(map(len, state.strings))
    if chars > max(_REPACK_CHARS, state.packed_chars + min(state.packed_chars, _MAX_IDLE_CHARS)):
        _repack(state)
        chars = 0
    ref = state.strings.__getitem__
    held = state.checkpoint
    layout = _Layout(
        strings=[],
        floor=state.floor,
        named=list(state.named),
        checkpoint=msgspec.Raw(held if isinstance(held, bytes) else _encode(fold_row(held, ref))),
        head=fold_row(state.head, ref) if state.tail else None,
        runs=state.tail.packed(),
        marks=state.tail.marks,
        last=None if state.tail.last is None else state.tail.last[:4],
        written=written_rows(state),
        outbox=write_rows(state, ref),
    )
    layout.strings = list(state.strings)
    if not chars:
        state.packed_chars = sum(map(len, layout.strings))
    return head_of(state) + _encode(layout)


def head_of(state: DeviceState, base_offset: int | None = None) -> bytes:
    """The head of a state's value; with `base_offset` that of steps which build on a base."""
    applied = state.applied_offset
    flags = SILENCE_DUE * state.silence_due | HAS_TAIL * state.has_tail
    if base_offset is None:
        return HEAD.pack(VERSION, flags, applied, state.arrived_ms, applied)
    return HEAD.pack(VERSION, flags | IS_STEPS, applied, state.arrived_ms, base_offset)


def decode(value: bytes) -> DeviceState:
    """The state that `encode` was given.

    Raises `UnknownStateVersion` for a version this program does not know, `msgspec.DecodeError` for a damaged
    value: both are terminal for the worker, since state is never guessed.
    """
    try:
        if value[:1] == b"\x01":
            return state_v1.decode(memoryview(value)[1:])
        known = outline(value)
        if known.is_steps:
            raise ValueError("steps, not a state")
        state = _state(_decode(memoryview(value)[HEAD.size :]))
        state.applied_offset, state.arrived_ms = known.applied_offset, known.arrived_ms
        if (known.silence_due, known.has_tail) != (state.silence_due, state.has_tail):
            raise ValueError("the head says something else")
    except UnknownStateVersion:
        raise
    except (IndexError, ValueError) as fault:
        raise msgspec.DecodeError(f"a damaged state: {fault}") from fault
    return state


def outline(value: bytes) -> Outline:
    """What the head of a value says, the rest unread. Raises as `decode` does."""
    if value[:1] == b"\x01":
        state = decode(value)
        return Outline(
            state.applied_offset, state.arrived_ms, state.applied_offset, state.silence_due,
            state.has_tail, is_steps=False,
        )  # fmt: skip
    try:
        version, flags, applied, arrived_ms, base = HEAD.unpack_from(value)
    except error as fault:
        raise msgspec.DecodeError(f"a damaged state: {fault}") from fault
    if version != VERSION:
        raise UnknownStateVersion(
            f"state version {version}, known are 1 and {VERSION}: a newer program wrote it, so use that one"
        )
    return Outline(
        applied, arrived_ms, base, bool(flags & SILENCE_DUE), bool(flags & HAS_TAIL), bool(flags & IS_STEPS)
    )


def check(state: DeviceState) -> None:
    """Decode what is still encoded. Raises `msgspec.DecodeError` if some of it is damaged."""
    checkpoint(state)
    state.tail.thaw()


ENCODERS: dict[int, Callable[[DeviceState], bytes]] = {1: state_v1.encode, 2: encode}
"""By version. One stays for as long as workers may be about that read no newer one: one release."""


def encoder(version: int) -> Callable[[DeviceState], bytes]:
    """Writes a version, 0 for the newest. Raises `UnknownStateVersion`."""
    if version and version not in ENCODERS:
        known = ", ".join(str(number) for number in sorted(ENCODERS))
        raise UnknownStateVersion(
            f"state version {version} cannot be written, only {known}: set PIPELINE_STATE_VERSION to one of these"
        )
    return ENCODERS[version or VERSION]


def _state(layout: _Layout) -> DeviceState:
    """Raises IndexError for a reference to nowhere, ValueError for a number that names nothing."""
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
    take_reported(state, layout.written, layout.outbox, texts)
    return state


def _repack(state: DeviceState) -> None:
    """Number the texts anew, in the order in which parts refer to them."""
    checkpoint(state)
    events = state.tail.thaw()
    state.strings = Strings()
    rows_of(events, state.strings)
    state.tail = Tail(state.strings, events)
