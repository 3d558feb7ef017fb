"""Sessions of an app in a range of time: what metrics and lists of failures choose from."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.query import stored_rows, time_zone
from pipeline.query.free_of import CRASHED, HUNG
from pipeline.query.statement import Statement
from pipeline.storage.columns import SET_ASIDE

EVERYTHING = Statement("1")
"""The condition that every session meets."""
BEFORE_MS = 2 * 86_400_000
"""How long before a range sessions may have started whose requests and failures are in it."""
_OF_VIEW = (SET_ASIDE, CRASHED, HUNG)
"""Columns that views make and rows do not have; no filter asks for them."""


def chosen_sessions(where: Statement, columns: str = "", *, with_failed_users: bool = False) -> str:
    """The SELECT of an app's sessions in a range that meet a condition; its values are `range_parameters`.

    `columns` are those that are needed, expressions over the columns of `session_rows` with their names: a view is
    planned with all that it has. Without any they are those of `session_health`; `with_failed_users` adds whose their
    failures were, which takes the events of sessions of several users to tell.
    """
    of_range = (
        "app_id = {m_app:String} AND started_at >= fromUnixTimestamp64Milli({m_start:Int64}, 'UTC')"
        f" AND started_at < fromUnixTimestamp64Milli({{m_end:Int64}}, 'UTC') AND ({where.sql})"
    )
    if columns and not any(name in where.sql for name in _OF_VIEW):
        return stored_rows.sessions(columns, of_range)
    source = (
        "session_health_of_users(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})"
        if with_failed_users
        else "session_health"
    )
    return f"SELECT {columns or '*'} FROM {source} WHERE {of_range}"


def past_sessions(app: str, since: str, until: str, columns: str, condition: str = "true") -> str:
    """The SELECT of sessions that tell which was the first one of each device that has some in a range.

    `app` is a condition, `since` and `until` are times in SQL, `columns` as in `chosen_sessions`. Nearly always a
    session of the week before tells that a device was there before; of the others all days are looked up. (To look at
    the last of these days first, and at all only where that has no session any more, costs twice as much to plan as it
    spares: `tests/bench/ANALYSTS.md`.)
    """
    week = f"greatest({since} - INTERVAL 7 DAY, toDateTime64(0, 3, 'UTC'))"
    # One column is compared in half the time of two.
    device = "app_id, device_id" if app == "true" else "device_id"
    at = device.replace("device_id", "toDate(started_at), device_id")
    place = device.replace("device_id", "toDate(day), device_id")
    near = stored_rows.sessions(
        "app_id, device_id, started_at", f"{app} AND started_at >= {week} AND started_at < {until}"
    )
    unseen = f"SELECT {device} FROM ({near}) GROUP BY {device} HAVING min(started_at) >= {since}"
    days = f"SELECT {place} FROM z_device_days WHERE {app} AND day <= toDate32({week}) AND ({device}) IN ({unseen})"
    of_past = (
        f"{app} AND started_at < {until} AND (started_at >= {week} OR ({at}) IN ({days})) AND ({condition})"
    )
    if any(name in columns for name in _OF_VIEW):
        return f"SELECT {columns} FROM session_health WHERE {of_past}"
    return stored_rows.sessions_of_months(columns, of_past)


def range_parameters(app_id: str, start_ms: int, end_ms: int) -> dict[str, object]:
    """The values of an app and a range (Unix milliseconds, the end left out), and the time zone."""
    return {**_texts(app_id, start_ms, end_ms), "m_start": start_ms, "m_end": end_ms}


def _texts(app_id: str, start_ms: int, end_ms: int) -> dict[str, object]:
    return {
        "m_app": app_id,
        "m_from": time_text(start_ms),
        "m_until": time_text(end_ms),
        time_zone.PARAMETER: time_zone.zone().key,
    }


def time_text(time_ms: int) -> str:
    """A time (Unix milliseconds) as the views take it."""
    whole = datetime.fromtimestamp(time_ms // 1_000, UTC)
    return f"{whole:%Y-%m-%d %H:%M:%S}.{time_ms % 1_000:03d}"
