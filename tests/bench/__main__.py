"""`python -m tests.bench`: how fast the parts are. One JSON object a line for every measurement.

Each round is a process of its own; figures are medians over the rounds, `spread` is (max - min) / median.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

from tests.bench import parts, worker

Options = dict[str, float]

PLAN: dict[str, list[Options]] = {
    "decode": [{"envelope": envelope, "devices": 20_000} for envelope in (1, 5, 20)],
    "step": [
        *({"envelope": envelope, "devices": 10_000} for envelope in (1, 5, 20)),
        *({"envelope": envelope, "devices": 200_000} for envelope in (1, 20)),
        {"envelope": 20, "devices": 10_000, "late": 0.05},
        {"envelope": 20, "devices": 10_000, "duplicates": 0.05},
    ],
    "compression": [{"envelope": 1, "devices": 20_000}],
    "sessionizer": [
        {"envelope": 1, "devices": 20_000},
        {"envelope": 5, "devices": 20_000},
        {"envelope": 20, "devices": 20_000},
    ],
}


def one_round(what: str, events: int, options: Options, broker: str) -> dict[str, float]:
    """One measurement in this process; CPU and wall seconds, and what else there is to say."""
    if what == "sessionizer":
        return worker.sessionizer(
            broker, events, envelope=int(options["envelope"]), devices=int(options["devices"])
        )
    return {"decode": parts.decode, "step": parts.step, "compression": parts.compression}[what](
        events, options
    )


def measure(what: str, events: int, options: Options, broker: str, rounds: int) -> dict[str, Any]:
    """Several rounds and their medians."""
    found = []
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench", "--round", what, "--events", str(events), "--broker", broker,
             "--options", json.dumps(options)],
            check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        found.append(json.loads(done.stdout))
    cpu_s = [each["cpu_s"] for each in found]
    medians = {name: statistics.median(each[name] for each in found) for name in found[0]}
    wall_s = medians.pop("wall_s", medians["cpu_s"])
    return {
        "what": what,
        **options,
        "events": events,
        "events_per_s": round(events / wall_s),
        "events_per_core_s": round(events / medians["cpu_s"]),
        "spread": round((max(cpu_s) - min(cpu_s)) / medians["cpu_s"], 3),
        **{name: round(value, 3) for name, value in medians.items()},
        "rounds": rounds,
        "load": round(os.getloadavg()[0], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--only", nargs="+", choices=sorted(PLAN), default=list(PLAN))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--broker", choices=("kafka", "embedded"), default="embedded")
    parser.add_argument("--round", choices=sorted(PLAN), help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.round:
        print(json.dumps(one_round(given.round, given.events, given.options, given.broker)))
        return
    for what in given.only:
        for options in PLAN[what]:
            print(json.dumps(measure(what, given.events, options, given.broker, given.rounds)), flush=True)


if __name__ == "__main__":
    main()
