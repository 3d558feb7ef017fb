"""The workers under fire: killed, stopped, frozen, added, and started again by whoever keeps them running."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from random import Random

from pipeline.embedded.child import Child
from tests.chaos.recovery import Recoveries
from tests.support.stack import Stack

_TICK_S = 0.05
_LEAVE_TIMEOUT_S = 60.0


@dataclass
class Tally:
    """What was done to the workers, and what they did."""

    kills: int = 0
    kills_before_ready: int = 0
    """Of workers that had not got their partitions and state yet."""
    rebalances: int = 0
    """Workers added or removed on purpose."""
    freezes: int = 0
    sigterm_s: list[float] = field(default_factory=list)
    """How long each took to leave after SIGTERM."""
    unclean: list[str] = field(default_factory=list)
    """Workers that ended by themselves, or not with 0 after SIGTERM."""


class Fleet:
    """Keeps so many workers of each role running. Everything happens in the thread that calls `rest`."""

    def __init__(self, stack: Stack, recoveries: Recoveries | None, seed: int) -> None:
        self.tally = Tally()
        self._stack = stack
        self._recoveries = recoveries
        self._random = Random(seed)
        self._due: list[tuple[float, str]] = []
        self._leaving: list[tuple[str, Child, float]] = []

    def rest(self, seconds: float) -> None:
        """Lets time pass, and meanwhile does what an orchestrator does."""
        deadline_s = time.monotonic() + seconds
        while True:
            self._look_after()
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(_TICK_S, left_s))

    def settle(self, timeout_s: float) -> bool:
        """Waits until all workers have had their partitions and nobody is leaving; whether they do in time."""
        deadline_s = time.monotonic() + timeout_s
        while self._due or self._leaving or not all(map(self._stack.is_ready, self._stack.workers)):
            if time.monotonic() > deadline_s:
                return False
            self.rest(_TICK_S)
        return True

    def add(self, role: str) -> str:
        """One worker more."""
        self.tally.rebalances += 1
        return self._stack.begin_worker(role)

    def remove(self, role: str) -> None:
        """SIGTERM to one worker; if it is the last one, another takes its place."""
        name = self._ready_one(role)
        if not self._others(role, name):
            self._due.append((time.monotonic(), role))
        child = self._stack.take(name)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGTERM)
        self._leaving.append((name, child, time.monotonic()))
        self.tally.rebalances += 1

    def kill(self, role: str, *, restart_s: float | None, spare: str = "") -> str:
        """SIGKILL to one worker of a role, not to `spare`; its place is taken after `restart_s` (None: never)."""
        names = self._others(role, spare)
        while not names:  # the place of an earlier victim is still empty
            self._due.append((time.monotonic(), role))
            self.rest(0)
            names = self._others(role, spare)
        name = self._random.choice(names)
        self.kill_this(name)
        if restart_s is not None:
            self._due.append((time.monotonic() + restart_s, role))
        return name

    def kill_this(self, name: str) -> None:
        """SIGKILL."""
        self.tally.kills_before_ready += not self._stack.is_ready(name)
        self._stack.kill_worker(name)
        self.tally.kills += 1
        if self._recoveries is not None:
            self._recoveries.killed(name.rpartition("-")[0])

    def begin(self, role: str) -> str:
        """Starts a worker in the place of one that was killed."""
        return self._stack.begin_worker(role)

    def freeze(self, role: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so long."""
        name = self._ready_one(role)
        pid = self._stack.workers[name].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            self.rest(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.tally.freezes += 1

    def _look_after(self) -> None:
        now_s = time.monotonic()
        for due in [due for due in self._due if due[0] <= now_s]:
            self._due.remove(due)
            self._stack.begin_worker(due[1])
        for name, child in list(self._stack.workers.items()):
            if not child.is_running:
                self._stack.take(name)
                self.tally.unclean.append(f"{name} ended by itself with code {child.exit_code}")
                self._due.append((now_s, name.rpartition("-")[0]))
        for leaving in list(self._leaving):
            name, child, since_s = leaving
            if not child.is_running:
                self._leaving.remove(leaving)
                self.tally.sigterm_s.append(now_s - since_s)
                if child.exit_code:
                    self.tally.unclean.append(f"{name} ended with code {child.exit_code} after SIGTERM")
            elif now_s - since_s > _LEAVE_TIMEOUT_S:
                self._leaving.remove(leaving)
                self.tally.unclean.append(f"{name} had not left {_LEAVE_TIMEOUT_S:.0f} s after SIGTERM")
                child.kill()

    def _others(self, role: str, spare: str) -> list[str]:
        return sorted(
            name
            for name, child in self._stack.workers.items()
            if name.rpartition("-")[0] == role and name != spare and child.is_running
        )

    def _ready_one(self, role: str) -> str:
        while not (ready := [name for name in self._others(role, "") if self._stack.is_ready(name)]):
            self.rest(_TICK_S)
        return self._random.choice(ready)
