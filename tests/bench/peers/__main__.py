"""Runs the peers alone: `python -m tests.bench.peers [--only NAME] [--events N]`; one JSON object a line."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bench.peers import PEERS
from tests.bench.peers.topic import DEVICES, envelopes, load, make_topics
from tests.services import start_broker

_TOPIC = "sdk-events"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(PEERS), help="more than once for several")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=user_cache / "session-pipeline" / "peers")
    parser.add_argument(
        "--keep", type=Path, help="a folder for logs that stays; else a temporary one that goes"
    )
    return parser.parse_args()


def _run(told: argparse.Namespace, folder: Path) -> None:
    peers = [PEERS[name] for name in told.only or PEERS]
    for peer in peers:
        peer.prepare(told.cache)
    broker = start_broker("kafka", folder / "broker")
    try:
        asyncio.run(make_topics(broker.bootstrap, _TOPIC))
        records = envelopes(told.events, devices=told.devices, seed=told.seed)
        sent = asyncio.run(load(broker.bootstrap, _TOPIC, records))
        sys.stderr.write(f"{sent} records of {told.devices} devices are loaded\n")
        for _ in range(told.rounds):
            for peer in peers:
                load_average = os.getloadavg()[0]
                result = peer.run(broker.bootstrap, _TOPIC, told.events, told.cache, folder)
                line = {"what": f"peer {peer.name}", "devices": told.devices, **asdict(result)}
                line["events_per_core_s"] = round(result.events_per_core_s)
                line["load_average"] = round(load_average, 1)
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()
    finally:
        broker.stop()


def main() -> None:
    told = _options()
    if told.keep:
        told.keep.mkdir(parents=True, exist_ok=True)
        _run(told, told.keep)
        return
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        _run(told, Path(folder))


if __name__ == "__main__":
    main()
