"""Device state <-> bytes, whatever the version.

Byte 0 is the version. Old versions can be decoded for ever; this program writes `VERSION`, or, while there are workers
that read only an older one, one of `ENCODERS`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pipeline.errors import Terminal
from pipeline.state.codec import state_v1, state_v2, state_v3
from pipeline.state.codec.session_codec import checkpoint
from pipeline.state.codec.state_head import HEAD, Outline, head_of, outline_of
from pipeline.state.device_state import DeviceState

VERSION = state_v3.VERSION

_BODIES = {state_v2.VERSION: state_v2.decode, state_v3.VERSION: state_v3.decode}
"""What reads what follows the head."""


class UnknownStateVersion(Terminal):
    """The value was written by a newer program; raised, since to go on would lose what it says."""


def encode(state: DeviceState) -> bytes:
    """A state as bytes. The same state gives the same bytes. Drops texts that are of no use any more, in place."""
    return head_of(state, VERSION) + state_v3.encode(state)


def _encode_v2(state: DeviceState) -> bytes:
    return head_of(state, state_v2.VERSION) + state_v2.encode(state)


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
        state = _BODIES[known.version](memoryview(value)[HEAD.size :])
        state.applied_offset, state.arrived_ms = known.applied_offset, known.arrived_ms
        if (known.silence_due, known.has_tail) != (state.silence_due, state.has_tail):
            raise ValueError("the head says something else")
    except UnknownStateVersion:
        raise
    except (LookupError, ValueError) as fault:
        raise msgspec.DecodeError(f"a damaged state: {fault}") from fault
    return state


def outline(value: bytes) -> Outline:
    """What the head of a value says, the rest unread. Raises as `decode` does."""
    if value[:1] == b"\x01":
        state = decode(value)
        return Outline(
            state.applied_offset, state.arrived_ms, state.applied_offset, state.silence_due,
            state.has_tail, is_steps=False, version=state_v1.VERSION,
        )  # fmt: skip
    known = outline_of(value)
    if known.version not in _BODIES:
        raise UnknownStateVersion(
            f"state version {known.version}, known are 1 to {VERSION}: a newer program wrote it, so use that one"
        )
    return known


def check(state: DeviceState) -> None:
    """Decode what is still encoded. Raises `msgspec.DecodeError` if some of it is damaged."""
    checkpoint(state)
    state.tail.thaw()


ENCODERS: dict[int, Callable[[DeviceState], bytes]] = {2: _encode_v2, 3: encode}
"""By version. One stays for as long as workers may be about that read no newer one: one release."""


def encoder(version: int) -> Callable[[DeviceState], bytes]:
    """Writes a version, 0 for the newest. Raises `UnknownStateVersion`."""
    if version and version not in ENCODERS:
        known = ", ".join(str(number) for number in sorted(ENCODERS))
        raise UnknownStateVersion(
            f"state version {version} cannot be written, only {known}: set PIPELINE_STATE_VERSION to one of these"
        )
    return ENCODERS[version or VERSION]
