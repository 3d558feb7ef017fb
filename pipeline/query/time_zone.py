"""Whose days are meant: a time zone, and where its days, weeks and hours begin.

The zone is that of the context, as a locale is: whoever answers a request sets it once (`in_zone`), and all that reads
what a person wrote, makes buckets or shows a time goes by it. Without one it is UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DAYS = {"today": 0, "yesterday": -1}
"""Days that people name, counted from today."""
PARAMETER = "m_zone"
"""The name under which statements have the zone."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = date(1970, 1, 1).toordinal()
_BEFORE_1970 = 3
"""Days from the Monday before 1970: weeks begin with a Monday."""
_NOT_A_PLACE = ("Etc/", "SystemV/", "localtime", "Factory", "posixrules")
_ZONE: ContextVar[ZoneInfo] = ContextVar("time_zone", default=ZoneInfo("UTC"))  # noqa: B039 (it cannot be changed)


_known = cache(available_timezones)


@cache
def zones() -> tuple[str, ...]:
    """The names of all zones that can be chosen, in order."""
    return tuple(sorted(name for name in _known() if not name.startswith(_NOT_A_PLACE)))


def zone_named(name: str) -> ZoneInfo:
    """A zone by its IANA name. Raises ValueError, whose message continues from the name, where there is none."""
    if name not in _known():
        raise ValueError("is not a time zone; write an IANA name, such as Europe/Berlin, or UTC")
    return ZoneInfo(name)


def zone() -> ZoneInfo:
    """That of the context."""
    return _ZONE.get()


def use(chosen: ZoneInfo) -> None:
    """Go by this zone for the rest of the context."""
    _ZONE.set(chosen)


@contextmanager
def in_zone(chosen: ZoneInfo) -> Iterator[None]:
    """Go by this zone inside."""
    token = _ZONE.set(chosen)
    try:
        yield
    finally:
        _ZONE.reset(token)


def local(ms: int) -> datetime:
    """A time (Unix ms) as the clocks of the zone show it, to the millisecond."""
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(zone())


def moment(at: datetime) -> int:
    """Unix ms of a time; one without an offset is of the zone. What clocks show twice is the first; what they leave
    out is as much later."""
    return ((at if at.tzinfo else at.replace(tzinfo=zone())) - _EPOCH) // timedelta(milliseconds=1)


def start_of_day(ms: int, days: int = 0) -> int:
    """Where the day (Unix ms) of a time begins, or the one so many days after it."""
    return _start(local(ms).date().toordinal() + days)


def bucket_of(ms: int, step: int) -> int:
    """The start (Unix ms) of the bucket that a time lies in. Steps of days are counted in days of the calendar, from a
    Monday on, however long they are; shorter ones, which divide a day, from midnight on by what clocks show."""
    if step >= DAY_MS:
        days, at = step // DAY_MS, local(ms).date().toordinal() - _FIRST_DAY + _BEFORE_1970
        return _start(at // days * days - _BEFORE_1970 + _FIRST_DAY)
    since = _since_midnight(ms) % step
    if step > HOUR_MS:
        wall = local(ms).replace(tzinfo=None, fold=0) - timedelta(milliseconds=since)
        return moment(wall)
    # An hour that comes twice makes two buckets, and a change of the clocks within one begins another.
    start = ms - since
    return start if _offset(start) == _offset(ms) else max(start, _change(start, ms))


def edges(start_ms: int, end_ms: int, step: int) -> list[int]:
    """Where the buckets of [start_ms, end_ms) begin, and where the last one ends (Unix ms); an empty range has one."""
    found = [bucket_of(start_ms, step)]
    while found[-1] < end_ms or len(found) < 2:
        found.append(bucket_end(found[-1], step))
    return found


def bucket_end(start: int, step: int) -> int:
    """Where the bucket ends that begins there (Unix ms)."""
    if step >= DAY_MS:
        first, later = local(start).date().toordinal(), 0
        while (end := _start(first + later + step // DAY_MS)) <= start:
            later += step // DAY_MS  # a day that a zone has left out
        return end
    if step > HOUR_MS:
        wall = local(start).replace(tzinfo=None, fold=0)
        wall -= timedelta(milliseconds=_since_midnight(start) % step)
        end = start
        while end <= start:
            wall += timedelta(milliseconds=step)
            end = moment(wall)
        return end
    end = start + step - _since_midnight(start) % step
    return end if _offset(start) == _offset(end - 1) else _change(start, end)


def _start(ordinal: int) -> int:
    return moment(datetime.combine(date.fromordinal(ordinal), datetime.min.time()))


def _since_midnight(ms: int) -> int:
    """By what clocks show."""
    at = local(ms)
    return ((at.hour * 60 + at.minute) * 60 + at.second) * 1_000 + at.microsecond // 1_000


def _offset(ms: int) -> timedelta:
    found = local(ms).utcoffset()
    assert found is not None, "a time of a zone has an offset"
    return found


def _change(before: int, after: int) -> int:
    """Where clocks are changed between two times with different offsets: the first ms of the new one."""
    old = _offset(before)
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if _offset(middle) == old else (before, middle)
    return after
