"""`python -m tests.bench.turns OLD_TREE`: decode and step of another tree and of this one, by turns in one sitting.

    git worktree add ../before COMMIT
    python -m tests.bench.turns ../before --keep tests/bench/TURNS.md

A process for each measurement, which prints CPU seconds; this tree measures both, with its own corpus, so that the
product alone differs. Adds a table to the file: medians, the ratio of them, and the spread (max - min) / median.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tests.bench.report import provenance

HERE = Path(__file__).resolve().parent
CASES = (
    # part, events in an envelope, devices, events
    ("decode", 20, 10_000, 300_000),
    ("decode", 1, 10_000, 100_000),
    ("step", 20, 10_000, 300_000),
    ("step", 1, 10_000, 100_000),
    ("step", 1, 200_000, 200_000),
)
_ONE = """
import importlib.util, json, sys
def load(name, folder):
    spec = importlib.util.spec_from_file_location(f"tests.bench.{name}", f"{folder}/{name}.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
folder, part, envelope, devices, events = sys.argv[1:]
load("corpus", folder)
figures = getattr(load("parts", folder), part)(int(events), {"envelope": float(envelope), "devices": float(devices)})
print(json.dumps(figures["cpu_s"]))
"""


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.turns", description=__doc__)
    parser.add_argument("old", type=Path, help="the root of the other tree")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--keep", type=Path, help="append the table to this file, too")
    told = parser.parse_args()
    trees = {"before": told.old.resolve(), "after": HERE.parent.parent}
    lines = [_heading(trees, sys.argv[1:]), *_table(trees, told.turns)]
    text = "\n".join(lines) + "\n"
    print(text)
    if told.keep:
        with told.keep.open("a", encoding="utf-8") as file:
            file.write("\n" + text)


def _table(trees: dict[str, Path], turns: int) -> list[str]:
    lines = [
        "| part | events a record | devices | events | before, CPU s | after, CPU s | after / before | spread |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        found: dict[str, list[float]] = {name: [] for name in trees}
        for turn in range(turns):
            # Each is first in turn: what the one before it did to the machine falls on both.
            for name in list(trees)[:: 1 if turn % 2 else -1]:
                found[name].append(_measure(trees[name], case))
        before, after = (median(found[name]) for name in trees)
        spread = max((max(each) - min(each)) / median(each) for each in found.values())
        part, envelope, devices, events = case
        lines.append(
            f"| {part} | {envelope} | {devices:,} | {events:,} | {before:.3f} | {after:.3f} "
            f"| {after / before:.3f} | {spread:.2f} |"
        )
    return lines


def _measure(tree: Path, case: tuple[str, int, int, int]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _ONE, str(HERE), *map(str, case)],
        cwd=tree,
        env={"PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout))


def _heading(trees: dict[str, Path], arguments: list[str]) -> str:
    run = provenance()
    commits = {name: _commit(tree) for name, tree in trees.items()}
    words = " ".join(["COMMIT" if Path(each).is_dir() else each for each in arguments])
    return (
        f"## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {commits['after']} against {commits['before']}\n\n"
        f"`python -m tests.bench.turns {words}`\n\n{run['machine']}; {run['versions']}.\n"
    )


def _commit(tree: Path) -> str:
    words = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
