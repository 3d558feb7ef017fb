"""The cohort that an alert rule names: whose sessions it watches, and why it cannot tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.query.alerts.rules import AlertRule, require_steady
from pipeline.query.filters.messages import unknown
from pipeline.query.filters.sql import where
from pipeline.query.filters.text_form import parse, to_text
from pipeline.query.filters.tree import EVERYTHING, Filter, FilterError
from pipeline.query.saved import narrowed


@dataclass(frozen=True, slots=True)
class RuleSessions:
    """Which sessions a rule is about."""

    filter: Filter
    """Of the rule and its cohort together; with a fault it must not be used."""
    cohort_filter: str = ""
    """Of the cohort alone, in its text form; empty where the rule names none, or none was ever found."""
    fault: str = ""
    """Why the rule cannot be evaluated, in a sentence; empty where it can."""


def watched(rule: AlertRule, rows: Iterable[Mapping[str, Any]], before: str | None) -> RuleSessions:
    """By the rows of `saved.named_filters` of the rule's app.

    `before` is the filter that the cohort had at the evaluation before, None where there was none by the same rule: a
    cohort that has another one by now is a fault once, so that nobody takes two populations for one.
    """
    if not rule.cohort:
        return RuleSessions(rule.parsed)
    texts = {str(row["name"]): str(row["filter"]) for row in rows}
    if rule.cohort not in texts:
        name = unknown("cohort", rule.cohort, sorted(texts)) if texts else f"no cohort {rule.cohort!r}"
        return RuleSessions(rule.parsed, before or "", f"There is {name}: it was deleted, or never saved.")
    try:
        cohort = require_steady(parse(texts[rule.cohort]))
        if cohort == EVERYTHING:
            raise FilterError("it has no condition")
        text, found = to_text(cohort), narrowed(cohort, rule.parsed)
        where(found)
    except FilterError as error:
        return RuleSessions(rule.parsed, before or "", f"The cohort {rule.cohort!r} cannot be used: {error}.")
    if before and before != text:
        changed = f"The cohort {rule.cohort!r} was changed from `{before}` to `{text}`; the next evaluation uses that."
        return RuleSessions(found, text, changed)
    return RuleSessions(found, text)


def with_cohort(rule: AlertRule, cohort_filter: str) -> Filter:
    """The filter of a rule whose cohort has a filter. Raises FilterError where both together are too much."""
    return narrowed(parse(cohort_filter), rule.parsed)
