"""The definition of a session, written down a second time.

An oracle for tests, made from the normative page alone and never from the fold in the package. It is slow and
literal on purpose: read it with the page beside it, line by line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any
from uuid import UUID

from pipeline.domain.event import COUNTERS, Event, Kind
from pipeline.domain.policy import Policy

# "Order = (time_ms, rank, seq, id)."
PAGE_RANK = {
    Kind.FOREGROUND: 0,
    Kind.LAUNCH: 1,
    Kind.ACTIVITY: 2,
    Kind.SESSION_END: 3,
    Kind.BACKGROUND: 3,
    Kind.CRASH: 4,
    Kind.EXCEPTION: 4,
    Kind.ANR: 4,
    Kind.EXIT: 5,
}

# What the app's state is after an event; kinds that are missing leave it as it is.
APP_STATE_AFTER = {
    Kind.LAUNCH: "foreground",
    Kind.FOREGROUND: "foreground",
    Kind.BACKGROUND: "background",
    Kind.CRASH: "unknown",
    Kind.EXCEPTION: "unknown",
    Kind.ANR: "unknown",
    Kind.EXIT: "unknown",
}

# Ends after which nothing trails, and after which a foreground session is a continuation.
CUT_SHORT = ("manual", "inactivity", "max_duration", "superseded")


def oracle_sessions(
    app_id: str, device_id: str, events: Iterable[Event], policy: Policy, *, quiet: bool = True
) -> list[dict[str, Any]]:
    """The sessions of one device, in order of their start.

    `events` come in order of arrival and may hold an id more than once: the first one counts. With `quiet` an
    open session is reported as ended by inactivity at its latest event; otherwise as open and ending there.
    Times are Unix milliseconds. Besides the columns of a session each result has `event_ids`: the events that
    the fold gave to it, in order.
    """
    fold = _Fold(policy)
    for event in in_order(drop_duplicates(events)):
        fold.step(event)
    return [_report(app_id, device_id, session, quiet) for session in fold.sessions]


def drop_duplicates(events: Iterable[Event]) -> list[Event]:
    """One event for each id: the one seen first."""
    first_seen: dict[str, Event] = {}
    for event in events:
        if event.id not in first_seen:
            first_seen[event.id] = event
    return list(first_seen.values())


def in_order(events: Iterable[Event]) -> list[Event]:
    """Events in the order of the definition."""
    return sorted(events, key=lambda event: (event.time_ms, PAGE_RANK[event.kind], event.seq, event.id))


def oracle_session_id(app_id: str, device_id: str, first_event_id: str) -> str:
    """UUID (version 8, RFC 9562) from BLAKE2b-128 of `app_id \\0 device_id \\0 first_event_id` in UTF-8."""
    text = app_id + "\0" + device_id + "\0" + first_event_id
    octets = bytearray(blake2b(text.encode("utf-8"), digest_size=16).digest())
    octets[6] = 0x80 | (octets[6] & 0x0F)  # version 8: the high half of octet 6
    octets[8] = 0x80 | (octets[8] & 0x3F)  # variant 10: the two highest bits of octet 8
    return str(UUID(bytes=bytes(octets)))


@dataclass
class _Session:
    start_reason: str
    foreground: bool
    events: list[Event] = field(default_factory=list)
    cold_start: bool = False
    exit_reason: str = ""
    end_reason: str = ""
    ended_at_ms: int | None = None
    stitched: _Stitched | None = None
    stitched_index: int = 0

    @property
    def started_at_ms(self) -> int:
        return self.events[0].time_ms

    @property
    def last_ms(self) -> int:
        """Time of the latest event; trailing ones count."""
        return self.events[-1].time_ms

    @property
    def client_session_id(self) -> str:
        """ "A session's SDK session id is the first one among its events." """
        return next((event.client_session_id for event in self.events if event.client_session_id), "")

    @property
    def user(self) -> str:
        """ "... the user of the last of its events that names one." """
        return next((event.user for event in reversed(self.events) if event.user), "")


@dataclass
class _Stitched:
    members: list[_Session] = field(default_factory=list)

    def takes(self, session: _Session, policy: Policy) -> bool:
        """Whether a session that opens joins."""
        return (
            session.started_at_ms - self.anchor_ms() <= policy.stitch_gap_ms
            and session.started_at_ms - self.members[0].started_at_ms < policy.stitch_max_duration_ms
            and not any(member.end_reason == "manual" for member in self.members)
        )

    def anchor_ms(self) -> int:
        """The latest end of a foreground member; while there is none, that of any (or the start)."""
        ended = [member for member in self.members if member.ended_at_ms is not None]
        foreground_ends = [member.ended_at_ms or 0 for member in ended if member.foreground]
        if foreground_ends:
            return max(foreground_ends)
        if ended:
            return max(member.ended_at_ms or 0 for member in ended)
        return self.members[0].started_at_ms


def ids_differ(session: _Session, event: Event) -> bool:
    """ "Their SDK session ids differ (both have one, and not the same)." """
    both_have_one = session.client_session_id != "" and event.client_session_id != ""
    return both_have_one and session.client_session_id != event.client_session_id


class _Fold:
    """ "The fold", one method for each paragraph or bullet of the page."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.open: _Session | None = None
        self.prev: _Session | None = None
        self.app_state = "unknown"
        self.stitched: _Stitched | None = None
        self.sessions: list[_Session] = []

    def step(self, event: Event) -> None:
        latest = self.open or self.prev
        if latest is not None and event.time_ms == latest.last_ms:
            self.one_session_a_millisecond(event)
        else:
            self.what_time_and_identity_end(event)
            self.by_kind(event)
        self.app_state = APP_STATE_AFTER.get(event.kind, self.app_state)

    def one_session_a_millisecond(self, event: Event) -> None:
        if self.open is not None and event.kind in (Kind.LAUNCH, Kind.FOREGROUND):
            self.open.events.append(event)
            if event.kind is Kind.LAUNCH:
                self.open.cold_start = True
        elif self.open is not None:
            self.by_kind(event)
        else:
            # Never a launch or a foreground: they come first in their millisecond and leave a session open.
            assert self.prev is not None and event.kind not in (Kind.LAUNCH, Kind.FOREGROUND)
            self.prev_takes(self.prev, event)

    def what_time_and_identity_end(self, event: Event) -> None:
        session, policy, time = self.open, self.policy, event.time_ms
        if session is None:
            return
        if time - session.last_ms > policy.inactivity_timeout_ms:
            self.close(session, "inactivity", session.last_ms)
        elif event.kind is Kind.ACTIVITY and time - session.started_at_ms >= policy.max_duration_ms:
            self.close(session, "max_duration", session.last_ms)
        elif event.kind is Kind.ACTIVITY and ids_differ(session, event):
            self.close(session, "superseded", session.last_ms)

    def by_kind(self, event: Event) -> None:
        if event.kind is Kind.LAUNCH:
            self.launch(event)
        elif event.kind is Kind.FOREGROUND:
            self.foreground(event)
        elif event.kind is Kind.BACKGROUND:
            self.background(event)
        elif event.kind is Kind.SESSION_END:
            self.session_end(event)
        elif event.kind in (Kind.CRASH, Kind.EXCEPTION, Kind.ANR):
            self.crash_exception_anr(event)
        elif event.kind is Kind.EXIT:
            self.exit(event)
        else:
            self.activity(event)

    def launch(self, event: Event) -> None:
        session = self.open
        if (
            session is not None
            and event.time_ms - session.started_at_ms <= self.policy.launch_grace_ms
            and not any(earlier.kind is Kind.LAUNCH for earlier in session.events)
        ):
            session.events.append(event)
            session.cold_start = True
            session.foreground = True
            if session.start_reason != "foreground":
                session.start_reason = "launch"
            if self.prev is not None and self.prev.end_reason == "superseded":
                self.prev.end_reason = "unclean_exit"
        else:
            if session is not None:
                self.close(session, "unclean_exit", session.last_ms)
            self.open_session(event, "launch", foreground=True).cold_start = True

    def foreground(self, event: Event) -> None:
        session = self.open
        if (
            session is not None
            and event.time_ms - session.started_at_ms <= self.policy.launch_grace_ms
            and not ids_differ(session, event)
        ):
            session.events.append(event)
            session.foreground = True
            if session.start_reason != "launch":
                session.start_reason = "foreground"
        else:
            if session is not None and not session.foreground:
                self.close(session, "foreground", event.time_ms)
            elif session is not None:
                self.close(session, "unclean_exit", session.last_ms)
            self.open_session(event, "foreground", foreground=True)

    def background(self, event: Event) -> None:
        if self.open is not None and self.open.foreground:
            self.open.events.append(event)
            self.close(self.open, "background", event.time_ms)
        elif self.open is not None:
            self.open.events.append(event)
        elif self.prev is not None and (
            self.prev.end_reason == "inactivity" or self.ended_within_grace(self.prev, event)
        ):
            self.prev_takes(self.prev, event)
        else:
            session = self.open_session(event, "implicit", foreground=True)
            self.close(session, "background", event.time_ms)

    def session_end(self, event: Event) -> None:
        if self.open is not None:
            self.open.events.append(event)
            self.close(self.open, "manual", event.time_ms)
        elif self.prev is not None:
            self.prev_takes(self.prev, event)
        else:
            session = self.open_session(event, "implicit", foreground=True)
            self.close(session, "manual", event.time_ms)

    def crash_exception_anr(self, event: Event) -> None:
        if self.open is not None:
            self.open.events.append(event)
            self.close(self.open, event.kind.label, event.time_ms)
        elif self.prev is not None and self.ended_within_grace(self.prev, event):
            self.prev_takes(self.prev, event)
        else:
            session = self.open_session(event, "implicit", foreground=self.app_state != "background")
            self.close(session, event.kind.label, event.time_ms)

    def exit(self, event: Event) -> None:
        if self.open is not None:
            self.open.events.append(event)
            self.open.exit_reason = event.exit_reason
            self.close(self.open, event.exit_reason, event.time_ms)
        elif self.prev is not None:
            self.prev_takes(self.prev, event)
        else:
            session = self.open_session(event, "implicit", foreground=True)
            session.exit_reason = event.exit_reason
            self.close(session, event.exit_reason, event.time_ms)

    def activity(self, event: Event) -> None:
        if self.open is not None:
            self.open.events.append(event)
        elif (
            self.prev is not None
            and self.ended_within_grace(self.prev, event)
            and self.prev.end_reason not in CUT_SHORT
            and not ids_differ(self.prev, event)
        ):
            self.prev_takes(self.prev, event)
        elif self.app_state == "background":
            self.open_session(event, "background", foreground=False)
        elif self.prev is not None and self.prev.end_reason in CUT_SHORT:
            self.open_session(event, "continuation", foreground=True)
        else:
            self.open_session(event, "implicit", foreground=True)

    def prev_takes(self, prev: _Session, event: Event) -> None:
        """What an event does to the session before it; `ended_at` stays."""
        prev.events.append(event)
        if event.kind is Kind.EXIT:
            if prev.exit_reason == "":
                prev.exit_reason = event.exit_reason
            if prev.end_reason in ("unclean_exit", "inactivity"):
                prev.end_reason = event.exit_reason
        elif event.kind in (Kind.CRASH, Kind.EXCEPTION, Kind.ANR) and prev.end_reason in (
            "unclean_exit",
            "inactivity",
        ):
            prev.end_reason = event.kind.label

    def ended_within_grace(self, prev: _Session, event: Event) -> bool:
        assert prev.ended_at_ms is not None
        return event.time_ms - prev.ended_at_ms <= self.policy.exit_grace_ms

    def open_session(self, event: Event, start_reason: str, *, foreground: bool) -> _Session:
        assert self.open is None
        session = _Session(start_reason, foreground, events=[event])
        if self.stitched is None or not self.stitched.takes(session, self.policy):
            self.stitched = _Stitched()
        self.stitched.members.append(session)
        session.stitched = self.stitched
        session.stitched_index = len(self.stitched.members)
        self.sessions.append(session)
        self.open = session
        return session

    def close(self, session: _Session, end_reason: str, ended_at_ms: int) -> None:
        assert session is self.open
        session.end_reason = end_reason
        session.ended_at_ms = ended_at_ms
        self.open, self.prev = None, session


