"""A peer: a stream processor in an environment of its own, run and measured from outside."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pipeline.embedded.child import Child
from tests.bench.peers.topic import make_topics, written
from tests.bench.processes import cpu_s, peak_rss_mb
from tests.support.services import Unavailable, classpath

_SCRIPTS = Path(__file__).parent / "scripts"
_INSTALL_TIMEOUT_S = 1_200.0
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.01


@dataclass(frozen=True)
class Result:
    """One run. `cpu_s` and `wall_s` are between the first record and the end of the effects of the last."""

    events: int
    cpu_s: float
    """Of the peer's process and its descendants; the broker is another process."""
    wall_s: float
    rss_mb: float
    """Peak of the whole run, start-up (and a warm-up job) included."""
    notes: tuple[str, ...]

    @property
    def events_per_core_s(self) -> float:
        return self.events / self.cpu_s


@dataclass(frozen=True)
class Peer:
    """What to install, what to run, and how its job differs from ours."""

    name: str
    script: str
    requirements: tuple[str, ...]
    does_not: tuple[str, ...]
    """What our sessionizer does on the same topic and this job does not."""
    notes: tuple[str, ...] = ()
    """How it is run and how its end is found."""
    jars: tuple[str, ...] = ()
    """Maven coordinates of Java archives."""
    pom: str = ""
    """What Maven resolves to a class path, which is left in the file `classpath`."""
    most_events: int | None = None
    """It is so slow that it reads no more than so many, the topic's first."""
    slowest_events_per_s: float = 1_000.0
    """Slower than this is a hang."""

    def prepare(self, cache: Path) -> None:
        """Installs it under `cache/NAME` unless it is there already. Blocks; Unavailable if it cannot."""
        home = cache.resolve() / self.name
        done = home / "installed"
        pom = (_SCRIPTS / self.pom).read_text() if self.pom else ""
        wanted = "\n".join([sys.version, *self.requirements, *self.jars, pom])
        if done.exists() and done.read_text() == wanted:
            return
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        self._install([sys.executable, "-m", "venv", str(home / "venv")])
        if self.requirements:
            self._install([str(_python(home)), "-m", "pip", "install", "-q", *self.requirements])
        for jar in self.jars:
            self._fetch(jar, home)
        if self.pom:
            (home / "classpath").write_text(classpath(_SCRIPTS / self.pom, self.name))
        done.write_text(wanted)

    def run(self, bootstrap: str, topic: str, events: int, cache: Path, folder: Path) -> Result:
        """Reads the topic's first `events` records (it holds exactly so many, unless `most_events` says less).

        Its sessions go to a new topic, which is read afterwards to see that it did the work. `folder` is for
        logs and state. Blocks. StartError or RuntimeError if it does not come to its end, or wrote nothing.
        """
        read = min(events, self.most_events or events)
        output = f"peer-{self.name}-{uuid4().hex[:8]}"
        warm_output = f"{output}-warm"
        asyncio.run(make_topics(bootstrap, output, warm_output))
        # Resolved but for the last link: a virtual environment's python is known by where it stands.
        home, work = cache.resolve() / self.name, folder.resolve() / output
        work.mkdir(parents=True)
        arguments = {
            "bootstrap": bootstrap,
            "topic": topic,
            "output": output,
            "warm-output": warm_output,
            "events": str(read),
            "folder": str(work),
            "cache": str(home),
        }
        child = Child(
            f"peer {self.name}",
            [str(_python(home)), str(_SCRIPTS / self.script), *_flat(arguments)],
            log_file=work / "peer.log",
            cwd=work,
            without_variables=["PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"],
        )
        # The warm-up of Flink reads everything once before the first moment.
        child.start((work / "first").exists, timeout_s=_START_TIMEOUT_S + read / self.slowest_events_per_s)
        try:
            result = self._measure(child, work, read)
        finally:
            child.stop(timeout_s=_STOP_TIMEOUT_S)
        found = asyncio.run(written(bootstrap, output))
        if not 0 < found.events <= read:
            raise RuntimeError(f"{self.name} wrote {found} of {read} events; {work / 'peer.log'}")
        said = f"wrote {found.sessions} sessions with {found.events} of {read} events"
        return Result(*result, notes=(*self.notes, said))

    def _measure(self, child: Child, work: Path, read: int) -> tuple[int, float, float, float]:
        pid = child.pid
        assert pid is not None, "it was started"
        began_cpu_s, began_s = cpu_s(pid), time.monotonic()
        (work / "first.seen").touch()
        deadline_s = began_s + _START_TIMEOUT_S + read / self.slowest_events_per_s
        while not (work / "last").exists():
            if not child.is_running or time.monotonic() > deadline_s:
                ended = f"ended with code {child.exit_code}" if not child.is_running else "hangs"
                raise RuntimeError(f"{self.name} {ended}; its log ends with:\n{child.log_tail()}")
            time.sleep(_POLL_S)
        spent_s, spent_cpu_s, rss_mb = time.monotonic() - began_s, cpu_s(pid) - began_cpu_s, peak_rss_mb(pid)
        (work / "last.seen").touch()
        return read, spent_cpu_s, spent_s, rss_mb

    def _fetch(self, jar: str, home: Path) -> None:
        maven = shutil.which("mvn")
        if maven is None or shutil.which("java") is None:
            raise Unavailable(f"{self.name} needs java and Maven (`mvn`), which are not installed")
        copy = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
        self._install([maven, "-q", "-B", copy, f"-Dartifact={jar}", f"-DoutputDirectory={home}"])

    def _install(self, command: Sequence[str]) -> None:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise Unavailable(f"{self.name} cannot be installed:\n{(done.stdout + done.stderr)[-2000:]}")


def _python(home: Path) -> Path:
    return home / "venv" / "bin" / "python"


def _flat(arguments: dict[str, str]) -> list[str]:
    return [part for name, text in arguments.items() for part in (f"--{name}", text)]
