"""One device: input to state and rows. Pure; the caller makes state durable and emits the outbox."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.domain.event import Event
from pipeline.domain.fold_by_time import fold
from pipeline.domain.policy import Policy, covers
from pipeline.domain.session import Session
from pipeline.formats.native.events import Arrival
from pipeline.state import report
from pipeline.state.codec.session_codec import checkpoint
from pipeline.state.device_state import DeviceState
from pipeline.state.tail import mark_of

MAX_TEXT_BYTES = 2_000_000
"""Of distinct resources and users in a tail. A record may bring half a megabyte of them, and a state has to fit a
record of the changelog: a device that sends so much is restated less far back."""
HEAVY_CHARS = 1_000
"""Of the resource and user that a record's events share: from here it is worth to weigh the tail. Of shorter ones not
even 2,000 distinct ones reach that bound."""


class Copy(NamedTuple):
    """An event whose id its device had already."""

    offset: int
    place: int
    """Among the events that are taken of its record."""
    time_ms: int
    first_ms: int | None
    """The time of the event that came first; `UNTOLD` or None if that is not known."""


@dataclass(slots=True)
class Counts:
    """What happened to the events of a step."""

    accepted: int = 0
    late: int = 0
    """Of the accepted: came after a newer event of their device."""
    duplicates: int = 0
    copies: list[Copy] | None = field(default=None, compare=False)
    """The duplicates, one by one, of the records of one device; None if there are none."""
    unrestated: int = 0
    """Too late to change sessions; stored with all others, and part of them again after a rebuild."""
    set_aside: int = 0
    """Records of devices that are set aside: not read."""

    def add(self, other: Counts) -> None:
        """Add what another step counted."""
        self.accepted += other.accepted
        self.late += other.late
        self.duplicates += other.duplicates
        self.unrestated += other.unrestated
        self.set_aside += other.set_aside

    def take_back(self, other: Counts) -> None:
        """Take away what a step counted that is done again."""
        self.accepted -= other.accepted
        self.late -= other.late
        self.duplicates -= other.duplicates
        self.unrestated -= other.unrestated
        self.set_aside -= other.set_aside


def apply(state: DeviceState, arrivals: Sequence[Arrival], policy: Policy, counts: Counts) -> bool:
    """Fold records of one device, ascending by offset, into its state, in place.

    Records up to `state.applied_offset` are replays and change nothing. The rows to emit are in
    `state.outbox` afterwards; for a pure replay that is the outbox of the step that is being replayed.
    Returns whether anything was applied: only then must the state be written.
    """
    if not arrivals or arrivals[-1][0] <= state.applied_offset:
        return False
    if arrivals[0][0] <= state.applied_offset:
        arrivals = [arrival for arrival in arrivals if arrival[0] > state.applied_offset]
    state.outbox = []
    left: list[Session] = []
    final: list[Session] = []
    late = state.outdated or (
        # A version that came since may be of events that were folded without it.
        state.tail.last is not None and covers(policy, state.tail.last[0], state.applied_offset)
    )
    at = 0
    while at < len(arrivals):
        if not late:
            # The way that most records go, many at once; what comes next takes a closer look.
            at, state.arrived_ms, ready = state.tail.take_records(
                arrivals, at, state.arrived_ms, policy, HEAVY_CHARS, state.named
            )
            fold(state.head, ready, policy, left)
            counts.accepted += len(ready)
        if at < len(arrivals):
            late |= _admit_record(state, arrivals[at], policy, left, final, counts=counts, late=late)
            at += 1
    state.applied_offset = arrivals[-1][0]
    if late:
        _refold(state, policy, left)
        if state.outdated:
            report.forget(state)
            state.outdated = False
        report.dissolve(state, (*left, *final, *state.head.held))
    if final:
        report.finals(state, final)
        gone = {_identity(session) for session in final}
        left = [session for session in left if _identity(session) not in gone]
    report.changed(state, left)
    return True


def fall_silent(state: DeviceState, now_ms: int, clock_ms: int, policy: Policy) -> bool:
    """Report what time alone has decided; `state.outbox` holds the rows. Returns whether anything changed.

    `now_ms` decides idleness. Finality follows `clock_ms`, the latest record time of the partition: it limits
    what a late event can still do, so it must never run ahead of input that is merely delayed.
    """
    state.outbox = []
    changed = False
    silent_ms = clock_ms - state.arrived_ms
    is_idle = now_ms - state.arrived_ms >= policy.idle_timeout_ms
    # (Before it is forgotten, too: it may hold sessions that are not told as final, where its last record came after
    # the horizon and brought nothing.)
    is_over = silent_ms >= policy.restate_horizon_ms and (
        bool(state.tail) or silent_ms >= policy.state_ttl_ms
    )
    if state.outdated and (is_idle or is_over):
        _bring_up_to_date(state, policy)
        changed = True
    if is_idle and state.head.open is not None:
        changed |= report.silent(state)
    if is_over:
        final: list[Session] = []
        _compact(state, policy, final, late=False)
        report.finals(state, final)
        report.finals_held(state)
        changed = True
    return changed


def _bring_up_to_date(state: DeviceState, policy: Policy) -> None:
    """Fold anew what an older program folded, and tell all that is over again."""
    left: list[Session] = []
    _refold(state, policy, left)
    report.forget(state)
    state.outdated = False
    report.dissolve(state, (*left, *state.head.held))
    report.over(state, left)


def _admit_record(
    state: DeviceState,
    arrival: Arrival,
    policy: Policy,
    left: list[Session],
    final: list[Session],
    *,
    counts: Counts,
    late: bool,
) -> bool:
    """Put the events of one record in their places. Returns whether that makes the tail need folding again.

    `late` as in `_admit`.
    """
    offset, record_ms, events = arrival
    if record_ms - state.arrived_ms >= policy.restate_horizon_ms:
        _compact(state, policy, final, late=late)
        if record_ms - state.arrived_ms >= policy.state_ttl_ms and state.floor is not None:
            _begin_anew(state, left, final, late=late)
    state.arrived_ms = max(state.arrived_ms, record_ms)
    tail = state.tail
    copies: list[Copy] = []
    for place, event in enumerate(events):
        mark = mark_of(event.id)
        first_ms = tail.time_of(event.id, mark)
        if first_ms is not None or event.id in state.named:
            copies.append(Copy(offset, place, event.time_ms, first_ms))
        else:
            late |= _admit(state, event, mark, policy, left, counts=counts, late=late)
    if copies:
        counts.duplicates += len(copies)
        if counts.copies is None:
            counts.copies = copies
        else:
            counts.copies += copies
    # After each record, so that what is remembered never depends on how records were cut into batches.
    # (Each event is asked: in a rebuild they come as one record, though they are of many.)
    heavy = any(len(event.resource) + len(event.user) > HEAVY_CHARS for event in events)
    if tail.last and (
        heavy
        or tail.count > policy.restate_events
        or tail.first_ms < tail.last[0] - policy.restate_horizon_ms
    ):
        _trim(state, policy, final, heavy=heavy)
    return late


def _begin_anew(state: DeviceState, left: list[Session], final: list[Session], *, late: bool) -> None:
    """Forget a device that has been silent for `state_ttl`, as `Partition.tick` does. Its tail is empty already.

    Whether a tick or its next record comes first, what it had is told as final, and what comes is of a new device.
    `late` as in `_admit`.
    """
    if late:
        left.clear()
        state.head = checkpoint(state).copy()
        if state.outdated:
            report.forget(state)
            state.outdated = False
        report.dissolve(state, (*final, *state.head.held))
    report.over(state, left)
    report.finals(state, final)
    report.finals_held(state)
    left.clear()
    final.clear()
    state.forget()


def _admit(
    state: DeviceState,
    event: Event,
    mark: bytes,
    policy: Policy,
    left: list[Session],
    *,
    counts: Counts,
    late: bool,
) -> bool:
    """Put one event, which is not a duplicate and has this mark, in its place. Returns whether that makes the tail need
    folding again.

    `late` says that it needs so already: then the head is behind, and not worth stepping.
    """
    tail = state.tail
    newest = tail.last
    if newest is None:
        newest = state.floor
        in_order = newest is None or event[:4] > newest
    else:
        in_order = event > newest
    if in_order:
        if not late:
            fold(state.head, (event,), policy, left)
        tail.append(event, mark)
    elif _restatable(state, event, policy):
        tail.insert(event)
        counts.late += 1
    else:
        counts.unrestated += 1
        return False
    counts.accepted += 1
    return not in_order


def _restatable(state: DeviceState, event: Event, policy: Policy) -> bool:
    """Whether a late event is within the horizon, in time and in events after it.

    A function of the events accepted so far alone, never of how input was cut into batches.
    """
    tail = state.tail
    if tail.last is None or (state.floor is not None and event[:4] <= state.floor):
        return False
    if event.time_ms < tail.last[0] - policy.restate_horizon_ms:
        return False
    return len(tail) < policy.restate_events or (
        len(tail) - bisect_left(tail.thaw(), event) < policy.restate_events
    )


def _refold(state: DeviceState, policy: Policy, left: list[Session]) -> None:
    """Fold the tail again from the checkpoint; `left` becomes the sessions that it pushes out."""
    left.clear()
    state.head = checkpoint(state).copy()
    state.prev_compared = ()
    fold(state.head, state.tail.thaw(), policy, left)


def _identity(session: Session) -> tuple[str, int]:
    return session.first_event_id, session.started_at_ms


def _trim(state: DeviceState, policy: Policy, final: list[Session], *, heavy: bool) -> None:
    """Move the events that no late one may precede any more from the tail into the checkpoint."""
    tail = state.tail
    assert tail.last is not None, "an empty tail needs no trimming"
    too_old = tail.older_than(tail.last[0] - policy.restate_horizon_ms)
    count = max(too_old, len(tail) - policy.restate_events, _too_heavy(tail.thaw()) if heavy else 0)
    if count > 0:
        _move(state, count, policy, final)


def _too_heavy(tail: Sequence[Event]) -> int:
    """How many of the oldest events have to go for the texts of the others to stay within MAX_TEXT_BYTES."""
    texts: set[str] = set()
    size = 0
    for index in range(len(tail) - 1, -1, -1):
        for text in (tail[index].resource, tail[index].user):
            if text not in texts:
                texts.add(text)
                size += len(text.encode())
        if size > MAX_TEXT_BYTES:
            return index + 1
    return 0


def _compact(state: DeviceState, policy: Policy, final: list[Session], *, late: bool) -> None:
    """Move the whole tail into the checkpoint: the device has been silent for the horizon. `late` as in `_admit`."""
    if not state.tail:
        return
    before = len(final)
    _move(state, len(state.tail), policy, final)
    if not late and checkpoint(state) != state.head:
        # The policy has changed since. What is held stays as it was told, and sessions that only the new policy would
        # make are none: the next owner has nothing but the checkpoint, and what silence says is a function of the
        # state alone. (A rebuild goes by the new policy.)
        state.checkpoint = state.head.copy()
        state.named = state.head.names
        final[before:] = [
            session
            for session in final[before:]
            if session.first_event_id in state.written and session.first_event_id not in state.named
        ]


def _move(state: DeviceState, count: int, policy: Policy, final: list[Session]) -> None:
    before = checkpoint(state)
    moved = state.tail.take(count)
    fold(before, moved, policy, final)
    state.named = before.names
    state.floor = moved[-1][:4]
