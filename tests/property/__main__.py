"""`python -m tests.property --histories 1000000 --seed 1`: random histories, the package's fold against the oracle.

Of each history: the same rows to the last column, whatever the order of arrival and what came twice; starts strictly
increase and time alone assigns every event; each crash is counted once. Prints what fails, made small, then how often
each rule of the definition decided, and ends with one JSON object. Exits with 1 if a history fails or a rule never
decided. One process; some thousands of histories a second.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from random import Random

from tests.support.histories import History, history
from tests.support.oracle import RULES, oracle_fold
from tests.support.promises import broken_promise, shrunk, told

MAX_TOLD = 5
"""Failures that are made small and printed; of the rest only their number."""


def the_history(seed: int, number: int) -> History:
    """One of the histories of a campaign."""
    return history(Random((seed << 40) + number))


def tell(number: int, given: History) -> None:
    """Prints a failure, made small."""
    small = shrunk(given.policy, given.arrivals, lambda policy, events: bool(broken_promise(policy, events)))
    print(
        f"history {number}: {broken_promise(given.policy, small)}\n{given.policy}\n{told(small)}\n",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.property", description=__doc__)
    parser.add_argument("--histories", type=int, default=20_000, help="how many to run")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same histories")
    parser.add_argument("--only", type=int, help="run this one alone, by its number")
    given = parser.parse_args()
    numbers = range(given.histories) if given.only is None else range(given.only, given.only + 1)
    started_s, fired = time.monotonic(), Counter[str]()
    events = sessions = failed = 0
    for number in numbers:
        one = the_history(given.seed, number)
        fold = oracle_fold(one.arrivals, one.policy)
        events += len(one.arrivals)
        sessions += len(fold.sessions)
        for rule, times in fold.fired.items():
            if times:
                fired[rule] += times
        if broken_promise(one.policy, one.arrivals, fold):
            failed += 1
            if failed <= MAX_TOLD:
                tell(number, one)
    for rule in RULES:
        print(f"{fired[rule]:12,} {rule}")
    seconds = time.monotonic() - started_s
    never = [rule for rule in RULES if not fired[rule]] if given.only is None else []
    summary = {
        "histories": len(numbers),
        "failed": failed,
        "events": events,
        "sessions": sessions,
        "rules": len(RULES),
        "rules_never_fired": never,
        "seconds": round(seconds, 1),
        "histories_per_s": round(len(numbers) / seconds),
    }
    print(json.dumps(summary))
    return 1 if failed or never else 0


if __name__ == "__main__":
    sys.exit(main())
