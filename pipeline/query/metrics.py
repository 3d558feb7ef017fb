"""The health of apps in numbers: each a statement over the views, so that nothing is counted when it is stored.

What came late or twice is right the next time it is asked for. Days and weeks (from Monday) are those of UTC, and a
session counts where it started.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pipeline.query.statement import Statement

Bucket = Literal["hour", "day", "week"]
Unit = Literal["count", "share", "ms"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Metric:
    """One number about a set of sessions, and the SQL aggregates it is made of."""

    name: str
    label: str
    unit: Unit
    higher_is_better: bool | None
    """None where neither is."""
    value: str
    """Over the rows of one bucket and group; may name the other two as `{numerator}` and `{denominator}`."""
    numerator: str = "NULL"
    denominator: str = "NULL"
    """What it is a share of, or of how many values it is a percentile."""
    needs_cold_starts: bool = False


def _count(name: str, label: str, sql: str) -> Metric:
    return Metric(name, label, "count", None, "{numerator}", numerator=sql)


def _share(name: str, label: str, numerator: str, denominator: str, higher: bool | None = True) -> Metric:
    value = "{numerator} / nullIf({denominator}, 0)"
    return Metric(name, label, "share", higher, value, numerator, denominator)


def _percentile(name: str, label: str, level: float, column: str, condition: str, joined: bool) -> Metric:
    # Over no values the quantile of an integer is 0, which would be a lie.
    value = f"if({{denominator}} = 0, NULL, quantileExactIf({level})({column}, {condition}))"
    return Metric(
        name,
        label,
        "ms",
        False if joined else None,
        value,
        denominator=f"countIf({condition})",
        needs_cold_starts=joined,
    )


_USERS = "uniqExactIf(user_id, user_id != '')"

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _count("sessions", "Sessions", "count()"),
        _count("devices", "Devices", "uniqExact(device_id)"),
        _count("users", "Users", _USERS),
        _share("crash_free_sessions", "Crash-free sessions", "countIf(NOT is_crashed)", "count()"),
        # Users are the named ones: an app that names none reads the devices.
        _share(
            "crash_free_users",
            "Crash-free users",
            f"{_USERS} - uniqExactIf(user_id, user_id != '' AND is_crashed)",
            _USERS,
        ),
        _share(
            "crash_free_devices",
            "Crash-free devices",
            "uniqExact(device_id) - uniqExactIf(device_id, is_crashed)",
            "uniqExact(device_id)",
        ),
        _share("anr_free_sessions", "ANR-free sessions", "countIf(NOT is_hung)", "count()"),
        _percentile("duration_p50", "Median duration", 0.5, "duration_ms", "1", False),
        _percentile("duration_p95", "95th percentile of duration", 0.95, "duration_ms", "1", False),
        _percentile("cold_start_p50", "Median cold start", 0.5, "cold_start_ms", "cold_start_ms > 0", True),
        _percentile(
            "cold_start_p95",
            "95th percentile of cold start",
            0.95,
            "cold_start_ms",
            "cold_start_ms > 0",
            True,
        ),
        # Sessions of several groups (personas) count once in the whole.
        _share(
            "adoption",
            "Share of sessions",
            "count()",
            "sum(countIf(nth = 1)) OVER (PARTITION BY bucket)",
            None,
        ),
    )
}
"""By name. Cold starts: by the launch event's own account, or else from the launch to the first view (the view
`cold_starts` says which)."""

DIMENSIONS: Mapping[str, str] = {
    **{
        name: f"[toString({name})]"
        for name in (
            *("app_version", "app_build", "environment", "os_name", "os_version", "device_manufacturer"),
            *("device_model", "sdk_name", "sdk_version", "state", "status", "start_reason", "end_reason"),
            *("exit_reason", "user_id"),
        )
    },
    "cold_start": "[if(cold_start, 'true', 'false')]",
    "os": "[trimBoth(concat(os_name, ' ', os_version))]",
    # A session of several personas counts in each of them.
    "persona": "if(empty(personas), [''], arrayMap(persona -> toString(persona), personas))",
}
"""What a metric can be split by, besides `property.KEY` (a user property) and `resource.KEY`: the groups of a session,
an array of texts."""

_KEYED = {"property.": "properties", "resource.": "resource"}

_BUCKETS: Mapping[str | None, str] = {
    None: "toDateTime(0, 'UTC')",
    "hour": "toStartOfHour(toDateTime(started_at, 'UTC'))",
    "day": "toStartOfDay(toDateTime(started_at, 'UTC'))",
    "week": "toDateTime(toStartOfWeek(started_at, 1, 'UTC'), 'UTC')",
}

EVERYTHING = Statement("1")
"""The condition that every session meets."""


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
    wanted = [_known(METRICS, name, "metric") for name in names]
    if not wanted:
        raise ValueError("no metric is named")
    if bucket not in _BUCKETS:
        raise ValueError(f"no bucket {bucket!r}; one of hour, day, week")
    where = where or EVERYTHING
    groups, keys = _groups(by)
    chosen = chosen_sessions(where)
    top_groups = (
        f"(SELECT groupArray(g) FROM (SELECT g FROM (SELECT arrayJoin(arrayDistinct({groups})) AS g FROM ({chosen}))"
        " GROUP BY g ORDER BY count() DESC, g LIMIT {m_top:UInt32}))"
        if by
        else "['']"
    )
    joined = _COLD_STARTS if any(metric.needs_cold_starts for metric in wanted) else ""
    sql = f"""
