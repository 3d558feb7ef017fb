"""What the examples under schemas/ cannot show: details of the native decoder, of meaning and of limits."""

from __future__ import annotations

import threading
from typing import Any

import orjson
import pytest

from pipeline.domain.event import COUNTERS, AppState, Event, Kind
from pipeline.domain.privacy import Privacy, Rules, Samplings
from pipeline.formats.edge import Edge
from pipeline.formats.envelope import Envelope
from pipeline.formats.identity import canonical_resource, canonical_user
from pipeline.formats.limits import MAX_EVENTS, MAX_NESTING, MAX_RECORD_BYTES
from pipeline.formats.meaning import exit_reason_of, interpret, meaning_without_attributes
from pipeline.formats.native import reading
from pipeline.formats.native.events import decode, to_events
from pipeline.formats.rejected import MAX_DETAIL_CHARS, Reason, Rejected
from tests.support.decoding import assert_read_alike

NOW = 1_764_000_000_000
KEY = b"app/device"


def envelope(*events: Any, **fields: Any) -> bytes:
    return orjson.dumps({"v": 1, "app_id": "app", "device_id": "device", **fields, "events": list(events)})


def event(id: str = "e", name: str = "tap", time: int = NOW, **fields: Any) -> dict[str, Any]:
    return {"id": id, "name": name, "time": time, **fields}


def accepted(value: bytes, record_ms: int = NOW) -> Envelope:
    outcome = decode(value, KEY, record_ms)
    assert isinstance(outcome, Envelope), outcome
    return outcome


def refused(value: bytes | None, key: bytes | None = KEY) -> Rejected:
    outcome = decode(value, key, NOW)
    assert isinstance(outcome, Rejected), outcome
    return outcome


def test_to_events_gives_what_the_fold_needs() -> None:
    value = envelope(
        event("e1", "http.client.request", NOW - 5, seq=4, session_id="s", attributes={"error.type": "x"}),
        event("e2", "app.exit", attributes={"app.exit.reason": "ANR"}),
        resource={"b": "2", "a": 1},
        user={"id": "u"},
    )
    first, second = to_events(accepted(value))
    counters = (1 << COUNTERS.index("network_count")) | (1 << COUNTERS.index("network_error_count"))
    resource, user = '{"a":"1","b":"2"}', '{"id":"u"}'
    assert first == Event(NOW - 5, 2, 4, "e1", Kind.ACTIVITY, "s", "", counters, resource, user)
    assert second == Event(NOW, 5, 0, "e2", Kind.EXIT, "", "anr", 0, resource, user)


@pytest.mark.parametrize("name", ["http.client.request", "exception", "log", "app.exit", "app.launch", "tap"])
@pytest.mark.parametrize("fields", [{}, {"attributes": None}, {"attributes": {}}, {"attributes": []}])
def test_both_readings_of_an_event_without_attributes_agree(name: str, fields: dict[str, Any]) -> None:
    assert_read_alike(envelope(event(name=name, **fields)), KEY, NOW)


def test_attributes_are_kept_byte_for_byte() -> None:
    attributes = b'{ "big": 123456789012345678901234567890, "f": 1.50, "u": "\\u00e9", "dup": 1, "dup": 2 }'
    value = envelope(event(attributes="?")).replace(b'"?"', attributes)
    assert accepted(value).events[0].attributes == attributes


def test_attributes_are_kept_byte_for_byte_beside_a_bad_event() -> None:
    attributes = b'{ "f": 1.50 }'
    value = envelope(event(attributes="?"), "no event").replace(b'"?"', attributes)
    outcome = accepted(value)
    assert [e.attributes for e in outcome.events] == [attributes]
    assert [r.event_index for r in outcome.refused] == [1]


def test_a_record_may_be_filled_by_one_event() -> None:
    room = MAX_RECORD_BYTES - len(envelope(event(attributes={"dump": ""})))
    full = envelope(event(attributes={"dump": "x" * room}))
    assert len(full) == MAX_RECORD_BYTES
    assert len(accepted(full).events) == 1
    assert refused(full + b" ").reason is Reason.RECORD_TOO_LARGE


def test_nesting_is_accepted_up_to_the_limit_whatever_the_stack_holds() -> None:
    depth = MAX_NESTING - 4  # envelope, events, event, attributes
    deepest = envelope(event(attributes={"a": "?"})).replace(b'"?"', b"[" * depth + b"]" * depth)
    too_deep = envelope(event(attributes={"a": "?"})).replace(b'"?"', b"[" * (depth + 1) + b"]" * (depth + 1))
    wide = envelope(event(attributes={"a": [[1]] * 1_000}))

    def below(frames: int) -> None:
        if frames:
            below(frames - 1)
            return
        assert len(accepted(deepest).events) == 1
        assert refused(too_deep).reason is Reason.TOO_DEEP
        assert len(accepted(wide).events) == 1

    below(0)
    below(400)


