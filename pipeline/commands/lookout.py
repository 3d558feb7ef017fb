"""What a worker looks at while it runs, so that its probes tell the truth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Thread

from pipeline import __version__
from pipeline.clickhouse.migrations import pending
from pipeline.clickhouse.store import Store
from pipeline.commands.vital_signs import VitalSigns
from pipeline.errors import PipelineError
from pipeline.roles.health import Health
from pipeline.roles.metrics import Metrics
from pipeline.settings import Settings
from pipeline.streaming.faust_app import BatchApp
from pipeline.streaming.readiness import kafka_fault, partitions_fault, topics_fault
from pipeline.wiring import store

_LOOK_S = 1.0
_ASK_CLICKHOUSE_S = 3.0
_CLICKHOUSE_ANSWERS_MS = 5_000
_SHOWN_CHARS = 300


class Lookout:
    """Keeps `health` up to date from the event loop that `begin` is called in, until that ends."""

    def __init__(self, health: Health, metrics: Metrics, role: str) -> None:
        self._health = health
        self._metrics = metrics
        self._looking: asyncio.Task[None] | None = None
        self._of_clickhouse = "it has not been asked yet"
        self._asks_clickhouse = False
        self._signs: VitalSigns | None = None
        self._role = role
        self.name_core("")

    def name_core(self, version: str) -> None:
        """Tell in the metrics which compiled core is used; "" is none."""
        self._metrics.build.info({"version": __version__, "role": self._role, "core": version})

    def begin(self, settings: Settings, *, asks_clickhouse: bool) -> None:
        """Begin to look; until there are apps the worker is not ready."""
        self._health.watch(
            "start", lambda: f"it waits for Kafka at {settings.kafka_bootstrap} to make its topics there"
        )
        self._asks_clickhouse = asks_clickhouse
        if asks_clickhouse:
            self._health.watch("clickhouse", lambda: self._of_clickhouse)
            asked = store(replace(settings, clickhouse_timeout_ms=_CLICKHOUSE_ANSWERS_MS))
            # Nobody waits at the end for an answer that does not come.
            Thread(target=self._ask_clickhouse, args=(asked,), name="asks ClickHouse", daemon=True).start()
        self._looking = asyncio.create_task(self._look())

    def watch_apps(self, apps: Sequence[tuple[str, BatchApp]]) -> None:
        """From now on their roles tell what is wrong."""
        self._health.watch("start", lambda: "")
        for role, app in apps:
            of_role = f"{role} " if len(apps) > 1 else ""
            asked: tuple[tuple[str, Callable[[BatchApp], str]], ...] = (
                ("kafka", kafka_fault),
                ("partitions", partitions_fault),
                ("topics", topics_fault),
            )
            for part, ask in asked:
                self._health.watch(of_role + part, lambda ask=ask, app=app: ask(app))  # type: ignore[misc]

    def watch_work(self, apps: Sequence[tuple[str, BatchApp]], storing: Store) -> None:
        """From now on their work is told of in metrics, and once a minute in the log."""
        self._signs = VitalSigns(self._metrics, apps, storing)

    def watch_inserts(self, storing: Store) -> None:
        """From now on it is a fault where rows are not taken: of a full disk, too many parts, a missing right."""
        self._health.watch(
            "inserts",
            lambda: "; ".join(
                f"rows for {table} are not taken: {said}"[:_SHOWN_CHARS]
                for table, said in sorted(storing.untaken.copy().items())
            ),
        )

    async def _look(self) -> None:
        while True:
            self._health.look()
            self._metrics.ready.set(not self._health.faults)
            if self._asks_clickhouse:
                self._metrics.connected.labels("clickhouse").set(not self._of_clickhouse)
            if self._signs is not None:
                self._signs.look()
            await asyncio.sleep(_LOOK_S)

    def _ask_clickhouse(self, asked: Store) -> None:
        while True:
            try:
                self._of_clickhouse = _clickhouse_fault(asked)
            except Exception as error:
                # Whatever it is, the last answer is no answer any more.
                self._of_clickhouse = f"it cannot be asked: {error!r}"[:_SHOWN_CHARS]
            time.sleep(_ASK_CLICKHOUSE_S)


def _clickhouse_fault(asked: Store) -> str:
    """Why ClickHouse cannot take rows; empty if it can. Blocks."""
    try:
        missing = pending(asked)
    except PipelineError as error:
        return str(error)[:_SHOWN_CHARS]
    if missing:
        return f"database {asked.database} lacks {', '.join(missing)}: run session-pipeline migrate"[
            :_SHOWN_CHARS
        ]
    return ""
