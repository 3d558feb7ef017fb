"""OTLP over HTTP: answers as the protocol prescribes them, read by its own definitions."""

from __future__ import annotations

import base64
import gzip
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from pipeline.receive.answers import JSON, PROTOBUF
from pipeline.receive.keys import Keys
from tests.support.receiving import Served, served


def _status() -> Any:
    """`google.rpc.Status`, by its definition in google/rpc/status.proto; `details` is not used."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="status.proto", package="google.rpc", syntax="proto3")
    message = file.message_type.add(name="Status")
    message.field.add(name="code", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    message.field.add(name="message", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status"))


Status = _status()


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with served() as started:
        yield started


@pytest.fixture
def receive(running: Served) -> Served:
    running.writer.records.clear()
    running.writer.is_up = True
    return running


def logs(*devices: str, app: str = "shop") -> Any:
    """A request with one log record for each device; one without a name has no installation."""
    now_ns = time.time_ns()
    request = ExportLogsServiceRequest()
    for device in devices:
        block = request.resource_logs.add()
        attributes = {"service.name": app} | ({"app.installation.id": device} if device else {})
        for name, text in attributes.items():
            block.resource.attributes.add(key=name).value.string_value = text
        record = block.scope_logs.add().log_records.add(time_unix_nano=now_ns, event_name="tick")
        record.body.string_value = "x"
    return request


def spans(*devices: str) -> Any:
    now_ns = time.time_ns()
    request = ExportTraceServiceRequest()
    for device in devices:
        block = request.resource_spans.add()
        attributes = {"service.name": "shop"} | ({"app.installation.id": device} if device else {})
        for name, text in attributes.items():
            block.resource.attributes.add(key=name).value.string_value = text
        block.scope_spans.add().spans.add(
            trace_id=b"t" * 16, span_id=device.encode().ljust(8, b"s")[:8], name="work",
            start_time_unix_nano=now_ns - 1_000_000, end_time_unix_nano=now_ns,
        )  # fmt: skip
    return request


SIGNALS: dict[str, tuple[str, str, Callable[..., Any], Any, str]] = {
    "logs": ("/v1/logs", "otlp_logs", logs, ExportLogsServiceResponse, "rejected_log_records"),
    "spans": ("/v1/traces", "otlp_spans", spans, ExportTraceServiceResponse, "rejected_spans"),
}


def _json(message: Any) -> bytes:
    """As OTLP has it: ids in hexadecimal digits, and not in base64."""
    told = json_format.MessageToDict(message)
    for block in told.get("resourceSpans", ()):
        for scope in block["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId"):
                    span[name] = base64.b64decode(span[name]).hex()
    return orjson.dumps(told)


ENCODINGS = {
    PROTOBUF: (lambda message: message.SerializeToString(), lambda kind, body: kind.FromString(body)),
    JSON: (
        _json,
        lambda kind, body: json_format.Parse(body, kind()),
    ),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_what_is_sound_is_answered_in_its_own_encoding(receive: Served, signal: str, encoding: str) -> None:
    path, topic, make, response, _ = SIGNALS[signal]
    write, read = ENCODINGS[encoding]
    body = write(make("d1", "d2"))
    got = receive.post(path, gzip.compress(body), Content_Type=encoding, Content_Encoding="gzip")
    assert (got.status, got.headers["content-type"]) == (200, encoding)
    assert read(response, got.body) == response()
    (record,) = receive.writer.records
    assert (record.topic, record.value, list(record.headers)) == (topic, body, [])
    assert record.key == b"shop/d1"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_what_is_refused_in_part_is_counted_and_said(receive: Served, signal: str, encoding: str) -> None:
    path, _, make, response, rejected = SIGNALS[signal]
    write, read = ENCODINGS[encoding]
    body = write(make("d1", "", ""))
    got = receive.post(path, body, Content_Type=encoding)
    assert got.status == 200
    partial = read(response, got.body).partial_success
    assert getattr(partial, rejected) == 2 and "app.installation.id" in partial.error_message
    assert [record.value for record in receive.writer.records] == [body], (
        "the router makes dead letters of them"
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_what_is_refused_whole_is_400_with_a_status_and_kept(
    receive: Served, signal: str, encoding: str
) -> None:
    path, _, make, _, _ = SIGNALS[signal]
    write, read = ENCODINGS[encoding]
    for body in (write(make("", "")), b"\x0a\xff\xff" if encoding == PROTOBUF else b"{"):
        receive.writer.records.clear()
        got = receive.post(path, body, Content_Type=encoding)
        assert (got.status, got.headers["content-type"]) == (400, encoding)
        status = read(Status, got.body)
        assert status.code == 3 and status.message
        assert [record.value for record in receive.writer.records] == [body]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("signal", "path"), [("logs", "/v2/logs"), ("spans", "/v2/spans")])
def test_at_the_addresses_of_embrace_too(receive: Served, signal: str, path: str, encoding: str) -> None:
    _, topic, make, response, rejected = SIGNALS[signal]
    write, read = ENCODINGS[encoding]
    body = write(make("d1", ""))
    got = receive.post(path, body, Content_Type=encoding)
    assert (got.status, got.headers["content-type"]) == (200, encoding)
    assert getattr(read(response, got.body).partial_success, rejected) == 1
    assert [(record.topic, record.value) for record in receive.writer.records] == [(topic, body)]
    refused = receive.post(path, write(make("")), Content_Type=encoding)
    assert (refused.status, read(Status, refused.body).code) == (400, 3)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_other_refusal_has_a_status_too(encoding: str) -> None:
    write, read = ENCODINGS[encoding]
    body = write(logs("d1"))
    keys = Keys.read('[[keys]]\nkey = "secret"\napps = ["shop"]\n')
    with served(max_body=10_000, keys=keys) as receive:
        key = {"Authorization": "Bearer secret", "Content-Type": encoding}

        def status(method: str = "POST", body: bytes = body, **headers: str) -> tuple[int, int]:
            sent = {**key, **{name.replace("_", "-"): text for name, text in headers.items()}}
            got = receive.ask(method, "/v1/logs", body, sent)
            assert got.headers["content-type"] == encoding
            return got.status, read(Status, got.body).code

        assert receive.ask("POST", "/v1/logs", body, key).status == 200
        assert status(Authorization="Bearer other") == (401, 16)
        assert status(body=write(logs("d1", app="bank"))) == (403, 7)
        assert status("PUT") == (405, 12)
        assert status(body=b"x" * 10_001) == (413, 8)
        assert status(Content_Encoding="br") == (415, 3)
        assert status(body=b"x", Content_Encoding="gzip") == (400, 3)
        receive.writer.is_up = False
        assert status() == (503, 14)


EMPTY = [
    (PROTOBUF, b"", b""),
    (JSON, b" {}\n", b"{}"),
    (JSON, b'{"resourceLogs":[]}', b"{}"),
    (JSON, b'{"resourceLogs":[{"resource":{},"scopeLogs":[{"logRecords":[]}]}]}', b"{}"),
    (PROTOBUF, b"\n\x00", b""),
    (PROTOBUF, b"\n\x04\n\x00\x12\x00", b""),
]


@pytest.mark.parametrize(("encoding", "body", "said"), EMPTY)
def test_nothing_at_all_is_a_request_too(receive: Served, encoding: str, body: bytes, said: bytes) -> None:
    """An empty message has no bytes, or no members, or nothing in them."""
    got = receive.post("/v1/logs", body, Content_Type=encoding)
    assert (got.status, got.body) == (200, said) and receive.writer.records == []


def test_nothing_at_all_is_answered_in_what_was_spoken_where_others_send_too(receive: Served) -> None:
    got = receive.post("/v2/spans", b"\n\x00", Content_Type=PROTOBUF)
    assert (got.status, got.headers["content-type"], got.body) == (200, PROTOBUF, b"")
    assert receive.writer.records == []


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_metrics_are_not_taken_and_that_is_said_in_their_encoding(receive: Served, encoding: str) -> None:
    got = receive.post("/v1/metrics", b"x", Content_Type=encoding)
    said = ENCODINGS[encoding][1](Status, got.body)
    assert (got.status, got.headers["content-type"], said.code) == (404, encoding, 5)
    assert "OTEL_METRICS_EXPORTER" in said.message


def test_a_beacon_is_answered_in_what_it_looks_like(receive: Served) -> None:
    body = ENCODINGS[JSON][0](logs("d1"))
    got = receive.post(
        "/v1/logs", body, Content_Type="text/plain;charset=UTF-8", Origin="http://localhost:1234"
    )
    assert (got.status, got.headers["content-type"], got.body) == (200, JSON, b"{}")
    assert orjson.loads(receive.writer.records[0].value)["resourceLogs"]