def test_a_clock_is_fast_from_more_than_a_minute_on_and_slow_from_more_than_a_day() -> None:
    minute, quarter, day = 60_000, 900_000, 86_400_000
    for ahead_ms, shift_ms in (
        (minute, 0),
        (minute + 1, -quarter),
        (quarter, -quarter),
        (quarter + 1, -2 * quarter),
        (-day, 0),
        (-day - 1, day),
        (-day - quarter, day + quarter),
        (-day - 2 * quarter + 1, day + quarter),
    ):
        stamp = NOW + ahead_ms
        found = accepted(envelope(event(time=stamp - 10), sent_at=stamp)).events[0]
        assert (found.time_ms, found.raw_time_ms) == (stamp - 10 + shift_ms, stamp - 10), ahead_ms


def test_a_key_is_required() -> None:
    assert refused(envelope(event()), None).reason is Reason.KEY_MISMATCH
    assert refused(envelope(event()), b"\xff").reason is Reason.KEY_MISMATCH


def test_of_repeated_fields_the_last_counts_on_both_ways() -> None:
    event = b'{"id":"a","name":"n","time":"x","time":%d}' % NOW
    outcome = accepted(b'{"v":1,"app_id":5,"app_id":"app","device_id":"device","events":[%b]}' % event)
    assert [e.id for e in outcome.events] == ["a"]
    assert outcome.refused == []


@pytest.mark.parametrize("digits", [30, 308, 309, 5_000, 100_000])
def test_huge_integers_are_refused_or_ignored_but_never_raise(digits: int) -> None:
    number = b"9" * digits
    for field, reason in ((b'"time"', Reason.TIME_OUT_OF_RANGE), (b'"seq"', Reason.INVALID_VALUE)):
        value = envelope(event(), event(seq=0, time=NOW))
        broken = value.replace(field + b":", field + b":" + number + b',"x":', 1)
        found = accepted(broken)
        # What a double does not hold is none: of a time that is required it is missing, of a counter there is no need.
        if digits < 309 or field == b'"time"':
            assert [each.reason for each in found.refused] == [
                reason if digits < 309 else Reason.MISSING_FIELD
            ]
        else:
            assert found.refused == [] and found.events[1].repaired == ("events[1].seq",)
    in_user = envelope(event(), user={"id": "u", "properties": {"n": "?"}}).replace(b'"?"', number[:300])
    assert accepted(in_user).user == f'{{"id":"u","properties":{{"n":"{number[:300].decode()}"}}}}'


@pytest.mark.parametrize(
    ("stamp", "said"),
    [
        (NOW // 1_000, f"{NOW // 1_000} is in seconds; Unix milliseconds are required"),
        (NOW * 1_000 + 1, f"{NOW * 1_000 + 1} is in microseconds; Unix milliseconds are required"),
        (NOW * 1_000_000, f"{NOW * 1_000_000} is in nanoseconds; Unix milliseconds are required"),
        (-NOW, "Unix milliseconds, 0 to 9999999999999"),
        (10**13, "Unix milliseconds, 0 to 9999999999999"),
        (10**30, "Unix milliseconds, 0 to 9999999999999"),
    ],
)
def test_a_stamp_in_another_unit_is_refused_with_its_name(stamp: int, said: str) -> None:
    sent = refused(envelope(event(), sent_at=0).replace(b'"sent_at":0', b'"sent_at":%d' % stamp))
    assert (sent.reason, sent.detail) == (Reason.TIME_OUT_OF_RANGE, f"sent_at: {said}")
    value = envelope(event(), event("bad", time=0)).replace(b'"time":0', b'"time":%d' % stamp)
    (fault,) = accepted(value).refused
    assert (fault.reason, fault.detail) == (Reason.TIME_OUT_OF_RANGE, f"events[1].time: {said}")


def test_an_id_under_another_spelling_is_named_where_it_is_missed() -> None:
    missed = {"v": 1, "appId": "app", "DeviceID": "device", "events": [event()]}
    told = "app_id: required, 1 to 128 characters; appId is ignored: the name is app_id"
    said = [refused(orjson.dumps(missed)), refused(orjson.dumps({**missed, "app_id": "app"}))]
    assert [(each.reason, each.path) for each in said] == [
        (Reason.MISSING_FIELD, "app_id"),
        (Reason.MISSING_FIELD, "device_id"),
    ]
    assert said[0].detail == told and said[1].detail.endswith("; DeviceID is ignored: the name is device_id")


def test_detail_is_bounded() -> None:
    assert len(Rejected(Reason.INVALID_VALUE, "x" * 301).detail) == MAX_DETAIL_CHARS
    assert Rejected(Reason.INVALID_VALUE, "x" * 300).detail == "x" * 300


def test_a_user_of_a_long_property_name_has_a_short_detail() -> None:
    outcome = refused(envelope(event(), user={"properties": {"\x01" * 100_000: "v"}}))
    assert outcome.reason is Reason.PROPERTY_TOO_LONG
    assert len(outcome.detail) <= MAX_DETAIL_CHARS


def test_canonical_text_is_the_same_cached_or_not() -> None:
    small = b'{"b": [1, {"z": 1, "a": 2}], "a": "x"}'
    large = small[:-1] + b', "c": "' + b"y" * 5_000 + b'"}'
    assert canonical_resource(small) == '{"a":"x","b":"[1,{\\"z\\":1,\\"a\\":2}]"}'
    assert canonical_resource(large) == f'{{"a":"x","b":"[1,{{\\"z\\":1,\\"a\\":2}}]","c":"{"y" * 5_000}"}}'
    for nobody in (b"", b"null", b"{}", b'{"id":"","personas":[],"properties":{"a":null}}'):
        assert canonical_user(nobody) == ""


def test_decoding_holds_under_a_small_stack() -> None:
    """A worker's thread may have little stack: the deepest record accepted must not need more."""
    depth = MAX_NESTING - 4
    value = envelope(event(attributes={"a": "?"})).replace(b'"?"', b'{"a":' * depth + b"1" + b"}" * depth)
    found: list[Envelope | Rejected] = []
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(decode(value, KEY, NOW)))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert isinstance(found[0], Envelope)


