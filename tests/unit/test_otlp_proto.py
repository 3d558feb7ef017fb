"""The own reader of protobuf takes what `opentelemetry-proto` takes, and for the same."""

from __future__ import annotations

import struct
from base64 import b64encode
from random import Random
from typing import Any

import pytest
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as LogMessage
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.message import LogRecord
from pipeline.formats.otlp.proto import Protobuf
from pipeline.formats.otlp.proto_quick import quick_log, quick_resource, quick_span
from pipeline.formats.otlp.proto_records import log_of, span_of
from pipeline.formats.otlp.proto_values import resource_of
from pipeline.formats.otlp.wire import field_of, fields, varint
from pipeline.formats.rejected import Reason, Rejected
from tests.support.otlp import NOW_NS, any_value, logs, pairs

VALUES: list[Any] = [
    *("text", "", "ä€𝄞", "x" * 127, "x" * 128, "x" * 20_000, True, False, 0, 1, -1, 127, 128, 16_383, 16_384),
    *(2**63 - 1, -(2**63), 1.5, 0.0, -0.0, 5e-324, float("inf"), float("-inf"), float("nan"), b"", b"\0\xff"),
    *([], {}, ["a", 1, [None]], {"a": {"b": []}}, None, {"": None}),
]


def plain(value: Any) -> Any:
    """What a value of the library comes to."""
    kind = value.WhichOneof("value")
    match kind:
        case None | "string_value_strindex":
            return None
        case "array_value":
            return [plain(each) for each in value.array_value.values]
        case "kvlist_value":
            return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
        case "bytes_value":
            return b64encode(value.bytes_value).decode()
        case "double_value":
            number = value.double_value
            named = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
            return named.get(repr(number), number)
    return getattr(value, kind)


def attributes(message: Any) -> dict[str, Any]:
    found = {pair.key: plain(pair.value) for pair in message.attributes}
    return {key: value for key, value in found.items() if value is not None}


def id_of(raw: bytes) -> str:
    return raw.hex() if raw.strip(b"\0") else ""


def log_as_read(raw: bytes) -> tuple[Any, ...]:
    """As the library reads it. Raises `DecodeError`."""
    m = LogMessage.FromString(raw)
    return (
        *(m.time_unix_nano, m.observed_time_unix_nano, m.severity_number, m.severity_text, plain(m.body)),
        *(attributes(m), id_of(m.trace_id), id_of(m.span_id), m.event_name, ()),
    )


def span_as_read(raw: bytes) -> tuple[Any, ...]:
    m = SpanMessage.FromString(raw)
    return (
        *(id_of(m.trace_id), id_of(m.span_id), id_of(m.parent_span_id), m.trace_state, m.name, m.kind),
        *(m.start_time_unix_nano, m.end_time_unix_nano, attributes(m)),
        [(e.time_unix_nano, e.name, attributes(e)) for e in m.events],
        [(id_of(each.trace_id), id_of(each.span_id), attributes(each)) for each in m.links],
        *(m.status.code, m.status.message, ()),
    )


def same(one: Any, other: Any) -> bool:
    """Equal in type too, and negative zero is not zero."""
    return repr(one) == repr(other)


def own(read: Any, raw: bytes) -> tuple[Any, ...] | None:
    try:
        found = read(raw, bytes.decode)
    except (Flaw, UnicodeDecodeError):
        return None
    return flat(found)


def flat(record: Any) -> tuple[Any, ...]:
    """The record without the names of its parts, which the library's have not; no container if it says so."""
    if isinstance(record, LogRecord):
        *record, is_flat = record
        assert not (is_flat and any(isinstance(value, list | dict) for value in record[5].values()))
    plain_parts = [
        [tuple(each) if isinstance(each, tuple) else each for each in part]
        if isinstance(part, list)
        else part
        for part in record
    ]
    return tuple(plain_parts)


def check(raw: bytes, read: Any, as_read: Any, quick: Any) -> bool:
    """Whether the record is one; each of the three says the same."""
    mine = own(read, raw)
    try:
        theirs = as_read(raw)
    except DecodeError:
        theirs = None
    if theirs is None:
        assert mine is None, raw
    elif mine is not None:
        assert same(mine, theirs), raw
    try:
        short = quick(raw, {})
    except UnicodeDecodeError:
        short = None
    if short is not None:
        assert mine is not None and same(flat(short), mine), raw
    return mine is not None and theirs is not None


def log_message() -> Any:
    message = LogMessage(
        time_unix_nano=NOW_NS, observed_time_unix_nano=1, severity_text="INFO", event_name="e"
    )
    message.severity_number = 9  # type: ignore[assignment]
    message.trace_id, message.span_id, message.flags = bytes(range(16)), bytes(8), 257
    message.dropped_attributes_count = 300
    message.attributes.extend(pairs({f"a{i}": value for i, value in enumerate(VALUES)}))
    return message


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_each_value_is_read_as_by_the_library(value: Any) -> None:
    body = LogMessage(body=any_value(value), attributes=pairs({"a": value, "b": "x"}))
    assert check(body.SerializeToString(), log_of, log_as_read, quick_log)
    span = SpanMessage(attributes=pairs({"a": value}), name="n", kind=3)  # type: ignore[arg-type]
    assert check(span.SerializeToString(), span_of, span_as_read, quick_span)


