"""OTLP in protobuf with the compiled core: what it takes is what Python makes of it, and all else is Python's."""

from __future__ import annotations

from random import Random
from struct import pack, unpack
from typing import Any

import pytest

from pipeline.formats import otlp
from pipeline.formats.limits import MAX_RECORD_BYTES
from pipeline.formats.otlp.logs import RULES
from pipeline.formats.otlp.names import PLAIN
from pipeline.formats.otlp.wire import field_of
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation
from tests.bench.otlp import messages
from tests.fuzz.records import examples
from tests.support.both_otlp import BothCores
from tests.support.otlp import DEVICE, LOGS_REQUEST, NOW_MS, NOW_NS, logs, message_of, spans

NAMES = sorted({*RULES, *PLAIN, "x.exception", "metrickit.x", "emb-web-vitals-report-lcp", "mine", ""})
IDS = {"trace_id": bytes(range(16)), "span_id": b"12345678"}
ATTRIBUTES: dict[str, Any] = {
    "session.id": "s1",
    "session.end.reason": "manual",
    "android.state": "foreground",
    "exception.type": "E",
    "exception.message": 'm\n"\\\x01\x7f\u2028ä€𝄞',
    "browser.page.x": 5,
    "app.screen.coordinate.x": 5,
    "screen.name": "Home",
    "view.name": "Other",
    "app.navigation.destination.name": "There",
    "app.screen.name": "Here",
    "url.full": "https://a.b/c?d",
    "fatal": "yes",
    "n": -(2**63),
    "x": 0.1,
    "is": False,
}


def taken(both: BothCores, message: Any, *, left: dict[str, int] | None = None) -> Translation:
    """What both make of a message, of which the core leaves so much to Python."""
    both.left.clear()
    found = both.check(message.SerializeToString(), NOW_MS)
    assert isinstance(found, Translation)
    assert both.left == (left or {})
    return found


@pytest.fixture(scope="module")
def both() -> BothCores:
    return BothCores(otlp.LOGS)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_in_every_place(both: BothCores, name: str) -> None:
    """As the name of an event or as a body, with the attributes that its rule goes by and without each of them."""
    subsets = [ATTRIBUTES, {}, *({k: v for k, v in ATTRIBUTES.items() if k != gone} for gone in ATTRIBUTES)]
    for resource in (DEVICE, {**DEVICE, "telemetry.sdk.language": "webjs", "session.id": "of resource"}):
        records = [
            {"attributes": attributes, "severity_number": severity, **said, **ids}
            for attributes in subsets
            for severity in (0, 17, 21)
            for ids in ({}, IDS)
            for said in ({"event_name": name}, {"body": name}, {"event_name": name, "body": "text"})
        ]
        both.check(logs(*records, resource=resource, scope='s"c').SerializeToString(), NOW_MS)


def test_what_apps_mostly_send_is_all_taken(both: BothCores) -> None:
    for message in messages(100, 10):
        taken(both, message)


SPAN_NAMES = (
    *(
        "AppStart",
        "Created",
        "Started",
        "Paused",
        "Stopped",
        "Destroyed",
        "Restarted",
        "Resumed",
        "GET",
        "",
        "app.jank",
    ),
    *(
        "Activity TTID Home",
        "Fragment TTID ",
        "documentLoad",
        "emb-app-startup-cold",
        "MXMetricPayload",
        "exception",
    ),
)
SPAN_ATTRIBUTES: dict[str, Any] = {
    "session.id": "s1",
    "start.type": "Cold",
    "app.launch.type": "warm",
    "screen.name": "Home",
    "activity.name": "Main",
    "http.method": "GET",
    "http.request.method": "GET",
    "http.status_code": 404,
    "http.url": "https://a.b/c?d",
    "error.type": "E",
    "duration_ms": 1.5,
    "span.name": "said",
    "span.status": "ok",
}


@pytest.mark.parametrize("name", SPAN_NAMES)
def test_each_name_of_a_span(name: str) -> None:
    """With the attributes that its rule goes by and without each of them, in every state that a span may be in."""
    both = BothCores(otlp.SPANS)
    subsets = [
        {},
        SPAN_ATTRIBUTES,
        *({k: v for k, v in SPAN_ATTRIBUTES.items() if k != gone} for gone in SPAN_ATTRIBUTES),
        {"http.method": "get"},
        {"http.request.method": "POST", "app.screen.name": "Home", "screen.name": "Home"},
    ]
    for resource in (DEVICE, {**DEVICE, "telemetry.sdk.language": "webjs", "session.id": "of resource"}):
        records = [
            {"name": name, "attributes": attributes, **said}
            for attributes in subsets
            for said in (
                {"kind": 3},
                {"kind": 3, "status": (2, "")},
                {"kind": 1, "status": (2, "no"), "parent_span_id": b"87654321"},
                {"kind": 9, "status": (1, ""), "trace_state": "th:8", "flags": 257},
                {"end_time_unix_nano": 0},
                {"end_time_unix_nano": NOW_NS},
                {"end_time_unix_nano": NOW_NS - 1},
                {"end_time_unix_nano": NOW_NS + 1, "dropped_events_count": 300},
                {"end_time_unix_nano": NOW_NS + 10**15},
                {"start_time_unix_nano": NOW_NS - 123},
                {"events": [{"name": "exception", "attributes": {"exception.type": "E"}}]},
            )
        ]
        both.check(spans(*records, resource=resource).SerializeToString(), NOW_MS)
        if name == "GET":
            assert not both.left["value"] and both.left.total() < len(records) / 2
        both.left.clear()


