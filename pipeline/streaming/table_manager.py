"""Faust's table manager, with our recovery in place of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from faust.tables import TableManager
from faust.types import TP
from mode import Service

from pipeline.kafka.admin import LogBounds, log_bounds
from pipeline.kafka.changelog import read_changelog
from pipeline.kafka.topic_identity import Note
from pipeline.streaming.assignment import Assignment
from pipeline.streaming.recovery import TakeOver

logger = logging.getLogger(__name__)

_RETRY_S = 0.5


class _AppsKafka:
    """The `recovery.Kafka` of an app."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def holds(self, assignment: Assignment) -> bool:
        holds: bool = self._app.consumer.holds(assignment)
        return holds

    async def topic_ids(self, names: Collection[str]) -> Mapping[str, str]:
        while names:
            try:
                await self._app.consumer.require_partitions()
                found: Mapping[str, str] = await self._app.consumer.topic_ids(names)
                return found
            except (KafkaError, TimeoutError) as error:
                logger.warning("waiting for Kafka, to learn what its topics are: %r", error)
                await asyncio.sleep(_RETRY_S)
        return {}

    async def require_topics(self, names: Collection[str], ids: Mapping[str, str]) -> None:
        if self._app.on_topics_known and names:
            await self._app.on_topics_known(names, ids)

    async def committed(self, partitions: Collection[TP]) -> Mapping[TP, tuple[int, Note]]:
        committed: Mapping[TP, tuple[int, Note]] = await self._app.consumer.committed(partitions)
        return committed

    async def start_offsets(self, partitions: set[TP]) -> Mapping[TP, int]:
        return await self._app.start_offsets(partitions) if self._app.start_offsets else {}

    async def log_bounds(self, partitions: Collection[TP]) -> Mapping[TP, LogBounds]:
        return await log_bounds(self._app.connection, partitions)

    def read_changelog(
        self,
        topic: str,
        partitions: Collection[int],
        newer: Callable[[bytes, bytes], bool] | None,
        at_least: Mapping[int, int],
    ) -> AsyncGenerator[tuple[int, dict[bytes, bytes]], None]:
        return read_changelog(self._app.connection, topic, partitions, newer, at_least=at_least)


class Recovery(Service):  # type: ignore[misc]
    """After each assignment: give up what is lost, find the offsets, let reading of what was kept begin, and of what is
    new as it is recovered.

    A rebalance in the middle of it cancels it; any other error stops the worker.
    """

    mundane_level = "debug"

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app = app
        self.completed = asyncio.Event()
        """Set once the first assignment is being read."""
        self._running: asyncio.Future[None] | None = None

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Called by the table manager when a rebalance begins, and when the app stops."""
        if self._running and not self._running.done():
            self._running.cancel()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Called by the table manager when the new assignment is known."""
        self.on_partitions_revoked(revoked)
        self._running = self.add_future(self._take_over(self.app.consumer.assignment_in_force))

    async def _take_over(self, assignment: Assignment) -> None:
        app = self.app
        take_over = TakeOver(app.state_tables, app.batch_topics, _AppsKafka(app))
        resumed = False

        async def begin(starts: dict[TP, int], committed: dict[TP, int]) -> None:
            nonlocal resumed
            if not assignment.open:
                return
            if not resumed:
                resumed = True
                await self._resume()
            await app.consumer.begin_delivery(assignment, starts, committed)
            logger.info(
                "reading %d partitions, %d more to be recovered: %s", len(starts), len(assignment.waiting),
                ", ".join(f"{tp.topic}[{tp.partition}] from {offset}" for tp, offset in sorted(starts.items())),
            )  # fmt: skip

        await take_over.run(assignment, begin)
        if not assignment.open:
            return
        await app.on_rebalance_complete.send()
        self.completed.set()

    async def _resume(self) -> None:
        """Let records flow again, as Faust does it when its own recovery is through."""
        app = self.app
        app.flow_control.resume()
        app.consumer.resume_flow()
        await app._fetcher.maybe_start()
        app.tables.on_actives_ready()
        app.tables.on_standbys_ready()
        app.on_rebalance_end()


class StateTableManager(TableManager):  # type: ignore[misc]
    """Faust's table manager with our recovery."""

    _recovery: Recovery | None = None

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = Recovery(self.app, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        """As Faust's, without its wait of a second for tables that come late: ours are there before the app starts."""
        await self._update_channels()
        await self.recovery.start()
