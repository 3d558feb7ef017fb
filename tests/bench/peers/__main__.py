"""Our sessionizer and other stream processors on one topic: `python -m tests.bench.peers [--only NAME] [--events N]`.

One JSON object a line. Apache Kafka, and what the peers need, is fetched the first time.
"""

from __future__ import annotations

import argparse
import json

from tests.bench.peers import PEERS
from tests.bench.peers.side_by_side import side_by_side


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(PEERS), default=list(PEERS), metavar="NAME")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    told = parser.parse_args()
    for line in side_by_side(told.events, told.rounds, told.only):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
