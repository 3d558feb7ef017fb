"""A record of `sdk-events` to the envelope in it: the quick way that most records take, and the thorough one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipeline.wire.faults import fault_of_id
from pipeline.wire.identity import canonical_resource, canonical_user
from pipeline.wire.limits import MAX_EVENTS, MAX_NESTING, MAX_RECORD_BYTES
from pipeline.wire.native_form import (
    NOTHING,
    VERSION,
    PlainEnvelope,
    WireEnvelope,
    fault_of_event_count,
    sound_parts,
)
from pipeline.wire.parse import parse
from pipeline.wire.rejected import Reason, Rejected

_decode_envelope = msgspec.json.Decoder(WireEnvelope).decode
_decode_plain = msgspec.json.Decoder(PlainEnvelope).decode

Names = tuple[str, str]
"""App and device."""
Read = tuple[WireEnvelope, Sequence[int] | None, Sequence[Rejected], str, str]
"""The envelope; the places of its events, None if all are there; those that were refused; resource and user in
canonical form."""


def names_of(key: bytes | None) -> Names | None:
    """The app and device that a record of this key has to name; None if no sound record has it."""
    if key is None or b"\0" in key:
        return None
    try:
        app_id, slash, device_id = key.decode().partition("/")
    except UnicodeDecodeError:
        return None
    return (app_id, device_id) if slash else None


def read_plain(value: bytes | None, names: Names | None) -> Read | None:
    """A record without a fault in a form that needs no second look; None for all others, sound or not.

    Raises `orjson.JSONDecodeError` if resource or user are no strict JSON, which makes it none of the whole record.
    """
    wire = plain_envelope(value, names)
    texts = None if wire is None else texts_of(wire)
    return None if wire is None or texts is None else (wire, None, (), *texts)


def plain_envelope(value: bytes | None, names: Names | None) -> WireEnvelope | None:
    """The envelope of `read_plain`.

    Typed decoding judges what it decodes as strictly as `parse`. What it passes over is not: so the text must be UTF-8
    and have no field that is not known, and resource, user and attributes are parsed where they are used.
    """
    if not value or names is None or len(value) > MAX_RECORD_BYTES:
        return None
    if len(value) > 2 * MAX_NESTING and value.count(b"{") + value.count(b"[") > MAX_NESTING:
        return None
    try:
        if not value.isascii():
            value.decode()
        wire = _decode_plain(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if (
        wire.v != VERSION
        or wire.app_id != names[0]
        or wire.device_id != names[1]
        or not 0 < len(wire.events) <= MAX_EVENTS
    ):
        return None
    return wire


def texts_of(wire: WireEnvelope) -> tuple[str, str] | None:
    """Resource and user in canonical form; None if there is a fault in one. Raises as `read_plain` does."""
    resource = canonical_resource(bytes(wire.resource))
    user = "" if wire.user is NOTHING else canonical_user(bytes(wire.user))
    return (resource, user) if type(resource) is str and type(user) is str else None


def read_closely(value: bytes | None, key: bytes | None) -> Read | Rejected:
    """Any record: parsed whole, and all that is wrong with it named."""
    tree = parse(value, MAX_RECORD_BYTES)
    if isinstance(tree, Rejected):
        return tree
    assert value is not None, "parse refuses a record without a value"
    indexes: Sequence[int] | None = None
    refused: Sequence[Rejected] = ()
    try:
        wire = _decode_envelope(value)
    except msgspec.ValidationError:
        sound = sound_parts(value, tree)
        if isinstance(sound, Rejected):
            return sound
        wire, indexes, refused = sound
    fault = _fault_of_envelope(wire, key, len(wire.events) + len(refused))
    if fault is not None:
        return fault
    resource = canonical_resource(bytes(wire.resource))
    user = canonical_user(bytes(wire.user))
    if isinstance(resource, Rejected):
        return resource
    if isinstance(user, Rejected):
        return user
    return wire, indexes, refused, resource, user


def refused_closely(value: bytes | None, key: bytes | None) -> Rejected:
    """The reason to refuse a record that has a part which is no strict JSON."""
    refused = read_closely(value, key)
    assert isinstance(refused, Rejected), "what a part of it is not, the whole is not either"
    return refused


def _fault_of_envelope(wire: WireEnvelope, key: bytes | None, event_count: int) -> Rejected | None:
    """What typed decoding cannot see. Version first: another may mean other things by the same names."""
    if wire.v != VERSION:
        return Rejected(Reason.UNKNOWN_VERSION, f"v: {VERSION}, not {wire.v}")
    app_id = wire.app_id
    right_key = f"{app_id}/{wire.device_id}".encode()
    if key == right_key and b"\0" not in right_key and "/" not in app_id:
        return fault_of_event_count(event_count)
    fault = fault_of_id(wire.app_id, "app_id", forbidden="/\0") or fault_of_id(wire.device_id, "device_id")
    if fault is not None:
        return fault
    if key != right_key:
        return Rejected(
            Reason.KEY_MISMATCH, "the record's key must be app_id/device_id of its envelope, in UTF-8"
        )
    return fault_of_event_count(event_count)
