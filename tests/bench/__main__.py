"""`python -m tests.bench`: how fast the parts are. One JSON object a line for every measurement.

Each round is a process of its own; figures are medians over the rounds, `spread` is (max - min) / median of the CPU
seconds. `events_per_core_s` is events per CPU second of the worker: the broker's and ClickHouse's are told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench import embrace, floor, foreign, held, latency, otlp, parts, recovery, report, workers, worst
from tests.bench.peers import PEERS
from tests.bench.peers.side_by_side import side_by_side
from tests.bench.rig import Figures

Options = dict[str, float]
Measure = Callable[[int, Options, str, int], list[Figures]]

PURE: Mapping[str, Callable[[int, Options], Figures]] = {
    "decode": parts.decode,
    "step": parts.step,
    "held": held.held,
    "restored": held.restored,
    "rows": parts.rows,
    "compression": parts.compression,
    "router_otlp": otlp.router,
    "embrace": embrace.translate,
    "measure": foreign.measure_bodies,
    "faro": foreign.faro_bodies,
    "sentry": foreign.sentry_envelopes,
    "worst_sink": worst.sink,
    "worst_sessionizer": worst.sessionizer,
}
RUNNING: Mapping[str, Measure] = {
    "floor_consume": floor.consume,
    "floor_insert": floor.insert,
    "sessionizer": workers.sessionizer,
    "sessionizer_by_devices": workers.sessionizer,
    "sessionizer_on_peers_topic": workers.sessionizer_on_peers_topic,
    "router": workers.router,
    "sink": workers.sink,
    "all": workers.all_roles,
    "pair": workers.pair,
    "recovery": recovery.of_many_devices,
    "latency": latency.under_load,
}
_SIZES: list[Options] = [{"envelope": envelope, "devices": 20_000} for envelope in (1, 5, 20)]
PLAN: dict[str, list[Options]] = {
    "decode": _SIZES,
    "step": [
        *(
            {"envelope": envelope, "devices": devices}
            for envelope in (1, 20)
            for devices in (10_000, 50_000, 200_000)
        ),
        *({"envelope": 1, "devices": devices, "opened": 1} for devices in (10_000, 200_000)),
        {"envelope": 5, "devices": 10_000},
        {"envelope": 20, "devices": 10_000, "late": 0.05},
        {"envelope": 20, "devices": 10_000, "duplicates": 0.05},
    ],
    "held": [{"envelope": 1, "devices": 1_000_000, "each": each} for each in (1, 3)],
    "restored": [{"envelope": 1, "devices": 1_000_000, "each": 1}],
    "rows": _SIZES,
    "compression": [{"envelope": 1, "devices": 20_000}],
    "router_otlp": [
        {"envelope": 100, "devices": 1},
        {"envelope": 20, "devices": 1},
        {"envelope": 100, "devices": 1, "json": 1},
        {"envelope": 100, "devices": 1, "spans": 1},
    ],
    "embrace": [{"envelope": envelope} for envelope in (20, 100)],
    "measure": [{"envelope": 20, "devices": 1_000}],
    "faro": [{"envelope": 20, "devices": 1_000}],
    "sentry": [{"envelope": 2, "devices": 1_000}],
    "worst_sink": [{"envelope": 500, "devices": 1, "events": 7_000}],
    "worst_sessionizer": [{"envelope": 500, "devices": 1, "events": 7_000}],
    "floor_consume": _SIZES,
    "floor_insert": [{"envelope": 20, "devices": 20_000}],
    "sessionizer": [*_SIZES, {"envelope": 0, "devices": 20_000}],
    "sessionizer_by_devices": [{"envelope": 20, "devices": devices} for devices in (10_000, 200_000)],
    "sessionizer_on_peers_topic": [{"envelope": 1, "devices": 20_000}],
    "router": [{"envelope": 0, "devices": 0}],
    "sink": _SIZES,
    "all": _SIZES[1:],
    "pair": [{"envelope": 5, "devices": 20_000}],
    "recovery": [{"envelope": 1, "devices": 1_000_000}],
    "latency": [{"envelope": 5, "devices": 20_000, "share": share} for share in (0.25, 0.5, 1.0)],
}
"""What is measured on what. `envelope` is events an envelope, 0: as the source has them; `events` stands in
the place of `--events`."""

_ONCE = ("held", "restored", "recovery", "latency", "router", "pair", "worst_sink", "worst_sessionizer")
"""Long, or steady enough, for one round."""
_LATENCY_S = 40.0


class TooShort(Exception):
    """The worker was done before its CPU time moved, which the kernel counts in hundredths of a second."""


def measure(what: str, events: int, options: Options, broker: str, rounds: int) -> dict[str, Any]:
    """Several rounds and their medians. Raises `TooShort`."""
    rounds = 1 if what in _ONCE else rounds
    events = int(options.get("events", events))
    found = (
        _pure(what, events, options, rounds)
        if what in PURE
        else RUNNING[what](events, options, broker, rounds)
    )
    if what in ("held", "restored", "recovery"):
        events = int(options["devices"] * options.get("each", 1))
    cpu_s = [each["cpu_s"] for each in found]
    medians = {name: statistics.median(each[name] for each in found) for name in found[0]}
    if not medians["cpu_s"]:
        raise TooShort(f"{what}: {events} events took no CPU time that could be seen; try more --events")
    wall_s = medians.get("wall_s", medians["cpu_s"])
    return {
        "what": what,
        **options,
        "events": events,
        "events_per_s": round(events / wall_s),
        "events_per_core_s": round(events / medians["cpu_s"]),
        "spread": round((max(cpu_s) - min(cpu_s)) / medians["cpu_s"], 3),
        **{name: round(value, 3) for name, value in medians.items()},
        "rounds": rounds,
        "core": "python" if parts.core() is None else "rust",
        "load": round(os.getloadavg()[0], 2),
    }


def _pure(what: str, events: int, options: Options, rounds: int) -> list[Figures]:
    found = []
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench", "--round", what, "--events", str(events),
             "--options", json.dumps(options)],
            check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        found.append(json.loads(done.stdout))
    return found


def lines(told: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All measurements that were asked for, as they come."""
    full_rate = told.rate
    for what in told.only:
        for planned in PLAN[what]:
            options = dict(planned)
            if what in ("held", "restored", "recovery") and told.devices:
                options["devices"] = told.devices
            if what == "latency":
                full_rate = full_rate or _sustained(told)
                options["rate"] = full_rate * options["share"]
                options["seconds"] = min(_LATENCY_S, told.events / 5_000)
            line = measure(what, told.events, options, told.broker, told.rounds)
            if what == "all" and options["envelope"] == PLAN["latency"][0]["envelope"]:
                full_rate = full_rate or line["events_per_s"]
            yield line
    if told.peers != ["none"]:
        names = tuple(PEERS) if "all" in told.peers else tuple(told.peers)
        yield from side_by_side(told.peer_events, told.rounds, names)


