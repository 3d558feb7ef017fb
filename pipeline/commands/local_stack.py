"""The embedded stack of `up`: broker, ClickHouse and one worker of each role, as children of this process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from pipeline import wiring
from pipeline.clickhouse.migrations import note_offset_base
from pipeline.clickhouse.move import Move
from pipeline.commands.connection_lines import connection_lines
from pipeline.commands.interruption import Interrupted, Signals
from pipeline.commands.let_in import asked_at, keys_needed, lines_for_senders
from pipeline.commands.listening import shown
from pipeline.commands.log_lines import LogLines
from pipeline.commands.moves import bring_up_to_date, print_state
from pipeline.commands.policies import list_again
from pipeline.commands.progress import unstored, wait_until_idle
from pipeline.embedded.broker import EmbeddedBroker
from pipeline.embedded.child import LOOPBACK, Child, free_port, require_free
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.embedded.gate import Gate
from pipeline.embedded.running import announced
from pipeline.embedded.secret import own_folder, write_private
from pipeline.errors import PipelineError, Terminal, system_says
from pipeline.kafka.errors import KafkaFailure
from pipeline.query.operations import next_offset, stored_up_to
from pipeline.receive.refusals import LOGGER as REFUSALS
from pipeline.roles.rebuild import RebuildScope
from pipeline.roles.topology import ROLES
from pipeline.settings import Settings, as_environment

_READY_TIMEOUT_S = 90.0
_DRAIN_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
_WATCH_S = 0.5
# Tansu takes half the session timeout for a join, so it is short here.
_SESSION_TIMEOUT_MS = 6_000
_DATABASE = "app_sessions"
_DASHBOARD = "dashboard"
_RECEIVE = "receive"


class StackFailed(Terminal):
    """A part of the stack could not start, or ended by itself; says which and why."""


class LocalStack:
    """Starts everything, watches it, and drains before it stops. Blocks in `run`; used once, in the main thread.

    The broker keeps nothing, so nobody is let in before all is there that stores what they send, and nobody any more
    once it is to stop. The workers reach the broker itself, others a gate before it.
    """

    def __init__(
        self,
        settings: Settings,
        data: Path,
        *,
        kafka_port: int,
        clickhouse_port: int,
        dashboard_port: int | None = None,
        receive_port: int | None = None,
        receive_host: str = LOOPBACK,
    ) -> None:
        """Ports of 0 are free ones; without a port of the dashboard, or of `receive`, there is none. `receive_host` is
        the one address that others may reach: senders need a key then."""
        self.settings = settings
        """Once started: those that reach the stack."""
        self._data = data
        self._signals = Signals()
        self._broker = EmbeddedBroker(folder=data / "logs")
        self._gate = Gate(kafka_port or free_port(), self._broker.port)
        self._clickhouse = EmbeddedClickHouse(folder=data / "clickhouse", port=clickhouse_port)
        self._dashboard_port = dashboard_port
        self._receive_port, self._receive_host = receive_port, receive_host
        self._workers: dict[str, Child] = {}
        self._refusals = LogLines(data / "logs" / f"{_RECEIVE}.log", REFUSALS)
        self._is_open = False
        self._lost = ""

    def run(self, work: Callable[[LocalStack], None]) -> None:
        """Start, do `work`, store what has arrived, stop. SIGINT and SIGTERM end what is being done: a start, `work`,
        and the second one the storing.

        Raises `StackFailed`, also for what `work` raises; it says how much is lost of what was acknowledged to others.
        """
        self._signals.listen()
        failure: Exception | None = None
        outcome = "stopped; what is stored is there at the next start"
        try:
            with ExitStack() as running:
                try:
                    with self._signals.heard():
                        self._start(running)
                        work(self)
                except Interrupted:
                    pass  # that is how it ends
                if self._is_open:
                    self._stop_worker(_RECEIVE)
                    self._gate.close()
                    self._drain()
                else:
                    outcome = "stopped before it was ready: nothing was taken"
        except PipelineError as error:
            failure = error
        except OSError as error:
            failure = StackFailed(system_says(error))
        if failure or self._lost:
            raise StackFailed("; ".join(filter(None, [str(failure or ""), self._lost]))) from failure
        print(outcome, flush=True)

    def wait(self) -> None:
        """Until a signal comes, and show what `receive` refuses. Raises `StackFailed` if a part ends by itself."""
        while True:
            time.sleep(_WATCH_S)
            for line in self._refusals.new():
                print(f"receive {line}", flush=True)
            parts = {"the broker": self._broker.exit_code, "ClickHouse": self._clickhouse.exit_code}
            parts |= {f"the {name}": child.exit_code for name, child in self._workers.items()}
            for name, code in parts.items():
                if code is not None:
                    raise StackFailed(f"{name} ended with code {code}; see {self._data / 'logs'}")

    @property
    def addresses(self) -> str:
        """Where everything is, for people."""
        dashboard = f"Dashboard    http://{LOOPBACK}:{self._dashboard_port}\n" if self._dashboard_port else ""
        host = shown(asked_at(self._receive_host))
        receive = f"Receive      http://{host}:{self._receive_port}\n" if self._receive_port else ""
        return (
            f"{dashboard}{receive}Kafka        {LOOPBACK}:{self._gate.port}\n"
            f"ClickHouse   {self._clickhouse.url}  (database {_DATABASE})\n"
            f"data, logs   {self._data.resolve()}"
        )

    @property
    def connections(self) -> str:
        """How people's own tools reach what is stored, for people."""
        return connection_lines(self._clickhouse.url, _DATABASE, self._url_file)

    @property
    def senders(self) -> str:
        """How phones and other machines send, for people; empty if they cannot."""
        port, file = self._receive_port, self.settings.receive_keys
        return lines_for_senders(self._receive_host, port, file) if port else ""

    @property
    def _url_file(self) -> Path:
        return self._data.resolve() / "clickhouse-url"

    def _start(self, running: ExitStack) -> None:
        print(
            "starting the embedded stack: for trying, developing and testing, not for production", flush=True
        )
        self._take_ports()
        # What is stored here is its owner's, whatever others may read of what he makes.
        os.umask(0o077)
        own_folder(self._data / "logs")
        # Each is to be stopped from before it is started: a signal may come at any moment.
        for part in (self._clickhouse, self._broker):
            running.callback(part.stop)
            part.start()
        self.settings = replace(
            self.settings,
            kafka_bootstrap=self._broker.bootstrap,
            kafka_security="PLAINTEXT",
            kafka_session_timeout_ms=_SESSION_TIMEOUT_MS,
            # The embedded broker does not tell static members apart.
            kafka_instance_id="",
            clickhouse_url=f"{self._clickhouse.url}/{_DATABASE}",
            clickhouse_hosts="",
            clickhouse_cluster="",
            clickhouse_insert_quorum="",
            topic_retention_ms=-1,
        )
        self._take_up()
        running.callback(self._note_lost)
        self._start_workers(running)
        running.callback(self._gate.close)
        self._announce(running)
        self._is_open = True
        self._gate.open()
        self._start_receive(running)

    def _take_ports(self) -> None:
        """Before anything is made: StartError names the option of a port that another program has."""
        require_free(self._gate.port, "the embedded broker", option="--kafka-port")
        require_free(self._clickhouse.port, "the embedded ClickHouse", option="--clickhouse-port")
        if self._dashboard_port is not None:
            self._dashboard_port = self._dashboard_port or free_port()
            self._require_dashboard_port(self._dashboard_port)
        if self._receive_port is not None:
            self._receive_port = self._receive_port or free_port()
            self._require_receive_port(self._receive_port)
        self._gate.reserve()

    def _require_dashboard_port(self, port: int) -> None:
        require_free(port, "the dashboard", option="--dashboard-port")

    def _require_receive_port(self, port: int) -> None:
        require_free(port, _RECEIVE, self._receive_host, "--receive-port")

    def _announce(self, running: ExitStack) -> None:
        """Tell the other commands of this user where ClickHouse is, with its password."""
        write_private(self._url_file, self.settings.clickhouse_url)
        try:
            running.enter_context(announced(wiring.state_folder(), self.settings.clickhouse_url))
        except OSError as error:
            print(f"other commands need PIPELINE_CLICKHOUSE_URL=$(cat {self._url_file}): {error}", flush=True)

    def _take_up(self) -> None:
        """Let an empty broker go on where the last one ended: offsets, sessions, states."""
        store = wiring.store(self.settings)
        try:
            bring_up_to_date(store)
            print_state(Move(store))
            # The broker begins at offset 0 each time; what is stored must go on counting up.
            base = next_offset(store.query) if stored_up_to(store.query) else 0
            self.settings = replace(self.settings, offset_base=base)
            note_offset_base(store, self.settings.offset_base)
            asyncio.run(wiring.make_topics(self.settings))
            now_ms = int(time.time() * 1_000)
            rebuild = wiring.rebuild(self.settings, store, RebuildScope(), now_ms)
            differing = sum(len(device.differences) for device in rebuild.differences(take_back=True))
            if differing:
                rebuild.swap()
                print(f"rebuilt {differing} sessions that differed from their events", flush=True)
            devices = asyncio.run(
                rebuild.put_states(
                    wiring.connection(self.settings), done_offset=self.settings.offset_base - 1
                )
            )
            asyncio.run(list_again(wiring.connection(self.settings), store))
        finally:
            store.close()
        if devices:
            print(f"going on with {devices} devices from their stored events", flush=True)

    def _start_workers(self, running: ExitStack) -> None:
        """One of each role and the dashboard, at the same time."""
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="session-pipeline-")))
        ready: dict[str, Callable[[], bool]] = {}
        for role in ROLES:
            file = folder / f"{role}.ready"
            ready[role] = file.exists
            self._begin(running, self.settings, role, "worker", "--role", role, "--ready-file", str(file))
        if self._dashboard_port is not None:
            port = self._dashboard_port
            self._require_dashboard_port(port)
            ready[_DASHBOARD] = lambda: _answers(port)
            kept = self.settings.dashboard_dir or str(self._data.absolute() / "dashboard")
            settings = replace(self.settings, dashboard_dir=kept)
            self._begin(running, settings, _DASHBOARD, "dashboard", "--port", str(port))
        for name, is_ready in ready.items():
            self._workers[name].wait_until(is_ready, timeout_s=_READY_TIMEOUT_S)

    def _start_receive(self, running: ExitStack) -> None:
        """The last to start and the first to stop: what it takes is stored."""
        if self._receive_port is None:
            return
        host, port = self._receive_host, self._receive_port
        self._require_receive_port(port)
        self.settings = replace(
            self.settings, receive_keys=keys_needed(host, self.settings.receive_keys, self._data)
        )
        settings = replace(self.settings, receive_host=host, receive_port=port, receive_drain_ms=0)
        self._begin(running, settings, _RECEIVE, "receive")
        self._workers[_RECEIVE].wait_until(
            lambda: _is_ready(asked_at(host), port), timeout_s=_READY_TIMEOUT_S
        )

    def _begin(self, running: ExitStack, settings: Settings, name: str, *arguments: str) -> None:
        running.callback(self._stop_worker, name)
        self._workers[name] = child = Child(
            f"the {name}",
            [sys.executable, "-m", "pipeline", *arguments],
            log_file=self._data / "logs" / f"{name}.log",
            with_variables=as_environment(settings),
            death_signal=signal.SIGTERM,
        )
        child.begin()

    def _stop_worker(self, name: str) -> None:
        if name not in self._workers:
            return
        if self._is_open:
            self._workers[name].stop(timeout_s=_STOP_TIMEOUT_S)
        else:
            # It has nothing yet that it would have to finish.
            self._workers[name].kill()

    def _drain(self) -> None:
        """What the broker holds is gone with it: store it first."""
        print("stopping: storing what has arrived (once more to stop at once)", flush=True)
        store = wiring.store(self.settings)
        try:
            with self._signals.heard():
                asyncio.run(
                    wait_until_idle(
                        wiring.connection(self.settings), store, self.settings.policies, _DRAIN_TIMEOUT_S
                    )
                )
        except Interrupted:
            raise StackFailed("stopped at once") from None
        except PipelineError as error:
            raise StackFailed(f"stopped without having stored everything: {error}") from error
        finally:
            store.close()

    def _note_lost(self) -> None:
        """How much the broker still has that was acknowledged and is not stored, once the workers are done."""
        if not self._is_open:
            return
        try:
            count = asyncio.run(unstored(wiring.connection(self.settings)))
        except (KafkaFailure, OSError) as error:
            self._lost = (
                f"what the broker had and was not yet stored is lost; it cannot say how much: {error}"
            )
            return
        if count:
            # Some may be stored and not yet noted as such; the broker takes more until it ends.
            self._lost = (
                f"up to {count} records that had been acknowledged are lost, and what was sent since then"
            )


def _is_ready(host: str, port: int) -> bool:
    """Whether `receive` takes what is sent."""
    connection = HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
