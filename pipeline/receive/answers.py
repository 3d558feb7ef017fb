"""Answers: JSON of our own, and what OTLP/HTTP prescribes (opentelemetry-proto, "OTLP/HTTP Response").

`google.rpc.Status` and `Export…ServiceResponse` have few fields, and are written here by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import orjson

from pipeline.receive.judging import Verdict
from pipeline.receive.refusal import NeverTaken, NotTaken

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
_MOST_TEXT_CHARS = 1_000
_GRPC_CODES = {
    400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 408: 4, 413: 8, 415: 3, 429: 8, 500: 13, 503: 14,
}  # fmt: skip
"""google.rpc.Code by HTTP status."""
_TAKEN_LATER = {408: 503}
"""Clients of OTLP send the same again for 429, 502, 503 and 504, and drop it for any other refusal."""


class Answer(NamedTuple):
    """The head and body of an answer."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Style:
    """How the clients of a route are answered; the second argument is what they speak, `JSON` or `PROTOBUF`."""

    of: Callable[[Verdict, str], Answer]
    refusal: Callable[[NotTaken, str], Answer]


def listing(success: int = 200) -> Style:
    """Our own: `{"accepted": N, "refused": [{"path", "reason", "detail"}]}`."""

    def of(verdict: Verdict, _: str) -> Answer:
        status = (413 if verdict.is_too_large else 400) if verdict.is_refused else success
        said: dict[str, Any] = {
            "accepted": verdict.accepted,
            "refused": [fault._asdict() for fault in verdict.faults],
        }
        if verdict.rejected > len(verdict.faults):
            said["refused_but_not_listed"] = verdict.rejected - len(verdict.faults)
        return Answer(status, JSON, msgspec.json.encode(said))

    return Style(of, plain_refusal)


def sentry() -> Style:
    """As Sentry's SDKs expect: `{"id": …}` with the `event_id` of the envelope, where it has one."""
    ours = listing()

    def of(verdict: Verdict, spoken: str) -> Answer:
        # What is passed over is not a fault: many envelopes hold nothing else.
        if verdict.is_refused and verdict.faults:
            return ours.of(verdict, spoken)
        return Answer(200, JSON, msgspec.json.encode(_event_id(verdict)))

    return Style(of, plain_refusal)


def _event_id(verdict: Verdict) -> dict[str, str]:
    first, _, _ = (verdict.records[0].value or b"").partition(b"\n")
    try:
        event_id = orjson.loads(first)["event_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        # It was mended, or is one JSON text: nobody needs the id that badly.
        return {}
    return {"id": event_id} if isinstance(event_id, str) else {}


def plain_refusal(fault: NotTaken, _: str) -> Answer:
    """`{"reason", "detail"}`."""
    return Answer(fault.status, JSON, msgspec.json.encode({"reason": fault.reason, "detail": fault.text}))


def otlp(rejected_field: str) -> Style:
    """As OTLP has it; `rejected_field` is `rejectedLogRecords` or `rejectedSpans`."""

    def of(verdict: Verdict, spoken: str) -> Answer:
        text = "; ".join(dict.fromkeys(fault.detail for fault in verdict.faults))[:_MOST_TEXT_CHARS]
        if verdict.is_refused and verdict.faults:
            status = 413 if verdict.is_too_large else 400
            return otlp_refusal(NeverTaken(status, verdict.faults[0].reason, text), spoken)
        count = verdict.rejected
        if spoken == PROTOBUF:
            partial = _varint_field(1, count) + _bytes_field(2, text.encode()) if count else b""
            return Answer(200, PROTOBUF, _bytes_field(1, partial) if count else b"")
        # 64 bits are text in the JSON form of protobuf.
        success = {"partialSuccess": {rejected_field: str(count), "errorMessage": text}} if count else {}
        return Answer(200, JSON, msgspec.json.encode(success))

    return Style(of, otlp_refusal)


def otlp_refusal(fault: NotTaken, spoken: str) -> Answer:
    """A `google.rpc.Status`."""
    status = _TAKEN_LATER.get(fault.status, fault.status)
    code = _GRPC_CODES[status]
    if spoken == PROTOBUF:
        body = _varint_field(1, code) + _bytes_field(2, fault.text.encode())
        return Answer(status, PROTOBUF, body)
    return Answer(status, JSON, msgspec.json.encode({"code": code, "message": fault.text}))


def by_topic(topic: str, of_topic: Style, of_others: Style) -> Style:
    """One style for bodies that become records of a topic, another for all others.

    Whoever speaks protobuf is answered in the first before a body is read, and where nothing becomes of it.
    """

    def of(verdict: Verdict, spoken: str) -> Answer:
        records = verdict.records
        is_first = any(record.topic == topic for record in records) if records else spoken == PROTOBUF
        return (of_topic if is_first else of_others).of(verdict, spoken)

    def refusal(fault: NotTaken, spoken: str) -> Answer:
        return (of_topic if spoken == PROTOBUF else of_others).refusal(fault, spoken)

    return Style(of, refusal)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _bytes_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value
