"""Copies of events on `event-copies`: which record brought which events once more, and the rows that take them back.

The sink stores an event under the day of its stamp, so copies that were stamped anew on another day do not meet there.
The sessionizer knows the ids, and says which copy is one: the same bytes however often it does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, NamedTuple

import msgspec
import orjson

from pipeline.formats.limits import MAX_EVENTS, MAX_ID_CHARS, MAX_STAMP_MS
from pipeline.formats.native.reading import names_of
from pipeline.formats.rejected import Reason, Rejected
from pipeline.storage.kept import DEFAULT_KEEPING, Keeping
from pipeline.storage.rows import event_copy_row
from pipeline.storage.stored_event import StoredCopy

VERSION = 1
_MAX_OFFSET = 2**54 - 1
"""Offset and event index are one number of 63 bits in the tables."""


class EventCopy(NamedTuple):
    """One event that a record brought once more."""

    event_id: str
    raw_time_ms: int
    """As the device stamped this copy."""
    event_index: int
    """As it is stored: among the events that were taken of its record."""


_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]


class _Copy(msgspec.Struct):
    event_id: _Id
    raw_time: Annotated[int, msgspec.Meta(ge=0, le=MAX_STAMP_MS)]
    event_index: Annotated[int, msgspec.Meta(ge=0, lt=MAX_EVENTS)]


class _Copies(msgspec.Struct):
    app_id: _Id
    device_id: _Id
    offset: Annotated[int, msgspec.Meta(ge=0, le=_MAX_OFFSET)]
    record_time: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    copies: Annotated[list[_Copy], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]


class _Version(msgspec.Struct):
    v: int


_decode = msgspec.json.Decoder(_Copies).decode
_version = msgspec.json.Decoder(_Version).decode


def value_of(
    app_id: str, device_id: str, *, offset: int, record_ms: int, copies: Iterable[EventCopy]
) -> bytes:
    """The value of a record of `event-copies`: the copies of one record.

    `offset` is that record's as it is stored, `record_ms` its own record time, Unix milliseconds.
    """
    return orjson.dumps(
        {
            "v": VERSION,
            "app_id": app_id,
            "device_id": device_id,
            "offset": offset,
            "record_time": record_ms,
            "copies": [
                {"event_id": each.event_id, "raw_time": each.raw_time_ms, "event_index": each.event_index}
                for each in copies
            ],
        }
    )


def rows_of_stored(app_id: str, device_id: str, copies: Iterable[StoredCopy]) -> list[bytes]:
    """The rows that take stored copies back; they last as long as those do."""
    return [
        event_copy_row(
            app_id,
            device_id,
            each.event_id,
            raw_time_ms=each.raw_time_ms,
            offset=each.offset,
            event_index=each.event_index,
            stored_on=each.stored_on,
            retention_days=each.retention_days,
        )
        for each in copies
    ]


def rows_of_copies(
    value: bytes | None, key: bytes | None, keeping: Keeping = DEFAULT_KEEPING
) -> list[bytes] | Rejected:
    """The rows that take back the copies which a record of `event-copies` names; they last as long as those do.

    Never raises because of the record.
    """
    if not value:
        return Rejected(Reason.EMPTY_RECORD, "a record of event-copies needs a value")
    try:
        said = _version(value)
        if said.v != VERSION:
            return Rejected(Reason.UNKNOWN_VERSION, f"v: {VERSION}, not {said.v}")
        found = _decode(value)
    except msgspec.ValidationError as error:
        return Rejected(Reason.INVALID_VALUE, str(error))
    except UnicodeDecodeError as error:
        return Rejected(Reason.INVALID_UTF8, str(error))
    except RecursionError:
        return Rejected(Reason.TOO_DEEP, "nested too deeply to be read")
    except msgspec.DecodeError as error:
        return Rejected(Reason.MALFORMED_JSON, str(error))
    if (found.app_id, found.device_id) != names_of(key):
        return Rejected(Reason.KEY_MISMATCH, "the record's key must be app_id/device_id of what it names")
    for index, each in enumerate(found.copies):
        if "\0" in each.event_id:
            return Rejected(Reason.INVALID_VALUE, f"copies[{index}].event_id: no NUL")
    until = keeping.events_of(found.app_id, found.record_time)
    return [
        event_copy_row(
            found.app_id,
            found.device_id,
            each.event_id,
            raw_time_ms=each.raw_time,
            offset=found.offset,
            event_index=each.event_index,
            stored_on=until.stored_on,
            retention_days=until.days,
        )
        for each in found.copies
    ]
