"""Sessions in pages, newest first, and one session or user at a time.

A page goes on from the last row of the page before it, never from a count of rows passed over: what a page costs
does not depend on how deep it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from pipeline.query.filter_sql import Scope, looks_beyond_rows, where
from pipeline.query.filter_tree import Filter
from pipeline.query.operations import Ask
from pipeline.query.statement import Statement

MAX_LIMIT = 1_000
"""Rows of one page."""
_DAY_MS = 86_400_000
_GROWTH = 4
_AT_ONCE = 1_000_000
"""Grown so much, a day is longer than all that a column of times can hold."""

_TIMES_MS = (
    "toUnixTimestamp64Milli(started_at) AS started_at_ms, toUnixTimestamp64Milli(ended_at) AS ended_at_ms"
)
_ORDER = "started_at DESC, app_id DESC, device_id DESC, session_id DESC"


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

    Rows are those of `sessions` without the resource, and `started_at_ms` and `ended_at_ms`. Raises FilterError.
    """
    conditions, parameters = _range(start_ms, end_ms)
    if app_id is not None:
        conditions.append("app_id = {app:String}")
        parameters["app"] = app_id
    _go_on(after, conditions, parameters)
    if filter is not None:
        condition = where(filter, scope=Scope(app_id, start_ms))
        conditions.append(condition.sql)
        parameters |= condition.parameters
    return _page(conditions, parameters, limit)


@dataclass(frozen=True, slots=True)
class Page:
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
) -> Page:
    """A page of `session_list`, read day by day from the newest on: a page of a busy app never reads a month.

    Raises FilterError and what `ask` raises.
    """
    rows: list[dict[str, Any]] = []
    wanted = limit + 1
    # Events and other sessions of a device are read whole, however short the piece: few pieces then.
    growth = _GROWTH if filter is None or not looks_beyond_rows(filter) else _AT_ONCE
    for window_start_ms, window_end_ms in windows(start_ms, end_ms, after, growth):
        statement = session_list(
            app_id, filter, window_start_ms, window_end_ms, after, min(wanted - len(rows), MAX_LIMIT)
        )
        rows += [orjson.loads(line) for line in ask(statement.sql, statement.parameters).splitlines()]
        if len(rows) >= wanted:
            return Page(rows[:limit], Cursor.of(rows[limit - 1]))
    return Page(rows, None)


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


def session_by_id(session_id: str) -> Statement:
    """One session, all columns; no row if there is none. Raises ValueError if that is no UUID."""
    sql = f"SELECT *, {_TIMES_MS} FROM sessions WHERE session_id = {{session:UUID}}"
    return Statement(sql, {"session": _uuid(session_id)})


def timeline(session_id: str, limit: int = 100_000) -> Statement:
    """The events of a session in order, as `session_timeline` has them. Raises ValueError if that is no UUID."""
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
    """Sessions of a user, or of a device, of an app, newest first, from behind `before`."""
    if (user_id is None) == (device_id is None):
        raise ValueError("either a user or a device")
    column, value = ("device_id", device_id) if user_id is None else ("user_id", user_id)
    conditions = ["app_id = {app:String}", f"{column} = {{who:String}}"]
    parameters: dict[str, object] = {"app": app_id, "who": value}
    _go_on(before, conditions, parameters)
    return _page(conditions, parameters, limit)


def _range(start_ms: int, end_ms: int) -> tuple[list[str], dict[str, object]]:
    return [
        "started_at >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')",
        "started_at < fromUnixTimestamp64Milli({end:Int64}, 'UTC')",
    ], {"start": start_ms, "end": end_ms}


def _go_on(after: Cursor | None, conditions: list[str], parameters: dict[str, object]) -> None:
    if after is None:
        return
    conditions += [
        # The first follows from the second, but only the first is one that the key knows.
        "started_at <= fromUnixTimestamp64Milli({after_ms:Int64}, 'UTC')",
        "(started_at, app_id, device_id, session_id) < (fromUnixTimestamp64Milli({after_ms:Int64}, 'UTC'),"
        " {after_app:String}, {after_device:String}, {after_session:UUID})",
    ]
    parameters |= {
        "after_ms": after.started_at_ms,
        "after_app": after.app_id,
        "after_device": after.device_id,
        "after_session": after.session_id,
    }


def _page(conditions: list[str], parameters: dict[str, object], limit: int) -> Statement:
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"a page has 1 to {MAX_LIMIT} rows")
    sql = (
        f"SELECT * EXCEPT (resource), {_TIMES_MS} FROM sessions WHERE {' AND '.join(conditions)}"
        f" ORDER BY {_ORDER} LIMIT {{limit:UInt32}}"
    )
    return Statement(sql, {**parameters, "limit": limit})


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except (ValueError, AttributeError):
        raise ValueError("not the id of a session") from None