def seeds() -> list[tuple[bytes, Any, Any, Any]]:
    span = SpanMessage(
        trace_id=bytes(range(16)), span_id=b"12345678", parent_span_id=bytes(8), trace_state="th:8", name="GET",
        kind=3, start_time_unix_nano=NOW_NS, end_time_unix_nano=NOW_NS + 1, flags=257,  # type: ignore[arg-type]
        attributes=pairs({"a": "b", "n": 504, "list": ["x"]}),
    )  # fmt: skip
    whole = SpanMessage.FromString(span.SerializeToString())
    whole.events.add(time_unix_nano=5, name="exception").attributes.extend(pairs({"exception.type": "E"}))
    whole.links.add(trace_id=b"1" * 16, span_id=b"2" * 8)
    whole.status.code, whole.status.message = 2, "no"
    small = LogMessage(time_unix_nano=NOW_NS, attributes=pairs({"session.id": "s", "n": 1}), event_name="e")
    return [
        (log_message().SerializeToString(), log_of, log_as_read, quick_log),
        (small.SerializeToString(), log_of, log_as_read, quick_log),
        (span.SerializeToString(), span_of, span_as_read, quick_span),
        (whole.SerializeToString(), span_of, span_as_read, quick_span),
    ]


@pytest.mark.parametrize("number", range(4))
def test_records_that_are_changed_at_random_are_judged_as_by_the_library(number: int) -> None:
    raw, read, as_read, quick = seeds()[number]
    random = Random(number)
    taken = 0
    for _ in range(2_000):
        data = bytearray(raw)
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(data) + 1)
            match random.randrange(4):
                case 0:
                    del data[at : at + random.randint(1, 4)]
                case 1:
                    data[at:at] = random.choice(
                        (b"\x0b", b"\x0c", b"\x80", b"\0", raw[at : at + 9], b"\xff" * 11)
                    )
                case 2 if at < len(data):
                    data[at] = random.randrange(256)
                case _:
                    data[at:at] = raw[random.randrange(len(raw)) :][: random.randint(1, 60)]
        taken += check(bytes(data), read, as_read, quick)
    assert taken > 50  # else it is noise that is compared


def test_fields_that_repeat_are_merged_as_protobuf_does() -> None:
    array, more = any_value(["a"]).SerializeToString(), any_value(["b"]).SerializeToString()
    text = any_value("t").SerializeToString()
    for parts in (
        (array, more),
        (array, text, more),
        (text, array),
        (text, b""),
        (array, b"\x40\x01"),
        (b"\x40\x01", text),
    ):
        raw = b"".join(field_of(5, part) for part in parts)
        assert check(raw, log_of, log_as_read, quick_log)
        pair = field_of(1, b"k") + b"".join(field_of(2, part) for part in parts)
        assert check(field_of(6, pair), log_of, log_as_read, quick_log)
    statuses = [field_of(15, b"\x18\x02"), field_of(15, field_of(2, b"m"))]
    assert check(b"".join(statuses), span_of, span_as_read, quick_span)


def test_unknown_fields_and_groups_are_passed_over() -> None:
    for unknown in (
        b"\xfa\x3f\x01x",
        b"\x9b\x06\x08\x01\x9c\x06",
        b"\xa0\x06\x01",
        b"\xa5\x06abcd",
        b"\xa1\x06abcdefgh",
    ):
        raw = unknown + log_message().SerializeToString()
        assert check(raw, log_of, log_as_read, quick_log)
    for wrong in (
        b"\x9b\x06\x08\x01",
        b"\x9c\x06",
        b"\x9b\x06\xa4\x06",
        b"\x07",
        b"\x06",
        b"\0",
        b"\x02\0",
        b"\x0a",
    ):
        raw = log_message().SerializeToString() + wrong
        assert not check(raw, log_of, log_as_read, quick_log)


def test_a_varint_has_at_most_ten_bytes() -> None:
    assert varint(b"\xff" * 9 + b"\x01", 0) == (2**64 - 1, 10)
    for raw in (b"", b"\x80", b"\xff" * 10 + b"\x01"):
        with pytest.raises(Flaw) as refused:
            varint(raw, 0)
        assert refused.value.reason is Reason.MALFORMED_PROTOBUF
    assert list(fields(field_of(300, b"x" * 200))) == [(300 << 3 | 2, b"x" * 200)]


def test_text_that_is_no_utf_8_is_repaired_and_told() -> None:
    pair = field_of(1, b"k") + field_of(2, field_of(1, b"a\xffb"))
    record = Protobuf(b"").log(struct.pack("<BQ", 9, NOW_NS) + field_of(6, pair) + field_of(12, b"n\xff"))
    assert record.attributes == {"k": "a\ufffdb"} and record.event_name == "n\ufffd"
    assert record.repaired == ("attributes.k", "event_name")


def test_a_message_is_found_to_be_none_before_its_records_are_read() -> None:
    good = logs({}).SerializeToString()
    for value in (good[:-1], good + b"\x0a\x05x", b"\x0a\x01\x07"):
        outcome = Protobuf(value).split()
        assert isinstance(outcome, Rejected) and outcome.reason is Reason.MALFORMED_PROTOBUF


def test_what_is_split_is_joined_again() -> None:
    message = logs({"attributes": {"a": 1}}, {"event_name": "e" * 200}, scope="s")
    protobuf = Protobuf(message.SerializeToString())
    blocks = protobuf.split()
    assert not isinstance(blocks, Rejected)
    assert type(message).FromString(protobuf.joined(blocks)) == message


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_the_short_way_of_a_resource_reads_what_the_long_one_does(value: Any) -> None:
    raw = Resource(attributes=pairs({"a": value, "b": "x", "a ": 7})).SerializeToString()
    for _ in range(2):  # The second time attributes are known.
        quick = quick_resource(raw)
        assert quick is None or same(quick, resource_of(raw, bytes.decode))
        assert same(Protobuf(b"").resource(raw)[0], attributes(Resource.FromString(raw)))
    assert Protobuf(b"").resource(field_of(1, field_of(1, b"k\xff") + field_of(2, field_of(1, b"v"))))[1]
    assert quick_resource(raw[:-1]) is None
