"""When silence next has something to say about which device."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush


class Deadlines:
    """A heap with one entry per key. Never blocks; rebuilt after recovery.

    A deadline that moves later stays in the heap at its old place and is put right when it comes up, so that
    input costs no heap operation while a device is busy.
    """

    def __init__(self, due_of: Callable[[bytes], int | None]) -> None:
        """`due_of` gives the deadline of a key as it is now, Unix milliseconds; None: it has none."""
        self._due_of = due_of
        self._queued_ms: dict[bytes, int] = {}
        self._heap: list[tuple[int, bytes]] = []

    def note(self, key: bytes, due_ms: int) -> None:
        """Note a key's deadline, new or changed."""
        queued_ms = self._queued_ms.get(key)
        if queued_ms is None or due_ms < queued_ms:
            self._queued_ms[key] = due_ms
            heappush(self._heap, (due_ms, key))

    def due(self, now_ms: int, limit: int) -> list[bytes]:
        """Up to `limit` keys whose deadline is not after `now_ms`; they stay noted."""
        found: dict[bytes, int] = {}
        while self._heap and self._heap[0][0] <= now_ms and len(found) < limit:
            queued_ms, key = heappop(self._heap)
            if self._queued_ms.get(key) != queued_ms:
                continue  # an earlier entry of this key came up before
            del self._queued_ms[key]
            due_ms = self._due_of(key)
            if due_ms is None:
                continue
            if due_ms > now_ms:
                self.note(key, due_ms)
            else:
                found[key] = due_ms
        for key, due_ms in found.items():
            self.note(key, due_ms)
        return list(found)
