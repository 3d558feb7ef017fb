"""How long a kill is felt: from the kill until the role has done all that had been sent when it came."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from faust.types import TP

from pipeline.kafka.admin import committed_offsets, end_offsets
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.errors import KafkaFailure
from pipeline.roles.topology import group_of, reads

_POLL_S = 0.25
_ASK_TIMEOUT_S = 20.0
_OVER_TIMEOUT_S = 60.0


@dataclass(eq=False)
class _Wait:
    role: str
    since_s: float
    ends: Mapping[TP, int] = field(default_factory=dict)
    asked: int = 0


class Recoveries:
    """Measures in a thread of its own. Kills that left nothing undone are not counted: they were not felt."""

    def __init__(self, connection: KafkaConnection) -> None:
        self.seconds: list[float] = []
        """Of those that are over."""
        self._connection = connection
        self._waiting: list[_Wait] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="recoveries", daemon=True)
        self._thread.start()

    def killed(self, role: str) -> None:
        """A worker of a role was killed now."""
        with self._changed:
            self._waiting.append(_Wait(role, time.monotonic()))
            self._changed.notify_all()

    def __enter__(self) -> Recoveries:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits until all kills are over, unless something failed."""
        with self._changed:
            if error is None:
                over = self._changed.wait_for(lambda: not self._waiting, _OVER_TIMEOUT_S)
                assert over, f"not recovered: {self._waiting}"
            self._ended = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._waiting)
                if self._ended:
                    return
                waiting = list(self._waiting)
            try:
                over = asyncio.run(asyncio.wait_for(self._ask(waiting), _ASK_TIMEOUT_S))
            except (KafkaFailure, OSError, TimeoutError):
                over = []  # the broker is being restarted; asked again
            with self._changed:
                for wait in over:
                    self._waiting.remove(wait)
                    if wait.asked > 1:
                        self.seconds.append(time.monotonic() - wait.since_s)
                self._changed.notify_all()
            time.sleep(_POLL_S)

    async def _ask(self, waiting: list[_Wait]) -> list[_Wait]:
        over = []
        for role in sorted({wait.role for wait in waiting}):
            mine = [wait for wait in waiting if wait.role == role]
            if any(not wait.ends for wait in mine):
                ends = await end_offsets(self._connection, reads()[role])
                for wait in mine:
                    wait.ends = wait.ends or ends
            committed = await committed_offsets(self._connection, group_of(role), reads()[role])
            for wait in mine:
                wait.asked += 1
                if all((committed.get(tp) or 0) >= end for tp, end in wait.ends.items()):
                    over.append(wait)
        return over
