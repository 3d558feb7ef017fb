"""Waiting for inserts that began before something that they do not know of."""

from __future__ import annotations

import time

from pipeline.clickhouse.rows import rows_of
from pipeline.clickhouse.store import Store

_POLL_S = 0.1


def wait_for_inserts(store: Store, *names: str) -> None:
    """Wait for the inserts that are under way now, on any host, and name one of these. Blocks; raises what the store
    raises."""
    under_way = (
        f"SELECT count() AS inserts FROM {store.on_all_hosts('system.processes')} WHERE query_kind = 'Insert'"
        " AND match(query, {names:String}) AND elapsed >= {seconds:Float64}"
    )
    began_s = time.monotonic()
    while rows_of(store, under_way, {"names": "|".join(names), "seconds": time.monotonic() - began_s})[0][
        "inserts"
    ]:
        time.sleep(_POLL_S)
