"""A real OpenTelemetry Collector: OTLP in, Kafka out. Built once from the sources in tests/collector with Go, which
gets all else from its module proxy, and kept in tests/collector/target.

A cold build takes three to four minutes of CPU. So it begins in the background as soon as it is known that a test will
ask for it (tests/conftest.py), with the lowest priority, and the test waits for the rest.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.embedded.child import LOOPBACK, Child, free_port
from tests.support.services import Unavailable

FOLDER = Path(__file__).parents[1] / "collector"
ASKED_FOR_BY = "test_collector.py"
BUILD_TIMEOUT_S = 1_500.0
_START_TIMEOUT_S = 30.0
_COMMAND_TIMEOUT_S = 60.0
_POLL_S = 0.2

_builders: list[subprocess.Popen[bytes]] = []


def begin_build() -> None:
    """Starts the build in the background unless it is done; does not block. Does nothing without Go."""
    if _program().exists() or _builders or shutil.which("go") is None:
        return
    _failure().unlink(missing_ok=True)
    with (_target() / "build.log").open("ab") as log:
        # Its CPU time is nobody's: it is not waited for, and no test is charged for it.
        _builders.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.collector"],
                cwd=FOLDER.parents[1],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )


def end_build() -> None:
    """Ends what `begin_build` started and is still at it, with its compilers."""
    for builder in _builders:
        if builder.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(builder.pid, signal.SIGKILL)
            builder.wait()
    _builders.clear()


def program() -> Path:
    """The built Collector; blocks until it is there. Raises Unavailable if it cannot be had."""
    if shutil.which("go") is None and not _program().exists():
        raise Unavailable("an OpenTelemetry Collector needs Go (`go`) to be built, which is not installed")
    begin_build()
    failure = _failure()
    deadline_s = time.monotonic() + BUILD_TIMEOUT_S
    while not _program().exists():
        if failure.exists():
            raise Unavailable(
                f"the OpenTelemetry Collector could not be built:\n{failure.read_text()[-2000:]}"
            )
        if _has_died():
            raise Unavailable(f"the build of the OpenTelemetry Collector died: {_target() / 'build.log'}")
        if time.monotonic() > deadline_s:
            raise Unavailable(f"the OpenTelemetry Collector was not built within {BUILD_TIMEOUT_S:.0f} s")
        time.sleep(_POLL_S)
    return _program()


def _has_died() -> bool:
    """Whether what was begun here ended and left neither the program nor the reason. It is not waited for: its CPU time
    would be charged to the test that asks."""
    over = (os.waitid(os.P_PID, each.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) for each in _builders)
    return any(over) and not _program().exists() and not _failure().exists()


def _build() -> None:
    """Builds, unless another process has or did so meanwhile. Blocks; writes down why it failed."""
    with (_target() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _program().exists():
            return
        os.nice(15)
        made = _program().with_suffix(".new")
        command = ["go", "build", "-p", "2", "-trimpath", "-ldflags=-s -w", "-o", str(made), "."]
        variables = {**os.environ, "CGO_ENABLED": "0"}
        done = subprocess.run(command, cwd=FOLDER, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            _failure().write_text(done.stdout + done.stderr)
        else:
            made.replace(_program())


def _program() -> Path:
    sources = sorted([*FOLDER.glob("*.go"), FOLDER / "go.mod", FOLDER / "go.sum"])
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    return _target() / f"otelcol-{digest}"


def _failure() -> Path:
    return _target() / "failed"


def _target() -> Path:
    folder = FOLDER / "target"
    folder.mkdir(exist_ok=True)
    return folder


class Collector:
    """A Collector that runs on loopback. Methods block."""

    def __init__(self, configurations: Sequence[str], folder: Path, brokers: str) -> None:
        """`configurations` are as `--config` takes them, each over the one before; ours, of addresses, over all.
        `brokers` is the Kafka that it writes to, `host:port`."""
        self.http = f"http://{LOOPBACK}:{free_port()}"
        self.grpc = f"{LOOPBACK}:{free_port()}"
        self._health = f"{LOOPBACK}:{free_port()}"
        addresses = (
            f"yaml:receivers::otlp::protocols::http::endpoint: {self.http.removeprefix('http://')}",
            f"yaml:receivers::otlp::protocols::grpc::endpoint: {self.grpc}",
            f"yaml:extensions::health_check::endpoint: {self._health}",
            f'yaml:exporters::kafka::brokers: ["{brokers}"]',
            "yaml:service::telemetry::metrics::level: none",
        )
        options = [f"--config={each}" for each in (*configurations, *addresses)]
        self.log_file = folder / "collector.log"
        self._child = Child(
            "the OpenTelemetry Collector", [str(program()), *options], log_file=self.log_file, cwd=folder
        )

    def start(self) -> None:
        self._child.start(self._answers, timeout_s=_START_TIMEOUT_S)

    def stop(self) -> None:
        """In good order: what it has is sent on."""
        code = self._child.stop(timeout_s=_START_TIMEOUT_S)
        assert code == 0, f"the Collector ended with code {code}\n{self.log_file.read_text()[-4000:]}"

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._health}", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def running_collector(configurations: Sequence[str], folder: Path, brokers: str) -> Iterator[Collector]:
    """A Collector until the end of the block. Raises Unavailable if it cannot be had."""
    folder.mkdir(parents=True, exist_ok=True)
    collector = Collector(configurations, folder, brokers)
    collector.start()
    try:
        yield collector
    finally:
        collector.stop()


def validate(configuration: Path) -> str:
    """What `validate` says against a configuration; empty if it says nothing against it."""
    done = subprocess.run(
        [str(program()), "validate", f"--config={configuration}"],
        capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0 or done.stderr, done
    return done.stderr if done.returncode else ""


if __name__ == "__main__":
    _build()
