"""The producer for programs with threads: calls return at once, and a thread of its own brings the events to Kafka."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Any
from weakref import WeakSet

from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.produce import Outlet
from pipeline.sdk.box import SendCounts
from pipeline.sdk.choices import Choices, WhenFull
from pipeline.sdk.courier import Courier, Deliverer
from pipeline.sdk.device import SdkDevice
from pipeline.sdk.events import SdkEvent
from pipeline.sdk.front import Front, connection_of
from pipeline.sdk.outcome import Undelivered

logger = logging.getLogger(__name__)

_BATCH_BYTES = 1_000_000
"""Of what goes to a partition at once."""
_LAST_CALLS_S = 5.0
"""How long the thread may take to end once it was told to."""


class Producer:
    """Sends events of any number of devices. Thread-safe; make one for a process, and close it.

    A child of `fork` has an empty queue and a thread of its own as soon as it sends; what waits in the parent is the
    parent's to send. What waits at the end of the process is sent then, for `exit_timeout_s` at most; `os._exit` and
    signals that kill lose it.
    """

    def __init__(self, kafka: KafkaConnection | str, **choices: Any) -> None:
        """`kafka` is `host:port,…` or a connection with security; `choices` are those of `Choices`.

        Connects to nothing. Raises ValueError.
        """
        self._connection = connection_of(kafka)
        self._choices = Choices(**choices)
        self._make_deliverer: Callable[[], Deliverer] = lambda: Outlet(
            self._connection, max_batch_size=_BATCH_BYTES
        )
        self._begin_anew()
        _all.add(self)

    def send(self, device: SdkDevice, event: SdkEvent) -> bool:
        """Take an event, with the id and the time that it is to have. Whether it was taken: if not, the error callback
        was told why.

        Blocks for `block_s` at most, and only if the queue is full and that was chosen. Raises `ProducerClosed`, and
        `QueueFull` if that was chosen.
        """
        front = self._front
        payload = front.payload(device, event)
        if payload is None:
            return False
        count = front.box.put(device, payload)
        if count is None:
            count = self._put_later(device, payload)
            if count is None:
                front.full(device, payload)
                return False
        if count == 1 or self._thread is None:
            self._wake()
        return True

    def flush(self, timeout_s: float | None = None) -> None:
        """Waits until all that was sent before has an outcome; None: for as long as that takes.

        Raises `Undelivered` if there are events that failed since the flush before, or that still wait.
        """
        turn = self._front.box.turn()
        if self._front.box.waiting(turn):
            self._wake()
            self._call(lambda courier: courier.hurry())
            self._front.box.wait(turn, None if timeout_s is None else monotonic() + timeout_s)
        undelivered = self._front.undelivered(turn)
        if undelivered is not None:
            raise undelivered

    def close(self, timeout_s: float = 30.0) -> None:
        """Flush, and end the thread. What still waits then fails as `closed`. Raises `Undelivered`; a second call does
        nothing."""
        if self._front.is_closed:
            return
        self._front.close()
        turn = self._front.box.turn()
        try:
            if self._front.box.waiting(turn):
                self._wake()
                self._call(lambda courier: courier.hurry())
                self._front.box.wait(turn, monotonic() + timeout_s)
        finally:
            self._end_thread()
            self._front.abandon()
        undelivered = self._front.undelivered(turn)
        if undelivered is not None:
            raise undelivered

    @property
    def counts(self) -> SendCounts:
        """Of the events of this process. At any time `taken = delivered + failed + waiting`."""
        return self._front.counts

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Undelivered:
            if error is None:
                raise

    def _begin_anew(self) -> None:
        self._front = Front(self._choices)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._courier: Courier | None = None
        self._task: asyncio.Task[None] | None = None

    def _put_later(self, device: SdkDevice, payload: bytes) -> int | None:
        """Wait for room if that was chosen; None if there is none."""
        if self._choices.when_full is not WhenFull.BLOCK or threading.current_thread() is self._thread:
            return None
        deadline_s = monotonic() + self._choices.block_s
        count = None
        while count is None and monotonic() < deadline_s:
            self._front.box.wait_for_room(len(payload), deadline_s)
            count = self._front.box.put(device, payload)
        return count

    def _wake(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None and not self._start_thread():
                    return
        self._call(lambda courier: courier.wake())

    def _call(self, what: Callable[[Courier], None]) -> None:
        loop, courier = self._loop, self._courier
        if loop is not None and courier is not None:
            try:
                loop.call_soon_threadsafe(what, courier)
            except RuntimeError:
                if not self._front.is_closed:
                    raise

    def _start_thread(self) -> bool:
        """Whether it could be: not at the very end of a process, where `close` gives what waits its outcome."""
        ready = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(self._front, ready), name="pipeline.sdk", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            logger.warning("events wait, since no thread can be started: %s", error)
            return False
        ready.wait()
        self._thread = thread
        if "multiprocessing.util" in sys.modules:
            # Its children end without atexit, but do this.
            from multiprocessing.util import Finalize  # noqa: PLC0415

            Finalize(None, _at_exit, exitpriority=100)
        return True

    def _run(self, front: Front, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(self._bring(front, ready))

    async def _bring(self, front: Front, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._courier = Courier(front.box, self._make_deliverer(), self._choices, front.tell)
        self._task = task = asyncio.create_task(self._courier.run())
        ready.set()
        await asyncio.wait([task])
        if not task.cancelled():
            logger.error(
                "the thread of the producer failed, another one takes over", exc_info=task.exception()
            )
            self._thread = None

    def _end_thread(self) -> None:
        thread, loop, task = self._thread, self._loop, self._task
        if thread is None or loop is None or task is None:
            return
        loop.call_soon_threadsafe(task.cancel)
        if thread is not threading.current_thread():
            thread.join(_LAST_CALLS_S)


class _Loop(asyncio.SelectorEventLoop):
    """Looks up names by itself: the threads that do it for other loops end before `atexit`, and with them the chance to
    connect at the end of a short program. Nothing else waits for this loop meanwhile."""

    async def getaddrinfo(self, *arguments: Any, **options: Any) -> Any:
        return socket.getaddrinfo(*arguments, **options)


_all: WeakSet[Producer] = WeakSet()
_left_to_the_parent: list[object] = []
"""What a child of a fork must not close: an event loop shares its selector with that of the parent."""


def _at_exit() -> None:
    """All at once: what one cannot deliver holds up none of the others."""
    begun_s = monotonic()
    open_ones = [each for each in _all if not each._front.is_closed]
    for each in open_ones:
        each._call(lambda courier: courier.hurry())
    for each in open_ones:
        left_s = begun_s + each._choices.exit_timeout_s - monotonic()
        try:
            each.close(max(0.0, left_s))
        except Undelivered as undelivered:
            logger.warning("at the end of the process: %s", undelivered)


def _after_fork() -> None:
    for each in _all:
        _left_to_the_parent.append((each._front, each._thread, each._loop, each._courier, each._task))
        was_closed = each._front.is_closed
        each._begin_anew()
        each._front.box.is_shut = was_closed


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
