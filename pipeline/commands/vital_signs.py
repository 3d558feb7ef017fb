"""What a worker tells of itself all the time: gauges, and a line a minute."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence

from pipeline.clickhouse.store import Store
from pipeline.roles.metrics import Metrics
from pipeline.streaming.faust_app import BatchApp
from pipeline.streaming.readiness import kafka_fault

logger = logging.getLogger(__name__)

_SUMMARY_S = 60.0
_REASONS_TOLD = 5
_SLOW_S = 1.0
"""An insert that takes longer is slow."""
_SLOW_SHARE = 0.5
"""Of the time: what inserts may take before it is told."""


class VitalSigns:
    """Brings the gauges of a worker up to date, from its event loop."""

    def __init__(self, metrics: Metrics, apps: Sequence[tuple[str, BatchApp]], storing: Store) -> None:
        self._metrics = metrics
        self._apps = apps
        self._storing = storing
        self._failures: Counter[tuple[str, str]] = Counter()
        self._said_s = time.monotonic()
        self._records: dict[str, int] = {}
        self._refused: Counter[tuple[str, str]] = Counter()
        """By topic and reason."""
        self._inserts: tuple[float, float] = (0.0, 0.0)
        """How many were done, and how many seconds they took."""
        self._told: dict[str, set[str]] = {}
        """Topics by role, of which there are gauges."""

    def look(self) -> None:
        """Of every role; a line in the log once a minute."""
        serves = [not kafka_fault(app) for _, app in self._apps]
        self._metrics.connected.labels("kafka").set(all(serves))
        for role, app in self._apps:
            if app.started:
                self._look_at(role, app)
        for (table, cause), count in self._storing.failures.copy().items():
            new = count - self._failures[table, cause]
            self._failures[table, cause] = count
            self._metrics.insert_failures.labels(table, cause).inc(new)
        if (passed_s := time.monotonic() - self._said_s) >= _SUMMARY_S:
            self._said_s += passed_s
            for role, app in self._apps:
                if app.started:
                    logger.info("%s", self._summary(role, app, passed_s))
            self._tell_of_refusals(passed_s)

    def _look_at(self, role: str, app: BatchApp) -> None:
        consumer, metrics = app.consumer, self._metrics
        assignment = consumer.assignment_in_force
        found = consumer.vitals.behind(assignment, consumer.ends)
        for topic, behind in found.items():
            metrics.lag_records.labels(role, topic).set(behind.records)
            metrics.lag_seconds.labels(role, topic).set(behind.seconds)
        # Whoever has these partitions now tells of them.
        for topic in self._told.get(role, set()) - found.keys():
            metrics.lag_records.remove(role, topic)
            metrics.lag_seconds.remove(role, topic)
        self._told[role] = set(found)
        metrics.progressed.labels(role).set(consumer.vitals.progressed_s)
        metrics.rebalances.labels(role).set(consumer.vitals.rebalances)
        partitions = assignment.partitions if assignment and assignment.open else frozenset()
        waiting = assignment.waiting if assignment else frozenset()
        recovering = sum(tp.partition in waiting for tp in partitions)
        metrics.partitions.labels(role).set(len(partitions) - recovering)
        metrics.recovering.labels(role).set(recovering)

    def _summary(self, role: str, app: BatchApp, passed_s: float) -> str:
        """What a role has done in the minute."""
        consumer = app.consumer
        behind = consumer.vitals.behind(consumer.assignment_in_force, consumer.ends)
        left = sum(each.records for each in behind.values())
        late_s = max((each.seconds for each in behind.values()), default=0.0)
        done, count = consumer.vitals.records, self._records.get(role, 0)
        self._records[role] = done
        new = done - count
        lag = f"{left} records behind, the oldest of {late_s:.0f} s ago" if left else "nothing waits"
        slow = self._slow_inserts(passed_s) if role == "sink" else ""
        return (
            f"{role}: {new} records in {passed_s:.0f} s ({new / passed_s:.0f}/s), {len(behind)} topics, {lag}, "
            f"{consumer.vitals.rebalances} assignments since it began{slow}"
        )

    def _tell_of_refusals(self, passed_s: float) -> None:
        """Of the minute, by topic and reason, the most first."""
        before, self._refused = self._refused, Counter[tuple[str, str]]()
        for family in self._metrics.refused.collect():
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    self._refused[sample.labels["topic"], sample.labels["reason"]] = int(sample.value)
        if new := (self._refused - before).most_common(_REASONS_TOLD):
            told = ", ".join(f"{count} on {topic} ({reason})" for (topic, reason), count in new)
            logger.warning(
                "refused in %.0f s: %s. `session-pipeline dead-letters list` says more", passed_s, told
            )

    def _slow_inserts(self, passed_s: float) -> str:
        """Of a minute in which ClickHouse was waited for most of the time, what it took."""
        before, sums = self._inserts, Counter[str]()
        for family in self._metrics.insert_seconds.collect():
            for sample in family.samples:
                sums[sample.name.rpartition("_")[2]] += sample.value  # type: ignore[assignment]
        self._inserts = sums["count"], sums["sum"]
        count, seconds = (now - was for now, was in zip(self._inserts, before, strict=True))
        if seconds < passed_s * _SLOW_SHARE or seconds < count * _SLOW_S:
            return ""
        return f". ClickHouse is slow: {count:.0f} inserts took {seconds / count:.1f} s each"