def _report(app_id: str, device_id: str, session: _Session, quiet: bool) -> dict[str, Any]:
    """One session as the columns that analysts see; silence is a way to report and no event."""
    assert session.stitched is not None
    is_open = session.ended_at_ms is None
    ended_at_ms = session.last_ms if session.ended_at_ms is None else session.ended_at_ms
    row: dict[str, Any] = {
        "session_id": oracle_session_id(app_id, device_id, session.events[0].id),
        "status": "open" if is_open and not quiet else "closed",
        "state": "foreground" if session.foreground else "background",
        "start_reason": session.start_reason,
        "end_reason": "inactivity" if is_open and quiet else session.end_reason,
        "exit_reason": session.exit_reason,
        "cold_start": session.cold_start,
        "started_at_ms": session.started_at_ms,
        "ended_at_ms": ended_at_ms,
        "duration_ms": ended_at_ms - session.started_at_ms,
        "client_session_id": session.client_session_id,
        "stitched_session_id": oracle_session_id(app_id, device_id, session.stitched.members[0].events[0].id),
        "stitched_index": session.stitched_index,
        "user": session.user,
        "resource": session.events[0].resource,
        "event_count": len(session.events),
        "event_ids": [event.id for event in session.events],
    }
    for bit, counter in enumerate(COUNTERS):
        row[counter] = sum(1 for event in session.events if event.counters & (1 << bit))
    return row
