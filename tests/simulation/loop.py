"""An event loop for one simulated process: it runs when it is told to, and its time is the simulation's."""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Loop(asyncio.AbstractEventLoop):
    """First come, first served; nothing runs between two calls of `run`, so a process can stop anywhere.

    What the tasks wait for is work that `execute` was given or futures that the simulation completes.
    """

    def __init__(self, execute: Callable[[Callable[[], Any]], asyncio.Future[Any]]) -> None:
        """`execute` takes the work of `run_in_executor`, a function, and gives the future of its result."""
        self._ready: deque[tuple[contextvars.Context, Callable[..., Any], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        self._now_s = 0.0
        self._execute = execute
        self._tasks: list[asyncio.Task[Any]] = []
        self.failure: BaseException | None = None
        """What a task of the process died of."""

    def run(self, now_ms: int) -> None:
        """Run until every task waits for the world. Raises what a task raised."""
        self._now_s = now_ms / 1_000
        # The running loop is how asyncio's locks and futures find theirs.
        events._set_running_loop(self)
        try:
            while self._ready or self._due():
                context, callback, args = self._ready.popleft()
                context.run(callback, *args)
        finally:
            events._set_running_loop(None)
        if self.failure is not None:
            raise self.failure

    def _due(self) -> bool:
        while self._timers and self._timers[0][0] <= self._now_s:
            handle = heappop(self._timers)[2]
            if not handle.cancelled():
                self._ready.append((contextvars.copy_context(), handle._callback, tuple(handle._args)))  # type: ignore[attr-defined]
        return bool(self._ready)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task whose failure is the process's."""
        task = self.create_task(coroutine)
        task.add_done_callback(self._note)
        return task

    def drop(self) -> None:
        """The process was killed: no task of it goes on, and none is told."""
        for task in self._tasks:
            task.get_coro().close()
        self._tasks.clear()
        self._ready.clear()
        self._timers.clear()

    def _note(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None and self.failure is None:
            self.failure = task.exception()

    # -- what asyncio asks of a loop

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        self._ready.append((context or contextvars.copy_context(), callback, args))

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **_: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self)
        self._tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        assert not args
        return self._execute(func)

    def time(self) -> float:
        return self._now_s

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when they come up."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """asyncio's complaint about tasks that never ended: of a killed process they never do."""
