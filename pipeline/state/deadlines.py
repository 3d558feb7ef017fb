"""When silence next has something to say about which device."""

from __future__ import annotations

from heapq import heappop, heappush


class Deadlines:
    """A heap of deadlines with one current deadline a key. Never blocks; rebuilt after recovery.

    A deadline that moves later stays in the heap at its old place and is put right when it comes up, so that
    input costs no heap operation while a device is busy.
    """

    def __init__(self) -> None:
        self._due_ms: dict[bytes, int] = {}
        self._queued_ms: dict[bytes, int] = {}
        self._heap: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._due_ms)

    def set(self, key: bytes, due_ms: int | None) -> None:
        """Set a key's deadline (Unix milliseconds); None: it has none."""
        if due_ms is None:
            self._due_ms.pop(key, None)
            return
        self._due_ms[key] = due_ms
        queued_ms = self._queued_ms.get(key)
        if queued_ms is None or due_ms < queued_ms:
            self._queued_ms[key] = due_ms
            heappush(self._heap, (due_ms, key))

    def due(self, now_ms: int, limit: int) -> list[bytes]:
        """Up to `limit` keys whose deadline is not after `now_ms`, earliest first; they stay set."""
        found: list[bytes] = []
        while self._heap and self._heap[0][0] <= now_ms and len(found) < limit:
            queued_ms, key = heappop(self._heap)
            if self._queued_ms.get(key) != queued_ms:
                continue  # an earlier entry of this key came up before
            del self._queued_ms[key]
            due_ms = self._due_ms.get(key)
            if due_ms is None:
                continue
            if due_ms > now_ms:
                self.set(key, due_ms)
            else:
                found.append(key)
        for key in found:
            self.set(key, self._due_ms[key])
        return found
