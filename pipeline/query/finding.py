"""From an id, or a part of one, to what it is of: sessions, devices, users, events; and what became of a session.

Ids of sessions, devices and users are looked up in tables that have them in order, so that neither an id nor its
beginning costs more as the history grows. Ids of events are in no such table: those of some days are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from pipeline.query.session_range import time_text
from pipeline.query.statement import Statement

MOST = 20
"""Sessions, events or types of exceptions that one question gives; the views of ids have 100 of each kind."""
_TIMES_MS = (
    "toUnixTimestamp64Milli(started_at) AS started_at_ms, toUnixTimestamp64Milli(ended_at) AS ended_at_ms"
)
_NEAR_DAYS = 8


def as_uuid(text: str) -> str | None:
    """A session's id as it is stored, of whatever spelling; None if it is none."""
    try:
        return str(UUID(text)) if len(text.replace("-", "")) == 32 else None
    except ValueError:
        return None


def ids_like(text: str) -> Statement:
    """The ids that begin with a text: `id`, `kind` (session, stitched session, SDK session, device, user), `app_id`."""
    return Statement("SELECT id, kind, app_id FROM ids_like(text = {text:String})", {"text": text})


def sessions_of_any_id(id: str, app_id: str = "") -> Statement:
    """Sessions whose own id, stitched session or SDK session this is, newest first; of all apps without one."""
    return Statement(
        f"SELECT *, {_TIMES_MS} FROM sessions_of_any_id(id = {{id:String}})"
        f" WHERE {{app:String}} = '' OR app_id = {{app:String}} ORDER BY started_at DESC, session_id LIMIT {MOST + 1}",
        {"id": id, "app": app_id},
    )


def sessions_by_id(ids: Sequence[str]) -> Statement:
    """Those sessions of these ids that are there, newest first; the ids are as `ids_like` has them."""
    return Statement(
        f"SELECT *, {_TIMES_MS} FROM sessions WHERE session_id IN {{ids:Array(UUID)}}"
        " AND (app_id, toDate(started_at), device_id) IN"
        " (SELECT app_id, day, device_id FROM z_session_places WHERE id IN {ids:Array(UUID)})"
        " ORDER BY started_at DESC, session_id",
        {"ids": list(ids)},
    )


def events_like(text: str, start_ms: int, end_ms: int) -> Statement:
    """Events whose id begins with a text, of the days of a range (Unix ms): `app_id`, `device_id`, `event_id`, `name`,
    `time`, `time_ms`."""
    return Statement(
        "SELECT app_id, device_id, event_id, name, time, toUnixTimestamp64Milli(time) AS time_ms"
        " FROM events_like(text = {text:String}, from = {from:String}, until = {until:String})"
        f" ORDER BY event_id, time DESC LIMIT {MOST}",
        {"text": text, "from": _day(start_ms), "until": _day(end_ms + 86_400_000)},
    )


def exceptions_like(text: str, start_ms: int, end_ms: int) -> Statement:
    """Types of exceptions with a text in them, in a range (Unix ms), most frequent first: `app_id`, `subject`,
    `exception_type`, `events`, `devices`, `last_at`."""
    return Statement(
        "SELECT * FROM exceptions_like(text = {text:String}, from = {from:String}, until = {until:String})"
        f" ORDER BY events DESC, exception_type, subject, app_id LIMIT {MOST}",
        {"text": text, "from": time_text(start_ms), "until": time_text(end_ms)},
    )


def session_at(app_id: str, device_id: str, time_ms: int) -> Statement:
    """The session of a device that an event of that time is in: `session_id`; no row where there is none."""
    return Statement(
        "SELECT session_id FROM sessions WHERE app_id = {app:String} AND device_id = {device:String}"
        " AND started_at <= fromUnixTimestamp64Milli({at:Int64}, 'UTC') AND toDate(started_at) IN"
        " (SELECT DISTINCT toDate(day) FROM z_device_days WHERE app_id = {app:String} AND device_id = {device:String}"
        " AND day <= toDate32(fromUnixTimestamp64Milli({at:Int64}, 'UTC'))"
        f" ORDER BY 1 DESC LIMIT {_NEAR_DAYS}) ORDER BY started_at DESC LIMIT 1",
        {"app": app_id, "device": device_id, "at": time_ms},
    )


def as_last_told(session_id: str) -> Statement:
    """What is known of a session that may be gone, as `session_as_last_told` has it, and `was_there`: whether a session
    or stitched session of this id was ever stored. Always one row; `device_id` is empty where only that is known."""
    return Statement(
        "SELECT (SELECT count() > 0 FROM z_session_places WHERE id = {id:UUID}) AS was_there,"
        " ifNull(any(t.app_id), '') AS app_id, ifNull(any(t.device_id), '') AS device_id,"
        " any(t.started_at) AS started_at, any(t.was_taken_back) AS was_taken_back, any(t.told_at) AS told_at,"
        " any(t.is_kept) AS is_kept, any(t.retention_days) AS retention_days"
        " FROM session_as_last_told(id = {id:UUID}) AS t",
        {"id": session_id},
    )


def successors(session_id: str) -> Statement:
    """The sessions that now have what a session had which is gone, oldest first; none while it is there."""
    return Statement(
        f"SELECT *, {_TIMES_MS} FROM session_successors(id = {{id:UUID}}) ORDER BY started_at",
        {"id": session_id},
    )


def _day(ms: int) -> str:
    return datetime.fromtimestamp(max(0, ms) / 1_000, UTC).date().isoformat()
