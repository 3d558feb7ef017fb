"""Runs what the chart renders, without Kubernetes: `python -m tests.support.chart_run`, half a minute.

The commands and variables of all pods, as Helm renders them, on Apache Kafka and the embedded ClickHouse: `migrate`
first, then every role with the probes that its manifest has, `helm test`'s checks, and SIGTERM with the grace of the
pod. Only addresses and ports are others.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError

from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.chart import Manifest, container, environment, pods, rendered
from tests.support.services import start_broker

_ROOT = Path(__file__).parents[2]
_READY_S = 90.0


class Failed(RuntimeError):
    """What the chart renders does not work; the text says what."""


class Pod:
    """A pod as a process on this machine. Methods block."""

    def __init__(self, who: str, pod: Manifest, folder: Path, others: Mapping[str, str]) -> None:
        """`others` are values in place of those that name servers or secrets."""
        self.who, self._pod = who, pod
        self._folder = folder / who
        self._folder.mkdir()
        self._ports = {each["name"]: free_port() for each in container(pod).get("ports", ())}
        variables = environment(pod, others) | {
            name: value for name, value in others.items() if name in environment(pod, others)
        }
        if "metrics" in self._ports:
            variables["PIPELINE_METRICS_PORT"] = str(self._ports["metrics"])
        keys = variables.get("PIPELINE_RECEIVE_KEYS")
        if keys:
            file = folder / "keys.toml"
            file.write_text('[[keys]]\nkey = "a-key"\napps = ["*"]\n')
            variables["PIPELINE_RECEIVE_KEYS"] = str(file)
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(_ROOT),
            "TMPDIR": str(self._folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            **variables,
        }
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        arguments = list(container(self._pod)["args"])
        if self.who in ("receive", "dashboard"):
            arguments += ["--port", str(self._ports["http"])]
        self._log = (self._folder / "log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments],
            cwd=self._folder, env=self._environment, stdout=self._log, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def probe(self, kind: str) -> tuple[int, str]:
        """Status and answer; 0 if nothing answers."""
        asked = container(self._pod)[f"{kind}Probe"]["httpGet"]
        try:
            with urllib.request.urlopen(
                f"http://{LOOPBACK}:{self._ports[asked['port']]}{asked['path']}", timeout=5
            ) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError as error:
            return 0, str(error)

    def wait_until_ready(self) -> float:
        """Seconds until all probes agree. Raises Failed."""
        began = time.monotonic()
        while time.monotonic() - began < _READY_S:
            said = {kind: self.probe(kind) for kind in ("startup", "liveness", "readiness")}
            if all(status == 200 for status, _ in said.values()):
                return time.monotonic() - began
            self._still_runs()
            time.sleep(0.2)
        raise Failed(f"{self.who} is not ready: {said}\n{self.log()}")

    def run(self, timeout_s: float) -> str:
        """To its end; what it said. Raises Failed."""
        self.start()
        assert self._process is not None
        code = self._process.wait(timeout_s)
        if code:
            raise Failed(f"{self.who} ended with {code}\n{self.log()}")
        return self.log()

    def stop(self) -> float:
        """Seconds from SIGTERM to its end. Raises Failed if it is killed or fails."""
        assert self._process is not None
        self._still_runs()
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(self._pod["spec"]["terminationGracePeriodSeconds"])
        except subprocess.TimeoutExpired as late:
            raise Failed(f"{self.who} does not end within its grace") from late
        if code:
            raise Failed(f"{self.who} ended with {code}\n{self.log()}")
        return time.monotonic() - began

    def kill(self) -> None:
        """Harmless if it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """The last that it said."""
        return (self._folder / "log").read_text()[-2000:]

    def _still_runs(self) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise Failed(f"{self.who} ended with {self._process.returncode}\n{self.log()}")


def main() -> None:
    """Prints a line for each step. Raises Failed, Unavailable."""
    options = ("--set-string", "settings.PIPELINE_KAFKA_REPLICATION=1", "--set", "partitions=4")
    made = pods(rendered("minimal", *options))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        broker = start_broker("kafka", folder / "kafka")
        try:
            with EmbeddedClickHouse(folder=folder / "clickhouse") as clickhouse:
                others = {
                    "PIPELINE_KAFKA_BOOTSTRAP": broker.bootstrap,
                    "PIPELINE_CLICKHOUSE_URL": f"{clickhouse.url}/app_sessions",
                    "PIPELINE_DASHBOARD_PASSWORD": "secret",
                }
                _run({who: Pod(who, pod, folder, others) for who, pod in made.items()})
        finally:
            broker.stop()


def _run(running: Mapping[str, Pod]) -> None:
    print(f"migrate: {running['migrate'].run(120).strip().splitlines()[-1]}", flush=True)
    serving = [pod for who, pod in running.items() if who != "migrate" and not who.endswith("-check")]
    try:
        for pod in serving:
            pod.start()
        for pod in serving:
            print(f"{pod.who}: ready after {pod.wait_until_ready():.1f} s more", flush=True)
        for who, pod in running.items():
            if who.endswith("-check"):
                print(f"{who}: {pod.run(60).strip().splitlines()[-1]}", flush=True)
        for pod in serving:
            print(f"{pod.who}: ended {pod.stop():.1f} s after SIGTERM", flush=True)
    finally:
        for pod in running.values():
            pod.kill()


if __name__ == "__main__":
    main()
