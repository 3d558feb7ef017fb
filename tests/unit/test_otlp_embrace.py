"""Embrace's SDKs in OTLP, by `emb.type`: the rows of schemas/mapping/embrace.md, and what OTLP adds to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.domain.event import COUNTERS
from pipeline.formats import embrace, native, otlp
from pipeline.formats.format import Beside, Headers
from pipeline.formats.rejected import Reason
from pipeline.formats.translation import Translation
from tests.support.embrace import HEADERS as OF_EMBRACE
from tests.support.embrace import envelope as of_embrace
from tests.support.embrace import golden
from tests.support.otlp import DEVICE, LOGS_REQUEST, NOW_MS, NOW_NS, envelopes, events, json_of, logs, spans

WEB = {**DEVICE, "telemetry.sdk.language": "webjs", "telemetry.sdk.name": "embrace-web-sdk"}
PAGE = {key: value for key, value in WEB.items() if key != "app.installation.id"}
HEADERS = (("x-em-aid", b"abc12"), ("X-EM-DID", b"d9"))
PART = {"emb.type": "ux.session_part", "emb.state": "foreground", "emb.session_part_id": "p"}
IDS = {"trace_id": bytes(range(16)), "span_id": b"12345678"}


def translated(message: Any, headers: Headers = (), key: bytes | None = None) -> Translation:
    format_ = otlp.LOGS if isinstance(message, LOGS_REQUEST) else otlp.SPANS
    assert format_.translate is not None
    found = format_.translate(message.SerializeToString(), NOW_MS, Beside(headers, key=key))
    assert isinstance(found, Translation), found
    assert format_.translate(json_of(message), NOW_MS, Beside(headers, key=key)).records == found.records  # type: ignore[union-attr]
    return found


def meaning(message: Any) -> list[tuple[str, str, list[str]]]:
    """Name, kind and counters of the events, as the native decoder has them."""
    found = []
    for record in translated(message).records:
        read = native.decode(record.value, record.key, NOW_MS)
        assert isinstance(read, native.Envelope) and not read.refused
        for event in read.events:
            counters = [name for bit, name in enumerate(COUNTERS) if event.counters >> bit & 1]
            found.append((event.name, event.kind.label, counters))
    return found


def log(type_: str, resource: dict[str, Any] = WEB, fields: dict[str, Any] | None = None, **more: Any) -> Any:
    attributes = {"emb.type": type_, **{name.replace("__", "."): value for name, value in more.items()}}
    return logs({"attributes": attributes, **(fields or {})}, resource=resource)


def span(attributes: dict[str, Any], resource: dict[str, Any] = WEB, **fields: Any) -> Any:
    ends = {"start_time_unix_nano": NOW_NS - 10**10, "end_time_unix_nano": NOW_NS}
    return spans({**IDS, **ends, "name": "n", "attributes": attributes, **fields}, resource=resource)


LOG_RECORDS: list[tuple[str, int, str, str, list[str]]] = [
    ("sys.log", 9, "log", "activity", []),
    ("sys.log", 17, "log", "activity", ["log_error_count"]),
    ("sys.exception", 17, "exception", "activity", ["exception_count"]),
    ("sys.exception", 21, "exception", "activity", ["exception_count"]),
    ("sys.android.crash", 17, "app.crash", "crash", ["crash_count"]),
    ("sys.ios.crash", 17, "app.crash", "crash", ["crash_count"]),
    ("sys.exit", 9, "app.exit", "exit", []),
    ("sys.ios.metrickit.x", 9, "metrickit.metrics", "passive", []),
    ("sys.internal", 9, "sys.internal", "passive", []),
    ("sys.network_status", 9, "sys.network_status", "passive", []),
    # These two are as they are without a type.
    ("emb.otel_log", 17, "log", "activity", ["log_error_count"]),
    ("anything", 9, "log", "activity", []),
]


@pytest.mark.parametrize(("type_", "severity", "name", "kind", "counters"), LOG_RECORDS)
def test_a_log_record(type_: str, severity: int, name: str, kind: str, counters: list[str]) -> None:
    message = log(type_, resource=DEVICE, fields={"severity_number": severity})
    assert meaning(message) == [(name, kind, counters)]


SPANS: list[tuple[dict[str, Any], dict[str, Any], list[tuple[str, str, list[str]]]]] = [
    (
        PART,
        {},
        [("device.app.lifecycle", "active", []), ("device.app.lifecycle", "background", [])],
    ),
    (PART, {"end_time_unix_nano": 0}, [("device.app.lifecycle", "active", [])]),
    (
        {**PART, "emb.user_session_termination_reason": "manual"},
        {},
        [("device.app.lifecycle", "active", []), ("session.end", "session_end", [])],
    ),
    (
        {**PART, "emb.session_part_end_reason": "web_soft_nav"},
        {},
        [("device.app.lifecycle", "active", []), ("app.session.part", "activity", [])],
    ),
    ({"emb.type": "ux.view", "view.name": "/cart"}, {}, [("app.screen.view", "activity", ["view_count"])]),
    (
        {"emb.type": "perf.network_request", "http.response.status_code": 503},
        {},
        [("http.client.request", "activity", ["network_count", "network_error_count"])],
    ),
    ({"emb.type": "sys.low_power"}, {}, [("device.power_save_mode.change", "passive", [])]),
    ({"emb.type": "state"}, {}, [("span", "passive", [])]),
    ({"emb.type": "perf", "emb.private": True}, {}, []),
    ({"emb.type": "ux.resource_fetch"}, {}, [("span", "activity", [])]),
    ({"emb.type": "perf"}, {"kind": 3, "status": (2, "gone")}, [("span", "activity", [])]),
]


@pytest.mark.parametrize(("attributes", "fields", "expected"), SPANS)
def test_a_span(
    attributes: dict[str, Any], fields: dict[str, Any], expected: list[tuple[str, str, list[str]]]
) -> None:
    assert meaning(span(attributes, **fields)) == expected


def test_what_type_says_nothing_of_keeps_all_that_otlp_says() -> None:
    [told] = events(span({"emb.type": "perf"}, kind=3, status=(2, "gone")))
    said = told["attributes"]
    assert (said["span.kind"], said["span.status_message"]) == ("client", "gone")
    named = log("emb.otel_log", fields={"event_name": "max-scroll-depth"})
    assert [told["name"] for told in events(named)] == ["max-scroll-depth"]


GOLDEN = (
    *("user_session_basic_span", "user_session_jvm_crash_span", "user_session_manual_end_1"),
    *("user_session_bg_timeout_1", "user_session_jvm_crash_log", "user_session_basic_log"),
    "user_session_aei_log_active",
)


@pytest.mark.parametrize("name", GOLDEN)
def test_otlp_and_embraces_own_envelope_come_to_the_same(name: str) -> None:
    """Android's golden files, the words of which are texts in both."""
    told = golden(name, "p1", timestamp="1764000000000", log__record__uid="u1", emb__crash_id="u1")
    is_log = "log" in name
    if is_log:
        told.setdefault("time_unix_nano", 1_764_000_100_000_000_000)
    record_ms = 1_764_500_000_000
    own = embrace.decode(
        json.dumps(of_embrace(**{"logs" if is_log else "spans": [told]})).encode(),
        record_ms,
        Beside(OF_EMBRACE),
    )
    assert isinstance(own, Translation) and not own.refused
    fields: dict[str, Any] = {
        "attributes": [{"key": a["key"], "value": {"stringValue": a["value"]}} for a in told["attributes"]]
    }
    if is_log:
        fields |= {
            "timeUnixNano": str(told["time_unix_nano"]),
            "severityNumber": told["severity_number"],
            "severityText": told["severity_text"],
            "body": {"stringValue": told.get("body", "")},
        }
    else:
        fields |= {
            "traceId": "ab", "spanId": "cd", "name": told["name"],
            "startTimeUnixNano": str(told["start_time_unix_nano"]),
            "endTimeUnixNano": str(told["end_time_unix_nano"]),
            "status": {"code": 2 if told.get("status") == "Error" else 0},
            "events": [
                {
                    "name": each["name"], "timeUnixNano": str(each["timestamp"]),
                    "attributes": [
                        {"key": a["key"], "value": {"stringValue": a["value"]}} for a in each["attributes"]
                    ],
                }
                for each in told.get("events") or ()
            ],
        }  # fmt: skip
    resource = [{"key": "service.name", "value": {"stringValue": "a"}},
                {"key": "emb.device_id", "value": {"stringValue": "d"}}]  # fmt: skip
    blocks, scopes, records = (
        ("resourceLogs", "scopeLogs", "logRecords") if is_log else ("resourceSpans", "scopeSpans", "spans")
    )
    message = {blocks: [{"resource": {"attributes": resource}, scopes: [{records: [fields]}]}]}
    translate = (otlp.LOGS if is_log else otlp.SPANS).translate
    assert translate is not None
    found = translate(json.dumps(message).encode(), record_ms)
    assert isinstance(found, Translation) and not found.refused, found
    assert said(found) == said(own)


