"""Why a request is not taken. Raised within a request, and turned into an answer in one place."""

from __future__ import annotations

import random

from pipeline.errors import PipelineError, Terminal, Transient


class NotTaken(PipelineError):
    """The request is not taken: one of the two below. `status` is the answer's, `reason` a label of metrics, `text` for
    people."""

    def __init__(
        self, status: int, reason: str, text: str, *, retry_after_s: int | None = None, closes: bool = False
    ) -> None:
        """`retry_after_s`: the same again may be taken after so long. `closes`: the rest of the body is not read."""
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.text = text
        self.retry_after_s = retry_after_s
        self.closes = closes


class NeverTaken(NotTaken, Terminal):
    """Nor will the same be that is sent again."""


class NotTakenNow(NotTaken, Transient):
    """The same may be, later."""


def busy() -> NotTakenNow:
    """There is no room for more bytes at the moment."""
    text = "too many bytes are under way; send the same again later"
    # Not all at the same time.
    return NotTakenNow(429, "busy", text, retry_after_s=random.randint(1, 5), closes=True)


def kafka_away() -> NotTakenNow:
    """Kafka does not have the records, and may not have them soon."""
    text = "Kafka does not answer; send the same again later"
    return NotTakenNow(503, "kafka_away", text, retry_after_s=random.randint(5, 15))
