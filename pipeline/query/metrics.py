"""The health of apps in numbers: each a statement over the views, so that nothing is counted when it is stored.

What came late or twice is right the next time it is asked for. Days and weeks (from Monday) are those of the
context's time zone (`time_zone`), and a session counts where it started.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.query.metric_definitions import (
    METRICS,
    Bucket,
    Metric,
    bucket_columns,
    bucket_start,
    groups_of,
    known_by_name,
)
from pipeline.query.session_range import EVERYTHING, chosen_sessions, past_sessions, range_parameters
from pipeline.query.statement import Statement
from pipeline.query.time_zone import local, start_of_day

_COLD_STARTS = """LEFT JOIN
    (
        SELECT session_id, cold_start_ms
        FROM cold_starts(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})
    ) AS c USING (session_id)"""

_RETENTION = """
SELECT g.1 AS `group`, g.2 AS is_other, cohort, day_number, devices, countEqual(came, day_number) AS retained,
    retained / devices AS retention_rate
FROM
(
    SELECT g, cohort, sum(alike) AS devices, groupArrayArray(came) AS came
    FROM
    (
        -- Which groups have most devices, and the devices, from one reading: what each row has is of groups and cohort.
        SELECT
            groupArray((groups, cohort, alike, came)) AS all_rows,
            sumMap(groups, arrayMap(one -> alike, groups)) AS of_groups,
            arraySort(one -> (-toInt64(one.2), one.1), arrayZip(of_groups.1, of_groups.2)) AS most_first,
            arraySlice(most_first.1, 1, {{m_top:UInt32}}) AS top_groups
        FROM
        (
            SELECT groups, cohort, count() AS alike, groupArrayArray(numbers) AS came
            FROM
            (
                -- A device is new on the first day it was ever seen: what came before the range decides that, too.
                SELECT
                    device_id,
                    groupUniqArray(toDate(started_at, {{m_zone:String}})) AS days,
                    arrayMin(days) AS cohort,
                    arrayFilter(n -> n <= {{m_days:UInt16}}, arrayMap(day -> toUInt16(day - cohort), days)) AS numbers,
                    argMin(of_session, (started_at, session_id)) AS groups
                FROM ({past})
                GROUP BY device_id
                HAVING cohort >= toDate({{m_start_day:String}}) AND argMin(is_chosen, (started_at, session_id))
            )
            GROUP BY groups, cohort
        )
    )
    ARRAY JOIN all_rows.1 AS groups, all_rows.2 AS cohort, all_rows.3 AS alike, all_rows.4 AS came
    ARRAY JOIN arrayDistinct(arrayMap(one -> if(has(top_groups, one), (one, 0), ('other', 1)), groups)) AS g
    GROUP BY g, cohort
)
ARRAY JOIN range(toUInt16({{m_days:UInt16}}) + 1) AS day_number
WHERE cohort + day_number < toDate({{m_end_day:String}})
ORDER BY is_other, `group`, cohort, day_number"""


def metric(
    names: Iterable[str],
    *,
    app_id: str,
    start_ms: int,
    end_ms: int,
    by: str | None = None,
    bucket: Bucket | None = None,
    where: Statement | None = None,
    top: int = 10,
) -> Statement:
    """Metrics of an app's sessions that started in a range (Unix milliseconds, the end left out).

    `where` is a condition over the columns of `sessions`. Rows, in order: `bucket` (its start; NULL without buckets),
    `bucket_ms`, `group` ('' without `by`), `is_other`, and of each metric NAME, NAME_numerator and NAME_denominator
    (NULL where it has none). The `top` groups with most sessions in the whole range stand for themselves, all others
    are one group `other` with `is_other` = 1. Raises ValueError for a name that is not known.
    """
    return _metrics(names, (app_id, start_ms, end_ms), by, [(bucket, top)], where or EVERYTHING)


def whole_and_buckets(
    names: Iterable[str],
    *,
    app_id: str,
    start_ms: int,
    end_ms: int,
    by: str,
    bucket: Bucket,
    where: Statement | None = None,
    top_of_whole: int,
    top: int,
) -> Statement:
    """`metric` of the whole range, with `part` 0 and `top_of_whole` groups, and by buckets, with `part` 1 and the `top`
    of these: sessions are read once for both."""
    if top > top_of_whole:
        raise ValueError("the groups of a bucket are among those of the whole")
    parts: list[tuple[Bucket | None, int]] = [(None, top_of_whole), (bucket, top)]
    return _metrics(names, (app_id, start_ms, end_ms), by, parts, where or EVERYTHING)


def _metrics(
    names: Iterable[str],
    span: tuple[str, int, int],
    by: str | None,
    parts: Sequence[tuple[Bucket | None, int]],
    where: Statement,
) -> Statement:
    """Each of the parts has buckets and a number of groups, the first most of them."""
    wanted = [known_by_name(METRICS, name, "metric") for name in names]
    if not wanted:
        raise ValueError("no metric is named")
    groups, keys = groups_of(by)
    chosen = chosen_sessions(where, with_failed_users=any(metric.needs_failed_users for metric in wanted))
    top_groups = _top_groups(groups, where) if by else "['']"
    joined = _COLD_STARTS if any(metric.needs_cold_starts for metric in wanted) else ""
    columns, of_parts = [], []
    for part, (bucket, top) in enumerate(parts):
        tops = "top_groups" if not part else f"arraySlice(top_groups, 1, {top:d})"
        columns += [
            f"{bucket_start(bucket, 'started_at')} AS bucket_{part}",
            f"arrayDistinct(arrayMap(one -> if(has({tops}, one), (one, 0), ('other', 1)), {groups})) AS groups_{part}",
        ]
        of_parts.append(f"arrayMap(g -> ({part}, bucket_{part}, g), groups_{part})")
    numbers = [f"arrayEnumerate(groups_{part})" for part in range(len(parts))]
    has_buckets = next((bucket for bucket, _ in parts if bucket), None)
    sql = f"""
