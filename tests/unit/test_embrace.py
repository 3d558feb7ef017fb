"""Embrace's envelopes: a test for each row of `schemas/mapping/embrace.md`, identity, limits and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.domain.event import COUNTERS, AppState, Kind
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.formats import embrace, native
from pipeline.formats.embrace import envelope as reading
from pipeline.formats.embrace.facts import EmbraceLog, EmbraceMoment, EmbraceSpan
from pipeline.formats.embrace.logs import fact_of_log
from pipeline.formats.embrace.parts import WEB
from pipeline.formats.embrace.spans import facts_of_span
from pipeline.formats.format import Beside
from pipeline.formats.options import Options
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Translation
from tests.support import embrace as sent
from tests.support.embrace import DEVICE, FOLDER, HEADERS, START_MS, envelope, log, native_events, part, span

APPLE = {
    "app_bundle_id": "org.example.shop",
    "os_name": "ios",
    "os_alternate_type": "iPadOS",
    "os_version": "18.1",
}
RECORD_MS = START_MS + 86_400_000
BESIDE = Beside(HEADERS)


def decode(document: Any, beside: Beside = BESIDE, record_ms: int = RECORD_MS) -> Translation | Rejected:
    return embrace.decode(orjson.dumps(document), record_ms, beside)


def apple(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "resource": APPLE}


def only(document: dict[str, Any]) -> native.NativeEvent:
    (event,) = native_events([document])
    return event


def facts(event: native.NativeEvent) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(event.attributes)
    return found


def counted(event: native.NativeEvent) -> set[str]:
    return {name for bit, name in enumerate(COUNTERS) if event.counters >> bit & 1}


def shown(events: list[native.NativeEvent]) -> list[tuple[str, str, Kind, int]]:
    """Id (from the last dot on), name, kind and time of events, in milliseconds after the start."""
    return [(e.id[e.id.index(".") :], e.name, e.kind, e.time_ms - START_MS) for e in events]


FOREGROUND = (".s", "device.app.lifecycle", Kind.FOREGROUND, 0)
SHOWN = (".s", "device.app.lifecycle", Kind.ACTIVE, 0)
ENDS: dict[str, tuple[dict[str, str], tuple[str, str, Kind, int]]] = {
    "left": ({}, (".e", "device.app.lifecycle", Kind.BACKGROUND, 59_999)),
    "left, and then its user session timed out": (
        {"emb__user_session_termination_reason": "inactivity", "emb__is_final_session_part": "1"},
        (".e", "device.app.lifecycle", Kind.BACKGROUND, 59_999),
    ),
    "by hand": ({"emb__session_end_type": "manual"}, (".e", "session.end", Kind.SESSION_END, 59_999)),
    "by hand, as Apple says it": (
        {"emb__session_end_type": "", "emb__user_session_termination_reason": "manual"},
        (".e", "session.end", Kind.SESSION_END, 59_999),
    ),
    "by hand, in the background": (
        {"emb__session_end_type": "bkgnd_manual", "emb__state": "background"},
        (".e", "session.end", Kind.SESSION_END, 59_999),
    ),
    "at its longest": (
        {"emb__user_session_termination_reason": "max_duration_reached"},
        (".e", "session.end.reported", Kind.PASSIVE, 59_999),
    ),
    "in the background": ({"emb__state": "background"}, (".e", "session.end.reported", Kind.PASSIVE, 59_999)),
    "crash": ({"emb__crash_id": "c1"}, (".e", "app.exit", Kind.EXIT, 60_000)),
    "crash without its id": ({"emb__termination_cause": "crash"}, (".e", "app.exit", Kind.EXIT, 60_000)),
    "crash, as Apple's user session says it": (
        {"emb__user_session_termination_reason": "crash"},
        (".e", "app.exit", Kind.EXIT, 60_000),
    ),
    "resurrected": (
        {"emb__terminated": "true", "emb__heartbeat_time_unix_nano": str((START_MS + 70_000) * 1_000_000)},
        (f".hb.{START_MS + 70_000}", "app.heartbeat", Kind.PASSIVE, 70_000),
    ),
    "not clean": (
        {"emb__clean_exit": "false"},
        (f".hb.{START_MS + 60_000}", "app.heartbeat", Kind.PASSIVE, 60_000),
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_end_of_a_part(name: str) -> None:
    attributes, expected = ENDS[name]
    assert shown(native_events([envelope([part(0, 60_000, "p1", **attributes)])]))[-1] == expected


STARTS: dict[str, tuple[dict[str, str], list[tuple[str, str, Kind, int]]]] = {
    "cold": ({"emb__cold_start": "true"}, [FOREGROUND, (".l", "app.launch", Kind.LAUNCH, 0)]),
    "warm": ({}, [SHOWN]),
    "of no known state": ({"emb__state": "null"}, [SHOWN]),
    "in the background": ({"emb__state": "background"}, [(".s", "app.session.part", Kind.ACTIVITY, 0)]),
    "cold in the background": (
        {"emb__state": "background", "emb__cold_start": "true"},
        [(".s", "app.launch", Kind.LAUNCH, 0)],
    ),
}


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("on", ["android", "apple"])
def test_the_start_of_a_part(name: str, on: str) -> None:
    attributes, expected = STARTS[name]
    document = envelope(snapshots=[part(0, None, "p1", **attributes)])
    events = native_events([apple(document) if on == "apple" else document])
    assert shown(events) == expected
    assert {event.client_session_id for event in events} == {"p1"}
    lifecycle = f"{'ios' if on == 'apple' else 'android'}.app.state"
    for event in events:
        told = facts(event)
        assert (lifecycle in told) == (event.name == "device.app.lifecycle")
        if "background" in name:
            assert event.stated is AppState.BACKGROUND and "attribute.app.state" not in told


def test_a_part_that_ends_where_it_begins_is_one_millisecond() -> None:
    assert [event.time_ms - START_MS for event in native_events([envelope([part(0, 0, "p1")])])] == [0, 0]


def test_user_terminated_is_what_apple_says_and_no_one_else() -> None:
    ended = envelope([part(0, 60_000, "p1", emb__terminated="true", emb__clean_exit="false")])
    event = native_events([apple(ended)])[-1]
    assert (event.kind, event.exit_reason) == (Kind.EXIT, "user_terminated")
    assert native_events([ended])[-1].kind is Kind.PASSIVE


def test_a_snapshot_says_the_start_and_the_finished_span_the_rest() -> None:
    early = envelope(snapshots=[part(0, None, "p1", emb__cold_start="true", emb__disk_free_bytes="9")])
    whole = envelope(
        [part(0, 60_000, "p1", emb__cold_start="true", emb__disk_free_bytes="1", emb__error_log_count="2")]
    )
    first, then = native_events([early]), native_events([whole])
    assert first == then[: len(first)], "the same fact in the same words, whichever comes first"
    assert shown(then)[len(first) :] == [ENDS["left"][1]]
    assert facts(then[-1])["duration_ms"] == 60_000 and facts(then[-1])["emb.error_log_count"] == "2"


SPANS: dict[str, tuple[dict[str, Any], str, Kind, set[str], dict[str, Any]]] = {
    "a request": (
        span(
            "emb-GET /a",
            0,
            250,
            emb__type="perf.network_request",
            http__request__method="GET",
            url__full="https://a/b",
            http__response__status_code="404",
        ),
        "http.client.request",
        Kind.ACTIVITY,
        {"network_count", "network_error_count"},
        {
            "duration_ms": 250,
            "http.response.status_code": 404,
            "url.full": "https://a/b",
            "http.request.method": "GET",
        },
    ),
    "a request that went well": (
        span("r", 0, 1, emb__type="perf.network_request", http__status_code="200", http__method="PUT"),
        "http.client.request",
        Kind.ACTIVITY,
        {"network_count"},
        {"http.response.status_code": 200, "http.request.method": "PUT"},
    ),
    "a request that failed": (
        span("r", 0, 1, emb__type="perf.network_request", status="Error", http__response__status_code="0"),
        "http.client.request",
        Kind.ACTIVITY,
        {"network_count", "network_error_count"},
        {"error.type": "_OTHER"},
    ),
    "a request that failed with a name": (
        span("r", 0, 1, emb__type="perf.network_request", status="Error", error__type="UnknownHostException"),
        "http.client.request",
        Kind.ACTIVITY,
        {"network_count", "network_error_count"},
        {"error.type": "UnknownHostException"},
    ),
    "a view": (
        span("emb-screen-view", 0, 9, emb__type="ux.view", view__name="Cart"),
        "app.screen.view",
        Kind.ACTIVITY,
        {"view_count"},
        {"app.screen.name": "Cart"},
    ),
    "low power": (
        span("emb-device-low-power", 0, 9, emb__type="sys.low_power"),
        "device.power_save_mode.change",
        Kind.PASSIVE,
        set(),
        {},
    ),
    "the network": (
        span("emb-network-status", 0, 9, emb__type="sys.network_status", network="wifi"),
        "network.change",
        Kind.PASSIVE,
        set(),
        {"network": "wifi"},
    ),
    "heat": (
        span("t", 0, 9, emb__type="perf.thermal_state", status_="1"),
        "device.thermal_status.change",
        Kind.PASSIVE,
        set(),
        {},
    ),
    "a state": (
        span("emb-state-network", 0, 9, emb__type="state"),
        "span",
        Kind.PASSIVE,
        set(),
        {"span.name": "emb-state-network"},
    ),
    "one of the app's own": (
        span("checkout", 0, 70, emb__type="perf", status="Error", emb__error_code="failure"),
        "span",
        Kind.ACTIVITY,
        set(),
        {"span.name": "checkout", "duration_ms": 70, "span.status": "error", "emb.error_code": "failure"},
    ),
    "a blocked thread": (
        span("emb-thread-blockage", 0, 1_500, emb__type="perf.thread_blockage"),
        "span",
        Kind.ACTIVITY,
        set(),
        {"duration_ms": 1_500},
    ),
}


@pytest.mark.parametrize("name", SPANS)
def test_spans(name: str) -> None:
    told, event_name, kind, counters, attributes = SPANS[name]
    event = only(envelope([told]))
    assert (event.name, event.kind, counted(event), event.time_ms) == (event_name, kind, counters, START_MS)
    assert event.id == "t-s.s"
    assert attributes.items() <= facts(event).items()
    # What is not over says nothing, unless its start is all that there is to say.
    early = native_events([envelope(snapshots=[told])])
    assert [each.name for each in early] == (
        [event_name] if event_name not in ("span", "http.client.request") else []
    )
    assert early == [event][: len(early)]


def test_spans_that_the_sdk_keeps_for_itself_are_passed_over() -> None:
    assert native_events([envelope([span("emb-sdk-init", 0, 9, emb__private="true")])]) == []


def test_a_clock_that_was_set_back_takes_no_duration() -> None:
    assert "duration_ms" not in facts(only(envelope([span("checkout", 9, 0, emb__type="perf")])))


MOMENTS: dict[str, tuple[dict[str, Any], str, Kind, set[str], dict[str, Any]]] = {
    "a tap on Android": (
        sent.event("ui-tap", 5, emb__type="ux.tap", view__name="pay", tap__type="tap", tap__coords="126,309"),
        "app.widget.click",
        Kind.ACTIVITY,
        {"tap_count"},
        {"app.widget.name": "pay", "app.screen.coordinate.x": 126, "app.screen.coordinate.y": 309},
    ),
    "a tap on iOS": (
        sent.event("emb-ui-tap", 5, view__name="UIButton", tap__coords="12.5,-3.0"),
        "app.widget.click",
        Kind.ACTIVITY,
        {"tap_count"},
        {"app.screen.coordinate.x": 12, "app.screen.coordinate.y": -3},
    ),
    "a breadcrumb": (
        sent.event("emb-breadcrumb", 5, message="hi"),
        "breadcrumb",
        Kind.ACTIVITY,
        set(),
        {"message": "hi"},
    ),
    "a push": (sent.event("emb-push-notification", 5), "app.push_notification", Kind.PASSIVE, set(), {}),
    "little memory": (sent.event("emb-device-low-memory", 5), "device.memory.low", Kind.PASSIVE, set(), {}),
    "little memory on Android": (
        sent.event("memory-warning", 5, emb__type="perf.memory_warning"),
        "device.memory.low",
        Kind.PASSIVE,
        set(),
        {},
    ),
    "a page in the app": (
        sent.event("web-view", 5, emb__type="ux.webview"),
        "app.webview",
        Kind.ACTIVITY,
        set(),
        {},
    ),
    "a view of an older SDK": (
        sent.event("screen-view", 5, emb__type="ux.view", view__name="Home"),
        "app.screen.view",
        Kind.ACTIVITY,
        {"view_count"},
        {"app.screen.name": "Home"},
    ),
    "an exception": (
        sent.event("exception", 5, exception__type="E", fatal="true"),
        "exception",
        Kind.ACTIVITY,
        {"exception_count"},
        {"attribute.fatal": "true"},
    ),
    "one that is not known": (
        sent.event("app.crash", 5),
        "span.event",
        Kind.ACTIVITY,
        set(),
        {"span.event.name": "app.crash"},
    ),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_of_a_part(name: str) -> None:
    told, event_name, kind, counters, attributes = MOMENTS[name]
    other = sent.event("emb-breadcrumb", 1)
    for document in (envelope([part(0, 60_000, "p1", events=[other, told])]),
                     envelope(snapshots=[part(0, None, "p1", events=[other, told])])):  # fmt: skip
        (event,) = (each for each in native_events([document]) if each.id == "t-span-p1.x1")
        assert (event.name, event.kind, counted(event), event.time_ms - START_MS) == (
            event_name,
            kind,
            counters,
            5,
        )
        assert event.client_session_id == "p1" and attributes.items() <= facts(event).items()


def test_moments_of_other_spans_are_told_with_them() -> None:
    events = [sent.event("plain-event", 1), sent.event("exception", 2, exception__type="E")]
    whole, exception = native_events([envelope([span("checkout", 0, 9, events=events, emb__type="perf")])])
    assert json.loads(facts(whole)["span.events"])[0]["name"] == "plain-event"
    assert (exception.id, exception.name) == ("t-s.x1", "exception")


def test_moments_of_a_state_say_nothing_of_use() -> None:
    moments = [sent.event("emb-breadcrumb", 1)]
    events = native_events([envelope([span("emb-state-network", 0, 9, events=moments, emb__type="state")])])
    assert {event.kind for event in events} == {Kind.PASSIVE}


KSCRASH = json.dumps(
    {"crash": {"error": {"type": "mach", "signal": {"name": "SIGSEGV"}, "reason": "bad access"}}}
)
NSEXCEPTION = json.dumps(
    {"crash": {"error": {"type": "nsexception", "nsexception": {"name": "NSRangeException"}}}}
)
TERMINATED = {
    name: (FOLDER / "apple" / f"termination_{name}_report.json").read_text("utf-8")
    for name in ("oom_background", "oom_foreground", "unexplained")
}
SCRIPT = json.dumps(
    {"n": "TypeError", "m": "undefined is not a function", "t": "Error", "st": "at anonymous"}
)
LOGS: dict[str, tuple[dict[str, Any], str, Kind, set[str], dict[str, Any]]] = {
    "info": (
        log(7, "u1", "sys.log", "Hi"),
        "log",
        Kind.ACTIVITY,
        set(),
        {"body": "Hi", "severity_number": 9},
    ),
    "error": (
        log(7, "u1", "sys.log", "Oh", severity_number=17),
        "log",
        Kind.ACTIVITY,
        {"log_error_count"},
        {},
    ),
    "of another library": (log(7, "u1", "null", "Hi"), "log", Kind.ACTIVITY, set(), {}),
    "handled": (
        log(7, "u1", "sys.exception", emb__exception_handling="HANDLED", exception__type="E", fatal="true"),
        "exception",
        Kind.ACTIVITY,
        {"exception_count"},
        {"exception.type": "E", "attribute.fatal": "true"},
    ),
    "of Flutter": (
        log(7, "u1", "sys.flutter_exception"),
        "exception",
        Kind.ACTIVITY,
        {"exception_count"},
        {},
    ),
    "a crash": (
        log(7, "u1", "sys.android.crash", exception__type="E"),
        "app.crash",
        Kind.CRASH,
        {"crash_count"},
        {"exception.type": "E"},
    ),
    "a native crash": (
        log(7, "u1", "sys.android.native_crash"),
        "app.crash",
        Kind.CRASH,
        {"crash_count"},
        {},
    ),
    "a crash in JavaScript on Android": (
        log(7, "u1", "sys.android.react_native_crash", emb__android__react_native_crash__js_exception=SCRIPT),
        "app.crash",
        Kind.CRASH,
        {"crash_count"},
        {
            "exception.type": "TypeError",
            "exception.message": "undefined is not a function",
            "exception.stacktrace": "at anonymous",
        },
    ),
    "a crash in JavaScript on iOS": (
        log(7, "u1", "sys.ios.react_native_crash", exception__type="TypeError"),
        "exception",
        Kind.EXCEPTION,
        {"exception_count"},
        {"fatal": True},
    ),
    "a crash on iOS": (
        log(7, "u1", "sys.ios.crash", emb__payload=KSCRASH, emb__provider="kscrash"),
        "app.crash",
        Kind.CRASH,
        {"crash_count"},
        {"exception.type": "SIGSEGV", "exception.message": "bad access"},
    ),
    "an exception on iOS": (
        log(7, "u1", "sys.ios.crash", emb__payload=NSEXCEPTION),
        "app.crash",
        Kind.CRASH,
        {"crash_count"},
        {"exception.type": "NSRangeException"},
    ),
    "a crash without a report": (log(7, "u1", "sys.ios.crash"), "app.crash", Kind.CRASH, {"crash_count"}, {}),
    "a crash whose report is none": (
        log(7, "u1", "sys.ios.crash", emb__payload="{"),
        "app.crash",
        Kind.CRASH,
        {"crash_count"},
        {},
    ),
    "MetricKit's crash": (
        log(7, "u1", "sys.ios.crash", emb__provider="metrickit"),
        "metrickit.crash",
        Kind.PASSIVE,
        set(),
        {"time.uncertain": True},
    ),
    "MetricKit's hang": (
        log(7, "u1", "sys.ios.hang", emb__provider="metrickit"),
        "metrickit.hang",
        Kind.PASSIVE,
        set(),
        {},
    ),
    "MetricKit's numbers": (
        log(7, "u1", "sys.ios.metrickit_metrics"),
        "metrickit.metrics",
        Kind.PASSIVE,
        set(),
        {},
    ),
    "out of memory": (
        log(7, "u1", "sys.ios.crash", emb__payload=TERMINATED["oom_foreground"]),
        "app.exit",
        Kind.EXIT,
        set(),
        {"app.exit.reason": "out_of_memory"},
    ),
    "out of memory in the background": (
        log(7, "u1", "sys.ios.termination", emb__payload=TERMINATED["oom_background"]),
        "app.exit",
        Kind.EXIT,
        set(),
        {"app.exit.reason": "out_of_memory"},
    ),
    "an end that nothing explains": (
        log(7, "u1", "sys.ios.crash", emb__payload=TERMINATED["unexplained"]),
        "app.exit",
        Kind.EXIT,
        set(),
        {"app.exit.reason": "unknown"},
    ),
    "the SDK's own": (log(7, "u1", "sys.internal"), "sys.internal", Kind.PASSIVE, set(), {"passive": True}),
    "a captured request": (
        log(7, "u1", "sys.network_capture"),
        "sys.network_capture",
        Kind.PASSIVE,
        set(),
        {},
    ),
}


@pytest.mark.parametrize("name", LOGS)
def test_logs(name: str) -> None:
    told, event_name, kind, counters, attributes = LOGS[name]
    event = only(envelope(logs=[told]))
    assert (event.id, event.name, event.kind, counted(event)) == ("u1", event_name, kind, counters)
    assert event.time_ms == START_MS + 7
    assert attributes.items() <= facts(event).items()


REASONS = {
    "1": "exit_self",
    "3": "out_of_memory",
    "4": "crash",
    "5": "crash",
    "6": "anr",
    "10": "user_terminated",
    "11": "user_terminated",
    "14": "freezer",
    "99": "unknown",
    "null": "unknown",
    "-1": "unknown",
}


@pytest.mark.parametrize("number", REASONS)
def test_the_systems_word_for_an_exit(number: str) -> None:
    told = log(9_000, "u1", "sys.exit", reason=number, timestamp=str(START_MS + 3), aei_session_part_id="dead",
               emb__session_part_id="", emb__state="foreground", process_importance="400")  # fmt: skip
    event = only(envelope(logs=[told]))
    assert (event.kind, event.exit_reason, event.time_ms) == (Kind.EXIT, REASONS[number], START_MS + 3)
    assert (event.id, event.client_session_id) == (f"aei:{START_MS + 3}:dead", "dead")
    assert event.stated is AppState.BACKGROUND, (
        "the state of the process that ended, not of the one that tells of it"
    )


def test_an_exit_without_a_time_is_of_when_it_is_told() -> None:
    event = only(envelope(logs=[log(9, "u1", "sys.exit", reason="6", process_importance="100")]))
    assert (event.id, event.time_ms - START_MS, event.stated) == ("u1", 9, AppState.FOREGROUND)


def test_a_log_states_the_state_that_the_app_is_in() -> None:
    event = only(envelope(logs=[log(7, "u1", "sys.log", emb__state="background")]))
    assert event.stated is AppState.BACKGROUND


def test_a_log_without_an_id_has_one_of_what_it_says() -> None:
    told = log(7, "", "sys.log", "Hi", a="1", b="2")
    same = {**told, "attributes": told["attributes"][::-1], "severity_text": "Info"}
    other = {**told, "body": "Ho"}
    first, again, third = (only(envelope(logs=[each])).id for each in (told, same, other))
    assert first == again != third and first.startswith("h-")


def test_ids_that_are_too_long_are_hashed_and_not_cut() -> None:
    long = [only(envelope(logs=[log(7, "x" * 200 + end, "sys.log")])).id for end in "ab"]
    assert len(set(long)) == 2 and all(each.startswith("h-") for each in long)


@pytest.mark.parametrize(
    ("attributes", "session"),
    [
        ({"emb__session_part_id": "part", "session__id": "user"}, "part"),
        ({"session__id": "old"}, "old"),
        ({"session__id": "user", "emb__user_session_id": "user"}, ""),
        ({"emb__session_part_id": "x" * 129}, ""),
    ],
)
def test_the_session_is_the_part_and_not_the_user_session(attributes: dict[str, str], session: str) -> None:
    assert only(envelope(logs=[log(7, "u1", "sys.log", **attributes)])).client_session_id == session


def test_texts_of_nothing_and_attributes_of_the_apps_own() -> None:
    event = only(
        envelope(logs=[log(7, "u1", "sys.log", emb__x="null", plan="null", passive="true", n=3, list=["a"])])
    )
    told = facts(event)
    assert "emb.x" not in told and told["plan"] == "null"
    assert event.kind is Kind.ACTIVITY and told["attribute.passive"] == "true"
    assert (told["n"], told["list"]) == (3, '["a"]')


def one_record(document: dict[str, Any], beside: Beside = BESIDE) -> dict[str, Any]:
    made = decode(document, beside)
    assert isinstance(made, Translation) and not made.refused, made
    (record,) = made.records
    found: dict[str, Any] = json.loads(record.value)
    assert record.key.decode() == f"{found['app_id']}/{found['device_id']}"
    return found


def test_who_sends() -> None:
    document = envelope(logs=[log(7, "u1", "sys.log")])
    full = json.loads((FOLDER / "android" / "envelope_resource_full.json").read_text("utf-8"))
    native_envelope = one_record(
        {**document, "resource": {**full, "process_identifier": "p", "disk_total_capacity": 1}}
    )
    assert (native_envelope["app_id"], native_envelope["device_id"]) == ("io.embrace.test", DEVICE)
    expected = {
        "service.version": "1.0.0",
        "app.build_id": "100",
        "deployment.environment.name": "prod",
        "os.name": "android",
        "os.version": "13",
        "device.manufacturer": "Google",
        "device.model.identifier": "Pixel 6",
        "host.arch": "arm64-v8a",
        "telemetry.sdk.name": "embrace-android",
        "telemetry.sdk.version": "6.0.0",
        "react_native_version": "0.72.0",
    }
    assert expected.items() <= native_envelope["resource"].items()
    assert not {"process_identifier", "disk_total_capacity"} & set(native_envelope["resource"])


def test_the_system_of_an_apple_device() -> None:
    native_envelope = one_record(apple(envelope(logs=[log(7, "u1", "sys.log")])))
    assert native_envelope["app_id"] == "org.example.shop"
    assert native_envelope["resource"]["os.name"] == "iPadOS"
    assert native_envelope["resource"]["telemetry.sdk.name"] == "embrace-apple"


def test_names_of_users_are_not_kept_unless_they_are_asked_for() -> None:
    document = envelope(logs=[log(7, "u1", "sys.log")], personas=["payer", 3, ""], locale="de_DE")
    kept = one_record(document)
    assert kept["user"] == {"id": "some id", "personas": ["payer"]}
    assert kept["resource"]["locale"] == "de_DE"
    for secret in ("user@example.org", "Test User"):
        assert secret not in json.dumps(kept)
    named = one_record(document, Beside(HEADERS, Options(personal=True)))
    assert named["user"]["properties"] == {"user.email": "user@example.org", "user.name": "Test User"}


@pytest.mark.parametrize(
    ("headers", "key", "found"),
    [
        ((("x-em-aid", b"abc12"), ("x-em-did", b"D1")), None, ("abc12", "D1")),
        ((("X-EM-AID", b"abc12"), ("X-Em-Did", b"D1")), b"other/D2", ("abc12", "D1")),
        ((), b"abc12/D/2", ("abc12", "D/2")),
        ((("X-EM-AID", b"abc12"),), b"other/D2", ("abc12", "D2")),
    ],
)
def test_app_and_device_are_in_headers_or_in_the_key(
    headers: tuple[tuple[str, bytes], ...], key: bytes | None, found: tuple[str, str]
) -> None:
    document = {**envelope(logs=[log(7, "u1", "sys.log")]), "resource": {}}
    native_envelope = one_record(document, Beside(headers, key=key))
    assert (native_envelope["app_id"], native_envelope["device_id"]) == found
    # What is kept of a refused record has no headers.
    kept = embrace.FORMAT.kept_key_of(headers, key)
    assert one_record(document, Beside((), key=kept)) == native_envelope


@pytest.mark.parametrize("key", [None, b"", b"nobody", b"app/", b"\xff"])
def test_a_record_of_no_device_is_refused(key: bytes | None) -> None:
    refused = decode(envelope(logs=[log(7, "u1", "sys.log")]), Beside((("X-EM-DID", b""),), key=key))
    assert isinstance(refused, Rejected) and refused.reason is Reason.MISSING_FIELD
    assert "X-EM-DID" in refused.detail


WHOLE = {
    "no data": ({"resource": {}}, Reason.MISSING_FIELD, "data"),
    "data is a list": ({"data": []}, Reason.INVALID_TYPE, "data"),
    "spans are none": ({"data": {"spans": "x"}}, Reason.INVALID_TYPE, "data.spans"),
    "nothing in it": ({"data": {"spans": [], "logs": None}}, Reason.NO_EVENTS, "data"),
    "no app": (
        {"data": {"logs": [{}]}, "resource": {"app_ecosystem_id": "a/b"}},
        Reason.INVALID_VALUE,
        "X-EM-AID",
    ),
    "a user of too long a name": (
        {"data": {"logs": [{}]}, "metadata": {"user_id": "x" * 129}},
        Reason.ID_LENGTH,
        "metadata: user.id",
    ),
    "a resource that is too large": (
        {"data": {"logs": [{}]}, "resource": {"x": "x" * 70_000}},
        Reason.RESOURCE_TOO_LARGE,
        "resource",
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_refused_whole(name: str) -> None:
    document, reason, place = WHOLE[name]
    refused = decode(document)
    assert isinstance(refused, Rejected) and (refused.reason, refused.event_index) == (reason, None)
    assert place in refused.detail


def test_an_envelope_has_so_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PARTS", 3)
    events = [sent.event("emb-breadcrumb", at) for at in range(2)]
    assert isinstance(decode(envelope([part(0, 60_000, "p1", events=events)])), Translation)
    refused = decode(envelope([part(0, 60_000, "p1", events=[*events, events[0]])]))
    assert isinstance(refused, Rejected) and refused.reason is Reason.TOO_MANY_EVENTS


GOOD = log(7, "u1", "sys.log")
SINGLE = {
    "no object": ([], Reason.INVALID_TYPE, "data.logs[0]"),
    "no time": ({**GOOD, "time_unix_nano": None}, Reason.MISSING_FIELD, "data.logs[0].time_unix_nano"),
    "a time that is none": (
        {**GOOD, "time_unix_nano": "soon"},
        Reason.INVALID_TYPE,
        "data.logs[0].time_unix_nano",
    ),
    "milliseconds": ({**GOOD, "time_unix_nano": START_MS}, Reason.TIME_OUT_OF_RANGE, "as Unix nanoseconds"),
    "the year 2300": (
        {**GOOD, "time_unix_nano": str(9_223_372_036_854_775_807)},
        Reason.TIME_OUT_OF_RANGE,
        "data.logs[0].time_unix_nano",
    ),
    "attributes of no list": (
        {**GOOD, "attributes": {"a": "b"}},
        Reason.INVALID_TYPE,
        "data.logs[0].attributes",
    ),
    "attributes without keys": (
        {**GOOD, "attributes": [{"value": 1}]},
        Reason.INVALID_TYPE,
        "data.logs[0].attributes",
    ),
    "keys of no text": (
        {**GOOD, "attributes": [{"key": [], "value": 1}]},
        Reason.INVALID_TYPE,
        "data.logs[0].attributes",
    ),
    "too large": (log(7, "u2", "sys.log", "x" * 1_000_000), Reason.RECORD_TOO_LARGE, "data.logs[0]"),
    "an exit of 1970": (
        log(7, "u2", "sys.exit", timestamp="15000000000"),
        Reason.TIME_OUT_OF_RANGE,
        "data.logs[0]",
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_what_is_refused_alone(name: str) -> None:
    bad, reason, place = SINGLE[name]
    made = decode(envelope(logs=[bad, GOOD]))
    assert isinstance(made, Translation) and len(made.records) == 1
    (refused,) = made.refused
    assert (refused.reason, refused.event_index) == (reason, 0) and place in refused.detail, refused


def test_a_moment_that_is_refused_takes_no_other_with_it() -> None:
    events = [{"name": "emb-breadcrumb"}, "x", sent.event("emb-breadcrumb", 4)]
    made = decode(envelope([part(0, 60_000, "p1", events=events)]))
    assert isinstance(made, Translation)
    assert [(each.event_index, each.detail.split(":")[0]) for each in made.refused] == [
        (0, "data.spans[0].events[0].time_unix_nano"),
        (0, "data.spans[0].events[1]"),
    ]
    names = [event["id"] for record in made.records for event in json.loads(record.value)["events"]]
    assert names == ["t-span-p1.s", "t-span-p1.e", "t-span-p1.x2"]


def test_the_end_of_a_span_that_is_refused_leaves_its_start() -> None:
    made = decode(envelope([part(0, 3 * 86_400_000, "p1")]))
    assert isinstance(made, Translation)
    (refused,) = made.refused
    assert refused.reason is Reason.TIME_OUT_OF_RANGE
    assert [event["id"] for event in json.loads(made.records[0].value)["events"]] == ["t-span-p1.s"]


def test_times_of_a_fast_clock_are_moved_back_together() -> None:
    ahead = envelope(logs=[log(3_600_000, "u1", "sys.log"), log(3_600_005, "u2", "sys.log")])
    events = native_events([ahead], record_ms=START_MS)
    assert [event.time_ms - START_MS for event in events] == [0, 5]
    assert [event.raw_time_ms - START_MS for event in events] == [3_600_000, 3_600_005]


def test_nanoseconds_order_what_one_millisecond_holds() -> None:
    told = log(7, "u1", "sys.log")
    told["time_unix_nano"] = str(told["time_unix_nano"] + 123_456)
    event = only(envelope(logs=[told]))
    assert (event.time_ms - START_MS, event.seq) == (7, 123_456)


def test_a_value_that_is_no_json_is_repaired_and_its_place_told() -> None:
    document = json.dumps(envelope(logs=[GOOD, log(8, "u2", "sys.log", "HERE")])).replace("HERE", "\\ud800")
    document = document.replace('"locale"', '"x"').replace(
        '"severity_number": 9', '"severity_number": NaN', 1
    )
    made = embrace.decode(document.encode(), RECORD_MS, Beside(HEADERS))
    assert isinstance(made, Translation) and not made.refused
    events = [event for record in made.records for event in json.loads(record.value)["events"]]
    assert [event["repaired"] for event in events] == [
        ["data.logs[0].severity_number"],
        ["data.logs[1].body"],
    ]
    # A list that is no more than a number that is none is no list.
    empty = b'{"data":{"spans":NaN,"logs":[' + orjson.dumps(GOOD) + b"]}}"
    assert isinstance(embrace.decode(empty, RECORD_MS, Beside(HEADERS, key=b"a/b")), Rejected | Translation)


@pytest.mark.parametrize(
    ("on", "told", "is_shown_anew"),
    [
        ("apple", {"emb__user_session_part_index": "1"}, False),
        ("apple", {"emb__user_session_part_index": "2"}, True),
        ("apple", {"emb__user_session_part_number": "3"}, True),
        ("android", {"emb__user_session_part_index": "2"}, False),
        ("android", {"emb__user_session_part_index": "2", "emb__session_start_type": "state"}, True),
    ],
    ids=["apple-first", "apple-second", "apple-by-its-old-name", "android", "android-by-the-screen"],
)
def test_within_a_user_session_the_screen_begins_a_part(
    on: str, told: dict[str, str], is_shown_anew: bool
) -> None:
    """Apple's SDK does not say what began it: where a user session ends by hand or by time, the next part is a first
    one."""
    attributes = {"emb__session_start_type": "", **told}
    document = envelope(snapshots=[part(0, None, "p1", **attributes)])
    events = native_events([apple(document) if on == "apple" else document])
    assert shown(events) == [FOREGROUND if is_shown_anew else SHOWN]


def test_a_crash_in_javascript_on_ios_and_its_report_are_one_crash() -> None:
    started = apple(envelope(snapshots=[part(0, None, "p1", emb__cold_start="true")]))
    script = log(5_000, "u1", "sys.ios.react_native_crash", emb__session_part_id="p1")
    report = log(5_040, "u2", "sys.ios.crash", emb__session_part_id="p1", emb__payload=NSEXCEPTION)
    rows = sent.folded([started, apple(envelope(logs=[report])), apple(envelope(logs=[script]))])
    assert [(row["end_reason"], row["crash_count"]) for row in rows] == [("exception", 1)]


def test_what_the_sdk_for_browsers_sends_as_otlp() -> None:
    """The functions get attributes, whoever read them: these are the golden files of Embrace's SDK for browsers."""
    told = json.loads((FOLDER / "web" / "session_part.trimmed.json").read_text("utf-8"))
    (scopes,) = (each["scopeSpans"] for each in told["resourceSpans"])
    made = [
        facts_of_span(
            EmbraceSpan(
                each["traceId"], each["spanId"], each.get("parentSpanId", ""), each["name"],
                int(each["startTimeUnixNano"]), int(each["endTimeUnixNano"]), False,
                {pair["key"]: next(iter(pair["value"].values())) for pair in each["attributes"]},
            ),
            WEB,
        )
        for scope in scopes
        for each in scope["spans"]
    ]  # fmt: skip
    (start, end), (fetch,) = made
    assert start.attributes["browser.page.visibility"] == "visible" and end.name == "session.end"
    assert start.session == end.session == "471C74DEE1E4E7EF1C622C0546BF3FB9"
    assert fetch.name == "span" and fetch.attributes["http.response.status_code"] == 200
    record = json.loads((FOLDER / "web" / "log_after_part.json").read_text("utf-8"))["resourceLogs"][0][
        "scopeLogs"
    ][0]
    (line,) = record["logRecords"]
    attributes = {pair["key"]: next(iter(pair["value"].values())) for pair in line["attributes"]}
    fact = fact_of_log(EmbraceLog(int(line["timeUnixNano"]), 9, "", None, attributes))
    assert (fact.id, fact.name) == ("08BB4E7B936702C23F9C7F5051B65F14", "log")


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("web_background", "device.app.lifecycle"),
        ("web_foreground_inactivity", "session.end.reported"),
        ("web_soft_nav", "app.session.part"),
    ],
)
def test_how_a_part_on_a_page_ends(reason: str, name: str) -> None:
    attributes = {"emb.type": "ux.session_part", "emb.state": "foreground", "emb.cold_start": True,
                  "emb.session_part_end_reason": reason}  # fmt: skip
    moment = EmbraceMoment("emb-breadcrumb", 2_000_000, {})
    start, end, _ = facts_of_span(
        EmbraceSpan("t", "s", "", "emb-session-part", 1, 9_000_000, False, attributes, [moment]), WEB
    )
    assert (start.name, end.name) == ("device.app.lifecycle", name), (
        "a page that loads is no process that starts"
    )


