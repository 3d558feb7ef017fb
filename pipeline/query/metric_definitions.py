"""The metrics there are: names, labels, and the SQL that each is made of. What they are split by is in `dimensions`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from pipeline.query.dimensions import split, split_names
from pipeline.query.filters.messages import unknown
from pipeline.query.free_of import BACKGROUND, FREE_OF, RATED, WHOLES, FreeOf
from pipeline.query.statement import Statement
from pipeline.query.time_zone import DAY_MS, HOUR_MS

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
    needs_failed_users: bool = False


def _count(name: str, label: str, sql: str) -> Metric:
    return Metric(name, label, "count", None, "{numerator}", numerator=sql)


def _share(name: str, label: str, numerator: str, denominator: str, higher: bool | None = True) -> Metric:
    value = "{numerator} / nullIf({denominator}, 0)"
    return Metric(name, label, "share", higher, value, numerator, denominator)


def _free_of(each: FreeOf) -> Metric:
    share = _share(each.name, each.label, each.free, RATED[each.whole])
    return replace(share, needs_failed_users=each.whole == "users")


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


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *(_count(name, name.replace("_", " ").capitalize(), sql) for name, sql in WHOLES.items()),
        *(_free_of(each) for each in FREE_OF),
        *(_count(name, label, sql) for name, (label, sql) in BACKGROUND.items()),
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
            "sum(countIf(nth = 1)) OVER (PARTITION BY part, bucket_of)",
            None,
        ),
    )
}
"""By name. Cold starts: by the launch event's own account, or else from the launch to the first view (the view
`cold_starts` says which)."""

IN_TABLE = (
    *("sessions", "adoption", "devices", "users", "crash_free_sessions", "crash_free_users"),
    *(
        "crash_free_stitched_sessions",
        "anr_free_sessions",
        "out_of_memory_free_sessions",
        "force_quit_free_sessions",
        "background_sessions",
        "background_crashes",
        "duration_p50",
        "duration_p95",
        "cold_start_p50",
    ),
)
IN_CHARTS = ("crash_free_sessions", "crash_free_users", "adoption", "duration_p50", "sessions", "users")
"""Those that the page of release health shows, in its order: in the table of the whole range, and over time."""

BUCKETS: Mapping[str | None, str] = {
    None: "toDateTime(0, {{m_zone:String}})",
    "hour": "toStartOfHour(toDateTime({time}, {{m_zone:String}}))",
    "day": "toDateTime(toDate({time}, {{m_zone:String}}), {{m_zone:String}})",
    "week": "toDateTime(toStartOfWeek({time}, 1, {{m_zone:String}}), {{m_zone:String}})",
}
"""The start of the bucket that the column put in for `{time}` lies in, in the zone that is a parameter."""
STEPS_MS: Mapping[str, int] = {"hour": HOUR_MS, "day": DAY_MS, "week": 7 * DAY_MS}
"""The same buckets as steps of `time_zone`."""


def groups_of(by: str | None) -> tuple[str, dict[str, object]]:
    """The groups of a session as an array of texts in SQL, and its parameters. ValueError for an unknown name."""
    if by is None:
        return "['']", {}
    found = split(by)
    if found is None:
        raise ValueError(unknown("dimension", by, split_names()))
    return found.groups, {} if found.key is None else {"m_key": found.key}


def in_group(by: str, group: str) -> Statement:
    """The condition that a session meets which counts in a group. ValueError for an unknown name."""
    groups, keys = groups_of(by)
    return Statement(f"has({groups}, {{m_group:String}})", {**keys, "m_group": group})


def bucket_columns(bucket: Bucket | None, column: str = "bucket") -> str:
    """Of statements with a column of the starts of buckets: `bucket`, and `bucket_ms`; NULL without buckets."""
    if bucket is None:
        return "NULL AS bucket, NULL AS bucket_ms"
    return f"{column} AS bucket, toUnixTimestamp({column}) * 1000 AS bucket_ms"


def bucket_start(bucket: Bucket | None, column: str) -> str:
    """The bucket of a time. Raises ValueError for an unknown name."""
    if bucket not in BUCKETS:
        raise ValueError(f"no bucket {bucket!r}; one of hour, day, week")
    return BUCKETS[bucket].format(time=column)


def known_by_name(known: Mapping[str, _T], name: str, what: str) -> _T:
    """What stands under a name. Raises ValueError, which says which names are near it."""
    if name not in known:
        raise ValueError(unknown(what, name, known))
    return known[name]
