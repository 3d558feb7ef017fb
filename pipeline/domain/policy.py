"""The numbers in the definition of a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Policy:
    """When sessions end, stitch and stop being restated. All times in milliseconds.

    States of devices hold the numbers in this order: new ones come behind the others.
    """

    inactivity_timeout_ms: int = 30 * MINUTE_MS
    max_duration_ms: int = 12 * HOUR_MS
    launch_grace_ms: int = 5 * SECOND_MS
    exit_grace_ms: int = 5 * SECOND_MS
    stitch_gap_ms: int = 30 * MINUTE_MS
    stitch_max_duration_ms: int = 12 * HOUR_MS
    restate_horizon_ms: int = 24 * HOUR_MS
    restate_events: int = 2_000
    idle_timeout_ms: int = 30 * MINUTE_MS
    flicker_grace_ms: int = 700
    state_ttl_ms: int = 7 * 24 * HOUR_MS
    """After so long without a record a device is forgotten: whatever comes then is of a new one."""


@dataclass(frozen=True, slots=True)
class Policies:
    """The policy of each app: the default, and what single apps override."""

    default: Policy = field(default_factory=Policy)
    by_app: Mapping[str, Policy] = field(default_factory=dict)

    def of(self, app_id: str) -> Policy:
        """The policy that holds for an app."""
        return self.by_app.get(app_id, self.default)
