"""`python -m tests.bench.inserts OLD_TREE`: what an event costs ClickHouse and the sink, another tree's and this one's.

    git worktree add ../before COMMIT
    python -m tests.bench.inserts ../before --keep tests/bench/INSERTS.md

The other tree has to know retention (0021).

By turns: a process for each measurement, with the tree's own tables, sink and client, and this tree's corpora. It puts
records through a sink into a new database of the embedded ClickHouse. Told are microseconds of CPU an event: of the
sink's process, of the server's while rows come, and of the server's from then on until it has merged what it wants to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from inspect import signature
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.store import Store
from pipeline.domain.retention import FOR_EVER, Retention, Retentions
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.roles.metrics import Metrics
from pipeline.storage.kept import Keeping
from tests.bench.corpus import START_MS, Fetched, records, simulated
from tests.bench.processes import cpu_s
from tests.bench.report import provenance

try:
    from pipeline.roles.sink.batch import Bounds, Source
    from pipeline.roles.sink.sink import Sink
except ModuleNotFoundError:
    # As an older tree has it.
    from pipeline.roles.batch import Bounds, Source  # type: ignore[import-not-found, no-redef]

    from pipeline.roles.sink import Sink  # type: ignore[attr-defined, no-redef]

HERE = Path(__file__).resolve().parent
Figures = dict[str, float]
PARTS = ("sink", "insert", "merges")
ENVELOPES = (20, 1, 0)
"""Events in each; 0 is what `simulate` sends, in envelopes of all sizes."""
FOREVER = Keeping(Retentions(Retention(FOR_EVER, FOR_EVER)))
"""The corpora are of a January: nothing may expire while it is measured."""
_QUIET_S, _LONGEST_QUIET_S = 3.0, 120.0
_ACTIVITY = """SELECT (SELECT count() FROM system.merges),
    (SELECT groupBitXor(cityHash64(name, table)) FROM system.parts WHERE active AND database = currentDatabase())"""
_ONE = """
import importlib.util, json, sys
def load(name, folder):
    spec = importlib.util.spec_from_file_location(f"tests.bench.{name}", f"{folder}/{name}.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
folder, envelope, events, core = sys.argv[1:]
for name in ("processes", "corpus", "report"):
    load(name, folder)
print(json.dumps(load("inserts", folder).measured(int(envelope), int(events), core)))
"""


def measured(envelope: int, events: int, core: str) -> Figures:
    """One measurement in this process: microseconds of CPU an event, and the bytes that it takes on disk. `core` is the
    choice of the setting, for a tree whose sink has one."""
    made = fetched(envelope, events)
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedClickHouse(folder=Path(folder))
        server.start()
        try:
            store = Store(f"{server.url}/bench")
            migrate(store)
            pid = server.pid or 0
            before_s, sink_s = cpu_s(pid), time.process_time()
            count = asyncio.run(_sink_all(store, made, max(1, 50_000 // (envelope or 5)), core))
            sink_s, inserted_s = time.process_time() - sink_s, cpu_s(pid)
            _wait_until_quiet(store)
            merged_s = cpu_s(pid)
            size = store.query(
                "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()",
                format="TSV",
            )
            store.close()
        finally:
            server.stop()
    us = 1e6 / count
    return {
        "sink": sink_s * us,
        "insert": (inserted_s - before_s) * us,
        "merges": (merged_s - inserted_s) * us,
        "bytes": int(size) / count,
    }


async def _sink_all(store: Store, made: Sequence[Fetched], per_chunk: int, core: str) -> int:
    """How many events were stored."""
    metrics = Metrics()

    async def none_refused(refused: object) -> None:
        raise AssertionError(f"refused: {refused}")

    compiled: dict[str, Any] = {}
    if "insert_native" in signature(Sink).parameters:
        chosen = import_module("pipeline.compiled").core(core)
        compiled = {"core": chosen, "insert_native": store.insert_native_forever}
    sink = Sink(store.insert_forever, none_refused, metrics, bounds=Bounds(), keeping=FOREVER, **compiled)
    running = asyncio.create_task(sink.run())
    waiting = 0
    done = asyncio.Event()

    def acknowledge() -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            done.set()

    chunks = [made[at : at + per_chunk] for at in range(0, len(made), per_chunk)]
    waiting = len(chunks)
    for chunk in chunks:
        pieces = sink.event_pieces(Source("sdk-events", 0), chunk)
        await sink.events.add_all(pieces, acknowledge=acknowledge, still_mine=lambda: True)
    await done.wait()
    running.cancel()
    counted = [
        sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "pipeline_rows_total"
    ]
    return int(sum(counted))


def _wait_until_quiet(store: Store) -> None:
    """Until nothing is merged and no part has changed for some seconds. AssertionError if that does not come."""
    until_s, quiet_s, last = time.monotonic() + _LONGEST_QUIET_S, time.monotonic(), b""
    while time.monotonic() - quiet_s < _QUIET_S:
        assert time.monotonic() < until_s, "ClickHouse merges on and on"
        time.sleep(0.25)
        now = store.query(_ACTIVITY, format="TSV")
        if now != last or not now.startswith(b"0\t"):
            quiet_s, last = time.monotonic(), now


def fetched(envelope: int, events: int) -> list[Fetched]:
    """Records with so many events each, or for 0 those of `simulate`."""
    if envelope:
        made = records(events, envelope=envelope, devices=10_000)
        return [Fetched(each.offset, each.timestamp, each.key, each.value) for each in made]
    sent = simulated(events, devices=2_000)
    return [Fetched(number, START_MS + 100 * number, key, value) for number, (key, value) in enumerate(sent)]


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.inserts", description=__doc__)
    parser.add_argument("old", type=Path, help="the root of the other tree")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument(
        "--envelopes", type=int, nargs="+", default=ENVELOPES, help="events in each; 0: simulate's"
    )
    parser.add_argument("--core", choices=("python", "rust"), default="python", help="of this tree's sink")
    parser.add_argument(
        "--old-core", choices=("python", "rust"), default="python", help="of the other's, if it has one"
    )
    parser.add_argument("--keep", type=Path, help="append the table to this file, too")
    told = parser.parse_args()
    trees = {"before": told.old.resolve(), "after": HERE.parent.parent}
    text = "\n".join([_heading(trees, sys.argv[1:]), *_table(trees, told)]) + "\n"
    print(text)
    if told.keep:
        with told.keep.open("a", encoding="utf-8") as file:
            file.write("\n" + text)


def _table(trees: dict[str, Path], told: argparse.Namespace) -> list[str]:
    cores = {"before": told.old_core, "after": told.core}
    lines = [
        "| events a record | µs of CPU an event | before | after | after / before | spread |",
        "|---|---|---|---|---|---|",
    ]
    for envelope in told.envelopes:
        found: dict[str, list[Figures]] = {name: [] for name in trees}
        for turn in range(told.turns):
            for name in list(trees)[:: 1 if turn % 2 else -1]:
                found[name].append(_measure(trees[name], envelope, told.events, cores[name]))
        for label, parts in (
            *((part, (part,)) for part in PARTS),
            ("insert + merges", ("insert", "merges")),
            ("all", PARTS),
            ("bytes on disk", ("bytes",)),
        ):
            sums = {name: [sum(each[part] for part in parts) for each in found[name]] for name in trees}
            before, after = (median(sums[name]) for name in trees)
            spread = max((max(each) - min(each)) / median(each) for each in sums.values())
            figures = f"{before:.2f} | {after:.2f} | {after / before:.2f} | {spread:.2f}"
            lines.append(f"| {envelope or 'simulate'} | {label} | {figures} |")
    return lines


def _measure(tree: Path, envelope: int, events: int, core: str) -> Figures:
    done = subprocess.run(
        [sys.executable, "-c", _ONE, str(HERE), str(envelope), str(events), core],
        cwd=tree,
        env={"PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: Figures = json.loads(done.stdout)
    return figures


def _heading(trees: dict[str, Path], arguments: list[str]) -> str:
    run = provenance()
    commits = {name: _commit(tree) for name, tree in trees.items()}
    words = " ".join(["COMMIT" if Path(each).is_dir() else each for each in arguments])
    return (
        f"## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {commits['after']} against {commits['before']}\n\n"
        f"`python -m tests.bench.inserts {words}`\n\n{run['machine']}; {run['versions']}.\n"
    )


def _commit(tree: Path) -> str:
    words = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
