"""The SDK of OpenTelemetry for Python, telling of a life: loggers and tracers of its own making, its exporters, its
batches."""

from __future__ import annotations

from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from tests.support.lives import Deed, Life
from tests.support.writers import otlp


def tell_over_http(life: Life, base: str) -> None:
    """Tell a life to an OTLP/HTTP receiver (`http://host:port`), gzipped; returns once all is answered."""
    _tell(
        life,
        HttpLogs(endpoint=f"{base}/v1/logs", compression=Compression.Gzip),
        HttpSpans(endpoint=f"{base}/v1/traces", compression=Compression.Gzip),
    )


def tell_over_grpc(life: Life, address: str) -> None:
    """Tell a life to an OTLP/gRPC receiver (`host:port`); returns once all is answered."""
    _tell(life, GrpcLogs(endpoint=address, insecure=True), GrpcSpans(endpoint=address, insecure=True))


def _tell(life: Life, logs: Any, spans: Any) -> None:
    """Each release of the app is a process with providers of its own."""
    by_version: dict[str, list[Deed]] = {}
    for deed in life.deeds:
        by_version.setdefault(deed.version, []).append(deed)
    processors: tuple[Any, Any] = (BatchLogRecordProcessor(logs), BatchSpanProcessor(spans))
    for deeds in by_version.values():
        resource = Resource.create(otlp.resource_of(life, deeds[0]))
        loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        loggers.add_log_record_processor(processors[0])
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(processors[1])
        for deed in deeds:
            if otlp.is_span(deed):
                _span(life, deed, tracers.get_tracer("app"))
            else:
                _log(life, deed, loggers.get_logger("app"))
    for processor in processors:
        assert processor.force_flush()
        processor.shutdown()


def _log(life: Life, deed: Deed, logger: Any) -> None:
    told = otlp.log_of(life, deed)
    logger.emit(
        LogRecord(
            timestamp=told["ns"],
            severity_number=SeverityNumber(told["severity"]),
            event_name=told["name"] or None,
            body=told["body"],
            attributes=told["attributes"],
        )
    )


def _span(life: Life, deed: Deed, tracer: Any) -> None:
    told = otlp.span_of(life, deed)
    kind = SpanKind.CLIENT if deed.name == "http.client.request" else SpanKind.INTERNAL
    span = tracer.start_span(told["name"], kind=kind, start_time=told["ns"], attributes=told["attributes"])
    if told["status"]:
        span.set_status(Status(StatusCode.ERROR))
    span.end(told["end_ns"])
