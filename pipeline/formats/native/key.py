"""What whoever produces a native envelope has to know of it: its key, and when it was sent."""

from __future__ import annotations

import msgspec


class _Identity(msgspec.Struct):
    app_id: str
    device_id: str


class _Sending(msgspec.Struct):
    sent_at: int | float | None = None


_sending = msgspec.json.Decoder(_Sending)
_identity = msgspec.json.Decoder(_Identity)


def key_of(envelope: bytes) -> bytes | None:
    """The key of a native envelope; None if it names no device."""
    try:
        found = _identity.decode(envelope)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return f"{found.app_id}/{found.device_id}".encode()


def sent_at_of(envelope: bytes) -> int | None:
    """When it was sent by its device's clock, Unix milliseconds; None if it does not say."""
    try:
        sent_at = _sending.decode(envelope).sent_at
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return None if sent_at is None or sent_at != int(sent_at) else int(sent_at)
