"""How much of each topic every role has yet to do, watched while the dashboard runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)

EVERY_S = 10.0
KEPT = 360
"""Samples: an hour."""
_PATIENCE_S = 8.0


class RoleLag(Protocol):
    """How much of a topic a role has yet to do."""

    @property
    def role(self) -> str:
        """Who reads."""

    @property
    def topic(self) -> str:
        """What is read."""

    @property
    def end(self) -> int:
        """Records ever written."""

    @property
    def behind(self) -> int:
        """Records not yet done."""


AskLags = Callable[[], Awaitable[Sequence[RoleLag]]]


@dataclass(frozen=True, slots=True)
class Sample:
    """All lags at one time."""

    at_s: float
    """Unix time."""
    lags: Sequence[RoleLag]


@dataclass(frozen=True, slots=True)
class Rate:
    """One role on one topic."""

    role: str
    topic: str
    end: int
    behind: int
    written_per_s: float | None
    """None before there are two samples."""
    done_per_s: float | None


class Watch:
    """Samples the lags every few seconds for as long as `run` runs; the last hour is kept."""

    def __init__(self, ask: AskLags | None) -> None:
        self._ask = ask
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self.problem = "" if ask else "This dashboard does not know where Kafka is."
        """Why there is no sample just now; empty if there is one."""

    async def run(self) -> None:
        """Until it is cancelled. A broker that does not answer is told on the page and asked again."""
        while self._ask is not None:
            await self._sample(self._ask)
            await asyncio.sleep(EVERY_S)

    @property
    def samples(self) -> list[Sample]:
        """Oldest first."""
        return list(self._samples)

    async def _sample(self, ask: AskLags) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                lags = await ask()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whatever the client raises: the page says it, the other pages go on
            problem = f"Kafka does not answer: {str(error) or type(error).__name__}"
            if problem != self.problem:
                log.warning("no lag to show: %s", problem)
            self.problem = problem
        else:
            self.problem = ""
            self._samples.append(Sample(time.time(), lags))


def rates(samples: Sequence[Sample]) -> list[Rate]:
    """The latest sample, and how fast things went since the one before it."""
    if not samples:
        return []
    latest, before = samples[-1], samples[-2] if len(samples) > 1 else None
    found = []
    for lag in latest.lags:
        old = _same(before, lag) if before else None
        written = done = None
        if old and before and latest.at_s > before.at_s:
            elapsed_s = latest.at_s - before.at_s
            written = max(0.0, (lag.end - old.end) / elapsed_s)
            done = max(0.0, written + (old.behind - lag.behind) / elapsed_s)
        found.append(Rate(lag.role, lag.topic, lag.end, lag.behind, written, done))
    return found


def history(samples: Sequence[Sample]) -> dict[str, list[tuple[int, list[float | None]]]]:
    """For charts: `behind` (records) and `done` (records a second), by Unix ms.

    A number for each role and topic of the latest sample.
    """
    behind: list[tuple[int, list[float | None]]] = []
    done: list[tuple[int, list[float | None]]] = []
    latest = samples[-1].lags if samples else ()
    for place, sample in enumerate(samples):
        at_ms = round(sample.at_s * 1_000)
        known = {(rate.role, rate.topic): rate for rate in rates(samples[max(0, place - 1) : place + 1])}
        mine = [known.get((lag.role, lag.topic)) for lag in latest]
        behind.append((at_ms, [rate.behind if rate else None for rate in mine]))
        done.append((at_ms, [rate.done_per_s if rate else None for rate in mine]))
    return {"behind": behind, "done": done[1:]}


def _same(sample: Sample, lag: RoleLag) -> RoleLag | None:
    return next((old for old in sample.lags if (old.role, old.topic) == (lag.role, lag.topic)), None)
