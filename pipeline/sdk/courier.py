"""Takes events out of the box, packs and checks them, and brings them to Kafka: one event loop's part of a producer."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic, time
from typing import Protocol

from pipeline.errors import PipelineError, Transient
from pipeline.kafka.produce import RecordToSend
from pipeline.sdk.box import Box, Item
from pipeline.sdk.choices import Choices
from pipeline.sdk.outcome import NotSent, SendFailure
from pipeline.sdk.packing import Bundle, Packer, checked

logger = logging.getLogger(__name__)

_MOST_UNDERWAY = 1_000
"""Envelopes that are tried at a time; the others wait in the box."""
_GATHER_S = 0.01
"""Events of so long are taken out of the box at once: callers then need not wake this loop for each."""
_CLOSED = "the producer was closed before Kafka confirmed it"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0


class Deliverer(Protocol):
    """`pipeline.kafka.produce.Outlet`, or what stands for it in tests."""

    async def deliver(self, record: RecordToSend) -> None: ...

    async def stop(self) -> None: ...


class Courier:
    """`run` it as a task; cancelled, it gives what is left an outcome too."""

    def __init__(
        self, box: Box, deliverer: Deliverer, choices: Choices, tell: Callable[[SendFailure], None]
    ) -> None:
        self._box = box
        self._deliverer = deliverer
        self._choices = choices
        self._tell = tell
        self._packer = Packer(choices.linger_s, choices.batch_events, choices.batch_bytes)
        self._underway: dict[asyncio.Task[None], Bundle] = {}
        self._one_ended = asyncio.Event()
        self._woken = asyncio.Event()
        self._hurried = asyncio.Event()
        self._last_said = ""

    def wake(self) -> None:
        """There is something in the box. From the loop's own thread."""
        self._woken.set()

    def hurry(self) -> None:
        """What is in the box is to go at once. From the loop's own thread."""
        self._hurried.set()
        self._woken.set()

    async def run(self) -> None:
        """Until it is cancelled. Then what has no outcome gets one: closed."""
        begun: deque[Bundle] = deque()
        try:
            while True:
                await self._pause()
                hurried = self._hurried.is_set()
                self._hurried.clear()
                self._woken.clear()
                begun.extend(self._packer.add(self._box.take()))
                begun.extend(self._packer.rest() if hurried else self._packer.due(monotonic()))
                while begun:
                    while len(self._underway) >= _MOST_UNDERWAY:
                        self._one_ended.clear()
                        await self._one_ended.wait()
                    self._begin(begun.popleft())
        finally:
            await self._end(begun)

    async def _pause(self) -> None:
        """Returns when there is something to do."""
        due_s = self._packer.next_due_s
        await _wait(self._woken, None if due_s is None else due_s - monotonic())
        if self._woken.is_set():
            await _wait(self._hurried, _GATHER_S)

    def _begin(self, bundle: Bundle) -> None:
        """Check it, and start to bring what is sound of it."""
        try:
            sound, faulty = checked(bundle, int(time() * 1_000))
        except Exception as error:  # a fault of ours must cost no event its outcome
            self._broken(bundle, error)
            return
        for item, failure in faulty:
            self._fail([item], [failure])
        for each in sound:
            task = asyncio.create_task(self._bring(each))
            self._underway[task] = each
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        bundle = self._underway.pop(task)
        self._one_ended.set()
        if task.cancelled():
            # It may not even have begun to run.
            self._fail_bundle(bundle, NotSent.CLOSED, _CLOSED)
        elif (error := task.exception()) is not None:
            self._broken(bundle, error)

    async def _bring(self, bundle: Bundle) -> None:
        deadline_s = bundle.items[0].taken_s + self._choices.delivery_timeout_s
        said, pause_s = "it was not tried in time", _FIRST_PAUSE_S
        while (left_s := deadline_s - monotonic()) > 0:
            bundle.attempts += 1
            try:
                async with asyncio.timeout(left_s):
                    await self._deliverer.deliver(self._record(bundle))
            except TimeoutError:
                said = said if bundle.attempts > 1 else "Kafka did not confirm it in time"
                break
            except Transient as error:
                said = str(error)
                self._say(said)
            except PipelineError as error:
                self._fail_bundle(bundle, NotSent.KAFKA_REFUSED, str(error))
                return
            else:
                bundle.has_outcome = True
                self._box.settle(bundle.items)
                return
            await asyncio.sleep(min(pause_s, max(0, deadline_s - monotonic())))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._fail_bundle(bundle, NotSent.TIMED_OUT, said)

    def _record(self, bundle: Bundle) -> RecordToSend:
        value = bundle.envelope(int(time() * 1_000))
        return RecordToSend(self._choices.topic, bundle.device.key, value, len(bundle.items))

    def _fail_bundle(self, bundle: Bundle, reason: NotSent, said: str) -> None:
        if bundle.has_outcome:
            return
        bundle.has_outcome = True
        # A refusal is of the last attempt alone.
        maybe = bundle.attempts > (reason is NotSent.KAFKA_REFUSED)
        self._fail(
            bundle.items,
            [SendFailure(reason, "", said, item.device, item.payload, maybe) for item in bundle.items],
        )

    def _broken(self, bundle: Bundle, error: BaseException) -> None:
        logger.error("sending %d events to Kafka", len(bundle.items), exc_info=error)
        self._fail_bundle(bundle, NotSent.OUR_FAULT, f"{type(error).__name__}: {error}")

    def _fail(self, items: Iterable[Item], failures: list[SendFailure]) -> None:
        """Told first, settled then: whoever waits for a flush finds all callbacks done."""
        for failure in failures:
            self._tell(failure)
        self._box.settle(items, failures)

    def _say(self, said: str) -> None:
        """Log what Kafka says, once until it says something else."""
        if said != self._last_said:
            self._last_said = said
            logger.warning("events are tried again: %s", said)

    async def _end(self, begun: deque[Bundle]) -> None:
        underway = list(self._underway)
        for task in underway:
            task.cancel()
        if underway:
            await asyncio.wait(underway)
        begun.extend(self._packer.add(self._box.take()))
        for bundle in (*begun, *self._packer.rest()):
            self._fail_bundle(bundle, NotSent.CLOSED, _CLOSED)
        await self._deliverer.stop()


async def _wait(event: asyncio.Event, timeout_s: float | None) -> None:
    if not event.is_set() and (timeout_s is None or timeout_s > 0):
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return
