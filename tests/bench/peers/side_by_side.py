"""Our sessionizer and the peers, on one topic of one broker, one after the other."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline import compiled, topics
from pipeline.embedded.child import StartError
from tests.bench.peers import PEERS
from tests.bench.peers.topic import DEVICES, GAP_MS, envelopes
from tests.bench.rig import Rig, rig
from tests.support.services import Unavailable

OURS = "ours on the peers' topic"


def cache_folder() -> Path:
    """Where peers are installed once."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "session-pipeline" / "peers"


def side_by_side(events: int, rounds: int, names: Sequence[str] = tuple(PEERS)) -> Iterator[dict[str, Any]]:
    """A line for ours (with the compiled core, where there is one, and without) and one for each peer, with
    `ours_to_this`: how many times as many events per CPU second of the worker the first of ours does. Ours does its
    full job, with the peers' gap."""
    able = [name for name in names if _installed(name)]
    cores = [compiled.PYTHON] if compiled.core() is None else [compiled.RUST, compiled.PYTHON]
    loaded = list(envelopes(events, devices=DEVICES))
    found: dict[str, list[dict[str, float]]] = {}
    notes: dict[str, Sequence[str]] = {}
    for _ in range(rounds):
        for core in cores:
            gap = {"PIPELINE_INACTIVITY_TIMEOUT": f"{GAP_MS // 1_000}s", "PIPELINE_CORE": core}
            with (
                tempfile.TemporaryDirectory(prefix="peers-") as folder,
                rig("kafka", settings=gap) as running,
            ):
                running.load(topics.SDK_EVENTS, loaded)
                found.setdefault(f"{OURS}, {core}", []).append(_ours(running, events))
                if core == cores[-1]:
                    _run_peers(able, running, events, Path(folder), found, notes)
    ours = statistics.median(each["rate"] for each in found[f"{OURS}, {cores[0]}"])
    for name, results in found.items():
        rates = [each["rate"] for each in results]
        yield {
            "what": name,
            "envelope": 1,
            "devices": DEVICES,
            "events": round(results[0]["events"]),
            "events_per_s": round(statistics.median(each["events"] / each["wall_s"] for each in results)),
            "events_per_core_s": round(statistics.median(rates)),
            "rss_mb": round(statistics.median(each["rss_mb"] for each in results)),
            "spread": round((max(rates) - min(rates)) / statistics.median(rates), 3),
            "ours_to_this": round(ours / statistics.median(rates), 2),
            "rounds": rounds,
            "notes": list(notes.get(name, ())),
        }


def _run_peers(
    able: Sequence[str],
    running: Rig,
    events: int,
    folder: Path,
    found: dict[str, list[dict[str, float]]],
    notes: dict[str, Sequence[str]],
) -> None:
    """One run of each; adds to what was found and noted."""
    for name in able:
        peer, bootstrap = PEERS[name], running.broker.bootstrap
        try:
            result = peer.run(bootstrap, topics.SDK_EVENTS, events, cache_folder(), folder)
        except (StartError, RuntimeError) as error:
            sys.stderr.write(f"{name} failed, and has no figure of this round: {error}\n")
            continue
        notes[f"peer {name}"] = result.notes
        found.setdefault(f"peer {name}", []).append(
            {
                "events": result.events,
                "cpu_s": result.cpu_s,
                "wall_s": result.wall_s,
                "rss_mb": result.rss_mb,
                "rate": result.events_per_core_s,
            }
        )


def _installed(name: str) -> bool:
    try:
        PEERS[name].prepare(cache_folder())
    except Unavailable as error:
        sys.stderr.write(f"{name} is left out: {error}\n")
        return False
    return True


def _ours(running: Rig, events: int) -> dict[str, float]:
    figures = running.drive("sessionizer", events)
    return {**figures, "events": events, "rate": events / figures["cpu_s"]}
