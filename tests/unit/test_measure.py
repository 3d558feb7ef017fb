"""Measure bodies: splitting, limits, and every event of the recorded traffic."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest

from pipeline.domain.event import APPEARANCES, COUNTERS, VIEWS, AppState, Event, Kind
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.formats import measure, native
from pipeline.formats.limits import MAX_EVENTS, MAX_NESTING, MAX_RECORD_BYTES
from pipeline.formats.measure.stacktrace import stacktrace
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Sender, TranslatedEvent, pack
from tests.support.measure import NOW_MS as NOW
from tests.support.measure import event, recorded_bodies, span

LOG_ERROR = 1 << COUNTERS.index("log_error_count")
VIEW, APPEARANCE = 1 << VIEWS, 1 << APPEARANCES


def translated(*events: Any) -> measure.Translation:
    outcome = measure.decode(orjson.dumps({"events": list(events)}), NOW)
    assert isinstance(outcome, measure.Translation), outcome
    return outcome


def decoded(record: measure.NativeRecord) -> native.Envelope:
    envelope = native.decode(record.value, record.key, NOW)
    assert isinstance(envelope, native.Envelope), envelope
    assert envelope.refused == []
    return envelope


def ids(translation: measure.Translation) -> list[list[str]]:
    return [[e.id for e in decoded(record).events] for record in translation.records]


def test_more_events_than_an_envelope_takes_are_split_in_order() -> None:
    names = [f"e{n}" for n in range(2 * MAX_EVENTS + 1)]
    split = ids(translated(*[event(name) for name in names]))
    assert [len(part) for part in split] == [MAX_EVENTS, MAX_EVENTS, 1]
    assert [name for part in split for name in part] == names


def test_envelopes_stay_within_a_record() -> None:
    found = translated(*[event(f"e{n}", block={"x": "y" * 300_000}) for n in range(7)])
    assert ids(found) == [["e0", "e1", "e2"], ["e3", "e4", "e5"], ["e6"]]
    assert all(len(record.value) <= MAX_RECORD_BYTES for record in found.records)


def test_packing_fills_a_record_to_the_last_byte() -> None:
    sender = Sender("app", "device", "{}", "")
    [record] = pack([TranslatedEvent(0, sender, b"")]).records
    room = MAX_RECORD_BYTES - len(record.value)
    full = pack([TranslatedEvent(0, sender, b"x" * room)])
    assert [len(r.value) for r in full.records] == [MAX_RECORD_BYTES] and full.refused == []
    over = pack([TranslatedEvent(7, sender, b"x" * (room + 1))])
    assert over.records == [] and over.refused[0].event_index == 7
    assert over.refused[0].reason is Reason.RECORD_TOO_LARGE
    pair = [TranslatedEvent(0, sender, b"x" * (room - 11)), TranslatedEvent(1, sender, b"y" * 10)]
    assert [len(r.value) for r in pack(pair).records] == [MAX_RECORD_BYTES]
    pair[1] = TranslatedEvent(1, sender, b"y" * 11)
    assert len(pack(pair).records) == 2


def test_values_pass_as_they_came() -> None:
    block = b'{"big":123456789012345678901234567890,"f":1.50,"n":null}'
    body = orjson.dumps({"events": [event("e", block="?")]}).replace(b'"?"', block)
    outcome = measure.decode(body, NOW)
    assert isinstance(outcome, measure.Translation)
    assert decoded(outcome.records[0]).events[0].attributes == (
        b'{"custom.big":123456789012345678901234567890,"custom.f":1.50}'
    )


def test_a_large_crash_is_taken_without_what_could_be_derived() -> None:
    chain = [{"type": "E", "message": "m", "frames": [{"class_name": "C" * 900, "method_name": "m"}] * 990}]
    found = translated(event("e", "exception", {"handled": False, "exceptions": chain}))
    [crash] = decoded(found.records[0]).events
    attributes = orjson.loads(crash.attributes)
    assert crash.name == "app.crash" and attributes["exception.exceptions"] == chain
    assert "exception.stacktrace" not in attributes and "exception.message" not in attributes
    assert attributes["exception.type"] == "E"


def test_no_fact_gives_way_to_another_of_the_same_name() -> None:
    """What has an OpenTelemetry name may be told twice: by the event's block, and beside it."""
    found = translated(
        {**event("e", "log", {"body": "of the log"}, body="of the block"), "attribute.body": 1, "body": [2]},
        event("f", "session_start", {"previous_id": "a", "previous_session_id": "b"}),
    )
    first, second = (orjson.loads(each.attributes) for each in decoded(found.records[0]).events)
    assert first == {
        "body": "of the log", "attribute.body": "of the block", "event.attribute.body": 1, "event.body": [2],
    }  # fmt: skip
    assert second == {
        "session.previous_id": "a", "session_start.previous_session_id": "b", "measure.type": "session_start",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "block", "meaning"),
    [
        ("log", {"severity_text": "info", "severity_number": 9, "body": "b"}, (Kind.ACTIVITY, 0)),
        ("log", {"severity_text": "error", "severity_number": 17, "body": "b"}, (Kind.ACTIVITY, LOG_ERROR)),
        ("log", {"severity_number": 21, "body": "b"}, (Kind.ACTIVITY, LOG_ERROR)),
        ("log", {"severity_text": "fatal", "body": "b"}, (Kind.ACTIVITY, LOG_ERROR)),
        ("string", {"severity_text": "Error", "string": "b"}, (Kind.ACTIVITY, LOG_ERROR)),
        ("string", {"severity_text": "warning", "string": "b"}, (Kind.ACTIVITY, 0)),
        ("navigation", {"to": "cart"}, (Kind.ACTIVITY, VIEW)),
        ("screen_view", {"name": "cart"}, (Kind.ACTIVITY, VIEW)),
        ("lifecycle_activity", {"type": "created", "class_name": "a.B"}, (Kind.ACTIVITY, 0)),
        ("lifecycle_activity", {"type": "resumed", "class_name": "a.B"}, (Kind.ACTIVITY, APPEARANCE)),
        ("lifecycle_activity", {"type": "resumed"}, (Kind.ACTIVITY, 0)),
        ("lifecycle_view_controller", {"type": "viewWillAppear", "class_name": "B"}, (Kind.ACTIVITY, 0)),
        ("lifecycle_swift_ui", {"type": "on_appear", "class_name": "B"}, (Kind.ACTIVITY, APPEARANCE)),
        ("session_start", {"previous_id": "s0"}, (Kind.ACTIVITY, 0)),
        ("network_change", {"network_type": "wifi"}, (Kind.PASSIVE, 0)),
        ("low_memory", {"total_pss": 1}, (Kind.PASSIVE, 0)),
        ("trim_memory", {"level": "TRIM_MEMORY_COMPLETE"}, (Kind.PASSIVE, 0)),
        ("trim_memory", {"level": "TRIM_MEMORY_UI_HIDDEN"}, (Kind.PASSIVE, 0)),
        # Taken every few seconds while the app is in front: a long read is use of the app.
        ("cpu_usage", {"percentage_usage": 0.5}, (Kind.ACTIVITY, 0)),
        ("memory_usage", {"rss": 1}, (Kind.ACTIVITY, 0)),
    ],
)
def test_what_a_type_means(type_: str, block: dict[str, Any], meaning: tuple[Kind, int]) -> None:
    [found] = decoded(translated(event("e", type_, block)).records[0]).events
    assert (found.kind, found.counters) == meaning


