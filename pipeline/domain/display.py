"""How an app's times are shown. No session follows from it: the fold never sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Display:
    """Of one app."""

    time_zone: str = "UTC"
    """An IANA name: whose days and hours pages show, unless a viewer chose another."""


@dataclass(frozen=True, slots=True)
class Displays:
    """Of each app: the default, and what single apps have of their own."""

    default: Display = field(default_factory=Display)
    by_app: Mapping[str, Display] = field(default_factory=dict)

    def of(self, app_id: str) -> Display:
        """What holds for an app."""
        return self.by_app.get(app_id, self.default)
