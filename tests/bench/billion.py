"""What a billion events cost, on paper: processor time of each role and server, and bytes that are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.bench.sizing import Speeds

_CORE_LINES = Path(__file__).with_name("core.jsonl")
_EVENTS = 1e9


def with_core() -> dict[str, float]:
    """Events a second of processor time with the compiled core, as `core.jsonl` has them, in records of 5; of the
    router those of OTLP in protobuf, in batches of 20."""
    lines = [json.loads(line) for line in _CORE_LINES.read_text(encoding="utf-8").splitlines()]
    found: dict[tuple[str, Any], Mapping[str, Any]] = {
        (line["what"], line.get("envelope")): line for line in lines if "what" in line and "json" not in line
    }
    sink = found["sink", 5]
    return {
        "router": found["router_otlp", 20]["events_per_core_s"],
        "sessionizer": found["sessionizer", 5]["events_per_core_s"],
        "sink": sink["events_per_core_s"],
        "ClickHouse, inserts and merges": sink["events"] / sink["clickhouse_cpu_s"],
    }


def rows(speeds: Speeds, in_kafka: float, in_clickhouse: float) -> Iterator[str]:
    """The section of SIZING.md, by the speeds of Python and the bytes an event that are kept."""
    python = {
        "`receive`": speeds.receive,
        "router": speeds.router,
        "sessionizer": speeds.sessionizer,
        "sink": speeds.sink,
        "ClickHouse, inserts and merges": speeds.clickhouse,
        "broker": speeds.broker,
    }
    core = with_core()
    yield "## A billion events, on paper\n"
    yield "Hours of one core for a billion events, without what is idle and without replication, from the table of"
    yield "speeds above, and with the compiled core from `tests/bench/CORE.md`; and what is kept of them, one copy.\n"
    yield "| | Python | compiled core |"
    yield "|---|---|---|"
    for who, speed in python.items():
        fast = core.get(who)
        told = f"{_hours(fast):.1f}" if fast else "the same"
        yield f"| {who}, core hours | {_hours(speed):.1f} | {told} |"
    of_all = [sum(_hours(of.get(who, speed)) for who, speed in python.items()) for of in (python, core)]
    yield f"| **all, core hours** | **{of_all[0]:.1f}** | **{of_all[1]:.1f}** |"
    for who, size in {"Kafka": in_kafka, "ClickHouse": in_clickhouse}.items():
        yield f"| {who}, GB | {size * _EVENTS / 1e9:,.0f} | the same |"
    yield "\nTimes what an hour of a core and a month of a gigabyte cost you, that is the price of a billion events."
    yield "Native events that come by Kafka need neither `receive` nor router. The two columns are of different days on"
    yield "machines of the same kind; ratios of one day are in CORE.md.\n"


def _hours(events_a_second: float) -> float:
    return _EVENTS / events_a_second / 3_600
