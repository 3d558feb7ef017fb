"""OTLP as SDKs of OpenTelemetry send it and the Collector's Kafka exporter writes it: log records, and spans for what
lasts. Protobuf and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.support.lives import NS_PER_MS, Deed, Json, Life
from tests.support.writers.written import Record

LIMITS = {
    "a page's death": "an exception in a browser ends no process, however severe",
    "properties of users": "only what an app asks for goes on, since an SDK sends names and addresses so",
}
_FATAL, _ERROR, _INFO = 21, 17, 9
_SPAN_KIND_INTERNAL, _SPAN_KIND_CLIENT, _STATUS_ERROR = 1, 3, 2
_NAMES = {"session.end.reported": "session.end"}
"""An SDK's own word, where it is another than the native one."""


def sayable(life: Life, deed: Deed) -> list[Deed]:
    """What OpenTelemetry can say of a deed, in native words. A start of the app that has a span is a start, known when
    it begins, and a span that took its time, known when it ends."""
    user = {key: value for key, value in deed.user.items() if key != "properties"}
    deed = replace(deed, user=user)
    if life.platform == "Web" and deed.name == "exception":
        return [deed.without("fatal")]
    if is_start(deed):
        return [deed, replace(deed, id=f"{deed.id}-span", name="span", attributes={})]
    return [deed]


def write(life: Life, batch: Sequence[Deed], *, as_json: bool) -> list[Record]:
    """A request with logs and one with spans, as far as there is something to say."""
    return write_all([(life, batch)], as_json=as_json)


def write_all(told: Iterable[tuple[Life, Sequence[Deed]]], *, as_json: bool) -> list[Record]:
    """The deeds of several devices in one request, as the Collector's batch processor makes them."""
    blocks: list[tuple[Json, list[Json], list[Json]]] = []
    for life, batch in told:
        by_resource: dict[bytes, tuple[Json, list[Json], list[Json]]] = {}
        for deed in batch:
            block = by_resource.setdefault(orjson.dumps(deed.resource), (resource_of(life, deed), [], []))
            if is_span(deed):
                block[2].append(span_of(life, deed))
            else:
                block[1].append(log_of(life, deed))
        blocks += by_resource.values()
    logs = [(resource, found) for resource, found, _ in blocks if found]
    spans = [(resource, found) for resource, _, found in blocks if found]
    encoders: tuple[tuple[str, list[tuple[Json, list[Json]]], Callable[..., bytes]], ...] = (
        ("otlp_logs", logs, _logs_json if as_json else _logs_protobuf),
        ("otlp_spans", spans, _spans_json if as_json else _spans_protobuf),
    )
    return [Record(topic, encode(found)) for topic, found, encode in encoders if found]


def is_span(deed: Deed) -> bool:
    """Whether it is told with a span, since it takes its time."""
    return deed.name == "http.client.request" or is_start(deed)


def is_start(deed: Deed) -> bool:
    """OpenTelemetry's Android agent tells of a start of the app with a span."""
    return deed.name == "app.launch" and not deed.attributes.keys() - {"app.launch.type"}


def resource_of(life: Life, deed: Deed) -> Json:
    namespace, _, name = life.app_id.rpartition(".")
    language = {"Web": "webjs", "iOS": "swift"}.get(life.platform, "java")
    return {
        "service.namespace": namespace,
        "service.name": name,
        "app.installation.id": life.device_id,
        "telemetry.sdk.language": language,
        "process.pid": 4711,
        **deed.resource,
    }


def _common(deed: Deed) -> Json:
    said: Json = {"session.id": deed.session} if deed.session else {}
    if deed.user_id:
        said["user.id"] = deed.user_id
    if "personas" in deed.user:
        said["user.roles"] = deed.user["personas"]
    return said


def log_of(life: Life, deed: Deed) -> Json:
    """A log record: name, ns, severity, body, attributes. SDKs of every other app give it an id of its own."""
    said = {**deed.attributes, **_common(deed)}
    name, severity, body = _NAMES.get(deed.name, deed.name), _INFO, None
    match deed.name:
        case "log":
            name, severity, body = "", said.pop("severity_number"), said.pop("body")
        case "exception":
            severity = _FATAL if said.pop("fatal", False) else _ERROR
        case "app.anr" if not said.get("fatal"):
            name = "device.anr"
            said.pop("fatal", None)
        case "app.screen.view" if "app.screen.view.derived" not in said:
            name = "app.navigation.complete"
            said["app.navigation.destination.name"] = said.pop("app.screen.name")
        case "session.end":
            # That somebody called for it. Without, it is the SDK's own rotation.
            said["session.end.reason"] = "manual"
    if len(life.device_id) % 2 == 0 and int(blake2b(life.key, digest_size=1).hexdigest(), 16) % 2:
        said["log.record.uid"] = deed.id
    return {"name": name, "ns": deed.ns, "severity": severity, "body": body, "attributes": said}


