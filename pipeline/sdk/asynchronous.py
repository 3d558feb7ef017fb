"""The producer for programs with an event loop: it brings the events to Kafka in a task of that loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Any

from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.produce import Outlet
from pipeline.sdk.box import SendCounts
from pipeline.sdk.choices import Choices, WhenFull
from pipeline.sdk.courier import Courier, Deliverer
from pipeline.sdk.device import SdkDevice
from pipeline.sdk.events import SdkEvent
from pipeline.sdk.front import Front, connection_of
from pipeline.sdk.outcome import Undelivered

_BATCH_BYTES = 1_000_000


class AsyncProducer:
    """As `Producer`, within one event loop: make it there, and close it before the loop ends, since nothing else
    flushes it. A child of a fork has no such loop, and makes a producer of its own."""

    def __init__(self, kafka: KafkaConnection | str, **choices: Any) -> None:
        """As in `Producer`. Connects to nothing, and needs no running loop yet."""
        self._connection = connection_of(kafka)
        self._choices = Choices(**choices)
        self._make_deliverer: Callable[[], Deliverer] = lambda: Outlet(
            self._connection, max_batch_size=_BATCH_BYTES
        )
        self._front = Front(self._choices)
        self._changed = asyncio.Event()
        self._front.box.on_change = self._changed.set
        self._courier: Courier | None = None
        self._task: asyncio.Task[None] | None = None

    async def send(self, device: SdkDevice, event: SdkEvent) -> bool:
        """Take an event. Whether it was taken: if not, the error callback was told why.

        Waits for `block_s` at most, and only if the queue is full and that was chosen. Raises `ProducerClosed`, and
        `QueueFull` if that was chosen.
        """
        front = self._front
        payload = front.payload(device, event)
        if payload is None:
            return False
        count = front.box.put(device, payload)
        if count is None and self._choices.when_full is WhenFull.BLOCK:
            deadline_s = monotonic() + self._choices.block_s
            while count is None and await self._next_change(deadline_s):
                count = front.box.put(device, payload)
        if count is None:
            front.full(device, payload)
            return False
        if count == 1:
            self._begun().wake()
        return True

    async def flush(self, timeout_s: float | None = None) -> None:
        """Waits until all that was sent before has an outcome. Raises `Undelivered` as `Producer.flush` does."""
        turn = self._front.box.turn()
        await self._settled(turn, timeout_s)
        undelivered = self._front.undelivered(turn)
        if undelivered is not None:
            raise undelivered

    async def close(self, timeout_s: float = 30.0) -> None:
        """Flush, and end the task. What still waits then fails as `closed`. Raises `Undelivered`; a second call does
        nothing."""
        if self._front.is_closed:
            return
        self._front.close()
        turn = self._front.box.turn()
        try:
            await self._settled(turn, timeout_s)
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
            self._front.abandon()
        undelivered = self._front.undelivered(turn)
        if undelivered is not None:
            raise undelivered

    @property
    def counts(self) -> SendCounts:
        """At any time `taken = delivered + failed + waiting`."""
        return self._front.counts

    async def __aenter__(self) -> AsyncProducer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except Undelivered:
            if error is None:
                raise

    def _begun(self) -> Courier:
        """The courier; a task that has failed is begun anew."""
        if self._courier is None or self._task is None or self._task.done():
            self._courier = Courier(self._front.box, self._make_deliverer(), self._choices, self._front.tell)
            self._task = asyncio.create_task(self._courier.run())
        return self._courier

    async def _settled(self, turn: int, timeout_s: float | None) -> None:
        deadline_s = None if timeout_s is None else monotonic() + timeout_s
        if self._front.box.waiting(turn):
            self._begun().hurry()
        while self._front.box.waiting(turn) and await self._next_change(deadline_s):
            pass

    async def _next_change(self, deadline_s: float | None) -> bool:
        """Wait until an event has an outcome; False if it is too late."""
        left_s = None if deadline_s is None else deadline_s - monotonic()
        if left_s is not None and left_s <= 0:
            return False
        self._changed.clear()
        try:
            async with asyncio.timeout(left_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
