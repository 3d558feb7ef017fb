"""Questions to ClickHouse without blocking the event loop, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import anyio
import orjson
from anyio import CapacityLimiter, to_thread

from pipeline.errors import PipelineError, Terminal, Transient
from pipeline.query.operations import Ask
from pipeline.query.statement import Statement

Row = Mapping[str, Any]
_T = TypeVar("_T")


class NotAnswered(PipelineError):
    """A question has no answer: its message is for the person who asked. One of the two below."""


class NotAnsweredNow(NotAnswered, Transient):
    """The same question may have an answer later."""


class Unanswerable(NotAnswered, Terminal):
    """Another question is to be asked."""


class NoRight(Unanswerable):
    """The program's own user of ClickHouse may not do that."""


class Reader:
    """Asks in threads, at most `at_once`; at most `waiting` others wait up to `patience_s`. Raises `NotAnswered`."""

    def __init__(self, ask: Ask, *, at_once: int = 4, waiting: int = 32, patience_s: float = 20.0) -> None:
        """`ask` blocks and raises `NotAnswered`."""
        self._ask = ask
        self._at_once = at_once
        self._waiting = waiting
        self._patience_s = patience_s
        self._limiter: CapacityLimiter | None = None

    async def rows(self, statement: Statement) -> list[Row]:
        """All rows of a result, in order."""

        def work(ask: Ask) -> list[Row]:
            return [orjson.loads(line) for line in ask(statement.sql, statement.parameters).splitlines()]

        return await self.run(work)

    async def run(self, work: Callable[[Ask], _T]) -> _T:
        """Whatever `work` makes of several questions, in one thread."""
        # Only inside the event loop: a limiter belongs to the one that made it.
        limiter = self._limiter = self._limiter or CapacityLimiter(self._at_once)
        too_many = NotAnsweredNow("Too many questions at once; try again shortly.")
        if limiter.statistics().tasks_waiting >= self._waiting:
            raise too_many
        try:
            with anyio.fail_after(self._patience_s):
                await limiter.acquire_on_behalf_of(token := object())
        except TimeoutError:
            raise too_many from None
        try:
            return await to_thread.run_sync(work, self._ask)
        finally:
            limiter.release_on_behalf_of(token)

    async def first(self, statement: Statement) -> Row | None:
        """The first row, or None."""
        rows = await self.rows(statement)
        return rows[0] if rows else None
