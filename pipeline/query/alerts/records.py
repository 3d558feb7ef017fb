"""What is stored of alerts: where rules stand, what is still to be told, and what somebody muted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.query.session_range import time_text
from pipeline.query.statement import Statement

ROWS, DELIVERIES, MUTES = "z_alert_rows", "z_alert_delivery_rows", "z_alert_mute_rows"
"""The tables that the role and the command fill."""


def latest(rules: Sequence[str], since_ms: int) -> Statement:
    """The rows of the latest evaluation of each rule since a time (Unix ms): `rule`, `evaluated_at_ms`, `is_group`,
    `group`, what its cohort was (`definition`, `cohort_filter`), and the columns of a stand (`state`, `settled`,
    `told`, `verdict`, `times`, `fault_told`)."""
    return Statement(
        "SELECT rule, toUnixTimestamp64Milli(evaluated_at) AS evaluated_at_ms, is_group, `group`, state, settled, told,"
        f" verdict, times, fault_told, definition, cohort_filter FROM {ROWS} FINAL"
        " WHERE rule IN {a_rules:Array(String)} AND known_at = evaluated_at AND"
        f" (rule, evaluated_at) IN (SELECT rule, max(evaluated_at) FROM {ROWS} WHERE rule IN {{a_rules:Array(String)}}"
        " AND known_at = evaluated_at AND evaluated_at >= toDateTime64({a_since:String}, 3, 'UTC') GROUP BY rule)",
        {"a_rules": list(rules), "a_since": time_text(since_ms)},
    )


def told(rules: Sequence[str], since_ms: int) -> Statement:
    """Evaluations since a time that were told, oldest first: what follow-ups need, and `done_ms`, up to when it was
    asked what is known by then, with `said`, the verdict that was told of it last. That a rule could not be evaluated
    is none of them."""
    return Statement(
        "SELECT rule, is_group, `group`, toUnixTimestamp64Milli(any(window_from)) AS from_ms,"
        " toUnixTimestamp64Milli(any(window_until)) AS until_ms,"
        " toUnixTimestamp64Milli(r.evaluated_at) AS evaluated_at_ms,"
        " toUnixTimestamp64Milli(max(r.known_at)) AS done_ms, argMin(tuple(r.value), r.known_at).1 AS value_seen,"
        " argMin(r.sessions, r.known_at) AS sessions_seen, argMin(r.state, r.known_at) AS state_then,"
        " any(r.cohort_filter) AS cohort_filter,"
        f" argMaxIf(r.verdict, r.known_at, r.message_id != '') AS said FROM {ROWS} AS r FINAL"
        " WHERE rule IN {a_rules:Array(String)} AND r.evaluated_at >= toDateTime64({a_since:String}, 3, 'UTC')"
        " GROUP BY rule, is_group, `group`, r.evaluated_at"
        " HAVING countIf(r.known_at = r.evaluated_at AND r.message_id != '' AND r.fault = '') > 0"
        " ORDER BY r.evaluated_at, rule, is_group, `group`",
        {"a_rules": list(rules), "a_since": time_text(since_ms)},
    )


def waiting(since_ms: int) -> Statement:
    """What is told and did not arrive yet, of evaluations since a time, oldest first: `message_id`, `message`,
    `channel`, `stream` (what must stay in order), `attempts`, `first_ms` (of the first try, 0 if none) and
    `next_ms`."""
    return Statement(
        "SELECT m.message_id AS message_id, m.message AS message, m.channel AS channel, m.stream AS stream,"
        " d.attempts AS attempts, toUnixTimestamp64Milli(d.first_at) AS first_ms,"
        " toUnixTimestamp64Milli(d.next_at) AS next_ms FROM"
        " (SELECT message_id, message, arrayJoin(channels) AS channel, known_at,"
        f" concat(rule, '\\0', toString(is_group), `group`) AS stream FROM {ROWS} FINAL WHERE message_id != ''"
        " AND known_at >= toDateTime64({a_since:String}, 3, 'UTC')"
        " AND evaluated_at >= toDateTime64({a_since:String}, 3, 'UTC') - INTERVAL 8 DAY) AS m"
        " LEFT JOIN (SELECT message_id, channel, max(attempt) AS attempts, min(tried_at) AS first_at,"
        " argMax(next_at, attempt) AS next_at, countIf(outcome != 'failed') AS ended"
        f" FROM {DELIVERIES} FINAL GROUP BY message_id, channel) AS d"
        " ON m.message_id = d.message_id AND m.channel = d.channel"
        " WHERE d.ended = 0 ORDER BY m.known_at, m.message_id, m.channel",
        {"a_since": time_text(since_ms)},
    )


def muted(rules: Sequence[str], at_ms: int) -> Statement:
    """What of these rules was muted at a time, as it was known then: rows `rule`, `is_group`, `group`."""
    return Statement(
        "SELECT rule, is_group, `group` FROM"
        f" (SELECT * FROM {MUTES} WHERE rule IN {{a_rules:Array(String)}}"
        " AND written_at <= toDateTime64({a_at:String}, 3, 'UTC')"
        " ORDER BY written_at DESC LIMIT 1 BY rule, is_group, `group`)"
        " WHERE muted_from <= toDateTime64({a_at:String}, 3, 'UTC')"
        " AND muted_until > toDateTime64({a_at:String}, 3, 'UTC')",
        {"a_rules": list(rules), "a_at": time_text(at_ms)},
    )


def is_muted(rows: Iterable[Mapping[str, Any]], rule: str, group: str | None) -> bool:
    """Whether one of these rows mutes a rule with all of its groups, or this one."""
    return any(
        row["rule"] == rule and (not row["is_group"] or row["group"] == group)
        for row in rows
        if group is not None
    ) or any(row["rule"] == rule and not row["is_group"] for row in rows)


def states(app_id: str, start_ms: int, end_ms: int) -> Statement:
    """Where the rules of an app (of all if it is empty) stand, by evaluations in a range: the rows of
    `alert_states`."""
    return Statement(
        "SELECT *, toUnixTimestamp64Milli(evaluated_at) AS evaluated_at_ms,"
        " toUnixTimestamp64Milli(window_from) AS from_ms, toUnixTimestamp64Milli(window_until) AS until_ms"
        " FROM alert_states(app_id = {a_app:String},"
        " from = {a_from:String}, until = {a_until:String}) ORDER BY app_id, rule, is_of_group, `group`",
        {"a_app": app_id, "a_from": time_text(start_ms), "a_until": time_text(end_ms)},
    )


def transitions(app_id: str, start_ms: int, end_ms: int, limit: int) -> Statement:
    """The rows of `alert_transitions`, newest first."""
    return Statement(
        "SELECT *, toUnixTimestamp64Milli(evaluated_at) AS evaluated_at_ms,"
        " toUnixTimestamp64Milli(window_from) AS from_ms,"
        " toUnixTimestamp64Milli(window_until) AS until_ms, toUnixTimestamp64Milli(t.known_at) AS known_at_ms"
        " FROM alert_transitions(app_id = {a_app:String}, from = {a_from:String}, until = {a_until:String}) AS t"
        " ORDER BY evaluated_at DESC, rule, is_of_group, `group` LIMIT {a_limit:UInt32}",
        {"a_app": app_id, "a_from": time_text(start_ms), "a_until": time_text(end_ms), "a_limit": limit},
    )


def mutes_at(at_ms: int, rule: str = "") -> Statement:
    """What is muted at a time, of all rules or of one, as is known now: rows of `alert_mutes`."""
    return Statement(
        "SELECT rule, is_of_group, `group`, reason, muted_until FROM alert_mutes"
        " WHERE muted_until > toDateTime64({a_at:String}, 3, 'UTC') AND {a_rule:String} IN ('', rule)"
        " ORDER BY rule, is_of_group, `group` LIMIT 100",
        {"a_at": time_text(at_ms), "a_rule": rule},
    )