def said(found: Translation) -> list[Any]:
    """The events, without what differs between the two: ids of spans, and that OTLP has these as fields."""
    told = []
    for record in found.records:
        for event in json.loads(record.value)["events"]:
            for name in ("trace_id", "span_id"):
                event["attributes"].pop(name, None)
            if event["id"].startswith(("ab-cd", "trace-")):
                event["id"] = event["id"].rpartition(".")[2]
            told.append(event)
    return told


DEVICES: list[tuple[dict[str, Any], dict[str, Any], Headers, str]] = [
    ({}, {"session.id": "u"}, (), "shop/session:u"),
    # A part does not repeat the session; its user session is the same.
    ({}, {"emb.user_session_id": "u", "emb.session_part_id": "p"}, (), "shop/session:u"),
    ({}, {"session.id": "u"}, HEADERS, "shop/d9"),
    ({}, {}, HEADERS, "shop/d9"),
    ({"emb.device_id": "e"}, {}, HEADERS, "shop/e"),
    # Where nobody gave a name, it is the SDK's.
    ({"service.name": "embrace-web-sdk"}, {}, HEADERS, "abc12/d9"),
    ({"service.name": "unknown_service"}, {}, HEADERS, "abc12/d9"),
    ({"service.name": "embrace-web-sdk"}, {"session.id": "u"}, (), "embrace-web-sdk/session:u"),
    ({}, {"session.id": "u"}, (("X-EM-AID", b"a\0"), ("X-EM-DID", b"d" * 129)), "shop/session:u"),
]


