"""All metrics, one line each; exposed by a worker for Prometheus where a port is set."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server


class Metrics:
    """The metrics of one worker process. Cheap to make; `serve` starts the page."""

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

    def serve(self, host: str, port: int) -> None:
        """Answer Prometheus from a thread of its own. Raises OSError if the port is taken."""
        start_http_server(port, addr=host, registry=self.registry)
