"""`up` as a process, as a terminal sees it, and other commands beside it."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import orjson

from tests.support.forked import run_forked
from tests.support.stack import command_line, environment

_ANY_PORTS = ("--kafka-port", "0", "--clickhouse-port", "0", "--dashboard-port", "0", "--receive-port", "0")
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 120.0
_COMMAND_TIMEOUT_S = 120.0


def run(
    *arguments: str, settings: Mapping[str, str], folder: Path, timeout_s: float = _COMMAND_TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return subprocess.run(
        command_line(*arguments),
        env=environment(settings),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Up:
    """A running `up`, as a terminal sees it."""

    def __init__(self, folder: Path, name: str, *arguments: str, partitions: str = "8") -> None:
        """`arguments` are further ones; of two of a name the last counts."""
        self.folder = folder
        self._chosen = {"PIPELINE_IDLE_TIMEOUT": "2s", "PIPELINE_PARTITIONS": partitions}
        self._printed = folder / f"{name}.stdout"
        self._complaints = folder / f"{name}.stderr"
        with self._printed.open("wb") as stdout, self._complaints.open("wb") as stderr:
            self.process = subprocess.Popen(
                command_line("up", "--data", "data", *_ANY_PORTS, *arguments),
                env=environment({**self._chosen, "XDG_STATE_HOME": str(folder / "state")}),
                cwd=folder,
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def printed(self) -> str:
        return self._printed.read_text()

    @property
    def complaints(self) -> str:
        return self._complaints.read_text()

    def wait_ready(self) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while "ready; Ctrl-C stops" not in self.printed:
            assert self.process.poll() is None, f"it ended: {self.complaints}\n{self.logs()}"
            assert time.monotonic() < deadline_s, f"not ready in time: {self.printed}\n{self.logs()}"
            time.sleep(0.1)

    @property
    def settings(self) -> dict[str, str]:
        """The variables of another terminal of the same user: the ports, which are not the usual ones here.

        No password: the commands find it.
        """
        kafka = re.search(r"^Kafka +(\S+)$", self.printed, re.MULTILINE)
        assert kafka, self.printed
        url = urlsplit(self.clickhouse_url)
        return {
            "PIPELINE_KAFKA_BOOTSTRAP": kafka[1],
            "PIPELINE_CLICKHOUSE_URL": f"http://{url.hostname}:{url.port}{url.path}",
            "XDG_STATE_HOME": str(self.folder / "state"),
            **self._chosen,
        }

    @property
    def clickhouse_url(self) -> str:
        """What it prints for any client of ClickHouse, with the database."""
        found = re.search(r"^ClickHouse +(\S+) +\(database (\w+)\)$", self.printed, re.MULTILINE)
        assert found, self.printed
        return f"{found[1]}/{found[2]}"

    def post(self, path: str, body: bytes, content_type: str) -> int:
        """What `receive` answers, with the status."""
        found = re.search(r"^Receive +(http://\S+)$", self.printed, re.MULTILINE)
        assert found, self.printed
        request = Request(found[1] + path, body, {"Content-Type": content_type})
        with urlopen(request, timeout=60) as answer:
            return int(answer.status)

    def page(self, path: str) -> str:
        """A page of the dashboard."""
        found = re.search(r"^Dashboard +(http://\S+)$", self.printed, re.MULTILINE)
        assert found, self.printed
        with urlopen(found[1] + path, timeout=60) as answer:
            return str(answer.read().decode())

    def command(self, *arguments: str) -> str:
        """What it printed; it must succeed."""
        variables = environment(self.settings)
        done = run_forked(arguments, env=variables, cwd=self.folder, timeout_s=_COMMAND_TIMEOUT_S)
        assert done.returncode == 0, f"{arguments}: {done.stderr}\n{self.logs()}"
        return done.stdout

    def query(self, sql: str) -> list[dict[str, Any]]:
        """By the command of that name."""
        printed = self.command("query", sql, "--format", "JSONEachRow")
        return [orjson.loads(line) for line in printed.splitlines()]

    def end(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def worker(self, role: str) -> int:
        """The process id of its worker of a role."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                arguments = path.read_bytes().split(b"\0")
                parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended meanwhile
                continue
            if parent == self.process.pid and role.encode() in arguments:
                return int(path.parent.name)
        raise AssertionError(f"no worker {role}")

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3_000:]}"
            for path in sorted((self.folder / "data" / "logs").glob("*.log"))
        )


@contextmanager
def started(folder: Path, name: str, *arguments: str, partitions: str = "8") -> Iterator[Up]:
    up = Up(folder, name, *arguments, partitions=partitions)
    try:
        up.wait_ready()
        yield up
    finally:
        if up.process.poll() is None:
            up.process.terminate()
            try:
                up.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                up.process.kill()
                up.process.wait()


def left_over(folder: Path) -> list[str]:
    """Command lines of processes that still work in a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink() == folder:
                found.append((link.parent / "cmdline").read_text())
        except OSError:  # ended, or not ours
            continue
    return found
