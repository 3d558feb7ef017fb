"""From where on the sessions of a device can be computed again, where old events of its app are no longer kept."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.domain.event import Event, Kind
from pipeline.domain.policy import Policy, longest_silence_ms
from pipeline.storage.stored_session import Facts

FROM_THE_FIRST, NEVER = -(1 << 62), 1 << 62
"""Before and after every time."""
_TELLING = frozenset({Kind.FOREGROUND, Kind.BACKGROUND, Kind.EXIT})


def trusted_from(
    events: Iterable[Event],
    rebuilt: Iterable[Facts],
    stored: Iterable[Facts],
    kept_from_ms: int | None,
    policy: Policy,
) -> int:
    """The time from which on sessions that begin there are those of the kept events, Unix milliseconds. Pure.

    `events` are those of the device that are kept and `rebuilt` the sessions that they make, `stored` all of its stored
    sessions; from `kept_from_ms` on no event of the app is missing (None: none ever was). A session that began before
    may have lost events, and what is left of it would look like another session; the next ones may be stitched to it,
    and what the app was doing is not known. So the first one to trust begins after a silence that ends every session
    and every stitched one, whatever was before, once events have said whether the app is in front and which session of
    the SDK's it is; and there is one such before it, since why a session began follows from how the one before ended. A
    device that has nothing from before has lost nothing.
    """
    if kept_from_ms is None:
        return FROM_THE_FIRST
    known = sorted(events)
    times = [event.time_ms for event in known]
    sessions = sorted((facts["started_at"], facts["last_event_at"]) for facts in stored)
    if (times or sessions) and min(*times[:1], *(start for start, _ in sessions[:1]), NEVER) >= kept_from_ms:
        return FROM_THE_FIRST
    silence_ms = longest_silence_ms(policy)
    begins = {facts["started_at"] for facts in rebuilt}
    latest_ms, number, is_one_before = kept_from_ms, 0, False
    knows_state, knows_id = False, not any(event.client_session_id for event in known)
    for event in known:
        if event.time_ms < kept_from_ms:
            continue
        # A session that is left as it is has all that lies in it.
        while number < len(sessions) and sessions[number][0] < event.time_ms:
            latest_ms = max(latest_ms, sessions[number][1])
            number += 1
        is_after_silence = event.time_ms - latest_ms > silence_ms and event.time_ms in begins
        if is_after_silence and knows_state and knows_id:
            if is_one_before:
                return event.time_ms
            is_one_before = True
        latest_ms = max(latest_ms, event.time_ms)
        knows_state = knows_state or event.kind in _TELLING
        knows_id = knows_id or bool(event.client_session_id)
    return NEVER
