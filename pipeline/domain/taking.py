"""What an event does to the session that takes it."""

from __future__ import annotations

from pipeline.domain.event import COUNTERS, Event
from pipeline.domain.fold_state import MAX_KNOWN, FoldState
from pipeline.domain.session import End, Session, note_user

ENDS_BY_GUESS = frozenset((End.UNCLEAN_EXIT, End.INACTIVITY))
"""Nothing said why the session ended; whatever does so later is believed."""

COUNTED = [
    tuple(index for index in range(len(COUNTERS)) if bits >> index & 1) for bits in range(1 << len(COUNTERS))
]
"""Bit set over COUNTERS to the indexes in it."""


def take(state: FoldState, session: Session, event: Event) -> None:
    """Make an event one of the session's."""
    session.last_ms = event.time_ms
    if event.client_session_id and not session.client_session_id:
        client = session.client_session_id = event.client_session_id
        known = state.known
        if not known or known[-1] != client:
            if client in known:
                known = tuple(each for each in known if each != client)
            state.known = (*known[1 - MAX_KNOWN :], client)
    count(session, event)


def count(session: Session, event: Event, for_another: Session | None = None) -> None:
    """Count an event of the session; what it counts besides, `for_another` if that is given."""
    session.event_count += 1
    if event.user and event.user != session.user:
        note_user(session, event.user)
    if event.counters:
        counters = (for_another or session).counters
        for index in COUNTED[event.counters]:
            counters[index] += 1


def ids_differ(session: Session, event: Event) -> bool:
    """Both have an SDK session id, and not the same."""
    return (
        bool(session.client_session_id)
        and bool(event.client_session_id)
        and session.client_session_id != event.client_session_id
    )


def ids_equal(session: Session, event: Event) -> bool:
    """Both have an SDK session id, and it is the same."""
    return bool(event.client_session_id) and session.client_session_id == event.client_session_id


def sharpen(prev: Session, reason: str) -> None:
    if prev.end_reason in ENDS_BY_GUESS:
        prev.end_reason = reason


def note_exit(prev: Session, event: Event) -> None:
    if not prev.exit_reason:
        prev.exit_reason = event.exit_reason
    sharpen(prev, event.exit_reason)
