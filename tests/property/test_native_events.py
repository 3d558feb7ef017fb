"""What comes on `native-events` is to everyone who reads it later what it would be, had it come straight."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats import native
from pipeline.formats.format import Translate
from pipeline.formats.limits import MAX_EVENTS, MAX_RECORD_BYTES
from pipeline.formats.rejected import Rejected
from tests.support.hostile_bodies import NOW, QUICK, broken, good_envelopes

assert native.ANY_KEY.translate is not None
translate: Translate = native.ANY_KEY.translate


def read(value: bytes, key: bytes) -> native.Envelope:
    envelope = native.decode(value, key, NOW)
    assert isinstance(envelope, native.Envelope), envelope
    return envelope


def head(envelope: native.Envelope) -> tuple[Any, ...]:
    return (
        envelope.app_id,
        envelope.device_id,
        envelope.batch_id,
        envelope.sent_at,
        envelope.resource,
        envelope.user,
    )


@pytest.mark.slow
@QUICK
@given(broken(good_envelopes))
def test_a_record_goes_on_as_it_is_and_what_is_refused_of_it_stays(value: bytes) -> None:
    key = native.key_of(value)
    straight, translated = native.decode(value, key, NOW), translate(value, NOW)
    assert translate(value, NOW) == translated
    if isinstance(straight, Rejected):
        assert translated == straight
        return
    assert not isinstance(translated, Rejected) and key is not None
    assert translated.refused == straight.refused
    assert len(translated.records) == (1 if straight.events else 0)
    for record in translated.records:
        assert record.key == key
        assert record.value == value or straight.refused
        again = read(record.value, key)
        assert (again.events, again.refused, head(again)) == (straight.events, [], head(straight))


@pytest.mark.slow
@QUICK
@given(
    document=good_envelopes,
    count=st.sampled_from([MAX_EVENTS, MAX_EVENTS + 1, 2 * MAX_EVENTS, 1_700]),
    bad=st.sets(st.integers(0, 1_699), max_size=5),
)
def test_an_envelope_of_too_many_events_is_split(document: dict[str, Any], count: int, bad: set[int]) -> None:
    """Each part with all that the envelope says, unknown fields too; the places are those of the record."""
    events = [{"id": f"e{place}", "name": "n", "time": NOW - place} for place in range(count)]
    for place in bad & set(range(count)):
        events[place] = {"id": f"e{place}", "name": ""}
    document = {"of_later": [1], **document, "events": events}
    translated = translate(json.dumps(document).encode(), NOW)
    assert not isinstance(translated, Rejected)
    parts = [read(record.value, record.key) for record in translated.records]
    assert [event.id for part in parts for event in part.events] == [
        f"e{place}" for place in range(count) if place not in bad
    ]
    assert [fault.event_index for fault in translated.refused] == sorted(bad & set(range(count)))
    assert all(f"events[{fault.event_index}]" in fault.detail for fault in translated.refused)
    assert all(0 < len(part.events) <= MAX_EVENTS and not part.refused for part in parts)
    one = read(json.dumps({**document, "events": events[:1] if 0 not in bad else [
        {"id": "e", "name": "n", "time": NOW}
    ]}).encode(), translated.records[0].key)  # fmt: skip
    assert {head(part) for part in parts} == {head(one)}
    for record in translated.records:
        assert json.loads(record.value)["of_later"] == [1] and len(record.value) <= MAX_RECORD_BYTES
    assert len({event.time_ms - event.raw_time_ms for part in parts for event in part.events}) == 1
