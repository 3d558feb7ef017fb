"""What the router writes: events of any format packed into native envelopes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from pipeline.formats.envelope import VERSION
from pipeline.formats.limits import MAX_EVENTS, MAX_RECORD_BYTES
from pipeline.formats.rejected import Reason, Rejected


@dataclass(frozen=True, slots=True)
class NativeRecord:
    """One record for `sdk-events`."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Translation:
    """What one record of another format becomes, and what was refused of it (each with its event's index)."""

    records: list[NativeRecord]
    refused: list[Rejected]


class Sender(NamedTuple):
    """What the events of one native envelope have in common."""

    app_id: str
    device_id: str
    resource: str
    """Canonical JSON."""
    user: str
    """Canonical JSON, empty for none."""


class TranslatedEvent(NamedTuple):
    """One event on its way into a native envelope."""

    place: int
    """Its index in the record that it came in."""
    sender: Sender
    event: bytes
    """The event as JSON, as a native envelope holds it."""


def pack(outgoing: Iterable[TranslatedEvent]) -> Translation:
    """Native envelopes, one sender each, in the order in which the senders first appear.

    Every envelope is within the limits of one; an event that would be over them even alone is refused. The
    same events give the same bytes.
    """
    groups: dict[Sender, list[TranslatedEvent]] = {}
    for each in outgoing:
        groups.setdefault(each.sender, []).append(each)
    records: list[NativeRecord] = []
    refused: list[Rejected] = []
    for sender, events in groups.items():
        key = f"{sender.app_id}/{sender.device_id}".encode()
        head = _head(sender)
        room = MAX_RECORD_BYTES - len(head) - len(_TAIL)
        chunk: list[bytes] = []
        used = 0
        for each in events:
            size = len(each.event) + 1
            if size - 1 > room:
                refused.append(_too_large(each.place, len(each.event), room))
                continue
            if len(chunk) == MAX_EVENTS or used + size - 1 > room:
                records.append(NativeRecord(key, head + b",".join(chunk) + _TAIL))
                chunk, used = [], 0
            chunk.append(each.event)
            used += size
        if chunk:
            records.append(NativeRecord(key, head + b",".join(chunk) + _TAIL))
    return Translation(records, refused)


_TAIL = b"]}"


def _head(sender: Sender) -> bytes:
    head: dict[str, object] = {"v": VERSION, "app_id": sender.app_id, "device_id": sender.device_id}
    head["resource"] = msgspec.Raw(sender.resource.encode())
    if sender.user:
        head["user"] = msgspec.Raw(sender.user.encode())
    return msgspec.json.encode(head)[:-1] + b',"events":['


def _too_large(index: int, size: int, room: int) -> Rejected:
    return Rejected(
        Reason.RECORD_TOO_LARGE,
        f"events[{index}]: {size} bytes as a native event, its envelope leaves {room}",
        index,
    )
