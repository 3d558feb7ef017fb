"""When silence next has something to say about which device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from pipeline.domain.policy import Policy
from pipeline.state.codec.state_head import Outline
from pipeline.state.device_state import DeviceState

Due = tuple[int | None, int | None]
"""When an open session is to be reported as ended by inactivity, and when a device's sessions become final or it is
forgotten; None where there is nothing to do."""
DueOf = Callable[[bytes], Due]
"""The deadlines of a device as they are now."""


class Timetable:
    """Both deadlines of each device of a partition. Never blocks."""

    def __init__(self, due_of: DueOf) -> None:
        self._open: set[bytes] = set()
        self._idle = Deadlines(lambda key: due_of(key)[0])
        self._final = Deadlines(lambda key: due_of(key)[1])

    @property
    def open_count(self) -> int:
        """Devices whose open session is not reported as ended."""
        return len(self._open)

    def note(self, key: bytes, idle_ms: int | None, final_ms: int | None) -> None:
        """Note when silence next has something to say about a device."""
        if idle_ms is None:
            self._open.discard(key)
        else:
            self._open.add(key)
            self._idle.note(key, idle_ms)
        if final_ms is not None:
            self._final.note(key, final_ms)

    def note_many(self, touched: Sequence[tuple[bytes, int | None, int | None]]) -> None:
        """Note it about several."""
        for key, idle_ms, final_ms in touched:
            self.note(key, idle_ms, final_ms)

    def due(self, idle_ms: int, clock_ms: int, limit: int) -> list[bytes]:
        """Devices about which it has something to say by now, in order; up to `limit` for either reason."""
        found = dict.fromkeys(self._idle.due(idle_ms, limit))
        found.update(dict.fromkeys(self._final.due(clock_ms, limit)))
        return list(found)


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
        while len(found) < limit and (keys := self._pop(now_ms, limit - len(found))):
            for key in keys:
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

    def _pop(self, now_ms: int, limit: int) -> list[bytes]:
        """Up to `limit` keys that were noted for `now_ms` or before, in order; they are no longer noted."""
        keys: list[bytes] = []
        while self._heap and self._heap[0][0] <= now_ms and len(keys) < limit:
            queued_ms, key = heappop(self._heap)
            if self._queued_ms.get(key) == queued_ms:  # else an earlier entry of this key came up before
                del self._queued_ms[key]
                keys.append(key)
        return keys


def due_ms(known: DeviceState | Outline, policy: Policy) -> Due:
    """When the open session is to be reported as ended by inactivity, None if there is nothing to report; and when a
    device's sessions become final for want of input or, once they are, it is forgotten."""
    return (
        known.arrived_ms + policy.idle_timeout_ms if known.silence_due else None,
        known.arrived_ms + (policy.restate_horizon_ms if known.has_tail else policy.state_ttl_ms),
    )
