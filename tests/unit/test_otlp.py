"""What OTLP records come to: each row of schemas/mapping/otlp.md."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

import pytest

from pipeline.domain.event import COUNTERS, Kind
from pipeline.formats import native, otlp
from pipeline.formats.format import Beside
from pipeline.formats.options import Options
from pipeline.formats.otlp import decode, identity, refusals
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Translation
from pipeline.storage.dead_letter import dead_letters_of
from tests.support.otlp import (
    DEVICE,
    LOGS_REQUEST,
    NOW_MS,
    NOW_NS,
    add_logs,
    envelopes,
    events,
    json_of,
    logs,
    spans,
)

BROWSER = {**DEVICE, "telemetry.sdk.language": "webjs"}


def translated(value: bytes | Any, format_: Any = otlp.LOGS, **options: Any) -> Translation:
    raw = value if isinstance(value, bytes) else value.SerializeToString()
    found = format_.translate(raw, NOW_MS, Beside(options=Options(**options)))
    assert isinstance(found, Translation), found
    return found


def meaning(message: Any) -> list[tuple[str, str, list[str]]]:
    """Name, kind and counters of the events, as the native decoder has them."""
    format_ = otlp.LOGS if isinstance(message, LOGS_REQUEST) else otlp.SPANS
    found = []
    for record in translated(message, format_).records:
        envelope = native.decode(record.value, record.key, NOW_MS)
        assert isinstance(envelope, native.Envelope) and not envelope.refused
        for event in envelope.events:
            counters = [name for bit, name in enumerate(COUNTERS) if event.counters >> bit & 1]
            found.append((event.name, event.kind.label, counters))
    return found


def told(name: str, attributes: dict[str, Any], resource: dict[str, Any] = DEVICE, **fields: Any) -> Any:
    """What a log record of a name comes to."""
    [event] = events(logs({"event_name": name, "attributes": attributes, **fields}, resource=resource))
    return event


LOG_RECORDS: list[tuple[str, dict[str, Any], int, str, str, list[str]]] = [
    ("session.start", {"session.previous_id": "p"}, 9, "session.start", "activity", []),
    ("session.end", {}, 9, "session.end.reported", "passive", []),
    ("session.end", {"session.end.reason": "manual"}, 9, "session.end", "session_end", []),
    ("device.app.lifecycle", {"android.app.state": "created"}, 9, "device.app.lifecycle", "launch", []),
    ("device.app.lifecycle", {"android.state": "foreground"}, 9, "device.app.lifecycle", "foreground", []),
    (
        "device.app.lifecycle",
        {"android.app.state": "background"},
        9,
        "device.app.lifecycle",
        "background",
        [],
    ),
    ("device.app.lifecycle", {"ios.state": "active"}, 9, "device.app.lifecycle", "active", []),
    ("device.app.lifecycle", {"ios.app.state": "inactive"}, 9, "device.app.lifecycle", "activity", []),
    ("device.app.lifecycle", {"ios.app.state": "terminate"}, 9, "device.app.lifecycle", "exit", []),
    (
        "device.app.lifecycle",
        {"browser.page.visibility": "hidden"},
        9,
        "device.app.lifecycle",
        "background",
        [],
    ),
    ("app.crash", {"exception.type": "E"}, 21, "app.crash", "crash", ["crash_count"]),
    ("device.crash", {"exception.type": "E"}, 21, "app.crash", "crash", ["crash_count"]),
    ("device.crash", {"exception.type": "termination"}, 21, "app.exit", "exit", []),
    ("device.anr", {}, 9, "app.anr", "activity", ["anr_count"]),
    ("exception", {"exception.type": "E"}, 21, "exception", "exception", ["exception_count"]),
    ("exception", {"exception.type": "E"}, 17, "exception", "activity", ["exception_count"]),
    ("payment.exception", {}, 17, "exception", "activity", ["exception_count"]),
    ("app.screen.click", {}, 9, "app.screen.click", "activity", ["tap_count"]),
    ("app.widget.click", {}, 9, "app.widget.click", "activity", ["tap_count"]),
    ("app.screen.longpress", {}, 9, "app.screen.click", "activity", ["tap_count"]),
    ("app.widget.longpress", {}, 9, "app.widget.click", "activity", ["tap_count"]),
    ("browser.user_action.click", {}, 9, "app.widget.click", "activity", ["tap_count"]),
    ("app.screen.view", {"screen.name": "Pay"}, 9, "app.screen.view", "activity", ["view_count"]),
    (
        "app.navigation.complete",
        {"app.navigation.destination.name": "Pay"},
        9,
        "app.screen.view",
        "activity",
        ["view_count"],
    ),
    (
        "browser.navigation",
        {"url.full": "https://h/pay?x=1"},
        9,
        "app.screen.view",
        "activity",
        ["view_count"],
    ),
    ("browser.navigation", {"browser.navigation.hash_change": True}, 9, "browser.navigation", "activity", []),
    ("browser.navigation", {"browser.navigation.type": "replace"}, 9, "browser.navigation", "activity", []),
    ("browser.page_view", {"url.full": "https://h"}, 9, "app.screen.view", "activity", ["view_count"]),
    ("app.jank", {}, 9, "app.jank", "activity", []),
    ("browser.web_vital", {}, 9, "browser.web_vital", "activity", []),
    ("browser.resource_timing", {}, 9, "browser.resource_timing", "passive", []),
    ("network.change", {}, 9, "network.change", "passive", []),
    ("device.power_save_mode.change", {}, 9, "device.power_save_mode.change", "passive", []),
    ("device.thermal_status.change", {}, 9, "device.thermal_status.change", "passive", []),
    ("", {"exception.type": "E"}, 17, "exception", "activity", ["exception_count"]),
    ("", {}, 17, "log", "activity", ["log_error_count"]),
    ("", {}, 9, "log", "activity", []),
    ("", {"metrickit.diagnostic.name": "crash"}, 21, "metrickit.diagnostic", "passive", []),
    ("metrickit.diagnostic.hang", {}, 9, "metrickit.diagnostic", "passive", []),
    ("", {"event.name": "app.jank"}, 9, "app.jank", "activity", []),
    ("my.own.event", {}, 17, "my.own.event", "activity", []),
]


@pytest.mark.parametrize(("name", "attributes", "severity", "native_name", "kind", "counters"), LOG_RECORDS)
def test_a_log_record(
    name: str, attributes: dict[str, Any], severity: int, native_name: str, kind: str, counters: list[str]
) -> None:
    message = logs({"event_name": name, "attributes": attributes, "severity_number": severity})
    assert meaning(message) == [(native_name, kind, counters)]
    [event] = events(message)
    if name and name != native_name:
        assert event["attributes"]["otlp.name"] == name


def test_facts_of_log_records_have_native_names() -> None:
    assert (
        told("browser.navigation", {"url.full": "https://h/pay?x=1"})["attributes"]["app.screen.name"]
        == "/pay"
    )
    assert told("browser.navigation", {"url.full": "https://[/"})["attributes"]["url.full"] == "https://[/"
    page = {"url": "https://h/a/b", "type": "0"}
    assert told("browser.page_view", {}, body=page)["attributes"]["app.screen.name"] == "/a/b"
    view = told("app.screen.view", {"screen.name": "Pay"})["attributes"]
    assert view == {"app.screen.name": "Pay"}
    arrival = told("app.navigation.complete", {"app.navigation.destination.name": "Pay"})["attributes"]
    assert arrival["app.screen.name"] == "Pay"
    click = told("browser.user_action.click", {"browser.page.x": 3, "browser.page.y": 4})["attributes"]
    assert (click["app.screen.coordinate.x"], click["app.screen.coordinate.y"]) == (3, 4)
    memory = told(
        "device.crash", {"exception.type": "termination", "exception.message": "over the memory limit"}
    )
    assert memory["attributes"]["app.exit.reason"] == "out_of_memory"
    other = told("device.crash", {"exception.type": "termination", "exception.message": "no"})
    assert other["attributes"]["app.exit.reason"] == "unknown"
    both = told("device.app.lifecycle", {"android.state": "background", "android.app.state": "foreground"})
    assert both["attributes"]["android.app.state"] == "foreground"
    assert both["attributes"]["android.state"] == "background"


def test_an_uncaught_exception_of_a_page_does_not_end_it() -> None:
    event = told("exception", {"exception.type": "E", "fatal": True}, BROWSER, severity_number=21)
    assert "fatal" not in event["attributes"] and event["attributes"]["exception.fatal"] is True
    assert told("exception", {"exception.type": "E"}, severity_number=21)["attributes"]["fatal"] is True


def test_a_line_of_a_log_keeps_what_it_says() -> None:
    body = {"msg": "no", "list": ["a", 1, True, None], "bin": b"\x01\x02\xff"}
    [event] = events(
        logs({"body": body, "severity_number": 17, "severity_text": "ERROR", "trace_id": b"1" * 16})
    )
    assert event["attributes"] == {
        "severity_number": 17,
        "severity_text": "ERROR",
        "body": {"msg": "no", "list": ["a", 1, True, None], "bin": "AQL/"},
        "trace_id": "31" * 16,
    }


def test_a_name_may_stand_in_the_body() -> None:
    assert events(logs({"body": "session.start"}))[0]["name"] == "session.start"
    assert events(logs({"body": "some text"}))[0]["name"] == "log"


def test_attributes_do_not_hide_fields() -> None:
    [event] = events(
        logs({"attributes": {"body": "a", "severity_number": 21}, "body": "b", "severity_number": 1})
    )
    assert event["attributes"]["body"] == "b" and event["attributes"]["attribute.body"] == "a"
    assert event["attributes"]["severity_number"] == 1


def test_time_is_whole_milliseconds_and_the_rest_orders_what_one_holds() -> None:
    [event] = events(logs({"time_unix_nano": NOW_NS + 1_999_999}))
    assert (event["time"], event["seq"]) == (NOW_MS + 1, 999_999)
    [observed] = events(logs({"time_unix_nano": 0, "observed_time_unix_nano": NOW_NS}))
    assert observed["time"] == NOW_MS and "seq" not in observed


def test_a_clock_that_is_ahead_is_set_right_for_its_device_alone() -> None:
    message = logs({"time_unix_nano": NOW_NS + 7_200_000_000_000}, {})
    add_logs(message, {}, resource={**DEVICE, "app.installation.id": "d2"})
    first, second = envelopes(message)
    assert [e["raw_time"] - e["time"] for e in first["events"]] == [7_200_000, 7_200_000]
    assert "raw_time" not in second["events"][0]


# Ids.


def test_an_id_is_the_records_own_or_what_it_says() -> None:
    assert told("e", {"log.record.uid": "01ARZ"})["id"] == "01ARZ"
    assert told("e", {"log.record.uid": "x" * 200})["id"].startswith("h-")
    assert told("app.crash", {"app.crash.id": "c1"})["id"] == "crash:c1"
    assert told("device.crash", {"app.crash.id": "c1", "log.record.uid": "u"})["id"] == "u"
    one = told("e", {"a": 1, "b": 2})
    assert (
        one["id"] == told("e", {"b": 2, "a": 1}, observed_time_unix_nano=5, severity_text="x", flags=1)["id"]
    )
    for other in (
        told("e", {"a": 1}),
        told("f", {"a": 1, "b": 2}),
        told("e", {"a": 1, "b": 2}, time_unix_nano=NOW_NS + 1),
        told("e", {"a": 1, "b": 2}, body="x"),
        told("e", {"a": 1, "b": 2, "session.id": "s"}),
        told("e", {"a": 1, "b": 2}, {**DEVICE, "app.installation.id": "d2"}),
        told("e", {"a": 1, "b": 2}, trace_id=b"1" * 16),
    ):
        assert other["id"] != one["id"]
    assert (
        one["id"] == told("e", {"a": 1, "b": 2}, {**DEVICE, "host.name": "collector", "os.name": "x"})["id"]
    )


def test_the_id_of_a_known_record_stays_as_it_is() -> None:
    """Another one would have all that is sent again stored twice."""
    event = told("e", {"b": 1, "a": 1.5, "session.id": "s"}, span_id=b"12345678", body="x")
    said = f'["shop","d1",{NOW_NS},"e","s",{{"a":1.5,"b":1}},"x","","3132333435363738",""]'
    assert event["id"] == "h-" + blake2b(said.encode(), digest_size=16).hexdigest()


def test_an_exception_that_is_told_twice_is_one() -> None:
    said = {"exception.type": "E", "exception.message": "no"}
    span = {"trace_id": b"1" * 16, "span_id": b"2" * 8, "name": "work"}
    told_by_span = {"name": "exception", "time_unix_nano": NOW_NS + 100, "attributes": said}
    [_, of_span] = events(spans({**span, "events": [told_by_span]}))
    record = {"event_name": "exception", "trace_id": b"1" * 16, "span_id": b"2" * 8, "severity_number": 17}
    [of_log] = events(
        logs({**record, "attributes": {**said, "session.id": "s"}, "time_unix_nano": NOW_NS + 900})
    )
    assert of_log["id"] == of_span["id"]
    [fatal] = events(logs({**record, "attributes": said, "severity_number": 21}))
    assert fatal["id"] != of_span["id"]
    [later] = events(logs({**record, "attributes": said, "time_unix_nano": NOW_NS + 2_000_000}))
    assert later["id"] != of_span["id"]


# Identity.


APPS: list[tuple[dict[str, Any], str]] = [
    ({"app.id": "org.a", "service.name": "label"}, "org.a"),
    ({"service.namespace": "org", "service.name": "a"}, "org.a"),
    ({"service.name": "a/b"}, "a.b"),
    ({"app.id": "", "service.name": "a"}, "a"),
    ({"app.id": "x" * 129, "service.name": "a"}, "a"),
    ({"app.id": 5, "service.name": "a"}, "a"),
]


@pytest.mark.parametrize(("resource", "app_id"), APPS)
def test_the_app(resource: dict[str, Any], app_id: str) -> None:
    [envelope] = envelopes(logs({}, resource={**resource, "app.installation.id": "d"}))
    assert envelope["app_id"] == app_id


def test_the_app_may_be_another_attribute() -> None:
    message = logs({}, resource={**DEVICE, "tenant": "t"})
    [record] = translated(message, otlp_app_id=("tenant+service.name",)).records
    assert record.key == b"t.shop/d1"
    [refused] = translated(message, otlp_app_id=("bundle",)).refused
    assert refused.detail == "resourceLogs[0].resource.attributes[bundle]: required"


@pytest.mark.parametrize("name", ["unknown_service", "unknown_service:node"])
def test_a_name_that_nobody_gave_is_no_app(name: str) -> None:
    [refused] = translated(logs({}, resource={"service.name": name, "app.installation.id": "d"})).refused
    assert refused.reason is Reason.MISSING_FIELD


DEVICES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"app.installation.id": "i", "device.id": "x"}, {"app.installation.id": "r"}, "i"),
    ({"device.id": "x"}, {}, "x"),
    ({}, {"app.installation.id": "r"}, "r"),
    ({"app.installation.id": "y" * 129, "device.id": "x"}, {}, "x"),
    ({"telemetry.sdk.language": "webjs"}, {"session.id": "s"}, "session:s"),
    ({"user_agent.original": "M"}, {"session.id": "s"}, "session:s"),
    ({"browser.platform": "M", "session.id": "s"}, {}, "session:s"),
]


@pytest.mark.parametrize(("resource", "attributes", "device_id"), DEVICES)
def test_the_device(resource: dict[str, Any], attributes: dict[str, Any], device_id: str) -> None:
    [envelope] = envelopes(logs({"attributes": attributes}, resource={"service.name": "a", **resource}))
    assert envelope["device_id"] == device_id
    is_session = device_id.startswith("session:")
    assert (envelope["events"][0]["attributes"].get("device.id.source") == "session") == is_session


def test_sessions_stand_for_devices_where_that_is_allowed() -> None:
    message = logs({"attributes": {"session.id": "s"}}, resource={"service.name": "a"})
    assert len(translated(message).refused) == 1
    assert [r.key for r in translated(message, otlp_session_devices="always").records] == [b"a/session:s"]
    page = logs(
        {"attributes": {"session.id": "s"}}, resource={"service.name": "a", "telemetry.sdk.language": "webjs"}
    )
    assert len(translated(page, otlp_session_devices="never").refused) == 1


SESSIONS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"session.id": "s"}, {"session.id": "of resource"}, "s"),
    ({"session.id": ""}, {"session.id": "of resource"}, "of resource"),
    ({"emb.session_part_id": "p", "session.id": "u"}, {}, "p"),
    ({"emb.session_part_id": "", "session.id": "u"}, {}, "u"),
    ({"rum.sessionId": "r"}, {}, "r"),
    ({"session.id": 7}, {}, ""),
    ({}, {}, ""),
]


@pytest.mark.parametrize(("attributes", "resource", "session_id"), SESSIONS)
def test_the_session_of_the_sdk(
    attributes: dict[str, Any], resource: dict[str, Any], session_id: str
) -> None:
    assert told("e", attributes, {**DEVICE, **resource}).get("session_id", "") == session_id


def test_ids_that_are_too_long_are_hashed() -> None:
    assert told("e", {"session.id": "s" * 129})["session_id"].startswith("h-")
    assert told("e", {"session.id": "a\0"})["session_id"].startswith("h-")


def test_the_user() -> None:
    attributes = {
        "user.id": "u",
        "enduser.id": "other",
        "user.roles": ["a", 5, "b"],
        "user.email": "e@example.org",
    }
    [envelope] = envelopes(logs({"attributes": attributes}))
    assert envelope["user"] == {"id": "u", "personas": ["a", "b"]}
    assert envelope["events"][0]["attributes"] == {"enduser.id": "other"}
    for name in ("enduser.id", "enduser.pseudo.id", "user.hash"):
        [envelope] = envelopes(logs({}, resource={**DEVICE, name: "u"}))
        assert envelope["user"] == {"id": "u"} and name not in envelope["resource"]


def test_names_and_addresses_are_kept_only_where_they_may_be() -> None:
    personal = {
        "user.name": "secret-name",
        "user.full_name": "secret-full",
        "user.email": "secret@example.org",
    }
    event = {"name": "exception", "attributes": {"exception.type": "E", **personal}}
    other = {"name": "other", "attributes": personal}
    for message in (
        logs({"attributes": {**personal, "user.id": "u"}}, {}, resource={**DEVICE, **personal}),
        spans({"attributes": personal, "events": [event, other]}, resource={**DEVICE, **personal}),
    ):
        format_ = otlp.LOGS if isinstance(message, LOGS_REQUEST) else otlp.SPANS
        assert not [record for record in translated(message, format_).records if b"secret" in record.value]
    message = logs({"attributes": {**personal, "user.id": "u"}})
    [record] = translated(message, personal=True).records
    assert json.loads(record.value)["user"]["properties"] == personal
    assert "user.name" not in json.loads(record.value)["events"][0]["attributes"]


def test_the_id_does_not_hang_on_whether_names_are_kept() -> None:
    message = logs({"attributes": {"user.name": "n", "a": 1}})
    ids = {
        json.loads(translated(message, personal=keep).records[0].value)["events"][0]["id"]
        for keep in (True, False)
    }
    assert len(ids) == 1


def test_the_resource() -> None:
    resource = {
        **DEVICE,
        "app_version": "1",
        "sdk_version": "2",
        "device.model": "P",
        "deployment.environment": "prod",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.distro.name": "otel-android",
        "host.arch": "arm64",
        "process.pid": 5,
        "session.id": "s",
        "network.type": "wifi",
        "service.instance.id": "i",
        "host.name": "collector",
        "k8s.pod.name": "p",
        "os.version": 14,
        "list": ["a"],
    }
    [envelope] = envelopes(logs({}, resource=resource))
    assert envelope["resource"] == {
        "service.name": "shop",
        "service.version": "1",
        "telemetry.sdk.version": "2",
        "device.model.identifier": "P",
        "deployment.environment.name": "prod",
        "telemetry.sdk.name": "otel-android",
        "host.arch": "arm64",
        "os.version": "14",
        "list": '["a"]',
    }


def test_a_crash_that_a_later_process_tells_is_of_the_version_that_crashed() -> None:
    resource = {**DEVICE, "service.version": "1.1", "os.version": "15"}
    crash = {"event_name": "app.crash", "attributes": {"service.version": "1.0", "app.build_id": "7"}}
    first, second = envelopes(logs(crash, {"event_name": "e"}, resource=resource))
    assert first["resource"] == {
        "app.build_id": "7",
        "os.version": "15",
        "service.name": "shop",
        "service.version": "1.0",
    }
    assert first["events"][0]["name"] == "app.crash" and first["events"][0]["attributes"] == {}
    assert second["resource"]["service.version"] == "1.1"


# Spans.

HTTP = {"http.request.method": "get", "http.response.status_code": 504}
SPANS: list[tuple[dict[str, Any], list[tuple[str, str, list[str]]]]] = [
    (
        {"name": "GET", "kind": 3, "attributes": HTTP},
        [("http.client.request", "activity", ["network_count", "network_error_count"])],
    ),
    (
        {"name": "GET", "kind": 3, "attributes": {"http.method": "GET", "http.status_code": 200}},
        [("http.client.request", "activity", ["network_count"])],
    ),
    (
        {"name": "GET", "kind": 3, "attributes": {"http.method": "GET"}, "status": (2, "")},
        [("http.client.request", "activity", ["network_count", "network_error_count"])],
    ),
    (
        {"name": "GET", "kind": 3, "attributes": HTTP, "end_time_unix_nano": 0},
        [("span.started", "activity", [])],
    ),
    ({"name": "GET", "kind": 1, "attributes": HTTP}, [("span", "activity", [])]),
    (
        {"name": "AppStart", "attributes": {"start.type": "cold"}},
        [("app.launch", "launch", []), ("span", "activity", [])],
    ),
    (
        {"name": "AppStart", "attributes": {"start.type": "hot"}},
        [("app.launch", "activity", []), ("span", "activity", [])],
    ),
    (
        {"name": "AppStart", "attributes": {"start.type": "cold"}, "end_time_unix_nano": 0},
        [("app.launch", "launch", [])],
    ),
    (
        {"name": "Resumed", "attributes": {"screen.name": "M"}},
        [("app.screen.view", "activity", ["view_count"]), ("span", "activity", [])],
    ),
    ({"name": "Resumed"}, [("android.activity.resumed", "activity", []), ("span", "activity", [])]),
    ({"name": "Paused"}, [("android.activity.paused", "activity", []), ("span", "activity", [])]),
    (
        {
            "name": "device.app.lifecycle",
            "attributes": {"android.app.state": "background"},
            "end_time_unix_nano": NOW_NS,
        },
        [("device.app.lifecycle", "background", [])],
    ),
    ({"name": "app.crash", "end_time_unix_nano": NOW_NS}, [("app.crash", "crash", ["crash_count"])]),
    ({"name": "MXMetricPayload"}, [("MXMetricPayload", "passive", [])]),
    ({"name": "sync", "start_time_unix_nano": NOW_NS - 50_000_000_000_000}, [("span", "passive", [])]),
    (
        {"name": "work", "events": [{"name": "exception", "attributes": {"exception.type": "E"}}]},
        [("span", "activity", []), ("exception", "activity", ["exception_count"])],
    ),
]


@pytest.mark.parametrize(("span", "expected"), SPANS)
def test_a_span(span: dict[str, Any], expected: list[tuple[str, str, list[str]]]) -> None:
    message = spans(span)
    assert meaning(message) == expected
    found = events(message)
    assert len({event["id"] for event in found}) == len(found)


def test_what_is_known_at_the_end_alone_is_not_in_the_fact_of_the_start() -> None:
    """A span that is told of before it is over, and again then, has one fact of its start, the same both times."""
    span = {"name": "AppStart", "attributes": {"start.type": "cold"}}
    [early] = events(spans({**span, "end_time_unix_nano": 0}))
    [start, end] = events(spans({**span, "status": (2, "late")}))
    assert start == early and "duration_ms" not in start["attributes"]
    assert end["attributes"]["duration_ms"] == 5.0 and end["attributes"]["span.status"] == "error"
    assert (start["id"][-2:], end["id"][-2:], start["time"], end["time"]) == (".s", ".e", NOW_MS, NOW_MS)


def test_a_request_says_what_became_of_it() -> None:
    old = {"http.method": "get", "http.url": "https://h/", "http.status_code": 404}
    [event] = events(spans({"name": "GET", "kind": 3, "attributes": old, "status": (2, "no")}))
    attributes = event["attributes"]
    assert attributes["http.request.method"] == "GET" and attributes["url.full"] == "https://h/"
    assert attributes["http.response.status_code"] == 404 and "error.type" not in attributes
    [failed] = events(
        spans({"name": "GET", "kind": 3, "attributes": {"http.method": "GET"}, "status": (2, "timeout")})
    )
    assert failed["attributes"]["error.type"] == "timeout"


def test_the_rest_of_a_span() -> None:
    other = {"name": "step", "time_unix_nano": NOW_NS + 5, "attributes": {"a": 1}}
    span = {"name": "work", "kind": 1, "parent_span_id": b"3" * 8, "trace_state": "th:8", "events": [other]}
    message = spans(span)
    message.resource_spans[0].scope_spans[0].spans[0].links.add(trace_id=b"4" * 16, span_id=b"5" * 8)
    [event] = events(message)
    assert event["attributes"] == {
        "span.name": "work",
        "span.kind": "internal",
        "span.parent_id": "33" * 8,
        "trace_state": "th:8",
        "duration_ms": 5.0,
        "trace_id": bytes(range(16)).hex(),
        "span_id": bytes(range(1, 9)).hex(),
        "span.events": [{"name": "step", "time_ns": NOW_NS + 5, "attributes": {"a": 1}}],
        "span.links": [{"trace_id": "34" * 16, "span_id": "35" * 8}],
    }


def test_an_end_before_the_start_is_no_duration() -> None:
    [event] = events(spans({"name": "work", "end_time_unix_nano": NOW_NS - 5}))
    assert "duration_ms" not in event["attributes"]


def test_an_exception_without_a_time_of_its_own_is_told_at_the_start() -> None:
    [_, event] = events(spans({"events": [{"name": "exception", "time_unix_nano": 5}]}))
    assert event["time"] == NOW_MS and event["attributes"]["time.uncertain"] is True


# Refusals.


def refusal(message: Any, format_: Any = otlp.LOGS) -> Rejected:
    found = translated(message, format_)
    assert found.records == []
    [refused] = found.refused
    assert format_.translate(json_of(message), NOW_MS).refused[0].detail == refused.detail
    return refused


TIMES: list[tuple[int, Reason, str]] = [
    (0, Reason.MISSING_FIELD, "timeUnixNano: required, Unix nanoseconds"),
    (
        NOW_MS,
        Reason.TIME_OUT_OF_RANGE,
        f"timeUnixNano: {NOW_MS} is not a time since 2000 in Unix nanoseconds",
    ),
    (NOW_MS * 1_000, Reason.TIME_OUT_OF_RANGE, f"timeUnixNano: {NOW_MS * 1_000} is not a time since 2000"),
    (900_000_000 * 10**9, Reason.TIME_OUT_OF_RANGE, "timeUnixNano: 900000000000 ms is before 2000"),
    (NOW_NS + 90_000 * 10**9, Reason.TIME_OUT_OF_RANGE, "more than 24 h after the record's own time"),
]


@pytest.mark.parametrize(("time_ns", "reason", "words"), TIMES)
def test_times_that_cannot_be(time_ns: int, reason: Reason, words: str) -> None:
    refused = refusal(logs({"time_unix_nano": time_ns}))
    assert refused.reason is reason and words in refused.detail
    assert refused.detail.startswith("resourceLogs[0].scopeLogs[0].logRecords[0].timeUnixNano: ")


@pytest.mark.parametrize("field", ["trace_id", "span_id"])
def test_a_span_needs_its_ids(field: str) -> None:
    refused = refusal(spans({field: bytes(8)}), otlp.SPANS)
    assert refused.reason is Reason.MISSING_FIELD and "spans[0]." in refused.detail


def test_a_resource_without_a_device_is_refused_with_its_own_bytes_alone() -> None:
    message = logs({"event_name": "ok"})
    add_logs(message, {"event_name": "a"}, {"event_name": "b"}, resource={"service.name": "nobody"})
    add_logs(message, {"event_name": "ok2"}, resource={"service.name": "s", "app.installation.id": "d2"})
    for raw in (message.SerializeToString(), json_of(message)):
        found = translated(raw)
        assert [record.key for record in found.records] == [b"shop/d1", b"s/d2"]
        assert [refused.event_index for refused in found.refused] == [1, 2]
        letters = dead_letters_of(
            "otlp_logs", 0, 7, record_ms=NOW_MS, key=None, value=raw, faults=found.refused
        )
        [letter] = letters
        assert letter.value is not None and b"nobody" in letter.value
        assert b"d1" not in letter.value and b"d2" not in letter.value
        assert letter.rejected.detail.startswith(
            "resourceLogs[1].resource.attributes[app.installation.id]: required"
        )
        # Sent again it is refused again, as the same two records.
        again = translated(letter.value)
        assert again.records == [] and [each.event_index for each in again.refused] == [0, 1]
        mended = translated(letter.value, otlp_session_devices="always")
        assert len(mended.refused) == 2


def test_a_bad_record_is_refused_with_its_own_bytes_alone() -> None:
    message = logs(
        {"event_name": "good"}, {"event_name": "bad", "time_unix_nano": 0}, {"event_name": "good2"}, scope="s"
    )
    for raw in (message.SerializeToString(), json_of(message)):
        found = translated(raw)
        [refused] = found.refused
        assert refused.event_index == 1 and refused.part is not None
        assert b"good" not in refused.part and b"bad" in refused.part
        assert refused.detail.startswith("resourceLogs[0].scopeLogs[0].logRecords[1].timeUnixNano")
        [again] = translated(refused.part).refused
        assert (again.reason, again.event_index) == (refused.reason, 0)


def test_a_flood_of_bad_records_is_a_few_parts_and_each_is_counted() -> None:
    count = 3 * refusals.MAX_PARTS
    message = logs(
        *[{"time_unix_nano": 0, "event_name": str(i)} for i in range(count)],
        resource={**DEVICE, "large": "x" * 10_000},
    )
    found = translated(message)
    assert [refused.event_index for refused in found.refused] == list(range(count))
    parts = {refused.part for refused in found.refused}
    assert len(parts) == refusals.MAX_PARTS + 1
    assert sum(len(part or b"") for part in parts) < refusals.MAX_PART_BYTES + 8_000_000
    [rest] = [part for part in parts if part is not None and len(translated(part).refused) > 1]
    assert len(translated(rest).refused) == count - refusals.MAX_PARTS


def test_a_record_of_which_no_event_can_be_made_is_refused() -> None:
    refused = refusal(logs({"body": "x" * 999_900}))
    assert refused.reason is Reason.RECORD_TOO_LARGE and "logRecords[0]: " in refused.detail
    alone = translated(logs({"body": "x" * 1_000_001})).refused[0]
    assert alone.reason is Reason.RECORD_TOO_LARGE


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def test_limits_of_a_record() -> None:
    assert events(logs({"attributes": {"a": deep(40)}}))[0]["attributes"]["a"] == deep(40)
    many = {f"a{i}": 1 for i in range(1_025)}
    assert refusal(logs({"attributes": many})).reason is Reason.TOO_MANY_VALUES
    assert refusal(logs({"attributes": {"a": [None] * 10_001}})).reason is Reason.TOO_MANY_VALUES
    assert refusal(logs({"body": {"a": [None] * 10_001}})).reason is Reason.TOO_MANY_VALUES
    large = refusal(logs({}, resource={**DEVICE, "large": "x" * 70_000}))
    assert large.reason is Reason.RESOURCE_TOO_LARGE and large.detail.startswith("resourceLogs[0].resource: ")


def test_as_many_records_as_collectors_send() -> None:
    found = translated(logs(*[{"event_name": "e"}] * 20_000))
    assert found.refused == [] and sum(record.value.count(b'"name"') for record in found.records) == 20_000


WHOLE: list[tuple[bytes, Reason, str]] = [
    (b"", Reason.EMPTY_RECORD, "no value"),
    (b"\x0a\xff", Reason.MALFORMED_PROTOBUF, "cut short"),
    (b"jaeger", Reason.MALFORMED_PROTOBUF, "0x6a"),
    (b"{", Reason.MALFORMED_JSON, "strict JSON"),
    (b"[]", Reason.UNSUPPORTED, "resourceLogs"),
    (b"{}", Reason.MISSING_FIELD, "resourceLogs: required"),
    (b'{"resourceLogs":[]}', Reason.NO_EVENTS, "at least one record"),
    (b'{"resourceLogs":5}', Reason.INVALID_TYPE, "resourceLogs: an array"),
    (b'{"resourceLogs":[{"scopeLogs":[5]}]}', Reason.INVALID_TYPE, "resourceLogs[0].scopeLogs[0]: an object"),
    (b'{"resourceSpans":[]}', Reason.UNSUPPORTED, "otlp_spans"),
    (b'{"resourceMetrics":[]}', Reason.UNSUPPORTED, "metrics"),
    (b" " * 8_000_001, Reason.RECORD_TOO_LARGE, "8000001"),
]


@pytest.mark.parametrize(("value", "reason", "words"), WHOLE, ids=lambda part: repr(part)[:24])
def test_a_message_that_is_none(value: bytes, reason: Reason, words: str) -> None:
    outcome = otlp.LOGS.translate(value, NOW_MS)  # type: ignore[misc]
    assert isinstance(outcome, Rejected)
    assert outcome.reason is reason and words in outcome.detail


def test_kinds_are_all_there() -> None:
    kinds = {row[4] for row in LOG_RECORDS}
    assert kinds >= {kind.label for kind in Kind} - {"anr"}


@pytest.mark.parametrize("empty", [None, {}, {"scopeLogs": []}, {"scopeLogs": [None]}], ids=str)
def test_of_what_has_no_records_nothing_is_asked(empty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of a million bytes may have two hundred thousand such blocks: each took as long as an event."""
    asked = []

    class Counted(identity.ResourceIdentity):
        def __init__(self, *args: Any) -> None:
            asked.append(1)
            super().__init__(*args)

    monkeypatch.setattr(decode, "ResourceIdentity", Counted)
    blocks = json.loads(json_of(logs({"event_name": "tap", "attributes": {}})))["resourceLogs"]

    def translate(resource_logs: list[Any]) -> Translation | Rejected:
        return otlp.LOGS.translate(json.dumps({"resourceLogs": resource_logs}).encode(), NOW_MS, Beside())

    found = translate([*[empty] * 1_000, *blocks, *[empty] * 1_000])
    assert isinstance(found, Translation) and len(found.records) == 1 and len(asked) == 1
    too_many = translate([*blocks, *[empty] * 100_000])
    assert isinstance(too_many, Rejected)
    # Objects are counted before.
    assert too_many.reason is (Reason.TOO_MANY_EVENTS if empty is None else Reason.TOO_MANY_VALUES)
