"""Groups of crashes as they come, by the symbol files that there are: what the sink does once events are stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from pipeline.errors import Terminal, Transient
from pipeline.formats.stacks.symbols import Need, Symbols
from pipeline.storage.crash_rows import again, failing_events

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0


class KnownSymbols(Symbols, Protocol):
    """Symbol files, and which there are. Methods block, and raise `Transient` where it cannot be told just now."""

    @property
    def is_usable(self) -> bool:
        """Whether any can be read here."""

    def digest_of(self, app_id: str, need: Need) -> str:
        """The digest of the file that a need has; empty if there is none."""


class Symbolicating:
    """Makes the rows of crashes anew whose stacks there are files for, in a thread: to read one takes a moment.

    The row of a crash is there before, with the group that it has without symbols; whoever stops in between does it
    again, since the events are not acknowledged by then.
    """

    def __init__(
        self, symbols: KnownSymbols, insert: Callable[..., Awaitable[Sequence[Any]]],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._symbols = symbols
        self._insert = insert
        self._pause = pause

    async def stored(self, rows: bytes, *, token: str) -> None:
        """Some rows of `z_envelope_feed` are stored. Waits for ClickHouse as long as it takes; raises as `insert`."""
        if not self._symbols.is_usable:
            return
        made, pause_s = b"", _FIRST_PAUSE_S
        while True:
            try:
                made = await asyncio.to_thread(self._made, rows)
            except Transient as error:
                log.warning(
                    "symbols cannot be read at the moment, trying again in %.1f s: %s", pause_s, error
                )
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            except Terminal as error:
                # As with a schema that has no such files yet. `regroup` makes up for it.
                log.warning("groups are made without symbols: %s", error)
                return
            else:
                break
        if made:
            refused = await self._insert("z_crash_rows", made, token=token)
            if refused:
                raise AssertionError(f"ClickHouse refuses a crash that it has: {refused[0].message}")

    def _made(self, rows: bytes) -> bytes:
        return b"\n".join(
            again(failure, self._symbols)
            for failure in failing_events(rows)
            if any(self._symbols.digest_of(failure.app.id, need) for need in failure.needs)
        )
