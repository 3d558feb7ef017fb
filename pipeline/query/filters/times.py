"""Durations and times as people write them: `1h30m`, `-7d`, `today`, `2026-01-31T08:30`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from pipeline.formats.limits import FIRST_STORED_MS, LAST_STORED_MS
from pipeline.query.filters.tree import Duration, NamedDay
from pipeline.query.time_zone import DAYS, moment

DURATION = r"-?(?:\d{1,13}(?:\.\d{1,3})?(?:ms|[smhdw]))+"
"""A number and its unit, as often as wanted, largest unit first or not."""
DATE = r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)?(?:Z|[+-]\d\d:\d\d)?"
MAX_DURATION_MS = 100 * 366 * 86_400_000
"""A hundred years, either way."""

_UNITS_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_WRITTEN = ("d", "h", "m", "s", "ms")
"""A week is written as seven days."""
_PART = re.compile(r"(\d+)(?:\.(\d+))?(ms|[smhdw])", re.ASCII)
_DURATION = re.compile(DURATION, re.ASCII)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def duration_of(text: str) -> Duration | None:
    """The duration that a text like `1h30m` or `-7d` says; None if it says none, or one beyond a hundred years.

    What is finer than a millisecond is cut off.
    """
    if not _DURATION.fullmatch(text):
        return None
    whole = 0
    for number, fraction, unit in _PART.findall(text):
        whole += int(number) * _UNITS_MS[unit]
        whole += int(fraction) * _UNITS_MS[unit] // 10 ** len(fraction) if fraction else 0
    if whole > MAX_DURATION_MS:
        return None
    return Duration(-whole if text.startswith("-") else whole)


def duration_text(duration: Duration) -> str:
    """As `duration_of` reads it back: `1h30m`."""
    rest = abs(duration)
    parts = []
    for unit in _WRITTEN:
        number, rest = divmod(rest, _UNITS_MS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return ("-" if duration < 0 else "") + ("".join(parts) or "0s")


def time_of(text: str) -> int | None:
    """Unix milliseconds of a date, or date and time (of the context's zone, unless it says otherwise); None if it is
    none."""
    if not _TIME.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return moment(at)
    except OverflowError:
        return None


def day_of(text: str) -> NamedDay | None:
    """The day that a word names, in letters of either case; None if it names none."""
    found = DAYS.get(text.lower())
    return None if found is None else NamedDay(found)


def day_text(day: NamedDay) -> str:
    """As `day_of` reads it back."""
    return next(word for word, each in DAYS.items() if each == day)


def can_be_stored(time_ms: int) -> bool:
    """Whether an event can be of that time, which is Unix milliseconds."""
    return FIRST_STORED_MS <= time_ms <= LAST_STORED_MS


def iso_time(time_ms: int) -> str:
    """As `time_of` reads it back: `2025-03-18T11:16:31.764Z`."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).strftime(
        "%Y-%m-%dT%H:%M:%S."
    ) + f"{time_ms % 1_000:03d}Z"