def _sustained(told: argparse.Namespace) -> float:
    options = {name: PLAN["latency"][0][name] for name in ("envelope", "devices")}
    return float(measure("all", told.events, options, told.broker, 1)["events_per_s"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--only", nargs="*", choices=list(PLAN), default=list(PLAN), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--broker", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument(
        "--devices", type=int, default=0, help="of `held`, `restored` and `recovery`, instead of 1,000,000"
    )
    parser.add_argument(
        "--rate", type=float, default=0, help="events a second that count as full load for latency"
    )
    parser.add_argument(
        "--peers", nargs="+", choices=("all", "none", *PEERS), default=["none"], metavar="NAME"
    )
    parser.add_argument("--peer-events", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="append the lines to this file, too")
    parser.add_argument(
        "--write", type=Path, help="measure nothing: write RESULTS.md and plots from such a file"
    )
    parser.add_argument("--round", choices=list(PURE), help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    told = _options()
    if told.round:
        print(json.dumps(PURE[told.round](told.events, told.options)))
        return
    if told.write:
        report.write(told.write)
        return
    if told.keep:
        report.note_command(told.keep, sys.argv[1:])
    for line in lines(told):
        text = json.dumps(line)
        print(text, flush=True)
        if told.keep:
            with told.keep.open("a") as file:
                file.write(text + "\n")


if __name__ == "__main__":
    try:
        main()
    except TooShort as error:
        sys.exit(str(error))