def test_the_examples() -> None:
    """Those of the schemas, in protobuf: records of SDKs and of Collectors among them."""
    formats = {True: BothCores(otlp.LOGS), False: BothCores(otlp.SPANS)}
    count = 0
    for value in examples("otlp"):
        message = message_of(value)
        if message is not None:
            both = formats[isinstance(message, LOGS_REQUEST)]
            found = both.check(message.SerializeToString(), NOW_MS)
            count += 0 if isinstance(found, Rejected) else len(found.records)
    assert count > 10 and all(both.left for both in formats.values())


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"attributes": {"list": ["a"]}}, "value"),
        ({"attributes": {"none": None}}, "value"),
        ({"attributes": {"bytes": b"x"}}, "value"),
        ({"attributes": {"nan": float("nan")}}, "number"),
        ({"attributes": {"small": 1e-9}}, "number"),
        ({"attributes": {"user.id": "u"}}, "special"),
        ({"attributes": {"session.id": 5}}, "session"),
        ({"attributes": {"session.id": "s" * 129}}, "session"),
        ({"body": {"a": 1}}, "value"),
        ({"body": 5}, "body"),
        ({"time_unix_nano": 0}, "time"),
        ({"time_unix_nano": NOW_NS + 100_000 * 10**9}, "time"),
        ({"event_name": "app.crash"}, "rule"),
        ({"severity_number": 200}, "form"),
        ({"body": "b" * MAX_RECORD_BYTES}, "size"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_there_is_a_doubt_about_is_left_to_python(both: BothCores, record: Any, why: str) -> None:
    """That record alone: those before it and behind it are not."""
    found = taken(both, logs({"event_name": "a"}, record, {"event_name": "b"}), left={why: 1})
    assert found.records[0].value.count(b'"name":') >= 2


def test_text_that_is_no_utf_8_is_left_to_python(both: BothCores) -> None:
    both.left.clear()
    record = pack("<BQ", 9, NOW_NS) + field_of(12, b"n\xff")
    resource = logs({}).resource_logs[0].resource.SerializeToString()
    value = field_of(1, field_of(1, resource) + field_of(2, field_of(2, record)))
    assert isinstance(both.check(value, NOW_MS), Translation) and both.left == {"utf8": 1}


def test_records_of_a_device_that_is_not_said_once_are_left_to_python(both: BothCores) -> None:
    message = logs({"attributes": {"app.installation.id": "d2"}}, resource={"service.name": "shop"})
    taken(both, message, left={"resource": 1})


def test_numbers_are_written_as_python_writes_them(both: BothCores) -> None:
    random = Random(3)
    for _ in range(20):
        doubles = [unpack("<d", random.randbytes(8))[0] for _ in range(200)]
        doubles += [random.uniform(-1, 1) * 10 ** random.randint(-5, 16) for _ in range(200)]
        doubles += [round(each, 3) for each in doubles[200:]] + [-0.0, 1e16, 1e15, 1e-5, 123.0]
        # Right between two texts of fewer digits.
        doubles += [random.getrandbits(20) / 2**17 for _ in range(200)] + [606960380917158.25]
        records = [{"attributes": {"x": value, "n": random.getrandbits(63)}} for value in doubles]
        both.check(logs(*records).SerializeToString(), NOW_MS)


@pytest.mark.slow
def test_a_body_that_becomes_too_much_is_cut_at_the_same_place(both: BothCores) -> None:
    """Also where records behind it are refused for another reason: they were not looked at."""
    some: list[dict[str, Any]] = [*[{"event_name": "a"}] * 999, {"time_unix_nano": 5}]
    message = logs(*some, scope="s" * 1_000)
    records = message.resource_logs[0].scope_logs[0].log_records
    for _ in range(6):
        records.extend(list(records))
    both.left.clear()
    found = both.check(message.SerializeToString(), NOW_MS)
    assert isinstance(found, Translation) and found.is_full
    assert 0 < both.left["time"] < 64 < len(found.refused)
