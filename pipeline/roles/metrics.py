"""All metrics, one line each; a worker shows them to Prometheus where a port is set (`pages`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)

from pipeline.roles.sink.batch import Piece

_DELAYS_S = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 300, 1_800, 7_200, 86_400)


class Metrics:
    """The metrics of one worker process. Cheap to make."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._of_input(self.registry)
        self._of_inserts(self.registry)
        self._of_state(self.registry)
        self._of_work(self.registry)
        self._of_process(self.registry)

    def _of_input(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "pipeline_records", "Records taken from a topic.", ["topic"], registry=registry
        )
        self.moved = Counter(
            "pipeline_moved_records",
            "Records moved to the partition where their keys belong since partitions were added.",
            registry=registry,
        )
        self.events = Counter(
            "pipeline_events", "What became of events in the fold.", ["outcome"], registry=registry
        )
        self.refused = Counter(
            "pipeline_refused", "Events or whole records refused.", ["topic", "reason"], registry=registry
        )
        self.repaired = Counter(
            "pipeline_repaired", "Events stored with a repaired value.", ["topic"], registry=registry
        )
        self.sampled_out = Counter(
            "pipeline_sampled_out", "Events of devices that are sampled out.", ["topic"], registry=registry
        )
        self.erased = Counter(
            "pipeline_erased",
            "Events that arrived again after they were erased.",
            ["topic"],
            registry=registry,
        )
        self.rows = Counter(
            "pipeline_rows",
            "Rows emitted (sessions, event-copies) or inserted (tables).",
            ["table"],
            registry=registry,
        )

        self.left_to_python = Counter(
            "pipeline_left_to_python",
            "Records that the compiled core left to Python, which does the same more slowly, by reason. In the "
            "router these are log records, spans and events (a body that is left whole counts as one), elsewhere "
            "records of Kafka.",
            ["role", "reason"],
            registry=registry,
        )

    def _of_inserts(self, registry: CollectorRegistry) -> None:
        self.insert_seconds = Histogram(
            "pipeline_insert_seconds", "Duration of inserts that succeeded.", ["table"], registry=registry
        )
        self.insert_failures = Counter(
            "pipeline_insert_failures",
            "Inserts that ClickHouse did not accept and that are tried again, by ClickHouse's name for the cause.",
            ["table", "cause"],
            registry=registry,
        )
        self.batch_rows = Histogram(
            "pipeline_batch_rows",
            "Rows per insert.",
            ["table"],
            buckets=(1, 10, 100, 1_000, 5_000, 20_000, 50_000, 100_000, 250_000),
            registry=registry,
        )
        self.delay_seconds = Histogram(
            "pipeline_delay_seconds",
            "Time from the oldest record of an insert, by its record time, until its rows were stored.",
            ["table"],
            buckets=_DELAYS_S,
            registry=registry,
        )
        self.event_delay_seconds = Histogram(
            "pipeline_event_delay_seconds",
            "Time from the last event of the oldest record of an insert, by the device's corrected clock, until its row"
            " was stored.",
            buckets=_DELAYS_S,
            registry=registry,
        )

    def _of_state(self, registry: CollectorRegistry) -> None:
        self.devices = Gauge("pipeline_devices", "Devices in this worker's state.", registry=registry)
        self.devices_set_aside = Gauge(
            "pipeline_devices_set_aside",
            "Devices whose sessions stand still, since their input cannot be folded (runbook).",
            registry=registry,
        )
        self.open_sessions = Gauge(
            "pipeline_open_sessions", "Open sessions in this worker's state.", registry=registry
        )
        self.state_bytes = Gauge(
            "pipeline_state_bytes",
            "Bytes of this worker's state as it is kept and written; in memory it takes more.",
            registry=registry,
        )

    def _of_work(self, registry: CollectorRegistry) -> None:
        self.stage_seconds = Counter(
            "pipeline_stage_seconds",
            "Time that a role spent in each stage of its work, waiting included; partitions overlap.",
            ["role", "stage"],
            registry=registry,
        )
        self.lag_records = Gauge(
            "pipeline_lag_records",
            "Records of a topic, in this worker's partitions, that are not processed yet.",
            ["role", "topic"],
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "pipeline_lag_seconds",
            "Age of the record that was processed last, in the partition furthest behind; 0 if none is behind.",
            ["role", "topic"],
            registry=registry,
        )
        self.progressed = Gauge(
            "pipeline_last_progress_timestamp_seconds",
            "When a role of this worker last made progress, as Unix time.",
            ["role"],
            registry=registry,
        )
        self.rebalances = Gauge(
            "pipeline_rebalances",
            "How often a role of this worker was assigned partitions since it started.",
            ["role"],
            registry=registry,
        )
        self.recovering = Gauge(
            "pipeline_partitions_recovering",
            "Partitions of a role of this worker whose state or position it still has to fetch before it reads on.",
            ["role"],
            registry=registry,
        )
        self.partitions = Gauge(
            "pipeline_partitions", "Partitions that a role of this worker reads.", ["role"], registry=registry
        )

    def _of_process(self, registry: CollectorRegistry) -> None:
        self.ready = Gauge(
            "pipeline_ready",
            "1 while nothing keeps this worker from its work, otherwise 0.",
            registry=registry,
        )
        self.connected = Gauge(
            "pipeline_connected",
            "1 while a server (kafka, clickhouse) answers, otherwise 0.",
            ["to"],
            registry=registry,
        )
        self.build = Info(
            "pipeline_build",
            "The program that runs here, and its compiled core; none where that is empty.",
            registry=registry,
        )
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    @contextmanager
    def stage(self, role: str, stage: str) -> Iterator[None]:
        """Adds the time that the block takes to a stage, also where it fails."""
        began_s = time.perf_counter()
        try:
            yield
        finally:
            self.stage_seconds.labels(role, stage).inc(time.perf_counter() - began_s)

    def stored(self, table: str, pieces: Sequence[Piece], now_ms: float) -> None:
        """Count an insert that is done by now, Unix milliseconds."""
        self.batch_rows.labels(table).observe(sum(piece.row_count for piece in pieces))
        oldest_ms = min((piece.records[0].timestamp for piece in pieces if piece.records), default=now_ms)
        self.delay_seconds.labels(table).observe(max(0.0, now_ms - oldest_ms) / 1_000)
