"""The whole pipeline as its users run it: a broker, a ClickHouse database, workers and commands as processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline.clickhouse.for_people import database_for_people
from pipeline.clickhouse.migrations import note_offset_base
from pipeline.clickhouse.store import Store
from pipeline.commands.operate import create_topics
from pipeline.embedded.child import LOOPBACK, Child, free_port
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.kafka.admin import topic_partitions
from pipeline.kafka.connection import KafkaConnection
from pipeline.roles import topology
from pipeline.settings import PREFIX, load
from tests.support import forked
from tests.support.forked import Forked, ForkedChild, run_forked
from tests.support.migrated import migrate
from tests.support.services import Broker, Unavailable, start_broker

ROOT = Path(__file__).resolve().parents[2]
SIMULATE = ("simulate", "--from", "2026-01-05T08:00")
"""The same bytes at any time, and a longer run begins as a shorter."""
CORE = f"{PREFIX}CORE"
DOWNSTREAM = ("router", "sessionizer", "sink", "all")
"""Roles in the order in which records pass them."""

_READY_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 40.0
_RECEIVER_TIMEOUT_S = 20.0
_COMMAND_TIMEOUT_S = 120.0
_POLL_S = 0.1
_LOG_TAIL_BYTES = 6_000
SESSION_TIMEOUT_S = 3
"""Short: a killed worker is missed soon, and the embedded broker takes half of it for a join."""


def command_line(*arguments: str, program: str = "pipeline", home: Path = ROOT) -> list[str]:
    """What a user types, as a list. `home` is the checkout whose program it is; another one has its own `.venv`."""
    python = sys.executable if home == ROOT else str(home / ".venv" / "bin" / "python")
    return [python, "-m", program, *arguments]


def environment(settings: Mapping[str, str], home: Path = ROOT) -> dict[str, str]:
    """The environment of a user who has set these variables of the pipeline and no others, but for the core that tests
    are to run with."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(PREFIX) or name == CORE}
    return {**kept, "PYTHONPATH": str(home), **settings}


def _is_forked(program: str = "pipeline", home: Path = ROOT) -> bool:
    """Whether a program is forked, and not loaded: the pipeline of this checkout is, in tests."""
    return forked.is_on and program == "pipeline" and home == ROOT


