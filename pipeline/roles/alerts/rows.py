"""An evaluation as it is stored, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from pipeline.domain.alert_messages import iso
from pipeline.domain.alerts import Reading, Stand, State, message_id
from pipeline.query.alerts.cohorts import RuleSessions
from pipeline.query.alerts.readings import ALERT_METRICS, AlertScope
from pipeline.query.alerts.rules import AlertRule
from pipeline.query.dimensions import split
from pipeline.query.filters.text_form import to_text
from pipeline.query.session_range import time_text


@dataclass(slots=True)
class Change:
    """An evaluation that was told, of which it is asked again what is known."""

    rule: str
    group: str | None
    evaluated_at_ms: int
    from_ms: int
    until_ms: int
    value_seen: float | None
    sessions_seen: int
    said: State
    """What was said of it last."""
    state_then: State
    done_ms: int
    """Up to when it was asked what is known."""
    cohort_filter: str
    """What the rule's cohort was."""

    @classmethod
    def of(cls, evaluated: Evaluated) -> Change:
        return cls(
            evaluated.rule.name, evaluated.group, evaluated.at_ms, evaluated.asked.start_ms, evaluated.asked.end_ms,
            evaluated.seen.value, evaluated.seen.sessions, evaluated.verdict, evaluated.after.state,
            evaluated.at_ms, evaluated.whom.cohort_filter,
        )  # fmt: skip

    @classmethod
    def stored(cls, row: Mapping[str, Any]) -> Change:
        """A row of `alert_records.told`."""
        return cls(
            row["rule"], str(row["group"]) if row["is_group"] else None, int(row["evaluated_at_ms"]),
            int(row["from_ms"]), int(row["until_ms"]), row["value_seen"], int(row["sessions_seen"]),
            State(row["said"]), State(row["state_then"]), int(row["done_ms"]), row["cohort_filter"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a rule saw of one group, and where it stands before and after."""

    rule: AlertRule
    whom: RuleSessions
    asked: AlertScope
    at_ms: int
    """When the rule was evaluated; what is known may be of a later time."""
    group: str | None
    seen: Reading
    verdict: State
    before: Stand
    after: Stand
    is_told: bool
    is_judged: bool
    """Of a rule with groups those alone are: all of its sessions together are only stored."""
    followed: Change | None = None
    """Of what was told before: what this says anew of it."""

    @property
    def message_id(self) -> str:
        return message_id(self.rule.name, self.group, self.at_ms, self.asked.known_at_ms)


def row_of(each: Evaluated, dashboard_url: str) -> dict[str, Any]:
    """The row of `z_alert_rows`: the same for the same evaluation."""
    seen, rule = each.seen, each.rule
    stands = [each.after.state, each.before.state, each.after.settled, each.after.told, each.before.told]
    state, state_before, settled, told, told_before = (str(one) if each.is_judged else "" for one in stands)
    is_told = each.is_told
    return {
        "app_id": rule.app_id,
        "rule": rule.name,
        "definition": rule.definition,
        "metric": rule.metric,
        "filter": _filter(each),
        "cohort": rule.cohort,
        "cohort_filter": each.whom.cohort_filter,
        "fault": each.whom.fault,
        "fault_told": each.after.fault_told,
        "evaluated_at": time_text(each.at_ms),
        "is_group": int(each.group is not None),
        "group": each.group or "",
        "known_at": time_text(each.asked.known_at_ms),
        "window_from": time_text(each.asked.start_ms),
        "window_until": time_text(each.asked.end_ms),
        "value": seen.value,
        "numerator": seen.numerator,
        "denominator": seen.denominator,
        "sessions": seen.sessions,
        "users": seen.users,
        "value_before": seen.before,
        "sessions_before": seen.sessions_before,
        "users_before": seen.users_before,
        "verdict": str(each.verdict),
        "state": state,
        "state_before": state_before,
        "settled": settled,
        "told": told,
        "told_before": told_before,
        "times": each.after.times,
        "message_id": each.message_id if is_told else "",
        "message": orjson.dumps(message_of(each, dashboard_url)).decode() if is_told else "",
        "channels": list(rule.channels) if is_told else [],
    }


def message_of(each: Evaluated, dashboard_url: str) -> dict[str, Any]:
    """What is told, of which `domain.alert_messages` makes the body for each kind of channel."""
    rule, metric, followed = each.rule, ALERT_METRICS[each.rule.metric], each.followed
    read = {
        "value": each.seen.value,
        "numerator": each.seen.numerator,
        "denominator": each.seen.denominator,
        "sessions": each.seen.sessions,
        "users": each.seen.users,
        "before": each.seen.before,
        "known_at": iso(each.asked.known_at_ms),
    }
    told = {
        "version": 1,
        "id": each.message_id,
        "kind": "alert" if followed is None else "follow_up",
        "rule": {
            "name": rule.name, "metric": rule.metric, "label": metric.label, "unit": metric.unit,
            "filter": rule.filter, "cohort": rule.cohort, "by": rule.by, "summary": rule.summary,
            "compare": rule.judgement.compare,
        },
        "app_id": rule.app_id,
        "group": each.group,
        "evaluated_at": iso(each.at_ms),
        "evaluated_at_ms": each.at_ms,
        "known_at": iso(each.asked.known_at_ms),
        "known_at_ms": each.asked.known_at_ms,
        "window": {"from": iso(each.asked.start_ms), "until": iso(each.asked.end_ms)},
        "verdict": str(each.verdict),
        "link": link(each, dashboard_url),
    }  # fmt: skip
    if followed is None:
        state = State.ERROR if each.whom.fault else each.after.settled
        return told | {
            "state": str(state), "told_before": str(each.before.told), "saw": read, "fault": each.whom.fault,
            "fault_before": each.before.fault_told,
        }  # fmt: skip
    saw = {"value": followed.value_seen, "sessions": followed.sessions_seen}
    return told | {
        "state": str(followed.state_then), "told_before": "", "saw": saw, "now": read,
        "saw_at": iso(each.at_ms), "verdict_then": str(followed.said),
    }  # fmt: skip


def link(each: Evaluated, dashboard_url: str) -> str:
    """The sessions that the evaluation was about, on the dashboard; without any, the page of alerts. Empty where nobody
    knows where that is."""
    if not dashboard_url:
        return ""
    if each.whom.fault:
        return f"{dashboard_url}/alerts?{urlencode({'app': each.rule.app_id})}"
    query = {
        "app": each.rule.app_id,
        "filter": _filter(each),
        "from": iso(each.asked.start_ms),
        "to": iso(each.asked.end_ms),
    }
    return f"{dashboard_url}/sessions?{urlencode(query)}"


def _filter(each: Evaluated) -> str:
    """The filters of the rule, its cohort and its group; a group that no filter can name is left out."""
    rule, group = each.rule, each.group
    text = to_text(each.whom.filter) if rule.cohort else rule.filter
    found = split(rule.by) if rule.by else None
    if not group or found is None or not found.operators or "`" in found.name:
        return text
    of_group = f"`{found.name}` = {orjson.dumps(group).decode()}"
    return f"({text}) and {of_group}" if text else of_group
