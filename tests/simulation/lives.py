"""What comes of a device that is forgotten now and then: after a silence of `state_ttl` in arrival time it begins anew.

Made from the page alone: each life is a device of its own, which knows nothing of those before it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from pipeline.domain.event import Event
from pipeline.domain.policy import Policy
from tests.support.horizon import DeviceHistory, Record


class Lives:
    """All that counts of what one device has sent. Give it the records in the order in which they arrived."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._came_ms = 0
        self.lives = [DeviceHistory(policy)]

    def take(self, record: Record) -> None:
        """One record arrives. Times of arrival never go back."""
        came_ms = record[0]
        if self.lives[-1].counted and came_ms - self._came_ms >= self._policy.state_ttl_ms:
            self.lives.append(DeviceHistory(self._policy))
        self._came_ms = came_ms
        self.lives[-1].take(record)

    def sessions(self, app_id: str, device_id: str) -> list[dict[str, Any]]:
        """What has to be stored once all is quiet."""
        return [session for life in self.lives for session in life.sessions(app_id, device_id)]

    def seen(self) -> list[Event]:
        """The events whose id was remembered when they came."""
        return [event for life in self.lives for event in life.seen]

    def ended(self, app_id: str, device_id: str) -> set[str]:
        """The ids of the sessions of lives that are over: all of them are final."""
        over = [life.sessions(app_id, device_id) for life in self.lives[:-1]]
        return {session["session_id"] for sessions in over for session in sessions}

    def ambiguous(self) -> set[str]:
        """Ids of events that count twice: beyond what is remembered, or in two lives. Of two sessions of one id
        either may be shown until a rebuild."""
        counted = Counter(event_id for life in self.lives for event_id in {e.id for e in life.counted})
        twice = {event_id for event_id, lives in counted.items() if lives > 1}
        return twice.union(*(life.ambiguous() for life in self.lives))
