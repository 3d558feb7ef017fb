"""A bounded run of the fuzzer, the inputs that it has found, and that it finds what it looks for.

`python -m tests.fuzz` is the long run, guided by coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.event import COUNTERS
from pipeline.formats import measure, native
from pipeline.formats.limits import (
    MAX_BODY_BYTES,
    MAX_BODY_EVENTS,
    MAX_CONTAINERS,
    MAX_KEPT_BYTES,
    MAX_NESTING,
    MAX_RECORD_BYTES,
)
from pipeline.formats.rejected import MAX_DETAIL_CHARS, Reason, Rejected
from pipeline.formats.strict_json import parse
from pipeline.settings import InvalidSettings, load
from pipeline.state.codec import state_codec
from pipeline.state.device_state import DeviceState
from pipeline.state.marker import MARKER_KEY
from pipeline.storage import stored_event
from pipeline.storage.dead_letter import dead_letters_of, row_of_dead_letter
from tests.fuzz.campaign import Campaign, run_mutator
from tests.fuzz.decoders import DECODERS, OF_CORE, target
from tests.fuzz.records import NativeTarget, check_envelope
from tests.fuzz.stored import StateTarget
from tests.fuzz.target import Escaped
from tests.fuzz.vocabulary import NOW_MS
from tests.support.left_states import Left

INPUTS, FEWER = 1_000, 400
SLOW_TO_CHECK = ("embrace", "faro", "measure", "sentry", "settings")
TARGETS = [name for name in DECODERS if name not in OF_CORE]
DEVICE = b'"app_id":"a","device_id":"b"'
PLACE = ("dead-letters", 3, 7)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_escapes(name: str) -> None:
    campaign = Campaign(target(name), seed=20_251_124)
    inputs = FEWER if name in SLOW_TO_CHECK else INPUTS
    run_mutator(campaign, inputs, None)
    assert not campaign.escapes, {kind: (e.what, e.data[:500]) for kind, e in campaign.escapes.items()}
    assert campaign.inputs >= inputs and campaign.accepted and campaign.refused


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_the_same_seed_makes_the_same_inputs(name: str) -> None:
    def inputs() -> list[bytes]:
        one, random = target(name), Random(7)
        return [one.mutate(random.choice(one.seeds()), random) for _ in range(200)]

    made = inputs()
    assert made == inputs()
    assert len(set(made)) > 100


def test_an_exception_is_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(value: bytes, key: bytes, record_ms: int) -> native.Envelope | Rejected:
        raise KeyError(value)

    monkeypatch.setattr(native, "decode", decode)
    campaign = Campaign(NativeTarget(), seed=1)
    run_mutator(campaign, 100, None)
    assert campaign.escapes and not campaign.accepted


def test_an_event_that_changes_on_its_way_is_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    value = b'{"v":1,%s,"events":[{"id":"e","name":"n","time":%d,"seq":3}]}' % (DEVICE, NOW_MS)
    envelope = native.decode(value, b"a/b", NOW_MS)
    assert isinstance(envelope, native.Envelope)
    check_envelope(envelope, b"a/b", NOW_MS)
    # As if the decoder had read another number than the record holds.
    monkeypatch.setattr(native, "decode", lambda *_: msgspec.structs.replace(envelope, app_id="c"))
    with pytest.raises(Escaped, match="re-encodes"):
        check_envelope(envelope, b"a/b", NOW_MS)


# Found by the fuzzer, each by the name of what it broke.


def test_measure_events_twice_the_first_of_another_type() -> None:
    event = b'{"id":"e","timestamp":"2025-11-24T15:58:00Z","type":"t","attribute":{"app_unique_id":"a",'
    event += b'"installation_id":"b"}}'
    outcome = measure.decode(b'{"events":{},"events":[%s]}' % event, NOW_MS)
    assert isinstance(outcome, measure.Translation) and len(outcome.records) == 1


def test_measure_time_beyond_what_a_native_stamp_may_be() -> None:
    body = b'{"events":[{"id":"e","timestamp":"9999-12-31T23:59:59Z","type":"t","attribute":%s}]}'
    body %= b'{"app_unique_id":"a","installation_id":"b"}'
    outcome = measure.decode(body, 2**63 - 1)
    assert isinstance(outcome, measure.Translation) and not outcome.records
    assert [each.reason for each in outcome.refused] == [Reason.TIME_OUT_OF_RANGE]
    assert "2149" in outcome.refused[0].detail


@pytest.mark.parametrize("unit", [b"0", b'""', b'{"id":"a"}'])
def test_a_list_of_too_many_bad_events_is_refused_before_they_are_looked_at(unit: bytes) -> None:
    def many(count: int) -> bytes:
        return b"[" + b",".join([unit] * count) + b"]"

    value = b'{"v":1,%s,"events":%s}' % (DEVICE, many(501))
    assert_rejected(native.decode(value, b"a/b", NOW_MS), Reason.TOO_MANY_EVENTS)
    value = b'{"events":%s}' % many(MAX_BODY_EVENTS + 1)
    assert_rejected(measure.decode(value, NOW_MS), Reason.TOO_MANY_EVENTS)
    outcome = measure.decode(b'{"events":%s}' % many(MAX_BODY_EVENTS), NOW_MS)
    assert isinstance(outcome, measure.Translation) and len(outcome.refused) == MAX_BODY_EVENTS


def test_a_body_over_the_limit_is_refused_unread() -> None:
    assert_rejected(measure.decode(b" " * (MAX_BODY_BYTES + 1), NOW_MS), Reason.RECORD_TOO_LARGE)


def test_more_arrays_and_objects_than_a_record_may_hold() -> None:
    def value(count: int, padding: bytes = b"") -> bytes:
        return b'{"a":[%s],"b":"%s"}' % (b",".join([b"{}"] * (count - 2)), padding)

    assert isinstance(parse(value(MAX_CONTAINERS), MAX_RECORD_BYTES), dict)
    assert_rejected(parse(value(MAX_CONTAINERS + 1), MAX_RECORD_BYTES), Reason.TOO_MANY_VALUES)
    # Brackets within strings are no arrays.
    tricky = rb"[\"{\\" * 60_000
    assert isinstance(parse(value(MAX_CONTAINERS, tricky), MAX_RECORD_BYTES), dict)
    assert_rejected(parse(value(MAX_CONTAINERS + 1, tricky), MAX_RECORD_BYTES), Reason.TOO_MANY_VALUES)
    # A body of several million bytes may hold as many times more.
    assert isinstance(parse(value(2 * MAX_CONTAINERS, b"x" * 10**6), None), dict)


@given(st.lists(st.sampled_from([b"[", b'{"a":']), min_size=MAX_NESTING - 4, max_size=MAX_NESTING + 4))
def test_the_depth_that_is_refused_is_exact(opened: list[bytes]) -> None:
    closed = b"".join(b"]" if each == b"[" else b"}" for each in reversed(opened))
    value = b'{"a":[1,{},%s0%s]}' % (b"".join(opened), closed)
    for levels in (MAX_NESTING, MAX_NESTING - 1):
        outcome = parse(value, None, levels)
        if len(opened) + 2 > levels:
            assert_rejected(outcome, Reason.TOO_DEEP)
        else:
            assert isinstance(outcome, dict)


def test_header_of_a_dead_letter_without_a_value() -> None:
    row = letter_row([("reason", None), ("topic", b"t")])
    assert row["reason"] == "unknown" and row["topic"] == PLACE[0]


@pytest.mark.parametrize(
    "number", [b"9" * 5_000, b"18446744073709551616", b"4294967296", b"-1", "²".encode()]
)
def test_number_in_a_dead_letter_that_its_column_does_not_hold(number: bytes) -> None:
    names = ("partition", "offset", "event_index", "record_ms")
    row = letter_row([("reason", b"too_deep"), ("topic", b"t"), *((name, number) for name in names)])
    assert row["reason"] == "too_deep"
    assert 0 <= row["partition"] < 2**32 and 0 <= row["offset"] < 2**64 and -1 <= row["event_index"] < 2**31


def test_words_of_others_in_a_dead_letter_are_bounded() -> None:
    assert letter_row([("reason", b"because"), ("topic", b"t")])["reason"] == "unknown"
    row = letter_row([("reason", b"too_deep"), ("topic", b"t"), ("detail", b"x" * 5_000)])
    assert len(row["detail"]) == MAX_DETAIL_CHARS


def test_a_refused_value_too_large_for_a_dead_letter_is_cut_and_says_so() -> None:
    value, fault = b"x" * (MAX_KEPT_BYTES + 1), Rejected(Reason.RECORD_TOO_LARGE, "d" * 300)
    [letter] = dead_letters_of("t", 0, 0, record_ms=0, key=b"k", value=value, faults=[fault])
    assert letter.value == value[:-1] and letter.key == b"k"
    assert letter.rejected.detail.endswith("(value of 7500001 bytes, key of 1: cut here)")
    assert len(letter.rejected.detail) == MAX_DETAIL_CHARS
    [letter] = dead_letters_of("t", 0, 0, record_ms=0, key=None, value=value[:-1], faults=[fault])
    assert letter.value == value[:-1] and letter.rejected == fault


def state_layout() -> list[Any]:
    """Of a state in version 1, where every part is decoded at once: one that owes a row."""
    layouts = [
        msgspec.msgpack.decode(value[1:])
        for key, value in sorted(Left(1).entries.items())
        if key != MARKER_KEY
    ]
    layout = next(layout for layout in layouts if layout[4] and layout[6] and layout[7] and layout[8])
    assert isinstance(layout, list)
    return layout


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((4, 2), 500),  # the app's state
        ((6, 0, 1), 99),  # the kind of an event
        ((6, 0, 7), 10**6),  # a reference to no string
        ((6, 0, 8), -1),  # one that Python would count from the end
        ((6, 0, 6), 1 << len(COUNTERS)),  # a bit of no counter
        ((7, 0, 3), 99),  # what a row said
        ((8, 0, 1), -1),
        ((8, 0, 0, 13), [1]),  # the counters of a session
    ],
)
def test_damaged_state_is_named_as_such(path: tuple[int, ...], value: object) -> None:
    layout: Any = state_layout()
    node = layout
    for step in path[:-1]:
        node = node[step]
    assert node[path[-1]] != value
    node[path[-1]] = value
    with pytest.raises(msgspec.DecodeError):
        state_codec.decode(b"\x01" + msgspec.msgpack.encode(layout))


@pytest.mark.parametrize("encode", state_codec.ENCODERS.values())
def test_damaged_text_in_a_state(encode: Callable[[DeviceState], bytes]) -> None:
    encoded = encode(state_codec.decode(StateTarget().seeds()[1])).replace(b"e1", b"\xff1")
    with pytest.raises(msgspec.DecodeError):
        state_codec.check(state_codec.decode(encoded))


@pytest.mark.parametrize("size", range(state_codec.HEAD.size))
def test_a_state_that_is_cut_off(size: int) -> None:
    encoded = StateTarget().seeds()[1]
    with pytest.raises(msgspec.DecodeError):
        state_codec.decode(encoded[:size])
    with pytest.raises(msgspec.DecodeError):
        state_codec.outline(encoded[:size])


@pytest.mark.parametrize(
    ("at", "value"),
    [(6, "resumed"), (11, 1 << len(COUNTERS)), (11, -1),
     (12, "[]"), (12, "null"), (12, '{"os.name":1}'), (12, ""), (12, "\r\n{}"),
     (13, "1"), (13, '{"id":1}'), (4, 2**63), (14, "hidden"), (14, None)],
)  # fmt: skip
def test_stored_event_that_no_decoder_wrote(at: int, value: object) -> None:
    row: list[object] = [
        "a",
        "b",
        1,
        17,
        NOW_MS,
        NOW_MS,
        "activity",
        0,
        "e1",
        "",
        "",
        0,
        "{}",
        '{"id":"u"}',
        "",
        NOW_MS,
        0,
        "2026-01-05",
        90,
    ]
    assert len(list(stored_event.devices([orjson.dumps(row)]))) == 1
    row[at] = value
    with pytest.raises(msgspec.DecodeError):
        list(stored_event.devices([orjson.dumps(row)]))


def test_stored_event_that_is_not_utf8() -> None:
    with pytest.raises(msgspec.DecodeError):
        list(stored_event.devices([b'["\xed\xa0\x80"]']))


@pytest.mark.parametrize(
    "text",
    [
        f"a = {'[' * 3_000}",
        f"partitions = {'9' * 5_000}",
        "partitions = 0x" + "f" * 8_000,
        "partitions = [1]",
    ],
    ids=["nested", "digits", "hexadecimal", "array"],
)
def test_settings_file_that_python_cannot_read(text: str, tmp_path: Any) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(InvalidSettings):
        load({"PIPELINE_CONFIG": str(path)})


@pytest.mark.parametrize(
    "environment",
    [{"PIPELINE_CONFIG": "\0"}, {"PIPELINE_CONFIG": "x" * 5_000}, {"PIPELINE_KAFKA_CA_FILE": "x" * 5_000}],
)
def test_path_in_settings_that_the_system_does_not_take(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings):
        load(environment)


def letter_row(headers: list[tuple[str, bytes | None]]) -> dict[str, Any]:
    row = row_of_dead_letter(headers, key=None, value=b"x", record_ms=0, place=PLACE)
    parsed: dict[str, Any] = orjson.loads(row)
    return parsed


def assert_rejected(outcome: object, reason: Reason) -> None:
    assert isinstance(outcome, Rejected), outcome
    assert outcome.reason is reason
