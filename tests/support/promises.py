"""What the definition promises of any history, held against the package's fold and the oracle beside it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from pipeline.domain.event import AppState, Event, Kind
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from tests.support.oracle import Fold, drop_duplicates, in_order, oracle_fold, report
from tests.support.session_dicts import session_dict, without_events

APP, DEVICE = "org.example.app", "device-1"

Row = dict[str, Any]


def broken_promise(policy: Policy, arrivals: Sequence[Event], fold: Fold | None = None) -> str:
    """Which promise the package breaks on a history, and how; empty if it keeps them all.

    `arrivals` are in order of arrival, duplicates among them; a crash among them adds one to `crash_count`. `fold` is
    the oracle's after them, if it is there already.
    """
    fold = fold or oracle_fold(arrivals, policy)
    rows = rows_of(policy, arrivals)
    events = in_order(drop_duplicates(arrivals))
    return (
        differing(rows, [report(APP, DEVICE, session, quiet=True) for session in fold.sessions])
        or differing(rows, rows_of(policy, events), "order of arrival or duplicates matter: ")
        or assigned_otherwise(rows, events, fold)
        or counted_otherwise(rows, events)
    )


def rows_of(policy: Policy, arrivals: Sequence[Event]) -> list[Row]:
    """The package's sessions in the oracle's columns, without `event_ids`."""
    return [session_dict(APP, DEVICE, session) for session in sessions(APP, DEVICE, arrivals, policy)]


def differing(rows: list[Row], expected: list[Row], otherwise: str = "") -> str:
    """Where two lists of sessions differ: the first session, its columns as (found, expected)."""
    for place, (row, other) in enumerate(zip(rows, expected, strict=False)):
        plain = without_events(other)
        if row != plain:
            columns = {name: (row.get(name), plain.get(name)) for name in {**row, **plain}}
            shown = {name: both for name, both in columns.items() if both[0] != both[1]}
            return f"{otherwise}session {place} (found, expected): {shown}"
    if len(rows) != len(expected):
        return f"{otherwise}{len(rows)} sessions, expected {len(expected)}"
    return ""


def assigned_otherwise(rows: list[Row], events: Sequence[Event], fold: Fold) -> str:
    """ "An event belongs to the session with the greatest start not after it", "starts strictly increase, and no
    session starts in a millisecond in which the one before it still has an event".

    `events` are in order, each once.
    """
    starts = [row["started_at_ms"] for row in rows]
    if not all(before < after for before, after in pairwise(starts)):
        return f"starts do not strictly increase: {starts}"
    by_time: list[list[str]] = [[] for _ in rows]
    latest_ms = [0] * len(rows)
    for event in events:
        place = bisect_right(starts, event.time_ms) - 1
        if place >= 0:
            by_time[place].append(event.id)
            latest_ms[place] = event.time_ms
        elif event.kind is not Kind.PASSIVE:
            return f"{event.id} is before the first session and not passive"
    for place, session in enumerate(fold.sessions):
        by_fold = [event.id for event in session.events]
        if by_time[place] != by_fold:
            return f"session {place} has {by_time[place]} by time and {by_fold} by the fold"
        if len(by_fold) != rows[place]["event_count"]:
            return f"session {place} counts {rows[place]['event_count']} events and has {by_fold}"
        if place and latest_ms[place - 1] >= starts[place]:
            return f"session {place} starts in a millisecond of the one before it"
    return ""


def counted_otherwise(rows: list[Row], events: Sequence[Event]) -> str:
    """Each crash is counted once: in all sessions together as many as belong to a session."""
    first_ms = rows[0]["started_at_ms"] if rows else None
    crashes = sum(1 for e in events if e.counters & 1 and first_ms is not None and e.time_ms >= first_ms)
    counted = sum(row["crash_count"] for row in rows)
    return "" if counted == crashes else f"{crashes} crashes are counted {counted} times"


def shrunk(
    policy: Policy, arrivals: Sequence[Event], fails: Callable[[Policy, Sequence[Event]], bool]
) -> list[Event]:
    """A smaller history that still fails: without what does not matter, and plain where that does not matter."""
    events, before = list(arrivals), None
    while events != before:
        before = list(events)
        for place in reversed(range(len(events))):
            fewer = events[:place] + events[place + 1 :]
            if fails(policy, fewer):
                events = fewer
        for place, event in enumerate(events):
            for plain in _plainer(event):
                other = [*events[:place], plain, *events[place + 1 :]]
                if other != events and fails(policy, other):
                    events = other
                    break
    return events


def _plainer(event: Event) -> list[Event]:
    return [
        event._replace(seq=0, counters=event.counters & 1, resource="{}", user="", stated=AppState.UNKNOWN),
        event._replace(seq=0),
        event._replace(counters=0),
        event._replace(resource="{}"),
        event._replace(user=""),
        event._replace(stated=AppState.UNKNOWN),
        event._replace(client_session_id=""),
    ]


def told(arrivals: Sequence[Event]) -> str:
    """A history as the examples by hand write it, times in seconds after the earliest of them."""
    first_ms = min((event.time_ms for event in arrivals), default=0)
    return ";\n".join(_told(event, first_ms) for event in arrivals)


def _told(event: Event, first_ms: int) -> str:
    values = {
        "client": event.client_session_id,
        "seq": event.seq,
        "reason": event.exit_reason,
        "stated": "" if event.stated is AppState.UNKNOWN else event.stated.name.lower(),
        "counters": event.counters,
        "user": event.user,
        "resource": "" if event.resource == "{}" else event.resource,
    }
    words = [f"{name}={value}" for name, value in values.items() if value]
    return " ".join([f"{event.id}@{(event.time_ms - first_ms) / 1000:g}", event.kind.label, *words])
