"""The key under which a native envelope is produced."""

from __future__ import annotations

import msgspec


class _Identity(msgspec.Struct):
    app_id: str
    device_id: str


_identity = msgspec.json.Decoder(_Identity)


def key_of(envelope: bytes) -> bytes | None:
    """The key of a native envelope; None if it names no device."""
    try:
        found = _identity.decode(envelope)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return f"{found.app_id}/{found.device_id}".encode()
