"""Stitched sessions and users as units of their own: lists of them, and what happened in one, over its sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.query.journey import MAX_MARKS, SHOWN_CHARACTERS
from pipeline.query.operations import Ask, rows_asked
from pipeline.query.session_range import EVERYTHING, time_text
from pipeline.query.sessions import windows
from pipeline.query.statement import Statement

_TIMES_MS = (
    "toUnixTimestamp64Milli(started_at) AS started_at_ms, toUnixTimestamp64Milli(ended_at) AS ended_at_ms"
)
_DAY_MS = 86_400_000
AROUND_DAYS = 30
"""How far from a range a crash is looked for."""
USER_ORDERS = {
    "seen": "toUnixTimestamp64Milli(last_seen_at)",
    "sessions": "sessions",
    "crashes": "crashed_sessions",
}
"""What users can be sorted by, from the highest down, and the whole number that this is."""


@dataclass(frozen=True, slots=True)
class ListPlace:
    """Where a list goes on that is sorted by a number and an id, both from the highest down."""

    number: int
    id: str

    @classmethod
    def parse(cls, text: str) -> ListPlace:
        """What `str` wrote. Raises ValueError."""
        number, colon, id = text.partition(":")
        if not colon or not number.lstrip("-").isdecimal() or len(number) > 15:
            raise ValueError("not a place in a list")
        return cls(int(number), id)

    def __str__(self) -> str:
        return f"{self.number}:{self.id}"


def members(stitched_session_id: str) -> Statement:
    """The sessions of a stitched session in order; no row if there is none of this id, which has to be a UUID."""
    return Statement(
        f"SELECT *, {_TIMES_MS} FROM sessions_of_id(id = {{id:UUID}}) WHERE stitched_session_id = {{id:UUID}}"
        " ORDER BY started_at, session_id",
        {"id": stitched_session_id},
    )


def member_count(stitched_session_id: str) -> Statement:
    """One row with `members`: how many sessions a stitched session has, whose id has to be a UUID."""
    return Statement(
        "SELECT count() AS members FROM sessions_of_id(id = {id:UUID}) WHERE stitched_session_id = {id:UUID}",
        {"id": stitched_session_id},
    )


def stitched_sessions(
    app_id: str, where: Statement, start_ms: int, end_ms: int, after: ListPlace | None, limit: int
) -> Statement:
    """Stitched sessions that begin in a range (Unix ms), newest first, with a session in it that meets a condition.

    Columns are those of `stitched_sessions_between`, and `started_at_ms`, `ended_at_ms`.
    """
    parameters: dict[str, object] = {
        "app": app_id, "u_from": time_text(start_ms), "u_until": time_text(end_ms), "u_limit": limit,
        **where.parameters,
    }  # fmt: skip
    conditions = []
    if where.sql != EVERYTHING.sql:
        # A session of it may start after the range.
        conditions.append(
            "stitched_session_id IN (SELECT stitched_session_id FROM sessions WHERE app_id = {app:String}"
            f" AND started_at >= toDateTime64({{u_from:String}}, 3, 'UTC') AND ({where.sql}))"
        )
    if after is not None:
        conditions.append("(started_at_ms, toString(stitched_session_id)) < ({u_at:Int64}, {u_id:String})")
        parameters |= {"u_at": after.number, "u_id": after.id}
    return Statement(
        f"SELECT *, {_TIMES_MS} FROM stitched_sessions_between(app_id = {{app:String}}, from = {{u_from:String}},"
        f" until = {{u_until:String}}) WHERE {' AND '.join(conditions) or '1'}"
        " ORDER BY started_at_ms DESC, toString(stitched_session_id) DESC LIMIT {u_limit:UInt32}",
        parameters,
    )


def stitched_page(
    ask: Ask, app_id: str, where: Statement, start_ms: int, end_ms: int, after: ListPlace | None, limit: int
) -> tuple[list[dict[str, Any]], ListPlace | None]:
    """A page of them, read day by day from the newest on, and where the next one goes on; None if it is the last.

    Raises what `ask` raises.
    """
    rows: list[dict[str, Any]] = []
    upper_ms = end_ms if after is None else min(end_ms, after.number + 1)
    for lower_ms, end in windows(start_ms, upper_ms):
        statement = stitched_sessions(app_id, where, lower_ms, end, after, limit + 1 - len(rows))
        rows += rows_asked(ask, statement.sql, statement.parameters)
        if len(rows) > limit:
            last = rows[limit - 1]
            return rows[:limit], ListPlace(int(last["started_at_ms"]), last["stitched_session_id"])
    return rows, None


def users(
    app_id: str,
    where: Statement,
    start_ms: int,
    end_ms: int,
    *,
    part: str = "",
    by: str = "seen",
    after: ListPlace | None = None,
    limit: int = 50,
) -> Statement:
    """Users with sessions that start in a range (Unix ms), and with one of these that meets a condition.

    `part` is in their ids, in any case. `by` is one of `USER_ORDERS`; ValueError otherwise. Columns are those of
    `users_between`, and `place`, the number that they are sorted by.
    """
    if by not in USER_ORDERS:
        raise ValueError(f"users cannot be sorted by {by[:40]!r}; one of {', '.join(USER_ORDERS)}")
    parameters: dict[str, object] = {
        "app": app_id, "u_from": time_text(start_ms), "u_until": time_text(end_ms), "u_limit": limit,
        **where.parameters,
    }  # fmt: skip
    conditions = []
    if where.sql != EVERYTHING.sql:
        conditions.append(
            "user_id IN (SELECT arrayJoin(user_ids) FROM sessions WHERE app_id = {app:String}"
            " AND started_at >= toDateTime64({u_from:String}, 3, 'UTC')"
            f" AND started_at < toDateTime64({{u_until:String}}, 3, 'UTC') AND ({where.sql}))"
        )
    if part:
        conditions.append("positionCaseInsensitiveUTF8(user_id, {u_part:String}) > 0")
        parameters["u_part"] = part
    if after is not None:
        conditions.append("(place, user_id) < ({u_at:Int64}, {u_id:String})")
        parameters |= {"u_at": after.number, "u_id": after.id}
    return Statement(
        f"SELECT *, toInt64({USER_ORDERS[by]}) AS place FROM users_between(app_id = {{app:String}},"
        f" from = {{u_from:String}}, until = {{u_until:String}}) WHERE {' AND '.join(conditions) or '1'}"
        " ORDER BY place DESC, user_id DESC LIMIT {u_limit:UInt32}",
        parameters,
    )


def apps_of(*, user_id: str = "", device_id: str = "") -> Statement:
    """The apps in which a user, or else a device, has sessions, or had: rows `app_id`."""
    return Statement(
        "SELECT DISTINCT app_id FROM z_id_places WHERE id = {who:String} AND kind = {kind:String}"
        " ORDER BY app_id LIMIT 100",
        {"who": user_id or device_id, "kind": "user" if user_id else "device"},
    )


def user_marks(app_id: str, user_id: str, start_ms: int, end_ms: int, *, search: str = "") -> Statement:
    """What a user did in his sessions that start in a range (Unix ms), in order, each event with little.

    Rows as those of `journey.marks`, with `session_id` and `device_id`; the newest where there are more than
    `MAX_MARKS`.
    """
    return Statement(
        "SELECT * FROM (SELECT session_id, device_id, event_id, toUnixTimestamp64Milli(time) AS time_ms, name, kind,"
        " counters, exit_reason, substringUTF8(what, 1, 160) AS what, {search:String} != ''"
        " AND (positionCaseInsensitiveUTF8(t.what, {search:String}) > 0"
        " OR positionCaseInsensitiveUTF8(name, {search:String}) > 0"
        " OR arrayExists(v -> positionCaseInsensitiveUTF8(v, {search:String}) > 0, mapValues(attributes))"
        " OR arrayExists(k -> positionCaseInsensitiveUTF8(k, {search:String}) > 0, mapKeys(attributes))) AS found,"
        " rank, seq FROM user_timeline_between(app_id = {app:String}, user_id = {user:String}, from = {from:String},"
        f" until = {{until:String}}) AS t ORDER BY time_ms DESC, device_id DESC, rank DESC, seq DESC, event_id DESC"
        f" LIMIT {MAX_MARKS}) ORDER BY time_ms, device_id, rank, seq, event_id",
        {
            "app": app_id, "user": user_id, "from": time_text(start_ms), "until": time_text(end_ms), "search": search,
        },
    )  # fmt: skip


_SHOWN = (
    "mapApply((k, v) -> (k, if(lengthUTF8(v) > {shown:UInt32},"
    " concat(substringUTF8(v, 1, {shown:UInt32}), '…'), v)), attributes) AS shown_attributes"
)
_WHOLE = "attributes, JSONExtract(resource_json, 'Map(String, String)') AS resource"


def details(app_id: str, marks: Sequence[Any], *, whole: bool = False) -> Statement:
    """More of some events, given by their marks (with `device_id`): `device_id`, `event_id`, `shown_attributes`; or
    `attributes` and `resource`, nothing cut."""
    times = [mark["time_ms"] for mark in marks]
    return Statement(
        "SELECT device_id, event_id, " + (_WHOLE if whole else _SHOWN) + " FROM z_stored_events"
        " WHERE app_id = {app:String} AND device_id IN {devices:Array(String)} AND event_id IN {events:Array(String)}"
        " AND toDate32(raw_time) IN (SELECT raw_day FROM z_device_days WHERE app_id = {app:String}"
        " AND device_id IN {devices:Array(String)} AND day >= toDate32(fromUnixTimestamp64Milli({first:Int64}, 'UTC'))"
        " AND day <= toDate32(fromUnixTimestamp64Milli({last:Int64}, 'UTC')))",
        {
            "app": app_id, "shown": SHOWN_CHARACTERS, "first": min(times), "last": max(times),
            "devices": sorted({mark["device_id"] for mark in marks}),
            "events": [mark["event_id"] for mark in marks],
        },
    )  # fmt: skip


def crashes_around(
    app_id: str, start_ms: int, end_ms: int, *, user_id: str = "", device_id: str = ""
) -> Statement:
    """Of a user, or else a device, the starts of the nearest sessions with a crash outside a range (Unix ms).

    `before_ms` and `after_ms`; NULL where there is none within `AROUND_DAYS` before or after the range.
    """
    return Statement(
        "SELECT maxOrNull(if(at < {start:Int64}, toNullable(at), NULL)) AS before_ms,"
        " minOrNull(if(at >= {end:Int64}, toNullable(at), NULL)) AS after_ms FROM"
        " (SELECT toUnixTimestamp64Milli(started_at) AS at FROM crashed_sessions_of(app_id = {app:String},"
        " user_id = {user:String}, device_id = {device:String}, from = {from:String}, until = {until:String}))",
        {
            "app": app_id, "user": user_id, "device": device_id, "start": start_ms, "end": end_ms,
            "from": time_text(max(0, start_ms - AROUND_DAYS * _DAY_MS)),
            "until": time_text(end_ms + AROUND_DAYS * _DAY_MS),
        },
    )  # fmt: skip
