"""What the router writes: events of any format packed into native envelopes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from pipeline.formats.checks import rejected_time
from pipeline.formats.clocks import back_of
from pipeline.formats.envelope import VERSION
from pipeline.formats.limits import (
    MAX_CONTAINERS,
    MAX_EVENTS,
    MAX_MADE_BYTES,
    MAX_RECORD_BYTES,
    MIN_TIME_MS,
)
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.strict_json import parse


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
    is_full: bool = False
    """Whether there was no room for some of it in what one body may become: it is refused, and was perhaps not read."""


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


class Draft(NamedTuple):
    """One event on its way there, before the clock of its device is set right."""

    place: int
    sender: Sender
    time_ms: int
    """As the device stamped it, Unix milliseconds."""
    event: dict[str, object]
    """As a native envelope holds it, `time` included."""


def set_right(
    drafts: Sequence[Draft], record_ms: int, time_field: str
) -> tuple[list[TranslatedEvent], list[Rejected]]:
    """The events with no time later than their record allows, and what is refused: what is before 2000 then.

    The times of a device whose latest is too late are moved back, all by the same; an event keeps the one that it had
    as `raw_time`. Done here, not where the native envelopes are read: those of one body are several records, and come
    later. Each device by itself: the clock of one says nothing of another's. `time_field` is for what is said of it.
    """
    if not back_of(max((each[2] for each in drafts), default=record_ms), record_ms):
        encode = msgspec.json.Encoder().encode
        return [TranslatedEvent(place, sender, encode(event)) for place, sender, _, event in drafts], []
    latest: dict[tuple[str, str], int] = {}
    for each in drafts:
        device = (each.sender.app_id, each.sender.device_id)
        latest[device] = max(latest.get(device, each.time_ms), each.time_ms)
    back = {device: back_of(time_ms, record_ms) for device, time_ms in latest.items()}
    right: list[TranslatedEvent] = []
    refused: list[Rejected] = []
    for place, sender, time_ms, event in drafts:
        back_ms = back[sender.app_id, sender.device_id]
        if back_ms:
            event["time"] = time_ms - back_ms
            # Of a clock that was corrected already, by when the device sent it, it is there.
            event.setdefault("raw_time", time_ms)
            if time_ms - back_ms < MIN_TIME_MS:
                refused.append(
                    rejected_time(time_ms - back_ms, record_ms, f"events[{place}].{time_field}", place)
                )
                continue
        right.append(TranslatedEvent(place, sender, msgspec.json.encode(event)))
    return right, refused


class Made:
    """What a body has become so far, while it is still read: says when to read no more of it.

    A lower bound of what `pack` counts: what comes after it is over has no room there either.
    """

    def __init__(self, events: Sequence[TranslatedEvent]) -> None:
        """`events` are those of the body, and grow."""
        self._events = events
        self._senders: set[Sender] = set()
        self._counted = 0
        self._bytes = 0
        self.next_at = _COUNTED_AT_ONCE
        """The number of events from which on it is worth while to count again."""

    def is_over(self) -> bool:
        """Whether the events, and what their senders say once, have more bytes than one body may become."""
        more = self._events[self._counted :]
        self._counted += len(more)
        self.next_at = self._counted + _COUNTED_AT_ONCE
        sizes = [len(each[2]) for each in more]
        self._bytes += sum([size for size in sizes if size <= MAX_RECORD_BYTES])
        for sender in {each[1] for each in more} - self._senders:
            self._senders.add(sender)
            self._bytes += len(sender.resource) + len(sender.user)
        return self._bytes > MAX_MADE_BYTES


_COUNTED_AT_ONCE = 256
"""Events: the resources of so many are some megabytes at most."""


class _Envelopes:
    """The envelopes of one sender, as the events that each holds."""

    __slots__ = ("chunk", "chunks", "head_bytes", "room", "used")

    def __init__(self, head_bytes: int) -> None:
        self.head_bytes = head_bytes + len(_TAIL)
        self.room = MAX_RECORD_BYTES - self.head_bytes
        self.used = 0
        self.chunk: list[TranslatedEvent] = []
        """The last of the chunks, once there is one."""
        self.chunks: list[list[TranslatedEvent]] = []


def pack(outgoing: Iterable[TranslatedEvent]) -> Translation:
    """Native envelopes, one sender each, in the order in which the senders first appear.

    Every envelope is within the limits of one; an event that would be over them even alone is refused. All together are
    at most MAX_MADE_BYTES, counted before any is joined: the first event that has no room there is refused, and so are
    all after it. The same events give the same bytes.
    """
    senders: dict[Sender, _Envelopes] = {}
    refused: list[Rejected] = []
    made, is_full = 0, False
    before: Sender | None = None
    into: _Envelopes | None = None
    for each in outgoing:
        if is_full:
            refused.append(_over(each.place))
            continue
        sender, size = each.sender, len(each.event)
        if into is None or sender is not before:
            before, into = sender, senders.get(sender)
            if into is None:
                into = senders[sender] = _Envelopes(len(_head(sender)))
        if size > into.room:
            refused.append(too_large(each.place, size, into.room))
            continue
        chunk = into.chunk
        is_next = not chunk or into.used + size > into.room or len(chunk) == MAX_EVENTS
        made += size + 1 + (into.head_bytes if is_next else 0)
        if made > MAX_MADE_BYTES:
            is_full = True
            refused.append(_over(each.place))
            continue
        if is_next:
            into.chunk = chunk = []
            into.chunks.append(chunk)
            into.used = 0
        chunk.append(each)
        into.used += size + 1
    records: list[NativeRecord] = []
    for sender, into in senders.items():
        if into.chunks:
            key, head = f"{sender.app_id}/{sender.device_id}".encode(), _head(sender)
            for chunk in into.chunks:
                _close(key, head, chunk, records, refused)
    return Translation(records, refused, is_full)


BECOMES_TOO_MUCH = f"the body becomes more than {MAX_MADE_BYTES} bytes with it and what comes before it"
"""What is wrong with an event that has no room any more in what one body may become."""


def _over(index: int) -> Rejected:
    return Rejected(Reason.RECORD_TOO_LARGE, f"events[{index}]: {BECOMES_TOO_MUCH}", index)


def _close(
    key: bytes,
    head: bytes,
    chunk: Sequence[TranslatedEvent],
    records: list[NativeRecord],
    refused: list[Rejected],
) -> None:
    """Add the record of some events: where they hold more arrays and objects than one may, those of fewer of them.

    What a body may hold goes by all its bytes, so a part of it may be over what is allowed in as many.
    """
    value = head + b",".join([each.event for each in chunk]) + _TAIL
    if value.count(b"{") + value.count(b"[") > MAX_CONTAINERS:
        if len(chunk) > 1:
            half = len(chunk) // 2
            _close(key, head, chunk[:half], records, refused)
            _close(key, head, chunk[half:], records, refused)
            return
        # Brackets in texts open nothing.
        read = parse(value, MAX_RECORD_BYTES)
        if isinstance(read, Rejected):
            place = chunk[0].place
            refused.append(Rejected(read.reason, f"events[{place}]: as a native event: {read.detail}", place))
            return
    records.append(NativeRecord(key, value))


_TAIL = b"]}"


def _head(sender: Sender) -> bytes:
    head: dict[str, object] = {"v": VERSION, "app_id": sender.app_id, "device_id": sender.device_id}
    head["resource"] = msgspec.Raw(sender.resource.encode())
    if sender.user:
        head["user"] = msgspec.Raw(sender.user.encode())
    return msgspec.json.encode(head)[:-1] + b',"events":['


def too_large(index: int, size: int, room: int) -> Rejected:
    """The fault of an event that is over what its envelope leaves of a record."""
    return Rejected(
        Reason.RECORD_TOO_LARGE,
        f"events[{index}]: {size} bytes as a native event, its envelope leaves {room}",
        index,
    )
