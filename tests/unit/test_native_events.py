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
    assert registry.of_name("native-events") is registry.of_topic("native-events") is native.ANY_KEY
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
        (b"[]", Reason.INVALID_TYPE),
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


@pytest.mark.parametrize("count", [2, 700])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("faulty", [False, True])
@pytest.mark.parametrize("bad", [r'"\ud800x"', "NaN", "-Infinity", "1e999"])
def test_what_is_repaired_of_a_record_is_told_of_its_parts(
    count: int, bom: str, faulty: bool, bad: str
) -> None:
    """As it would be, had the record come straight: the same values, and the same places."""
    events = [json.dumps(event(f"e{n}", attributes={"k": n})) for n in range(count)]
    events[1] = events[1].replace('{"k": 1}', f'{{"k": {bad}}}')
    if faulty:
        events[0] = '{"id": "", "name": "n", "time": 1}'
    head = r'{"v": 1, "app_id": "a", "device_id": "d\udfff", "resource": {"r": "\udc00"}, "events": ['
    value = (bom + head + ", ".join(events) + "]}").encode()
    found = translated(value)
    assert isinstance(found, Translation) and found == translated(value)
    assert [fault.event_index for fault in found.refused] == ([0] if faulty else [])
    [key] = {record.key for record in found.records}
    assert key == "a/d\ufffd".encode()
    parts = [native.decode(record.value, key, AT_MS) for record in found.records]
    read = [part for part in parts if isinstance(part, native.Envelope) and not part.refused]
    assert len(read) == len(parts) == -(-count // MAX_EVENTS)
    all_events = [each for part in read for each in part.events]
    first = int(faulty)
    assert [each.id for each in all_events] == [f"e{n}" for n in range(first, count)]
    of_head = ("device_id", "resource.r")
    assert all_events[1 - first].repaired == (*of_head, "events[1].attributes.k")
    assert {each.repaired for each in all_events if each.id != "e1"} <= {of_head}
    straight = native.decode(value, key, AT_MS)
    if count <= MAX_EVENTS:
        assert isinstance(straight, native.Envelope) and straight.events == all_events


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
