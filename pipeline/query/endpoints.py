"""Requests of an app by method, host and path: how many, how fast, how many failed."""

from __future__ import annotations

from typing import Literal

from pipeline.query.session_range import BEFORE_MS, chosen_sessions, range_parameters, time_text
from pipeline.query.statement import Statement

Order = Literal["requests", "failures", "p95"]
ORDERS: dict[Order, str] = {
    "requests": "requests DESC, request",
    "failures": "failures DESC, requests DESC, request",
    "p95": "p95_ms DESC, requests DESC, request",
}
"""Most requests first, most failures, or the slowest."""
_QUANTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}


def endpoints(
    app_id: str,
    start_ms: int,
    end_ms: int,
    *,
    where: Statement | None = None,
    order: Order = "requests",
    top: int = 100,
) -> Statement:
    """Rows as of the view `endpoints` for requests in a range (Unix ms, the end left out), the `top` first of an order.

    `where` limits them to those of sessions that meet it and start at most BEFORE_MS before the range. `p50_ms`,
    `p95_ms` and `p99_ms` are NULL where no SDK says how long one took.
    """
    times = ", ".join(
        f"if(timed = 0, NULL, quantileExactIf({level})(assumeNotNull(r.duration_ms), r.duration_ms IS NOT NULL))"
        f" AS {name}"
        for name, level in _QUANTILES.items()
    )
    chosen = ""
    if where is not None:
        chosen = f" WHERE s.session_id IN ({chosen_sessions(where, 'session_id')})"
    return Statement(
        "SELECT r.request AS request, any(r.method) AS method, any(r.host) AS host,"
        " any(r.path_template) AS path_template, count() AS requests, countIf(r.is_failed) AS failures,"
        f" failures / requests AS failure_rate, countIf(r.duration_ms IS NOT NULL) AS timed, {times},"
        " uniqExact(s.session_id) AS sessions, uniqExact(r.device_id) AS devices, max(r.time) AS last_at"
        " FROM requests_between(app_id = {m_app:String}, from = {of:String}, until = {m_until:String}) AS r"
        # All sessions are joined and some are chosen then: the last one before a request is its own.
        " ASOF JOIN (SELECT device_id, started_at, session_id FROM sessions WHERE app_id = {m_app:String}"
        " AND started_at >= fromUnixTimestamp64Milli({m_start:Int64}, 'UTC')"
        " AND started_at < fromUnixTimestamp64Milli({m_end:Int64}, 'UTC')) AS s"
        f" ON r.device_id = s.device_id AND r.time >= s.started_at{chosen}"
        f" GROUP BY request ORDER BY {ORDERS[order]} LIMIT {{top:UInt32}}",
        {
            **range_parameters(app_id, max(0, start_ms - BEFORE_MS), end_ms),
            "of": time_text(start_ms),
            "top": top,
            **(where.parameters if where else {}),
        },
    )
