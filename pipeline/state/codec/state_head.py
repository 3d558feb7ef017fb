"""What a state's value begins with from version 2 on: what recovery and timers need to know, the rest unread."""

from __future__ import annotations

from struct import Struct, error
from typing import NamedTuple

import msgspec

from pipeline.state.device_state import DeviceState

HEAD = Struct(">BBqqq")
"""Version, flags, applied offset, arrival time, applied offset of the base (steps build on one; -1: on none)."""
SILENCE_DUE, HAS_TAIL, IS_STEPS = 1, 2, 4


class Outline(NamedTuple):
    """What the head of a value says."""

    applied_offset: int
    arrived_ms: int
    base_offset: int
    silence_due: bool
    """A session is open whose row does not say yet that it ended by inactivity."""
    has_tail: bool
    is_steps: bool
    version: int


def head_of(state: DeviceState, version: int, base_offset: int | None = None) -> bytes:
    """The head of a state's value; with `base_offset` that of steps which build on a base."""
    applied = state.applied_offset
    flags = SILENCE_DUE * state.silence_due | HAS_TAIL * state.has_tail
    if base_offset is None:
        return HEAD.pack(version, flags, applied, state.arrived_ms, applied)
    return HEAD.pack(version, flags | IS_STEPS, applied, state.arrived_ms, base_offset)


def outline_of(value: bytes) -> Outline:
    """What the head of a value says, whatever its version. Raises `msgspec.DecodeError` for less than a head."""
    try:
        version, flags, applied, arrived_ms, base = HEAD.unpack_from(value)
    except error as fault:
        raise msgspec.DecodeError(f"a damaged state: {fault}") from fault
    return Outline(
        applied,
        arrived_ms,
        base,
        bool(flags & SILENCE_DUE),
        bool(flags & HAS_TAIL),
        bool(flags & IS_STEPS),
        version,
    )
