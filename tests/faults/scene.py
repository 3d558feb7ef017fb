"""A pipeline on Apache Kafka as it runs at a user's: workers, `receive`, traffic, and who restarts what ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from aiohttp import web
from aiokafka import AIOKafkaProducer

from pipeline.embedded.child import LOOPBACK, Child, free_port
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.chaos.proxy import FaultProxy
from tests.faults.certificates import certificate
from tests.faults.recorder import page
from tests.faults.recording import ROOT, Said
from tests.support.services import ApacheKafka
from tests.support.stack import Stack

PARTITIONS = 4
_LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_worker="right";'
_RULES = """
version = 1
settle = "10s"
[channels.team]
kind = "webhook"
url = "http://localhost:{port}/hook"
[[rules]]
name = "Sessions stay away"
app = "org.example.awake"
metric = "sessions"
every = "1m"
error = {{ below = 1000000000 }}
channels = ["team"]
"""
_RATE = 60
"""Events a second of the fleet."""
_RESTART_S = 5.0
_POST_S = 0.5
_LINES = 10
_LINE_CHARS = 400
_SETTLE_S = 90.0
_TICK_S = 0.1


@dataclass
class Slot:
    """A place for a worker: it has a name and a port whichever process is in it."""

    name: str
    role: str
    port: int = field(default_factory=free_port)
    processes: list[str] = field(default_factory=list)
    """Names of those that were in it, the latest last."""
    settings: dict[str, str] = field(default_factory=dict)
    restart_at_s: float | None = None
    logged: int = 0
    """Bytes of its logs that were there before the fault."""


class Scene:
    """Everything that runs. All happens in the thread that calls `rest`, but for the posts to `receive`."""

    def __init__(self, stack: Stack, proxy: SlowProxy, guarded: Guarded) -> None:
        self.stack = stack
        self.proxy = proxy
        self.guarded = guarded
        self.slots: dict[str, Slot] = {}
        self.ports: dict[str, int] = {}
        """Where /metrics is, by name."""
        self._receive: subprocess.Popen[bytes] | None = None
        self._receive_port = free_port()
        self._receive_logged = 0
        """Lines of its log that were there before the fault."""
        self._alerts: subprocess.Popen[bytes] | None = None
        self._traffic = Child(
            "traffic",
            [sys.executable, "-m", "tests.faults.traffic", stack.broker.bootstrap, str(_RATE)],
            log_file=stack.folder / "traffic.log",
            cwd=ROOT,
        )
        self._ends = threading.Event()
        self._posts = threading.Thread(target=self._post, name="posts", daemon=True)

    def begin(self) -> None:
        """A worker of each role, `receive`, and traffic."""
        for role in ("router", "sessionizer", "sink"):
            self.add(role)
        self.ports["receive"] = free_port()
        self.stack.settings["PIPELINE_METRICS_PORT"] = str(self.ports["receive"])
        self._receive = self.stack.begin("receive", "--port", str(self._receive_port))
        del self.stack.settings["PIPELINE_METRICS_PORT"]
        self.settle()
        self._posts.start()

    def end(self) -> None:
        """No traffic any more; workers are the stack's to end."""
        self._ends.set()
        if self._posts.is_alive():
            self._posts.join()
        self._traffic.kill()
        if self._receive is not None:
            self._receive.terminate()
        self.end_alerts()

    def rest(self, seconds: float) -> None:
        """Lets time pass, and meanwhile does what an orchestrator does."""
        deadline_s = time.monotonic() + seconds
        while True:
            self._look_after()
            if (left_s := deadline_s - time.monotonic()) <= 0:
                return
            time.sleep(min(_TICK_S, left_s))

    def settle(self) -> None:
        """Until every worker has its partitions."""
        deadline_s = time.monotonic() + _SETTLE_S
        while not all(
            slot.processes and self.stack.is_ready(slot.processes[-1]) for slot in self.slots.values()
        ):
            assert time.monotonic() < deadline_s, self.stack.log_tails()
            self.rest(_TICK_S)

    def add(self, role: str, name: str = "", **settings: str) -> Slot:
        """One worker more, with settings of its own."""
        name = name or f"{role}-{'abcdefgh'[sum(slot.role == role for slot in self.slots.values())]}"
        slot = self.slots[name] = Slot(name, role, settings=settings)
        self.ports[name] = slot.port
        self.start(slot)
        return slot

    def start(self, slot: Slot) -> None:
        """Another process in a place."""
        before = self.stack.worker_settings
        self.stack.worker_settings = {**before, **slot.settings, "PIPELINE_METRICS_PORT": str(slot.port)}
        slot.processes.append(self.stack.begin_worker(slot.role))
        slot.restart_at_s = None
        self.stack.worker_settings = before

    def remove(self, name: str) -> None:
        """SIGTERM, and nobody takes its place."""
        slot = self.slots.pop(name)
        self.stack.stop_worker(slot.processes[-1])
        del self.ports[name]

    def kill(self, name: str, restart_s: float | None = _RESTART_S) -> None:
        """SIGKILL; None: nobody takes its place until `start`."""
        slot = self.slots[name]
        self.stack.kill_worker(slot.processes[-1])
        slot.restart_at_s = None if restart_s is None else time.monotonic() + restart_s

    def begin_alerts(self) -> None:
        """`alerts run`, with a rule that always has something to tell, to a webhook where nobody listens."""
        self.end_alerts()
        rules = self.stack.folder / "alerts.toml"
        rules.write_text(_RULES.format(port=free_port()))
        self.ports["alerts"] = free_port()
        own = {"PIPELINE_METRICS_PORT": str(self.ports["alerts"]), "PIPELINE_ALERTS": str(rules)}
        self.stack.settings.update(own)
        self._alerts = self.stack.begin("alerts", "run")
        for name in own:
            del self.stack.settings[name]

    def kill_alerts(self) -> None:
        """SIGKILL, and nobody takes its place."""
        assert self._alerts is not None
        self._alerts.kill()
        self._alerts.wait()

    def end_alerts(self) -> None:
        """SIGTERM, and it is no part of the scene any more."""
        if self._alerts is not None:
            self._alerts.terminate()
            self._alerts.wait()
            self._alerts = None
            self.ports.pop("alerts", None)

    def freeze_kafka(self, seconds: float) -> None:
        """It is there and answers nobody."""
        assert self.stack.broker.pid is not None
        os.kill(self.stack.broker.pid, signal.SIGSTOP)
        try:
            self.rest(seconds)
        finally:
            os.kill(self.stack.broker.pid, signal.SIGCONT)

    def mark(self) -> None:
        """What is in the logs by now was there before the fault."""
        for slot in self.slots.values():
            slot.logged = len(self._log(slot))
        self._receive_logged = len(self._receive_log())

    def said(self) -> dict[str, Said]:
        """What probes say now, and the last lines of each log since `mark`."""
        found = {}
        for slot in self.slots.values():
            lines = self._log(slot)[slot.logged :].decode(errors="replace").splitlines()[-_LINES:]
            found[slot.name] = Said(
                page(slot.port, "/livez"), page(slot.port, "/readyz"), [line[:_LINE_CHARS] for line in lines]
            )
        found["receive"] = Said(
            page(self._receive_port, "/livez"),
            page(self._receive_port, "/readyz"),
            [line[:_LINE_CHARS] for line in self._receive_log()[self._receive_logged :][-_LINES:]],
        )
        if self._alerts is not None:
            port, lines = self.ports["alerts"], self._lines_of("alerts")
            found["alerts"] = Said(
                page(port, "/livez"), page(port, "/readyz"), [line[:_LINE_CHARS] for line in lines[-_LINES:]]
            )
        return {name: self._anonymous(each) for name, each in found.items()}

    def _anonymous(self, said: Said) -> Said:
        """Without what differs from run to run and says nothing: ports, folders, the name of the database."""
        places = {
            str(self.stack.folder): "FOLDER",
            str(ROOT): ".",
            sys.base_prefix: "/usr",
            self.stack.settings["PIPELINE_CLICKHOUSE_URL"].rpartition("/")[2]: "sessions_db",
            self.stack.broker.bootstrap: "kafka:9092",
            f"{LOOPBACK}:{self.proxy.port}": "clickhouse:8123",
            self.stack.settings["PIPELINE_CLICKHOUSE_URL"]
            .partition("@")[2]
            .partition("/")[0]: "clickhouse:8123",
            f"{LOOPBACK}:{self._receive_port}": "receive:4318",
            f"{LOOPBACK}:{self.guarded.ports['SASL_SSL']}": "kafka:9093",
            f"{LOOPBACK}:{self.guarded.ports['SSL']}": "kafka:9094",
            # As aiokafka writes it.
            f"('{LOOPBACK}', {self.stack.broker.bootstrap.rpartition(':')[2]})": "('kafka', 9092)",
        }

        def clean(text: str) -> str:
            for place, name in places.items():
                text = text.replace(place, name)
            return text

        return Said(clean(said.livez), clean(said.readyz), [clean(line) for line in said.log])

    def _log(self, slot: Slot) -> bytes:
        files = (self.stack.log_file(name) for name in slot.processes)
        return b"".join(file.read_bytes() for file in files if file.exists())

    def _receive_log(self) -> list[str]:
        return self._lines_of("receive")

    def _lines_of(self, command: str) -> list[str]:
        """The log of its latest process."""
        *_, file = sorted(
            self.stack.folder.glob(f"{command}-*.log"), key=lambda each: int(each.stem.rpartition("-")[2])
        )
        return file.read_text(errors="replace").splitlines()

    def _look_after(self) -> None:
        now_s = time.monotonic()
        for slot in self.slots.values():
            child = self.stack.workers.get(slot.processes[-1])
            if child is not None and not child.is_running:
                self.stack.take(slot.processes[-1])
                slot.restart_at_s = now_s + _RESTART_S
            if slot.restart_at_s is not None and slot.restart_at_s <= now_s:
                self.start(slot)
        if not self._traffic.is_running:
            self._traffic.start(lambda: True, timeout_s=_SETTLE_S)

    def _post(self) -> None:
        """An SDK: a body every half second, whatever the answer is."""
        number = 0
        while not self._ends.wait(_POST_S):
            number += 1
            time_ms = int(time.time() * 1_000)
            event = {"id": f"p{number}", "name": "app.screen.view", "time": time_ms}
            event["attributes"] = {"app.screen.name": "Home"}
            body = {
                "v": 1,
                "app_id": "org.example.posts",
                "device_id": f"phone-{number % 9}",
                "events": [event],
            }
            request = urllib.request.Request(
                f"http://{LOOPBACK}:{self._receive_port}/v1/events", data=orjson.dumps(body)
            )
            try:
                urllib.request.urlopen(request, timeout=10).close()
            except OSError:
                # An SDK would try again; here the next one does.
                continue

    def put(self, *records: tuple[str, bytes | None, bytes, int | None]) -> None:
        """Records as somebody else's producer sends them: topic, key, value, partition. Blocks."""

        async def send() -> None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.stack.connection.servers, max_request_size=8_000_000
            )
            await producer.start()
            try:
                for topic, key, value, partition in records:
                    await producer.send_and_wait(topic, value, key=key, partition=partition)
            finally:
                await producer.stop()

        asyncio.run(send())


