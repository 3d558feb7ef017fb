"""What is kept of a device between two inputs: the value of one key of the state table."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from pipeline.domain.fold_state import FoldState
from pipeline.domain.session import Session
from pipeline.state.tail import OrderKey, Strings, Tail


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


@dataclass(slots=True)
class DeviceState:
    """Checkpoint, tail, the fold after the tail, and what was last written (DESIGN, "State of a device")."""

    strings: Strings = field(default_factory=Strings, compare=False)
    """The texts that encoded parts refer to."""
    checkpoint: FoldState | bytes = field(default_factory=FoldState, compare=False)
    """The fold's state before the tail; encoded until somebody asks (`state_codec.checkpoint`)."""
    named: tuple[str, ...] = ()
    """Ids of the events that the sessions of the checkpoint are named by. No further event may have them: a second
    session of that name would take the first one's place in `written`."""
    floor: OrderKey | None = None
    """Place of the last event in the checkpoint: nothing at or before it can be restated."""
    tail: Tail = field(init=False)
    """The recent events, in order."""
    head: FoldState = field(default_factory=FoldState)
    """The fold's state after the tail."""
    written: dict[str, Written] = field(default_factory=dict)
    """By first event id, for each session in reach of the tail."""
    outbox: list[Write] = field(default_factory=list)
    """The rows of the last step: emitted once this state is durable, and again when its input is replayed."""
    corrected_ms: int = field(default=0, compare=False)
    """The stamps of the tail's events that are later are their times; those of the others may have been corrected."""
    applied_offset: int = -1
    """Offset of the last record folded in; records up to it are replays."""
    arrived_ms: int = 0
    """Record time of the device's latest record."""
    base_offset: int = field(default=-1, compare=False)
    """Applied offset of the whole state that was written last; -1 if none was (`state.store`)."""
    outdated: bool = field(default=False, compare=False)
    """Folded by an older program, under the first definition of a session: the recent events are to be folded anew."""
    packed_chars: int = field(default=0, compare=False)
    """Of `strings`, when it was last without texts that nothing refers to."""
    prev_compared: tuple[object, ...] = field(default=(), compare=False)
    """What the session before the open one said when it was last compared with its row; not encoded."""

    def __post_init__(self) -> None:
        self.tail = Tail(self.strings)

    def forget(self) -> None:
        """Be the state of a device that nothing is known of, but for the input that is done."""
        self.checkpoint, self.head = FoldState(), FoldState()
        self.named, self.floor = (), None
        self.tail = Tail(self.strings)
        self.written, self.prev_compared = {}, ()

    @property
    def silence_due(self) -> bool:
        """Whether a session is open and its row does not say yet that it ended by inactivity."""
        opened = self.head.open
        if opened is None:
            return False
        written = self.written.get(opened.first_event_id)
        return written is None or written.report is not Report.SILENT

    @property
    def has_tail(self) -> bool:
        """Whether it holds recent events."""
        return self.tail.last is not None
