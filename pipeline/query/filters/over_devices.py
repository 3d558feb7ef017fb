"""What takes the other sessions of a device to tell of one, in SQL over the columns of `sessions`."""

from __future__ import annotations

from pipeline.query import stored_rows
from pipeline.query.filters.bounds import RangeBounds
from pipeline.query.session_range import past_sessions

LATER = "dateDiff('day', day, later)"
"""How many days after the day of a session another one of the device is."""
_MOST_DAYS = 200_000
"""No two sessions that can be stored lie further apart."""


def first(scope: RangeBounds, limit: str) -> str:
    """That no session of the device starts earlier. `limit`: the devices that are worth a look."""
    columns = "app_id, device_id, started_at"
    past = (
        past_sessions(scope.app, scope.since, scope.end, columns, limit)
        if scope.since and scope.end
        else stored_rows.sessions(columns, limit)
    )
    return (
        "(app_id, device_id, started_at) IN (SELECT app_id, device_id, min(s.started_at)"
        f" FROM ({past}) AS s GROUP BY app_id, device_id)"
    )


def stitched(scope: RangeBounds, limit: str, passes: str) -> str:
    """That the sessions of the stitched session, counted, pass a condition over `count()`."""
    return (
        "(app_id, device_id, stitched_session_id) IN"
        f" (SELECT app_id, device_id, stitched_session_id FROM sessions WHERE {limit} AND {scope.stitched()}"
        " GROUP BY app_id, device_id, stitched_session_id"
        f" HAVING {passes})"
    )


def returned(scope: RangeBounds, limit: str, passes: str, zone: str, most: float | None) -> str:
    """That the device has a session on a later day, so many days later that a condition over `LATER` passes.

    `zone` says whose days; `most` is the highest number of days that can pass, None where there is none.
    """
    bounds = [limit]
    if scope.since:
        bounds.append(f"started_at >= {scope.since} AND {scope.of_devices}")
    if scope.end and not scope.is_open and most is not None and most < _MOST_DAYS:
        # The day of a session at the end may be a longer one than others.
        bounds.append(f"started_at < {scope.end} + toIntervalDay({max(0, int(most)) + 2})")
    day = f"toDate32(started_at, {zone})"
    return (
        f"(app_id, device_id, {day}) IN (SELECT app_id, device_id, day"
        f" FROM (SELECT app_id, device_id, groupUniqArray({day}) AS days FROM sessions"
        f" WHERE {' AND '.join(bounds)} GROUP BY app_id, device_id)"
        f" ARRAY JOIN days AS day WHERE arrayExists(later -> later > day AND ({passes}), days))"
    )