class Guarded:
    """Listeners of the broker beside the open one: `SASL_SSL` with a login, and `SSL` whose certificate has expired."""

    def __init__(self, folder: Path) -> None:
        self.ports = {"SASL_SSL": free_port(), "SSL": free_port()}
        self._trusted, store = certificate(folder / "valid", has_expired=False)
        self._expired, expired = certificate(folder / "expired", has_expired=True)
        self.settings = {
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": _LOGIN,
            "ssl.keystore.type": "PEM",
            "listener.name.sasl_ssl.ssl.keystore.type": "PEM",
            "listener.name.sasl_ssl.ssl.keystore.location": store,
            "listener.name.ssl.ssl.keystore.type": "PEM",
            "listener.name.ssl.ssl.keystore.location": expired,
        }

    def login(self, password: str) -> dict[str, str]:
        """The settings of a worker that logs in."""
        return {
            "PIPELINE_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self.ports['SASL_SSL']}",
            "PIPELINE_KAFKA_SECURITY": "SASL_SSL",
            "PIPELINE_KAFKA_CA_FILE": str(self._trusted),
            "PIPELINE_KAFKA_USERNAME": "worker",
            "PIPELINE_KAFKA_PASSWORD": password,
        }

    def expired(self) -> dict[str, str]:
        """The settings of a worker that comes to the certificate which has expired."""
        return {
            "PIPELINE_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self.ports['SSL']}",
            "PIPELINE_KAFKA_SECURITY": "SSL",
            "PIPELINE_KAFKA_CA_FILE": str(self._expired),
        }


