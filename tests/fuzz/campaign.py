"""A run over many inputs: what escaped, what was slowest, how much was accepted; and the two ways to make inputs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.target import Target

SIZED_EVERY = 1_000
"""One input in so many is blown up to the size limit: those cost as much as hundreds of others."""
_PROGRESS_EVERY = 100_000
_SLOWEST_KEPT = 12
_ESCAPES_SHOWN = 20
_MAX_INPUT_BYTES = 20_000
_CORPUS = 4_000


@dataclass
class Escape:
    """An input that broke a promise, and how."""

    data: bytes
    what: str
    where: str


@dataclass
class Campaign:
    """Counts of a run over one target. `feed` never raises because of an input."""

    target: Target
    seed: int
    check_every: int = 1
    """One input in so many is held to every promise; the others are only decoded, in a fifth of the time or less."""
    seeds: list[bytes] = field(init=False)
    inputs: int = 0
    checked: int = 0
    accepted: int = 0
    refused: int = 0
    """Of those that were checked, like `accepted`."""
    escapes: dict[str, Escape] = field(default_factory=dict)
    """By exception and place: one input speaks for all of a kind."""
    slowest: list[tuple[float, bytes]] = field(default_factory=list)
    """A heap of the slowest as first measured; to be measured again in peace."""
    started_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.seeds = self.target.seeds()

    def feed(self, data: bytes) -> Hashable:
        """Decode or check one input, and now and then one like it at the size limit. Returns the shape of its outcome,
        None if it was not checked."""
        shape = self._feed(data)
        if self.inputs % _PROGRESS_EVERY == 0:
            told = f"{self.inputs} inputs, {self.accepted} accepted, {len(self.escapes)} kinds of escape"
            print(f"{told}, {self.seconds:.0f} s", file=sys.stderr, flush=True)
        if self.inputs % SIZED_EVERY == 0:
            random = Random(f"{self.seed}/{self.inputs}")
            base = data if random.random() < 0.3 else random.choice(self.seeds)
            sized = self.target.at_limit(base, random)
            if sized is not None:
                self._feed(sized)
        return shape

    def _feed(self, data: bytes) -> Hashable:
        self.inputs += 1
        is_checked = self.inputs % self.check_every == 0
        try:
            if self.target.limit_ms is not None or not is_checked:
                self._time(data)
            if not is_checked:
                return None
            self.checked += 1
            seen = self.target.check(data)
        except Exception as error:
            self._note_escape(data, error)
            return None
        if seen.accepted:
            self.accepted += 1
        else:
            self.refused += 1
        return seen.shape

    def _time(self, data: bytes) -> None:
        run = self.target.prepared(data)
        before_s = time.process_time()
        run()
        entry = (time.process_time() - before_s, data)
        if len(self.slowest) < _SLOWEST_KEPT:
            heappush(self.slowest, entry)
        elif entry > self.slowest[0]:
            heappushpop(self.slowest, entry)

    def _note_escape(self, data: bytes, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/pipeline/" in frame.filename] or list(frames)
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}"
        what = f"{type(error).__name__}: {error}"
        kind = f"{type(error).__name__} {where}" if not isinstance(error, AssertionError) else what[:80]
        known = self.escapes.get(kind)
        if known is None:
            print(
                f"{self.inputs} inputs: {what[:500]} at {where}: {data[:1_000]!r}",
                file=sys.stderr,
                flush=True,
            )
        if known is None or len(data) < len(known.data):
            self.escapes[kind] = Escape(data, what[:500], where)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started_s

    def is_over(self, inputs: int, seconds: float | None) -> bool:
        """Enough inputs, enough time, or more kinds of escape than anybody will read."""
        late = seconds is not None and self.seconds >= seconds
        return self.inputs >= inputs or late or len(self.escapes) >= _ESCAPES_SHOWN


def run_mutator(campaign: Campaign, inputs: int, seconds: float | None) -> None:
    """Inputs from the structure-aware mutator alone: the same seed makes the same inputs.

    Guided by outcomes: an input whose outcome has a shape that was not seen before is changed further.
    """
    random = Random(campaign.seed)
    corpus = list(campaign.seeds)
    shapes: set[Hashable] = set()
    for data in campaign.seeds:
        shapes.add(campaign.feed(data))
    while not campaign.is_over(inputs, seconds):
        # Often from a sound input: most of what the corpus gathers is broken early.
        base = random.choice(campaign.seeds if random.random() < 0.4 else corpus)
        data = campaign.target.mutate(base, random)
        shape = campaign.feed(data)
        if (
            shape is not None
            and shape not in shapes
            and len(data) <= _MAX_INPUT_BYTES
            and len(corpus) < _CORPUS
        ):
            shapes.add(shape)
            corpus.append(data)


def run_atheris(
    atheris: Any, campaign: Campaign, inputs: int, seconds: float | None, finish: Callable[[], None]
) -> None:
    """Inputs guided by the coverage of the decoders' lines and branches. Does not return: `finish` ends the process."""
    target = campaign.target

    def one_input(data: bytes) -> None:
        campaign.feed(data)
        if campaign.is_over(inputs, seconds):
            finish()

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        choice = random.random()
        if choice < 0.2:
            changed: bytes = atheris.Mutate(data, max_size)
        else:  # often from a sound input, as most that libFuzzer keeps are broken early
            changed = target.mutate(random.choice(campaign.seeds) if choice < 0.5 else data, random)
        return changed if len(changed) <= max_size else data

    with tempfile.TemporaryDirectory(prefix="fuzz-corpus-") as folder:
        for number, seed in enumerate(campaign.seeds):
            (Path(folder) / f"{number:04d}").write_bytes(seed)
        options = [
            f"-seed={campaign.seed % 2**31 + 1}",
            f"-max_len={_MAX_INPUT_BYTES}",
            f"-artifact_prefix={folder}/",
            # Slowness is judged by processor time, at the end: by the clock a busy machine looks slow.
            *(
                "-verbosity=0",
                "-rss_limit_mb=4096",
                "-reload=0",
                "-timeout=1000000",
                "-report_slow_units=1000000",
            ),
        ]
        atheris.Setup([sys.argv[0], *options, folder], one_input, custom_mutator=mutated)
        atheris.Fuzz()


def best_ms(target: Target, data: bytes, times: int = 3) -> float:
    """Processor time of the decoder on one input in milliseconds, the best of some: noise only ever adds."""
    run, best_s = target.prepared(data), float("inf")
    for _ in range(times):
        before_s = time.process_time()
        run()
        best_s = min(best_s, time.process_time() - before_s)
    return best_s * 1_000


def slowest_in_peace(campaign: Campaign, decoder: str) -> tuple[float, bytes]:
    """The slowest input and its best time, measured in a process without instrumentation."""
    if not campaign.slowest:
        return 0.0, b""
    with tempfile.TemporaryDirectory(prefix="fuzz-slow-") as folder:
        paths = save((data for _, data in campaign.slowest), Path(folder), decoder)
        command = [sys.executable, "-m", "tests.fuzz", "--decoder", decoder, "--time", *map(str, paths)]
        told = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ))
        times_ms = [float(line) for line in told.stdout.split()]
    return max(zip(times_ms, (data for _, data in campaign.slowest), strict=True))


def save(inputs: Any, folder: Path, decoder: str) -> Sequence[Path]:
    """Write inputs to files named by their content."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for data in inputs:
        path = folder / f"{decoder}-{hashlib.blake2b(data, digest_size=6).hexdigest()}"
        path.write_bytes(data)
        paths.append(path)
    return paths
