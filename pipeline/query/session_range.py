"""Sessions of an app in a range of time: what metrics and lists of failures choose from."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.query.statement import Statement

EVERYTHING = Statement("1")
"""The condition that every session meets."""


def chosen_sessions(where: Statement, *, with_failed_users: bool = False) -> str:
    """The SELECT of an app's sessions in a range that meet a condition; its values are `range_parameters`.

    `with_failed_users` adds whose their failures were, which takes the events of sessions of several users to tell.
    """
    source = (
        "session_health_of_users(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})"
        if with_failed_users
        else "session_health"
    )
    return (
        f"SELECT * FROM {source} WHERE app_id = {{m_app:String}}"
        " AND started_at >= fromUnixTimestamp64Milli({m_start:Int64}, 'UTC')"
        f" AND started_at < fromUnixTimestamp64Milli({{m_end:Int64}}, 'UTC') AND ({where.sql})"
    )


def range_parameters(app_id: str, start_ms: int, end_ms: int) -> dict[str, object]:
    """The values of an app and a range (Unix milliseconds, the end left out)."""
    return {**_texts(app_id, start_ms, end_ms), "m_start": start_ms, "m_end": end_ms}


def _texts(app_id: str, start_ms: int, end_ms: int) -> dict[str, object]:
    return {"m_app": app_id, "m_from": time_text(start_ms), "m_until": time_text(end_ms)}


def time_text(time_ms: int) -> str:
    """A time (Unix milliseconds) as the views take it."""
    whole = datetime.fromtimestamp(time_ms // 1_000, UTC)
    return f"{whole:%Y-%m-%d %H:%M:%S}.{time_ms % 1_000:03d}"
