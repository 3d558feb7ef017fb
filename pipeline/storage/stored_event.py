"""A stored event (what the view `events` is made of) back to what the fold sees."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Annotated, NamedTuple

import msgspec

from pipeline.domain.event import COUNTERS, RANK, AppState, Event, Kind

SELECT = (
    "SELECT app_id, device_id, partition, offset, toUnixTimestamp64Milli(received_at),"
    " toUnixTimestamp64Milli(time), kind, seq, event_id, client_session_id, exit_reason, counters,"
    " resource_json, user_json, stated, toUnixTimestamp64Milli(raw_time), event_index, toString(stored_on),"
    " retention_days FROM z_stored_events"
)
"""What `devices` reads, without its filter and order; in format JSONCompactEachRow."""

ORDER = "ORDER BY app_id, device_id, offset, event_index"
"""Device by device, and the events of each in the order in which they arrived."""

_KINDS = {kind.label: kind for kind in Kind}
_STATES = {state.label: state for state in AppState}
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Counters = Annotated[int, msgspec.Meta(ge=0, lt=1 << len(COUNTERS))]
_Row = tuple[
    str, str, _Int64, _Int64, _Int64, _Int64, str, _Int64, str, str, str, _Counters, str, str, str,
    _Int64, int, str, int,
]  # fmt: skip
_row = msgspec.json.Decoder(_Row, strict=False)


class _User(msgspec.Struct):
    id: str = ""
    personas: list[str] = []
    properties: dict[str, str] = {}


_CONTROL = re.compile(r"[\x00-\x1f]")
_resource = msgspec.json.Decoder(dict[str, str])
_user = msgspec.json.Decoder(_User)


class StoredRecord(NamedTuple):
    """The events that one record brought first."""

    offset: int
    record_ms: int
    events: list[Event]


class StoredCopy(NamedTuple):
    """A stored event whose id came before, under another stamp: it must not be there."""

    event_id: str
    raw_time_ms: int
    offset: int
    event_index: int
    stored_on: str
    """The day from which on it is kept, for so many days; 0 is for ever."""
    retention_days: int


class StoredDevice(NamedTuple):
    """All stored events of a device, by the records that brought them."""

    app_id: str
    device_id: str
    ends: Mapping[int, int]
    """The partitions that its records were in, each with the highest offset. Only older versions took them from more
    than one."""
    records: list[StoredRecord]
    copies: Sequence[StoredCopy] = ()
    """None of them is in `records`, but where nothing else of its record is stored its place counts in `ends`."""
    corrected_ms: int = 0
    """As `DeviceState.corrected_ms`."""

    @property
    def key(self) -> bytes:
        """The key of its records."""
        return key_of(self.app_id, self.device_id)


def key_of(app_id: str, device_id: str) -> bytes:
    """The key of a device's records."""
    return f"{app_id}/{device_id}".encode()


def devices(lines: Iterable[bytes]) -> Iterator[StoredDevice]:
    """The devices of a result, one at a time; holds one device in memory.

    `lines` are the rows of `SELECT … ORDER` in JSONCompactEachRow. Raises msgspec.DecodeError for other rows.
    """
    rows = (_read(line) for line in lines if line)
    for (app_id, device_id), of_device in groupby(rows, key=lambda row: row[:2]):
        records: list[StoredRecord] = []
        ends, texts, ids = dict[int, int](), _Texts(), set[str]()
        copies: list[StoredCopy] = []
        corrected_ms = 0
        for row in of_device:
            partition, offset, record_ms = row[2:5]
            ends[partition] = offset
            if row[8] in ids:
                copies.append(StoredCopy(row[8], row[15], offset, *row[16:]))
                continue
            ids.add(row[8])
            if row[15] != row[5]:
                corrected_ms = max(corrected_ms, row[5])
            if not records or records[-1].offset != offset:
                records.append(StoredRecord(offset, record_ms, []))
            records[-1].events.append(_event(row, texts))
        yield StoredDevice(app_id, device_id, ends, records, copies, corrected_ms)


def _read(line: bytes) -> _Row:
    try:
        row: _Row = _row.decode(line)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"a stored event is not UTF-8: {error}") from error
    if row[6] not in _KINDS:
        raise msgspec.ValidationError(f"a stored event of kind {row[6]!r}: there is none")
    if row[14] not in _STATES:
        raise msgspec.ValidationError(
            f"a stored event that states {row[14]!r} of the app: there is no such state"
        )
    return row


class _Texts:
    """The resources and users of one device: each is judged once, and in memory once, however many events name it."""

    def __init__(self) -> None:
        self._resources: dict[str, str] = {}
        self._users: dict[str, str] = {"": ""}

    def resource(self, text: str) -> str:
        """The text itself. Raises unless it is what a decoder writes: sessions would carry it into rows and state."""
        known = self._resources.get(text)
        if known is None:
            _resource.decode(text)
            known = self._resources[text] = _canonical(text)
        return known

    def user(self, text: str) -> str:
        """As `resource`."""
        known = self._users.get(text)
        if known is None:
            _user.decode(text)
            known = self._users[text] = _canonical(text)
        return known


def _canonical(text: str) -> str:
    if _CONTROL.search(text):
        raise msgspec.ValidationError("a stored event whose resource or user is not canonical JSON")
    return text


def _event(row: _Row, texts: _Texts) -> Event:
    time_ms, label, seq, event_id, client_session_id, exit_reason, counters = row[5:12]
    try:
        resource, user = texts.resource(row[12]), texts.user(row[13])
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"a stored event is not UTF-8: {error}") from error
    kind = _KINDS[label]
    return Event(
        time_ms, RANK[kind], seq, event_id, kind, client_session_id, exit_reason, counters, resource, user,
        _STATES[row[14]],
    )  # fmt: skip
