"""The fold: events of one device, in order, to sessions (SESSIONS.md, "The fold").

`step` applies one event to a state in place. It is a pure function of state, event and policy: no clock, no
randomness, and nothing outside its arguments is touched. Callers that need the state from before copy it first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeline.domain.event import COUNTERS, AppState, Event, Kind
from pipeline.domain.fold_state import FoldState
from pipeline.domain.policy import Policy
from pipeline.domain.session import End, Session, Start, as_quiet
from pipeline.domain.stitching import join, note_end

_ACTIVITY = Kind.ACTIVITY

ENDS_THAT_CONTINUE = frozenset((End.MANUAL, End.INACTIVITY, End.MAX_DURATION, End.SUPERSEDED))
"""After these the app went on: the next activity is a continuation, and nothing trails."""

ENDS_BY_GUESS = frozenset((End.UNCLEAN_EXIT, End.INACTIVITY))
"""Nothing said why the session ended; whatever does so later is believed."""


def step(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    """Apply the next event of the order to the state, in place.

    Appends to `left` the sessions that this event pushed out of the state: nothing later changes them.
    """
    opened = state.open
    if opened is not None:
        if event.time_ms == opened.last_ms:
            _step_same_millisecond(state, opened, event, policy, left)
            return
        _end_by_time_or_identity(state, opened, event, policy, left)
    elif state.prev is not None and event.time_ms == state.prev.last_ms and _joins_prev(state, event):
        return
    _BY_KIND[event.kind](state, event, policy, left)


def step_all(state: FoldState, events: Iterable[Event], policy: Policy, left: list[Session]) -> None:
    """`step` for each of the next events of the order; a short way for activity that the open session just takes."""
    opened = state.open
    timeout_ms, longest_ms = policy.inactivity_timeout_ms, policy.max_duration_ms
    for event in events:
        time_ms, _, _, _, kind, client, _, counters, _, user, _ = event
        if (
            kind is not _ACTIVITY
            or opened is None
            or time_ms - opened.last_ms > timeout_ms
            or time_ms - opened.started_at_ms >= longest_ms
            or (client and client != opened.client_session_id)
        ):
            step(state, event, policy, left)
            opened = state.open
            continue
        opened.last_ms = time_ms  # from here on what `_take` does, written out for speed
        opened.event_count += 1
        if user:
            opened.user = user
        if counters:
            for index in _COUNTED[counters]:
                opened.counters[index] += 1


def sessions(
    app_id: str, device_id: str, events: Iterable[Event], policy: Policy, *, quiet: bool = True
) -> list[Session]:
    """The sessions of one device, in order of start, from its events in order of arrival.

    If several events have one id, the first counts. With `quiet` the session still open is reported as ended
    by inactivity; without, it is open and its `ended_at_ms` is the time of its latest event.
    """
    first_seen: dict[str, Event] = {}
    for event in events:
        first_seen.setdefault(event.id, event)
    state, result = FoldState(), list[Session]()
    step_all(state, sorted(first_seen.values()), policy, result)
    if state.prev:
        result.append(state.prev)
    if state.open:
        result.append(as_quiet(state.open) if quiet else state.open)
    return result


def _step_same_millisecond(
    state: FoldState, opened: Session, event: Event, policy: Policy, left: list[Session]
) -> None:
    """One session a device and millisecond: what comes at the open session's last time is its own."""
    if event.kind is Kind.LAUNCH:
        opened.cold_start = True
        _take(opened, event)
        state.app_state = AppState.FOREGROUND
    elif event.kind is Kind.FOREGROUND:
        _take(opened, event)
        state.app_state = AppState.FOREGROUND
    else:
        _BY_KIND[event.kind](state, event, policy, left)


def _joins_prev(state: FoldState, event: Event) -> bool:
    """None open, and the event comes at the last time of the session before: that one takes it."""
    prev = state.prev
    assert prev is not None
    if event.kind in (Kind.LAUNCH, Kind.FOREGROUND):
        # Never in order: whatever gives `prev` its last event while none is open has a higher rank.
        return False
    if event.kind is Kind.BACKGROUND:
        state.app_state = AppState.BACKGROUND
    elif event.kind in (Kind.CRASH, Kind.EXCEPTION, Kind.ANR):
        _sharpen(prev, event.kind.label)
        state.app_state = AppState.UNKNOWN
    elif event.kind is Kind.EXIT:
        _note_exit(prev, event)
        state.app_state = AppState.UNKNOWN
    _take(prev, event)
    return True


def _end_by_time_or_identity(
    state: FoldState, opened: Session, event: Event, policy: Policy, left: list[Session]
) -> None:
    if event.time_ms - opened.last_ms > policy.inactivity_timeout_ms:
        _close(state, End.INACTIVITY, opened.last_ms, left)
    elif event.kind is Kind.ACTIVITY:
        if event.time_ms - opened.started_at_ms >= policy.max_duration_ms:
            _close(state, End.MAX_DURATION, opened.last_ms, left)
        elif _ids_differ(opened, event):
            _close(state, End.SUPERSEDED, opened.last_ms, left)