@pytest.mark.parametrize(
    ("name", "attributes", "kind", "counted"),
    [
        ("device.app.lifecycle", {}, Kind.ACTIVITY, []),
        ("device.app.lifecycle", {"android.app.state": ["created"]}, Kind.ACTIVITY, []),
        ("app.launch", {}, Kind.ACTIVITY, []),
        ("app.launch", {"app.launch.type": "COLD"}, Kind.ACTIVITY, []),
        ("exception", {"fatal": "True"}, Kind.ACTIVITY, ["exception_count"]),
        ("exception", {"fatal": 1}, Kind.ACTIVITY, ["exception_count"]),
        ("app.anr", {"fatal": "true"}, Kind.ANR, ["anr_count"]),
        ("http.client.request", {"http.response.status_code": 399}, Kind.ACTIVITY, ["network_count"]),
        ("http.client.request", {"http.response.status_code": "abc"}, Kind.ACTIVITY, ["network_count"]),
        (
            "http.client.request",
            {"http.response.status_code": 400},
            Kind.ACTIVITY,
            ["network_count", "network_error_count"],
        ),
        ("log", {"severity_number": 16}, Kind.ACTIVITY, []),
        ("log", {"severity_number": "17"}, Kind.ACTIVITY, ["log_error_count"]),
        ("log", {"severity_text": "error3"}, Kind.ACTIVITY, ["log_error_count"]),
        ("log", {"severity": 21}, Kind.ACTIVITY, ["log_error_count"]),
        ("log", {"severity_text": "ERRORS"}, Kind.ACTIVITY, []),
        ("App.Crash", {}, Kind.ACTIVITY, []),
    ],
)
def test_meaning(name: str, attributes: dict[str, Any], kind: Kind, counted: list[str]) -> None:
    found, exit_reason, counters, stated = interpret(name, attributes)
    assert (found, exit_reason, stated) == (kind, "", AppState.UNKNOWN)
    assert [c for bit, c in enumerate(COUNTERS) if counters >> bit & 1] == counted


