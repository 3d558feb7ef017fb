"""The embedded stack of `up`: broker, ClickHouse and one worker of each role, as children of this process."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from aiokafka.errors import KafkaError

from pipeline import wiring
from pipeline.adapters.clickhouse import Refused, Unreachable
from pipeline.adapters.embedded.broker import EmbeddedBroker
from pipeline.adapters.embedded.child import LOOPBACK, Child, StartError, free_port, require_free
from pipeline.adapters.embedded.clickhouse import EmbeddedClickHouse
from pipeline.adapters.kafka_connection import BrokerUnavailable
from pipeline.adapters.kafka_topics import TopicMismatch
from pipeline.adapters.migrations import MigrationError, migrate, note_offset_base
from pipeline.adapters.rebuild import Scope
from pipeline.adapters.roles import ROLES
from pipeline.commands.progress import NotIdleInTime, wait_until_idle
from pipeline.query.operations import next_offset
from pipeline.settings import Settings, as_environment

_READY_TIMEOUT_S = 90.0
_DRAIN_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
_WATCH_S = 0.5
# Tansu takes half the session timeout for a join, so it is short here.
_SESSION_TIMEOUT_MS = 6_000
_DATABASE = "app_sessions"
_DASHBOARD = "dashboard"


class StackFailed(Exception):
    """A part of the stack could not start, or ended by itself; says which and why."""


class LocalStack:
    """Starts everything, watches it, and drains before it stops. Blocks in `run`; used once."""

    def __init__(
        self,
        settings: Settings,
        data: Path,
        *,
        kafka_port: int,
        clickhouse_port: int,
        dashboard_port: int | None = None,
    ) -> None:
        """Ports of 0 are free ones; without a dashboard's port there is none."""
        self.settings = settings
        """Once started: those that reach the stack."""
        self._data = data
        self._stop = threading.Event()
        self._broker = EmbeddedBroker(folder=data / "logs", port=kafka_port)
        self._clickhouse = EmbeddedClickHouse(folder=data / "clickhouse", port=clickhouse_port)
        self._dashboard_port = dashboard_port
        self._workers: dict[str, Child] = {}

    def run(self, work: Callable[[LocalStack], None]) -> None:
        """Start, do `work`, store what has arrived, stop. SIGINT and SIGTERM set `wait`'s end.

        Raises `StackFailed`, and what `work` raises.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            with ExitStack() as running:
                self._start(running)
                work(self)
                self._drain()
        except (StartError, OSError, MigrationError, BrokerUnavailable, TopicMismatch) as error:
            raise StackFailed(str(error)) from error
        except KafkaError as error:
            raise StackFailed(f"Kafka: {error}") from error
        except (Unreachable, Refused) as error:
            raise StackFailed(f"ClickHouse: {error}") from error

    def wait(self) -> None:
        """Until a signal comes. Raises `StackFailed` if a part ends by itself."""
        while not self._stop.wait(_WATCH_S):
            parts = {"the broker": self._broker.exit_code, "ClickHouse": self._clickhouse.exit_code}
            parts |= {f"the {name}": child.exit_code for name, child in self._workers.items()}
            for name, code in parts.items():
                if code is not None:
                    raise StackFailed(f"{name} ended with code {code}; see {self._data / 'logs'}")

    @property
    def addresses(self) -> str:
        """Where everything is, for people."""
        dashboard = f"Dashboard    http://{LOOPBACK}:{self._dashboard_port}\n" if self._dashboard_port else ""
        return (
            f"{dashboard}Kafka        {self._broker.bootstrap}\n"
            f"ClickHouse   {self._clickhouse.url}  (database {_DATABASE})\n"
            f"data, logs   {self._data.resolve()}"
        )

    def _start(self, running: ExitStack) -> None:
        print(
            "starting the embedded stack: for trying, developing and testing, not for production", flush=True
        )
        self._data.mkdir(parents=True, exist_ok=True)
        running.enter_context(self._clickhouse)
        running.enter_context(self._broker)
        self.settings = replace(
            self.settings,
            kafka_bootstrap=self._broker.bootstrap,
            kafka_security="PLAINTEXT",
            kafka_session_timeout_ms=_SESSION_TIMEOUT_MS,
            clickhouse_url=f"{self._clickhouse.url}/{_DATABASE}",
            topic_retention_ms=-1,
        )
        self._take_up()
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="session-pipeline-")))
        for role in ROLES:
            running.callback(self._stop_worker, role)
        with ThreadPoolExecutor(len(ROLES)) as pool:
            list(pool.map(lambda role: self._start_worker(role, folder / f"{role}.ready"), ROLES))
        if self._dashboard_port is not None:
            running.callback(self._stop_worker, _DASHBOARD)
            self._start_dashboard(self._dashboard_port)

    def _take_up(self) -> None:
        """Let an empty broker go on where the last one ended: offsets, sessions, states."""
        store = wiring.store(self.settings)
        try:
            migrate(store)
            # The broker begins at offset 0 each time; what is stored must go on counting up.
            self.settings = replace(self.settings, offset_base=next_offset(store.query))
            note_offset_base(store, self.settings.offset_base)
            asyncio.run(wiring.make_topics(self.settings))
            now_ms = int(time.time() * 1_000)
            rebuild = wiring.rebuild(self.settings, store, Scope(), now_ms)
            differing = sum(len(device.differences) for device in rebuild.differences())
            if differing:
                rebuild.swap()
                print(f"rebuilt {differing} sessions that differed from their events", flush=True)
            devices = asyncio.run(
                rebuild.put_states(
                    wiring.connection(self.settings), done_offset=self.settings.offset_base - 1
                )
            )
        finally:
            store.close()
        if devices:
            print(f"going on with {devices} devices from their stored events", flush=True)

    def _start_worker(self, role: str, ready: Path) -> None:
        self._workers[role] = worker = Child(
            f"the {role}",
            [sys.executable, "-m", "pipeline", "worker", "--role", role, "--ready-file", str(ready)],
            log_file=self._data / "logs" / f"{role}.log",
            with_variables=as_environment(self.settings),
            death_signal=signal.SIGTERM,
        )
        worker.start(ready.exists, timeout_s=_READY_TIMEOUT_S)

    def _start_dashboard(self, wanted_port: int) -> None:
        self._dashboard_port = port = wanted_port or free_port()
        require_free(port, "the dashboard")
        kept = self.settings.dashboard_dir or str(self._data.absolute() / "dashboard")
        self._workers[_DASHBOARD] = child = Child(
            "the dashboard",
            [sys.executable, "-m", "pipeline", "dashboard", "--port", str(port)],
            log_file=self._data / "logs" / "dashboard.log",
            with_variables=as_environment(replace(self.settings, dashboard_dir=kept)),
            death_signal=signal.SIGTERM,
        )
        child.start(lambda: _answers(port), timeout_s=_READY_TIMEOUT_S)

    def _stop_worker(self, role: str) -> None:
        if role in self._workers:
            self._workers[role].stop(timeout_s=_STOP_TIMEOUT_S)

    def _drain(self) -> None:
        """What the broker holds is gone with it: store it first."""
        print("stopping: storing what has arrived", flush=True)
        store = wiring.store(self.settings)
        try:
            asyncio.run(
                wait_until_idle(
                    wiring.connection(self.settings), store, self.settings.policies, _DRAIN_TIMEOUT_S
                )
            )
        except (NotIdleInTime, Unreachable, KafkaError) as error:
            raise StackFailed(f"stopped without having stored everything: {error}") from error
        finally:
            store.close()
        print("stopped; what is stored is there at the next start", flush=True)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
