"""The sums that keep the ledger cheap to read: every sink makes those that no other has made by then."""

from __future__ import annotations

import asyncio
import logging
import random

from pipeline.clickhouse.store import StatementFailed, Store, Unreachable
from pipeline.query.ledger_sums import next_sums

logger = logging.getLogger(__name__)

TABLE = "z_ledger_sums"
_EVERY_S = 3600.0


async def keep_summing(store: Store) -> None:
    """Once an hour, until cancelled. Without sums the ledger is as right, and takes longer to read: what ClickHouse
    does not answer or refuses is said, and tried again an hour later."""
    while True:
        # Sinks that were started together do not do the same work.
        await asyncio.sleep(_EVERY_S * random.uniform(0.5, 1.5))
        try:
            while await asyncio.to_thread(sum_some, store):
                pass
        except (Unreachable, StatementFailed) as error:
            logger.warning("the ledger's sums of yesterday have to wait for an hour: %s", error)


def sum_some(store: Store, now: str = "") -> bool:
    """Whether there was anything to sum. `now` as in `next_sums`. Blocks; raises what the store raises."""
    rows = next_sums(store.query, now)
    if rows:
        store.insert(TABLE, rows, token="ledger-sums")
    return bool(rows)
