"""What is kept of a device between two inputs: the value of one key of the state table."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from pipeline.domain.event import Event
from pipeline.domain.fold_state import FoldState
from pipeline.domain.session import Session


class Report(IntEnum):
    """What a written row said of its session."""

    OPEN = 0
    CLOSED = 1
    SILENT = 2
    """Open in the fold, reported as ended by inactivity because its device has been silent."""
    DELETED = 3
    """Dissolved by a late event."""


@dataclass(slots=True)
class Written:
    """The row last written for a session that input may still change."""

    digest: bytes
    """Of what the row said; equal digests need no new row."""
    started_at_ms: int
    """Part of the stored row's key: a dissolved session is deleted under it."""
    report: Report
    is_final: bool
    at_ms: int
    """Record time of the input that wrote it; open sessions are written again after a while."""


@dataclass(slots=True)
class Write:
    """A row about to be emitted."""

    session: Session
    """For DELETED only its first event and start are meaningful."""
    report: Report
    is_final: bool


Place = tuple[int, int, int, str]
"""Where an event stands in the order of its device: time, rank, seq, id."""


@dataclass(slots=True)
class DeviceState:
    """Checkpoint, tail, the fold after the tail, and what was last written (DESIGN, "State of a device")."""

    checkpoint: FoldState = field(default_factory=FoldState)
    """The fold's state before the tail."""
    floor: Place | None = None
    """Place of the last event in the checkpoint: nothing at or before it can be restated."""
    tail: list[Event] = field(default_factory=list)
    """The recent events, in order."""
    head: FoldState = field(default_factory=FoldState)
    """The fold's state after the tail."""
    written: dict[str, Written] = field(default_factory=dict)
    """By first event id, for each session in reach of the tail."""
    outbox: list[Write] = field(default_factory=list)
    """The rows of the last step: emitted once this state is durable, and again when its input is replayed."""
    applied_offset: int = -1
    """Offset of the last record folded in; records up to it are replays."""
    arrived_ms: int = 0
    """Record time of the device's latest record."""