def _on_launch(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    opened = state.open
    state.app_state = AppState.FOREGROUND
    if (
        opened is not None
        and event.time_ms - opened.started_at_ms <= policy.launch_grace_ms
        and not opened.cold_start
    ):
        opened.cold_start = True
        opened.foreground = True
        if opened.start_reason != Start.FOREGROUND:
            opened.start_reason = Start.LAUNCH
        if state.prev is not None and state.prev.end_reason == End.SUPERSEDED:
            state.prev.end_reason = End.UNCLEAN_EXIT
        _take(opened, event)
        return
    if opened is not None:
        _close(state, End.UNCLEAN_EXIT, opened.last_ms, left)
    _open(state, event, policy, Start.LAUNCH).cold_start = True


def _on_foreground(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    opened = state.open
    state.app_state = AppState.FOREGROUND
    if opened is not None:
        if event.time_ms - opened.started_at_ms <= policy.launch_grace_ms and not _ids_differ(opened, event):
            opened.foreground = True
            if opened.start_reason != Start.LAUNCH:
                opened.start_reason = Start.FOREGROUND
            _take(opened, event)
            return
        if opened.foreground:
            _close(state, End.UNCLEAN_EXIT, opened.last_ms, left)
        else:
            _close(state, End.FOREGROUND, event.time_ms, left)
    _open(state, event, policy, Start.FOREGROUND)


def _on_background(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    opened, prev = state.open, state.prev
    state.app_state = AppState.BACKGROUND
    if opened is not None:
        _take(opened, event)
        if opened.foreground:
            _close(state, End.BACKGROUND, event.time_ms, left)
    elif prev is not None and (
        prev.end_reason == End.INACTIVITY or event.time_ms - prev.ended_at_ms <= policy.exit_grace_ms
    ):
        _take(prev, event)
    else:
        _open(state, event, policy, Start.IMPLICIT)
        _close(state, End.BACKGROUND, event.time_ms, left)


def _on_session_end(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    if state.open is not None:
        _take(state.open, event)
        _close(state, End.MANUAL, event.time_ms, left)
    elif state.prev is not None:
        _take(state.prev, event)
    else:
        _open(state, event, policy, Start.IMPLICIT)
        _close(state, End.MANUAL, event.time_ms, left)


def _on_failure(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    reason, prev = event.kind.label, state.prev
    if state.open is not None:
        _take(state.open, event)
        _close(state, reason, event.time_ms, left)
    elif prev is not None and event.time_ms - prev.ended_at_ms <= policy.exit_grace_ms:
        _sharpen(prev, reason)
        _take(prev, event)
    else:
        in_background = state.app_state is AppState.BACKGROUND
        _open(state, event, policy, Start.IMPLICIT, foreground=not in_background)
        _close(state, reason, event.time_ms, left)
    state.app_state = AppState.UNKNOWN


def _on_exit(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    state.app_state = AppState.UNKNOWN
    if state.open is None and state.prev is not None:
        _note_exit(state.prev, event)
        _take(state.prev, event)
        return
    if state.open is not None:
        _take(state.open, event)
    opened = state.open or _open(state, event, policy, Start.IMPLICIT)
    opened.exit_reason = event.exit_reason
    _close(state, event.exit_reason, event.time_ms, left)


def _on_activity(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    if state.open is not None:
        _take(state.open, event)
        return
    prev = state.prev
    goes_on = prev is not None and prev.end_reason in ENDS_THAT_CONTINUE
    if (
        prev is not None
        and not goes_on
        and event.time_ms - prev.ended_at_ms <= policy.exit_grace_ms
        and not _ids_differ(prev, event)
    ):
        _take(prev, event)
    elif state.app_state is AppState.BACKGROUND:
        _open(state, event, policy, Start.BACKGROUND, foreground=False)
    else:
        _open(state, event, policy, Start.CONTINUATION if goes_on else Start.IMPLICIT)


_BY_KIND: dict[Kind, Callable[[FoldState, Event, Policy, list[Session]], None]] = {
    Kind.LAUNCH: _on_launch,
    Kind.FOREGROUND: _on_foreground,
    Kind.BACKGROUND: _on_background,
    Kind.SESSION_END: _on_session_end,
    Kind.CRASH: _on_failure,
    Kind.EXCEPTION: _on_failure,
    Kind.ANR: _on_failure,
    Kind.EXIT: _on_exit,
    Kind.ACTIVITY: _on_activity,
    Kind.ACTIVE: _on_activity,
    Kind.PASSIVE: _on_activity,
}


def _open(
    state: FoldState, event: Event, policy: Policy, reason: Start, *, foreground: bool = True
) -> Session:
    """Open a session at an event and give it the event."""
    session = Session(event.id, event.time_ms, reason, foreground, event.resource, last_ms=event.time_ms)
    state.stitched = join(state.stitched, session, policy)
    state.open = session
    _take(session, event)
    return session


def _close(state: FoldState, reason: str, at_ms: int, left: list[Session]) -> None:
    """Close the open session; it becomes the one before, and that one leaves the state."""
    session = state.open
    assert session is not None
    session.end_reason = str(reason)
    session.ended_at_ms = at_ms
    note_end(state.stitched, session)
    if state.prev is not None:
        left.append(state.prev)
    state.prev, state.open = session, None


_COUNTED = [
    tuple(index for index in range(len(COUNTERS)) if bits >> index & 1) for bits in range(1 << len(COUNTERS))
]
"""Bit set over COUNTERS to the indexes in it."""


def _take(session: Session, event: Event) -> None:
    """Make an event one of the session's."""
    session.last_ms = event.time_ms
    session.event_count += 1
    if event.user:
        session.user = event.user
    if event.client_session_id and not session.client_session_id:
        session.client_session_id = event.client_session_id
    if event.counters:
        for index in _COUNTED[event.counters]:
            session.counters[index] += 1


def _ids_differ(session: Session, event: Event) -> bool:
    """Both have an SDK session id, and not the same."""
    return (
        bool(session.client_session_id)
        and bool(event.client_session_id)
        and session.client_session_id != event.client_session_id
    )


def _sharpen(prev: Session, reason: str) -> None:
    if prev.end_reason in ENDS_BY_GUESS:
        prev.end_reason = reason


def _note_exit(prev: Session, event: Event) -> None:
    if not prev.exit_reason:
        prev.exit_reason = event.exit_reason
    _sharpen(prev, event.exit_reason)
