"""`worker`: one role, or all of them, in this process. The only command that imports Faust."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline import compiled
from pipeline.commands.listed_policies import policies_of, taken
from pipeline.commands.lookout import Lookout
from pipeline.commands.serving_metrics import serve_metrics
from pipeline.errors import PipelineError, path_of
from pipeline.kafka.whole_topic import follow
from pipeline.logs import log_for_worker
from pipeline.roles.health import Health
from pipeline.roles.metrics import Metrics
from pipeline.roles.published import Published
from pipeline.roles.sink.batch import Bounds
from pipeline.roles.topology import ROLES
from pipeline.runtime import fit_garbage_collection, keep_freed_memory, leave
from pipeline.settings import Settings
from pipeline.state.codec import state_codec
from pipeline.storage.kept import Keeping
from pipeline.streaming.apps import Frame, report_ready, router_app, sessionizer_app, sink_app
from pipeline.streaming.faust_app import BatchApp, run
from pipeline.topics import ERASURES, POLICIES
from pipeline.wiring import connection, counts_before, edge, make_topics, options, store

logger = logging.getLogger(__name__)

_FOLLOWING: set[asyncio.Task[None]] = set()
"""Tasks of this process; asyncio itself keeps none alive."""


def worker(settings: Settings, role: str, ready_file: Path | None) -> None:
    """Run a worker; exits with its code. Raises what `run_worker` raises; what nobody expects is in the log then."""
    try:
        code = run_worker(role, settings, ready_file)
    except (PipelineError, OSError):
        raise
    except Exception:
        logger.exception("the worker could not begin")
        raise
    leave(code)


def run_worker(role: str, settings: Settings, ready_file: Path | None) -> int:
    """Run one role, or all of them, in this process until SIGTERM or a failure; returns the exit code.

    Waits for the broker and makes the topics first. Raises `BrokerUnavailable`, `TopicMismatch`,
    `UnknownStateVersion`, `UnusablePath`.
    """
    log_for_worker(settings.log_format, role)
    fit_garbage_collection()
    keep_freed_memory()
    metrics, health = Metrics(), Health()
    watch = Lookout(health, metrics, role)
    serve_metrics(settings, metrics, health)
    with tempfile.TemporaryDirectory(prefix="session-pipeline-") as temporary:
        frame = Frame(
            connection(settings),
            partitions=settings.partitions,
            before=counts_before(settings),
            data_dir=Path(settings.data_dir or temporary),
            session_timeout_s=settings.kafka_session_timeout_ms / 1_000,
            give_up_s=settings.kafka_give_up_ms / 1_000,
            replication_factor=settings.kafka_replication,
            offset_base=settings.offset_base,
            metrics=metrics,
            edge=edge(settings),
            instance_id=settings.kafka_instance_id,
        )

        async def prepare() -> None:
            watch.begin(settings, asks_clickhouse=role in ("sink", "all"))
            await make_topics(settings, role)
            if role != "router":
                await _follow_erasures(frame)
            await _follow_policies(frame, settings, health)

        return run(lambda: _apps(role, settings, frame, ready_file, watch), prepare=prepare)


async def _follow(frame: Frame, topic: str, take: Callable[[Sequence[bytes]], None]) -> None:
    """Take all that a list has, and go on taking what is added while the process runs."""
    through = asyncio.Event()
    _FOLLOWING.add(asyncio.create_task(follow(frame.connection, topic, take, through)))
    await through.wait()


async def _follow_erasures(frame: Frame) -> None:
    """Learn what was erased, before anything is read, and go on learning."""

    def take(values: Sequence[bytes]) -> None:
        if unread := frame.edge.erasures.read(values):
            logger.error("%d records of %s are not what `erase` writes, and are skipped", unread, ERASURES)

    await _follow(frame, ERASURES, take)


async def _follow_policies(frame: Frame, settings: Settings, health: Health) -> None:
    """Learn what was published of policies, before anything is read, and go on learning; tell where settings differ."""
    published, said = Published(), [""]
    own = policies_of(settings)

    def take(values: Sequence[bytes]) -> None:
        newest = taken(published, values)
        if newest is None:
            return
        frame.newest.become(newest.privacy, newest.samplings)
        difference = published.difference(own)
        health.notes["policies"] = difference or f"version {newest.version}"
        if difference != said[0]:
            said[0] = difference
            if difference:
                logger.warning("%s", difference)

    await _follow(frame, POLICIES, take)


def _apps(
    role: str, settings: Settings, frame: Frame, ready_file: Path | None, watch: Lookout
) -> Sequence[BatchApp]:
    encode = state_codec.encoder(settings.state_version)
    bounds = Bounds(settings.sink_max_rows, settings.sink_max_bytes, settings.sink_max_age_ms)
    keeping = Keeping(
        settings.retentions, settings.dead_letter_retention_days, settings.dead_letters_per_minute
    )
    storing = store(settings)
    core = compiled.core(settings.core)
    watch.name_core(core.__version__ if core else "")
    build = {
        "router": lambda: router_app(frame, options(settings), core),
        "sessionizer": lambda: sessionizer_app(frame, settings.policies, encode, core),
        "sink": lambda: sink_app(frame, storing, bounds, keeping, core),
    }
    names = ROLES if role == "all" else (role,)
    apps = [build[name]() for name in names]
    named = list(zip(names, apps, strict=True))
    watch.watch_apps(named)
    watch.watch_inserts(storing)
    watch.watch_work(named, storing)
    waiting = len(apps)

    async def ready() -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            logger.info("%s: ready", role)
            if ready_file is not None:
                with path_of("--ready-file", ready_file):
                    await asyncio.to_thread(ready_file.touch)

    for app in apps:
        report_ready(app, ready)
    return apps
