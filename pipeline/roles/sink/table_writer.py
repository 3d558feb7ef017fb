"""When rows go into ClickHouse: a batch a table, stored when it is full or old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from pipeline.roles.sink.batch import Batch, Bounds, Piece

Pieces = Sequence[Piece]
_PIECES_MADE = 3
"""At once: one fills the batch that is being stored, others wait for the next."""


class TableWriter:
    """Collects the rows of one table and stores them when a batch is full or old.

    `add` blocks while an insert is under way, which in the end pauses fetching. `run` must be running: it
    stores what has grown old. Both raise what storing raises, and nothing is acknowledged then. Pieces of
    partitions that have gone to another worker are dropped before the insert: that one reads them again.
    """

    def __init__(
        self,
        bounds: Bounds,
        store: Callable[[Pieces], Awaitable[None]],
        time_making: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._batch = Batch(bounds)
        self._store = store
        self._time_making = time_making
        self._lock = asyncio.Lock()
        self._places = asyncio.Semaphore(_PIECES_MADE)
        self._filled = asyncio.Event()

    async def add_all(
        self, pieces: Iterator[Piece], *, acknowledge: Callable[[], object], still_mine: Callable[[], bool]
    ) -> None:
        """Take the pieces of a chunk, each made once the one before is in a batch.

        `acknowledge` is called once all of them are stored. However many partitions there are, few pieces are made
        and wait: one is made while a batch is stored.
        """
        while still_mine():
            async with self._places:
                with self._time_making():
                    piece = next(pieces, None)
                if piece is None:
                    return
                piece.still_mine = still_mine
                if piece.is_last:
                    piece.acknowledge = acknowledge
                await self.add(piece)

    async def add(self, piece: Piece) -> None:
        """Take a piece; stores the batch if that fills it."""
        came_ms = _now_ms()
        async with self._lock:
            # What waited for an insert has waited for others already; half its time it waits all the same, so that a
            # ClickHouse that is slow gets fewer and larger inserts.
            now_ms = _now_ms()
            self._batch.add(piece, max(came_ms, now_ms - self._batch.bounds.max_age_ms // 2))
            self._filled.set()
            if self._batch.is_full():
                await self._flush()

    async def run(self) -> None:
        """Store batches as they come of age, until cancelled."""
        while True:
            wait_ms = self._batch.wait_ms(_now_ms())
            if wait_ms is None:
                self._filled.clear()
                await self._filled.wait()
            elif wait_ms:
                await asyncio.sleep(wait_ms / 1_000)
            else:
                async with self._lock:
                    if self._batch.wait_ms(_now_ms()) == 0:
                        await self._flush()

    async def _flush(self) -> None:
        pieces = [piece for piece in self._batch.take() if piece.still_mine()]
        if pieces:
            await self._store(pieces)


def _now_ms() -> int:
    """The loop's clock: it only goes forward, and a simulated loop brings its own."""
    return int(asyncio.get_running_loop().time() * 1_000)
