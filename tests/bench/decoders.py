"""`python -m tests.bench.decoders`: what an event of each format costs the router, in CPU time.

A body of the format becomes native envelopes; of OTLP by `Router.handle`, of the others by their decoders alone. Of
native envelopes it is what sink and sessionizer each pay to read them. A span counts as one, whatever it becomes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.__main__ import PLAN, Options, measure
from tests.bench.report import provenance, revision

_NAMES = {
    "decode": "native",
    "embrace": "Embrace",
    "measure": "Measure",
    "faro": "Faro",
    "sentry": "Sentry, updates of sessions",
    "router_otlp": "OTLP logs",
}
_CORE = "PIPELINE_CORE"
_HEAD = (
    "| format | events a body | events per CPU s | spread | µs an event | bytes an event |\n"
    "|---|---|---|---|---|---|"
)


def planned() -> Iterator[tuple[str, str, str, Options]]:
    """What is measured: its name in the table, the measurement, the core, and what on."""
    for what, of_what in _NAMES.items():
        for options in PLAN[what]:
            name = "OTLP spans" if options.get("spans") else of_what
            if what == "measure":
                yield f"{name}, compiled core", what, "rust", options
                yield f"{name}, Python", what, "python", options
            elif what != "router_otlp":
                yield name, what, "python", options
            elif options.get("json"):
                yield f"{name}, JSON", what, "python", options
            else:
                yield f"{name}, protobuf, compiled core", what, "rust", options
                yield f"{name}, protobuf, Python", what, "python", options


def row(name: str, line: dict[str, Any]) -> str:
    """A row of the table. Bytes are those of the body, of OTLP those of the native envelopes."""
    rate, size = line["events_per_core_s"], line.get("bytes_per_event")
    cells = [name, f"{line['envelope']:g}", f"{rate:,}", f"{line['spread']:.2f}", f"{1e6 / rate:.1f}"]
    return f"| {' | '.join([*cells, f'{size:,.0f}' if size else ''])} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.decoders", description=__doc__)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", default="", help="what the name of a row begins with, to measure those alone"
    )
    parser.add_argument("--keep", type=Path, help="a file to add the report to")
    told = parser.parse_args()
    run = provenance()
    lines = [
        f"## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {revision()}",
        "",
        f"`python -m tests.bench.decoders {' '.join(sys.argv[1:])}`",
        "",
        f"{run['machine']}; {run['versions']}. {told.events:,} events a round, {told.rounds} rounds, each a process"
        " of its own: the median of events per second of CPU time, and (max - min) / median of CPU times.",
        "",
        _HEAD,
    ]
    loads = []
    for name, what, core, options in planned():
        if not name.startswith(told.only):
            continue
        os.environ[_CORE] = core
        line = measure(what, told.events, options, "kafka", told.rounds)
        loads.append(line["load"])
        lines.append(row(name, line))
        print(lines[-1], flush=True)
    lines += ["", f"Load of the machine meanwhile: {min(loads)} to {max(loads)} on {os.cpu_count()} cores."]
    text = "\n".join(lines) + "\n"
    if told.keep:
        with told.keep.open("a") as file:
            file.write("\n" + text)
    else:
        print(text)


if __name__ == "__main__":
    main()
