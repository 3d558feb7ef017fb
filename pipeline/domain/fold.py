"""The fold: events of one device, in order, to sessions (SESSIONS.md, "The fold").

`step` applies one event to a state in place. It is a pure function of state, event and policy: no clock, no
randomness, and nothing outside its arguments is touched. Callers that need the state from before copy it first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeline.domain.event import AppState, Event, Kind
from pipeline.domain.fold_state import FoldState
from pipeline.domain.policy import Policy
from pipeline.domain.session import End, Session, Start, as_quiet, note_user
from pipeline.domain.stitching import join, note_end
from pipeline.domain.taking import COUNTED, count, ids_differ, ids_equal, note_exit, sharpen, take

_ACTIVITY = Kind.ACTIVITY

ENDS_THAT_CONTINUE = frozenset((End.MANUAL, End.INACTIVITY, End.MAX_DURATION, End.SUPERSEDED))
"""After these the app went on: the next activity is a continuation, and nothing trails."""


def step(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    """Apply the next event of the order to the state, in place.

    Appends to `left` the sessions that this event pushed out of the state: nothing later changes them.
    """
    opened, kind, time_ms = state.open, event.kind, event.time_ms
    if kind is Kind.PASSIVE:
        session = opened or state.prev
        if session is not None:
            count(session, event)
        return
    if opened is not None and time_ms - opened.last_ms > policy.inactivity_timeout_ms:
        _close(state, End.INACTIVITY, opened.last_ms, left)
        opened = None
    if kind is Kind.ACTIVE:
        kind = _seen_in_front(state, event)
    if opened is not None:
        if time_ms == opened.last_ms:
            # One session a device and millisecond: what comes at the open session's last time is its own.
            if kind is Kind.LAUNCH or kind is Kind.FOREGROUND:
                _absorb(state, opened, event)
                return
        elif kind is _ACTIVITY:
            _end_by_age_or_identity(state, opened, event, policy, left)
    elif state.prev is not None and time_ms == state.prev.last_ms and _joins_prev(state, event):
        return
    _BY_KIND[kind](state, event, policy, left)


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
        opened.last_ms = time_ms  # from here on what `take` does, written out for speed
        opened.event_count += 1
        if user and user != opened.user:
            note_user(opened, user)
        if counters:
            for index in COUNTED[counters]:
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


def _seen_in_front(state: FoldState, event: Event) -> Kind:
    """What an ACTIVE event is: the app comes to the front, or a window of it does while it is there already."""
    opened = state.open
    if opened is not None and opened.foreground:
        if event.client_session_id and event.client_session_id == opened.client_session_id:
            state.shown_ms = event.time_ms
        return _ACTIVITY
    return _ACTIVITY if state.app_state is AppState.FOREGROUND else Kind.FOREGROUND


def _absorb(state: FoldState, opened: Session, event: Event) -> None:
    """A start in the open session's last millisecond."""
    if event.kind is Kind.LAUNCH:
        opened.cold_start = True
    state.app_state = event.stated if event.kind is Kind.LAUNCH and event.stated else AppState.FOREGROUND
    take(state, opened, event)


def _joins_prev(state: FoldState, event: Event) -> bool:
    """None open, and the event comes at the last time of the session before: that one takes it."""
    prev = state.prev
    assert prev is not None
    if event.kind in (Kind.LAUNCH, Kind.FOREGROUND, Kind.ACTIVE):
        # Never in order: whatever gives `prev` its last event while none is open has a higher rank.
        return False
    if event.kind is Kind.BACKGROUND:
        state.app_state = AppState.BACKGROUND
    elif event.kind in (Kind.CRASH, Kind.EXCEPTION, Kind.ANR):
        sharpen(prev, event.kind.label)
        state.app_state = AppState.UNKNOWN
    elif event.kind is Kind.EXIT:
        note_exit(prev, event)
        state.app_state = AppState.UNKNOWN
    take(state, prev, event)
    return True