class SlowProxy(FaultProxy):
    """A ClickHouse that takes its time for each insert."""

    slow_s = 0.0

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self.slow_s and b"INSERT" in (request.query_string.encode() + body[:1_000]).upper():
            await asyncio.sleep(self.slow_s)
        return await super()._forward(request, body)


@contextmanager
def scene(clickhouse: EmbeddedClickHouse, folder: Path) -> Iterator[Scene]:
    """A running scene with a broker of its own. Unavailable where Apache Kafka or openssl is not to be had."""
    folder.mkdir(parents=True)
    guarded = Guarded(folder)
    broker = ApacheKafka(folder / "broker", listeners=guarded.ports, settings=guarded.settings)
    settings = {
        "PIPELINE_PARTITIONS": str(PARTITIONS),
        "PIPELINE_IDLE_TIMEOUT": "10s",
        "PIPELINE_CLICKHOUSE_TIMEOUT": "10s",
    }
    try:
        proxy = SlowProxy(clickhouse.url, hold_s=8.0)
        with proxy:
            stack = Stack(broker, clickhouse, folder, settings)
            database = stack.settings["PIPELINE_CLICKHOUSE_URL"].rpartition("/")[2]
            stack.worker_settings = {"PIPELINE_CLICKHOUSE_URL": f"{proxy.url}/{database}"}
            stack.run("migrate")
            made = Scene(stack, proxy, guarded)
            try:
                made.begin()
                yield made
            finally:
                made.end()
                # Kills what is left: after a fault nobody leaves in good order.
                stack.close()
    finally:
        broker.stop()
