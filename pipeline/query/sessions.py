"""Sessions in pages, newest first, and one session or user at a time.

A page goes on from the last row of the page before it, never from a count of rows passed over: what a page costs
does not depend on how deep it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from pipeline.query.choice import FROM_VIEW, OF_VIEW, TIMES_MS, Choice
from pipeline.query.filters.reach import points_out, reads_much
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.tree import Filter
from pipeline.query.operations import Ask, rows_asked
from pipeline.query.statement import Statement
from pipeline.query.stored_rows import LAST_DAY_MS

MAX_LIMIT = 1_000
"""Rows of one page."""
_DAY_MS = 86_400_000
_GROWTH = 4
_AT_ONCE = 1_000_000
"""Grown so much, a day is longer than all that a column of times can hold."""
_FEW_ROWS, _FEW_TO_FILTER = 20_000, 500_000
"""So many are read in one question rather than in several, whole and with nothing but what a filter asks for."""

_DAYS_OF_DEVICE = (
    "SELECT toDate(z.day) AS day, device_id FROM z_device_days AS z"
    " WHERE app_id = {app:String} AND device_id = {who:String}"
)
_DAYS_OF_USER = (
    "SELECT day, device_id FROM z_user_days WHERE app_id = {app:String} AND user_id = {who:String}"
)
"""Where a device or a user has sessions, or had."""
_AT_A_GLANCE = (
    "session_id, started_at, app_id, device_id, user_id, app_version, status, end_reason, duration_ms, event_count,"
    " crash_count"
)
_MOST_APPS = 500
ORDER = "started_at DESC, app_id DESC, device_id DESC, session_id DESC"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of a session in the order of pages."""

    started_at_ms: int
    app_id: str
    device_id: str
    session_id: str

    @classmethod
    def of(cls, row: dict[str, Any]) -> Cursor:
        """Of a row that one of the statements here gave."""
        return cls(int(row["started_at_ms"]), row["app_id"], row["device_id"], row["session_id"])

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """What `str` wrote. Raises ValueError."""
        try:
            started_at_ms, app_id, device_id, session_id = orjson.loads(text)
        except (ValueError, TypeError):
            raise ValueError("not the place of a session") from None
        names = isinstance(app_id, str) and isinstance(device_id, str) and isinstance(session_id, str)
        if not names or not isinstance(started_at_ms, int) or abs(started_at_ms) >= 2**53:
            raise ValueError("not the place of a session")
        return cls(started_at_ms, app_id, device_id, _uuid(session_id))

    def __str__(self) -> str:
        return orjson.dumps([self.started_at_ms, self.app_id, self.device_id, self.session_id]).decode()


def session_list(
    app_id: str | None,
    filter: Filter | None,
    start_ms: int,
    end_ms: int,
    after: Cursor | None,
    limit: int,
) -> Statement:
    """Sessions that start in [start_ms, end_ms), newest first, from behind `after`; of all apps without `app_id`.

    Rows are those of `sessions` without the resource, and `started_at_ms` and `ended_at_ms`. Raises FilterError, and
    ValueError for a limit that no page has.
    """
    require_page(limit)
    return _some_sessions(app_id, filter, start_ms, end_ms, after, limit)


def choose(
    app_id: str | None,
    filter: Filter | None,
    start_ms: int,
    end_ms: int,
    after: Cursor | None = None,
    *,
    newest_ms: int | None = None,
) -> Choice:
    """Sessions that start in [start_ms, end_ms) and pass a filter; `newest_ms` is when the newest of all started, if
    that is known. Raises FilterError."""
    has_days = 0 <= start_ms < end_ms <= LAST_DAY_MS
    conditions, parameters = _range(start_ms, end_ms, has_days=has_days)
    if app_id is not None:
        conditions.append("app_id = {app:String}")
        parameters["app"] = app_id
    _go_on(after, conditions, parameters)
    if filter is not None:
        scope = FilterScope(app_id, start_ms, end_ms, newest_ms) if has_days else FilterScope(app_id)
        condition = where(filter, scope=scope)
        conditions.append(condition.sql)
        parameters |= condition.parameters
    passing = " AND ".join(conditions)
    if not has_days or (filter is not None and points_out(filter)):
        return Choice(passing, parameters)
    days = {"first_day": _day(start_ms), "last_day": _day(end_ms - 1)}
    reads_little = filter is None or not reads_much(filter)
    return Choice(passing, {**parameters, **days}, by_days=True, reads_little=reads_little)


def _some_sessions(
    app_id: str | None,
    filter: Filter | None,
    start_ms: int,
    end_ms: int,
    after: Cursor | None,
    limit: int,
    newest_ms: int | None = None,
) -> Statement:
    if after is not None:
        end_ms = min(end_ms, after.started_at_ms + 1)
    chosen = choose(app_id, filter, start_ms, end_ms, after, newest_ms=newest_ms)
    return Statement(
        f"{chosen.selected} {chosen.found} ORDER BY {ORDER} LIMIT {{limit:UInt32}}",
        {**chosen.parameters, "limit": limit},
    )


