"""The options of a producer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pipeline.formats.limits import MAX_EVENTS, MAX_RECORD_BYTES
from pipeline.sdk.outcome import SendFailure
from pipeline.topics import SDK_EVENTS


class WhenFull(StrEnum):
    """What becomes of an event for which there is no room."""

    BLOCK = "block"
    """The call waits for room, for `block_s` at most, and goes on as `DROP` then."""
    DROP = "drop"
    """That event is dropped, and the error callback is called."""
    RAISE = "raise"
    """`QueueFull` is raised; the callback is not called, since the caller has the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Raises ValueError for a value that makes no sense."""

    topic: str = SDK_EVENTS
    linger_s: float = 0.2
    """How long an event may wait for others of its device."""
    batch_events: int = MAX_EVENTS
    batch_bytes: int = MAX_RECORD_BYTES
    queue_events: int = 100_000
    """How many events may wait for an outcome."""
    queue_bytes: int = 64_000_000
    """And how many bytes of them as JSON. Twice that is what they may take in memory, compressed envelopes included."""
    when_full: WhenFull = WhenFull.DROP
    block_s: float = 1.0
    delivery_timeout_s: float = 120.0
    """How long to go on trying to deliver an event, from when it was taken."""
    exit_timeout_s: float = 5.0
    """How long the end of the process may be held up for what is still waiting."""
    on_error: Callable[[SendFailure], None] | None = None
    """Called once for each event that is not delivered, in the thread of the producer, or in the caller's if the event
    is not even taken. None: a warning is logged."""

    def __post_init__(self) -> None:
        if not 1 <= self.batch_events <= MAX_EVENTS:
            raise ValueError(f"batch_events: 1 to {MAX_EVENTS}, not {self.batch_events}")
        for name in ("batch_bytes", "queue_events", "queue_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1, not {getattr(self, name)}")
        for name in ("linger_s", "block_s", "delivery_timeout_s", "exit_timeout_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: at least 0, not {getattr(self, name)}")
        object.__setattr__(self, "when_full", WhenFull(self.when_full))