WITH {top_groups} AS top_groups
SELECT
    {"bucket" if bucket else "NULL"} AS bucket,
    {"toUnixTimestamp(bucket) * 1000" if bucket else "NULL"} AS bucket_ms,
    g.1 AS `group`,
    g.2 AS is_other,
    {", ".join(_columns(metric) for metric in wanted)}
FROM
(
    SELECT
        *,
        {_BUCKETS[bucket]} AS bucket,
        arrayDistinct(arrayMap(one -> if(has(top_groups, one), (one, 0), ('other', 1)), {groups})) AS all_groups
    FROM ({chosen}) AS s
    {joined}
)
ARRAY JOIN all_groups AS g, arrayEnumerate(all_groups) AS nth
GROUP BY bucket, g
ORDER BY bucket, is_other, `group`"""
    return Statement(
        sql, {**range_parameters(app_id, start_ms, end_ms), "m_top": top, **keys, **where.parameters}
    )


def retention(app_id: str, start_ms: int, end_ms: int, days: int) -> Statement:
    """Rows `cohort` (day), `day_number` (0 to `days`), `devices`, `retained`, `retention_rate`.

    A cohort is the devices first seen on a day of the range; days that were not over at its end are left out.
    """
    return Statement(
        "SELECT * FROM retention(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String},"
        " days = {m_days:UInt16})",
        {**_texts(app_id, start_ms, end_ms), "m_days": days},
    )


def top_crashes(
    app_id: str, start_ms: int, end_ms: int, *, where: Statement | None = None, top: int = 10
) -> Statement:
    """Crashes and fatal exceptions, alike ones together, most frequent first; `where` limits the sessions.

    Rows as of the view `top_crashes`: `exception_type`, `message`, `crashes`, `sessions`, `devices`, `users`,
    `app_versions`, `first_at`, `last_at`.
    """
    return _top_events(
        "SELECT label AS exception_type, detail AS message, count() AS crashes, uniqExact(session_id) AS sessions,"
        " uniqExact(device_id) AS devices, uniqExactIf(user_id, user_id != '') AS users,"
        " arraySort(groupUniqArray(20)(app_version)) AS app_versions, min(time) AS first_at, max(time) AS last_at",
        "crash",
        "crashes DESC, exception_type, message",
        (app_id, start_ms, end_ms),
        where,
        top,
    )


def failing_requests(
    app_id: str, start_ms: int, end_ms: int, *, where: Statement | None = None, top: int = 10
) -> Statement:
    """Failed requests by method, host and path, and by status or error, most frequent first.

    Rows as of the view `failing_requests`: `request`, `status`, `failures`, `sessions`, `devices`, `users`,
    `first_at`, `last_at`. Numbers in paths are taken out.
    """
    return _top_events(
        "SELECT label AS request, detail AS status, count() AS failures, uniqExact(session_id) AS sessions,"
        " uniqExact(device_id) AS devices, uniqExactIf(user_id, user_id != '') AS users,"
        " min(time) AS first_at, max(time) AS last_at",
        "request",
        "failures DESC, request, status",
        (app_id, start_ms, end_ms),
        where,
        top,
    )


_COLD_STARTS = """LEFT JOIN
    (
        SELECT session_id, cold_start_ms
        FROM cold_starts(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})
    ) AS c USING (session_id)"""


def chosen_sessions(where: Statement) -> str:
    """The SELECT of an app's sessions in a range that meet a condition; its values are `range_parameters`."""
    return (
        "SELECT * FROM session_health WHERE app_id = {m_app:String}"
        " AND started_at >= fromUnixTimestamp64Milli({m_start:Int64}, 'UTC')"
        f" AND started_at < fromUnixTimestamp64Milli({{m_end:Int64}}, 'UTC') AND ({where.sql})"
    )


