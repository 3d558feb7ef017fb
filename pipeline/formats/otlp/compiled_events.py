"""Events of records in protobuf by the compiled core: of those that it is sure of, the bytes that Python makes.

Whose the records are, what is refused and how events are packed is Python's. The core gets the records of a scope, and
gives their events, up to the first that it leaves to Python, and a word that says why.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from pipeline.formats.format import Left
from pipeline.formats.otlp.events import Context
from pipeline.formats.otlp.message import LOGS, Signal
from pipeline.formats.translation import TranslatedEvent

log = logging.getLogger(__name__)

_new: Any = tuple.__new__


class Taken(NamedTuple):
    """What the core made of some records."""

    stop: int
    """The first that it did not take."""
    left_why: str
    """Why that one is left to Python; empty if there is none, or no room."""
    latest_ms: int
    """Of the events, Unix milliseconds; 0 for none."""


class CompiledEvents:
    """Asks the core for events of one signal. Not safe for several threads."""

    def __init__(self, core: ModuleType, left: Left, signal: Signal) -> None:
        self._maker: Any = core.EventMaker()
        self._panic: type[BaseException] = core.Panic
        self._left = left
        self._is_log = signal is LOGS

    def take(
        self,
        context: Context,
        records: Sequence[Any],
        start: int,
        first: int,
        room: int,
        outgoing: list[TranslatedEvent],
    ) -> Taken:
        """Add the events of records of a scope, from one on, until there is a doubt about one or `room` are made.

        `first` is the index of the first of the scope's in its message.
        """
        who = context.who
        events: list[bytes] = []
        counts, why, latest_ms = b"", "resource", 0
        # Where a device is not said once, each record has to be asked; what is repaired, each event has to say.
        if who.device_id and not context.repaired:
            try:
                events, counts, why, latest_ms = self._maker.make(
                    self._is_log,
                    records,
                    start,
                    room,
                    context.sender_json,
                    context.quoted[context.scope_name],
                    context.scope_json,
                    who.session_id,
                    who.is_browser,
                    context.latest_ms,
                )
            except self._panic:
                why = "panic"
            usual, place = who.usual, first + start
            places: Sequence[int] = range(place, place + len(counts))
            if len(events) != len(counts):
                places = [at for at, count in enumerate(counts, place) for _ in range(count)]
            outgoing += [
                _new(TranslatedEvent, (at, usual, event)) for at, event in zip(places, events, strict=True)
            ]
        if why:
            self._left(why, 1)
            if why == "panic":
                log.error("the compiled core fails at a record of %r: Python reads it", who.usual.app_id)
        return Taken(start + len(counts), why, latest_ms)
