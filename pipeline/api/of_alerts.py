"""Alert rules: where they stand, what changed, and a metric as it was known at a time."""

from __future__ import annotations

import time
from typing import Annotated

from msgspec import Meta, Struct
from starlette.concurrency import run_in_threadpool

from pipeline.api.endpoint import ApiEndpoint, ApiRange, ApiRequest
from pipeline.api.outside import Changes
from pipeline.api.parameters import ANY_APP, APP, COHORT, FILTER, Parameter, span
from pipeline.api.problem import RequestRefused
from pipeline.api.shape import Count, Removal, Time, all_shaped, shaped, time_of
from pipeline.query.alerts import records as alert_records
from pipeline.query.alerts.readings import ALERT_METRICS, AlertScope, reading
from pipeline.query.filters.times import duration_of

_DAY_MS = 86_400_000
_STANDS_DAYS = 8
"""As on the page: a rule that was not evaluated for so long is none any more."""
_KNOWN_DAYS = 30
_DAYS = 7
_MOST = 500
_LONGEST_NAME = 500
"""Characters."""
_LONGEST_MUTE_DAYS = 400


class ApiAlert(Struct, kw_only=True):
    """Where a rule, or one group of it, stands by its latest evaluation."""

    app_id: str
    rule: str
    is_of_group: bool
    group: str
    metric: str
    filter: str
    """Of the rule, its cohort and its group together."""
    cohort: str
    """The name of the saved filter that the rule names; empty for none."""
    fault: str
    """Why it could not be evaluated, such as a cohort that was deleted; empty where it was."""
    state: str
    """`normal`, `warning`, `error`, `no data` or `muted`; empty for the whole of a rule that is of groups alone."""
    evaluated_at: Time
    window_from: Time
    window_until: Time
    value: float | None
    numerator: float | None
    denominator: float | None
    sessions: Count
    users: Count
    value_before: float | None
    """Of a week before."""


class ApiMute(Struct, kw_only=True):
    """A rule, or one group of it, that is muted for a while."""

    rule: str
    is_of_group: bool
    group: str
    reason: str
    muted_until: Time


class ApiAlerts(Struct, kw_only=True):
    """All rules."""

    items: list[ApiAlert]
    mutes: list[ApiMute]
    """Of the rules that are listed."""


class AlertChange(Struct, kw_only=True):
    """An evaluation that changed a state or sent an alert: what it saw, and what is now known of the same sessions."""

    app_id: str
    rule: str
    is_of_group: bool
    group: str
    metric: str
    filter: str
    cohort: str
    fault: str
    """Why it could not be evaluated; empty where it was."""
    evaluated_at: Time
    window_from: Time
    window_until: Time
    state: str
    state_before: str
    verdict_seen: str
    value_seen: float | None
    numerator_seen: float | None
    denominator_seen: float | None
    verdict_known: str
    value_known: float | None
    numerator_known: float | None
    denominator_known: float | None
    known_at: Time
    """When it was last asked what is known."""


class AlertChanges(Struct, kw_only=True):
    """Newest first."""

    items: list[AlertChange]


class KnownReading(Struct, kw_only=True):
    """A metric of all sessions, or of a group of them."""

    is_group: bool
    group: str
    value: float | None
    numerator: float | None
    denominator: float | None
    sessions: Count
    users: Count


class KnownAt(Struct, kw_only=True):
    """A metric as it was known at a time, and as it is known now."""

    range: ApiRange
    filter: str
    metric: str
    known_at: Time
    known: list[KnownReading]
    """Of all sessions, then of groups, those with most sessions first."""
    known_now: list[KnownReading]


async def alerts(asked: ApiRequest) -> ApiAlerts:
    """Of an app, or of all that the key may see."""
    app, now_ms = _app(asked), _now_ms()
    rows = await asked.reader.rows(
        alert_records.states(app, now_ms - _STANDS_DAYS * _DAY_MS, now_ms + _DAY_MS)
    )
    rule, seen = asked.values["rule"], [row for row in rows if asked.may_see(row["app_id"])]
    items = [row for row in seen if rule in (None, row["rule"])]
    if rule is not None and not items:
        raise _no_rule(rule)
    known = {row["rule"] for row in items}
    mutes = [row for row in await asked.reader.rows(alert_records.mutes_at(now_ms)) if row["rule"] in known]
    return ApiAlerts(items=all_shaped(ApiAlert, items), mutes=all_shaped(ApiMute, mutes))


async def changes(asked: ApiRequest) -> AlertChanges:
    """In so many days."""
    now_ms = _now_ms()
    start_ms = now_ms - asked.values["days"] * _DAY_MS
    rows = await asked.reader.rows(alert_records.transitions(_app(asked), start_ms, now_ms + _DAY_MS, _MOST))
    rule = asked.values["rule"]
    return AlertChanges(
        items=[
            shaped(AlertChange, row)
            for row in rows
            if asked.may_see(row["app_id"]) and rule in (None, row["rule"])
        ]
    )


