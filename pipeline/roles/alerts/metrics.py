"""Metrics of `alerts run`, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class AlertMetrics:
    """The metrics of one process. Cheap to make."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.evaluations = Counter(
            "pipeline_alert_evaluations",
            "Evaluations of alert rules and their groups, by verdict.",
            ["verdict"],
            registry=self.registry,
        )
        self.failures = Counter(
            "pipeline_alert_failures",
            "Evaluations that ClickHouse could not make; they are tried again.",
            ["rule"],
            registry=self.registry,
        )
        self.caught_up = Gauge(
            "pipeline_alert_caught_up_timestamp_seconds",
            "The time up to which every rule has been evaluated, as Unix time; 0 before the first evaluation.",
            registry=self.registry,
        )
        self.behind = Gauge(
            "pipeline_alert_behind_seconds",
            "How long ago the most overdue rule was last evaluated.",
            registry=self.registry,
        )
        self.deliveries = Counter(
            "pipeline_alert_deliveries",
            "Attempts to deliver an alert, by outcome.",
            ["channel", "outcome"],
            registry=self.registry,
        )
        self.waiting = Gauge(
            "pipeline_alert_waiting", "Alerts that have not arrived yet.", ["channel"], registry=self.registry
        )
        self.unreachable = Counter(
            "pipeline_alert_unreachable",
            "How often ClickHouse could not be reached; what is due is made up for.",
            registry=self.registry,
        )