def span_of(life: Life, deed: Deed) -> Json:
    ids = blake2b(f"{life.device_id} {deed.id}".encode(), digest_size=24).digest()
    said = {**deed.attributes, **_common(deed)}
    took_ms = said.pop("duration", 1)
    name, kind = f"{said.get('http.request.method')}", _SPAN_KIND_CLIENT
    if deed.name == "app.launch":
        name, kind = "AppStart", _SPAN_KIND_INTERNAL
        said["start.type"] = said.pop("app.launch.type")
    failed = "error.type" in said or said.get("http.response.status_code", 0) >= 400
    return {
        "trace_id": ids[:16],
        "span_id": ids[16:],
        "name": name,
        "kind": kind,
        "ns": deed.ns,
        "end_ns": deed.ns + took_ms * NS_PER_MS,
        "status": _STATUS_ERROR if failed else 0,
        "attributes": said,
    }


def _any_json(value: object) -> Json:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_any_json(each) for each in value]}}
    assert isinstance(value, str), value
    return {"stringValue": value}


def _pairs_json(attributes: Json) -> list[Json]:
    return [{"key": key, "value": _any_json(value)} for key, value in attributes.items()]


def _logs_json(blocks: Iterable[tuple[Json, list[Json]]]) -> bytes:
    return orjson.dumps({"resourceLogs": [
        {"resource": {"attributes": _pairs_json(resource)}, "scopeLogs": [{"scope": {"name": "ui"}, "logRecords": [
            {
                "timeUnixNano": str(each["ns"]),
                "observedTimeUnixNano": str(each["ns"] + 7),
                "severityNumber": each["severity"],
                **({"eventName": each["name"]} if each["name"] else {}),
                **({"body": {"stringValue": each["body"]}} if each["body"] is not None else {}),
                "attributes": _pairs_json(each["attributes"]),
            }
            for each in logs
        ]}]}
        for resource, logs in blocks
    ]})  # fmt: skip


def _spans_json(blocks: Iterable[tuple[Json, list[Json]]]) -> bytes:
    return orjson.dumps({"resourceSpans": [
        {"resource": {"attributes": _pairs_json(resource)}, "scopeSpans": [{"scope": {"name": "http"}, "spans": [
            {
                "traceId": each["trace_id"].hex(),
                "spanId": each["span_id"].hex(),
                "name": each["name"],
                "kind": each["kind"],
                "startTimeUnixNano": str(each["ns"]),
                "endTimeUnixNano": str(each["end_ns"]),
                "status": {"code": each["status"]},
                "attributes": _pairs_json(each["attributes"]),
            }
            for each in spans
        ]}]}
        for resource, spans in blocks
    ]})  # fmt: skip


def _any(value: object) -> Any:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list():
            made = AnyValue()
            made.array_value.values.extend(_any(each) for each in value)
            return made
    assert isinstance(value, str), value
    return AnyValue(string_value=value)


def _pairs(attributes: Json) -> list[Any]:
    return [KeyValue(key=key, value=_any(value)) for key, value in attributes.items()]


def _logs_protobuf(blocks: Iterable[tuple[Json, list[Json]]]) -> bytes:
    request = ExportLogsServiceRequest()
    for resource, logs in blocks:
        block = request.resource_logs.add()
        block.resource.attributes.extend(_pairs(resource))
        scope = block.scope_logs.add()
        scope.scope.name = "ui"
        for each in logs:
            record = scope.log_records.add(
                time_unix_nano=each["ns"],
                observed_time_unix_nano=each["ns"] + 7,
                severity_number=each["severity"],
                event_name=each["name"],
                attributes=_pairs(each["attributes"]),
            )
            if each["body"] is not None:
                record.body.string_value = each["body"]
    return bytes(request.SerializeToString())


def _spans_protobuf(blocks: Iterable[tuple[Json, list[Json]]]) -> bytes:
    request = ExportTraceServiceRequest()
    for resource, spans in blocks:
        block = request.resource_spans.add()
        block.resource.attributes.extend(_pairs(resource))
        scope = block.scope_spans.add()
        scope.scope.name = "http"
        for each in spans:
            span = scope.spans.add(
                trace_id=each["trace_id"],
                span_id=each["span_id"],
                name=each["name"],
                kind=each["kind"],
                start_time_unix_nano=each["ns"],
                end_time_unix_nano=each["end_ns"],
                attributes=_pairs(each["attributes"]),
            )
            span.status.code = each["status"]
    return bytes(request.SerializeToString())