@dataclass(frozen=True, slots=True)
class PageOfSessions:
    """Some sessions, newest first."""

    rows: list[dict[str, Any]]
    after: Cursor | None
    """Where the next page goes on; None if this is the last."""


def session_page(
    ask: Ask,
    app_id: str | None,
    filter: Filter | None,
    start_ms: int,
    end_ms: int,
    after: Cursor | None,
    limit: int,
    *,
    stored: int | None = None,
    newest_ms: int | None = None,
) -> PageOfSessions:
    """A page of `session_list`, read day by day from the newest on: a page of a busy app never reads a month.

    `stored` is about how many sessions there are to choose from, and `newest_ms` when the newest started, where that is
    known: few are read at once. Raises FilterError, ValueError for a limit that no page has, and what `ask` raises.
    """
    require_page(limit)
    rows: list[dict[str, Any]] = []
    wanted = limit + 1  # so that it is known whether another page follows
    few = _few(filter)
    if stored is not None and stored > few:
        # Of those in the range there may be few all the same: the history before it is no reason to go day by day.
        counted = _stored_between(app_id, start_ms, end_ms, few + 1)
        stored = int(orjson.loads(ask(counted.sql, counted.parameters))["stored"])
    for window_start_ms, window_end_ms in _pieces(filter, start_ms, end_ms, after, stored):
        window_ms, left = (window_start_ms, window_end_ms), wanted - len(rows)
        statement = _some_sessions(app_id, filter, *window_ms, after, left, newest_ms)
        rows += rows_asked(ask, statement.sql, statement.parameters)
        if len(rows) >= wanted:
            return PageOfSessions(rows[:limit], Cursor.of(rows[limit - 1]))
    return PageOfSessions(rows, None)


