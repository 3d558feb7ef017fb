"""`python -m tests.bench.sizing`: what an event, a session and a device cost in space, and what that comes to at scale.

    python -m tests.bench.sizing --measure    # measures (minutes), keeps the figures, and writes deploy/SIZING.md
    python -m tests.bench.sizing              # writes deploy/SIZING.md from what is kept

Measured are the bytes of a simulated fleet's events on the disks of Apache Kafka and ClickHouse, all roles running, and
the memory of a sessionizer as devices are added. Speeds are those of the benchmark (`results.jsonl`).
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pipeline import topics
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.bench import billion
from tests.bench.corpus import one_each
from tests.bench.processes import rss_mb
from tests.bench.report import provenance
from tests.bench.rig import Figures, Rig, rig
from tests.support.stack import SIMULATE, Stack, running_stack

HERE = Path(__file__).resolve().parent
KEPT = HERE / "sizing.json"
DOCUMENT = HERE.parents[1] / "deploy" / "SIZING.md"
_QUIET_S, _LONGEST_QUIET_S = 3.0, 60.0
_DEVICES = (20_000, 100_000)

_PARTS = """SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes FROM system.parts
WHERE active AND database = currentDatabase() GROUP BY table"""


def of_a_fleet(events: int, devices: int) -> Figures:
    """A simulated fleet through all roles: bytes on disk by topic and kind of table, and how many there are of each."""
    with tempfile.TemporaryDirectory(prefix="sizing-") as temporary:
        folder = Path(temporary)
        with (
            EmbeddedClickHouse(folder=folder / "clickhouse") as clickhouse,
            running_stack("kafka", clickhouse, folder / "stack", partitions="4", idle_timeout="2s") as stack,
        ):
            stack.start_workers("router", "sessionizer", "sink")
            stack.run(*SIMULATE, "--devices", str(devices), "--seed", "1", "--events", str(events))
            stack.wait_idle(300)
            _wait_for_merges(stack)
            return {**_of_kafka(folder / "stack" / "broker" / "data"), **_of_clickhouse(stack)}


def _wait_for_merges(stack: Stack) -> None:
    deadline_s, seen, since_s = time.monotonic() + _LONGEST_QUIET_S, None, time.monotonic()
    while time.monotonic() - since_s < _QUIET_S and time.monotonic() < deadline_s:
        now = stack.query(_PARTS)
        if now != seen:
            seen, since_s = now, time.monotonic()
        time.sleep(0.5)


def _of_kafka(data: Path) -> Figures:
    sizes = dict.fromkeys((topics.SDK_EVENTS, topics.SESSIONS, topics.EVENT_COPIES, topics.STATE), 0.0)
    for file in data.glob("*/*.log"):
        topic = file.parent.name.rpartition("-")[0]
        if topic in sizes:
            sizes[topic] += file.stat().st_size
    return {f"kafka {topic}": size for topic, size in sizes.items()}


def _of_clickhouse(stack: Stack) -> Figures:
    found = stack.query(_PARTS)
    figures: Figures = {}
    for row in found:
        kind = "sessions" if "session" in row["table"] else "ledger" if "ledger" in row["table"] else "events"
        figures[f"clickhouse {kind}"] = figures.get(f"clickhouse {kind}", 0.0) + float(row["bytes"])
    counts = {
        "events": "SELECT count() FROM events",
        "sessions": "SELECT count() FROM sessions",
        "session rows": "SELECT sum(rows) FROM system.parts WHERE active AND database = currentDatabase()"
        " AND table = 'session_rows'",
        "devices": "SELECT uniqExact(app_id, device_id) FROM events",
        "records": "SELECT sum(records) FROM ledger",
    }
    return {**figures, **{name: float(stack.value(sql)) for name, sql in counts.items()}}


def of_devices() -> Figures:
    """Bytes of memory and of changelog that each further device of a sessionizer costs, one event of each."""
    few, many = _DEVICES
    records = one_each(many)
    with rig("kafka") as running:
        worker = running.start("sessionizer")
        before_mb = rss_mb(worker.pid or 0)
        memory = []
        for start, end in ((0, few), (few, many)):
            running.load(topics.SDK_EVENTS, records[start:end])
            running.wait([worker], partial(_has_done, running, end), running.progress)
            memory.append(rss_mb(worker.pid or 0))
        changelog = _of_kafka(running.folder / "broker" / "data")[f"kafka {topics.STATE}"]
        running.stop(worker)
    return {
        "idle MB": before_mb,
        "MB at 20,000 devices": memory[0],
        "MB at 100,000 devices": memory[1],
        "bytes of memory a device": (memory[1] - memory[0]) * 1e6 / (many - few),
        "bytes of changelog a device": changelog / many,
    }


def _has_done(running: Rig, records: int) -> bool:
    return running.done("sessionizer") >= records


@dataclass(frozen=True)
class Speeds:
    """Of the benchmark: per second of processor time of each, for one event unless told."""

    router: float
    sessionizer: float
    sink: float
    clickhouse: float
    broker: float
    receive: float
    recovery: float
    """Devices a second."""
    open_device: float
    """Bytes of memory of an open device."""


def speeds() -> Speeds:
    """What `results.jsonl` says, of envelopes of 5; of `receive` what RECEIVE.md says, of bodies of 20."""
    lines = [json.loads(line) for line in (HERE / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {(line["what"], line.get("envelope")): line for line in lines if "what" in line}
    sink, recovery = found["sink", 5], found["recovery", 1]
    all_roles = found["all", 5]
    return Speeds(
        router=found["router", 0]["events_per_core_s"],
        sessionizer=found["sessionizer", 5]["events_per_core_s"],
        sink=sink["events_per_core_s"],
        clickhouse=sink["events"] / sink["clickhouse_cpu_s"],
        broker=all_roles["events"] / all_roles["broker_cpu_s"],
        receive=_RECEIVE_EVENTS_A_CPU_S,
        recovery=recovery["devices"] / recovery["recovery_s"],
        open_device=recovery["open_bytes_per_device"],
    )


_BENCH = "python -m tests.bench --only"
_RECEIVE_EVENTS_A_CPU_S = 44_238.0
"""RECEIVE.md, native, 20 events a body."""
_PEAK = 2.0
"""The busiest hour against the average."""
_BUSY = 0.6
"""Of a core that is asked for work at that hour: the rest is for catching up."""
_EVENTS_A_DEVICE_AND_DAY = 480.0
"""20 an hour."""
_KEPT_DEVICES_DAYS = 2.0
"""Devices of a week, of which the states are kept (`state_ttl`), in devices of a day."""
_KAFKA_DAYS, _COPIES, _CLICKHOUSE_COPIES, _CLICKHOUSE_DAYS = 7, 3, 2, 90
_DEVICES_A_WORKER = 2_000_000
"""Recovered in half a minute."""
_SIZES = ((1e6, "a million"), (1e7, "10 million"), (1e8, "100 million"), (1e9, "a billion"))


def _plan(an_hour: float, figures: Figures, fast: Speeds) -> dict[str, str]:
    """What so many events an hour need, each a cell of the table."""
    peak = an_hour / 3_600 * _PEAK
    devices = an_hour * 24 / _EVENTS_A_DEVICE_AND_DAY * _KEPT_DEVICES_DAYS
    cores = {
        role: peak / speed / _BUSY
        for role, speed in (
            ("receive", fast.receive),
            ("router", fast.router),
            ("sessionizer", fast.sessionizer),
            ("sink", fast.sink),
        )
    }
    sessionizers = max(2, math.ceil(cores["sessionizer"]), math.ceil(devices / _DEVICES_A_WORKER))
    in_kafka = _bytes_in_kafka(figures)
    stored = _bytes_in_clickhouse(figures)
    kafka_disk = an_hour * 24 * _KAFKA_DAYS * in_kafka * _COPIES
    changelog = devices * _changelog_a_device(figures) * _COPIES
    return {
        "events a second, at peak": _number(peak),
        "devices whose state is kept": _number(devices),
        "`receive`, cores": _cores(cores["receive"]),
        "router, cores": _cores(cores["router"]),
        "sessionizer, cores": _cores(cores["sessionizer"]),
        "sink, cores": _cores(cores["sink"]),
        "sessionizers, workers": str(sessionizers),
        "… memory of each": _bytes(
            figures["idle MB"] * 1e6 + devices / sessionizers * _memory_a_device(figures, fast), least=1e9
        ),
        "… recovery of one that is lost, s": f"{devices / sessionizers / fast.recovery:.0f}",
        "partitions, at least": str(max(8, 2 ** math.ceil(math.log2(2 * sessionizers)))),
        "Kafka, cores (brokers together, without replication)": _cores(peak / fast.broker / _BUSY),
        f"Kafka's disks, {_KAFKA_DAYS} days, {_COPIES} copies": _bytes(kafka_disk + changelog),
        "… of which changelog": _bytes(changelog),
        "Kafka, written a second at peak, each copy, with the changelog": _bytes(
            peak * (in_kafka + figures[f"kafka {topics.STATE}"] / figures["events"])
        ),
        "ClickHouse, cores for inserts and merges": _cores(peak / fast.clickhouse / _BUSY),
        f"ClickHouse's disks, {_CLICKHOUSE_DAYS} days, {_CLICKHOUSE_COPIES} copies": _bytes(
            an_hour * 24 * _CLICKHOUSE_DAYS * stored * _CLICKHOUSE_COPIES
        ),
    }


def _memory_a_device(figures: Figures, fast: Speeds) -> float:
    """The more of the two that were measured."""
    return max(figures["bytes of memory a device"], fast.open_device)


def _changelog_a_device(figures: Figures) -> float:
    """Of the fleet, before compaction: more than Kafka keeps."""
    return figures[f"kafka {topics.STATE}"] / figures["devices"]


def _bytes_in_kafka(figures: Figures) -> float:
    """Bytes an event in topics that are kept by time."""
    kept = (topics.SDK_EVENTS, topics.SESSIONS, topics.EVENT_COPIES)
    return sum(figures[f"kafka {topic}"] for topic in kept) / figures["events"]


def _bytes_in_clickhouse(figures: Figures) -> float:
    return sum(size for name, size in figures.items() if name.startswith("clickhouse")) / figures["events"]


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _cores(value: float) -> str:
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def _bytes(value: float, least: float = 0.0) -> str:
    value = max(value, least)
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"


def render(kept: Mapping[str, object]) -> str:
    """deploy/SIZING.md."""
    figures = {name: float(value) for name, value in _mapping(kept["figures"]).items()}
    of_a_billion = billion.rows(speeds(), _bytes_in_kafka(figures), _bytes_in_clickhouse(figures))
    parts = (*_head(kept), *_measured(figures), *_speeds(speeds()), *of_a_billion, *_table(figures))
    return "\n".join(parts) + "\n"


def _mapping(value: object) -> dict[str, float]:
    assert isinstance(value, dict)
    return value


def _head(kept: Mapping[str, object]) -> Iterator[str]:
    yield "# Sizing\n"
    yield "How many cores, how much memory and disk it takes, from what was measured. Every number has the command"
    yield "it comes from; what was not measured is said to be assumed. Measure with traffic of your own before you buy"
    yield "machines.\n"
    yield f"Space was measured on {kept['date']} with `{kept['command']}` on {kept['machine']}. Speeds are of"
    yield "`python -m tests.bench` (`tests/bench/RESULTS.md`, with its caveats), on two shared cores.\n"


def _measured(figures: Figures) -> Iterator[str]:
    events = figures["events"]
    yield "## Space\n"
    yield f"A simulated fleet of {_number(figures['devices'])} devices: {_number(events)} events in"
    yield f"{_number(figures['records'])} records, {events / figures['sessions']:.1f} events a session,"
    yield f"{figures['session rows'] / figures['sessions']:.2f} rows a session after merges.\n"
    yield "| what | bytes an event |"
    yield "|---|---|"
    for name in sorted(name for name in figures if name.startswith(("kafka", "clickhouse"))):
        place, _, what = name.partition(" ")
        told = "Kafka" if place == "kafka" else "ClickHouse, tables of"
        shown = f"`{what}`" if place == "kafka" else what
        yield f"| {told} {shown} | {figures[name] / events:.0f} |"
    yield f"| Kafka, all that is kept by time | {_bytes_in_kafka(figures):.0f} |"
    yield f"| ClickHouse, all tables | {_bytes_in_clickhouse(figures):.0f} |\n"
    yield f"The row of `{topics.STATE}` is the changelog before Kafka compacts it:"
    yield f"{_changelog_a_device(figures):,.0f} bytes a device of this fleet, which is more than is kept.\n"
    yield "| a sessionizer | |"
    yield "|---|---|"
    yield f"| memory without a device | {figures['idle MB']:.0f} MB |"
    yield f"| … with 20,000 devices, after the load | {figures['MB at 20,000 devices']:.0f} MB |"
    yield f"| … with 100,000 | {figures['MB at 100,000 devices']:.0f} MB |"
    yield f"| memory that a further device costs | {figures['bytes of memory a device']:,.0f} bytes |"
    yield f"| changelog of a device with one event | {figures['bytes of changelog a device']:,.0f} bytes |\n"
    yield "A simulated fleet repeats itself more than people do: expect more bytes of attributes of your own."
    yield "Rows of events that an app does not want for long cost less: `retention_days` is per app (SETTINGS.md).\n"


def _speeds(fast: Speeds) -> Iterator[str]:
    yield "## Speed\n"
    yield "| what | per second of processor time | command |"
    yield "|---|---|---|"
    bench = _BENCH
    for what, value, command in (
        ("`receive`, bodies of 20 events", fast.receive, "python -m tests.bench.receive"),
        ("router, recorded bodies", fast.router, f"{bench} router"),
        ("sessionizer, records of 5 events", fast.sessionizer, f"{bench} sessionizer"),
        ("sink, records of 5 events", fast.sink, f"{bench} sink"),
        ("ClickHouse, rows of events", fast.clickhouse, f"{bench} sink"),
        ("broker, events through all roles, one copy", fast.broker, f"{bench} all"),
    ):
        yield f"| {what} | {_number(value)} | `{command}` |"
    yield f"| recovery, devices a second (not of processor time) | {_number(fast.recovery)} | `{bench} recovery` |"
    yield f"\nWith a million devices open, one takes {fast.open_device:,.0f} bytes of a sessionizer's memory"
    yield f"(`{bench} recovery`): only the 200,000 that were active last are kept as objects.\n"
    yield _WITH_CORE


def _table(figures: Figures) -> Iterator[str]:
    plans = [(name, _plan(an_hour, figures, speeds())) for an_hour, name in _SIZES]
    yield "## To a billion events an hour, on paper\n"
    hourly = _EVENTS_A_DEVICE_AND_DAY / 24
    yield f"Assumed: the busiest hour has {_PEAK:g} times the average, and cores are {_BUSY:.0%} busy then; a device"
    yield f"sends {hourly:g} events an hour on average, and {_KEPT_DEVICES_DAYS:g} times the devices of a day are known"
    yield f"in a week (`state_ttl`); Kafka keeps {_KAFKA_DAYS} days in {_COPIES} copies, ClickHouse {_CLICKHOUSE_DAYS}"
    yield f"days in {_CLICKHOUSE_COPIES}. `receive` and router are needed only for what does not come as native"
    yield "events by Kafka. The rest follows from the tables above.\n"
    yield f"| events an hour | {' | '.join(name for name, _ in plans)} |"
    yield f"|---|{'---|' * len(plans)}"
    for row in plans[0][1]:
        yield f"| {row} | {' | '.join(plan[row] for _, plan in plans)} |"
    yield "\n## What grows with what\n"
    yield _GROWS


_WITH_CORE = f"""These are of Python alone. With the compiled core (measured on 2026-11-28, while the
machine did other work, too):

