"""OTLP on the topic of Embrace's envelopes: the same as on its own topics."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.formats import otlp, registry
from pipeline.formats.body_cleaner import BodyCleaner
from pipeline.formats.format import Beside, Format, Headers
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Translation
from tests.support.embrace import HEADERS as OF_EMBRACE
from tests.support.embrace import envelope as of_embrace
from tests.support.otlp import NOW_MS, NOW_NS, json_of, logs, spans
from tests.support.replaying import check_replayed, letters_of

HEADERS = (("x-em-aid", b"abc12"), ("X-EM-DID", b"d9"))
TOPIC = registry.of_topic("embrace-events")
SPAN = {
    "trace_id": bytes(range(16)),
    "span_id": b"12345678",
    "name": "emb-session",
    "end_time_unix_nano": NOW_NS,
}
PART = {
    "emb.type": "ux.session_part",
    "emb.state": "foreground",
    "emb.session_part_id": "p",
    "session.id": "u",
}
PAGE = {"telemetry.sdk.language": "webjs", "service.name": "unknown_service"}


def messages(start_ns: int = NOW_NS - 10**10) -> list[tuple[Format, bytes]]:
    part = spans({**SPAN, "start_time_unix_nano": start_ns, "attributes": PART}, resource=PAGE)
    line = logs({"attributes": {"emb.type": "sys.log"}, "time_unix_nano": start_ns}, resource=PAGE)
    return [(otlp.SPANS, json_of(part)), (otlp.LOGS, json_of(line))]


def encoded(start_ns: int = NOW_NS - 10**10) -> list[bytes]:
    """The same messages in protobuf."""
    part = spans({**SPAN, "start_time_unix_nano": start_ns, "attributes": PART}, resource=PAGE)
    line = logs({"attributes": {"emb.type": "sys.log"}, "time_unix_nano": start_ns}, resource=PAGE)
    return [part.SerializeToString(), line.SerializeToString()]


def translated(format: Format, value: bytes, headers: Headers, key: bytes | None = None) -> Translation:
    assert format.translate is not None
    found = format.translate(value, NOW_MS, Beside(headers, key=key))
    assert isinstance(found, Translation), found
    return found


@pytest.mark.parametrize("signal", [0, 1], ids=["spans", "logs"])
@pytest.mark.parametrize("form", ["camel", "snake"])
def test_otlp_comes_to_the_same_as_on_its_own_topic(signal: int, form: str) -> None:
    format, value = messages()[signal]
    if form == "snake":
        value = value.replace(b"resourceSpans", b"resource_spans").replace(b"resourceLogs", b"resource_logs")
    found = translated(TOPIC, value, HEADERS)
    assert found == translated(format, value, HEADERS) and found.records and not found.refused
    assert {record.key for record in found.records} == {b"abc12/d9"}
    # Headers may be in the key, as with an envelope.
    assert translated(TOPIC, value, (), b"abc12/d9") == found


@pytest.mark.parametrize("signal", [0, 1], ids=["spans", "logs"])
def test_protobuf_is_told_apart_by_its_records(signal: int) -> None:
    format, _ = messages()[signal]
    value = encoded()[signal]
    found = translated(TOPIC, value, HEADERS)
    assert found == translated(format, value, HEADERS) and found.records and not found.refused
    assert found == translated(TOPIC, messages()[signal][1], HEADERS), "the same as in JSON"


@pytest.mark.parametrize("signal", [0, 1], ids=["spans", "logs"])
def test_what_is_refused_of_protobuf_is_cleaned_and_judged_alike_when_it_is_sent_again(signal: int) -> None:
    value = encoded(start_ns=10**15)[signal]
    (letter,) = letters_of(TOPIC, value, NOW_MS, Beside(HEADERS))
    assert (letter.topic, letter.rejected.reason) == ("embrace-events", Reason.TIME_OUT_OF_RANGE)
    check_replayed(TOPIC, value, NOW_MS, Beside(HEADERS))
    cleaned = TOPIC.cleaned(value, BodyCleaner([]))
    assert cleaned is not None and cleaned == messages()[signal][0].cleaned(value, BodyCleaner([]))


def test_an_envelope_after_a_blank_line_is_mended_as_any_other() -> None:
    value = json.dumps(
        of_embrace(logs=[{"time_unix_nano": NOW_NS, "severity_number": float("nan")}])
    ).encode()
    assert translated(TOPIC, b"\n" + value, OF_EMBRACE) == translated(TOPIC, value, OF_EMBRACE)


@pytest.mark.parametrize("value", [b"\n", b"\n\x05ab", b"\n\0", b"\n\x02{}"])
def test_what_begins_as_protobuf_and_is_none_is_refused_and_raises_nothing(value: bytes) -> None:
    assert TOPIC.translate is not None
    assert isinstance(TOPIC.translate(value, NOW_MS, Beside(HEADERS)), Rejected)


@pytest.mark.parametrize("signal", [0, 1], ids=["spans", "logs"])
def test_what_is_refused_of_it_is_of_the_same_when_it_is_sent_again(signal: int) -> None:
    _, value = messages(start_ns=10**15)[signal]
    (letter,) = letters_of(TOPIC, value, NOW_MS, Beside(HEADERS))
    assert (letter.topic, letter.key, letter.rejected.reason) == (
        "embrace-events", b"abc12/d9", Reason.TIME_OUT_OF_RANGE
    )  # fmt: skip
    check_replayed(TOPIC, value, NOW_MS, Beside(HEADERS))


@pytest.mark.parametrize("said", ["text", "attribute"], ids=["in-a-text", "as-a-member-of-something"])
def test_an_envelope_that_speaks_of_otlp_is_an_envelope(said: str) -> None:
    document: dict[str, Any] = json.loads(json.dumps(of_embrace(logs=[])))
    document["data"]["logs"] = [
        {"time_unix_nano": NOW_NS, "severity_number": 9, "body": "x", "attributes": [
            {"key": "emb.type", "value": "sys.log"},
            {"key": "k", "value": '{"resourceLogs": []}' if said == "text" else {"resourceLogs": []}},
        ]}
    ]  # fmt: skip
    (record,) = translated(TOPIC, json.dumps(document).encode(), OF_EMBRACE).records
    assert json.loads(record.value)["events"][0]["name"] == "log"


def test_what_is_neither_is_refused_as_an_envelope() -> None:
    assert TOPIC.translate is not None
    found = TOPIC.translate(b'{"x": {"resourceSpans": []}}', NOW_MS, Beside(HEADERS))
    assert isinstance(found, Rejected) and found.detail.startswith("data: ")
