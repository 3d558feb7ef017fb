"""What the fold remembers of a device between two events."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.event import AppState
from pipeline.domain.session import Session
from pipeline.domain.stitching import Stitched

MAX_KNOWN = 8
"""SDK session ids that are remembered of a device."""


@dataclass(slots=True)
class FoldState:
    """Everything the fold remembers of a device."""

    open: Session | None = None
    prev: Session | None = None
    """The session before the open one; later events may still add to it or sharpen why it ended."""
    app_state: AppState = AppState.UNKNOWN
    stitched: Stitched | None = None
    known: tuple[str, ...] = ()
    """The last MAX_KNOWN different SDK session ids that sessions took; the one taken last is the last."""
    shown_ms: int | None = None
    """When a window of the open session was last shown beside what was in front already; Unix milliseconds."""

    def copy(self) -> FoldState:
        """A copy that shares nothing mutable."""
        return FoldState(
            self.open.copy() if self.open else None,
            self.prev.copy() if self.prev else None,
            self.app_state,
            self.stitched.copy() if self.stitched else None,
            self.known,
            self.shown_ms,
        )

    @property
    def held(self) -> tuple[Session, ...]:
        """The sessions that later events may still change."""
        return tuple(session for session in (self.prev, self.open) if session is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """Ids of the events that the sessions held are named by."""
        return tuple(session.first_event_id for session in self.held)
