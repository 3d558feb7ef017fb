"""How far a partition's state reaches: its own entry in the table, and which of two entries under one key counts."""

from __future__ import annotations

import msgspec

from pipeline.wire import state_codec

MARKER_KEY = b"\0partition"
"""Key of the partition's own entry in the state table; no device key begins with NUL."""

UNREADABLE = (state_codec.UnknownStateVersion, msgspec.DecodeError)
"""What reading an entry raises."""


class Marker(msgspec.Struct, array_like=True, frozen=True):
    """How far a partition's state reaches."""

    applied_offset: int = -1
    clock_ms: int = 0
    """Latest record time applied."""


def marker_of(value: bytes) -> Marker:
    """The partition's own entry read. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(value, type=Marker)


def newer(old: bytes, new: bytes) -> bool:
    """Whether `new` replaces `old` under one key of the table: it does not where it reaches less far.

    A worker that was frozen past its session may write late; the entry that reaches further is the truth. What
    cannot be read has no reach: what was written later replaces it, and `restore` names it if it is the last.
    """
    try:
        return _reach(new) >= _reach(old)
    except UNREADABLE:
        return True


def marker_item(applied_offset: int, clock_ms: int) -> tuple[bytes, bytes]:
    """The partition's own entry in the table: how far its state reaches, and its latest record time."""
    return MARKER_KEY, msgspec.msgpack.encode(Marker(applied_offset, clock_ms))


def _reach(value: bytes) -> int:
    if value[:1] and value[0] & 0xF0 == 0x90:  # a MessagePack array: the marker, never a state's version byte
        return marker_of(value).applied_offset
    return state_codec.outline(value).applied_offset
