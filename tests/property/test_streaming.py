"""Any order, any duplicates, any cut, silence and restarts at any moment: the rows end as the fold.

The device is driven as the sessionizer drives it: rows are emitted from an encoded and decoded state only,
kept by highest version as ClickHouse keeps them, and replays are mixed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.domain.policy import Policy
from pipeline.domain.policy_document import PolicyDocument, dated_policy
from pipeline.domain.session import session_id
from pipeline.state.codec.session_codec import checkpoint
from pipeline.state.device import Counts, apply, fall_silent
from pipeline.state.device_state import DeviceState
from tests.support.oracle import Fold, drop_duplicates, in_order, oracle_sessions, report
from tests.support.session_dicts import without_events
from tests.support.strategies import Case, DeliveredCase, Delivery, delivered_cases, policies
from tests.support.streamed_device import APP, DEVICE, START_MS, StoredRows, through_codec


def stream(
    delivery: Delivery, policy: Policy, gap_ms: int, changes: Mapping[int, Callable[[int], Policy]] = {}
) -> tuple[StoredRows, Counts]:
    """Deliver, report silence where asked, replay every batch once, and end in quiet. `changes` give the policy from a
    batch on, by the offset of the record that brings it."""
    state, rows, counts = DeviceState(), StoredRows(), Counts()
    offset, now_ms = 0, START_MS
    for number, batch in enumerate(delivery.batches):
        if change := changes.get(number):
            policy, offset = change(offset), offset + 1
        arrivals = []
        for record in batch.records:
            arrivals.append((offset, now_ms, list(record)))
            offset, now_ms = offset + 1, now_ms + gap_ms
        if apply(state, arrivals, policy, counts):
            state = through_codec(state)
            rows.emit(state, by_silence=False)
            assert not apply(state, arrivals, policy, Counts()), "a replay is not applied again"
            rows.emit(state, by_silence=False)
        if batch.silence_after and fall_silent(state, now_ms + policy.idle_timeout_ms, 0, policy):
            rows.emit(state, by_silence=True)
            state.outbox = []
            state = through_codec(state)
    if fall_silent(state, now_ms + policy.idle_timeout_ms, 0, policy):
        rows.emit(state, by_silence=True)
    return rows, counts


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(delivered=delivered_cases(conflicting=True), gap_ms=st.sampled_from((0, 1_000, 31_000)))
def test_rows_end_as_the_fold(delivered: DeliveredCase, gap_ms: int) -> None:
    policy = delivered.case.policy
    rows, counts = stream(delivered.delivery, policy, gap_ms)
    arrived = delivered.delivery.arrivals
    expected = oracle_sessions(APP, DEVICE, arrived, policy)
    assert rows.sessions() == [without_events(row) for row in expected]
    assert counts.unrestated == 0
    assert counts.accepted + counts.duplicates == len(arrived)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(delivered=delivered_cases(), then=policies(), data=st.data())
def test_each_event_is_under_the_version_of_its_time(
    delivered: DeliveredCase, then: Policy, data: st.DataObject
) -> None:
    """Whenever a version comes, before the events of its time or after them, and in whatever order these do."""
    batches, first = delivered.delivery.batches, delivered.case.policy
    assume(bool(delivered.case.events and batches))
    at = data.draw(st.integers(0, len(batches) - 1))
    assume(any(batch.records for batch in batches[at:]))
    from_ms = data.draw(st.sampled_from([event.time_ms for event in delivered.case.events]))
    then = replace(
        then, restate_horizon_ms=first.restate_horizon_ms, restate_events=first.restate_events,
        state_ttl_ms=first.state_ttl_ms,
    )  # fmt: skip
    document = PolicyDocument(1, from_ms)
    rows, _ = stream(
        delivered.delivery, first, 1_000, {at: lambda came_at: dated_policy(then, document, came_at, first)}
    )
    fold = Fold(first)
    for event in in_order(drop_duplicates(delivered.delivery.arrivals)):
        fold.policy = then if event.time_ms >= from_ms else first
        fold.step(event)
    expected = [report(APP, DEVICE, session, True) for session in fold.sessions]
    assert rows.sessions() == [without_events(row) for row in expected]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(delivered=delivered_cases(), limit=st.integers(1, 6), horizon_s=st.sampled_from((0, 5, 60)))
def test_beyond_the_horizon_the_cut_does_not_matter(
    delivered: DeliveredCase, limit: int, horizon_s: int
) -> None:
    """What is too late is decided by the order of arrival alone, and the rest is the fold of the rest."""
    policy = replace(delivered.case.policy, restate_events=limit)
    policy = replace(policy, restate_horizon_ms=max(1, horizon_s * 1_000))
    one_by_one = Delivery(
        tuple(
            replace(batch, records=((event,),), silence_after=False)
            for batch in delivered.delivery.batches
            for record in batch.records
            for event in record
        )
    )
    rows, counts = stream(delivered.delivery, policy, gap_ms=0)
    rows_alone, counts_alone = stream(one_by_one, policy, gap_ms=0)
    assert rows.sessions() == rows_alone.sessions()
    # A resent event is a duplicate while the tail remembers its id and unrestated after: dropped either way.
    assert counts.accepted == counts_alone.accepted
    if not counts.unrestated and not counts.duplicates:
        expected = oracle_sessions(APP, DEVICE, delivered.delivery.arrivals, policy)
        assert rows.sessions() == [without_events(row) for row in expected]


@settings(max_examples=100, deadline=None)
@given(delivered=delivered_cases())
def test_a_silent_device_becomes_final_and_stays_the_fold(delivered: DeliveredCase) -> None:
    """After the horizon of silence every row is final, and says what it said before."""
    policy: Policy = delivered.case.policy
    case: Case = delivered.case
    state, rows = DeviceState(), StoredRows()
    apply(state, [(0, START_MS, sorted(case.events))], policy, Counts())
    rows.emit(state, by_silence=False)
    later_ms = START_MS + policy.restate_horizon_ms
    fall_silent(state, later_ms, later_ms, policy)
    rows.emit(state, by_silence=True)
    assert all(version % 2 for version, _, _ in rows.rows.values())
    assert not state.tail
    expected = oracle_sessions(APP, DEVICE, case.events, policy)
    assert rows.sessions() == [without_events(row) for row in expected]
    assert {str(session_id(APP, DEVICE, first)) for first in rows.rows} == {
        row["session_id"] for row in expected
    }


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    delivered=delivered_cases(conflicting=True),
    limit=st.integers(1, 6),
    horizon_s=st.sampled_from((1, 5, 60)),
    gap_ms=st.sampled_from((0, 1_000, 31_000)),
)
def test_what_is_remembered_does_not_depend_on_the_cut(
    delivered: DeliveredCase, limit: int, horizon_s: int, gap_ms: int
) -> None:
    """The same records one by one and all at once: the same tail, fold and counts, to the last duplicate."""
    policy = replace(delivered.case.policy, restate_events=limit, restate_horizon_ms=horizon_s * 1_000)
    sent = [record for batch in delivered.delivery.batches for record in batch.records]
    records = [(offset, START_MS + offset * gap_ms, record) for offset, record in enumerate(sent)]
    alone, together = DeviceState(), DeviceState()
    counts, counts_together = Counts(), Counts()
    for record in records:
        apply(alone, [record], policy, counts)
    apply(together, records, policy, counts_together)
    assert counts == counts_together
    for state in (alone, together):
        # Rows are written once a step, so what is written of them does depend on it.
        state.written, state.outbox = {}, []
    assert alone == together
    assert checkpoint(alone) == checkpoint(together)
    assert alone.tail.marks == together.tail.marks
    if gap_ms >= policy.restate_horizon_ms:
        assert len(together.tail) <= len(sent[-1]), "what was there before the silence is in the checkpoint"
