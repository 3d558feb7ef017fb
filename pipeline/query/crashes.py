"""Groups of crashes, ANRs and non-fatal exceptions: the list of them, and what is to be known of one.

All of it is of the sessions of an app that start in a range, as the views `crash_groups`, `crash_events` and
`crash_paths` have it; `where` limits the sessions further.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from pipeline.formats.stacks.asking import AppBuild, missing
from pipeline.formats.stacks.shown import StackLine, shown_stack
from pipeline.formats.stacks.symbolicate import symbolicated
from pipeline.formats.stacks.symbols import Need, Symbols
from pipeline.query.metric_definitions import bucket_start
from pipeline.query.session_range import chosen_sessions, range_parameters
from pipeline.query.statement import Statement

Kind = Literal["crash", "anr", "exception"]
"""Crashes and fatal exceptions; ANRs; exceptions that ended nothing."""
KINDS: tuple[Kind, ...] = get_args(Kind)
Order = Literal["sessions", "crashes", "users", "first_seen", "last_seen"]
ORDERS: tuple[Order, ...] = get_args(Order)
MOST = 200
"""Groups in a list."""
_MOST_SPREAD = 12
"""Values of a dimension."""
_MOST_SESSIONS = 25

Span = tuple[str, int, int]
"""App, start and end (Unix milliseconds, the end left out)."""

_RANGE = "(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})"
_NUMBERS = "arrayMap(number -> toUInt64OrZero(number), extractAll(app_version, '[0-9]+'))"
_SUMMARY = (
    "argMax(title, (time, event_id)) AS title, argMax(culprit, (time, event_id)) AS culprit, any(kind) AS kind,"
    " count() AS crashes, uniqExact(session_id) AS sessions, uniqExactIf(user_id, user_id != '') AS users,"
    " uniqExact(device_id) AS devices, sessions / all_sessions AS session_share,"
    " min(time) AS first_seen, max(time) AS last_seen,"
    f" argMinIf(app_version, ({_NUMBERS}, app_version), app_version != '') AS first_version,"
    f" argMaxIf(app_version, ({_NUMBERS}, app_version), app_version != '') AS last_version"
)


def groups(
    span: Span,
    *,
    kind: Kind | None = None,
    order: Order = "sessions",
    where: Statement | None = None,
    top: int = MOST,
) -> Statement:
    """The groups, those with most sessions first; rows as of the view `crash_groups`, at most MOST."""
    events, parameters = _events("crash_events", span, where, {"kind": kind} if kind else {})
    return Statement(
        f"WITH ({_all_sessions(where)}) AS all_sessions"
        f" SELECT crash_group, {_SUMMARY} FROM {events}"
        f" GROUP BY crash_group ORDER BY {order} DESC, crashes DESC, crash_group LIMIT {top:d}",
        parameters,
    )


def spread(span: Span, group: str, *, where: Statement | None = None) -> Statement:
    """One group whole and by dimensions: rows `part` (`all`, `version`, `os`, `model`, `persona`, `user`), `value` and
    `more` (of `os` its version), and the columns of `groups`. Of each part those with most sessions."""
    events, parameters = _events("crash_events", span, where, {"crash_group": group})
    return Statement(
        f"WITH ({_all_sessions(where)}) AS all_sessions"
        f" SELECT spread.1 AS part, spread.2 AS value, spread.3 AS more, {_SUMMARY} FROM {events}"
        " ARRAY JOIN arrayConcat([('all', '', ''), ('version', toString(app_version), ''),"
        " ('os', toString(os_name), toString(os_version)), ('model', toString(device_model), '')],"
        " arrayMap(persona -> ('persona', toString(persona), ''), if(empty(personas), [''], personas)),"
        " if(user_id = '', [], [('user', user_id, '')])) AS spread"
        f" GROUP BY part, value, more ORDER BY part, sessions DESC, crashes DESC, value, more"
        f" LIMIT {_MOST_SPREAD} BY part",
        parameters,
    )


def days(span: Span, group: str, *, where: Statement | None = None) -> Statement:
    """One group by day (of the context's time zone, by the start of the session) and version: `bucket_ms`, `group` (the
    version), `crashes`, `sessions`."""
    events, parameters = _events("z_session_crashes", span, where, {"crash_group": group})
    return Statement(
        f"SELECT toInt64(toUnixTimestamp({bucket_start('day', 'session_started_at')})) * 1000 AS bucket_ms,"
        " app_version AS `group`,"
        f" count() AS crashes, uniqExact(session_id) AS sessions FROM {events}"
        " GROUP BY bucket_ms, `group` ORDER BY bucket_ms, `group`",
        parameters,
    )


def sessions_of(span: Span, group: str, *, where: Statement | None = None) -> Statement:
    """The sessions in which something of a group came last: `session_id`, `last_time`, `last_event_id`, `crashes`,
    `user_ids`, `app_version`, `os_name`, `os_version`, `device_model`; newest first."""
    events, parameters = _events("z_session_crashes", span, where, {"crash_group": group})
    return Statement(
        "SELECT session_id, max(c.time) AS last_time, argMax(c.event_id, (c.time, c.event_id)) AS last_event_id,"
        " count() AS crashes, any(user_ids) AS user_ids, any(app_version) AS app_version, any(os_name) AS os_name,"
        f" any(os_version) AS os_version, any(device_model) AS device_model FROM {events} AS c"
        f" GROUP BY session_id ORDER BY last_time DESC, session_id LIMIT {_MOST_SESSIONS}",
        parameters,
    )


def latest(span: Span, group: str, *, where: Statement | None = None) -> Statement:
    """The event of a group that came last: `event_id`, `time`, `attributes`, `resource`."""
    events, parameters = _events("z_session_crashes", span, where, {"crash_group": group})
    return Statement(
        "SELECT event_id, time, attributes, JSONExtract(resource_json, 'Map(String, String)') AS resource"
        " FROM z_stored_events WHERE app_id = {m_app:String}"
        " AND (toDate32(raw_time), device_id, event_id) IN"
        f" (SELECT toDate32(raw_time), device_id, event_id FROM {events} ORDER BY time DESC, event_id DESC LIMIT 1)",
        parameters,
    )


def paths(span: Span, group: str, *, where: Statement | None = None) -> Statement:
    """What was done before, in the newest sessions of a group: `session_id`, `steps` (the latest first)."""
    limit, parameters = _limit(span, where)
    return Statement(
        "SELECT session_id, steps FROM crash_paths(app_id = {m_app:String}, from = {m_from:String},"
        f" until = {{m_until:String}}, crash_group = {{m_group:String}}) WHERE {limit}",
        {**parameters, "m_group": group},
    )


class ReadStack(NamedTuple):
    """A stack as far as it can be read."""

    lines: list[StackLine]
    """Each with whether it is a call of the app's own code, and how it came where symbols tell more."""
    missing: list[Need]
    """The files without which some of it cannot be read."""


