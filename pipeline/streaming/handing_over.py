"""Chunks on their way to the agents: one that is busy does not hold up the others.

A sink's agent of events takes nothing while events are being inserted. If all waited for it, the rows of sessions,
which are few and for which somebody waits, would come after every insert of events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping
from typing import Any

from pipeline.topics import TP

logger = logging.getLogger(__name__)

_WAIT_S = 0.005


class HandingOver:
    """One task an agent, so that the chunks of a partition keep their order. Not safe for several threads."""

    def __init__(self, agents: Mapping[str, str]) -> None:
        """`agents`: by its topics, each; a topic that is not there has one of its own."""
        self._agents = agents
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def held_up(self) -> bool:
        """Whether an agent has yet to take what was fetched for it."""
        return bool(self._tasks)

    def agent(self, topic: str) -> str:
        """Who takes the chunks of a topic."""
        return self._agents.get(topic, topic)

    def free(self, sources: Collection[TP]) -> tuple[TP, ...]:
        """Those for whose agent nothing is on its way. Raises what handing over raised."""
        self.forget_done()
        return tuple(tp for tp in sources if self.agent(tp.topic) not in self._tasks)

    def forget_done(self) -> None:
        """Forget what was handed over. Raises what that raised."""
        for agent in [agent for agent, task in self._tasks.items() if task.done()]:
            self._tasks.pop(agent).result()

    def begin(self, agent: str, work: Coroutine[Any, Any, None]) -> None:
        """Hand over what was fetched for an agent that is free."""
        self._tasks[agent] = asyncio.create_task(work)

    async def wait(self, agents: Collection[str]) -> None:
        """Until these have taken all, or one has been busy for 5 ms. Raises what handing over raised."""
        if tasks := {self._tasks[agent] for agent in agents}:
            await asyncio.wait(tasks, timeout=_WAIT_S)
        self.forget_done()

    async def wait_for_one(self) -> None:
        """Until something is handed over. Blocks for as long as all agents are busy."""
        await asyncio.wait(set(self._tasks.values()), return_when=asyncio.FIRST_COMPLETED)

    async def stop(self) -> None:
        """Drop what is on its way: whoever has the partitions next reads it again. What it raises is logged."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(error, Exception):
                logger.error("chunks could not be handed over: %r", error)
