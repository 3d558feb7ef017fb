"""Refused Sentry envelopes and OTLP messages in protobuf: cleaned, and the bytes kept that no rule names."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest as Logs
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest as Spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from pipeline.domain.privacy import STEERING, Privacy, Rules, Samplings
from pipeline.formats.edge import Edge
from pipeline.formats.sentry.lines import EnvelopeLines, ItemLines, read_lines

SECRET = "a secret of more than thirty-two characters"
DEFAULT = Edge(Privacy(), Samplings(), SECRET)
OWN = Edge(
    Privacy(Rules(), {"x": Rules(drop=("payment.*",), mask=("token",), emails="mask", user_id="hash")}),
    Samplings(),
    SECRET,
)


def envelope(*items: tuple[dict[str, Any], bytes], header: bytes = b'{"event_id":"1"}') -> bytes:
    return b"\n".join([header, *(part for head, body in items for part in (orjson.dumps(head), body))])


def payload(**parts: Any) -> bytes:
    return orjson.dumps({"event_id": "9ec79c33", "message": "stays", **parts})


PNG = b"\x89PNG\r\n\x1a\n\0\0 user name \xff{" + b"\n" * 3


@pytest.mark.parametrize("ends", [b"", b"\n"])
def test_a_sentry_envelope_in_which_nothing_is_named_keeps_its_bytes(ends: bytes) -> None:
    body = payload(user={"id": "42"}, contexts={"os": {"name": "iOS"}})
    value = envelope(
        ({"type": "event"}, body),
        ({"type": "attachment", "length": len(PNG)}, PNG),
        ({"type": "log"}, b"[1]"),
    )
    for each in (value + ends, b"\n".join([value, b"", b"{}", b"no header", b"\xff", b'{"a":1}']) + ends):
        assert DEFAULT.refused("sentry-envelopes", None, each) is each
    as_text = orjson.dumps(envelope(({"type": "event"}, body)).decode())
    assert DEFAULT.refused("sentry-envelopes", None, as_text) is as_text


@pytest.mark.parametrize("edge", [DEFAULT, OWN])
@pytest.mark.parametrize("has_length", [True, False])
def test_what_is_named_is_taken_out_of_a_sentry_envelope_and_it_stays_one(
    edge: Edge, has_length: bool
) -> None:
    body = payload(user={"id": "42", "email": "planted", "username": "planted"})
    head = {"type": "event", "length": len(body)} if has_length else {"type": "event"}
    items = (
        (head, body),
        ({"type": "attachment", "length": len(PNG)}, PNG),
        ({"type": "log"}, orjson.dumps({"items": [{"attributes": {"user.name": {"value": "planted"}}}]})),
        ({"type": "transaction"}, payload()),
    )
    header = b'{"event_id":"1","trace":{"user":{"email":"planted"}}}'
    whole = envelope(*items, header=header)
    for value in (whole, whole + b"\n", orjson.dumps(whole.replace(PNG, b"P" * len(PNG)).decode())):
        made = edge.refused("sentry-envelopes", None, value)
        assert made and b"planted" not in made
        read = read_lines(made)
        assert isinstance(read, EnvelopeLines) and len(read.items) == 4
        kinds, payloads = [], []
        for item in read.items:
            assert isinstance(item, ItemLines)
            kinds.append(item.type)
            payloads.append(item.payload)
        assert kinds == ["event", "attachment", "log", "transaction"]
        assert orjson.loads(payloads[0])["message"] == orjson.loads(payloads[3])["message"] == "stays"
        assert len(payloads[1]) == len(PNG)
    if edge is OWN:
        assert b'\\"id\\":\\"h_' in made


def test_what_no_one_can_read_of_a_sentry_envelope_is_left_out_only_if_it_may_hold_something() -> None:
    for inner in (
        b'{"user":{"email":"x',
        b"user.email=x",
        b'{"user":{"\\u0065mail":"x',
        b'"{\\"user\\":{\\"email\\":1',
    ):
        assert DEFAULT.refused("sentry-envelopes", None, envelope(({"type": "attachment"}, inner))) is None
    for inner in (
        b'{"user":{"id":"x","na',
        b"user name",
        b'{"mail":"x',
        b'{"superuser.email":',
        b'{"user.names":',
    ):
        value = envelope(({"type": "attachment"}, inner))
        assert DEFAULT.refused("sentry-envelopes", None, value) is value


@pytest.mark.slow
def test_a_sentry_envelope_of_many_lines_takes_linear_time() -> None:
    for line in (b"{}\n", b"\n", b'{"length":0}\n', b"x\n", b'{"user":\n'):
        value = b"{}\n" + line * (4_000_000 // len(line))
        began = time.process_time()
        DEFAULT.refused("sentry-envelopes", None, value)
        assert time.process_time() - began < 3, line


def pair(name: str, **value: Any) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(**value))


def nested(name: str, *pairs: KeyValue) -> KeyValue:
    made = pair(name)
    made.value.kvlist_value.values.extend(pairs)
    return made


HARMLESS = [
    pair("user.id", string_value="u1"),
    pair("n", int_value=-5),
    pair("d", double_value=0.5),
    pair("b", bytes_value=b"\xff\0"),
    pair("none"),
    nested("user", pair("id", string_value="u"), pair("plan", bool_value=True)),
    *(pair(name, string_value="foreground") for name in sorted(STEERING)),
]
NAMED = [
    pair("user.email", string_value="planted"),
    nested(
        "user", pair("email", string_value="planted"), pair("id", string_value="42"), pair("t", int_value=-7)
    ),
    nested("deep", nested("enduser", pair("name", string_value="planted"))),
]


def messages(attributes: list[KeyValue]) -> list[tuple[str, Any]]:
    logs, spans = Logs(), Spans()
    block = logs.resource_logs.add(schema_url="https://example.org/1")
    log = block.scope_logs.add().log_records.add(
        time_unix_nano=1, event_name="x", trace_id=b"t" * 16, severity_number=9
    )
    log.body.string_value = "stays"
    spans_block = spans.resource_spans.add()
    span = spans_block.scope_spans.add().spans.add(
        name="x", start_time_unix_nano=1, span_id=b"\xff" * 8, kind=2
    )
    event, link = span.events.add(name="e", time_unix_nano=3), span.links.add(trace_id=b"l" * 16)
    span.status.message = "stays"
    for each in (block.resource, block.scope_logs[0].scope, log, spans_block.resource, span, event, link):
        each.attributes.extend(attributes)
    return [("otlp_logs", logs), ("otlp_spans", spans)]


def test_a_message_in_protobuf_in_which_nothing_is_named_keeps_its_bytes() -> None:
    for topic, message in messages(HARMLESS):
        value = message.SerializeToString()
        assert DEFAULT.refused(topic, None, value) is value
        cut = value[:-9]
        assert DEFAULT.refused(topic, None, cut) is cut


@pytest.mark.parametrize("edge", [DEFAULT, OWN])
def test_what_is_named_is_taken_out_of_a_message_in_protobuf(edge: Edge) -> None:
    for (topic, message), (_, bare) in zip(messages(NAMED), messages([]), strict=True):
        made = edge.refused(topic, None, message.SerializeToString())
        assert made and b"planted" not in made
        read = type(message).FromString(made)
        for block in (*getattr(read, "resource_logs", ()), *getattr(read, "resource_spans", ())):
            [user, deep] = block.resource.attributes
            assert [each.key for each in user.value.kvlist_value.values] == ["id", "t"]
            assert user.value.kvlist_value.values[1].value.int_value == -7
            assert [each.key for each in deep.value.kvlist_value.values] == ["enduser"]
        assert b"stays" in made
        text = str(read)
        for name in ("time_unix_nano", "trace_id", "span_id", "event_name", "kind", "schema_url"):
            assert text.count(f"{name}:") == str(bare).count(f"{name}:")
        # What cannot be read to its end is left out.
        assert edge.refused(topic, None, message.SerializeToString()[:-9]) is None


def test_rules_of_an_app_hold_in_protobuf() -> None:
    attributes = [
        pair("payment.card", string_value="planted"),
        nested("payment", pair("card", string_value="planted")),
        pair("token", int_value=4111),
        pair("mail", string_value="to planted@example.org"),
        pair("app.state", string_value="foreground"),
    ]
    for topic, message in messages(attributes):
        made = OWN.refused(topic, None, message.SerializeToString())
        assert made and b"planted" not in made
        read = type(message).FromString(made)
        for block in (*getattr(read, "resource_logs", ()), *getattr(read, "resource_spans", ())):
            left = {each.key: each.value.string_value for each in block.resource.attributes}
            assert left == {"payment": "", "token": "***", "mail": "to ***", "app.state": "foreground"}


def test_bytes_that_are_no_message_raise_nothing() -> None:
    for _, message in messages(NAMED):
        value = message.SerializeToString()
        for at in range(0, len(value), 7):
            for topic in ("otlp_logs", "otlp_spans", "sentry-envelopes", "embrace-events", "sdk-events"):
                for each in (value[:at], value[at:], b"\n" + value[at:], value[:at] + b"\xff" + value[at:]):
                    OWN.refused(topic, None, each)


def test_a_body_takes_no_longer_than_a_worker_may_be_silent() -> None:
    apps = {
        f"a{number}": Rules(drop=(f"p{number}.*", f"*tok{number}*"), emails="mask") for number in range(100)
    }
    all_of = Edge(Privacy(Rules(), apps), Samplings(), SECRET)
    detects = Edge(Privacy(Rules(emails="mask", addresses="mask", queries="drop")), Samplings(), SECRET)
    names = b'{"a":{%b}}' % b",".join(b'"n%07d":"@"' % number for number in range(60_000))
    for edge, value in (
        (all_of, names),
        (detects, b'{"a":"%b"}' % (b"a@b.co " * 200_000)),
        (detects, b'{"a":"%b"}' % (b"1.2.3.4 " * 300_000)),
        (detects, b'{"a":"%b"}' % (b"/a?b " * 200_000)),
    ):
        for topic in ("otlp_logs", "sdk-events")[: 1 + (edge is detects)]:
            began = time.process_time()
            assert edge.refused(topic, None, value) is None
            assert time.process_time() - began < 4
    # Bodies of the largest size with what applications say are far below that.
    record = {"time": "1", "body": {"stringValue": "GET https://example.org/a?b by a@b.co at 1.2.3.4"}}
    record["attributes"] = [
        {"key": f"k{n}", "value": {"stringValue": "org.example.A.b(A.java:7)"}} for n in range(9)
    ]
    value = orjson.dumps({"logRecords": [record] * 500})
    for edge in (all_of, detects):
        made = edge.refused("otlp_logs", None, value)
        assert made and b"a@b.co" not in made and b"A.java:7" in made