@pytest.mark.parametrize(("resource", "attributes", "headers", "key"), DEVICES)
@pytest.mark.parametrize("type_", ["sys.log", "emb.otel_log"])
def test_whose_it_is(
    resource: dict[str, Any], attributes: dict[str, Any], headers: Headers, key: str, type_: str
) -> None:
    message = logs({"attributes": {"emb.type": type_, **attributes}}, resource={**PAGE, **resource})
    found = translated(message, headers)
    assert [record.key for record in found.records] == [key.encode()] and not found.refused
    (event,) = json.loads(found.records[0].value)["events"]
    assert ("device.id.source" in event["attributes"]) == ("session:" in key)


def test_what_is_refused_is_of_the_same_when_it_is_sent_again() -> None:
    """Dead letters have no headers: their key says what these said. Any other key says nothing."""
    message = logs({"attributes": {"emb.type": "sys.log"}}, resource=PAGE)
    for headers in (HEADERS, HEADERS[1:]):
        kept = otlp.LOGS.kept_key_of(headers, b"k")
        assert kept is not None and otlp.LOGS.kept_key_of((), kept) == kept
        assert translated(message, (), kept) == translated(message, headers, b"k")
    assert otlp.SPANS.kept_key_of((), b"k") == b"k" and otlp.SPANS.kept_key_of((), None) is None
    assert translated(message, (), b"abc12/d9").refused


SESSIONS: list[tuple[dict[str, Any], str]] = [
    ({"emb.session_part_id": "p", "session.id": "u", "emb.user_session_id": "u"}, "p"),
    # No part is there while nobody looks at the page: a user session is none of ours.
    ({"emb.session_part_id": "", "session.id": "u", "emb.user_session_id": "u"}, ""),
    ({"session.id": "u", "emb.user_session_id": "u"}, ""),
    ({"session.id": "p"}, "p"),
]


