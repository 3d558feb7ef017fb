"""Why Kafka is silent: its servers are asked beside the work, and the log says it when it is new, then less often.

Heartbeats tell that Kafka is away, not why; and what aiokafka says of each try goes to its own log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from pipeline.errors import UnusablePath
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.diagnosis import Cause, why_unreachable

logger = logging.getLogger(__name__)

_REPORT_S = 5.0
"""Shorter silences are nobody's business."""
_ASK_EVERY_S = 5.0
_REFUSED_TIMES = 3
"""So often in a row the cause has to be one that waiting does not end: a login may just be changing on all sides."""
_LONGEST_S = 60.0
"""Between two lines of the log that say the same."""


class Silence:
    """Of one consumer. `look` is for its event loop; it never blocks."""

    def __init__(
        self,
        connection: KafkaConnection,
        give_up_s: float,
        why: Callable[[KafkaConnection], Awaitable[Cause | None]] = why_unreachable,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is in seconds."""
        self._connection = connection
        self._give_up_s = give_up_s
        self._why = why
        self._clock = clock
        self._asking: asyncio.Task[None] | None = None
        self._asked_s = -_ASK_EVERY_S
        self._told = ""
        self._tell_again_s = 0.0
        self.cause = ""
        """In words; empty while it is not silent, and until the servers were asked."""
        self._refused = 0
        """How often in a row the cause was one that waiting does not end."""

    @property
    def refusal(self) -> str:
        """The cause, once it is sure that waiting does not end it: a refused login, token or certificate."""
        return self.cause if self._refused >= _REFUSED_TIMES else ""

    def look(self, silent_s: float) -> None:
        """Once a second: Kafka has not answered a heartbeat for so long."""
        if silent_s < _REPORT_S:
            if self._told:
                logger.info("Kafka at %s answers again", self._connection.bootstrap)
            self.cause, self._told, self._refused = "", "", 0
            return
        if (self._asking is None or self._asking.done()) and self._clock() - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = self._clock()
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        if self.cause and (self.cause != self._told or silent_s >= self._tell_again_s):
            self._told, self._tell_again_s = self.cause, silent_s + min(silent_s, _LONGEST_S)
            if self._refused:
                logger.error(
                    "Kafka has not answered a heartbeat for %.0f s: %s. Waiting does not end that: the worker ends "
                    "if it stays so, and reads settings and secrets again when it is restarted", silent_s, self.cause,
                )  # fmt: skip
                return
            logger.warning(
                "Kafka has not answered a heartbeat for %.0f s: %s. The worker goes on by itself once it does, and "
                "ends after %.0f s", silent_s, self.cause, self._give_up_s,
            )  # fmt: skip

    async def _ask(self) -> None:
        try:
            cause = await self._why(self._connection)
        except UnusablePath as error:
            self.cause = str(error)
            return
        self._refused = self._refused + 1 if cause and cause.is_lasting else 0
        self.cause = (
            cause.said
            if cause
            else f"{self._connection.bootstrap} takes connections, but nobody there answers for the consumer group"
        )