@pytest.mark.parametrize(
    ("name", "attributes", "kind", "stated"),
    [
        ("device.app.lifecycle", {"android.app.state": "created"}, Kind.LAUNCH, AppState.BACKGROUND),
        (
            "device.app.lifecycle",
            {"android.app.state": "created", "app.state": "foreground"},
            Kind.LAUNCH,
            AppState.FOREGROUND,
        ),
        ("device.app.lifecycle", {"ios.app.state": "active"}, Kind.ACTIVE, AppState.UNKNOWN),
        ("device.app.lifecycle", {"android.app.state": "active"}, Kind.ACTIVE, AppState.UNKNOWN),
        ("device.app.lifecycle", {"ios.app.state": "inactive"}, Kind.ACTIVITY, AppState.UNKNOWN),
        ("device.app.lifecycle", {"browser.page.visibility": "visible"}, Kind.ACTIVE, AppState.UNKNOWN),
        ("device.app.lifecycle", {"browser.page.visibility": "hidden"}, Kind.BACKGROUND, AppState.UNKNOWN),
        (
            "app.launch",
            {"app.launch.type": "cold", "app.state": "background"},
            Kind.LAUNCH,
            AppState.BACKGROUND,
        ),
        ("sync", {"app.state": "background"}, Kind.ACTIVITY, AppState.BACKGROUND),
        ("sync", {"app.state": "Background"}, Kind.ACTIVITY, AppState.UNKNOWN),
        ("sync", {"app.state": 2}, Kind.ACTIVITY, AppState.UNKNOWN),
        ("sync", {"passive": True}, Kind.PASSIVE, AppState.UNKNOWN),
        ("sync", {"passive": "true"}, Kind.PASSIVE, AppState.UNKNOWN),
        ("sync", {"passive": False}, Kind.ACTIVITY, AppState.UNKNOWN),
        ("sync", {"passive": 1}, Kind.ACTIVITY, AppState.UNKNOWN),
        ("app.exit", {"passive": True, "app.exit.reason": "anr"}, Kind.PASSIVE, AppState.UNKNOWN),
        ("app.heartbeat", {}, Kind.PASSIVE, AppState.UNKNOWN),
        ("network.change", {"app.state": "foreground"}, Kind.PASSIVE, AppState.FOREGROUND),
        ("device.thermal_status.change", {}, Kind.PASSIVE, AppState.UNKNOWN),
        ("device.power_save_mode.change", {}, Kind.PASSIVE, AppState.UNKNOWN),
        ("device.memory.low", {}, Kind.PASSIVE, AppState.UNKNOWN),
        ("session.end.reported", {}, Kind.PASSIVE, AppState.UNKNOWN),
        ("metrickit.diagnostic", {}, Kind.PASSIVE, AppState.UNKNOWN),
        ("metrickit", {}, Kind.ACTIVITY, AppState.UNKNOWN),
    ],
)
def test_kinds_that_say_nothing_of_use_and_states_that_are_stated(
    name: str, attributes: dict[str, Any], kind: Kind, stated: AppState
) -> None:
    found = interpret(name, attributes)
    assert found == (kind, "", 0, stated)
    assert attributes or meaning_without_attributes(name) == found


def test_exit_reasons() -> None:
    words = ("CRASH_NATIVE", "Out_Of_Memory", " user_terminated ", "SIGNALED", "", None, 3, "x" * 65)
    expected = ["crash", "out_of_memory", "user_terminated", "signaled", *["unknown"] * 4]
    assert [exit_reason_of(word) for word in words] == expected


@pytest.mark.parametrize("count", [100, 128, 300, MAX_EVENTS])
def test_a_record_of_many_events_with_attributes_is_read_the_quick_way(count: int) -> None:
    """What counts is how deep its brackets lie, not how many there are."""
    events = [event(id=f"e{number}", attributes={"a": "1", "b": ["{["]}) for number in range(count)]
    value = envelope(*events, resource={"os.name": "Android"})
    assert reading.plain_envelope(value, reading.names_of(KEY)) is not None
    assert_read_alike(value, KEY, NOW)


FLAT = [event(id=f"e{number}", attributes={"a": [1]}) for number in range(260)]


@pytest.mark.parametrize("name", ["other", "resource", "user", "events"])
@pytest.mark.parametrize("depth", [300, 990, 1_000, 1_020])
def test_what_stands_twice_is_refused_where_it_nests_too_deep(name: str, depth: int) -> None:
    """A reader with little stack left would fail in it, and another would not."""
    twice = b'"%s":%s,"%s":' % (name.encode(), b"[" * depth + b"]" * depth, name.encode())
    value = envelope(
        event(), **({"resource": {}, "user": {"id": "u"}} | ({"other": 1} if name == "other" else {}))
    )
    value = value.replace(b'"%s":' % name.encode(), twice, 1)
    assert twice in value
    assert refused(value).reason is Reason.TOO_DEEP
    edge = Edge(Privacy(Rules()), Samplings())
    assert edge.cleaned(KEY, value) == value
    # Nobody can tell what is in it, so nothing of it is kept.
    assert edge.refused("native-events", KEY, value) is None


@pytest.mark.parametrize("depth", [*range(250, 258), 900, 1_000, 1_020, 1_100, 30_000])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"attributes":{"a":[1]}', b'"attributes":%s'),
        (b'"attributes":{"a":[1]}', b'"attributes":%s,"attributes":{}'),
        (b'"resource":{}', b'"resource":%s'),
        (b'"resource":{}', b'"resource":%s,"resource":{}'),
        (b'"resource":{}', b'"user":%s,"user":{"id":"u"}'),
        (b'"resource":{}', b'"events":%s,"events":[]'),
        (b'"resource":{}', b'"other":%s'),
    ],
)
def test_depth_is_judged_alike_by_both_ways(before: bytes, after: bytes, depth: int) -> None:
    """Wherever it lies, also in what a field holds that stands a second time."""
    sound = envelope(*FLAT, resource={}).replace(b" ", b"")
    assert before in sound
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    assert_read_alike(sound.replace(before, after.replace(b"%s", deep), 1), KEY, NOW)
