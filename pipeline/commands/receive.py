"""`receive`: what SDKs send over HTTP, on to Kafka, until a signal."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Coroutine
from functools import partial
from pathlib import Path

from pipeline import wiring
from pipeline.commands.failure import CommandFailed
from pipeline.commands.key_file import KeyFile
from pipeline.commands.listed_policies import follow_policies
from pipeline.commands.listening import is_loopback, listening, shown
from pipeline.formats.registry import routed_topics
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topic_watch import TopicWatch
from pipeline.kafka.topics_seen import keep_looking
from pipeline.kafka.writer import KafkaWriter
from pipeline.logs import log_for_worker
from pipeline.receive.app import Readiness, application
from pipeline.receive.budget import Budget
from pipeline.receive.intake import Common
from pipeline.receive.metrics import ReceiveMetrics
from pipeline.receive.origins import Origins
from pipeline.receive.server import StoppableServer, config
from pipeline.settings import Settings

_BEGIN_S = 5.0
"""How long it waits for Kafka before it lets anybody in, to be told that there is none."""
_OTHER_FILES = 200
"""To Kafka, of the program itself, and of connections that are on their way out."""

log = logging.getLogger(__name__)


def _beside(
    connection: KafkaConnection, watch: TopicWatch, common: Common
) -> tuple[Coroutine[None, None, None], ...]:
    """What is looked at meanwhile."""
    return keep_looking(connection, routed_topics(), watch), follow_policies(connection, common.edge)


def receive(settings: Settings, *, host: str, port: int, needs_key: bool) -> None:
    """Serve until SIGINT or SIGTERM; what was accepted by then is in Kafka and answered. Raises `CommandFailed` if it
    cannot begin, and `UnusablePath` for a key file that cannot be read."""
    if needs_key and not settings.receive_keys and not is_loopback(host):
        raise CommandFailed(
            f"{host} can be reached from other machines: name a key file with PIPELINE_RECEIVE_KEYS, or use "
            "--no-keys if whoever can reach it may send"
        )
    log_for_worker(settings.log_format, "receive")
    keys = KeyFile(Path(settings.receive_keys)) if needs_key and settings.receive_keys else None
    writer, metrics, readiness = KafkaWriter(wiring.connection(settings)), ReceiveMetrics(), Readiness()
    common = Common(
        writer,
        metrics,
        Budget(settings.receive_budget),
        settings.receive_max_body,
        keys=(lambda: keys.keys) if keys else (lambda: None),
        options=wiring.options(settings),
        edge=wiring.edge(settings),
    )
    named = [origin.strip() for origin in settings.receive_origins.split(",") if origin.strip()]
    failures: list[Exception] = []
    readiness.says = (watch := TopicWatch()).told

    async def run() -> None:
        try:
            beside = _beside(wiring.connection(settings), watch, common)
            await asyncio.gather(writer.run(), *beside, *([keys.watch()] if keys else []))
        except Exception as error:  # a fault of the program: without these nothing would be taken any more
            failures.append(error)
            server.should_exit = True

    app = application(
        common,
        Origins(named, loopback=is_loopback(host)),
        readiness=readiness,
        run=run,
        begin=partial(writer.wait_until_up, _BEGIN_S),
        stop=writer.stop,
    )
    most = connections_possible(settings.receive_connections)
    server = StoppableServer(
        config(app, max_connections=most), stopping=readiness.stop, drain_s=settings.receive_drain_ms / 1_000
    )
    metrics.watch(metrics.kafka_up, lambda: writer.is_up)
    metrics.watch(metrics.in_flight, lambda: common.budget.used)
    metrics.watch(metrics.connections, lambda: len(server.server_state.connections))
    with listening(host, port) as listener:
        if settings.metrics_port:
            _serve_metrics(metrics, settings)
        asked = f"keys of {settings.receive_keys}" if keys else "no keys"
        print(f"Receive      http://{shown(host)}:{listener.getsockname()[1]}  ({asked})", flush=True)
        _run(server, listener)
    for failure in failures:
        raise failure


def _run(server: StoppableServer, listener: socket.socket) -> None:
    # Its own words are of clients that sent something else than HTTP; our own are said of all else.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    for number in (signal.SIGINT, signal.SIGTERM):
        # The server raises the signal that stopped it once more when it is done: that is not a failure.
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])


def _serve_metrics(metrics: ReceiveMetrics, settings: Settings) -> None:
    try:
        metrics.serve(settings.metrics_host, settings.metrics_port)
    except OSError as error:
        raise CommandFailed(
            f"PIPELINE_METRICS_PORT: cannot listen on {settings.metrics_host}:{settings.metrics_port}: "
            f"{error.strerror or error}. Stop what listens there, or choose another port"
        ) from error


def connections_possible(wanted: int) -> int:
    """As many connections as are wanted, or fewer where this process may not have so many files open; as many as it may
    have at all are allowed from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        log.warning("only %d open files are allowed: %d connections at once, not %d", hard, hard // 2, wanted)
        needed, wanted = hard, min(wanted, hard // 2)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return wanted
