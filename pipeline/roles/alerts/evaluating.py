"""Evaluating alert rules: in order, at aligned times, each on what was known at that time.

What a rule saw, where it stands and what is to be told go to ClickHouse in one block, so that a run that is killed
leaves either all of it or nothing. The next one goes on from what is stored and comes to the same, since nothing else
decides: times are those of ClickHouse's clock, and what is known at a time does not change any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.clickhouse.grants import server_version_and_clock
from pipeline.clickhouse.store import StatementFailed, Store
from pipeline.domain.alerts import (
    KNOWN_FOR_MS,
    NOTHING,
    WEEK_MS,
    Reading,
    Stand,
    State,
    due_times,
    follow_ups_due,
    is_worth_keeping,
    verdict,
)
from pipeline.query import saved
from pipeline.query.alerts import records as alert_records
from pipeline.query.alerts.cohorts import RuleSessions, watched, with_cohort
from pipeline.query.alerts.readings import AlertScope, of_nothing, reading, readings_of
from pipeline.query.alerts.rules import AlertRule, AlertRules
from pipeline.query.statement import Statement
from pipeline.roles.alerts.judging import failed, judged
from pipeline.roles.alerts.metrics import AlertMetrics
from pipeline.roles.alerts.rows import Change, Evaluated, row_of

log = logging.getLogger(__name__)

_REMEMBERED_MS = WEEK_MS + 2 * 86_400_000
"""So long ago a change may be that is still followed up."""


@dataclass(frozen=True, slots=True)
class Due:
    """One evaluation that is to be made."""

    at_ms: int
    rule: AlertRule


class Evaluations:
    """The rules of one file. Methods block, and raise Unreachable; after that the next call reads anew where all
    stands."""

    def __init__(
        self,
        store: Store,
        rules: AlertRules,
        metrics: AlertMetrics,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """`look` is called before each evaluation."""
        self._store, self._file, self._metrics, self._look = store, rules, metrics, look
        self._stands: dict[str, dict[str | None, Stand]] = {}
        self._last: dict[str, int] = {}
        self._cohort_filters: dict[tuple[str, str], str] = {}
        """By name and definition of a rule what its cohort was at its latest evaluation."""
        self._changes: list[Change] = []
        self._is_read = False

    AT_ONCE = 200
    """Evaluations in one call: what was missed in a week must not hold up what is to be told."""

    def catch_up(self) -> int:
        """Make all evaluations that are due, oldest first, and ask again what is known of those before; how many were
        made.

        A rule that ClickHouse cannot evaluate is tried again by the next call, and holds up no other.
        """
        _, now_ms = server_version_and_clock(self._store)
        try:
            if not self._is_read:
                self._read(now_ms)
            made, is_caught_up = self._evaluate(now_ms - self._file.settle_ms)
            self._follow_up(now_ms - self._file.settle_ms)
        except BaseException:
            # Whether the last rows are stored is not known.
            self._is_read = False
            raise
        behind = [now_ms - at_ms for at_ms in self._last.values()]
        self._metrics.behind.set(max(behind, default=0) / 1_000)
        if is_caught_up:
            self._metrics.caught_up.set(now_ms / 1_000)
        return made

    def _evaluate(self, until_ms: int) -> tuple[int, bool]:
        """How many were made, and whether none is left."""
        due = [
            Due(at_ms, rule)
            for rule in self._file.rules
            for at_ms in due_times(self._last.get(rule.name), rule.every_ms, until_ms, _known_for_ms(rule))
        ]
        made, failed = 0, set[str]()
        for each in sorted(due, key=lambda each: (each.at_ms, each.rule.name)):
            if made == self.AT_ONCE:
                break
            if each.rule.name in failed:
                continue
            self._look()
            try:
                self._evaluate_one(each.rule, each.at_ms)
                made += 1
            except StatementFailed as error:
                failed.add(each.rule.name)
                self._metrics.failures.labels(each.rule.name).inc()
                log.error("alert rule %r cannot be evaluated; it is tried again: %s", each.rule.name, error)
        return made, made == len(due)

    def _evaluate_one(self, rule: AlertRule, at_ms: int) -> None:
        before = self._stands.get(rule.name, {})
        muted = self._ask(alert_records.muted([rule.name], at_ms))
        kept = [group for group, stand in before.items() if group is not None and is_worth_keeping(stand)]
        asked = AlertScope(rule.app_id, at_ms - rule.delay_ms - rule.window_ms, at_ms - rule.delay_ms, at_ms)
        whom = self._watched(rule)
        if whom.fault:
            evaluated = failed(rule, whom, asked, at_ms, before, kept, muted)
        else:
            evaluated = judged(
                rule, whom, asked, at_ms, before, self._read_rule(rule, whom, asked, kept), muted
            )
        rows = [row_of(each, self._file.dashboard_url) for each in evaluated]
        self._store.insert(
            alert_records.ROWS, b"\n".join(orjson.dumps(row) for row in rows), token=f"{rule.name}:{at_ms}"
        )
        self._stands[rule.name] = {each.group: each.after for each in evaluated if each.is_judged}
        self._last[rule.name] = at_ms
        self._cohort_filters[rule.name, rule.definition] = whom.cohort_filter
        self._note([each for each in evaluated if each.is_judged])

    def _note(self, evaluated: Sequence[Evaluated]) -> None:
        for each in evaluated:
            self._metrics.evaluations.labels(each.after.state if each.whom.fault else each.verdict).inc()
            if each.is_told and each.whom.fault:
                log.error("alert rule %r cannot be evaluated: %s", each.rule.name, each.whom.fault)
            if each.is_told or each.before.state is not each.after.state:
                log.info(
                    "alert rule %r%s: %s, and was %s", each.rule.name,
                    "" if each.group is None else f" ({each.group})", each.after.state, each.before.state,
                )  # fmt: skip
            if each.is_told and not each.whom.fault and (each.group is None) == (each.rule.by is None):
                self._changes.append(Change.of(each))

    def _follow_up(self, until_ms: int) -> None:
        """Ask what is known by now of what was told, at the times that are set for it."""
        rules = {rule.name: rule for rule in self._file.rules}
        for change in self._changes:
            rule, last_ms = rules[change.rule], self._last[change.rule]
            # What is told of a later time comes later.
            upto_ms = until_ms if last_ms + rule.every_ms > until_ms else last_ms
            for known_ms in follow_ups_due(change.evaluated_at_ms, change.done_ms, upto_ms):
                if known_ms >= until_ms - _known_for_ms(rule):
                    self._follow_up_one(rule, change, known_ms)
                change.done_ms = known_ms
        self._changes = [each for each in self._changes if each.evaluated_at_ms > until_ms - _REMEMBERED_MS]

    def _follow_up_one(self, rule: AlertRule, change: Change, known_ms: int) -> None:
        asked = AlertScope(rule.app_id, change.from_ms, change.until_ms, known_ms)
        kept = [] if change.group is None else [change.group]
        # Of the sessions that it saw, whatever the cohort is by now.
        whom = RuleSessions(with_cohort(rule, change.cohort_filter), change.cohort_filter)
        seen = self._read_rule(rule, whom, asked, kept, week_before=change.evaluated_at_ms).get(change.group)
        seen = of_nothing(rule.metric, NOTHING) if seen is None else seen
        said = verdict(rule.judgement, seen)
        is_told = said is not change.said
        stand = Stand(state=change.state_then, verdict=change.said)
        evaluated = Evaluated(
            rule, whom, asked, change.evaluated_at_ms, change.group, seen, said, stand, stand, is_told, True, change
        )  # fmt: skip
        row = row_of(evaluated, self._file.dashboard_url)
        self._store.insert(
            alert_records.ROWS,
            orjson.dumps(row),
            token=f"{rule.name}:{change.group}:{change.evaluated_at_ms}:{known_ms}",
        )
        if is_told:
            log.info(
                "alert rule %r: for %s it is now known to be %s", rule.name, change.evaluated_at_ms, said
            )
            change.said = said

    def _read_rule(
        self,
        rule: AlertRule,
        whom: RuleSessions,
        asked: AlertScope,
        kept: Sequence[str],
        week_before: int | None = None,
    ) -> dict[str | None, Reading]:
        """What the rule sees, by group; a week before is compared as it was known then, not later."""
        rows = self._ask(reading(rule.metric, asked, whom.filter, rule.by, kept))
        before: Sequence[Mapping[str, Any]] = ()
        if rule.judgement.compare:
            then = (
                asked
                if week_before is None
                else AlertScope(asked.app_id, asked.start_ms, asked.end_ms, week_before)
            )
            before = self._ask(reading(rule.metric, then.earlier(WEEK_MS), whom.filter, rule.by, [*kept]))
        found = readings_of(rows, before)
        for group in kept:
            found.setdefault(group, NOTHING)
        return {group: of_nothing(rule.metric, seen) for group, seen in found.items()}

    def _watched(self, rule: AlertRule) -> RuleSessions:
        """Whom the rule is about, as its cohort is saved now: what it was before is kept by ClickHouse for a while
        alone."""
        rows = self._ask(saved.named_filters(rule.app_id)) if rule.cohort else []
        return watched(rule, rows, self._cohort_filters.get((rule.name, rule.definition)))

    def _read(self, now_ms: int) -> None:
        """Where each rule stands, and what of it is still to be followed up."""
        by = {rule.name: rule.by for rule in self._file.rules}
        names = list(by)
        self._stands, self._last, self._changes, self._cohort_filters = {}, {}, [], {}
        for row in self._ask(alert_records.latest(names, now_ms - KNOWN_FOR_MS)):
            self._last[row["rule"]] = int(row["evaluated_at_ms"])
            self._cohort_filters[row["rule"], row["definition"]] = row["cohort_filter"]
            stands = self._stands.setdefault(row["rule"], {})
            if row["state"]:
                stands[str(row["group"]) if row["is_group"] else None] = Stand(
                    State(row["state"]), State(row["settled"]), State(row["told"]), State(row["verdict"]),
                    int(row["times"]), row["fault_told"],
                )  # fmt: skip
        for row in self._ask(alert_records.told(names, now_ms - _REMEMBERED_MS)):
            # Of a rule with groups the whole is told of only after it could not be evaluated.
            if bool(row["is_group"]) == (by[row["rule"]] is not None):
                self._changes.append(Change.stored(row))
        self._is_read = True

    def _ask(self, statement: Statement) -> list[dict[str, Any]]:
        return [
            orjson.loads(line) for line in self._store.query(statement.sql, statement.parameters).splitlines()
        ]


def _known_for_ms(rule: AlertRule) -> int:
    """How long ago an evaluation may be that can still be made."""
    return KNOWN_FOR_MS - (WEEK_MS if rule.judgement.compare else 0)
