"""Clocks of devices: what went wrong elsewhere, by hand; and what `send` and `simulate` say of when a record came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline import wiring
from pipeline.commands import traffic
from pipeline.domain.event import Event
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.domain.session import End, Session, Start
from pipeline.formats import measure, native
from pipeline.formats.native.events import arrivals_of
from pipeline.formats.record_time import REPLAYED_RECORD_MS, record_time_ms, recorded_ms
from pipeline.formats.rejected import Reason, Rejected
from pipeline.kafka.produce import RecordToSend
from tests.support import field
from tests.support.decoding import assert_read_alike

NOW = 1_764_000_000_000
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000


def key(envelope: dict[str, Any]) -> bytes:
    return f"{envelope['app_id']}/{envelope['device_id']}".encode()


def folded(came: Iterable[tuple[int, dict[str, Any]]]) -> list[Session]:
    """The sessions of one device, of envelopes that came at these times."""
    events: list[Event] = []
    for record_ms, envelope in came:
        decoded = native.decode(orjson.dumps(envelope), key(envelope), record_ms)
        assert isinstance(decoded, native.Envelope) and not decoded.refused, decoded
        events += native.to_events(decoded)
    return sessions("app", "device", events, Policy())


def length_ms(session: Session) -> int:
    return session.ended_at_ms - session.started_at_ms


def test_what_was_held_back_for_less_than_a_day_keeps_its_times() -> None:
    """Case 08a: a gateway was away, and both batches came together, long after they were sent."""
    envelopes = field.documents("08a")
    latest_ms = envelopes[-1]["sent_at"]
    for late_ms in (0, HOUR_MS, 24 * HOUR_MS - 600 * SECOND_MS):
        [session] = folded([(latest_ms + late_ms, each) for each in envelopes])
        assert length_ms(session) == 650 * SECOND_MS
        assert session.started_at_ms == envelopes[0]["events"][0]["time"]


@pytest.mark.parametrize("delay_ms", [0, 25 * SECOND_MS, 10 * MINUTE_MS])
def test_a_clock_that_is_a_day_slow_keeps_the_order_of_its_batches(delay_ms: int) -> None:
    """Case 08d: the first batch was delayed, and was shifted by more than the second."""
    envelopes = field.documents("08d")
    envelopes = field.moved(envelopes, NOW - 25 * HOUR_MS - envelopes[0]["sent_at"])
    first, second = (each["sent_at"] + 25 * HOUR_MS for each in envelopes)
    one, two = folded([(first + delay_ms, envelopes[0]), (second, envelopes[1])])
    assert (one.end_reason, two.start_reason, two.foreground) == (End.BACKGROUND, Start.FOREGROUND, True)
    assert length_ms(two) == 150 * SECOND_MS
    assert one.counters[5] + two.counters[5] == two.counters[5] + 1
    assert second - two.ended_at_ms < 15 * MINUTE_MS + 10 * SECOND_MS


def test_stamps_in_seconds_are_refused_and_told_to_be() -> None:
    """Case 09a; and events alone, beside a good one, whatever the clock is corrected by."""
    [envelope] = field.documents("09a")
    outcome = native.decode(orjson.dumps(envelope), key(envelope), NOW)
    assert isinstance(outcome, Rejected) and outcome.reason is Reason.TIME_OUT_OF_RANGE
    assert outcome.detail.startswith("sent_at") and "seconds" in outcome.detail
    for sent_at in (None, NOW, NOW - 40 * DAY_MS, NOW + DAY_MS, 10_000):
        events = [*envelope["events"], {"id": "good", "name": "tap", "time": sent_at or NOW}]
        outcome = native.decode(
            orjson.dumps({**envelope, "sent_at": sent_at, "events": events}), key(envelope), NOW
        )
        assert isinstance(outcome, native.Envelope), outcome
        assert [event.id for event in outcome.events] == ["good"]
        assert {each.reason for each in outcome.refused} == {Reason.TIME_OUT_OF_RANGE}
        assert all("seconds" in each.detail for each in outcome.refused)


def test_what_is_in_seconds_is_told_by_the_stamp_whatever_the_clock_makes_of_it() -> None:
    """A clock that began in 1970 seven weeks ago: some of its milliseconds look like seconds, and are refused."""
    stamps = (946_684_799, 946_684_800, 4_102_444_800, 4_102_444_801)
    events = [{"id": str(stamp), "name": "tap", "time": stamp} for stamp in stamps]
    for more in ({}, {"attributes": {"a": 1}}):
        value = orjson.dumps(
            {"v": 1, "app_id": "app", "device_id": "device", "sent_at": 4_200_000_000,
             "events": [{**event, **more} for event in events]}
        )  # fmt: skip
        assert_read_alike(value, b"app/device", NOW)
        decoded = native.decode(value, b"app/device", NOW)
        assert isinstance(decoded, native.Envelope)
        assert [event.raw_time_ms for event in decoded.events] == [946_684_799, 4_102_444_801]
        assert all("seconds" in each.detail for each in decoded.refused)


@pytest.mark.parametrize("sign_ms", [-1, 0, 1])
@pytest.mark.parametrize("steps", [0, 1, 2, 95])
def test_times_are_moved_back_by_no_more_than_they_must(steps: int, sign_ms: int) -> None:
    latest_ms = NOW + MINUTE_MS + steps * 15 * MINUTE_MS + sign_ms
    events = [{"id": str(time), "name": "tap", "time": time} for time in (latest_ms, NOW)]
    value = orjson.dumps({"v": 1, "app_id": "app", "device_id": "device", "events": events})
    assert_read_alike(value, b"app/device", NOW)
    decoded = native.decode(value, b"app/device", NOW)
    assert isinstance(decoded, native.Envelope)
    back = (steps + (sign_ms > 0)) * 15 * MINUTE_MS
    assert [event.time_ms for event in decoded.events] == [latest_ms - back, NOW - back]


def test_one_stray_event_ahead_takes_no_session_away() -> None:
    """Case 10e: it pushed the horizon a day ahead, and what was normal was too late to be seen."""
    envelopes = field.documents("10e")
    now_ms = envelopes[1]["events"][0]["time"] - 24 * HOUR_MS + MINUTE_MS
    decoded = native.decode(orjson.dumps(envelopes[1]), key(envelopes[1]), now_ms)
    assert isinstance(decoded, native.Envelope)
    [stray] = decoded.events
    assert (stray.raw_time_ms, stray.time_ms) == (now_ms + 24 * HOUR_MS - MINUTE_MS, now_ms - MINUTE_MS)
    found = folded([(now_ms, each) for each in envelopes])
    [crash] = [session for session in found if session.counters[0]]
    assert (crash.start_reason, crash.end_reason, length_ms(crash)) == (
        Start.LAUNCH,
        End.CRASH,
        120 * SECOND_MS,
    )
    assert [(session.foreground, session.end_reason) for session in found] == [
        (True, End.BACKGROUND), (True, End.CRASH), (True, End.BACKGROUND), (False, End.INACTIVITY)
    ]  # fmt: skip
    assert found[0].started_at_ms == envelopes[0]["events"][0]["time"]
    assert found[-1].ended_at_ms == stray.time_ms


def test_an_event_that_is_refused_moves_no_other() -> None:
    """Neither what is more than a day ahead, nor what is refused for something else."""
    events = [
        {"id": "far", "name": "tap", "time": NOW + DAY_MS + 1},
        {"id": "list", "name": "tap", "time": NOW + HOUR_MS, "attributes": []},
        {"id": "nul\0", "name": "tap", "time": NOW + HOUR_MS},
        {"id": "", "name": "tap", "time": NOW + HOUR_MS},
        {"id": "good", "name": "tap", "time": NOW + MINUTE_MS},
    ]
    value = orjson.dumps({"v": 1, "app_id": "app", "device_id": "device", "events": events})
    decoded = native.decode(value, b"app/device", NOW)
    assert isinstance(decoded, native.Envelope)
    assert [(event.id, event.time_ms) for event in decoded.events] == [("good", NOW + MINUTE_MS)]
    [(_, _, [good])], refused, _ = arrivals_of(b"app/device", (0, NOW, value, None))
    assert (good.time_ms, refused) == (NOW + MINUTE_MS, 4)


def test_a_measure_body_of_a_fast_clock_is_taken_with_the_times_of_its_arrival() -> None:
    """It was refused whole. All of one device are moved alike, also where they fill several envelopes."""
    attribute = {"app_unique_id": "app", "installation_id": "fast"}
    events = [
        {"id": f"e{n}", "timestamp": f"2025-11-24T{20 + n // 600}:{n // 10 % 60:02}:{n % 10:02}Z", "type": "tap",
         "attribute": attribute}
        for n in range(700)
    ]  # fmt: skip
    events.append(
        {**events[0], "id": "right", "attribute": {"app_unique_id": "app", "installation_id": "right"},
         "timestamp": "2025-11-24T15:59:00Z"}
    )  # fmt: skip
    body = orjson.dumps({"events": events})
    translated = measure.decode(body, NOW)
    assert isinstance(translated, measure.Translation) and translated.refused == []
    found = []
    for record in translated.records:
        # The router may be hours behind.
        envelope = native.decode(record.value, record.key, NOW + 7 * HOUR_MS)
        assert isinstance(envelope, native.Envelope) and envelope.refused == []
        found += [(envelope.device_id, each.raw_time_ms, each.time_ms) for each in envelope.events]
    assert [raw - time_ms for device, raw, time_ms in found if device == "fast"] == [
        5 * HOUR_MS + 15 * MINUTE_MS
    ] * 700
    assert [(raw, time_ms) for device, raw, time_ms in found if device == "right"] == [(NOW - MINUTE_MS,) * 2]
    assert max(time_ms for _, _, time_ms in found) <= NOW + MINUTE_MS


@pytest.mark.parametrize("raw", [b"1e3", b'"x"', b"null", b"[]", b"-1", b"99999999999999", b"true"])
def test_a_raw_time_that_is_no_stamp_says_nothing(raw: bytes) -> None:
    """Nobody but the router sends it, and an unknown field costs nothing."""
    value = b'{"v":1,"app_id":"app","device_id":"device","events":[{"id":"e","name":"n","time":%d,"raw_time":%b}]}'
    decoded = native.decode(value % (NOW, raw), b"app/device", NOW)
    assert isinstance(decoded, native.Envelope)
    assert [(event.time_ms, event.raw_time_ms) for event in decoded.events] == [(NOW, NOW)]


def test_the_record_time_of_a_header_without_a_value_is_the_records_own() -> None:
    """It stopped the worker, and every worker after it."""
    assert record_time_ms([(REPLAYED_RECORD_MS, None)], NOW) == NOW
    assert record_time_ms([("other", None), (REPLAYED_RECORD_MS, b"5")], NOW) == 5


@pytest.mark.parametrize(
    ("sent_at", "came_ms"),
    [
        (None, None),
        (NOW, None),
        (NOW + DAY_MS, None),
        (NOW - DAY_MS, None),
        (NOW - DAY_MS - 1, NOW - DAY_MS - 1),
        (NOW - 400 * DAY_MS, NOW - 400 * DAY_MS),
        (1_764_000_000, None),
        (10_000, None),
    ],
)
def test_a_recording_came_when_it_was_sent(sent_at: int | None, came_ms: int | None) -> None:
    assert recorded_ms(sent_at, NOW) == came_ms


Run = Callable[[Callable[[], object]], list[RecordToSend]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Run:
    """What a command gives to Kafka."""
    found: list[RecordToSend] = []

    async def produce(connection: object, records: Iterable[RecordToSend], **options: object) -> int:
        found.extend(records)
        return len(found)

    def run(command: Callable[[], object]) -> list[RecordToSend]:
        found.clear()
        command()
        return list(found)

    monkeypatch.setattr(traffic, "produce", produce)
    return run


def times_of(records: Iterable[RecordToSend], now_ms: int) -> dict[str, tuple[int, int]]:
    """Raw and corrected time of the events, by id, as a worker reads them that gets the records now."""
    found = {}
    for record in records:
        decoded = native.decode(record.value, record.key, record_time_ms(record.headers, now_ms))
        assert isinstance(decoded, native.Envelope) and not decoded.refused
        found |= {event.id: (event.raw_time_ms, event.time_ms) for event in decoded.events}
    return found


def test_a_recording_keeps_its_times_and_live_traffic_is_corrected(
    sent: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now_ms = int(time.time() * 1_000)
    ages = {"last year": 365 * DAY_MS, "three days": 3 * DAY_MS, "today": 5 * HOUR_MS, "fast": -5 * HOUR_MS}
    lines = [
        orjson.dumps(
            {"v": 1.0, "app_id": "app", "device_id": "device", "sent_at": float(now_ms - age_ms),
             "events": [{"id": name, "name": "tap", "time": now_ms - age_ms - MINUTE_MS}]}
        ).replace(b'"v":1.0', b'"v":1').replace(b".0,", b",")
        for name, age_ms in ages.items()
    ]  # fmt: skip
    path = tmp_path / "recorded.ndjson"
    path.write_bytes(b"\n".join(lines))

    def corrected_ms(live: bool) -> dict[str, int]:
        records = sent(lambda: traffic.send(wiring.settings(), [str(path)], "native", live=live))
        return {
            name: after - raw for name, (raw, after) in times_of(records, int(time.time() * 1_000)).items()
        }

    assert corrected_ms(live=False) == {"last year": 0, "three days": 0, "today": 0, "fast": -5 * HOUR_MS}
    assert corrected_ms(live=True) == {
        "last year": 365 * DAY_MS, "three days": 3 * DAY_MS, "today": 0, "fast": -5 * HOUR_MS
    }  # fmt: skip
    assert capsys.readouterr().out.count("nothing refused") == 2


def test_simulated_devices_with_wrong_clocks_are_corrected_by_the_simulated_time(sent: Run) -> None:
    """Corrected by that of today they landed on today, months after the others."""
    numbers = traffic.Fleet(devices=40, seed=7, events=6_000)
    records = sent(lambda: traffic.simulate(wiring.settings(), numbers, rate=0, out=None))
    dated = [record for record in records if native.sent_at_of(record.value) is not None]
    assert dated and all((record.headers != ()) == (record in dated) for record in records)
    plain = times_of([record for record in records if record not in dated], int(time.time() * 1_000))
    first, last = (pick(after for _, after in plain.values()) for pick in (min, max))
    wrong = times_of(dated, int(time.time() * 1_000))
    assert all(first - 2 * HOUR_MS <= after <= last + 2 * HOUR_MS for _, after in wrong.values())
    assert any(abs(raw - after) > DAY_MS for raw, after in wrong.values())
