"""From where on the sessions of a device can be computed again, where old events of its app are no longer kept."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.domain.policy import Policy
from pipeline.storage.stored_session import Facts

FROM_THE_FIRST, NEVER = -(1 << 62), 1 << 62
"""Before and after every time."""


def trusted_from(
    event_times_ms: Iterable[int], stored: Iterable[Facts], kept_from_ms: int | None, policy: Policy
) -> int:
    """The time from which on sessions that begin there are those of the kept events, Unix milliseconds. Pure.

    `event_times_ms` are the kept events of the device, `stored` all of its stored sessions; from `kept_from_ms` on no
    event of the app is missing (None: none ever was). A session that began before may have lost events, and what is
    left of it would look like another session; the next ones may be stitched to it. So the first one to trust begins
    after a silence that ends every session and every stitched one, whatever was before. A device that has nothing from
    before has lost nothing.
    """
    if kept_from_ms is None:
        return FROM_THE_FIRST
    times = sorted(event_times_ms)
    earlier = [facts["last_event_at"] for facts in stored if facts["started_at"] < kept_from_ms]
    if not earlier and (not times or times[0] >= kept_from_ms):
        return FROM_THE_FIRST
    silence_ms = max(policy.inactivity_timeout_ms, policy.stitch_gap_ms) + policy.exit_grace_ms
    latest = max([kept_from_ms, *earlier])
    for time_ms in times:
        if time_ms >= kept_from_ms:
            if time_ms - latest > silence_ms:
                return time_ms
            latest = max(latest, time_ms)
    return NEVER