@pytest.mark.parametrize(("attributes", "session_id"), SESSIONS)
@pytest.mark.parametrize("type_", ["sys.log", "emb.otel_log", None])
def test_the_session_is_the_part(attributes: dict[str, Any], session_id: str, type_: str | None) -> None:
    told = {**attributes, **({"emb.type": type_} if type_ else {})}
    [event] = events(logs({"attributes": told}, resource=WEB))
    assert event.get("session_id", "") == session_id


def test_a_page_load_is_no_other_device() -> None:
    first, second = (envelopes(log("sys.log", {**WEB, "emb.app_instance_id": each}))[0] for each in "ab")
    assert first["resource"] == second["resource"]


def test_fields_stay_what_they_are() -> None:
    more = {"body": "mine", "trace_id": "mine", "fatal": True, "user.email": "a@b", "user.id": "u1"}
    message = logs(
        {
            "attributes": {"emb.type": "sys.exception", **more}, "event_name": "exception.js", "body": "said",
            "severity_number": 17, **IDS,
        },
        resource=WEB, scope="s",
    )  # fmt: skip
    [envelope] = envelopes(message)
    [event] = envelope["events"]
    told = event["attributes"]
    assert (told["body"], told["attribute.body"], told["attribute.trace_id"]) == ("said", "mine", "mine")
    assert (told["trace_id"], told["otel.scope.name"]) == (IDS["trace_id"].hex(), "s")
    assert (told["attribute.fatal"], told["otlp.name"]) == (True, "exception.js")
    assert "user.email" not in told and envelope["user"]["id"] == "u1"


def test_moments_of_a_part() -> None:
    tap = {"name": "click", "time_unix_nano": NOW_NS - 5, "attributes": {"emb.type": "ux.tap"}}
    never = {"name": "emb-breadcrumb", "time_unix_nano": 7, "attributes": {"user.name": "x", "body": "b"}}
    _, _, tapped, crumb = events(span(PART, events=[tap, never]))
    assert (tapped["name"], tapped["time"]) == ("app.widget.click", (NOW_NS - 5) // 1_000_000)
    assert tapped["id"].endswith(".x0") and crumb["id"].endswith(".x1")
    assert (crumb["name"], crumb["time"]) == ("breadcrumb", (NOW_NS - 10**10) // 1_000_000)
    assert crumb["attributes"]["time.uncertain"] is True
    assert "user.name" not in crumb["attributes"] and crumb["attributes"]["attribute.body"] == "b"


TIMES: list[tuple[Any, str]] = [
    (log("sys.exit", timestamp=7), "logRecords[0].attributes[timestamp]"),
    (
        span({**PART, "emb.terminated": True, "emb.heartbeat_time_unix_nano": 2**62}),
        "spans[0].attributes[emb.heartbeat_time_unix_nano]",
    ),
    (span({**PART, "emb.crash_id": "c"}, end_time_unix_nano=2**62), "spans[0].endTimeUnixNano"),
    (span({**PART, "emb.crash_id": "c"}, end_time_unix_nano=7), "spans[0].endTimeUnixNano"),
]


@pytest.mark.parametrize(("message", "path"), TIMES)
def test_times_that_cannot_be(message: Any, path: str) -> None:
    found = translated(message)
    [refused] = found.refused
    assert refused.reason is Reason.TIME_OUT_OF_RANGE and path in refused.detail and not found.records


def test_where_it_runs() -> None:
    """Android's and Apple's SDKs can export what they record as OTLP as well."""
    cold = {**PART, "emb.cold_start": True}
    for system, attribute in (("Android", "android.app.state"), ("iOS", "ios.app.state")):
        first, launch, last = events(span(cold, {**DEVICE, "os.name": system}))
        assert first["attributes"][attribute] == "foreground" and launch["name"] == "app.launch"
        assert last["attributes"][attribute] == "background"
    first, last = events(span(cold))
    assert (first["attributes"]["browser.page.visibility"], last["name"]) == (
        "visible",
        "device.app.lifecycle",
    )
