"""Which rows are still kept, as questions that pass the views by and a rebuild have to know it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from pipeline.formats.limits import CLOCK_TOLERANCE_MS

_DAY_MS = 86_400_000

IS_KEPT = "(retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))"
"""The condition by which the views show a row."""

_LAST_GONE = """
SELECT app_id, toInt64(max(day)) AS day FROM
(
    SELECT toString(app_id) AS app_id, max(stored_on) + 1 AS day FROM ledger_records
    WHERE received > refused + sampled_out + erased AND retention_days != 0
        AND stored_on + retention_days < toDate(now('UTC'))
    GROUP BY app_id
    UNION ALL SELECT app_id, kept_from AS day FROM z_retention_cuts
)
GROUP BY app_id
"""

STORED_DAYS = (
    "SELECT app_id, device_id, session_id, toUInt16(stored_on), sample_rate FROM session_rows FINAL"
    " WHERE is_deleted = 0 AND ({app:String} = '' OR app_id = {app:String}) ORDER BY app_id, device_id"
)
"""Device by device, the day (since 1970) on which each session was told last, and its rate."""


def kept_from(ask: Callable[[str, Mapping[str, Any]], bytes]) -> dict[str, int]:
    """Of each app that has lost events by their age: the time from which on it has all, Unix milliseconds.

    No stored time is later than its record by more than the tolerance, so what is later than the last day that is gone
    came later too. Of what is earlier nobody can tell. Raises what `ask` raises.
    """
    rows = (orjson.loads(line) for line in ask(_LAST_GONE, {}).splitlines())
    return {row["app_id"]: int(row["day"]) * _DAY_MS + CLOCK_TOLERANCE_MS for row in rows}
