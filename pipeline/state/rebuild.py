"""A device computed again from its stored events: the fold, exactly, however late they came."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.policy import Policy
from pipeline.state.device import Counts, apply, fall_silent
from pipeline.state.outbox import outbox_rows
from pipeline.wire import stored_session
from pipeline.wire.device_state import DeviceState, Report
from pipeline.wire.stored_event import StoredDevice
from pipeline.wire.stored_session import Facts


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A device's exact sessions, and the state from which streaming goes on."""

    state: DeviceState
    rows: dict[str, list[bytes]]
    """Session id to its rows; of several the one of the highest version counts."""
    facts: dict[str, Facts]
    """Session id to what its row says."""


def rebuild_device(device: StoredDevice, policy: Policy, now_ms: int, partition: int) -> Rebuilt:
    """Fold all stored events of a device in their order, and report silence as of `now_ms` (Unix ms).

    Given in order, no event is late, so none is beyond a horizon. Pure.
    """
    state = DeviceState()
    last = device.records[-1]
    arrived_ms = max(record.record_ms for record in device.records)
    events = sorted(event for record in device.records for event in record.events)
    apply(state, [(last.offset, arrived_ms, events)], policy, Counts())
    made = [state.outbox]
    by_offset = list(_rows(state, device, partition, state.applied_offset * 2))
    # Finality by silence is left to the workers' clock.
    if fall_silent(state, now_ms, 0, policy):
        made.append(state.outbox)
        by_offset += _rows(state, device, partition, state.applied_offset * 2 + 1)
    state.outbox = []
    rows: dict[str, list[bytes]] = {}
    facts: dict[str, Facts] = {}
    writes = [write for outbox in made for write in outbox]
    for write, row in zip(writes, by_offset, strict=True):
        assert write.report is not Report.DELETED, "in order nothing dissolves"
        session_id, said = stored_session.facts_of(row)
        rows.setdefault(session_id, []).append(row)
        facts[session_id] = said
    return Rebuilt(state, rows, facts)


def _rows(state: DeviceState, device: StoredDevice, partition: int, revision: int) -> list[bytes]:
    return list(outbox_rows(state, device.app_id, device.device_id, partition=partition, revision=revision))