@pytest.mark.parametrize(
    ("platform", "told", "share"),
    [
        ("android", {"percentage_usage": 29.5, "num_cores": 4}, 0.295),
        ("ios", {"percentage_usage": 150.0, "num_cores": 6}, 0.25),
        ("ios", {"percentage_usage": 150.0}, None),
        ("ios", {"percentage_usage": -1, "num_cores": 6}, None),
    ],
    ids=["of all cores", "of each core", "of unknown cores", "it could not ask"],
)
def test_a_share_is_of_all_processors(platform: str, told: dict[str, Any], share: float | None) -> None:
    [found] = decoded(translated(event("e", "cpu_usage", told, platform=platform)).records[0]).events
    assert orjson.loads(found.attributes).get("process.cpu.utilization") == share


@pytest.mark.parametrize("type_", ["exception", "anr"])
def test_what_failed_says_whether_the_app_was_seen(type_: str) -> None:
    said = {
        True: AppState.FOREGROUND,
        False: AppState.BACKGROUND,
        None: AppState.UNKNOWN,
        "yes": AppState.UNKNOWN,
    }
    for foreground, stated in said.items():
        [found] = decoded(translated(event("e", type_, {"foreground": foreground})).records[0]).events
        assert found.stated is stated


def test_an_event_comes_to_the_same_in_whatever_body() -> None:
    """Sent again it may be among others; two events of one id would be a conflict."""
    alone: dict[str, bytes] = {}
    bodies = [orjson.loads(body)["events"] for body in recorded_bodies()[::20]]
    for each in (one for body in bodies for one in body):
        [record] = translated(each).records
        alone[each["id"]] = orjson.dumps(orjson.loads(record.value)["events"])
    for body in bodies:
        for record in translated(*reversed(body)).records:
            for each in orjson.loads(record.value)["events"]:
                assert orjson.dumps([each]) == alone[each["id"]]
    assert alone


