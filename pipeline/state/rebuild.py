"""A device computed again from its stored events: the fold, exactly, however late they came."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.policy import Policy, version_at
from pipeline.state.device import Counts, apply, fall_silent
from pipeline.state.device_state import DeviceState, Report
from pipeline.state.outbox import Rows
from pipeline.storage import stored_session
from pipeline.storage.stored_event import StoredDevice
from pipeline.storage.stored_session import Facts


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A device's exact sessions, and the state from which streaming goes on."""

    state: DeviceState
    rows: Rows
    """Their rows, made while they are iterated over; of several of a session the one of the highest version counts."""
    session_ids: list[str]
    """For each row the session that it is of."""
    facts: dict[str, Facts]
    """Session id to what its row says."""


def rebuild_device(device: StoredDevice, policy: Policy, now_ms: int, partition: int) -> Rebuilt:
    """Fold all stored events of a device in their order, and report silence as of `now_ms` (Unix ms).

    `partition` is the one that its key belongs in. Given in order, no event is late, so none is beyond a horizon. Pure.
    """
    state = DeviceState()
    last = device.records[-1]
    arrived_ms = max(record.record_ms for record in device.records)
    events = sorted(event for record in device.records for event in record.events)
    apply(state, [(last.offset, arrived_ms, events)], policy, Counts())
    state.corrected_ms = device.corrected_ms
    # Offsets of another partition say nothing in this one: what comes here would be taken for a replay.
    end = device.ends.get(partition, -1)
    state.applied_offset = max(0, end)
    rows = Rows(
        partition, version_of=lambda _, started_at_ms, reach: version_at(policy, started_at_ms, reach)
    )
    key = device.key
    _add(rows, key, state, state.applied_offset * 2)
    # Finality by silence is left to the workers' clock.
    if fall_silent(state, now_ms, 0, policy):
        _add(rows, key, state, state.applied_offset * 2 + 1)
    state.outbox = []
    state.applied_offset = end
    session_ids: list[str] = []
    facts: dict[str, Facts] = {}
    texts = stored_session.Shared()
    for _, row in rows:
        session_id, said = stored_session.facts_of(row, texts)
        session_ids.append(session_id)
        facts[session_id] = said
    return Rebuilt(state, rows, session_ids, facts)


def _add(rows: Rows, key: bytes, state: DeviceState, revision: int) -> None:
    assert all(write.report is not Report.DELETED for write in state.outbox), "in order nothing dissolves"
    rows.add(key, state, revision)
