"""What both producers do before an event is in the box, and with one that is not delivered."""

from __future__ import annotations

import logging
import os
from itertools import count
from time import monotonic, time

from pipeline.kafka.connection import KafkaConnection
from pipeline.sdk.box import CLOSED, Box, SendCounts
from pipeline.sdk.choices import Choices, WhenFull
from pipeline.sdk.device import SdkDevice
from pipeline.sdk.encoding import NotJson, bare_payload_of, payload_of
from pipeline.sdk.events import SdkEvent
from pipeline.sdk.outcome import NotSent, ProducerClosed, QueueFull, SendFailure, Undelivered, refused

logger = logging.getLogger(__name__)

_SAY_EVERY_S = 10.0
_FULL = "the queue of the producer is full"


def connection_of(kafka: KafkaConnection | str) -> KafkaConnection:
    return KafkaConnection(kafka) if isinstance(kafka, str) else kafka


class Front:
    """Of one producer. Any thread may call it."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.box = Box(choices.queue_events, choices.queue_bytes)
        self._numbers = count(1)
        self._unsaid = 0
        self._said_s = -_SAY_EVERY_S

    def payload(self, device: SdkDevice, event: SdkEvent) -> bytes | None:
        """The event as it is sent every time it is tried: its id is made here. None if it is not JSON, which is told.

        Raises `ProducerClosed`.
        """
        if self.box.is_shut:
            raise ProducerClosed(CLOSED)
        id = os.urandom(16).hex()
        try:
            return payload_of(event, id, int(time() * 1_000), next(self._numbers))
        except NotJson as error:
            self.lose(refused(error.rejected, device, bare_payload_of(event, id)))
            return None

    def full(self, device: SdkDevice, payload: bytes) -> None:
        """There is no room for this event. Raises `QueueFull` if that is what was chosen."""
        if self.choices.when_full is WhenFull.RAISE:
            raise QueueFull(_FULL)
        self.lose(SendFailure(NotSent.QUEUE_FULL, "", _FULL, device, payload))

    def lose(self, failure: SendFailure) -> None:
        """An event that is not even in the box is not delivered."""
        self.tell(failure)
        self.box.lost(failure)

    def tell(self, failure: SendFailure) -> None:
        """The error callback, whose own errors are logged."""
        if self.choices.on_error is None:
            self._warn(failure)
            return
        try:
            self.choices.on_error(failure)
        except Exception:
            logger.exception("the error callback failed")

    def undelivered(self, turn: int) -> Undelivered | None:
        """What a flush of this turn raises."""
        waiting = self.box.waiting(turn)
        failures, failed = self.box.told()
        return Undelivered(failures, failed, waiting) if failed or waiting else None

    def close(self) -> None:
        """Take no more."""
        self.box.is_shut = True

    @property
    def is_closed(self) -> bool:
        return self.box.is_shut

    def abandon(self) -> None:
        """Nobody takes events out of the box any more: what is in it has an outcome now."""
        left = self.box.take()
        said = "the producer was closed before it was tried"
        failures = [SendFailure(NotSent.CLOSED, "", said, item.device, item.payload) for item in left]
        for failure in failures:
            self.tell(failure)
        self.box.settle(left, failures)

    @property
    def counts(self) -> SendCounts:
        return self.box.counts

    def _warn(self, failure: SendFailure) -> None:
        """As many lines as somebody can read, however many events fail."""
        self._unsaid += 1
        if monotonic() - self._said_s >= _SAY_EVERY_S:
            logger.warning(
                "not delivered: %d events, the last of them %s: %s",
                self._unsaid, failure.reason.value, failure.detail,
            )  # fmt: skip
            self._said_s, self._unsaid = monotonic(), 0
