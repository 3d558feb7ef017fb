"""What was taken and has no outcome yet: bounded, counted, waited for. Callers fill it, a courier empties it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import NamedTuple

from pipeline.sdk.device import SdkDevice
from pipeline.sdk.outcome import ProducerClosed, SendFailure

KEPT_FAILURES = 1_000
"""Of those that a flush tells of; all are counted, and told to the callback."""
CLOSED = "the producer was closed and takes no more events"


class Item(NamedTuple):
    """One event on its way."""

    device: SdkDevice
    payload: bytes
    """The event as JSON."""
    turn: int
    """Which flush waits for it."""
    taken_s: float
    """When it was taken, by `time.monotonic`."""


class SendCounts(NamedTuple):
    """Of all events since the producer was made. `taken = delivered + failed + waiting`."""

    taken: int
    delivered: int
    failed: int
    waiting: int


class Box:
    """Bounded by events and by bytes. Thread-safe; nothing but `wait` blocks."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._items: list[Item] = []
        self._turn = 0
        self._open: dict[int, int] = {0: 0}
        """Events without an outcome, by the flush that waits for them."""
        self._bytes = 0
        self._waiting = self._taken = self._delivered = self._failed = 0
        self._untold = 0
        self._failures: deque[SendFailure] = deque(maxlen=KEPT_FAILURES)
        self._watchers = 0
        self.is_shut = False
        """Nothing is taken any more."""
        self.on_change: Callable[[], None] = lambda: None
        """Called after outcomes, in the thread that brings them."""

    def put(self, device: SdkDevice, payload: bytes) -> int | None:
        """How many events now wait to be taken out; None if there is no room for this one. Raises `ProducerClosed`."""
        size = len(payload)
        with self._changed:
            if self.is_shut:
                raise ProducerClosed(CLOSED)
            if self._waiting >= self._max_events or (self._bytes + size > self._max_bytes and self._waiting):
                return None
            self._waiting += 1
            self._taken += 1
            self._bytes += size
            self._open[self._turn] += 1
            self._items.append(Item(device, payload, self._turn, monotonic()))
            return len(self._items)

    def take(self) -> list[Item]:
        """All that was put in since the last time. It counts as waiting until it is settled."""
        with self._changed:
            items, self._items = self._items, []
        return items

    def settle(self, items: Iterable[Item], failures: Iterable[SendFailure] = ()) -> None:
        """These have an outcome: each of its failures, or all are delivered."""
        with self._changed:
            settled = 0
            for item in items:
                settled += 1
                self._bytes -= len(item.payload)
                left = self._open[item.turn] - 1
                if left or item.turn == self._turn:
                    self._open[item.turn] = left
                else:
                    del self._open[item.turn]
            before = self._failed
            self._note(failures)
            self._waiting -= settled
            self._delivered += settled - (self._failed - before)
            if self._watchers:
                self._changed.notify_all()
        self.on_change()

    def lost(self, failure: SendFailure) -> None:
        """One was not even taken in."""
        with self._changed:
            self._taken += 1
            self._note([failure])

    def turn(self) -> int:
        """Begins another turn; returns the one before, for a flush to wait for."""
        with self._changed:
            ended = self._turn
            self._turn += 1
            self._open[self._turn] = 0
            if not self._open[ended]:
                del self._open[ended]
            return ended

    def waiting(self, turn: int) -> int:
        """How many events of this turn and those before have no outcome yet."""
        with self._changed:
            return self._waiting_until(turn)

    def wait(self, turn: int, deadline_s: float | None) -> None:
        """Blocks until `waiting` is 0, at most until `monotonic` says this."""
        self._wait_for(lambda: not self._waiting_until(turn), deadline_s)

    def wait_for_room(self, size: int, deadline_s: float) -> None:
        """Blocks until there is room for an event of so many bytes, at most until then."""
        self._wait_for(
            lambda: (
                self._waiting < self._max_events
                and (self._bytes + size <= self._max_bytes or not self._waiting)
            ),
            deadline_s,
        )

    def told(self) -> tuple[list[SendFailure], int]:
        """The last failures, and how many there were, since this was asked before."""
        with self._changed:
            failures, count = list(self._failures), self._untold
            self._failures.clear()
            self._untold = 0
        return failures, count

    @property
    def counts(self) -> SendCounts:
        with self._changed:
            return SendCounts(self._taken, self._delivered, self._failed, self._waiting)

    def _waiting_until(self, turn: int) -> int:
        return sum(count for each, count in self._open.items() if each <= turn)

    def _wait_for(self, is_so: Callable[[], bool], deadline_s: float | None) -> None:
        with self._changed:
            self._watchers += 1
            try:
                self._changed.wait_for(
                    is_so, None if deadline_s is None else max(0, deadline_s - monotonic())
                )
            finally:
                self._watchers -= 1

    def _note(self, failures: Iterable[SendFailure]) -> None:
        for failure in failures:
            self._failed += 1
            self._untold += 1
            self._failures.append(failure)
