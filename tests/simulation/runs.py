"""A seed in, its outcome out."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from pipeline import compiled
from pipeline.roles.sessionizer import Sessionizer
from pipeline.state import device, effects
from pipeline.state.compiled_partition import partitions_by
from pipeline.state.partition import Partition
from tests.simulation import check
from tests.simulation.disorder import Disorder
from tests.simulation.quiet import Quiet
from tests.simulation.traffic import HEAVY_PART_BYTES, HEAVY_TEXT_BYTES
from tests.simulation.world import Suspects, World


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    seed: int
    problems: list[str]
    crashes: int
    rows_checked: int
    refused_by_size: int
    set_aside: int
    trace: list[str]

    def told(self) -> str:
        """For a person: what was injected and what is wrong."""
        lines = [f"seed {self.seed}: {'FAILED' if self.problems else 'passed'}"]
        lines += [f"  {line}" for line in self.trace]
        lines += [f"  ! {problem}" for problem in self.problems[:8]]
        if len(self.problems) > 8:
            lines.append(f"  ! and {len(self.problems) - 8} more")
        return "\n".join(lines)


def suspects_with(core: str) -> Suspects | None:
    """Workers in Python, with the compiled core ("rust"), or one of each in turn ("mixed")."""
    if core == compiled.PYTHON:
        return None
    by_core, numbers = partitions_by(compiled.core(compiled.RUST)), count()

    def made(*others: Any, **named: Any) -> Sessionizer:
        has_core = core == compiled.RUST or next(numbers) % 2 == 1
        return Sessionizer(*others, **named, make_partition=by_core if has_core else Partition)

    return Suspects(sessionizer=made)


def run_seed(seed: int, suspects: Suspects | None = None, *, verbose: bool = False) -> Outcome:
    """Run one seed to quiet and check it. The same seed does the same, whatever ran before."""
    world = World(seed, suspects, verbose=verbose)
    scales = device.MAX_TEXT_BYTES, effects.PART_BYTES
    try:
        if world.plan.heavy:
            device.MAX_TEXT_BYTES, effects.PART_BYTES = HEAVY_TEXT_BYTES, HEAVY_PART_BYTES
        with _hushed():
            Disorder(world).run()
            Quiet(world).run()
        found = list(check.problems(world))
    except Exception as error:
        # Whatever stops a worker or the check is a finding of this seed.
        last = traceback.extract_tb(error.__traceback__)[-1]
        found = [f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"]
        if verbose:
            found.append(traceback.format_exc())
    finally:
        device.MAX_TEXT_BYTES, effects.PART_BYTES = scales
        world.close()
    return Outcome(
        seed,
        found,
        world.crashes,
        check.rows_checked(world),
        world.site.refused_by_size,
        len(world.set_aside),
        world.trace,
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Warnings about an unreachable ClickHouse are what a run is made of."""
    log = logging.getLogger("pipeline")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
