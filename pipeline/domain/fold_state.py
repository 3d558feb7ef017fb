"""What the fold remembers of a device between two events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from pipeline.domain.session import Session
from pipeline.domain.stitching import Stitched


class AppState(IntEnum):
    """What is known of the app between its events."""

    UNKNOWN = 0
    FOREGROUND = 1
    BACKGROUND = 2


@dataclass(slots=True)
class FoldState:
    """Everything the fold remembers of a device."""

    open: Session | None = None
    prev: Session | None = None
    """The session before the open one; later events may still add to it or sharpen why it ended."""
    app_state: AppState = AppState.UNKNOWN
    stitched: Stitched | None = None

    def copy(self) -> FoldState:
        """A copy that shares nothing mutable."""
        return FoldState(
            self.open.copy() if self.open else None,
            self.prev.copy() if self.prev else None,
            self.app_state,
            self.stitched.copy() if self.stitched else None,
        )

    @property
    def latest(self) -> Session | None:
        """The session with the greatest start."""
        return self.open or self.prev
