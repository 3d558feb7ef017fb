"""Stitched sessions: which sessions of a device belong to one visit (SESSIONS.md, "Stitched sessions")."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.domain.policy import Policy
from pipeline.domain.session import End, Session


@dataclass(slots=True)
class Stitched:
    """The current stitched session of a device. Mutable while the fold holds it."""

    first_event_id: str
    """First event of its first member; the stitched session's id derives from it."""
    started_at_ms: int
    members: int
    any_end_ms: int
    """Latest end of any member; the start while none has ended."""
    foreground_end_ms: int | None = None
    """Latest end of a foreground member; None while there is none."""
    ended_manually: bool = False

    def copy(self) -> Stitched:
        return replace(self)

    def takes(self, start_ms: int, policy: Policy) -> bool:
        """Whether a session that starts at `start_ms` joins."""
        anchor_ms = self.any_end_ms if self.foreground_end_ms is None else self.foreground_end_ms
        return (
            not self.ended_manually
            and start_ms - anchor_ms <= policy.stitch_gap_ms
            and start_ms - self.started_at_ms < policy.stitch_max_duration_ms
        )


def join(current: Stitched | None, session: Session, policy: Policy) -> Stitched:
    """Assign a session that has just opened to the current stitched session or to a new one.

    Writes the session's stitched fields; returns the stitched session that is current from now on.
    """
    if current is not None and current.takes(session.started_at_ms, policy):
        current.members += 1
    else:
        start_ms = session.started_at_ms
        current = Stitched(session.first_event_id, start_ms, members=1, any_end_ms=start_ms)
    session.stitched_first_event_id = current.first_event_id
    session.stitched_index = current.members
    return current


def note_end(current: Stitched | None, session: Session) -> None:
    """Move the anchor: a member has ended."""
    assert current is not None, "a session is stitched when it opens"
    current.any_end_ms = max(current.any_end_ms, session.ended_at_ms)
    if session.foreground:
        ended_ms = session.ended_at_ms
        earlier_ms = current.foreground_end_ms
        current.foreground_end_ms = ended_ms if earlier_ms is None else max(earlier_ms, ended_ms)
    if session.end_reason == End.MANUAL:
        current.ended_manually = True
