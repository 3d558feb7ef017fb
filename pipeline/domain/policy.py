"""The numbers in the definition of a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

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
    """How long a device may send nothing before it is forgotten; what it sends then counts as a new one's."""


NUMBERS = tuple(item.name for item in fields(Policy))
"""The names of these numbers, in their order."""
ALWAYS_MS = -(1 << 62)
"""Before every time."""


@dataclass(frozen=True, slots=True)
class DatedPolicy(Policy):
    """The policy of a published version: events from a time on are folded under it, and those before under others.

    Which one an event is folded under follows from its own time, so the order in which events come has no say in it.
    """

    version: int = 0
    from_ms: int = ALWAYS_MS
    """Of events, Unix milliseconds."""
    came_at: int = -1
    """Offset of the record, in the device's partition, with which it came; -1 where that does not matter."""
    before: Policy | None = None
    """What holds for earlier events."""


def version_at(policy: Policy, time_ms: int, reach: int) -> int:
    """The version under which a session counts that began at a time, as was known by the offset `reach`; 0: none."""
    while isinstance(policy, DatedPolicy):
        if time_ms >= policy.from_ms and policy.came_at <= reach:
            return policy.version
        policy = policy.before or Policy()
    return 0


def covers(policy: Policy, time_ms: int, since: int) -> bool:
    """Whether a version that came after the offset `since` is of events of a time, or of earlier ones."""
    while isinstance(policy, DatedPolicy) and policy.came_at > since:
        if policy.from_ms <= time_ms:
            return True
        policy = policy.before or Policy()
    return False


def longest_silence_ms(policy: Policy) -> int:
    """The silence that ends every session and stitched session, whatever was before, under all of its versions."""
    longest_ms = 0
    while True:
        own_ms = max(policy.inactivity_timeout_ms, policy.stitch_gap_ms) + policy.exit_grace_ms
        longest_ms = max(longest_ms, own_ms)
        if not isinstance(policy, DatedPolicy) or policy.before is None:
            return longest_ms
        policy = policy.before


@dataclass(frozen=True, slots=True)
class Policies:
    """The policy of each app: the default, and what single apps override."""

    default: Policy = field(default_factory=Policy)
    by_app: Mapping[str, Policy] = field(default_factory=dict)

    def of(self, app_id: str) -> Policy:
        """The policy that holds for an app."""
        return self.by_app.get(app_id, self.default)
