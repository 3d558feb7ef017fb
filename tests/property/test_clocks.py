"""The clocks of devices against an oracle written from CONTRACT's sentences, which shares no code with the decoders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats import measure, native
from pipeline.formats.native.events import arrivals_of
from pipeline.formats.record_time import REPLAYED_RECORD_MS, record_time_ms
from pipeline.formats.rejected import Reason, Rejected
from tests.support.decoding import assert_read_alike

KEY = b"app/device"
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
YEAR_2000_MS = 946_684_800_000
NOW = 1_764_000_000_000
THOROUGH = settings(max_examples=300, deadline=None)

records_ms = st.sampled_from(
    [NOW, NOW + 123, YEAR_2000_MS, YEAR_2000_MS + 20 * HOUR_MS, YEAR_2000_MS + 2 * DAY_MS]
)
nearly = st.sampled_from([-1, 0, 1]) | st.integers(-20 * MINUTE_MS, 20 * MINUTE_MS)
distances = st.sampled_from(
    [0, MINUTE_MS, 15 * MINUTE_MS, 16 * MINUTE_MS, HOUR_MS, 23 * HOUR_MS, DAY_MS, 3 * DAY_MS, 365 * DAY_MS]
)
signs = st.sampled_from([-1, 1])
seconds = st.sampled_from([946_684_799, 946_684_800, 1_764_000_000, 4_102_444_800, 4_102_444_801])


class Sent(NamedTuple):
    """What a device put into a record."""

    record_ms: int
    sent_at: int | None
    times: list[int]
    faulty: list[bool]
    """Whether an event is refused for what has nothing to do with its time."""


@st.composite
def sendings(draw: st.DrawFn) -> Sent:
    record_ms = draw(records_ms)
    near = st.builds(lambda sign, far, off: max(0, record_ms + sign * far + off), signs, distances, nearly)
    old = st.builds(lambda off: YEAR_2000_MS + off, nearly)
    sent_at = draw(st.none() | near)
    if sent_at is not None and draw(st.booleans()):
        # Most events are a little older than their sending, by the same clock.
        near = st.builds(lambda ago: max(0, sent_at - ago), st.integers(-2 * MINUTE_MS, 30 * HOUR_MS))
    times = draw(st.lists(near | near | old | seconds, min_size=1, max_size=6))
    faulty = draw(
        st.lists(st.sampled_from([False, False, False, True]), min_size=len(times), max_size=len(times))
    )
    return Sent(record_ms, sent_at, times, faulty)


def moment(ms: int) -> timedelta:
    return timedelta(milliseconds=ms)


def oracle(sent: Sent) -> dict[int, int]:
    """The place of each event that is taken, and its time."""
    quarter, year_2000 = (
        timedelta(minutes=15),
        datetime(2000, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC),
    )
    record = moment(sent.record_ms)
    shift = timedelta()
    if sent.sent_at is not None:
        difference = record - moment(sent.sent_at)
        if difference < -timedelta(minutes=1) or difference > timedelta(hours=24):
            # Rounded down: towards the earlier time.
            while shift > difference:
                shift -= quarter * max(1, (shift - difference) // quarter)
            while shift + quarter <= difference:
                shift += quarter * ((difference - shift) // quarter)
    times = {
        place: moment(time) + shift
        for place, time in enumerate(sent.times)
        if not sent.faulty[place] and not 946_684_800 <= time <= 4_102_444_800
    }
    times = {p: time for p, time in times.items() if year_2000 <= time <= record + timedelta(hours=24)}
    while times and max(times.values()) > record + timedelta(seconds=60):
        times = {place: time - quarter for place, time in times.items()}
    return {p: time // timedelta(milliseconds=1) for p, time in times.items() if time >= year_2000}


def envelope(sent: Sent) -> bytes:
    events = [
        {"id": f"e{place}", "name": "tap", "time": time, **({"attributes": []} if bad else {})}
        for place, (time, bad) in enumerate(zip(sent.times, sent.faulty, strict=True))
    ]
    named = {} if sent.sent_at is None else {"sent_at": sent.sent_at}
    return orjson.dumps({"v": 1, "app_id": "app", "device_id": "device", **named, "events": events})


def assert_in_order(raw_and_time: Sequence[tuple[int, int]]) -> None:
    assert [raw for raw, _ in sorted(raw_and_time, key=lambda pair: pair[1])] == sorted(
        raw for raw, _ in raw_and_time
    )


@THOROUGH
@given(sendings())
def test_times_are_what_the_contract_says(sent: Sent) -> None:
    value = envelope(sent)
    outcome = native.decode(value, KEY, sent.record_ms)
    assert_read_alike(value, KEY, sent.record_ms)
    if sent.sent_at is not None and 946_684_800 <= sent.sent_at <= 4_102_444_800:
        assert isinstance(outcome, Rejected) and outcome.reason is Reason.TIME_OUT_OF_RANGE
        assert "seconds" in outcome.detail
        return
    assert isinstance(outcome, native.Envelope), outcome
    expected = oracle(sent)
    found = {int(event.id[1:]): event for event in outcome.events}
    assert {place: event.time_ms for place, event in found.items()} == expected
    assert all(event.raw_time_ms == sent.times[place] for place, event in found.items())
    assert [each.event_index for each in outcome.refused] == sorted(
        set(range(len(sent.times))) - set(expected)
    )
    for each in outcome.refused:
        assert each.event_index is not None
        if not sent.faulty[each.event_index]:
            assert each.reason is Reason.TIME_OUT_OF_RANGE
            assert ("seconds" in each.detail) == (
                946_684_800 <= sent.times[each.event_index] <= 4_102_444_800
            )
    assert all(event.time_ms <= sent.record_ms + MINUTE_MS for event in outcome.events)
    assert_in_order([(event.raw_time_ms, event.time_ms) for event in outcome.events])


@pytest.mark.slow
@THOROUGH
@given(sendings(), st.integers(0, 400 * DAY_MS))
def test_a_record_sent_again_has_the_times_of_its_first_coming(sent: Sent, later_ms: int) -> None:
    """By its header, in both readings; and the same bytes at the same record time give the same."""
    value, again_ms = envelope(sent), sent.record_ms + later_ms
    headers = ((REPLAYED_RECORD_MS, str(sent.record_ms).encode()),)
    first, *_ = arrivals_of(KEY, (0, sent.record_ms, value, None))
    again, *_ = arrivals_of(KEY, (0, again_ms, value, headers))
    assert [events for _, _, events in again] == [events for _, _, events in first]
    came_ms = record_time_ms(headers, again_ms)
    assert native.decode(value, KEY, came_ms) == native.decode(value, KEY, sent.record_ms)


def rfc3339(ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + moment(ms)).isoformat(timespec="milliseconds")


@pytest.mark.slow
@THOROUGH
@given(st.lists(sendings(), min_size=1, max_size=3), records_ms, st.integers(0, 3 * DAY_MS))
def test_times_of_a_measure_body_are_those_of_its_devices(
    devices: list[Sent], record_ms: int, later_ms: int
) -> None:
    """It says no time of sending. What the router writes comes later; and a device's clock is its own."""
    expected: dict[str, tuple[int, int]] = {}
    events: list[dict[str, Any]] = []
    for number, sent in enumerate(devices):
        # A timestamp is a date: of none can be told that it is in seconds.
        times = [time for time in sent.times if time > 10 * 4_102_444_800]
        drawn = Sent(record_ms, None, times, sent.faulty[: len(times)])
        for place, time in enumerate(times):
            attribute = {"app_unique_id": "app", "installation_id": f"d{number}", "user_id": str(place % 2)}
            id_ = "" if drawn.faulty[place] else f"{number}-{place}"
            events.append({"id": id_, "timestamp": rfc3339(time), "type": "tap", "attribute": attribute})
        expected |= {f"{number}-{p}": (times[p], time) for p, time in oracle(drawn).items()}
    body = orjson.dumps({"events": events})
    translated = measure.decode(body, record_ms)
    if isinstance(translated, Rejected):
        assert not events
        return
    found = {}
    for record in translated.records:
        envelope = native.decode(record.value, record.key, record_ms + later_ms)
        assert isinstance(envelope, native.Envelope) and not envelope.refused
        found |= {event.id: (event.raw_time_ms, event.time_ms) for event in envelope.events}
    assert found == expected
    assert len(translated.refused) == len(events) - len(expected)
