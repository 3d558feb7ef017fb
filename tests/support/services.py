"""The services that tests run against: the embedded broker and Apache Kafka behind one protocol."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from pipeline.embedded.broker import EmbeddedBroker
from pipeline.embedded.child import LOOPBACK, Child, free_port
from pipeline.embedded.kafka_probe import broker_answers

_KAFKA_FOLDER = Path(__file__).parents[1] / "kafka"
_START_TIMEOUT_S = 60.0
_RESOLVE_TIMEOUT_S = 300.0
MIN_SESSION_TIMEOUT_S = 1.0
"""The shortest that Apache Kafka takes here; 6 s unless it is configured."""
_JAVA_OPTIONS = [
    "-Xmx512m",
    # Short lives: start fast rather than run fast.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
]


class Unavailable(RuntimeError):
    """A service cannot run on this machine (no java, no Maven, no network): tests skip, but fail in CI."""


class Broker(Protocol):
    """A Kafka broker on loopback. All methods block."""

    @property
    def kind(self) -> str:
        """`embedded` or `kafka`."""

    @property
    def bootstrap(self) -> str:
        """`host:port`."""

    @property
    def pid(self) -> int | None:
        """Its process; None while it does not run."""

    def stop(self) -> None:
        """Ends it in good order. Harmless if it does not run."""

    def kill9(self) -> None:
        """Ends it with SIGKILL."""

    def restart(self) -> None:
        """Starts it again on the same port and, if it is durable, on the same data; ends it first if it runs."""


class Embedded:
    """The embedded broker. It is not durable: after `restart` it is empty."""

    kind = "embedded"

    def __init__(self, folder: Path) -> None:
        self._broker = EmbeddedBroker(folder=folder)
        self._broker.start()

    @property
    def bootstrap(self) -> str:
        return self._broker.bootstrap

    @property
    def pid(self) -> int | None:
        return self._broker.pid

    def stop(self) -> None:
        self._broker.stop()

    def kill9(self) -> None:
        self._broker.kill()

    def restart(self) -> None:
        self._broker.stop()
        self._broker.start()


class ApacheKafka:
    """A single Apache Kafka node (KRaft) with java, its data in a folder. Raises Unavailable without java or Maven."""

    kind = "kafka"

    def __init__(
        self,
        folder: Path,
        *options: str,
        listeners: Mapping[str, int] = {},
        settings: Mapping[str, object] = {},
        properties: Mapping[str, object] = {},
    ) -> None:
        """`options` are for the JVM; without any it gets its classes from an archive. `properties` are the JVM's.

        `listeners` are further ones, by name (which is their protocol) with their port; `settings` are the broker's.
        """
        java, classpath = _java(), kafka_classpath()
        options = options or (f"-XX:SharedArchiveFile={_classes(classpath)}",)
        defined = [f"-D{name}={value}" for name, value in properties.items()]
        self._port, controller_port = free_port(), free_port()
        data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "server.properties"
        file.write_text(
            _server_properties({"PLAINTEXT": self._port, **listeners}, controller_port, data, settings)
        )
        if not data.exists():
            _format(java, classpath, file, data)
        self._child = Child(
            "Apache Kafka",
            [java, *_JAVA_OPTIONS, *options, *defined, "-cp", classpath, "kafka.Kafka", str(file)],
            log_file=folder / "kafka.log",
            cwd=folder,
        )
        self._start()

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def stop(self) -> None:
        self._child.stop(timeout_s=30)

    def kill9(self) -> None:
        self._child.kill()

    def restart(self) -> None:
        self.stop()
        self._start()

    def _start(self) -> None:
        self._child.start(lambda: broker_answers(LOOPBACK, self._port), timeout_s=_START_TIMEOUT_S)


def start_broker(kind: str, folder: Path) -> Broker:
    """A running broker of kind `embedded` or `kafka` with its files in a folder of its own."""
    return Embedded(folder) if kind == "embedded" else ApacheKafka(folder)


def kafka_classpath() -> str:
    """The class path of Apache Kafka. Raises Unavailable if it is not to be had."""
    return classpath(_KAFKA_FOLDER / "pom.xml", "Apache Kafka")


def classpath(pom: Path, what: str) -> str:
    """The class path of what a pom asks for, fetched by Maven the first time. Unavailable if it is not to be had."""
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    cached = _target() / f"classpath-{digest}.txt"
    with _locked():
        if cached.exists():
            classpath = cached.read_text().strip()
            if all(Path(jar).exists() for jar in classpath.split(os.pathsep)):
                return classpath
        maven = shutil.which("mvn")
        if maven is None:
            raise Unavailable(f"{what} needs Maven (`mvn`) to be fetched, which is not installed")
        fetched = cached.with_suffix(".new")
        command = [
            maven,
            "-q",
            "-B",
            "-f",
            str(pom),
            "dependency:build-classpath",
            f"-Dmdep.outputFile={fetched}",
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_RESOLVE_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise Unavailable(f"Maven could not fetch {what}:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
        fetched.replace(cached)
        return cached.read_text().strip()


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise Unavailable("Apache Kafka needs java 17 or later, which is not installed")
    return java


def _format(java: str, classpath: str, settings: Path, data: Path) -> None:
    """Makes an empty data folder. Formatted once by Kafka's own tool and then copied: it starts a JVM of its own."""
    digest = hashlib.sha256(classpath.encode()).hexdigest()[:12]
    template = _target() / f"formatted-{digest}"
    with _locked():
        if not template.exists():
            command = [java, *_JAVA_OPTIONS, "-cp", classpath, "kafka.tools.StorageTool", "format"]
            command += ["--cluster-id", "c2Vzc2lvbi1waXBlbGluZQ", "--config", str(settings)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode:
                raise RuntimeError(f"Kafka's storage could not be formatted:\n{done.stdout}{done.stderr}")
            unfinished = template.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(data, unfinished)
            unfinished.rename(template)
            return
    shutil.copytree(template, data)


def _classes(classpath: str) -> Path:
    """Kafka's classes as a JVM holds them: to load them anew is half of its start. Made once, by a broker that ends.

    A JVM that cannot use the archive, such as another version, starts without; so it does where there is none, since
    the broker did not end in time on a busy machine.
    """
    digest = hashlib.sha256(classpath.encode()).hexdigest()[:12]
    archive = _target() / f"classes-{digest}.jsa"
    if not archive.exists():
        unfinished = archive.with_suffix(f".{os.getpid()}")
        with tempfile.TemporaryDirectory() as folder:
            ApacheKafka(Path(folder), f"-XX:ArchiveClassesAtExit={unfinished}").stop()
        with suppress(FileNotFoundError):
            unfinished.replace(archive)
    return archive


def _server_properties(
    listeners: Mapping[str, int], controller_port: int, data: Path, more: Mapping[str, object]
) -> str:
    advertised = ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in listeners.items())
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{advertised},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": advertised,
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": ",".join(
            ["CONTROLLER:PLAINTEXT", *(f"{name}:{name}" for name in listeners)]
        ),
        "log.dirs": data,
        "num.partitions": 1,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": int(MIN_SESSION_TIMEOUT_S * 1_000),
        "log.retention.ms": -1,
        # After kill9 a new start has to wait until the registration of the old one has expired.
        "broker.session.timeout.ms": 1_500,
        "broker.heartbeat.interval.ms": 300,
        # A record of 1,000,000 bytes with its key, headers and batch overhead.
        "message.max.bytes": 1_200_000,
        "replica.fetch.max.bytes": 1_200_000,
        # A test cluster has little to do: few threads, little memory.
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 4_194_304,
        **more,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _target() -> Path:
    folder = _KAFKA_FOLDER / "target"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def _locked() -> Iterator[None]:
    """One test process at a time fetches or formats."""
    with (_target() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
