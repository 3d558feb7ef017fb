"""Chunks on their way to the agents, topic by topic: one whose agent is busy does not hold up the others.

A sink's agent of events takes nothing while events are being inserted. If all topics waited for it, the rows of
sessions, which are few and for which somebody waits, would come after every insert of events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any

from pipeline.topics import TP

_WAIT_S = 0.005


class HandingOver:
    """One task a topic, so that the chunks of a partition keep their order. Not safe for several threads."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def held_up(self) -> bool:
        """Whether an agent has yet to take what was fetched for it."""
        return bool(self._tasks)

    def free(self, sources: Collection[TP]) -> tuple[TP, ...]:
        """Those of whose topics nothing is on its way. Raises what handing over raised."""
        for topic in [topic for topic, task in self._tasks.items() if task.done()]:
            self._tasks.pop(topic).result()
        return tuple(tp for tp in sources if tp.topic not in self._tasks)

    def begin(self, topic: str, work: Coroutine[Any, Any, None]) -> None:
        """Hand over what was fetched of a topic that is free."""
        self._tasks[topic] = asyncio.create_task(work)

    async def wait(self) -> None:
        """Until all is handed over, or an agent has been busy for 5 ms. Raises what handing over raised."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=_WAIT_S)
        self.free(())

    async def wait_for_one(self) -> None:
        """Until something is handed over. Blocks for as long as all agents are busy."""
        await asyncio.wait(set(self._tasks.values()), return_when=asyncio.FIRST_COMPLETED)

    async def stop(self) -> None:
        """Drop what is on its way: whoever has the partitions next reads it again."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
