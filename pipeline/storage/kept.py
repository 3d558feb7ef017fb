"""How long a row is kept: the day on which Kafka had its record, and for how many days from then on.

The day is that of the record's own time in the topic that the sink reads, in UTC, and not of a time that a header, an
event or a recording tells: history that is loaded today is not gone tomorrow. So a row is a function of its record and
of the settings, whenever it is written. Where a record is read again under other settings its rows come a second time,
with the other number: they have key and version of the first, and the later ones count, in all tables alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from pipeline.domain.retention import FOR_EVER, Retentions

DAY_MS = 86_400_000
_FIRST_DAY = 18_262
"""2020-01-01: no record came before it. What says so has no time, or that of a clock nobody set."""
_LAST_DAY = 65_530
"""Of a row's last one: a Date holds few later ones."""
_KEPT_DAYS = 4_096
"""Texts of days that are kept: more than a topic has."""


class Kept(NamedTuple):
    """Until when a row is kept."""

    stored_on: str
    """The day, as ClickHouse reads it."""
    days: int
    """0: for ever."""

    @property
    def columns(self) -> str:
        """The columns as members of a JSON object."""
        return f'"stored_on":"{self.stored_on}","retention_days":{self.days}'


EVER = Kept("1970-01-01", FOR_EVER)
"""Of rows of which nobody knows when they came."""


@lru_cache(_KEPT_DAYS)
def _kept(day: int, days: int) -> Kept:
    if day < _FIRST_DAY:
        # Nothing may be gone because a clock was wrong.
        return EVER
    return Kept(datetime.fromtimestamp(min(day, _LAST_DAY - days) * 86_400, UTC).date().isoformat(), days)


def kept(timestamp_ms: int, days: int) -> Kept:
    """Of rows of a record whose own time is this, Unix milliseconds, where such are kept for so many days."""
    return _kept(timestamp_ms // DAY_MS, days)


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long the rows are kept, and how many bytes of a flood."""

    retentions: Retentions = field(default_factory=Retentions)
    dead_letter_days: int = 30
    dead_letters_a_minute: int = 100

    def events_of(self, app_id: str, timestamp_ms: int) -> Kept:
        """Until when the events of a record are kept."""
        return kept(timestamp_ms, self.retentions.of(app_id).retention_days)


DEFAULT_KEEPING = Keeping()
