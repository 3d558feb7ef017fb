"""The rows that ClickHouse would hold of a device, and its state by way of the codec."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pipeline.domain.session import Session
from pipeline.state.codec import state_codec
from pipeline.state.device_state import DeviceState, Report
from tests.support.session_dicts import session_dict

APP, DEVICE = "org.example.app", "device-1"
START_MS = 1_800_000_000_000


class StoredRows:
    """What ClickHouse would hold: of each session the row of the highest version."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, Report, Session]] = {}

    def emit(self, state: DeviceState, *, by_silence: bool, ambiguous: Collection[str] = frozenset()) -> None:
        """`ambiguous` are first events of two sessions, either of which may be shown."""
        for write in state.outbox:
            version = (state.applied_offset * 2 + by_silence) * 2 + write.is_final
            first_id = write.session.first_event_id
            before = self.rows.get(first_id)
            if before is not None and before[0] == version and first_id not in ambiguous:
                assert before[1:] == (write.report, write.session), "two rows of equal version differ"
            if before is None or version >= before[0]:
                self.rows[first_id] = (version, write.report, write.session)

    def sessions(self) -> list[dict[str, Any]]:
        alive = [session for _, report, session in self.rows.values() if report is not Report.DELETED]
        return [session_dict(APP, DEVICE, s) for s in sorted(alive, key=lambda s: s.started_at_ms)]


def through_codec(state: DeviceState) -> DeviceState:
    value = state_codec.encode(state)
    decoded = state_codec.decode(value)
    assert state_codec.encode(decoded) == value
    return decoded
