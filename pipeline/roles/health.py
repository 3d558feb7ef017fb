"""Whether a worker lives and is ready, and where it is not, why: what its `/livez` and `/readyz` answer.

Whoever knows of a part of the worker says how to ask for it; the event loop asks once a second. So what is answered is
what the loop saw, and a loop that stands is seen by its silence.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

logger = logging.getLogger(__name__)

Ask = Callable[[], str]
"""What keeps a part from working, in words that name cause and remedy; empty if nothing does. Must not block."""

STANDS_S = 30.0
"""A loop that was silent for so long does not live any more: the longest piece of work takes a few seconds."""
_LATE_S = 5.0
"""One that was silent for so long is not ready."""


class Fault(NamedTuple):
    """A part that keeps a worker from being ready."""

    part: str
    reason: str
    since: str
    """UTC, as 2026-01-31T12:00:00Z."""


class Health:
    """Of one worker process. `look` and `watch` are for the event loop, all else for any thread."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        *,
        late_s: float = _LATE_S,
        stands_s: float = STANDS_S,
    ) -> None:
        """`clock` and `wall` are in seconds. A loop that was silent for `late_s` is not ready, and one that was for
        `stands_s` does not live."""
        self._late_s, self._stands_s = late_s, stands_s
        self._clock = clock
        self._wall = wall
        self._asked: dict[str, Ask] = {}
        self._faults: tuple[Fault, ...] = ()
        self.notes: dict[str, str] = {}
        """By part, what an operator should know of a worker that works all the same."""
        self._looked_s = clock()

    def watch(self, part: str, ask: Ask) -> None:
        """From now on `ask` says what is wrong with a part; in place of whoever said so before."""
        self._asked[part] = ask

    def look(self) -> None:
        """Ask for every part. What has changed is a line in the log."""
        self._looked_s = self._clock()
        before = {fault.part: fault for fault in self._faults}
        found = []
        for part, ask in self._asked.items():
            if reason := ask():
                known = before.get(part)
                found.append(Fault(part, reason, known.since if known else self._now()))
        self._faults = tuple(found)
        for fault in found:
            if fault.part not in before:
                logger.warning("not ready, %s: %s", fault.part, fault.reason)
        for part in before.keys() - {fault.part for fault in found}:
            logger.info("ready again, %s: was not since %s", part, before[part].since)

    @property
    def silent_s(self) -> float:
        """Since when the event loop has not looked, in seconds."""
        return self._clock() - self._looked_s

    @property
    def lives(self) -> bool:
        """Whether the event loop runs."""
        return self.silent_s < self._stands_s

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What keeps the worker from being ready; empty if it is."""
        if (silent_s := self.silent_s) < self._late_s:
            return self._faults
        since = datetime.fromtimestamp(self._wall() - silent_s, UTC)
        late = Fault("loop", f"the event loop has been standing for {silent_s:.0f} s", _text(since))
        return (late, *self._faults)

    def _now(self) -> str:
        return _text(datetime.fromtimestamp(self._wall(), UTC))


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