def read_stack(
    app_id: str, resource: Mapping[str, str], attributes: Mapping[str, str], symbols: Symbols | None
) -> ReadStack:
    """The stack of an event, in the words of the source as far as there are files for it. Raises as `symbols` does."""
    told = symbolicated(AppBuild.of(app_id, resource), attributes, symbols)
    return ReadStack(shown_stack(app_id, told.attributes, told.raw), missing(told.asked))


def groups_of_events(app_id: str, device_id: str, start_ms: int, end_ms: int) -> Statement:
    """Which events of a device have a group, of those in a span (Unix milliseconds, the end left out): `event_id`,
    `crash_group`, `title`, `culprit`."""
    return Statement(
        "SELECT event_id, crash_group, title, culprit FROM z_crashes"
        " WHERE app_id = {app:String} AND device_id = {device:String}"
        " AND time >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')"
        " AND time < fromUnixTimestamp64Milli({end:Int64}, 'UTC')"
        " AND toDate32(raw_time) IN (SELECT raw_day FROM z_device_days WHERE app_id = {app:String}"
        " AND device_id = {device:String} AND day >= toDate32(fromUnixTimestamp64Milli({start:Int64}, 'UTC'))"
        " AND day <= toDate32(fromUnixTimestamp64Milli({end:Int64}, 'UTC')))",
        {"app": app_id, "device": device_id, "start": start_ms, "end": end_ms},
    )


def _events(
    view: str, span: Span, where: Statement | None, equal: Mapping[str, str]
) -> tuple[str, Mapping[str, object]]:
    """What follows FROM: the rows of a view whose columns are equal to these values; and its parameters."""
    limit, parameters = _limit(span, where)
    conditions = [*(f"{column} = {{m_{column}:String}}" for column in equal), limit]
    values = {f"m_{column}": value for column, value in equal.items()}
    return f"(SELECT * FROM {view}{_RANGE} WHERE {' AND '.join(conditions)})", {**parameters, **values}


def _limit(span: Span, where: Statement | None) -> tuple[str, Mapping[str, object]]:
    parameters = range_parameters(*span)
    if where is None:
        return "true", parameters
    return f"session_id IN (SELECT session_id FROM ({chosen_sessions(where)}))", {
        **parameters,
        **where.parameters,
    }


def _all_sessions(where: Statement | None) -> str:
    return f"SELECT count() FROM ({chosen_sessions(where or Statement('true'))})"
