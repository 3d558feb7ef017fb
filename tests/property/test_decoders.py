"""No bytes make a decoder raise, what it accepts is stable, and what the router writes is never refused."""

from __future__ import annotations

from typing import Any
from unittest import mock

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats import measure, native
from pipeline.formats.limits import MAX_BODY_BYTES, MAX_RECORD_BYTES
from pipeline.formats.mending import read_json
from pipeline.formats.native import routed
from pipeline.formats.native.events import Arrival, arrivals_of
from pipeline.formats.rejected import Rejected
from tests.fuzz.records import span_id
from tests.support.decoding import assert_read_alike
from tests.support.hostile_bodies import NOW, QUICK, bodies, broken, dumps, good_envelopes

KEY = b"app/device"


def raw_object(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def encoded_again(envelope: native.Envelope) -> bytes:
    events = [
        {
            "id": e.id,
            "name": e.name,
            "time": e.raw_time_ms,
            "seq": e.seq,
            "session_id": e.client_session_id or None,
            "attributes": msgspec.Raw(e.attributes),
        }
        for e in envelope.events
    ]
    return msgspec.json.encode(
        {
            "v": 1,
            "app_id": envelope.app_id,
            "device_id": envelope.device_id,
            "batch_id": envelope.batch_id or None,
            "sent_at": envelope.sent_at,
            "resource": raw_object(envelope.resource),
            "user": raw_object(envelope.user or "null"),
            "events": events,
        }
    )


def tree_of(value: bytes) -> dict[str, Any]:
    """What is in a record that was taken, repaired where it must be."""
    read = read_json(value, MAX_BODY_BYTES)
    assert not isinstance(read, Rejected)
    return read.tree


def check_routed(value: bytes, outcome: native.Envelope | Rejected) -> None:
    """On `native-events` it comes to the same, cut into parts or not, however late the router is."""
    assert native.ANY_KEY.translate is not None
    with mock.patch.object(routed, "MAX_EVENTS", 2):
        translated = native.ANY_KEY.translate(value, NOW)
    if isinstance(outcome, Rejected):
        assert translated == outcome
        return
    assert not isinstance(translated, Rejected), translated
    assert translated.refused == outcome.refused
    events = []
    for record in translated.records:
        assert record.key == KEY
        part = native.decode(record.value, record.key, NOW)
        assert isinstance(part, native.Envelope) and part.refused == []
        assert (part.resource, part.user, part.batch_id) == (outcome.resource, outcome.user, outcome.batch_id)
        events += part.events
    assert events == outcome.events


def check_native(value: bytes) -> native.Envelope | Rejected:
    outcome = native.decode(value, KEY, NOW)
    if native.key_of(value) == KEY:
        check_routed(value, outcome)
    assert outcome == native.decode(value, KEY, NOW)
    assert_read_alike(value, KEY, NOW)
    if isinstance(outcome, native.Envelope):
        for event in outcome.events:
            orjson.loads(event.attributes)
        assert len(native.to_events(outcome)) == len(outcome.events)
        if outcome.events:
            again = native.decode(encoded_again(outcome), KEY, NOW)
            assert isinstance(again, native.Envelope)
            again.refused = outcome.refused
            # What is encoded again needs no repair any more.
            again.repaired = outcome.repaired
            for event, before in zip(again.events, outcome.events, strict=True):
                event.repaired = before.repaired
            assert again == outcome
            assert outcome.repaired == sum(bool(event.repaired) for event in outcome.events)
    return outcome


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes(value: bytes) -> None:
    assert isinstance(native.decode(value, KEY, NOW), Rejected)
    assert isinstance(measure.decode(value, NOW), Rejected)


@QUICK
@given(good_envelopes)
def test_a_good_envelope_is_accepted_whole(document: dict[str, Any]) -> None:
    outcome = check_native(dumps(document))
    assert isinstance(outcome, native.Envelope)
    assert [e.id for e in outcome.events] == [e["id"] for e in document["events"]]
    assert outcome.refused == []


@QUICK
@given(broken(good_envelopes))
def test_a_broken_envelope_never_raises_and_loses_no_event(value: bytes) -> None:
    outcome = check_native(value)
    if isinstance(outcome, native.Envelope):
        indexes = [each.event_index for each in outcome.refused]
        assert indexes == sorted(set(indexes), key=lambda i: -1 if i is None else i) and None not in indexes
        assert len(outcome.events) + len(outcome.refused) == len(tree_of(value)["events"])


@pytest.mark.slow
@QUICK
@given(broken(bodies))
def test_what_the_router_writes_is_never_refused(value: bytes) -> None:
    outcome = measure.decode(value, NOW)
    if isinstance(outcome, Rejected):
        return
    assert outcome == measure.decode(value, NOW)
    come: list[str] = []
    for record in outcome.records:
        assert len(record.value) <= MAX_RECORD_BYTES
        envelope = native.decode(record.value, record.key, NOW)
        assert isinstance(envelope, native.Envelope) and envelope.refused == []
        come += [event.id for event in envelope.events]
    tree = tree_of(value)
    spans = tree.get("spans")
    ids = [lambda each=each: each["id"] for each in tree.get("events") or []]
    ids += [lambda each=each: span_id(each) for each in spans] if isinstance(spans, list) else []
    bad = {each.event_index for each in outcome.refused}
    assert sorted(come) == sorted(id_of() for index, id_of in enumerate(ids) if index not in bad)


@pytest.mark.slow
@QUICK
@given(st.data())
def test_records_of_a_key_are_read_as_each_by_itself(data: st.DataObject) -> None:
    """What is remembered of one record (its resource and user) must not show in the next."""
    drawn = data.draw(st.lists(good_envelopes | st.just(None), min_size=1, max_size=3))
    some = [data.draw(broken(good_envelopes)) if each is None else dumps(each) for each in drawn]
    # Parts from a small store, so that records agree in one and differ in the other.
    parts = [{}, {"a": "b"}, {"b": "a"}, None, []]
    some += [
        dumps({"v": 1, "app_id": "app", "device_id": "device", "resource": resource, "user": user,
               "events": [{"id": "e", "name": "n", "time": NOW}]})
        for resource, user in data.draw(st.lists(st.tuples(*[st.sampled_from(parts)] * 2), max_size=6))
    ]  # fmt: skip
    values = data.draw(st.permutations(some))
    fields = [field for offset, value in enumerate(values) for field in (offset, NOW, value, None)]
    arrivals: list[Arrival] = []
    refused = 0
    corrected_ms = 0
    for at in range(0, len(fields), 4):
        alone, bad, latest_ms = arrivals_of(KEY, fields[at : at + 4])
        arrivals += alone
        refused += bad
        corrected_ms = max(corrected_ms, latest_ms)
    assert arrivals_of(KEY, fields) == (arrivals, refused, corrected_ms)
