"""Restatement and finality, written down a second time: what is late, what is too late, what is final.

An oracle for tests, made from the pages alone (the horizon in time and in events, silence as long as the horizon, ids
that are remembered as far back as the horizon reaches) and never from the states in the package. It keeps every event
that counts and looks at all of them at each new one: no tail, no checkpoint, no floor. The fold is the other oracle's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.domain.event import Event
from pipeline.domain.policy import Policy
from tests.support.oracle import PAGE_RANK, Fold, in_order, report

Record = tuple[int, Sequence[Event]]
"""When it came (Unix ms, never less than the one before it), and its events."""
Place = tuple[int, int, int, str]


def place(event: Event) -> Place:
    """ "Order = (time_ms, rank, seq, id)." """
    return event.time_ms, PAGE_RANK[event.kind], event.seq, event.id


class DeviceHistory:
    """All that counts of what one device has sent. Give it the records in the order in which they arrived."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.counted: list[Event] = []
        """The events that sessions are made of, in the order of the definition."""
        self.late = 0
        """Of those, came after a newer one."""
        self.dropped = 0
        """Seen before, or too late: they change no session."""
        self.seen: list[Event] = []
        """Of the dropped: under an id that was remembered."""
        self._settled = 0
        """How many of `counted`, from the oldest on, no event can restate any more."""
        self._arrived_ms: int | None = None

    def take(self, record: Record) -> None:
        """One record arrives. Times of arrival never go back."""
        came_ms, events = record
        if self._arrived_ms is not None and came_ms - self._arrived_ms >= self.policy.restate_horizon_ms:
            self.fall_silent()
        self._arrived_ms = came_ms
        remembered = self._remembered()
        for event in events:
            if event.id in remembered:
                self.seen.append(event)
            if event.id in remembered or self._is_too_late(event):
                self.dropped += 1
                continue
            self.late += bool(self.counted) and place(event) < place(self.counted[-1])
            self.counted = in_order([*self.counted, event])
            remembered.add(event.id)
        self._settle()

    def fall_silent(self) -> None:
        """Nothing came for as long as the horizon: what was is as it is."""
        self._settled = len(self.counted)

    @property
    def can_be_restated(self) -> bool:
        """Whether there is an event that a late one may still come before."""
        return self._settled < len(self.counted)

    def sessions(self, app_id: str, device_id: str) -> list[dict[str, Any]]:
        """What has to be stored once all is quiet, in order of start, as `tests.support.oracle` writes it."""
        return [report(app_id, device_id, s, quiet=True) for s in self._fold(self.counted).sessions]

    def final(self) -> set[str]:
        """The sessions that cannot be restated, by their first event: all their events and those of the session after
        them are settled, and so is what the fold would do to them."""
        fold = self._fold(self.counted[: self._settled])
        return {s.events[0].id for s in fold.sessions if s is not fold.open and s is not fold.prev}

    def ambiguous(self) -> set[str]:
        """Ids of events that count twice: sent again with another time, beyond what is remembered. Of two sessions
        of one id either may be shown until a rebuild."""
        return {event_id for event_id, times in Counter(e.id for e in self.counted).items() if times > 1}

    def _is_too_late(self, event: Event) -> bool:
        if self._settled and place(event) <= place(self.counted[self._settled - 1]):
            return True
        newer = sum(1 for other in self.counted if place(other) > place(event))
        return newer > 0 and (
            newer >= self.policy.restate_events
            or event.time_ms < self.counted[-1].time_ms - self.policy.restate_horizon_ms
        )

    def _settle(self) -> None:
        if not self.counted:
            return
        reach_ms = self.counted[-1].time_ms - self.policy.restate_horizon_ms
        too_old = sum(1 for event in self.counted if event.time_ms < reach_ms)
        too_many = len(self.counted) - self.policy.restate_events
        self._settled = max(self._settled, too_old, too_many)

    def _remembered(self) -> set[str]:
        """Ids within reach, and those that the sessions at its edge are named by."""
        edge = self._fold(self.counted[: self._settled])
        named = {session.events[0].id for session in (edge.open, edge.prev) if session is not None}
        return named | {event.id for event in self.counted[self._settled :]}

    def _fold(self, events: Sequence[Event]) -> Fold:
        fold = Fold(self.policy)
        for event in events:
            fold.step(event)
        return fold
