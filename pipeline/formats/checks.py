"""Checks that several formats share, each with the one wording of what it rejects."""

from __future__ import annotations

from pipeline.formats.clocks import is_in_seconds
from pipeline.formats.limits import MAX_AHEAD_MS, MAX_ID_CHARS, MAX_STAMP_MS, MAX_TIME_MS, MIN_TIME_MS
from pipeline.formats.rejected import Reason, Rejected


def rejected_id(
    value: object, path: str, *, forbidden: str = "\0", index: int | None = None
) -> Rejected | None:
    """Why an id is rejected, None if it is not: absent, not text, too short or long, a forbidden character.

    NUL is forbidden because it separates the parts that a session id is made of.
    """
    if value is None:
        return Rejected(Reason.MISSING_FIELD, f"{path}: required, 1 to {MAX_ID_CHARS} characters", index)
    if not isinstance(value, str):
        return Rejected(Reason.INVALID_TYPE, f"{path}: a string of 1 to {MAX_ID_CHARS} characters", index)
    if not 1 <= len(value) <= MAX_ID_CHARS:
        return Rejected(Reason.ID_LENGTH, f"{path}: 1 to {MAX_ID_CHARS} characters, not {len(value)}", index)
    for character in forbidden:
        if character in value:
            return Rejected(Reason.INVALID_VALUE, f"{path}: must not hold {character!r}", index)
    return None


def latest_of(record_ms: int) -> int:
    """The latest that an event of a record may be: 24 h after the record itself, and on a day that a Date holds."""
    latest_ms = record_ms + MAX_AHEAD_MS
    return latest_ms if latest_ms < MAX_TIME_MS else MAX_TIME_MS


def time_is_plausible(time_ms: int, record_ms: int) -> bool:
    """Whether a time is from 2000 on and no later than an event of the record may be."""
    return MIN_TIME_MS <= time_ms <= latest_of(record_ms)


def rejected_time(time_ms: int, record_ms: int, path: str, index: int) -> Rejected:
    """The wording for a time that is not plausible."""
    if time_ms < MIN_TIME_MS:
        detail = f"{time_ms} ms is before 2000"
    elif time_ms <= record_ms + MAX_AHEAD_MS:
        detail = f"{time_ms} ms is after 2149-06-06, the last day that a Date holds"
    else:
        detail = f"{time_ms} ms is more than 24 h after the record's own time, {record_ms} ms"
    return Rejected(Reason.TIME_OUT_OF_RANGE, f"{path}: {detail}", index)


def rejected_stamp(stamp: int, path: str, reason: Reason, index: int | None = None) -> Rejected:
    """The wording for a stamp that no field for Unix milliseconds takes: in which unit it is, where that shows."""
    for unit, in_a_second in (("microseconds", 1_000_000), ("nanoseconds", 1_000_000_000)):
        if is_in_seconds(stamp // in_a_second):
            detail = f"{stamp} is in {unit}; Unix milliseconds are required"
            return Rejected(reason, f"{path}: {detail}", index)
    return Rejected(reason, f"{path}: Unix milliseconds, 0 to {MAX_STAMP_MS}", index)


def rejected_seconds(stamp: int, path: str, index: int | None = None) -> Rejected:
    """The wording for a stamp that is in seconds."""
    return Rejected(
        Reason.TIME_OUT_OF_RANGE, f"{path}: {stamp} is in seconds; Unix milliseconds are required", index
    )