def test_the_deepest_body_taken_is_taken_by_the_native_decoder() -> None:
    for depth, is_taken in ((MAX_NESTING - 4, True), (MAX_NESTING - 3, False)):
        nested = b"[" * depth + b"]" * depth
        body = orjson.dumps({"events": [{**event("e"), "other": "?"}]}).replace(b'"?"', nested)
        outcome = measure.decode(body, NOW)
        if is_taken:
            assert isinstance(outcome, measure.Translation)
            assert nested in decoded(outcome.records[0]).events[0].attributes
        else:
            assert isinstance(outcome, Rejected) and outcome.reason is Reason.TOO_DEEP


def test_a_stacktrace_is_cut_by_whole_lines() -> None:
    text = stacktrace([{"type": "E", "frames": [{"class_name": "C", "method_name": "m"}] * 100}], 200)
    lines = text.split("\n")
    assert len(text) <= 200
    assert lines[0] == "E" and set(lines[1:-1]) == {"\tat C.m"}
    assert lines[-1] == f"… {101 - len(lines) + 1} lines more"
    assert stacktrace([{"type": "E", "frames": []}], 200) == ""
    assert stacktrace(["no exception", {"frames": "no list"}], 200) == ""


def test_every_recorded_event_comes_through_with_what_it_means() -> None:
    sent: Counter[tuple[str, str, str]] = Counter()
    come: Counter[tuple[str, str, str]] = Counter()
    meanings: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for body in recorded_bodies():
        for each in orjson.loads(body)["events"]:
            facts = each["attribute"]
            sent[facts["app_unique_id"], facts["installation_id"], each["id"]] += 1
        outcome = measure.decode(body, NOW)
        assert isinstance(outcome, measure.Translation) and outcome.refused == []
        assert outcome == measure.decode(body, NOW + 1)
        for record in outcome.records:
            envelope = decoded(record)
            for found in envelope.events:
                come[envelope.app_id, envelope.device_id, found.id] += 1
                meanings[found.kind.label] += 1
                meanings.update(c for bit, c in enumerate(COUNTERS) if found.counters >> bit & 1)
                meanings.update([found.exit_reason] * bool(found.exit_reason))
                if found.kind is Kind.CRASH:
                    types[orjson.loads(found.attributes)["exception.type"]] += 1
    assert come == sent and come.total() == 11_245 and set(come.values()) == {1}
    assert meanings == {
        "activity": 10_888,
        # 56 of the network, 27 of memory
        "passive": 83,
        "foreground": 125,
        "background": 49,
        "launch": 55,
        "exit": 16,
        "user_terminated": 11,
        "anr": 1,
        # 29 fatal ones, and 4 exit records that say so
        "crash": 29 + 4,
        "crash_count": 29,
        "exception_count": 66,
        "anr_count": 2,
        "network_count": 71,
        "network_error_count": 10,
        "tap_count": 541,
        "view_count": 153,
        "appearance_count": 1_000,
    }
    assert types.total() == 29 and types["SIGABRT"] == 7 and types["SIGSEGV"] == 1


def test_recorded_screens_are_counted_once_a_session() -> None:
    """By the views that the app names or, where a session has none of these, by what appeared."""
    events: dict[tuple[str, str], list[Event]] = {}
    for body in recorded_bodies():
        outcome = measure.decode(body, NOW)
        assert isinstance(outcome, measure.Translation)
        for record in outcome.records:
            envelope = decoded(record)
            events.setdefault((envelope.app_id, envelope.device_id), []).extend(native.to_events(envelope))
    counted: Counter[tuple[str, bool]] = Counter()
    for (app_id, device_id), of_device in events.items():
        for session in sessions(app_id, device_id, of_device, Policy()):
            names_views = session.counters[VIEWS] > 0
            assert session.view_count == session.counters[VIEWS if names_views else APPEARANCES]
            counted[app_id.rpartition(".")[2], names_views] += session.view_count
    # Of 727 controllers that appeared in one app, keyboards and containers are no screens.
    assert counted == {
        ("wikipedia", False): 558,
        ("DemoApp", True): 64,
        ("DemoApp", False): 0,
        ("flutter", True): 1,
        ("flutter", False): 5,
        ("sample", True): 88,
        ("sample", False): 83,
    }


