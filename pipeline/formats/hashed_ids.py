"""Ids for what its format gives none: a function of what was sent alone, never of its place in a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from pipeline.formats.limits import MAX_ID_CHARS
from pipeline.formats.strict_json import dumps

PREFIX = "h-"
_hasher = blake2b(digest_size=16)


def digest_id(content: bytes) -> str:
    """The id of some bytes: `h-` and their BLAKE2b-128, in 32 hexadecimal digits."""
    hasher = _hasher.copy()  # Twice as fast as to make one.
    hasher.update(content)
    return PREFIX + hasher.hexdigest()


def hashed(facts: Sequence[Any]) -> str:
    """The id of a record by what it says: that of its facts as JSON, whose keys are sorted."""
    return digest_id(dumps(facts, sort_keys=True))


def hashed_id(
    app_id: str,
    device_id: str,
    time_ns: int,
    name: str,
    *,
    client_session_id: str = "",
    attributes: Mapping[str, Any] | None = None,
    body: Any = None,
    trace_id: str = "",
    span_id: str = "",
    scope: str = "",
) -> str:
    """The id of an event of this content: `h-` and 32 hexadecimal digits.

    BLAKE2b-128 of canonical JSON (UTF-8, no blanks, keys sorted) of `[app_id, device_id, time_ns, name,
    client_session_id, attributes, body, trace_id, span_id, scope]`. `time_ns` is the time as it was stamped, in Unix
    nanoseconds; the name is the format's own, so that an event keeps its id when it is called otherwise here. Two
    that are equal in all of this are one event.
    """
    content = [
        *(app_id, device_id, str(time_ns), name, client_session_id),
        *(attributes or {}, body, trace_id, span_id, scope),
    ]
    return hashed(content)


def bounded_id(given: str) -> str:
    """An id as its format gives it, or of one that is longer than an id may be its hash: cut, two could be one."""
    if len(given) <= MAX_ID_CHARS:
        return given
    return digest_id(given.encode())
