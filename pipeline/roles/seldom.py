"""What is tried once a second and fails in the same way is a line in the log once a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_AGAIN_S = 60.0


class Seldom:
    """Of one thing that is waited for."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        self._logger = logger
        self._clock = clock
        self._began_s = clock()
        self._said = ""
        self._said_s = 0.0

    def warn(self, text: str) -> None:
        """At once what is new, and what was said before a minute later, with how long it has been so."""
        now_s = self._clock()
        if text == self._said and now_s - self._said_s < _AGAIN_S:
            return
        since = f" ({now_s - self._began_s:.0f} s so far)" if self._said else ""
        self._said, self._said_s = text, now_s
        self._logger.warning("%s%s", text, since)
