"""Ctrl-C and SIGTERM, acted on at once where a command can be interrupted, and remembered where it cannot."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(KeyboardInterrupt):
    """A signal has come. Of this kind because asyncio hands it on from wherever it is raised."""


class Signals:
    """The signals of this process from `listen` on. Main thread only."""

    def __init__(self) -> None:
        self._came = 0
        self._heard = 0
        self._is_listened_to = False

    def listen(self) -> None:
        """Takes SIGINT and SIGTERM for itself."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._come())

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Within, a signal raises `Interrupted`; so does entering, if one has come that nobody heard."""
        self._is_listened_to = True
        try:
            self._raise_if_any()
            yield
        finally:
            self._is_listened_to = False

    def _come(self) -> None:
        self._came += 1
        if self._is_listened_to:
            self._raise_if_any()

    def _raise_if_any(self) -> None:
        if self._came > self._heard:
            self._heard = self._came
            # Once: what is cleaned up on the way out is not interrupted.
            self._is_listened_to = False
            sys.unraisablehook = _but_half_made_loops
            raise Interrupted


def _but_half_made_loops(unraisable: sys.UnraisableHookArgs) -> None:
    """An event loop that was being made when a signal came cannot close what it does not have yet, and says so where
    nobody can do anything about it."""
    if getattr(unraisable.object, "__qualname__", "") != "BaseEventLoop.__del__":
        sys.__unraisablehook__(unraisable)
