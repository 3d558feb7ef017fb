"""A session: an interpretation of a device's events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from uuid import UUID

from pipeline.domain.event import APPEARANCES, COUNTERS, VIEWS


class Start(StrEnum):
    """Why a session started."""

    LAUNCH = "launch"
    FOREGROUND = "foreground"
    BACKGROUND = "background"
    CONTINUATION = "continuation"
    IMPLICIT = "implicit"


class End(StrEnum):
    """Why a session ended. An exit record may put any other word of the system in its place."""

    BACKGROUND = "background"
    FOREGROUND = "foreground"
    MANUAL = "manual"
    CRASH = "crash"
    EXCEPTION = "exception"
    ANR = "anr"
    INACTIVITY = "inactivity"
    MAX_DURATION = "max_duration"
    SUPERSEDED = "superseded"
    UNCLEAN_EXIT = "unclean_exit"


@dataclass(slots=True)
class Session:
    """One session. Mutable while the fold holds it (open, or the one before); everyone else reads.

    Times are Unix milliseconds. `end_reason` is empty while the session is open.
    """

    first_event_id: str
    started_at_ms: int
    start_reason: str
    foreground: bool
    resource: str
    """Canonical JSON of its first event's resource."""
    last_ms: int
    """Time of its latest event; trailing events count."""
    ended_at_ms: int = 0
    end_reason: str = ""
    exit_reason: str = ""
    cold_start: bool = False
    """A launch is among its events."""
    client_session_id: str = ""
    user: str = ""
    """Canonical JSON of the user that the last of its events that names one names."""
    event_count: int = 0
    counters: list[int] = field(default_factory=lambda: [0] * len(COUNTERS))
    """One number for each of COUNTERS."""
    stitched_first_event_id: str = ""
    """First event of the first member of the stitched session that this one belongs to."""
    stitched_index: int = 1
    user_id: str = ""
    """The last user whom its events name by an id."""
    user_ids: list[str] = field(default_factory=list)
    """All of them, in the order in which they are first named; the first MAX_USER_IDS."""

    @property
    def view_count(self) -> int:
        """Screens viewed. Where the app tells of none, those that appeared: most apps whose parts tell of themselves
        name their views as well, and would count each twice. Of all its events together, in whatever order."""
        return self.counters[VIEWS] or self.counters[APPEARANCES]

    @property
    def is_open(self) -> bool:
        return not self.end_reason

    def copy(self) -> Session:
        """A copy that shares nothing mutable."""
        return Session(
            self.first_event_id, self.started_at_ms, self.start_reason, self.foreground, self.resource,
            self.last_ms, self.ended_at_ms, self.end_reason, self.exit_reason, self.cold_start,
            self.client_session_id, self.user, self.event_count, self.counters.copy(),
            self.stitched_first_event_id, self.stitched_index, self.user_id, self.user_ids.copy(),
        )  # fmt: skip


MAX_USER_IDS = 16
"""Of a session; whoever comes after them is its `user_id` while he is the last, and in its events."""


_ID_FIRST = '{"id":'
_text_at = json.JSONDecoder().raw_decode


def note_user(session: Session, user: str) -> None:
    """An event of the session names a user (canonical JSON, so an id comes first), who is not the one named last."""
    session.user = user
    if user.startswith(_ID_FIRST):
        user_id, _ = _text_at(user, len(_ID_FIRST))
        session.user_id = user_id
        if user_id not in session.user_ids and len(session.user_ids) < MAX_USER_IDS:
            session.user_ids.append(user_id)


def as_quiet(session: Session) -> Session:
    """How an open session is reported after silence: ended by inactivity at its latest event."""
    assert session.is_open, "only an open session is ended by silence"
    report = session.copy()
    report.end_reason = End.INACTIVITY
    report.ended_at_ms = session.last_ms
    return report


def session_id(app_id: str, device_id: str, first_event_id: str) -> UUID:
    """The id of the session that begins with an event: a UUID (version 8) from BLAKE2b-128.

    The same three strings give the same id anywhere and at any time (SESSIONS.md, "The definition").
    """
    return UUID(session_id_text(app_id, device_id, first_event_id))


def session_id_text(app_id: str, device_id: str, first_event_id: str) -> str:
    """The same id as text, made without a UUID on the way."""
    digits = blake2b(f"{app_id}\0{device_id}\0{first_event_id}".encode(), digest_size=16).hexdigest()
    # RFC 9562: the 13th digit is the version, the two highest bits of the 17th are the variant.
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