def body(**lists: Any) -> measure.Translation:
    outcome = measure.decode(orjson.dumps(lists), NOW)
    assert isinstance(outcome, measure.Translation), outcome
    return outcome


def test_a_span_is_an_event_at_its_start_that_says_how_long_it_took() -> None:
    found = body(spans=[span(1, duration=998.5, status=2, session_id="s1"), span(2)])
    (record,) = found.records
    one, two = decoded(record).events
    assert (one.id, one.name, one.time_ms, one.seq) == ("4bf9-1.e", "span", 1_763_999_880_000, 7)
    assert (one.kind, one.counters, one.client_session_id) == (Kind.ACTIVITY, 0, "s1")
    said = orjson.loads(one.attributes)
    assert (said["span.name"], said["duration_ms"], said["span.status"]) == ("load", 998.5, "error")
    assert orjson.loads(two.attributes)["duration_ms"] == 1_000


@pytest.mark.parametrize("duration", [-1, True, "7", None])
def test_a_duration_that_is_none_is_taken_from_the_times(duration: Any) -> None:
    (record,) = body(spans=[span(1, duration=duration)]).records
    assert orjson.loads(decoded(record).events[0].attributes)["duration_ms"] == 1_000


def test_a_span_is_the_same_event_in_whatever_body_it_is_sent() -> None:
    spans = [span(n) for n in range(5)]
    whole = body(events=[event("e")], spans=spans)
    alone = [body(spans=[each]).records[0] for each in spans]
    assert decoded(whole.records[0]).events[1:] == [decoded(record).events[0] for record in alone]


def test_events_and_spans_of_one_sender_share_an_envelope() -> None:
    assert ids(body(events=[event("e")], spans=[span(1)])) == [["e", "4bf9-1.e"]]


def test_spans_count_towards_what_a_body_may_hold() -> None:
    many = {"events": [event(f"e{n}") for n in range(1_000)], "spans": [span(n) for n in range(501)]}
    outcome = measure.decode(orjson.dumps(many), NOW)
    assert isinstance(outcome, Rejected) and outcome.reason is Reason.TOO_MANY_EVENTS


def test_what_is_refused_of_spans_names_their_own_places() -> None:
    late = span(3, start_time="2099-01-01T00:00:00Z")
    huge = span(4, user_defined_attribute={"x": "y" * MAX_RECORD_BYTES})
    found = body(events=[event("e")], spans=[span(1), late, huge])
    assert [(each.event_index, each.detail.split(":")[0]) for each in found.refused] == [
        (2, "spans[1].start_time"),
        (3, "spans[2]"),
    ]


def test_a_clock_that_is_ahead_moves_events_and_spans_together() -> None:
    ahead = {"timestamp": "2025-11-24T18:00:00Z"}
    found = body(events=[event("e") | ahead], spans=[span(1, start_time="2025-11-24T17:59:00Z")])
    first, second = decoded(found.records[0]).events
    assert first.raw_time_ms - first.time_ms == second.raw_time_ms - second.time_ms > 0


def test_what_was_mended_of_a_span_names_its_place() -> None:
    value = orjson.dumps({"spans": [span(1), span(2, name="x?")]}).replace(b'"x?"', b'"x\\ud800"')
    outcome = measure.decode(value, NOW)
    assert isinstance(outcome, measure.Translation)
    assert [event.repaired for event in decoded(outcome.records[0]).events] == [(), ("spans[1].name",)]


@pytest.mark.slow
def test_events_of_very_many_values_are_put_into_records_that_may_hold_them() -> None:
    """A body's bound goes by all its bytes; that of a native envelope is one for all."""
    padding = [event(f"p{n}", block={"x": "y" * 800_000}) for n in range(6)]
    some = [event(f"e{n}", block={"x": [[]] * 20_000}) for n in range(9)]
    in_texts = event("t", block={"x": "[" * 60_000})
    too_many = event("m", block={"x": [[]] * 60_000})
    found = translated(*padding, *some, in_texts, too_many)
    assert sorted(name for part in ids(found) for name in part) == sorted(
        each["id"] for each in [*padding, *some, in_texts]
    )
    (refused,) = found.refused
    assert (refused.reason, refused.event_index) == (Reason.TOO_MANY_VALUES, 16)
    assert refused.detail.startswith("events[16]: as a native event: 6000")
