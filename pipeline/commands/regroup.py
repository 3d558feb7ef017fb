"""`regroup`: groups of the crashes, ANRs and exceptions that are stored, made anew."""

from __future__ import annotations

import time

from pipeline import wiring
from pipeline.clickhouse.store import Store
from pipeline.roles.regroup import regroup


def command() -> None:
    """Group all stored crashes, ANRs and exceptions anew. It is safe to run at any time; `migrate` does so for those
    without a group of this version."""
    store = wiring.store(wiring.settings())
    try:
        print(f"{regroup(store, _run(), all=True)} events are grouped anew")
    finally:
        store.close()


def group_the_rest(store: Store) -> None:
    """Group what has no group of this version yet, and say how much it was. Blocks; raises what the store raises."""
    if grouped := regroup(store, _run()):
        print(f"{grouped} stored crashes, ANRs and exceptions are now grouped")


def _run() -> str:
    return str(time.time_ns())
