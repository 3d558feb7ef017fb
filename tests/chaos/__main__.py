"""The command: real processes under fire, then a comparison with the fold.

The last line is one JSON object; exit 0 only if nothing is missing, double or wrong and all that was asked for
was delivered.
"""

from __future__ import annotations

import argparse
import json
import sys

from pipeline.logs import log_for_command
from tests.chaos.run import Order, run_alone
from tests.support.services import Unavailable, kafka_classpath


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--broker", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--rebalances", type=int, default=2)
    parser.add_argument("--faults", type=int, default=2)
    parser.add_argument("--heavy", type=int, default=2, help="devices that send all that one may")
    parser.add_argument("--foreign", type=int, default=2, help="times that another partitioner is at work")
    parser.add_argument("--remakes", type=int, help="how often sdk-events is deleted and made anew")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--core", choices=("auto", "python", "rust"), default="auto")
    # Broker restarts are part of the plan; what its clients think of them is not of interest here.
    log_for_command()
    given = parser.parse_args()
    if given.remakes is None:
        # The embedded broker gives topics no id.
        given.remakes = int(given.broker == "kafka")
    order = Order(**vars(given))
    if order.broker == "kafka":
        try:
            kafka_classpath()
        except Unavailable as reason:
            print(f"error: {reason}", file=sys.stderr)
            return 1
    outcome = run_alone(order, lambda line: print(line, flush=True))
    for line in (*outcome.verdict.examples, *outcome.problems):
        print(line)
    print(json.dumps(outcome.numbers))
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
