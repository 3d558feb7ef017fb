"""The outbox of a device as rows."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.domain.session import as_quiet
from pipeline.wire import rows
from pipeline.wire.device_state import DeviceState, Report


def outbox_rows(
    state: DeviceState, app_id: str, device_id: str, *, partition: int, revision: int
) -> Iterator[bytes]:
    """A row for each write that the outbox holds. The same state and revision give the same bytes."""
    for write in state.outbox:
        session = write.session
        if write.report is Report.DELETED:
            yield rows.deleted_row(
                app_id,
                device_id,
                session.first_event_id,
                session.started_at_ms,
                revision=revision,
                partition=partition,
                offset=state.applied_offset,
                arrived_at_ms=state.arrived_ms,
            )
            continue
        yield rows.session_row(
            app_id,
            device_id,
            as_quiet(session) if write.report is Report.SILENT and session.is_open else session,
            status="open" if write.report is Report.OPEN else "closed",
            revision=revision,
            is_final=write.is_final,
            arrived_at_ms=state.arrived_ms,
            partition=partition,
            offset=state.applied_offset,
        )