def windows(
    start_ms: int, end_ms: int, after: Cursor | None = None, growth: int = _GROWTH
) -> Iterator[tuple[int, int]]:
    """The range in pieces, newest first: a day, and each next one `growth` times as long as the one before."""
    upper_ms = end_ms if after is None else min(end_ms, after.started_at_ms + 1)
    length_ms = _DAY_MS
    while upper_ms > start_ms:
        # Pieces begin with a day (UTC): the key holds the day.
        lower_ms = max(start_ms, (upper_ms - length_ms) // _DAY_MS * _DAY_MS)
        yield lower_ms, upper_ms
        upper_ms, length_ms = lower_ms, length_ms * growth


def _pieces(
    filter: Filter | None, start_ms: int, end_ms: int, after: Cursor | None, stored: int | None
) -> Iterator[tuple[int, int]]:
    """As large as can be read well."""
    if (filter is not None and points_out(filter)) or (stored is not None and stored <= _few(filter)):
        upper_ms = end_ms if after is None else min(end_ms, after.started_at_ms + 1)
        return iter([(start_ms, upper_ms)] if start_ms < upper_ms else [])
    # Events and other sessions of a device are read whole, however short the piece: few pieces then.
    return windows(
        start_ms, end_ms, after, _AT_ONCE if filter is not None and reads_much(filter) else _GROWTH
    )


def _few(filter: Filter | None) -> int:
    """Of how many sessions a page is read at once."""
    return _FEW_TO_FILTER if filter is not None and not reads_much(filter) else _FEW_ROWS


def _stored_between(app_id: str | None, start_ms: int, end_ms: int, most: int) -> Statement:
    """How many rows there are of sessions of a range, counted up to so many: the key alone is read."""
    conditions, parameters = _range(start_ms, end_ms, has_days=0 <= start_ms < end_ms <= LAST_DAY_MS)
    if app_id is not None:
        conditions.append("app_id = {app:String}")
        parameters["app"] = app_id
    return Statement(
        f"SELECT count() AS stored FROM (SELECT 1 FROM session_rows WHERE {' AND '.join(conditions) or '1'}"
        f" LIMIT {most})",
        parameters,
    )


def app_ids() -> Statement:
    """The ids of all apps that ever had a session, as rows `app_id`."""
    return Statement(f"SELECT DISTINCT app_id FROM z_apps ORDER BY app_id LIMIT {_MOST_APPS}")


def apps_and_extents(app_id: str) -> Statement:
    """The apps that ever had a session, `app_id` among them even where they are too many to be listed, and of each the
    columns of `extent`; and one row more, with `is_whole` = 1, of all apps together, if there are any."""
    return Statement(
        "SELECT app_id, grouping(app_id) AS is_whole, toString(min(oldest)) AS oldest, toString(max(newest)) AS newest,"
        " sum(written) AS sessions FROM z_apps GROUP BY app_id WITH ROLLUP"
        f" ORDER BY is_whole DESC, app_id != {{app:String}}, app_id LIMIT {_MOST_APPS + 1}",
        {"app": app_id},
    )


def extent(app_id: str) -> Statement:
    """When an app's `oldest` and `newest` session started, and how many rows were written of its `sessions`.

    Of all apps without one. At least as many as there are sessions, and never fewer: an account of apps is read, and
    no session.
    """
    return Statement(
        "SELECT toString(min(oldest)) AS oldest, toString(max(newest)) AS newest, sum(written) AS sessions"
        " FROM z_apps" + (" WHERE app_id = {app:String}" if app_id else ""),
        {"app": app_id} if app_id else {},
    )


def at_a_glance(sessions: Statement) -> Statement:
    """Of a list of sessions the columns that fit a line of a terminal."""
    return Statement(f"SELECT {_AT_A_GLANCE} FROM ({sessions.sql})", sessions.parameters)


def session_by_id(session_id: str) -> Statement:
    """One session, all columns; no row if there is none. Raises ValueError if that is not a UUID."""
    sql = (
        f"SELECT *, {TIMES_MS} FROM sessions_of_id(id = {{session:UUID}}) WHERE session_id = {{session:UUID}}"
    )
    return Statement(sql, {"session": _uuid(session_id)})


def timeline(session_id: str, limit: int = 100_000) -> Statement:
    """The events of a session in order, as `session_timeline` has them. Raises ValueError if that is not a UUID."""
    sql = "SELECT * FROM session_timeline(session_id = {session:UUID}) LIMIT {limit:UInt32}"
    return Statement(sql, {"session": _uuid(session_id), "limit": limit})


def user_sessions(
    app_id: str,
    *,
    user_id: str | None = None,
    device_id: str | None = None,
    before: Cursor | None = None,
    limit: int = 100,
) -> Statement:
    """Sessions of a user, or of a device, of an app, newest first, from behind `before`.

    As many of the days are read as a page has rows: days on which there is a session, nearly always.
    """
    require_page(limit)
    if (user_id is None) == (device_id is None):
        raise ValueError("either a user or a device")
    # A session of several users is one of each.
    who = "device_id = {who:String}" if user_id is None else "has(user_ids, {who:String})"
    places = _DAYS_OF_DEVICE if user_id is None else _DAYS_OF_USER
    conditions = ["app_id = {app:String}", who]
    parameters: dict[str, object] = {"app": app_id, "who": device_id if user_id is None else user_id}
    if before is not None:
        places += " AND day <= {last_day:Date}"
        parameters["last_day"] = _day(before.started_at_ms)
    _go_on(before, conditions, parameters)
    days = f"SELECT DISTINCT day AS day FROM ({places}) ORDER BY day DESC LIMIT {{limit:UInt32}}"
    near = f"(toDate(started_at), device_id) IN (SELECT day, device_id FROM ({places}) WHERE day IN ({days}))"
    # A session may be gone of which there is still the place; then the days before these are read as well.
    near_count = f"(SELECT count() FROM sessions WHERE {' AND '.join([*conditions, near])})"
    far = (
        f"(toDate(started_at), device_id) IN (SELECT day, device_id FROM ({places})"
        f" WHERE {near_count} < {{limit:UInt32}} AND day NOT IN ({days}))"
    )
    return _page([*conditions, f"({near} OR {far})"], parameters, limit)


def _range(start_ms: int, end_ms: int, *, has_days: bool) -> tuple[list[str], dict[str, object]]:
    parameters: dict[str, object] = {"start": start_ms, "end": end_ms}
    if has_days:
        return [
            "started_at >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')",
            "started_at < fromUnixTimestamp64Milli({end:Int64}, 'UTC')",
        ], parameters
    # The key holds another day than the true one where no Date can hold that, and ClickHouse looks for the true one.
    # It must not look at the key.
    started_ms = "toUnixTimestamp64Milli(started_at)"
    return [f"{started_ms} >= {{start:Int64}}", f"{started_ms} < {{end:Int64}}"], parameters


def _go_on(after: Cursor | None, conditions: list[str], parameters: dict[str, object]) -> None:
    if after is None:
        return
    conditions.append(
        "(started_at, app_id, device_id, session_id) < (fromUnixTimestamp64Milli({after_ms:Int64}, 'UTC'),"
        " {after_app:String}, {after_device:String}, {after_session:UUID})"
    )
    parameters |= {
        "after_ms": after.started_at_ms,
        "after_app": after.app_id,
        "after_device": after.device_id,
        "after_session": after.session_id,
    }


def require_page(limit: int) -> None:
    """Raises ValueError for a limit that no page has."""
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"a page has 1 to {MAX_LIMIT} rows")


def _page(conditions: list[str], parameters: dict[str, object], limit: int) -> Statement:
    sql = f"{OF_VIEW} {FROM_VIEW} {' AND '.join(conditions)} ORDER BY {ORDER} LIMIT {{limit:UInt32}}"
    return Statement(sql, {**parameters, "limit": limit})


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).date().isoformat()


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except (ValueError, AttributeError):
        raise ValueError("not the id of a session") from None
