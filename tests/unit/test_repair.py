"""Single values that are no JSON cost themselves alone: what went wrong elsewhere, whose key it is, and its replay."""

from __future__ import annotations

import base64
import threading
from typing import Any

import orjson
import pytest

from pipeline.commands.dead_letters import _record
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.domain.session import End
from pipeline.formats import measure, native
from pipeline.formats.limits import MAX_NESTING
from pipeline.formats.mending import MAX_PLACE_CHARS, MAX_PLACES
from pipeline.formats.record_time import record_time_ms
from pipeline.formats.rejected import Reason, Rejected
from tests.support import field
from tests.support.decoding import assert_read_alike

NOW = 1_764_000_000_000
KEY = b"app/device"
CASES_MS = 1_795_740_000_000
"""After all that happens in the cases, by less than a day."""


def record(attributes: bytes = b"{}", head: bytes = b"", device: bytes = b"device") -> bytes:
    event = b'{"id":"e","name":"tap","time":%d,"attributes":%b}' % (NOW, attributes)
    return b'{"v":1,"app_id":"app","device_id":"%b",%b"events":[%b]}' % (device, head, event)


def taken(value: bytes, key: bytes = KEY, record_ms: int = NOW) -> native.Envelope:
    outcome = native.decode(value, key, record_ms)
    assert isinstance(outcome, native.Envelope), outcome
    assert_read_alike(value, key, record_ms)
    return outcome


@pytest.mark.parametrize(
    ("case", "places", "user"),
    [
        ("11a", [(), ("events[1].attributes.app.widget.name",), ()], ""),
        ("11g", [("user.id",)] * 3, '{"id":"u\ufffd"}'),
    ],
)
def test_half_a_surrogate_pair_costs_no_event(case: str, places: list[tuple[str, ...]], user: str) -> None:
    [line] = field.lines(case)
    envelope = taken(line, native.key_of(line) or b"", CASES_MS)
    assert [event.repaired for event in envelope.events] == places
    assert (envelope.user, envelope.repaired) == (user, sum(map(bool, places)))
    [session] = sessions("app", "d", native.to_events(envelope), Policy())
    assert (session.end_reason, session.event_count, session.user) == (End.CRASH, 3, user)
    if case == "11a":
        assert orjson.loads(envelope.events[1].attributes) == {"app.widget.name": "Buy \ufffd"}


def test_half_a_surrogate_pair_costs_no_event_of_a_measure_body() -> None:
    """Case 26b: it cost those of every installation in the body."""
    [body] = field.lines("26b")
    translated = measure.decode(body, CASES_MS)
    assert isinstance(translated, measure.Translation) and translated.refused == []
    assert translated == measure.decode(body, CASES_MS)
    found = {}
    for each in translated.records:
        envelope = taken(each.value, each.key, CASES_MS)
        found |= {event.id: event for event in envelope.events}
    assert len(found) == body.count(b'"timestamp"')
    assert {id_: event.repaired for id_, event in found.items() if event.repaired} == {
        "b2": ("events[1].gesture_click.target",)
    }
    assert orjson.loads(found["b2"].attributes)["app.widget.name"] == "Buy \ufffd"


def measure_body(*events: bytes) -> bytes:
    block = b'"attribute":{"app_unique_id":"app","installation_id":"device","device_name":%b}'
    made = [
        b'{"id":%b,"timestamp":"2025-11-24T15:58:00Z","type":"http","http":{"status_code":%b},' + block + b"}"
    ] * len(events)
    return b'{"events":[%b]}' % b",".join(
        each % tuple(event.split()) for each, event in zip(made, events, strict=True)
    )


def test_what_is_repaired_of_a_measure_event_is_its_own() -> None:
    body = measure_body(
        b'"a" 500 "x"', b'"b" NaN "x"', b'"c" 404 "\\ud800"', b'NaN 404 "x"', b'"d\xff" 1e999 "\xff"'
    )
    translated = measure.decode(body, NOW)
    assert isinstance(translated, measure.Translation)
    assert [(each.event_index, each.reason) for each in translated.refused] == [(3, Reason.MISSING_FIELD)]
    found = {}
    for each in translated.records:
        found |= {event.id: event for event in taken(each.value, each.key).events}
    assert {id_: event.repaired for id_, event in found.items()} == {
        "a": (),
        "b": ("events[1].http.status_code",),
        "c": ("events[2].attribute.device_name",),
        "d\ufffd": ("events[4].id", "events[4].http.status_code", "events[4].attribute.device_name"),
    }
    assert "http.response.status_code" not in orjson.loads(found["b"].attributes)


def test_the_key_of_a_device_is_that_of_its_repaired_id() -> None:
    """Its partition hangs on it. SDKs that write such an id write a key of U+FFFD too, or one that is refused."""
    value = record(device=b"d\\ud83d")
    right = "app/d\ufffd".encode()
    assert native.key_of(value) == right
    envelope = taken(value, right)
    assert (envelope.device_id, envelope.events[0].repaired) == ("d\ufffd", ("device_id",))
    for key in (b"app/d?", b"app/d\xed\xa0\xbd", b"app/d\\ud83d"):
        outcome = native.decode(value, key, NOW)
        assert isinstance(outcome, Rejected) and outcome.reason is Reason.KEY_MISMATCH


@pytest.mark.parametrize(
    "value", [b"", b"garbage", b'{"app_id":"a"}', b'{"app_id":"a","device_id":NaN}', b"[NaN]"]
)
def test_a_record_that_names_no_device_has_no_key(value: bytes) -> None:
    assert (native.key_of(value), native.sent_at_of(value)) == (None, None)


