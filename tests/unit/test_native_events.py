"""`native-events`: native envelopes under any key, and what the router makes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.formats import native, registry
from pipeline.formats.limits import MAX_EVENTS, MAX_RECORD_BYTES
from pipeline.formats.record_time import record_time_ms
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Translation
from pipeline.roles.metrics import Metrics
from pipeline.roles.router import Routed, Router
from pipeline.roles.topology import all_read, from_others, plan, reads
from pipeline.state.records import SourceRecord
from pipeline.storage.dead_letter import DeadLetter

AT_MS = 1_760_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
KEY = b"a/d"


def envelope(*events: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"v": 1, "app_id": "a", "device_id": "d", **more, "events": events}).encode()


def event(name: str, time_ms: int = AT_MS, **more: Any) -> dict[str, Any]:
    return {"id": name, "name": "n", "time": time_ms, **more}


def translated(value: bytes | None, record_ms: int = AT_MS) -> Translation | Rejected:
    assert native.ANY_KEY.translate is not None
    return native.ANY_KEY.translate(value, record_ms)


def routed(*records: SourceRecord) -> tuple[list[Routed], list[DeadLetter]]:
    """What a router puts on `sdk-events` and `dead-letters`."""
    sent: list[Routed] = []
    dead: list[DeadLetter] = []

    async def send(items: Sequence[Routed]) -> None:
        sent.extend(items)

    async def dead_letter(refused: Sequence[DeadLetter]) -> None:
        dead.extend(refused)

    asyncio.run(Router(send, dead_letter, Metrics()).handle("native-events", 3, records))
    return sent, dead


def test_the_topic_is_one_that_the_router_reads_and_everything_knows() -> None:
    assert registry.of_name("native-events") == (registry.of_topic("native-events"),) == (native.ANY_KEY,)
    assert "native-events" in reads()["router"] and "native-events" in all_read()
    assert ("router", "native-events") in from_others()
    assert plan(7, 5)["native-events"] == plan(7, 5)["sdk-events"]


@pytest.mark.parametrize("key", [None, b"", b"any", b"a/other"])
def test_a_sound_record_goes_on_byte_for_byte_under_its_right_key(key: bytes | None) -> None:
    value = envelope(event("e1", attributes={"k": [1.50, "\u2028"]}), batch_id="b", of_later={"x": 1})
    sent, dead = routed(SourceRecord(7, AT_MS, key, value))
    assert [item[:2] for item in sent] == [(KEY, value)] and dead == []


def test_under_which_key_send_produces_it_does_not_matter_but_is_one_a_device() -> None:
    assert native.ANY_KEY.key_of(envelope(event("e")), "file") == KEY
    assert native.ANY_KEY.key_of(b"garbage", "file") == b"file"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY_RECORD),
        (b"", Reason.EMPTY_RECORD),
        (b"\xff", Reason.INVALID_UTF8),
        (b"{", Reason.MALFORMED_JSON),
        (b'{"v":' + b"[" * 100_000, Reason.TOO_DEEP),
        (b'{"app_id":"a","device_id":"d","v":' + b"[" * 40_000 + b"]" * 40_000 + b"}", Reason.TOO_DEEP),
        (b"[]", Reason.NO_EVENTS),
        (envelope(event("e"), v=2), Reason.UNKNOWN_VERSION),
        (envelope(event("e"), app_id=None), Reason.MISSING_FIELD),
        (envelope(event("e"), app_id=5), Reason.INVALID_TYPE),
        (envelope(event("e"), app_id="a/b"), Reason.INVALID_VALUE),
        (envelope(event("e"), device_id=""), Reason.ID_LENGTH),
        (envelope(event("e"), device_id="d\0"), Reason.INVALID_VALUE),
        (envelope(event("e"), resource=[]), Reason.INVALID_TYPE),
        (envelope(event("e"), user={"personas": [""]}), Reason.ID_LENGTH),
        (envelope(), Reason.NO_EVENTS),
        (envelope(event("e", attributes={"t": "x" * MAX_RECORD_BYTES})), Reason.RECORD_TOO_LARGE),
        (envelope(*[event(f"e{n}") for n in range(501)], resource=[]), Reason.INVALID_TYPE),
        (envelope(*[event(f"e{n}") for n in range(501)], user={"id": "u" * 129}), Reason.ID_LENGTH),
    ],
)
def test_a_fault_of_the_envelope_refuses_it(value: bytes | None, reason: Reason) -> None:
    sent, dead = routed(SourceRecord(7, AT_MS, b"any", value))
    assert sent == []
    [letter] = dead
    assert (letter.topic, letter.partition, letter.offset, letter.key, letter.value) == (
        "native-events", 3, 7, b"any", value,
    )  # fmt: skip
    assert (letter.rejected.reason, letter.rejected.event_index) == (reason, None)


def test_a_fault_of_an_event_costs_that_event() -> None:
    value = envelope(event("e1"), {"id": "e2"}, event("e3", AT_MS + 2 * DAY_MS), event("e4"), batch_id="b")
    sent, dead = routed(SourceRecord(7, AT_MS, None, value))
    [(key, left, header)] = sent
    assert json.loads(left) == json.loads(envelope(event("e1"), event("e4"), batch_id="b"))
    assert key == KEY and record_time_ms([header], AT_MS + 5) == AT_MS
    assert [(letter.value, letter.rejected.reason, letter.rejected.event_index) for letter in dead] == [
        (value, Reason.MISSING_FIELD, 1),
        (value, Reason.TIME_OUT_OF_RANGE, 2),
    ]
    sent, dead = routed(SourceRecord(7, AT_MS, None, envelope({"id": "e2"}, {"id": "e3"})))
    assert sent == [] and [letter.rejected.event_index for letter in dead] == [0]


@pytest.mark.parametrize("off_ms", [0, -30 * DAY_MS, 5 * HOUR_MS])
@pytest.mark.parametrize("count", [1, 3])
def test_the_clock_of_a_device_is_corrected_as_if_the_router_had_not_been_behind(
    off_ms: int, count: int
) -> None:
    """By the time at which the record came, also where it was refused once and is sent again."""
    clock_ms = AT_MS + off_ms
    value = envelope(
        *[event(f"e{n}", clock_ms - n * 1_000) for n in range(count)], sent_at=clock_ms, batch_id="b", user={"id": "u"}
    )  # fmt: skip
    straight = native.decode(value, KEY, AT_MS)
    assert isinstance(straight, native.Envelope)
    came = SourceRecord(7, AT_MS, None, value)
    again = SourceRecord(9, AT_MS + DAY_MS, None, value, (("replayed_record_ms", str(AT_MS).encode()),))
    for record in (came, again):
        sent, _ = routed(record)
        [(key, on_its_way, header)] = sent
        late_ms = AT_MS + 2 * DAY_MS
        assert native.decode(on_its_way, key, record_time_ms([header], late_ms)) == straight


@pytest.mark.parametrize("off_ms", [0, 40 * 60_000, 30 * 60_000, -30 * DAY_MS])
@pytest.mark.parametrize("says", [True, False])
def test_the_parts_of_a_record_keep_their_order_whatever_the_clock(off_ms: int, says: bool) -> None:
    """Of a clock that is 40 min ahead the first events are from before the record came, the rest seem to come after."""
    count = MAX_EVENTS + 100
    times = [AT_MS + off_ms - (count - n) * 6_000 for n in range(count)]
    more = {"sent_at": AT_MS + off_ms} if says else {}
    value = envelope(*[event(f"e{n}", time_ms) for n, time_ms in enumerate(times)], **more)
    found = translated(value)
    assert isinstance(found, Translation) and len(found.records) == 2
    parts = [native.decode(record.value, KEY, AT_MS) for record in found.records]
    assert all(isinstance(part, native.Envelope) and not part.refused for part in parts)
    events = [each for part in parts if isinstance(part, native.Envelope) for each in part.events]
    assert [each.raw_time_ms for each in events] == times
    assert len({each.time_ms - each.raw_time_ms for each in events}) == 1


@pytest.mark.parametrize("count", [2, MAX_EVENTS + 2])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_what_is_repaired_goes_on_with_its_places_also_where_the_record_is_cut(
    count: int, mark: bytes
) -> None:
    """It stopped the router: what it cut was no JSON."""
    made = [event(f"e{n}", attributes={"a": "NAN"}) for n in range(count)]
    value = envelope(*made, event(""), resource={"os.name": "HALF"})
    value = mark + value.replace(b'"NAN"', b"NaN", 1).replace(b"HALF", b"\\ud800")
    outcome = translated(value)
    assert isinstance(outcome, Translation)
    assert [each.event_index for each in outcome.refused] == [count]
    found = {}
    for record in outcome.records:
        part = native.decode(record.value, record.key, AT_MS)
        assert (
            isinstance(part, native.Envelope)
            and part.refused == []
            and part.resource == '{"os.name":"\ufffd"}'
        )
        found |= {each.id: each.repaired for each in part.events}
    assert found.pop("e0") == ("resource.os.name", "events[0].attributes.a")
    assert len(found) == count - 1 and set(found.values()) == {("resource.os.name",)}


def test_parts_of_a_slow_clock_with_an_event_ahead_are_moved_alike() -> None:
    """Shifted by their clock, and all moved back for the one that is ahead still."""
    slow_ms = 3 * DAY_MS
    times = [AT_MS - slow_ms - n for n in range(MAX_EVENTS + 5)] + [AT_MS - slow_ms + HOUR_MS]
    value = envelope(*(event(f"e{n}", time_ms) for n, time_ms in enumerate(times)), sent_at=AT_MS - slow_ms)
    outcome = translated(value)
    assert isinstance(outcome, Translation) and outcome.refused == []
    found = []
    for record in outcome.records:
        part = native.decode(record.value, record.key, AT_MS)
        assert isinstance(part, native.Envelope) and part.refused == []
        found += [(each.raw_time_ms, each.time_ms - each.raw_time_ms) for each in part.events]
    assert [raw for raw, _ in found] == times
    assert {shift for _, shift in found} == {slow_ms - HOUR_MS}


@pytest.mark.parametrize("bad", ["[]", "{}", '"soon"', "null", "1e300"])
@pytest.mark.parametrize("shift_ms", [0, 3 * DAY_MS], ids=["clock right", "clock ahead"])
def test_of_a_field_that_is_there_twice_the_last_counts_beside_a_refused_event_too(
    bad: str, shift_ms: int
) -> None:
    at_ms = AT_MS + shift_ms
    twice = '{"time":%s,"id":"good","name":"n","time":%d}' % (bad, at_ms)  # noqa: UP031
    value = f'{{"v":1,"app_id":"a","device_id":"d","sent_at":{at_ms},"events":[{twice},{{"id":"bad","name":"n"}}]}}'
    outcome = translated(value.encode())
    assert isinstance(outcome, Translation) and [fault.event_index for fault in outcome.refused] == [1]
    (sent,) = outcome.records
    read = native.decode(sent.value, sent.key, AT_MS)
    assert isinstance(read, native.Envelope) and [each.time_ms for each in read.events] == [AT_MS]


def test_what_is_longer_once_it_is_mended_is_in_parts_of_the_right_size_or_refused() -> None:
    """A byte that is not UTF-8 becomes three."""
    texts = [b"\xff" * size for size in (200_000, 150_000, 340_000)]
    each = [
        b'{"id": "e%d", "name": "n", "time": %d, "attributes": {"t": "%s"}}' % (n, AT_MS, text)
        for n, text in enumerate(texts)
    ]
    value = b'{"v": 1, "app_id": "a", "device_id": "d", "events": [%s, {"id": "x"}]}' % b", ".join(each)
    found = translated(value)
    assert isinstance(found, Translation)
    assert [(fault.reason, fault.event_index) for fault in found.refused] == [
        (Reason.RECORD_TOO_LARGE, 2),
        (Reason.MISSING_FIELD, 3),
    ]
    assert all(len(record.value) <= MAX_RECORD_BYTES for record in found.records)
    parts = [native.decode(record.value, KEY, AT_MS) for record in found.records]
    read = [part for part in parts if isinstance(part, native.Envelope) and not part.refused]
    assert [[each.id for each in part.events] for part in read] == [["e0"], ["e1"]]
    assert {each.repaired for part in read for each in part.events} == {
        ("events[0].attributes.t",),
        ("events[1].attributes.t",),
    }
