"""Groups of crashes, ANRs and non-fatal exceptions: the list of them, and the stacks of their events.

All of it is of the sessions of an app that start in a range, as the views `crash_groups` and `crash_events` have it;
`where` limits the sessions further. `crash_group` has what is to be known of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from pipeline.formats.stacks.asking import AppBuild, missing
from pipeline.formats.stacks.shown import StackLine, shown_stack
from pipeline.formats.stacks.symbolicate import symbolicated
from pipeline.formats.stacks.symbols import Need, Symbols
from pipeline.query.session_range import chosen_sessions, range_parameters
from pipeline.query.statement import Statement

Kind = Literal["crash", "anr", "exception"]
"""Crashes and fatal exceptions; ANRs; exceptions that ended nothing."""
KINDS: tuple[Kind, ...] = get_args(Kind)
Order = Literal["sessions", "crashes", "users", "first_seen", "last_seen"]
ORDERS: tuple[Order, ...] = get_args(Order)
MOST = 200
"""Groups in a list."""

Span = tuple[str, int, int]
"""App, start and end (Unix milliseconds, the end left out)."""

RANGE = "(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})"
NUMBERS = "arrayMap(number -> toUInt64OrZero(number), extractAll(app_version, '[0-9]+'))"
"""Of a version, so that the lowest and the highest can be told."""
SUMMARY = (
    "argMax(title, (time, event_id)) AS title, argMax(culprit, (time, event_id)) AS culprit, any(kind) AS kind,"
    " count() AS crashes, uniqExact(session_id) AS sessions, uniqExactIf(user_id, user_id != '') AS users,"
    " uniqExact(device_id) AS devices, sessions / all_sessions AS session_share,"
    " min(time) AS first_seen, max(time) AS last_seen,"
    " argMinIf(app_version, (numbers, app_version), app_version != '') AS first_version,"
    " argMaxIf(app_version, (numbers, app_version), app_version != '') AS last_version"
)
"""What is counted of events, each with the NUMBERS of its version as `numbers`, beside `all_sessions`."""


def groups(
    span: Span,
    *,
    kind: Kind | None = None,
    order: Order = "sessions",
    where: Statement | None = None,
    top: int = MOST,
) -> Statement:
    """The groups, those with most sessions first; rows as of the view `crash_groups`, at most MOST."""
    events, parameters = events_of("crash_events", span, where, {"kind": kind} if kind else {})
    return Statement(
        f"WITH ({all_sessions(where)}) AS all_sessions, {NUMBERS} AS numbers"
        f" SELECT crash_group, {SUMMARY} FROM {events}"
        f" GROUP BY crash_group ORDER BY {order} DESC, crashes DESC, crash_group LIMIT {top:d}",
        parameters,
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


def events_of(
    view: str, span: Span, where: Statement | None, equal: Mapping[str, str]
) -> tuple[str, Mapping[str, object]]:
    """What follows FROM: the rows of a view whose columns are equal to these values; and its parameters."""
    limit, parameters = _limit(span, where)
    conditions = [*(f"{column} = {{m_{column}:String}}" for column in equal), limit]
    values = {f"m_{column}": value for column, value in equal.items()}
    return f"(SELECT * FROM {view}{RANGE} WHERE {' AND '.join(conditions)})", {**parameters, **values}


def _limit(span: Span, where: Statement | None) -> tuple[str, Mapping[str, object]]:
    parameters = range_parameters(*span)
    if where is None:
        return "true", parameters
    return f"session_id IN ({chosen_sessions(where, 'session_id')})", {
        **parameters,
        **where.parameters,
    }


def all_sessions(where: Statement | None) -> str:
    """How many sessions there are, whatever happened in them."""
    return f"SELECT count() FROM ({chosen_sessions(where or Statement('true'), 'session_id')})"
