"""All metrics, one line each; a worker shows them to Prometheus where a port is set (`pages`)."""

from __future__ import annotations

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


class Metrics:
    """The metrics of one worker process. Cheap to make."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.records = Counter(
            "pipeline_records", "Records taken from a topic.", ["topic"], registry=registry
        )
        self.events = Counter(
            "pipeline_events", "What became of events in the fold.", ["outcome"], registry=registry
        )
        self.refused = Counter(
            "pipeline_refused", "Events or whole records refused.", ["topic", "reason"], registry=registry
        )
        self.repaired = Counter(
            "pipeline_repaired", "Events stored of which a value was repaired.", ["topic"], registry=registry
        )
        self.sampled_out = Counter(
            "pipeline_sampled_out", "Events of devices that are sampled out.", ["topic"], registry=registry
        )
        self.erased = Counter(
            "pipeline_erased", "Events that came again after they were erased.", ["topic"], registry=registry
        )
        self.rows = Counter(
            "pipeline_rows",
            "Rows emitted (sessions, event-copies) or inserted (tables).",
            ["table"],
            registry=registry,
        )
        self.insert_seconds = Histogram(
            "pipeline_insert_seconds", "Duration of inserts that succeeded.", ["table"], registry=registry
        )
        self.devices = Gauge("pipeline_devices", "Devices in this worker's state.", registry=registry)
        self.devices_set_aside = Gauge(
            "pipeline_devices_set_aside",
            "Devices whose sessions stand still, since their input cannot be folded (runbook).",
            registry=registry,
        )
        self.open_sessions = Gauge(
            "pipeline_open_sessions", "Open sessions in this worker's state.", registry=registry
        )
        self.ready = Gauge(
            "pipeline_ready", "1 while nothing keeps this worker from its work, 0 else.", registry=registry
        )
        self.build = Info("pipeline_build", "The program that runs here.", registry=registry)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
