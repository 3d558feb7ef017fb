"""What one evaluation of a rule says of each of its groups, by what was read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.domain.alerts import NOTHING, Reading, Stand, State, advance, fail, verdict
from pipeline.query.alerts.cohorts import RuleSessions
from pipeline.query.alerts.readings import AlertScope
from pipeline.query.alerts.records import is_muted
from pipeline.query.alerts.rules import AlertRule
from pipeline.roles.alerts.rows import Evaluated


def judged(
    rule: AlertRule,
    whom: RuleSessions,
    asked: AlertScope,
    at_ms: int,
    before: Mapping[str | None, Stand],
    found: Mapping[str | None, Reading],
    muted: Sequence[Mapping[str, Any]],
) -> list[Evaluated]:
    """By group, None for all sessions: these are judged where the rule has no groups, or where it could not be
    evaluated before and that is over."""
    evaluated = []
    for group, seen in found.items():
        stand = before.get(group, Stand())
        is_own = (group is None) == (rule.by is None)
        said = verdict(rule.judgement, seen) if is_own or group is not None else State.NORMAL
        is_judged = is_own or (group is None and stand.told is not State.NORMAL)
        after, is_told = stand, False
        if is_judged:
            after, is_told = advance(stand, rule.judgement, said, is_muted=is_muted(muted, rule.name, group))
        evaluated.append(
            Evaluated(rule, whom, asked, at_ms, group, seen, said, stand, after, is_told, is_judged)
        )
    return evaluated


def failed(
    rule: AlertRule,
    whom: RuleSessions,
    asked: AlertScope,
    at_ms: int,
    before: Mapping[str | None, Stand],
    kept: Sequence[str],
    muted: Sequence[Mapping[str, Any]],
) -> list[Evaluated]:
    """Of a rule that cannot be evaluated: it is in error as a whole, and groups that are kept stay where they are."""
    stand = before.get(None, Stand())
    after, is_told = fail(stand, whom.fault, is_muted=is_muted(muted, rule.name, None))
    evaluated = [
        Evaluated(rule, whom, asked, at_ms, None, NOTHING, stand.verdict, stand, after, is_told, True)
    ]
    for group in kept:
        one = before[group]
        evaluated.append(
            Evaluated(rule, whom, asked, at_ms, group, NOTHING, one.verdict, one, one, False, True)
        )
    return evaluated
