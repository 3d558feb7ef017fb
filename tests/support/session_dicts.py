"""A session as the oracle writes it: what both sides of a comparison are turned into."""

from __future__ import annotations

from typing import Any

from pipeline.domain.event import COUNTERS
from pipeline.domain.session import Session, session_id


def session_dict(app_id: str, device_id: str, session: Session) -> dict[str, Any]:
    """All that the definition says of a session, by the names of the `sessions` table (times in Unix ms)."""
    ended_at_ms = session.last_ms if session.is_open else session.ended_at_ms
    return {
        "session_id": str(session_id(app_id, device_id, session.first_event_id)),
        "status": "open" if session.is_open else "closed",
        "state": "foreground" if session.foreground else "background",
        "start_reason": str(session.start_reason),
        "end_reason": str(session.end_reason),
        "exit_reason": session.exit_reason,
        "cold_start": session.cold_start,
        "started_at_ms": session.started_at_ms,
        "ended_at_ms": ended_at_ms,
        "duration_ms": ended_at_ms - session.started_at_ms,
        "client_session_id": session.client_session_id,
        "stitched_session_id": str(session_id(app_id, device_id, session.stitched_first_event_id)),
        "stitched_index": session.stitched_index,
        "user": session.user,
        "user_id": session.user_id,
        "user_ids": session.user_ids,
        "resource": session.resource,
        "event_count": session.event_count,
        **dict(zip(COUNTERS, session.counters, strict=True)),
    }


def without_events(oracle_row: dict[str, Any]) -> dict[str, Any]:
    """An oracle's session without the ids of its events."""
    return {name: value for name, value in oracle_row.items() if name != "event_ids"}