def test_the_same_in_other_envelopes_comes_to_the_same() -> None:
    whole = [part(0, 60_000, "p1"), span("checkout", 5, 9, emb__type="perf"), part(60_000, 90_000, "p2")]
    together = native_events([envelope(whole)])
    assert together == native_events([envelope([each]) for each in whole])
    events = sent.events_of([envelope(whole)])
    assert [each.end_reason for each in sessions("a", "d", events + events, Policy())] == [
        "background",
        "background",
    ]


def test_recorded_requests_are_unwrapped() -> None:
    document = envelope(logs=[GOOD])
    headers = {"X-EM-AID": "abc12", "x-em-did": "D1", "content-type": "application/json", "cookie": None}
    for body in (document, json.dumps(document)):
        line = json.dumps({"path": "/v2/logs", "headers": headers, "body": body}).encode()
        value, kept = embrace.FORMAT.unwrapped(line)
        assert json.loads(value) == document
        assert dict(kept) == {"X-EM-AID": b"abc12", "x-em-did": b"D1"}
        assert embrace.FORMAT.key_of(line, "f.jsonl") == b"abc12/D1"
    bare = json.dumps(document).encode()
    assert embrace.FORMAT.unwrapped(bare) == (bare, ())
    assert embrace.FORMAT.key_of(bare, "f.jsonl") == b"f.jsonl"
    assert embrace.FORMAT.unwrapped(b"\xff") == (b"\xff", ())


def test_the_sources_are_named() -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert all(f"`{folder.name}`" in readme for folder in Path(FOLDER).iterdir() if folder.is_dir())
