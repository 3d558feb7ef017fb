"""The failures behind the numbers: crashes and failed requests, alike ones together."""

from __future__ import annotations

from pipeline.query.session_range import range_parameters
from pipeline.query.statement import Statement


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
