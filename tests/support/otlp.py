"""OTLP messages made by `opentelemetry-proto`, and the same in OTLP JSON: what the own readers are held to."""

from __future__ import annotations

import json
from base64 import b64encode
from math import isfinite
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from pipeline.formats import otlp
from pipeline.formats.translation import Translation

NOW_MS = 1_795_740_000_000
NOW_NS = NOW_MS * 1_000_000
LOGS_REQUEST, SPANS_REQUEST = ExportLogsServiceRequest, ExportTraceServiceRequest
_IDS = ("traceId", "spanId", "parentSpanId")
DEVICE = {"service.name": "shop", "app.installation.id": "d1"}


def any_value(value: Any) -> AnyValue:
    """The value that stands for one of Python's."""
    made = AnyValue()
    match value:
        case None:
            pass
        case bool():
            made.bool_value = value
        case int():
            made.int_value = value
        case float():
            made.double_value = value
        case str():
            made.string_value = value
        case bytes():
            made.bytes_value = value
        case list():
            made.array_value.SetInParent()
            made.array_value.values.extend(map(any_value, value))
        case dict():
            made.kvlist_value.SetInParent()
            made.kvlist_value.values.extend(pairs(value))
        case _:
            raise TypeError(value)
    return made


def pairs(attributes: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def logs(*records: dict[str, Any], resource: dict[str, Any] = DEVICE, scope: str = "") -> Any:
    """A message of log records: fields of the .proto file, `attributes` and `body` as Python's values."""
    message = LOGS_REQUEST()
    add_logs(message, *records, resource=resource, scope=scope)
    return message


def add_logs(message: Any, *records: dict[str, Any], resource: dict[str, Any], scope: str = "") -> None:
    block = message.resource_logs.add()
    block.resource.attributes.extend(pairs(resource))
    part = block.scope_logs.add()
    part.scope.name = scope
    for fields in records:
        record = part.log_records.add()
        for name, value in {"time_unix_nano": NOW_NS, **fields}.items():
            if name == "attributes":
                record.attributes.extend(pairs(value))
            elif name == "body":
                record.body.CopyFrom(any_value(value))
            else:
                setattr(record, name, value)


def spans(*records: dict[str, Any], resource: dict[str, Any] = DEVICE) -> Any:
    """A message of spans; `events` are fields of each."""
    message = SPANS_REQUEST()
    block = message.resource_spans.add()
    block.resource.attributes.extend(pairs(resource))
    part = block.scope_spans.add()
    usual = {
        "trace_id": bytes(range(16)),
        "span_id": bytes(range(1, 9)),
        "start_time_unix_nano": NOW_NS,
        "end_time_unix_nano": NOW_NS + 5_000_000,
    }
    for fields in records:
        span = part.spans.add()
        for name, value in {**usual, **fields}.items():
            if name == "attributes":
                span.attributes.extend(pairs(value))
            elif name == "events":
                for event in value:
                    made = span.events.add(
                        time_unix_nano=event.get("time_unix_nano", 0), name=event.get("name", "")
                    )
                    made.attributes.extend(pairs(event.get("attributes", {})))
            elif name == "status":
                span.status.code, span.status.message = value
            else:
                setattr(span, name, value)
    return message


def json_of(message: Any) -> bytes:
    """The message in OTLP JSON."""
    return json.dumps(_tree(message)).encode()


def _tree(message: Any) -> Any:
    tree: dict[str, Any] = {}
    for field, value in message.ListFields():
        many = not isinstance(value, int | float | str | bytes) and hasattr(value, "append")
        name = field.json_name
        tree[name] = (
            [_scalar(field, each) for each in value]
            if many or type(value).__name__.startswith("Repeated")
            else _scalar(field, value)
        )
    return tree


def _scalar(field: Any, value: Any) -> Any:
    if field.type == field.TYPE_MESSAGE:
        return _tree(value)
    if field.type == field.TYPE_BYTES:
        return b64encode(value).decode() if field.name == "bytes_value" else value.hex()
    if field.type in (field.TYPE_INT64, field.TYPE_FIXED64, field.TYPE_UINT64):
        return str(value)
    if isinstance(value, float) and not isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[repr(value)]
    return value


def message_of(document: bytes) -> Any | None:
    """A document in OTLP JSON as a message of the library; None if it is more liberal than that takes."""
    try:
        tree = json.loads(document)
        message = SPANS_REQUEST() if "resourceSpans" in tree else LOGS_REQUEST()
        json_format.ParseDict(_with_base64(tree), message, ignore_unknown_fields=True)
    except (ValueError, TypeError, AttributeError, json_format.ParseError):
        return None
    return message


def _with_base64(tree: Any) -> Any:
    """Ids as proto3's JSON has bytes, where OTLP has hexadecimal digits."""
    if isinstance(tree, list):
        return [_with_base64(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        key: b64encode(bytes.fromhex(value)).decode() if key in _IDS else _with_base64(value)
        for key, value in tree.items()
    }


def envelopes(message: Any, record_ms: int = NOW_MS) -> list[dict[str, Any]]:
    """The native envelopes of a message, of which nothing is refused, in both encodings."""
    format_ = otlp.LOGS if isinstance(message, LOGS_REQUEST) else otlp.SPANS
    assert format_.translate is not None
    found = format_.translate(message.SerializeToString(), record_ms)
    assert isinstance(found, Translation), found
    assert found.refused == []
    assert format_.translate(json_of(message), record_ms) == found
    return [json.loads(record.value) for record in found.records]


def events(message: Any, record_ms: int = NOW_MS) -> list[dict[str, Any]]:
    """The native events of a message."""
    return [event for envelope in envelopes(message, record_ms) for event in envelope["events"]]