def test_when_a_record_was_sent_is_read_beside_a_value_that_is_no_json() -> None:
    """`send` would else take a recording for one of a slow clock."""
    assert native.sent_at_of(record(b'{"a":NaN}', b'"sent_at":%d,' % NOW)) == NOW
    assert native.sent_at_of(record(head=b'"sent_at":%d.0,' % NOW)) == NOW
    assert native.sent_at_of(record(head=b'"sent_at":1.5,')) is None


@pytest.mark.parametrize("key", [KEY, b"wrong"])
def test_the_replay_of_a_record_refused_before_succeeds(key: bytes) -> None:
    value = record(b'{"a":"\\ud83d"}')
    sent = _record("sdk-events", *(base64.b64encode(each).decode() for each in (key, value)), NOW)
    assert (sent.value, sent.key) == (value, KEY)
    envelope = taken(sent.value, KEY, record_time_ms(sent.headers, NOW + 10**9))
    assert (envelope.received_at_ms, envelope.events[0].repaired) == (NOW, ("events[0].attributes.a",))
    [body] = field.lines("26b")
    sent = _record("measure-events", *(base64.b64encode(each).decode() for each in (b"k", body)), CASES_MS)
    translated = measure.decode(sent.value, record_time_ms(sent.headers, CASES_MS + 10**9))
    assert translated == measure.decode(body, CASES_MS) and not isinstance(translated, Rejected)


def test_places_are_bounded_in_number_and_length() -> None:
    many = b'{"a":[%b]}' % b",".join([b"NaN"] * 1_000)
    [event] = taken(record(many, b'"user":{"id":"\\ud800"},')).events
    assert event.repaired == (
        "user.id",
        *[f"events[0].attributes.a[{n}]" for n in range(MAX_PLACES - 2)],
        "…",
    )
    [event] = taken(record(b'{"%b":NaN}' % (b"k" * 1_000))).events
    assert event.repaired == ("events[0].attributes." + "k" * (MAX_PLACE_CHARS - 22) + "…",)
    assert len(event.repaired[0]) == MAX_PLACE_CHARS


def test_a_field_that_nobody_knows_is_passed_over_whatever_is_in_it() -> None:
    value = record(b'{"a":1}', b'"unknown":[NaN,"\\ud800"],').replace(
        b'"name"', b'"unknown":-Infinity,"name"'
    )
    [event] = taken(value).events
    assert (event.repaired, event.attributes) == ((), b'{"a":1}')


@pytest.mark.parametrize(
    ("said", "places"),
    [
        (b'["a","b"]', ("a", "b")),
        (b'["a",1,"",null,["x"]]', ("a",)),
        (b'["a\\ud800"]', ("a\ufffd",)),
        (b"[]", ()),
        (b"{}", ()),
        (b"NaN", ()),
        (b'"a"', ()),
        (b'["%b"]' % (b"x" * 129), ()),
    ],
)
def test_what_was_repaired_before_is_told_by_those_who_did_it(said: bytes, places: tuple[str, ...]) -> None:
    value = record().replace(b'"name"', b'"repaired":%b,"name"' % said)
    assert taken(value).events[0].repaired == places


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xef\xbb\xbf", Reason.EMPTY_RECORD),
        (b"\xef\xbb\xbfgarbage", Reason.MALFORMED_JSON),
        (record(b'{"a":NaN}')[:-1], Reason.MALFORMED_JSON),
        (record(b'{"a":NaN,"b":"\n"}'), Reason.MALFORMED_JSON),
        (record(b'{"a":nano}'), Reason.MALFORMED_JSON),
        (record(b'{"a":NaN1}'), Reason.MALFORMED_JSON),
        (record(b'{"a":1e999e}'), Reason.MALFORMED_JSON),
        (record(b'{"a":\xff}'), Reason.INVALID_UTF8),
        (record(b'{"a":"\xff"}')[:-1], Reason.INVALID_UTF8),
        (record(b'{"b":NaN,"a":' + b"[" * MAX_NESTING + b"]" * MAX_NESTING + b"}"), Reason.TOO_DEEP),
        (b"[NaN]", Reason.INVALID_TYPE),
        (record(b"NaN").replace(b'"v":1', b'"v":NaN'), Reason.MISSING_FIELD),
        (record(b'{"a":NaN}') + b"{}", Reason.MALFORMED_JSON),
    ],
)
def test_what_is_no_json_for_another_reason_is_refused_for_that(value: bytes, reason: Reason) -> None:
    outcome = native.decode(value, KEY, NOW)
    assert isinstance(outcome, Rejected) and outcome.reason is reason, outcome
    assert_read_alike(value, KEY, NOW)


def test_mending_takes_time_that_grows_with_the_record_alone() -> None:
    """Each of these took the square of it in some way of looking for tokens."""
    for text in (b'\\"' * 200_000, b'"' * 400_000, b"\\" * 400_000, b"9" * 400_000, b"1." * 200_000, b"-" * 400_000,
                 b"a" * 400_000, b"[" * 200, b"e9" * 200_000):  # fmt: skip
        for value in (record(b'{"b":NaN,"a":' + text + b"}"), record(b'{"b":NaN,"a":"' + text)):
            assert_read_alike(value, KEY, NOW)


def test_mending_holds_under_a_small_stack() -> None:
    depth = MAX_NESTING - 4
    value = record(b'{"a":%b}' % (b'{"a":' * depth + b"NaN" + b"}" * depth))
    found: list[Any] = []
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(taken(value)))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    [event] = found[0].events
    assert event.repaired[0].endswith("…")
