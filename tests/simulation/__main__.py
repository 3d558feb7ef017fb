"""`python -m tests.simulation`: run seeds, print what fails, end with one JSON object."""

from __future__ import annotations

import argparse
import json
import sys
import time

from tests.simulation.runs import run_seed, suspects_with


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds to run")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--core", choices=("python", "rust", "mixed"), default="python")
    parser.add_argument("--trace", action="store_true", help="tell everything that happens")
    given = parser.parse_args()
    seeds = (
        range(given.first, given.first + given.seeds)
        if given.seed is None
        else range(given.seed, given.seed + 1)
    )
    started_s = time.monotonic()
    failed = crashes = rows = refused = aside = 0
    for seed in seeds:
        outcome = run_seed(seed, suspects_with(given.core), verbose=given.trace)
        crashes += outcome.crashes
        rows += outcome.rows_checked
        refused += outcome.refused_by_size
        aside += outcome.set_aside
        if outcome.problems or given.trace:
            print(outcome.told(), flush=True)
        failed += bool(outcome.problems)
    print(
        json.dumps(
            {
                "seeds": len(seeds),
                "failed": failed,
                "crashes": crashes,
                "rows_checked": rows,
                "refused_by_size": refused,
                "set_aside": aside,
                "seconds": round(time.monotonic() - started_s, 1),
            }
        )
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
