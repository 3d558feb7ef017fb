"""Events and what goes with them to JSON, once, as they are sent: what the caller changes later does not matter."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from pipeline.errors import Terminal
from pipeline.formats.rejected import Reason, Rejected
from pipeline.sdk.events import SdkEvent

_EPOCH, _MS = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_encode = msgspec.json.Encoder().encode


class NotJson(Terminal):
    """Something cannot be made JSON; `rejected` says what."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.detail)
        self.rejected = rejected


class _Wire(msgspec.Struct, omit_defaults=True, gc=False):
    """An event as a native envelope holds it."""

    id: str
    name: str
    time: int
    seq: int
    session_id: str | None = None
    attributes: dict[str, Any] | None = None


def payload_of(event: SdkEvent, id: str, now_ms: int, seq: int) -> bytes:
    """The event as JSON, with this id, time (Unix milliseconds) and number where it has none of its own.

    What is not text of Unicode goes as it is, to be repaired where it arrives, which is told there. Raises `NotJson`.
    """
    at: Any = event.time
    if at is None:
        at = now_ms
    elif isinstance(at, datetime):
        at = _stamp(at)
    wire = _Wire(
        id if event.id is None else event.id,
        event.name,
        at,
        seq if event.seq is None else event.seq,
        event.session_id,
        event.attributes,
    )
    try:
        return _encode(wire)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return encoded(wire, "events[0].attributes")


def bare_payload_of(event: SdkEvent, id: str) -> bytes:
    """What can be said of an event that is not JSON."""
    return _encode({"id": id if event.id is None else str(event.id), "name": ascii(event.name)[1:-1]})


def encoded(value: Any, path: str = "$") -> bytes:
    """Anything as JSON. Raises `NotJson`, naming this path."""
    try:
        try:
            return _encode(value)
        except UnicodeEncodeError:
            # Half a surrogate pair. This JSON has it escaped, and the pipeline repairs such a value alone.
            return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()
    except RecursionError:
        raise NotJson(Rejected(Reason.TOO_DEEP, f"{path}: nests too deep to be written")) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise NotJson(Rejected(Reason.INVALID_TYPE, f"{path}: cannot be made JSON: {error}")) from None


def _stamp(at: datetime) -> int:
    """Unix milliseconds. A datetime without a zone would be another time on another machine, and is refused."""
    if at.tzinfo is None:
        raise NotJson(
            Rejected(Reason.INVALID_TYPE, "events[0].time: Unix milliseconds, or a datetime that has a zone")
        )
    return (at - _EPOCH) // _MS
