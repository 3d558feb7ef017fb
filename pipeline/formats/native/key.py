"""What whoever produces a native envelope has to know of it: its key, and when it was sent."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import orjson

from pipeline.formats.limits import MAX_RECORD_BYTES
from pipeline.formats.mending import read_json
from pipeline.formats.native.array import elements_of, is_array
from pipeline.formats.rejected import Rejected

_NONE = msgspec.Raw(b"null")


class _Raw(msgspec.Struct):
    app_id: msgspec.Raw = _NONE
    device_id: msgspec.Raw = _NONE
    sent_at: msgspec.Raw = _NONE


class _Head(NamedTuple):
    app_id: Any = None
    device_id: Any = None
    sent_at: Any = None


_raw = msgspec.json.Decoder(_Raw)


def key_of(envelope: bytes) -> bytes | None:
    """The key of a native envelope, repaired where it has to be; None if it names no device."""
    head = _head_of(envelope)
    if not isinstance(head.app_id, str) or not isinstance(head.device_id, str):
        return None
    return f"{head.app_id}/{head.device_id}".encode()


def app_of(key: bytes | None) -> str:
    """The app that a key names; the empty text where it names none."""
    return (key or b"").partition(b"/")[0].decode("utf-8", "replace")


def apps_of(value: bytes) -> set[str]:
    """The apps that an envelope names, or those of an array; none where it cannot be read."""
    found = elements_of(value) if is_array(value) else (value,)
    said = () if isinstance(found, Rejected) else (_head_of(each).app_id for each in found)
    return {app_id for app_id in said if isinstance(app_id, str)}


def sent_at_of(envelope: bytes) -> int | None:
    """When it was sent by its device's clock, Unix milliseconds; None if it does not say."""
    sent_at = _head_of(envelope).sent_at
    if isinstance(sent_at, float) and sent_at.is_integer():
        return int(sent_at)
    return sent_at if type(sent_at) is int else None


def _head_of(envelope: bytes) -> _Head:
    try:
        raw = _raw.decode(envelope)
        return _Head(*(orjson.loads(bytes(each)) for each in (raw.app_id, raw.device_id, raw.sent_at)))
    except (msgspec.DecodeError, orjson.JSONDecodeError, UnicodeDecodeError, RecursionError):
        read = read_json(envelope, MAX_RECORD_BYTES)
    if isinstance(read, Rejected):
        return _Head()
    return _Head(*(read.tree.get(name) for name in _Head._fields))