| a million devices | bytes a device | command |
|---|---|---|
| open, one event each: the worker, all of the process and what it keeps free included | 738 | `{_BENCH} recovery` |
| … once another worker has recovered them | 571 | `{_BENCH} recovery` |
| open, one event each: their partition alone, of which 275 are key and state | 405 | `{_BENCH} held` |
| open, three records of one event each, of which 425 are key and state | 574 | `{_BENCH} held` |

So a device takes some 150 bytes besides its key and its state. States of more than 2,048 bytes that were used last are
kept decoded too, 32 MB of them as they are encoded. The table below reckons with Python's memory.
"""

_GROWS = """- **Sessionizers** by devices sooner than by events: memory is that of a week of devices, and recovery of a
  lost worker reads their states. More workers share both; partitions bound their number.
- **There are no warm standbys of states.** One would spare what the table calls recovery, and nothing of the session
  timeout (10 s), which is most of what partitions stand after a `kill -9` with 200,000 devices (11 s,
  `tests/bench/FAILOVER.md`). It would take the memory of every device once more, and read the changelog a second time
  all day. What shortens recovery instead is more workers with fewer devices each, at the same memory in all.
- **Partitions** cannot be taken away, and more of them later is a procedure (runbook.md): take twice the workers
  that you expect.
- **Sinks** by events, and ClickHouse's inserts with them: shards divide both (README.md). Questions of analysts
  come on top of the cores above: `tests/bench/ANALYSTS.md` has what they take.
- **Kafka's disks** by events and `PIPELINE_TOPIC_RETENTION`. A restore from a backup, and a ClickHouse that is away,
  need what is kept there.
- **Catching up**: at 60 % busy an outage of an hour at the busiest time is made up for in an hour and a half."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sizing")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--devices", type=int, default=2_000, help="of the simulated fleet")
    given = parser.parse_args()
    if given.measure:
        figures = {**of_a_fleet(given.events, given.devices), **of_devices()}
        rounded = {name: round(value, 1) for name, value in figures.items()}
        command = shlex.join(["python", "-m", "tests.bench.sizing", *sys.argv[1:]])
        kept = {
            "command": command,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            **provenance(),
            "figures": rounded,
        }
        KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    DOCUMENT.write_text(render(json.loads(KEPT.read_text(encoding="utf-8"))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
