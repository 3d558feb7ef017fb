"""States that an older program left, under the first definition of a session, and what they are worth under this one.

Their recent events are folded anew with the next input, or once their device has been silent, and all rows in reach
are told again. What the older program told after it last wrote the state whole is not known: its steps hold the input
alone. So what it may have told is taken back where it is not a session.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.event import Event, Kind
from pipeline.domain.policy import Policy
from pipeline.formats.native.events import Arrival
from pipeline.state.device import Counts, apply
from pipeline.state.device_state import DeviceState, Report, Written

_OPENS = frozenset((Kind.LAUNCH, Kind.FOREGROUND))


def take_steps(state: DeviceState, records: Sequence[Sequence[Arrival]], policy: Policy) -> None:
    """Apply the steps of an older program to the state that they build on, and note what it may have told."""
    had, told, newest = {event.id for event in state.tail}, dict(state.written), state.tail.last
    opened = state.head.open
    began_ms = opened.started_at_ms if opened is not None else None
    state.outdated = False
    for each in records:
        apply(state, each, policy, Counts())
    state.outdated = True
    events = state.tail.thaw()
    if newest is not None and any(event[:4] < newest[:4] and event.id not in had for event in events):
        had = set()  # a late one may have made a session begin with an event that was there already
    for index, event in enumerate(events):
        if event.id in state.written:
            continue
        if event.id in told or (event.id not in had and may_begin(events, index, began_ms, policy)):
            state.written[event.id] = Written(b"", event.time_ms, Report.CLOSED, False, state.arrived_ms)


def may_begin(events: Sequence[Event], index: int, began_ms: int | None, policy: Policy) -> bool:
    """Whether under the first definition a session may have begun with an event, given those before it.

    It surely did not with activity that comes soon after other activity under the same SDK session id, none of which
    comes soon after an end: that one left a session open. `began_ms` is when the session began that was open before all
    of them, if one was.
    """
    event = events[index]
    if index == 0 or event.kind is not Kind.ACTIVITY:
        return True
    before = events[index - 1]
    if event.time_ms - before.time_ms > policy.inactivity_timeout_ms:
        return True
    if event.time_ms - (events[0].time_ms if began_ms is None else began_ms) >= policy.max_duration_ms:
        return True
    if event.client_session_id != before.client_session_id:
        return True
    if before.kind in _OPENS:
        # A launch joins the session that is there, whatever its SDK session id; activity after it does not.
        return before.kind is Kind.LAUNCH and bool(event.client_session_id)
    for earlier in reversed(events[:index]):
        if before.time_ms - earlier.time_ms > policy.exit_grace_ms:
            return False
        if earlier.kind not in (Kind.ACTIVITY, *_OPENS):
            return True
    return False
