"""Puts the parts together. The only place that reads the environment."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline import topics
from pipeline.adapters.clickhouse import Store
from pipeline.adapters.embedded.running import completed
from pipeline.adapters.faust_app import BatchApp, run
from pipeline.adapters.kafka_connection import KafkaConnection, wait_for_broker
from pipeline.adapters.kafka_topics import ensure_topics
from pipeline.adapters.metrics import Metrics
from pipeline.adapters.rebuild import Rebuild, Scope
from pipeline.adapters.roles import (
    ROLES,
    Frame,
    report_ready,
    router_app,
    sessionizer_app,
    sink_app,
)
from pipeline.settings import Settings, load
from pipeline.sink.batch import Bounds
from pipeline.wire import state_codec

_MIB = 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEEP_FREED = (
    (_M_TRIM_THRESHOLD, 256 * _MIB),
    # Older versions of glibc refuse more than the first.
    (_M_MMAP_THRESHOLD, 32 * _MIB),
    (_M_MMAP_THRESHOLD, 64 * _MIB),
    # What one thread frees the other can use.
    (_M_ARENA_MAX, 1),
)
"""Parameters and values for glibc's mallopt."""


def settings() -> Settings:
    """The settings of this process. Raises `InvalidSettings`.

    Where the URL of ClickHouse has no user and `up` of the same user runs there: with user and password of that one.
    """
    loaded = load(os.environ)
    return replace(loaded, clickhouse_url=completed(loaded.clickhouse_url, state_folder()))


def state_folder() -> Path:
    """Where a user's programs say to each other what runs: `$XDG_STATE_HOME` or `~/.local/state`."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (given if given.is_absolute() else Path("~/.local/state").expanduser()) / "session-pipeline"


def connection(settings: Settings) -> KafkaConnection:
    """How to reach Kafka."""
    return KafkaConnection(
        settings.kafka_bootstrap,
        security=settings.kafka_security,
        mechanism=settings.kafka_mechanism,
        username=settings.kafka_username,
        password=settings.kafka_password,
        ca_file=settings.kafka_ca_file,
    )


def store(settings: Settings) -> Store:
    """ClickHouse; nothing is connected yet."""
    return Store(settings.clickhouse_url, timeout_s=max(1, settings.clickhouse_timeout_ms // 1_000))


def rebuild(settings: Settings, store: Store, scope: Scope, now_ms: int) -> Rebuild:
    """A rebuild under the present policies, with silence reported as of `now_ms`. Raises `UnknownStateVersion`."""
    encode = state_codec.encoder(settings.state_version)
    return Rebuild(
        store, settings.policies, scope, partitions=settings.partitions, now_ms=now_ms, encode=encode
    )


async def make_topics(settings: Settings) -> None:
    """Create the topics that are missing; waits for the broker. Raises `BrokerUnavailable`, `TopicMismatch`."""
    target = connection(settings)
    await wait_for_broker(target, give_up_s=settings.kafka_give_up_ms / 1_000)
    plan = topics.plan(settings.partitions, settings.topic_retention_ms)
    await ensure_topics(target, plan, replication_factor=settings.kafka_replication)


def fit_garbage_collection() -> None:
    """Set the collector of this process to what a worker holds.

    That (decoded states, up to millions of objects) has no cycles: looking for some after every 700 new objects, as
    Python does by default, took a quarter of all time.
    """
    gc.set_threshold(1_000_000, 20, 50)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees. To be called before it has threads.

    Every fetch takes and frees tens of megabytes. By default glibc gives large blocks back at once, and the system
    clears their pages again for the next fetch: some 4 % of a sessionizer's time. Without effect where the C library
    is another one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, bytes_or_count in _KEEP_FREED:
            mallopt(parameter, bytes_or_count)


def run_worker(role: str, settings: Settings, ready_file: Path | None) -> int:
    """Run one role, or all of them, in this process until SIGTERM or a failure; returns the exit code.

    Waits for the broker and makes the topics first. Raises `BrokerUnavailable`, `TopicMismatch`,
    `UnknownStateVersion`.
    """
    log_for_worker()
    fit_garbage_collection()
    keep_freed_memory()
    metrics = Metrics()
    if settings.metrics_port:
        metrics.serve(settings.metrics_host, settings.metrics_port)
    with tempfile.TemporaryDirectory(prefix="session-pipeline-") as temporary:
        frame = Frame(
            connection(settings),
            partitions=settings.partitions,
            data_dir=Path(settings.data_dir or temporary),
            session_timeout_s=settings.kafka_session_timeout_ms / 1_000,
            give_up_s=settings.kafka_give_up_ms / 1_000,
            replication_factor=settings.kafka_replication,
            offset_base=settings.offset_base,
            metrics=metrics,
        )
        return run(lambda: _apps(role, settings, frame, ready_file), prepare=lambda: make_topics(settings))


def _apps(role: str, settings: Settings, frame: Frame, ready_file: Path | None) -> Sequence[BatchApp]:
    encode = state_codec.encoder(settings.state_version)
    bounds = Bounds(settings.sink_max_rows, settings.sink_max_bytes, settings.sink_max_age_ms)
    build = {
        "router": lambda: router_app(frame),
        "sessionizer": lambda: sessionizer_app(frame, settings.policies, encode),
        "sink": lambda: sink_app(frame, store(settings), bounds),
    }
    apps = [build[name]() for name in (ROLES if role == "all" else (role,))]
    waiting = len(apps)

    async def ready() -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            logging.getLogger(__name__).info("%s: ready", role)
            if ready_file is not None:
                await asyncio.to_thread(ready_file.touch)

    for app in apps:
        report_ready(app, ready)
    return apps


def log_for_worker() -> None:
    """One line an entry on stderr; libraries speak up from WARNING on."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    logging.getLogger("pipeline").setLevel(logging.INFO)
    # One line a second for each broker that does not answer; we say it ourselves, less often.
    logging.getLogger("aiokafka.client").setLevel(logging.CRITICAL)


def log_for_command() -> None:
    """Only what we have to say while waiting; a failure is one line, without what libraries think of it."""
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL, format="%(message)s")
    logging.getLogger("pipeline").setLevel(logging.WARNING)
    # The ClickHouse client sets this one's own level.
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