def unavailable(reason: str) -> None:
    """Skips the test with the reason; in CI, fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Stack:
    """A running pipeline. Methods block; `close` ends every process it started, whatever happened before."""

    def __init__(
        self, broker: Broker, clickhouse: EmbeddedClickHouse, folder: Path, settings: Mapping[str, str]
    ) -> None:
        """`settings` are further variables, `PIPELINE_*`. Nothing is started yet."""
        self.folder = folder
        self.broker = broker
        self.connection = KafkaConnection(broker.bootstrap)
        self.settings = {
            "PIPELINE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "PIPELINE_CLICKHOUSE_URL": f"{clickhouse.url}/test_{uuid4().hex[:12]}",
            "PIPELINE_KAFKA_SESSION_TIMEOUT": f"{SESSION_TIMEOUT_S}s",
            "PIPELINE_RECEIVE_DRAIN": "0s",
            **settings,
        }
        self.worker_settings: dict[str, str] = {}
        """Variables that workers have and commands do not."""
        self.program = "pipeline"
        """The module that commands run."""
        self.worker_program = "pipeline"
        """The module that workers run: another one stands for another version of the program."""
        self.home = self.worker_home = ROOT
        """The checkouts whose program commands and workers run; what is sent and waited for is always of this one."""
        self.workers: dict[str, Child] = {}
        """By name (`sink-1`), those that were not ended on purpose."""
        self._clickhouse = clickhouse
        self._store = Store(self.settings["PIPELINE_CLICKHOUSE_URL"])
        self._logs: list[Path] = []
        self._ended: list[Child] = []
        self._begun: list[subprocess.Popen[bytes]] = []

    def prepare(self) -> None:
        """What `migrate` does, without the comments and the views for BI tools, which take longer than the rest."""
        self.make_tables()
        create_topics(load(self.settings), self._store)

    def make_tables(self) -> None:
        """The part of it that concerns ClickHouse."""
        migrate(self._store)
        note_offset_base(self._store, load(self.settings).offset_base)

    def use_database(self, url: str) -> None:
        """Go on with another database, as after the loss of the one before, which is dropped."""
        self._store.close()
        self._drop_database()
        self.settings["PIPELINE_CLICKHOUSE_URL"] = url
        self._store = Store(url)

    def command(
        self, *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Runs `session-pipeline ARGUMENTS` to its end."""
        if _is_forked(self.program, self.home):
            variables = environment(self.settings)
            return run_forked(arguments, env=variables, cwd=self.folder, timeout_s=timeout_s)
        return subprocess.run(
            command_line(*arguments, program=self.program, home=self.home),
            env=environment(self.settings, self.home),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        """Runs a command that must succeed; what it printed."""
        done = self.command(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stderr}\n{self.log_tails()}"
        return done.stdout

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a command and does not wait for it."""
        name = f"{arguments[0]}-{len(self._logs)}"
        self._logs.append(self.folder / f"{name}.log")
        with self._logs[-1].open("wb") as log:
            process = (Forked if _is_forked() else subprocess.Popen)(
                arguments if _is_forked() else command_line(*arguments),
                env=environment(self.settings),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._begun.append(process)
        return process

    def wait_idle(self, timeout_s: int = 90) -> None:
        """Until everything sent so far is stored and every idle session closed. Fails at once if a worker ends."""
        waiting = self.begin("status", "--wait-idle", "--timeout", str(timeout_s))
        while waiting.poll() is None:
            ended = {name: child.exit_code for name, child in self.workers.items() if not child.is_running}
            assert not ended, f"ended by themselves: {ended}\n{self.log_tails()}"
            time.sleep(_POLL_S)
        assert waiting.returncode == 0, f"not idle in time\n{self.log_tails()}"

    def query(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a statement."""
        return [orjson.loads(line) for line in self._store.query(sql, parameters).splitlines()]

    def value(self, sql: str, **parameters: Any) -> Any:
        """The only column of the only row of a statement."""
        (row,) = self.query(sql, **parameters)
        (value,) = row.values()
        return value

    def poll(self, sql: str, enough: Callable[[Any], bool], *, timeout_s: float) -> None:
        """Asks for a single value until it is enough."""
        deadline_s = time.monotonic() + timeout_s
        while not enough(found := self.value(sql)):
            assert time.monotonic() < deadline_s, f"{sql}: {found} after {timeout_s} s\n{self.log_tails()}"
            time.sleep(_POLL_S)

    def start_workers(self, *roles: str) -> None:
        """Starts one worker for each role named, at the same time; returns once all have their partitions."""
        with ThreadPoolExecutor(len(roles)) as threads:
            list(threads.map(self._start_and_wait, map(self._new_name, roles), roles))

    def begin_worker(self, role: str) -> str:
        """Starts one worker and does not wait for it; its name."""
        name = self._new_name(role)
        self._start_worker(name, role, lambda: True)
        return name

    def is_ready(self, name: str) -> bool:
        """Whether a worker has had its partitions."""
        return self._ready_file(name).exists()

    def stop_worker(self, name: str) -> None:
        """SIGTERM; it must end in good order."""
        code = self.take(name).stop(timeout_s=_STOP_TIMEOUT_S)
        assert code == 0, f"{name} ended with code {code}\n{self.log_tails()}"

    def kill_worker(self, name: str) -> None:
        """SIGKILL."""
        code = self.take(name).kill()
        assert code == -9, f"{name} had ended before, with code {code}\n{self.log_tails()}"

    def take(self, name: str) -> Child:
        """A worker that is not watched any more; `close` ends it if nobody else does."""
        child = self.workers.pop(name)
        self._ended.append(child)
        return child

    def stop(self) -> None:
        """Stops all workers in good order, those first that write what others read."""
        for role in DOWNSTREAM:
            for name in [name for name in self.workers if name.rpartition("-")[0] == role]:
                self.stop_worker(name)

    def close(self) -> None:
        """Ends what still runs, by process id, and drops the database."""
        for child in [*self.workers.values(), *self._ended]:
            child.kill()
        for process in self._begun:
            process.kill()
            process.wait()
        self._store.close()
        self._drop_database()

    def _drop_database(self) -> None:
        database = self.settings["PIPELINE_CLICKHOUSE_URL"].rpartition("/")[2]
        for name in (database, database_for_people(database)):
            self._clickhouse.command(f"DROP DATABASE IF EXISTS {name} SYNC")

    def log_file(self, name: str) -> Path:
        """What a worker prints."""
        return self.folder / f"{name}.log"

    def log_tails(self) -> str:
        """The end of what every worker printed."""
        parts = []
        for path in self._logs:
            if path.exists():
                tail = path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
                parts.append(f"--- {path.name}\n{tail}")
        return "\n".join(parts)

    def _new_name(self, role: str) -> str:
        name = f"{role}-{1 + sum(path.name.startswith(role) for path in self._logs)}"
        self._logs.append(self.log_file(name))
        return name

    def _ready_file(self, name: str) -> Path:
        return self.folder / f"{name}.ready"

    def _start_and_wait(self, name: str, role: str) -> None:
        self._start_worker(name, role, self._ready_file(name).exists)

    def _start_worker(self, name: str, role: str, answers: Callable[[], bool]) -> None:
        arguments = ("worker", "--role", role, "--ready-file", str(self._ready_file(name)))
        is_forked = _is_forked(self.worker_program, self.worker_home)
        child = (ForkedChild if is_forked else Child)(
            f"worker {name}",
            arguments
            if is_forked
            else command_line(*arguments, program=self.worker_program, home=self.worker_home),
            log_file=self.log_file(name),
            cwd=self.folder,
            without_variables=[name for name in os.environ if name.startswith(PREFIX) and name != CORE],
            with_variables={"PYTHONPATH": str(self.worker_home), **self.settings, **self.worker_settings},
        )
        self.workers[name] = child
        child.start(answers, timeout_s=_READY_TIMEOUT_S)


async def forget_offsets(stack: Stack, role: str, *names: str) -> None:
    """Let a role, of which no worker runs, begin topics anew."""
    consumer = AIOKafkaConsumer(
        **stack.connection.client_options(), group_id=topology.group_of(role), enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = await topic_partitions(stack.connection, names)
        consumer.assign([TopicPartition(*tp) for tp in partitions])
        await consumer.commit({TopicPartition(*tp): 0 for tp in partitions})
    finally:
        await consumer.stop()


async def delete(stack: Stack, name: str) -> None:
    """Deletes a topic."""
    client = AIOKafkaAdminClient(**stack.connection.client_options())
    await client.start()
    try:
        await client.delete_topics([name])
    finally:
        await client.close()


async def delete_and_create(stack: Stack, name: str, partitions: int) -> None:
    """Makes a topic anew at once, as a script of an operator would: until the old one is gone its name is taken."""
    client = AIOKafkaAdminClient(**stack.connection.client_options())
    await client.start()
    try:
        await client.delete_topics([name])
        count, config = topology.plan(partitions, -1)[name]
        made = NewTopic(name, count, 1, topic_configs=dict(config))
        while True:
            ((_, code, *_),) = (await client.create_topics([made])).topic_errors
            if not code:
                break
            await asyncio.sleep(0.05)
    finally:
        await client.close()


@contextmanager
def running_stack(
    kind: str, clickhouse: EmbeddedClickHouse, folder: Path, **settings: str
) -> Iterator[Stack]:
    """A stack on an empty broker of its own, migrated; no worker runs yet.

    `settings` are named as in a configuration file (`idle_timeout="2s"`). At the end workers are stopped in
    good order, and that they do is part of the test. Skips (in CI: fails) if the broker is not to be had.
    """
    try:
        broker = start_broker(kind, folder / "broker")
    except Unavailable as reason:
        unavailable(str(reason))
        raise
    try:
        variables = {PREFIX + name.upper(): text for name, text in settings.items()}
        stack = Stack(broker, clickhouse, folder, variables)
        try:
            stack.prepare()
            yield stack
            stack.stop()
        finally:
            stack.close()
    finally:
        broker.stop()


@contextmanager
def logs_if_failed(request: pytest.FixtureRequest, stack: Stack) -> Iterator[None]:
    """Around a test: prints the logs of the workers if it fails."""
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed > failed_before:
        print(stack.log_tails())


@contextmanager
def receiving(stack: Stack) -> Iterator[str]:
    """`receive` as a process until the end of the block; its address."""
    port = free_port()
    process = stack.begin("receive", "--port", str(port))
    base = f"http://{LOOPBACK}:{port}"
    deadline_s = time.monotonic() + _RECEIVER_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(f"{base}/readyz", timeout=2).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline_s, stack.log_tails()
            time.sleep(_POLL_S)
    yield base
    process.terminate()
    assert process.wait(timeout=_RECEIVER_TIMEOUT_S) == 0
