"""How many sessions pass a filter, whose they are, how they went, and when: what stands above a list of them.

Buckets are those of `time_zone`. The views `session_counts` and `sessions_over_time` say the same of all sessions of a
range.
"""

from __future__ import annotations

from pipeline.query import bad_ends
from pipeline.query.filters.tree import Filter
from pipeline.query.sessions import choose
from pipeline.query.statement import Statement
from pipeline.query.time_zone import edges

_DAY_MS = 86_400_000
_MOST_BUCKETS = 62
_STEPS_MS = (
    *(60_000, 300_000, 900_000, 3_600_000, 3 * 3_600_000, 6 * 3_600_000, 12 * 3_600_000),
    *(_DAY_MS, 7 * _DAY_MS, 28 * _DAY_MS, 91 * _DAY_MS, 364 * _DAY_MS, 3_640 * _DAY_MS),
)
BUCKET = "roundDown(toUnixTimestamp64Milli(started_at), {k_edges:Array(Int64)})"
"""The start (Unix ms) of the bucket that a session starts in; `k_edges` has the starts of all of them."""


_SAMPLE = "min(sample_rate) AS lowest_rate, sum(1 / sample_rate) AS estimated_sessions"


def step_ms(start_ms: int, end_ms: int) -> int:
    """How long a bucket is (ms) in a chart of [start_ms, end_ms): the shortest that makes no more than 62 of them."""
    for step in _STEPS_MS:
        # With room for a day that the clocks make an hour longer.
        near = end_ms - start_ms < (_MOST_BUCKETS + 2) * step
        if near and len(edges(start_ms, end_ms, step)) - 1 <= _MOST_BUCKETS:
            return step
    return _STEPS_MS[-1]


def session_counts(
    app_id: str | None,
    filter: Filter | None,
    start_ms: int,
    end_ms: int,
    step: int,
    *,
    newest_ms: int | None = None,
) -> Statement:
    """Of sessions that start in [start_ms, end_ms) and pass a filter, of all apps without `app_id`.

    One row each bucket of `step` ms that has any: `bucket_ms`, `sessions`, and of each of `bad_ends` how many. One
    more, with `is_whole` = 1, of all of them, if there are any: besides these `devices`, `users`,
    `foreground_sessions`, `crash_free_sessions`, `median_duration_ms`, `lowest_rate` and `estimated_sessions` (which
    the other rows repeat). Raises FilterError.
    """
    chosen = choose(app_id, filter, start_ms, end_ms, newest_ms=newest_ms)
    starts = edges(start_ms, end_ms, step)[:-1]
    kinds = len(bad_ends.AS_SQL) + 1
    kind = ", ".join(f"{condition}, {place}" for place, condition in enumerate(bad_ends.AS_SQL.values(), 1))
    # One group, or the devices and users of each bucket would be gathered for nothing: each session counts at the place
    # of its bucket and its kind of end.
    place = f"transform({BUCKET}, {{k_edges:Array(Int64)}}, range({len(starts)}), 0) * {kinds} + multiIf({kind}, 0)"
    counted = (
        f"SELECT countResample(0, {len(starts) * kinds}, 1)({place}) AS counts,"
        f" arrayMap(n -> arraySlice(counts, n * {kinds} + 1, {kinds}), range({len(starts)})) AS of_buckets,"
        " uniqExact(device_id) AS devices, uniqExactArray(user_ids) AS users,"
        " countIf(state = 'foreground') AS foreground_sessions,"
        f" countIf(state = 'foreground' AND NOT {bad_ends.CRASHED.sql}) AS crash_free_sessions,"
        f" quantileExact(0.5)(duration_ms) AS median_duration_ms, {_SAMPLE} {chosen.found}"
    )
    bad = ", ".join(f"each.3[{place}] AS {name}" for place, name in enumerate(bad_ends.AS_SQL, 2))
    sql = (
        f"SELECT each.1 AS bucket_ms, each.2 AS is_whole, arraySum(each.3) AS sessions, {bad}, devices, users,"
        " foreground_sessions, crash_free_sessions, median_duration_ms, lowest_rate, estimated_sessions"
        f" FROM ({counted}) ARRAY JOIN arrayPushBack(arrayMap((start, of_bucket) -> (start, 0, of_bucket),"
        " {k_edges:Array(Int64)}, of_buckets), (toInt64(0), 1, arrayReduce('sumForEach', of_buckets))) AS each"
        " WHERE sessions > 0 ORDER BY is_whole, bucket_ms"
    )
    return Statement(sql, {**chosen.parameters, "k_edges": starts})


def sample(app_id: str, filter: Filter, start_ms: int, end_ms: int) -> Statement:
    """One row: how many sessions there are that start in [start_ms, end_ms) and pass a filter, `sessions`, and of all
    devices there were about `estimated_sessions`; `lowest_rate` is 1 where all are kept. Raises FilterError."""
    chosen = choose(app_id, filter, start_ms, end_ms)
    return Statement(f"SELECT count() AS sessions, {_SAMPLE} {chosen.found}", chosen.parameters)


def kept_rate(app_id: str, start_ms: int, end_ms: int) -> Statement:
    """One row with `lowest_rate`: the lowest share of devices kept among sessions that start in [start_ms, end_ms); 1
    where all are kept, or there is none. Cheap: taken over rows, those that were replaced included."""
    return Statement(
        "SELECT if(count() = 0, 1, min(sample_rate)) AS lowest_rate FROM session_rows WHERE app_id = {app:String}"
        " AND started_at >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')"
        " AND started_at < fromUnixTimestamp64Milli({to:Int64}, 'UTC')",
        {"app": app_id, "from": start_ms, "to": end_ms},
    )
