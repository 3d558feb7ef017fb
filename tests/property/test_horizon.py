"""Small horizons against an oracle of their own: which events count, which sessions come of them, which are final."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.policy import Policy
from pipeline.domain.session import session_id
from pipeline.state.device import Counts, apply, fall_silent
from pipeline.state.device_state import DeviceState
from tests.support.horizon import DeviceHistory, Record
from tests.support.session_dicts import without_events
from tests.support.strategies import DeliveredCase, Delivery, delivered_cases
from tests.support.streamed_device import APP, DEVICE, START_MS, StoredRows, through_codec


def records_of(delivery: Delivery, gap_ms: int) -> Iterator[list[Record]]:
    """What is delivered, batch by batch, a record each `gap_ms`."""
    now_ms = START_MS
    for batch in delivery.batches:
        some: list[Record] = []
        for events in batch.records:
            some.append((now_ms, list(events)))
            now_ms += gap_ms
        yield some


def compare(delivered: DeliveredCase, policy: Policy, gap_ms: int, *, falls_silent: bool) -> None:
    history = DeviceHistory(policy)
    state, rows, counts = DeviceState(), StoredRows(), Counts()
    offset = 0
    for batch in records_of(delivered.delivery, gap_ms):
        arrivals = []
        for record in batch:
            history.take(record)
            arrivals.append((offset, *record))
            offset += 1
        apply(state, arrivals, policy, counts)  # type: ignore[arg-type]
        state = through_codec(state)
        rows.emit(state, by_silence=False, ambiguous=history.ambiguous())
    quiet_ms = state.arrived_ms + policy.idle_timeout_ms
    # A device whose last record brought nothing new, after a silence as long as the horizon, has told all that silence
    # has to say but for its last two sessions: those are told final with its next event.
    all_final = falls_silent and history.can_be_restated
    if falls_silent:
        history.fall_silent()
        quiet_ms += policy.restate_horizon_ms
    if fall_silent(state, quiet_ms, quiet_ms if falls_silent else 0, policy):
        rows.emit(state, by_silence=True)
    assert (counts.accepted, counts.late) == (len(history.counted), history.late)
    assert counts.duplicates + counts.unrestated == history.dropped
    ambiguous = {str(session_id(APP, DEVICE, event_id)) for event_id in history.ambiguous()}
    found = [row for row in rows.sessions() if row["session_id"] not in ambiguous]
    expected = [row for row in history.sessions(APP, DEVICE) if row["session_id"] not in ambiguous]
    assert found == [without_events(row) for row in expected]
    final = {first_id for first_id, (version, _, _) in rows.rows.items() if version % 2}
    alive = {row["session_id"] for row in expected}
    told = {first_id for first_id in final if str(session_id(APP, DEVICE, first_id)) in alive}
    if all_final:
        assert {str(session_id(APP, DEVICE, first_id)) for first_id in told} == alive
    elif not falls_silent:
        assert told == history.final() - history.ambiguous()


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    delivered=delivered_cases(conflicting=True),
    limit=st.integers(1, 6),
    horizon_s=st.sampled_from((0, 1, 5, 60, 100_000)),
    gap_ms=st.sampled_from((0, 1_000, 31_000)),
    falls_silent=st.booleans(),
)
def test_what_counts_and_what_is_final(
    delivered: DeliveredCase, limit: int, horizon_s: int, gap_ms: int, falls_silent: bool
) -> None:
    policy = replace(
        delivered.case.policy, restate_events=limit, restate_horizon_ms=max(1, horizon_s * 1_000)
    )
    compare(delivered, policy, gap_ms, falls_silent=falls_silent)
