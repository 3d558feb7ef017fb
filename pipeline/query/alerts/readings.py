"""What an alert rule sees: a metric of some sessions, as it was known at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.domain.alerts import Reading
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.tree import Filter
from pipeline.query.metric_definitions import METRICS, Metric, groups_of
from pipeline.query.session_range import range_parameters, time_text
from pipeline.query.statement import Statement

MAX_GROUPS = 50
"""Those with most sessions; besides these, such as something is being told of."""
_SHARE = "{numerator} / nullIf({denominator}, 0)"


def _sum(name: str, label: str, sql: str) -> Metric:
    return Metric(name, label, "count", False, "{numerator}", numerator=sql)


_MORE = (
    _sum("crashed_sessions", "Sessions that crashed", "countIf(is_crashed)"),
    _sum("hung_sessions", "Sessions with an ANR", "countIf(is_hung)"),
    _sum("exceptions", "Exceptions", "sum(exception_count)"),
    _sum("failed_requests", "Failed requests", "sum(network_error_count)"),
    _sum("logged_errors", "Errors logged", "sum(log_error_count)"),
    Metric(
        "failed_request_share",
        "Share of requests that failed",
        "share",
        False,
        _SHARE,
        "sum(network_error_count)",
        "sum(network_count)",
    ),
    _sum("crash_groups", "Groups of crashes", "uniqExactArray(crash_groups)"),
)
"""Besides what a page of release health shows."""

ALERT_METRICS: Mapping[str, Metric] = {
    # A share of all groups says nothing of one rule.
    **{name: metric for name, metric in METRICS.items() if name != "adoption"},
    **{metric.name: metric for metric in _MORE},
}

_COLD_STARTS = """LEFT JOIN
    (
        SELECT session_id, cold_start_ms
        FROM cold_starts(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})
    ) AS c USING (session_id)"""
_CRASH_GROUPS = """LEFT JOIN
    (
        SELECT session_id, groupUniqArray(toString(crash_group)) AS crash_groups
        FROM crash_events(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})
        WHERE kind = 'crash'
        GROUP BY session_id
    ) AS g USING (session_id)"""


@dataclass(frozen=True, slots=True)
class AlertScope:
    """Which sessions, and as of when they are known: all in Unix milliseconds."""

    app_id: str
    start_ms: int
    end_ms: int
    known_at_ms: int
    """A time of the last 30 days."""

    def earlier(self, by_ms: int) -> AlertScope:
        """The same so long before, as it was known so long before."""
        return replace(
            self,
            start_ms=self.start_ms - by_ms,
            end_ms=self.end_ms - by_ms,
            known_at_ms=self.known_at_ms - by_ms,
        )


def reading(
    name: str, asked: AlertScope, filter: Filter, by: str | None, kept: Sequence[str] = ()
) -> Statement:
    """A metric of sessions that start in a range and pass a filter, as they were known at a time.

    Rows `is_group`, `group`, `value`, `numerator`, `denominator`, `sessions`, `users`: one of all of them, and with
    `by` one of each group, of the largest and of those that are `kept`. What a filter or a metric takes from events
    (what crashed together, cold starts, `has`) is of the events that are stored now. Raises FilterError, and
    ValueError for a name.
    """
    metric = ALERT_METRICS[name]
    condition = where(filter, "f", FilterScope(asked.app_id, asked.start_ms, asked.end_ms))
    groups, keys = groups_of(by)
    source = "session_health_of_users_known_at" if metric.needs_failed_users else "session_health_known_at"
    joined = _COLD_STARTS if metric.needs_cold_starts else _CRASH_GROUPS if name == "crash_groups" else ""
    numerator, denominator = metric.numerator, metric.denominator
    value = metric.value.format(numerator=f"({numerator})", denominator=f"({denominator})")
    each = f"arrayMap(one -> (1, one), arrayDistinct({groups}))" if by else "[]"
    sql = f"""
SELECT
    g.1 AS is_group,
    g.2 AS `group`,
    toFloat64OrNull(toString({value})) AS value,
    toFloat64OrNull(toString({numerator})) AS numerator,
    toFloat64OrNull(toString({denominator})) AS denominator,
    count() AS sessions,
    uniqExactArray(user_ids) AS users
FROM
(
    SELECT *, arrayConcat([(0, '')], {each}) AS all_groups
    FROM
    (
        SELECT *
        FROM {source}(app_id = {{m_app:String}}, from = {{m_from:String}}, until = {{m_until:String}},
            known_at = {{m_known:String}})
        WHERE {condition.sql}
    ) AS s
    {joined}
)
ARRAY JOIN all_groups AS g
GROUP BY g
ORDER BY is_group, has({{m_kept:Array(String)}}, `group`) DESC, sessions DESC, `group`
LIMIT {{m_limit:UInt32}}"""
    given: dict[str, Any] = {
        **range_parameters(asked.app_id, asked.start_ms, asked.end_ms),
        "m_known": time_text(asked.known_at_ms),
        "m_kept": list(kept),
        "m_limit": 1 + MAX_GROUPS + len(kept),
    }
    return Statement(sql, {**given, **keys, **condition.parameters})


def readings_of(
    rows: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
) -> dict[str | None, Reading]:
    """By group, None for all sessions: what was read, and beside it what was read of a week before. All sessions are
    always there: of none, every count is zero."""
    earlier = {_group(row): row for row in before}
    found: dict[str | None, Reading] = {None: Reading(None, None, None, 0, 0)}
    for row in rows:
        group = _group(row)
        of_before = earlier.get(group, {})
        found[group] = Reading(
            row["value"], row["numerator"], row["denominator"], int(row["sessions"]), int(row["users"]),
            of_before.get("value"), int(of_before.get("sessions", 0)), int(of_before.get("users", 0)),
        )  # fmt: skip
    return found


def of_nothing(name: str, found: Reading) -> Reading:
    """Of no sessions a count is 0, and everything else has no value."""
    if found.sessions or ALERT_METRICS[name].unit != "count":
        return found
    return replace(found, value=0.0, numerator=0.0)


def _group(row: Mapping[str, Any]) -> str | None:
    return str(row["group"]) if row["is_group"] else None
