"""How long what is stored of an app is kept. No session follows from it: the fold never sees these numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FOR_EVER = 0
"""In place of a number of days."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Days that rows are kept after the day on which Kafka had their record; 0 is for ever."""

    retention_days: int = 90
    """Of events."""
    session_retention_days: int = 400


def at_least(days: int, least: int) -> bool:
    """Whether one number of days is as long as another; for ever is longest."""
    return days == FOR_EVER or (least != FOR_EVER and days >= least)


def longer(one: int, other: int) -> int:
    """The longer of two numbers of days."""
    return one if at_least(one, other) else other


@dataclass(frozen=True, slots=True)
class Retentions:
    """The retention of each app: the default, and what single apps override."""

    default: Retention = field(default_factory=Retention)
    by_app: Mapping[str, Retention] = field(default_factory=dict)

    def of(self, app_id: str) -> Retention:
        """The retention that holds for an app."""
        return self.by_app.get(app_id, self.default)
