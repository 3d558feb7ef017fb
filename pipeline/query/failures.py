"""The failures behind the numbers: crashes and failed requests, alike ones together."""

from __future__ import annotations

from typing import Literal

from pipeline.query.metric_definitions import Bucket, bucket_columns, bucket_start, groups_of
from pipeline.query.session_range import EVERYTHING, range_parameters
from pipeline.query.statement import Statement

Subject = Literal["crash", "exception", "anr", "request"]
"""Crashes and fatal exceptions; exceptions that ended nothing; ANRs; requests that failed."""
_NOTABLE = (
    "notable_events_in_sessions(app_id = {m_app:String}, subject = {m_subject:String},"
    " from = {m_from:String}, until = {m_until:String})"
)
_SESSIONS = (
    # An event's session may have started before the range.
    "session_health WHERE app_id = {m_app:String} AND started_at >="
    " fromUnixTimestamp64Milli({m_start:Int64}, 'UTC') - INTERVAL 2 DAY"
    " AND started_at < fromUnixTimestamp64Milli({m_end:Int64}, 'UTC')"
)
_FAILURES_BY = """
WITH
    found AS
    (
        SELECT e.time AS time, e.label AS label, e.detail AS detail, e.session_id AS session_id,
            e.device_id AS device_id, e.user_id AS user_id, s.groups AS groups
        FROM <notable> AS e
        INNER JOIN (SELECT session_id, <groups> AS groups FROM <sessions>) AS s
            ON e.session_id = s.session_id
    ),
    (
        SELECT groupArray((label, detail)) FROM
        (
            SELECT label, detail FROM found GROUP BY label, detail
            ORDER BY count() DESC, label, detail LIMIT {m_top:UInt32}
        )
    ) AS top_kinds,
    (
        SELECT groupArray(g) FROM
        (SELECT arrayJoin(groups) AS g FROM found GROUP BY g ORDER BY count() DESC, g LIMIT {m_top_groups:UInt32})
    ) AS top_groups
SELECT <bucket columns>, g.1 AS `group`, g.2 AS is_other, kind.1 AS label, kind.2 AS detail, kind.3 AS is_rest,
    count() AS failures, uniqExact(session_id) AS sessions, uniqExact(device_id) AS devices,
    uniqExactIf(user_id, user_id != '') AS users
FROM
(
    SELECT session_id, device_id, user_id, <bucket> AS bucket,
        if(has(top_kinds, (label, detail)), (label, detail, 0), ('other', '', 1)) AS kind,
        arrayDistinct(arrayMap(one -> if(has(top_groups, one), (one, 0), ('other', 1)), groups)) AS all_groups
    FROM found
)
ARRAY JOIN all_groups AS g
GROUP BY bucket, g, kind
ORDER BY bucket, is_other, `group`, is_rest, failures DESC, label, detail"""


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


def failures_by(
    subject: Subject,
    app_id: str,
    start_ms: int,
    end_ms: int,
    *,
    by: str | None = None,
    bucket: Bucket | None = None,
    where: Statement | None = None,
    top: int = 10,
    top_groups: int = 10,
) -> Statement:
    """How often each kind of failure came about, by a dimension of its session (as of `metrics.metric`) and over time.

    Rows: `bucket` and `bucket_ms` (of the failure's own time), `group`, `is_other`, `label`, `detail`, `is_rest`,
    `failures`, `sessions`, `devices`, `users`. The `top` kinds (label and detail) that came most in the whole range
    stand for themselves, all others are one with `is_rest` = 1 and the label `other`; so with the `top_groups`
    groups, whose rest is `other` with `is_other` = 1. Sums over kinds are thus those of all failures.
    """
    groups, keys = groups_of(by)
    where = where or EVERYTHING
    sql = (
        _FAILURES_BY.replace("<notable>", _NOTABLE)
        .replace("<bucket columns>", bucket_columns(bucket))
        .replace("<bucket>", bucket_start(bucket, "time"))
        .replace("<groups>", groups)
        .replace("<sessions>", f"{_SESSIONS} AND ({where.sql})")
    )
    parameters = {**range_parameters(app_id, start_ms, end_ms), "m_subject": subject, "m_top": top}
    return Statement(sql, {**parameters, "m_top_groups": top_groups, **keys, **where.parameters})


def _top_events(
    select: str, subject: str, order: str, span: tuple[str, int, int], where: Statement | None, top: int
) -> Statement:
    app_id, start_ms, end_ms = span
    limit = f" WHERE session_id IN (SELECT session_id FROM {_SESSIONS} AND ({where.sql}))" if where else ""
    return Statement(
        f"{select} FROM {_NOTABLE}{limit} GROUP BY label, detail ORDER BY {order} LIMIT {{m_top:UInt32}}",
        {
            **range_parameters(app_id, start_ms, end_ms),
            "m_subject": subject,
            "m_top": top,
            **(where.parameters if where else {}),
        },
    )
