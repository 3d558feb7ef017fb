"""Summing ranges of the ledger that nothing happens in any more (migration 0037)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

Ask = Callable[[str, Mapping[str, Any]], bytes]
"""SQL and parameters to JSONEachRow; raises what the store raises."""
RANGES_AT_ONCE = 50
"""Half a million records: what is summed in one question takes seconds."""

NOW_SQL = "SELECT toString(now64(3, 'UTC')) AS now"

_DUE = """
SELECT max(range) AS up_to, min(untouched_from) AS untouched_from FROM
(
    SELECT range,
        -- Those of today would be read again and again, and an hour is how long an insert may take.
        toString(least(toDateTime64(toDate({now:DateTime64(3, 'UTC')}), 3, 'UTC'),
            {now:DateTime64(3, 'UTC')} - toIntervalHour(1))) AS untouched_from
    FROM z_ledger_range_states
    WHERE NOT is_summed AND touched_at < toDateTime64(untouched_from, 3, 'UTC')
    ORDER BY range LIMIT {at_once:UInt32}
)
HAVING count() > 0
"""
_SUMS = """
SELECT *, {now:DateTime64(3, 'UTC')} AS summed_at
FROM z_ledger_unsummed(up_to_range = {up_to:UInt64}, untouched_from = {untouched_from:String})
"""


def next_sums(ask: Ask, now: str = "") -> bytes:
    """Rows of `z_ledger_sums` for some of the ranges that nothing happened in since yesterday and that have no sum;
    empty if all have.

    `now` is the time by the server's clock, as text; empty: the server is asked. It has to be before the rows are read.
    """
    at = now or str(orjson.loads(ask(NOW_SQL, {}))["now"])
    due = ask(_DUE, {"now": at, "at_once": RANGES_AT_ONCE})
    if not due.strip():
        return b""
    found = orjson.loads(due)
    return ask(_SUMS, {"now": at, "up_to": int(found["up_to"]), "untouched_from": found["untouched_from"]})