WITH {top_groups} AS top_groups
SELECT
    each.1 AS part,
    each.2 AS bucket_of,
    {bucket_columns(has_buckets, "bucket_of")},
    each.3.1 AS `group`,
    each.3.2 AS is_other,
    {", ".join(_columns(metric) for metric in wanted)}
FROM (SELECT *, {", ".join(columns)} FROM ({chosen}) AS s {joined})
ARRAY JOIN arrayConcat({", ".join(of_parts)}) AS each, arrayConcat({", ".join(numbers)}) AS nth
GROUP BY part, bucket_of, `group`, is_other
ORDER BY part, bucket_of, is_other, `group`"""
    return Statement(sql, {**range_parameters(*span), "m_top": parts[0][1], **keys, **where.parameters})


def retention(
    app_id: str,
    start_ms: int,
    end_ms: int,
    days: int,
    *,
    by: str | None = None,
    where: Statement | None = None,
    top: int = 10,
) -> Statement:
    """Rows `group`, `is_other`, `cohort` (day), `day_number` (0 to `days`), `devices`, `retained`, `retention_rate`.

    A cohort is the devices first seen on a day of the range; days that were not over at its end are left out. What a
    device is split `by`, and whether it meets `where`, its first session decides; it comes back with any session. The
    `top` groups with most devices stand for themselves, all others are `other`. Without `by` the group is ''.
    """
    where = where or EVERYTHING
    groups, keys = groups_of(by)
    past = past_sessions(
        "app_id = {m_app:String}",
        "toDateTime64({m_from:String}, 3, 'UTC')",
        "toDateTime64({m_until:String}, 3, 'UTC')",
        f"device_id, session_id, started_at, {groups} AS of_session, ({where.sql}) AS is_chosen",
    )
    # From where its first day begins: who was there earlier that day is new on it all the same.
    parameters = {
        **range_parameters(app_id, start_of_day(start_ms), end_ms),
        "m_start_day": local(start_ms).date().isoformat(),
        "m_end_day": local(end_ms).date().isoformat(),
        "m_days": days,
        "m_top": top,
    }
    return Statement(_RETENTION.format(past=past), {**parameters, **keys, **where.parameters})


def _columns(metric: Metric) -> str:
    numerator, denominator = metric.numerator, metric.denominator
    value = metric.value.format(numerator=f"({numerator})", denominator=f"({denominator})")
    return (
        f"{value} AS `{metric.name}`, {numerator} AS `{metric.name}_numerator`,"
        f" {denominator} AS `{metric.name}_denominator`"
    )


def _top_groups(groups: str, where: Statement) -> str:
    """The groups with most sessions, as an array."""
    chosen = chosen_sessions(where, f"{groups} AS of_session")
    return (
        f"(SELECT groupArray(g) FROM (SELECT g FROM (SELECT arrayJoin(arrayDistinct(of_session)) AS g FROM ({chosen}))"
        " GROUP BY g ORDER BY count() DESC, g LIMIT {m_top:UInt32}))"
    )