async def known_at(asked: ApiRequest) -> KnownAt:
    """Beside what is known now."""
    looked, metric, now_ms = await asked.looked(_DAYS), asked.values["metric"], _now_ms()
    at_ms, by = asked.values["at"], asked.values["by"]
    if not now_ms - _KNOWN_DAYS * _DAY_MS <= at_ms <= now_ms:
        raise RequestRefused(
            "bad-request", f"`at` must be within the last {_KNOWN_DAYS} days: nothing older is kept.",
            {"parameter": "at"},
        )  # fmt: skip
    told = []
    for ms in (at_ms, now_ms):
        scope = AlertScope(looked.app, looked.start_ms, looked.end_ms, ms)
        try:
            told.append(await asked.reader.rows(reading(metric, scope, looked.filter, by)))
        except ValueError as error:
            raise RequestRefused("bad-request", f"`by`: {error}"[:400], {"parameter": "by"}) from None
    then, now = (all_shaped(KnownReading, rows) for rows in told)
    return KnownAt(
        range=looked.range,
        filter=looked.text,
        metric=metric,
        known_at=time_of(at_ms),
        known=then,
        known_now=now,
    )


class MuteToSet(Struct, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """What to mute for a while."""

    rule: Annotated[str, Meta(min_length=1, max_length=_LONGEST_NAME)]
    for_: Annotated[str, Meta(max_length=40, examples=["2h", "3d"], description="How long, at most 400d.")]
    group: Annotated[str, Meta(max_length=_LONGEST_NAME, description="Only this group.")] | None = None
    reason: Annotated[str, Meta(max_length=1_000, description="Why, for other people.")] = ""


async def mute(asked: ApiRequest) -> ApiMute:
    """From now on."""
    given: MuteToSet = asked.body
    duration = duration_of(given.for_)
    if duration is None or not 0 < duration <= _LONGEST_MUTE_DAYS * _DAY_MS:
        raise RequestRefused(
            "bad-request",
            f"for: {given.for_!r} is not a duration such as 2h or 3d, at most {_LONGEST_MUTE_DAYS}d.",
            {"parameter": "for"},
        )
    await _require_rule(asked, given.rule)
    changes = _changes(asked)
    return shaped(
        ApiMute, await run_in_threadpool(changes.mute, given.rule, given.group, int(duration), given.reason)
    )


async def unmute(asked: ApiRequest) -> Removal:
    """Of the rule or of the same group."""
    rule, group = asked.values["rule"], asked.values["group"]
    await _require_rule(asked, rule)
    rows = await asked.reader.rows(alert_records.mutes_at(_now_ms(), rule))
    was_there = any((row["group"] if row["is_of_group"] else None) == group for row in rows)
    if was_there:
        await run_in_threadpool(_changes(asked).mute, rule, group, 0, "")
    return Removal(name=rule, was_there=was_there)


async def _require_rule(asked: ApiRequest, rule: str) -> None:
    """Raises `Refused` for a rule that nobody evaluates, or one of another app than the key's."""
    now_ms = _now_ms()
    rows = await asked.reader.rows(
        alert_records.states("", now_ms - _STANDS_DAYS * _DAY_MS, now_ms + _DAY_MS)
    )
    apps = {row["app_id"] for row in rows if row["rule"] == rule}
    if not apps or not all(asked.may_see(app) for app in apps):
        raise _no_rule(rule)


def _no_rule(rule: str) -> RequestRefused:
    return RequestRefused(
        "not-found", f"No rule “{rule[:80]}” was evaluated in the last {_STANDS_DAYS} days."
    )


def _changes(asked: ApiRequest) -> Changes:
    if asked.outside.changes is None:
        raise RequestRefused("not-allowed", "Nothing can be changed here.")
    return asked.outside.changes


def _app(asked: ApiRequest) -> str:
    app = asked.values["app"]
    return asked.require_app(app) if app else ""


def _now_ms() -> int:
    return int(time.time() * 1_000)


_RULE = Parameter("rule", "Only this rule.", least=1)
ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/alerts", "listAlerts", "Where alert rules stand, and what is muted", ApiAlerts, alerts, (ANY_APP, _RULE),
        "As of the latest evaluation of each; what was not evaluated for eight days is left out.", "Alerts",
    ),
    ApiEndpoint(
        "/alerts/changes", "listAlertChanges", "What changed or was reported: as seen then, and as known now",
        AlertChanges, changes,
        (ANY_APP, _RULE, Parameter("days", "How many days of evaluations.", "whole", least=1, most=30, default=7)),
        f"Newest first, at most {_MOST}.", "Alerts",
    ),
    ApiEndpoint(
        "/alerts/mutes", "muteAlert", "Mute a rule, or one group of it, for a while", ApiMute, mute,
        about="It is still evaluated, and what lasts is reported afterwards. Same as `session-pipeline alerts mute`.",
        group="Alerts", method="POST", takes=MuteToSet,
    ),
    ApiEndpoint(
        "/alerts/mutes", "unmuteAlert", "Unmute a rule, or the same group of it", Removal, unmute,
        (
            Parameter("rule", "The name of the rule.", least=1, is_required=True),
            Parameter("group", "Only this group."),
        ),
        group="Alerts", method="DELETE",
    ),
    ApiEndpoint(
        "/known-at", "getKnownAt", "A metric as it was known at a time, beside what is known now", KnownAt, known_at,
        (
            APP, FILTER, COHORT, *span(f"{_DAYS} days before the newest session"),
            Parameter("metric", "Which.", "choice", tuple(ALERT_METRICS), default="crash_free_sessions"),
            Parameter("at", "When it was known: a time within the last 30 days.", "time", is_required=True,
                      example="-1d"),
            Parameter("by", "What it is split by, as in /metrics.", least=1, most=220),
        ),
        "Where a filter looks at events, it looks at those that are stored now.", "Alerts",
    ),
)  # fmt: skip
