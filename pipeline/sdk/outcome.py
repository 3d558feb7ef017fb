"""What can become of an event that was sent: delivered, which is not reported, or one of these."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipeline.errors import Terminal, Transient
from pipeline.formats.rejected import Reason, Rejected
from pipeline.sdk.device import SdkDevice


class NotSent(StrEnum):
    """Why an event that has no fault was not delivered."""

    QUEUE_FULL = "queue_full"
    """There was no room for it, nor any within the time that the caller would wait."""
    TIMED_OUT = "timed_out"
    """Kafka did not confirm it within `delivery_timeout_s`."""
    KAFKA_REFUSED = "kafka_refused"
    """Kafka refuses it, however often it is sent."""
    OUR_FAULT = "our_fault"
    """This library failed; the log has the traceback, to be reported."""
    CLOSED = "closed"
    """The producer was closed, or the process ended, before Kafka confirmed it."""


@dataclass(frozen=True, slots=True)
class SendFailure:
    """One event that was not delivered, as far as is known."""

    reason: Reason | NotSent
    """The decoder's for an event that has a fault, which is never sent."""
    path: str
    """Where the fault is, as `events[0].time`, in an envelope with this event alone; empty if it has no place."""
    detail: str
    """For people: what is allowed there, or what Kafka said."""
    device: SdkDevice
    payload: bytes = field(repr=False)
    """The event as JSON; without its attributes if these could not be made JSON."""
    may_have_arrived: bool = False
    """It was sent, and not confirmed. It may be sent again as it is: its id makes it count once."""

    @property
    def event(self) -> dict[str, Any]:
        """The event, with the id and the time that it had."""
        decoded: dict[str, Any] = json.loads(self.payload)  # msgspec takes no half of a surrogate pair
        return decoded


def refused(rejected: Rejected, device: SdkDevice, payload: bytes) -> SendFailure:
    """The failure of an event that the decoder would refuse."""
    return SendFailure(rejected.reason, rejected.path, rejected.detail, device, payload)


class QueueFull(Transient):
    """There is no room for another event."""


class ProducerClosed(Terminal):
    """It was closed, and takes no more events."""


class Undelivered(Transient):
    """Not all that was sent before is with Kafka."""

    def __init__(self, failures: Sequence[SendFailure], failed: int, waiting: int) -> None:
        said = [f"{failed} events were not delivered"] if failed else []
        said += [f"{waiting} are still waiting"] if waiting else []
        first = f"; the first: {failures[0].reason.value}: {failures[0].detail}" if failures else ""
        super().__init__(" and ".join(said) + first)
        self.failures = failures
        """The last of them, at most `KEPT_FAILURES`; the error callback got each."""
        self.failed = failed
        """How many there are, since the flush before."""
        self.waiting = waiting
        """How many have no outcome yet: they are tried further, unless the producer was closed."""
