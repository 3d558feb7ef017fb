"""What was refused before Kafka, in the log: an SDK or a phone rarely shows an answer, so its author looks here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from starlette.requests import Request

from pipeline.receive.refusal import NeverTaken, NotTaken

LOGGER = __name__
_EVERY_S = 60.0
_MOST_CHARS = 600
_MOST_PATH_CHARS = 100

log = logging.getLogger(LOGGER)


def _on_the_loop(after_s: float, work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(after_s, work)


class Refusals:
    """At most one line a minute for each reason: the first at once, what follows it counted.

    What may be taken when it is sent again is in the metrics alone. Nothing of a body, a key or a query is said.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], None] = _on_the_loop) -> None:
        """`later` does some work after so many seconds."""
        self._later = later
        self._held: dict[tuple[str, int], tuple[int, str]] = {}
        """By reason and status: how many came since the last line, and what to say of the latest."""

    def note(self, fault: NotTaken, request: Request) -> None:
        """A request was answered with this."""
        if not isinstance(fault, NeverTaken):
            return
        key = (fault.reason, fault.status)
        path = request.scope["path"][:_MOST_PATH_CHARS]
        text = f"{fault.reason} ({fault.status}): {fault.text[:_MOST_CHARS]} ({request.method} {path})"
        if key in self._held:
            count, _ = self._held[key]
            self._held[key] = count + 1, text
            return
        log.warning("refused: 1 request, %s", _printable(text))
        self._hold(key)

    def _hold(self, key: tuple[str, int]) -> None:
        self._held[key] = 0, ""
        self._later(_EVERY_S, lambda: self._say(key))

    def _say(self, key: tuple[str, int]) -> None:
        count, text = self._held.pop(key)
        if count:
            many = f"{count} request{'' if count == 1 else 's'}"
            log.warning("refused in the last minute: %s, %s", many, _printable(text))
            self._hold(key)


def _printable(text: str) -> str:
    """On one line, and without anything that a terminal would take for a command: clients choose some of it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