def _end_by_age_or_identity(
    state: FoldState, opened: Session, event: Event, policy: Policy, left: list[Session]
) -> None:
    if event.time_ms - opened.started_at_ms >= policy.max_duration_ms:
        _close(state, End.MAX_DURATION, opened.last_ms, left)
    elif ids_differ(opened, event) and event.client_session_id not in state.known:
        _close(state, End.SUPERSEDED, opened.last_ms, left)


def _on_launch(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    opened = state.open
    visible = event.stated is not AppState.BACKGROUND
    state.app_state = event.stated or AppState.FOREGROUND
    if (
        opened is not None
        and event.time_ms - opened.started_at_ms <= policy.launch_grace_ms
        and not opened.cold_start
    ):
        opened.cold_start = True
        opened.foreground |= visible
        if opened.start_reason != Start.FOREGROUND:
            opened.start_reason = Start.LAUNCH
        if state.prev is not None and state.prev.end_reason == End.SUPERSEDED:
            state.prev.end_reason = End.UNCLEAN_EXIT
        take(state, opened, event)
        return
    if opened is not None:
        _close(state, End.UNCLEAN_EXIT, opened.last_ms, left)
    _open(state, event, policy, Start.LAUNCH, foreground=visible).cold_start = True


def _on_foreground(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    opened = state.open
    if opened is None and _gave_way(state, event, policy):
        _reopen(state, event)
        return
    state.app_state = AppState.FOREGROUND
    if opened is not None:
        if event.time_ms - opened.started_at_ms <= policy.launch_grace_ms and not ids_differ(opened, event):
            opened.foreground = True
            if opened.start_reason != Start.LAUNCH:
                opened.start_reason = Start.FOREGROUND
            take(state, opened, event)
            return
        if opened.foreground:
            _close(state, End.UNCLEAN_EXIT, opened.last_ms, left)
        else:
            _close(state, End.FOREGROUND, event.time_ms, left)
    _open(state, event, policy, Start.FOREGROUND)


def _gave_way(state: FoldState, event: Event, policy: Policy) -> bool:
    """Whether the session before ended only because one window gave way to the one that comes now."""
    prev = state.prev
    return (
        prev is not None
        and prev.foreground
        and prev.end_reason == End.BACKGROUND
        and event.time_ms - prev.ended_at_ms <= policy.flicker_grace_ms
        and state.app_state is AppState.BACKGROUND
        and not ids_differ(prev, event)
    )


def _reopen(state: FoldState, event: Event) -> None:
    """The session before was not over. (The one before that is out of reach: it has left the state.)"""
    session = state.prev
    assert session is not None
    session.end_reason, session.ended_at_ms = "", 0
    state.open, state.prev = session, None
    state.app_state = AppState.FOREGROUND
    take(state, session, event)


def _on_background(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    opened, prev = state.open, state.prev
    if (
        opened is not None
        and state.shown_ms is not None
        and event.time_ms - state.shown_ms <= policy.flicker_grace_ms
    ):
        # The window that was left went; another one is in front.
        take(state, opened, event)
        return
    state.app_state = AppState.BACKGROUND
    if opened is not None:
        take(state, opened, event)
        if opened.foreground:
            _close(state, End.BACKGROUND, event.time_ms, left)
    elif prev is not None and (
        prev.end_reason == End.INACTIVITY or event.time_ms - prev.ended_at_ms <= policy.exit_grace_ms
    ):
        take(state, prev, event)
    else:
        _open(state, event, policy, Start.IMPLICIT)
        _close(state, End.BACKGROUND, event.time_ms, left)


def _on_session_end(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    if _names_another(state, event):
        _take_for_another(state, event)
    elif state.open is not None:
        take(state, state.open, event)
        _close(state, End.MANUAL, event.time_ms, left)
    elif state.prev is not None:
        take(state, state.prev, event)
    else:
        _open(state, event, policy, Start.IMPLICIT)
        _close(state, End.MANUAL, event.time_ms, left)


def _on_failure(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    if _names_another(state, event):
        _take_for_another(state, event)
        return
    reason, prev = event.kind.label, state.prev
    if state.open is not None:
        take(state, state.open, event)
        _close(state, reason, event.time_ms, left)
    elif prev is not None and (
        event.time_ms - prev.ended_at_ms <= policy.exit_grace_ms or ids_equal(prev, event)
    ):
        sharpen(prev, reason)
        take(state, prev, event)
    else:
        _open(state, event, policy, Start.IMPLICIT, foreground=not _in_background(state, event))
        _close(state, reason, event.time_ms, left)
    state.app_state = AppState.UNKNOWN


def _on_exit(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    if _names_another(state, event):
        _take_for_another(state, event)
        return
    state.app_state = AppState.UNKNOWN
    if state.open is None and state.prev is not None:
        note_exit(state.prev, event)
        take(state, state.prev, event)
        return
    if state.open is not None:
        take(state, state.open, event)
    opened = state.open or _open(state, event, policy, Start.IMPLICIT)
    opened.exit_reason = event.exit_reason
    _close(state, event.exit_reason, event.time_ms, left)


def _on_activity(state: FoldState, event: Event, policy: Policy, left: list[Session]) -> None:
    if state.open is not None:
        take(state, state.open, event)
        return
    prev = state.prev
    goes_on = prev is not None and prev.end_reason in ENDS_THAT_CONTINUE
    if (
        prev is not None
        and not goes_on
        and event.time_ms - prev.ended_at_ms <= policy.exit_grace_ms
        and not ids_differ(prev, event)
    ):
        take(state, prev, event)
        return
    if _in_background(state, event):
        _open(state, event, policy, Start.BACKGROUND, foreground=False)
    else:
        _open(state, event, policy, Start.CONTINUATION if goes_on else Start.IMPLICIT)
    state.app_state = event.stated or state.app_state


_BY_KIND: dict[Kind, Callable[[FoldState, Event, Policy, list[Session]], None]] = {
    Kind.FOREGROUND: _on_foreground,
    Kind.LAUNCH: _on_launch,
    Kind.ACTIVITY: _on_activity,
    Kind.SESSION_END: _on_session_end,
    Kind.BACKGROUND: _on_background,
    Kind.CRASH: _on_failure,
    Kind.EXCEPTION: _on_failure,
    Kind.ANR: _on_failure,
    Kind.EXIT: _on_exit,
}
"""ACTIVE is one of these, and PASSIVE takes no part."""


def _names_another(state: FoldState, event: Event) -> bool:
    """Whether an end is of a session that the device had before the open one: what the next process reports."""
    opened = state.open
    return opened is not None and ids_differ(opened, event) and event.client_session_id in state.known


def _take_for_another(state: FoldState, event: Event) -> None:
    """An end that names another session ends nothing; where that session is the one before, it is told so."""
    opened, prev = state.open, state.prev
    assert opened is not None
    if prev is None or prev.client_session_id != event.client_session_id:
        count(opened, event)
        return
    count(opened, event, prev)
    if event.kind is Kind.SESSION_END:
        return
    reason = event.exit_reason if event.kind is Kind.EXIT else event.kind.label
    if prev.end_reason == End.SUPERSEDED:
        prev.end_reason = reason
    sharpen(prev, reason)
    if event.kind is Kind.EXIT and not prev.exit_reason:
        prev.exit_reason = reason


def _in_background(state: FoldState, event: Event) -> bool:
    """Whether a session that this event opens is a background one."""
    return (event.stated or state.app_state) is AppState.BACKGROUND


def _open(
    state: FoldState, event: Event, policy: Policy, reason: Start, *, foreground: bool = True
) -> Session:
    """Open a session at an event and give it the event."""
    session = Session(event.id, event.time_ms, reason, foreground, event.resource, last_ms=event.time_ms)
    state.stitched = join(state.stitched, session, policy)
    state.open = session
    take(state, session, event)
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
    state.prev, state.open, state.shown_ms = session, None, None
