"""What an operator does to a pipeline under load, with workers killed meanwhile, and what chaos' own check says then.

Each occasion is a command of its own. What it saw is kept beside this file, and `tests.faults` writes it into
deploy/FAULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.logs import log_for_command
from tests.chaos.fleet import Fleet
from tests.chaos.load import Load
from tests.chaos.verify import Verdict
from tests.support.services import ApacheKafka, Unavailable
from tests.support.stack import Stack

FOLDER = Path(__file__).with_name("seen")
IDLE_S = 2
SETTLE_S = 240.0
_DRAIN_S = 400
ROLES = ("router", "sessionizer", "sink")


@dataclass(frozen=True)
class Seen:
    """What came of an occasion, for the document."""

    name: str
    title: str
    done: str
    command: str
    at: str
    load: float
    """The machine's load of the last 15 minutes, on so many `cores`."""
    cores: int
    kills: int
    numbers: Mapping[str, int]
    """`rows_checked`, `missing`, `double`, `wrong`, and what else the occasion counts."""
    steps: list[str] = field(default_factory=list)

    def save(self) -> None:
        FOLDER.mkdir(exist_ok=True)
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (FOLDER / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")


def all_seen() -> list[Seen]:
    """What is kept, by name."""
    return [Seen(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(FOLDER.glob("*.json"))]


class Occasion:
    """A pipeline under load. All methods block."""

    def __init__(self, stack: Stack, load: Load, fleet: Fleet, seconds: float) -> None:
        self.stack, self.load, self.fleet = stack, load, fleet
        self.steps: list[str] = []
        self._began_s = time.monotonic()
        self.seconds = seconds
        """In which the first fleet sends."""

    def say(self, line: str) -> None:
        """A step that was done."""
        print(f"{time.monotonic() - self._began_s:6.1f} s  {line}", flush=True)
        self.steps.append(line)

    def go_on(self, seconds: float = 1.0) -> None:
        """Some of the load, whoever is at work."""
        self.load.send_slice()
        self.fleet.rest(seconds)
        self.load.keep_up()

    def kill(self, role: str, spare: str = "") -> None:
        """kill -9; another worker takes its place at once."""
        self.say(f"kill -9 of {self.fleet.kill(role, restart_s=0, spare=spare)}")

    def settle(self) -> None:
        """Until all workers have their partitions."""
        assert self.fleet.settle(SETTLE_S), f"workers did not settle\n{self.stack.log_tails()}"

    def come_to_rest(self) -> None:
        """The rest of the load, then quiet."""
        while self.load.is_sending:
            self.fleet.rest(0.2)
        self.load.finish(SETTLE_S)
        self.settle()
        self.stack.wait_idle(_DRAIN_S)


def arguments(module: str, described: str | None, *, seconds: float = 60) -> argparse.ArgumentParser:
    """What all occasions are asked with."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=described)
    parser.add_argument("--events", type=int, default=8_000)
    parser.add_argument("--seconds", type=float, default=seconds, help="in which the first fleet sends them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--core", choices=("auto", "python", "rust"), default="auto")
    return parser


def play(
    given: argparse.Namespace,
    act: Callable[[Occasion], tuple[Verdict, dict[str, int]]],
    prepare: Callable[[Stack], None],
    about: Callable[[], tuple[str, str, str]],
) -> int:
    """Runs an occasion on Apache Kafka and keeps what was seen; the exit code.

    `about` gives name, title and what was done.
    """
    log_for_command()
    folder = Path(tempfile.mkdtemp(prefix="session-pipeline-occasion-"))
    print(f"logs are in {folder}", flush=True)
    try:
        broker = ApacheKafka(folder / "broker")
    except Unavailable as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 1
    try:
        with EmbeddedClickHouse(folder=folder / "clickhouse") as clickhouse:
            settings = {
                "PIPELINE_PARTITIONS": str(given.partitions),
                "PIPELINE_IDLE_TIMEOUT": f"{IDLE_S}s",
                # A machine that is busy with other things is no fault of the workers.
                "PIPELINE_KAFKA_SESSION_TIMEOUT": "10s",
            }
            if given.core != "auto":
                # An earlier program does not know it.
                settings["PIPELINE_CORE"] = given.core
            stack = Stack(broker, clickhouse, folder, settings)
            try:
                prepare(stack)
                stack.run("migrate")
                load = Load(stack, events=given.events, seed=given.seed)
                fleet = Fleet(stack, None, given.seed)
                occasion = Occasion(stack, load, fleet, given.seconds)
                verdict, more = act(occasion)
            finally:
                stack.close()
    finally:
        broker.stop()
    problems = [*verdict.examples, *fleet.tally.unclean]
    numbers = {name: getattr(verdict, name) for name in ("rows_checked", "missing", "double", "wrong")} | more
    name, title, done = about()
    if not problems:
        Seen(
            *(name, title, done, _command(given.module, sys.argv[1:])),
            at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            load=round(os.getloadavg()[2], 1),
            cores=os.cpu_count() or 0,
            kills=fleet.tally.kills,
            numbers={"events": load.events, **numbers},
            steps=occasion.steps,
        ).save()
        shutil.rmtree(folder)
    for line in problems:
        print(line)
    print(json.dumps({"events": load.events, "kills": fleet.tally.kills, **numbers}))
    return 1 if problems else 0


def _command(module: str, given: Sequence[str]) -> str:
    """As another machine would give it: without the folder that `--older` names."""
    said = list(given)
    if "--older" in said:
        place = said.index("--older")
        del said[place : place + 2]
    return " ".join(["python -m", module, *said])