def _top_events(
    select: str, subject: str, order: str, span: tuple[str, int, int], where: Statement | None, top: int
) -> Statement:
    app_id, start_ms, end_ms = span
    # An event's session may have started before the range.
    limit = (
        " WHERE session_id IN (SELECT session_id FROM session_health WHERE app_id = {m_app:String} AND started_at >="
        " fromUnixTimestamp64Milli({m_start:Int64}, 'UTC') - INTERVAL 2 DAY AND started_at <"
        f" fromUnixTimestamp64Milli({{m_end:Int64}}, 'UTC') AND ({where.sql}))"
        if where
        else ""
    )
    return Statement(
        f"{select} FROM notable_events_in_sessions(app_id = {{m_app:String}}, subject = {{m_subject:String}},"
        f" from = {{m_from:String}}, until = {{m_until:String}}){limit}"
        f" GROUP BY label, detail ORDER BY {order} LIMIT {{m_top:UInt32}}",
        {
            **range_parameters(app_id, start_ms, end_ms),
            "m_subject": subject,
            "m_top": top,
            **(where.parameters if where else {}),
        },
    )


def _columns(metric: Metric) -> str:
    numerator, denominator = metric.numerator, metric.denominator
    value = metric.value.format(numerator=f"({numerator})", denominator=f"({denominator})")
    return (
        f"{value} AS `{metric.name}`, {numerator} AS `{metric.name}_numerator`,"
        f" {denominator} AS `{metric.name}_denominator`"
    )


def _groups(by: str | None) -> tuple[str, dict[str, object]]:
    if by is None:
        return "['']", {}
    for prefix, column in _KEYED.items():
        if by.startswith(prefix) and len(by) > len(prefix):
            return f"[{column}[{{m_key:String}}]]", {"m_key": by.removeprefix(prefix)}
    return _known(DIMENSIONS, by, "dimension"), {}


def _known(known: Mapping[str, _T], name: str, what: str) -> _T:
    if name not in known:
        raise ValueError(f"no {what} {name!r}; one of {', '.join(known)}")
    return known[name]


def range_parameters(app_id: str, start_ms: int, end_ms: int) -> dict[str, object]:
    """The values of an app and a range (Unix milliseconds, the end left out)."""
    return {**_texts(app_id, start_ms, end_ms), "m_start": start_ms, "m_end": end_ms}


def _texts(app_id: str, start_ms: int, end_ms: int) -> dict[str, object]:
    return {"m_app": app_id, "m_from": _text(start_ms), "m_until": _text(end_ms)}


def _text(time_ms: int) -> str:
    """A time as the views take it."""
    whole = datetime.fromtimestamp(time_ms // 1_000, UTC)
    return f"{whole:%Y-%m-%d %H:%M:%S}.{time_ms % 1_000:03d}"
