"""What was erased, and must not come back: whose, and up to when.

Somebody asks for a device's or a person's data to be erased (`session-pipeline erase`). That is a record on
`sdk-events` among the device's others: what came before it is erased where it is kept, and what comes after it is new.
So that nothing of it comes back, from a topic that is read again or a refused record that is sent again, the same
stands in the topic `erasures`, which every worker reads. Ids are kept as digests there: it does not say who was erased.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from pipeline.formats.native.cleaner import NOT_STRICT
from pipeline.formats.native.key import app_of

_BEGINS = b'{"erase":'
"""No envelope begins so: `erase` is none of its fields."""
_FOR_EVER = (1 << 62) - 1


class Erasure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one device: what came of it up to a time."""

    id: str
    """Of the request, which may be for several devices: its receipt has it."""
    device: str
    """`digest_of_device`."""
    until_ms: int = 0
    """Erased is what came up to then: the record time by which records are decoded, Unix milliseconds. Of the record
    on `sdk-events` its own record time says that."""
    user: str = ""
    """`digest_of_user` of the only person whose data was erased; empty: all of the device was."""
    below: int = _FOR_EVER
    """Offset, as it is stored: rows of sessions that were written for a record below it are erased."""

    def of_record(self, record_ms: int, offset: int) -> Erasure:
        """The same, once the record on `sdk-events` that asks for it is there: its record time, and its offset as it is
        stored, say what came before it."""
        return msgspec.structs.replace(self, until_ms=record_ms, below=offset + 1)


class _Control(msgspec.Struct):
    erase: Erasure


class _User(msgspec.Struct):
    id: str | None = None


class _Sender(msgspec.Struct):
    user: _User | None = None


class _Users(msgspec.Struct):
    offset: int
    user_ids: list[str] = []


_read_control = msgspec.json.Decoder(_Control).decode
_read_entry = msgspec.json.Decoder(Erasure).decode
_read_sender = msgspec.json.Decoder(_Sender).decode
_read_users = msgspec.json.Decoder(_Users).decode


def digest_of_device(key: bytes) -> str:
    """Of a device: 32 hexadecimal digits for its key, `app_id/device_id`."""
    return blake2b(key, digest_size=16).hexdigest()


def digest_of_user(app_id: str, user_id: str) -> str:
    """Of a user of an app: 32 hexadecimal digits."""
    return blake2b(f"{app_id}\0{user_id}".encode(), digest_size=16).hexdigest()


def control(erasure: Erasure) -> bytes:
    """The value of the record on `sdk-events`, under the device's key."""
    return msgspec.json.encode(_Control(erasure))


def is_control(value: bytes | None) -> bool:
    """Whether a value looks like one of `control`. Only of interest for what is not an envelope."""
    return value is not None and value.startswith(_BEGINS)


def erasure_of(key: bytes | None, value: bytes | None, record_ms: int, offset: int) -> Erasure | None:
    """What a record of `sdk-events`, of that record time and at that offset, as it is stored, asks to erase; None if it
    is no such record, or is not under the key of its device."""
    if key is None or value is None or not value.startswith(_BEGINS):
        return None
    try:
        found = _read_control(value).erase
    except NOT_STRICT:
        return None
    return found.of_record(record_ms, offset) if found.device == digest_of_device(key) else None


def entry(erasure: Erasure) -> tuple[bytes, bytes]:
    """Key and value for the topic `erasures`."""
    return f"{erasure.device}/{erasure.user}".encode(), msgspec.json.encode(erasure)


class Erasures:
    """What was erased, as far as this process knows: it only grows. Pure, but for that. Safe for several threads."""

    def __init__(self, known: Iterable[Erasure] = ()) -> None:
        self._by_device: dict[str, tuple[Erasure, ...]] = {}
        for erasure in known:
            self.add(erasure)

    def __bool__(self) -> bool:
        return bool(self._by_device)

    def add(self, erasure: Erasure) -> None:
        """Take one more; of a device and user the one with the later time counts."""
        before = self._by_device.get(erasure.device, ())
        same = [each for each in before if each.user == erasure.user]
        if any(each.until_ms >= erasure.until_ms for each in same):
            return
        self._by_device[erasure.device] = (*(each for each in before if each.user != erasure.user), erasure)

    def read(self, values: Iterable[bytes]) -> int:
        """Take the values of the topic; how many of them are none."""
        unread = 0
        for value in values:
            try:
                self.add(_read_entry(value))
            except NOT_STRICT:
                unread += 1
        return unread

    def of(self, key: bytes | None) -> tuple[Erasure, ...]:
        """What was erased of the device of a record's key."""
        if not self._by_device or key is None:
            return ()
        return self._by_device.get(digest_of_device(key), ())

    def takes(self, key: bytes, value: bytes | None, came_ms: int) -> bool:
        """Whether a record of `sdk-events` that is no `control` is erased: it came before that, and is of whoever was
        erased."""
        return any(
            came_ms <= each.until_ms and (not each.user or each.user == _user_of(key, value))
            for each in self.of(key)
        )

    def takes_row(self, key: bytes | None, row: bytes) -> bool:
        """Whether a row of `sessions` is: it was written before that, and has whoever was erased among its users."""
        found = self.of(key)
        if not found or key is None:
            return False
        try:
            said = _read_users(row)
        except NOT_STRICT:
            return False  # It is refused for what it is.
        users = {digest_of_user(app_of(key), user) for user in said.user_ids}
        return any(said.offset < each.below and (not each.user or each.user in users) for each in found)

    def takes_copy(self, key: bytes | None, record_ms: int) -> bool:
        """Whether what a record of `event-copies` takes back is gone with all of its device."""
        return any(not each.user and record_ms <= each.until_ms for each in self.of(key))


def _user_of(key: bytes, value: bytes | None) -> str:
    try:
        user = _read_sender(value or b"").user
    except NOT_STRICT:
        return ""
    return digest_of_user(app_of(key), user.id) if user and user.id else ""
