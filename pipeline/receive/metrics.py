"""All metrics of `receive`, one line each."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server


class ReceiveMetrics:
    """The metrics of one process. Cheap to make; `serve` starts the page."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "pipeline_receive_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self.refused = Counter(
            "pipeline_receive_refused",
            "Requests not accepted, and events refused (which are kept as dead letters).",
            ["route", "reason"],
            registry=registry,
        )
        self.unanswered = Counter(
            "pipeline_receive_unanswered", "Clients that disconnected before they were answered.", ["route"],
            registry=registry,
        )  # fmt: skip
        self.bytes = Counter(
            "pipeline_receive_bytes",
            "Bytes of bodies, as received and as decoded.",
            ["form"],
            registry=registry,
        )
        self.events = Counter(
            "pipeline_receive_events",
            "Valid events that Kafka has.",
            ["route"],
            registry=registry,
        )
        self.kafka_seconds = Histogram(
            "pipeline_receive_kafka_seconds",
            "Time until Kafka had the records of a request.",
            registry=registry,
        )
        self.kafka_up = Gauge("pipeline_receive_kafka_up", "Whether Kafka answers.", registry=registry)
        self.in_flight = Gauge(
            "pipeline_receive_bytes_in_flight", "Bytes of bodies held in memory.", registry=registry
        )
        self.connections = Gauge("pipeline_receive_connections", "Open connections.", registry=registry)

    def watch(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Let a gauge say what is so when it is asked."""
        gauge.set_function(value)

    def serve(self, host: str, port: int) -> None:
        """Answer Prometheus from a thread of its own. Raises OSError if the port is taken."""
        start_http_server(port, addr=host, registry=self.registry)
