"""Faro and Sentry: nothing makes their decoders raise, and however it is sent again, the events are the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.formats import faro, native, sentry
from pipeline.formats.format import Translate
from pipeline.formats.rejected import Rejected
from tests.support.hostile_bodies import broken, dumps, jsons, texts
from tests.support.web_bodies import LISTS, NOW, QUICK, metas, sentry_envelopes

items = st.one_of([st.tuples(st.just(name), each) for name, each in LISTS.items()])


def body(meta: dict[str, Any], some: list[tuple[str, Any]]) -> bytes:
    return dumps({"meta": meta, **{name: [item for kind, item in some if kind == name] for name in LISTS}})


def read(value: bytes) -> tuple[list[Any], str]:
    """The events of a body as the fold sees them, and their device."""
    outcome = faro.translate(value, NOW)
    assert not isinstance(outcome, Rejected), outcome
    found, device = [], ""
    for record in outcome.records:
        envelope = native.decode(record.value, record.key, NOW)
        assert isinstance(envelope, native.Envelope) and not envelope.refused
        found += native.to_events(envelope)
        device = envelope.device_id
    return found, device


@QUICK
@given(metas, st.lists(items, min_size=1, max_size=8), st.data())
def test_however_it_is_cut_and_sent_again_the_sessions_are_the_same(
    meta: dict[str, Any], some: list[tuple[str, Any]], data: st.DataObject
) -> None:
    whole, device = read(body(meta, some))
    assert len(whole) == len(some)
    expected = sessions("shop", device, whole, Policy())
    order = data.draw(st.permutations(some + data.draw(st.lists(st.sampled_from(some), max_size=4))))
    cut: list[Any] = []
    while order:
        size = data.draw(st.integers(1, len(order)))
        cut += read(body(meta, order[:size]))[0]
        order = order[size:]
    assert set(cut) == set(whole)
    assert sessions("shop", device, cut, Policy()) == expected


bodies = st.fixed_dictionaries(
    {"meta": metas | st.dictionaries(texts, jsons, max_size=3)},
    optional={name: st.lists(each | jsons, max_size=3) for name, each in LISTS.items()},
)


@QUICK
@given(broken(bodies))
def test_what_is_written_of_a_broken_body_is_never_refused(value: bytes) -> None:
    check_written(faro.translate, value)


def check_written(translate: Translate, value: bytes) -> None:
    outcome = translate(value, NOW)
    assert outcome == translate(value, NOW)
    if isinstance(outcome, Rejected):
        return
    for record in outcome.records:
        envelope = native.decode(record.value, record.key, NOW)
        assert isinstance(envelope, native.Envelope) and not envelope.refused
    indexes = [each.event_index for each in outcome.refused if each.event_index is not None]
    assert indexes == sorted(set(indexes))


@pytest.mark.slow
@QUICK
@given(sentry_envelopes())
def test_what_is_written_of_a_sentry_envelope_is_never_refused(value: bytes) -> None:
    check_written(sentry.translate, value)
