"""Hypothesis strategies for the events of one device and for the ways in which they can arrive.

What they send is in tests/support/phrases.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hypothesis import strategies as st

from pipeline.domain.event import AppState, Event, Kind, make_event
from pipeline.domain.policy import Policy
from tests.support.phrases import (
    COUNTED,
    CROWD,
    EXIT_REASONS,
    NOISE,
    ORIGINS,
    PHRASES,
    POLICIES,
    RESOURCES,
    SMALL_POLICY,
    USERS,
    Clock,
    Phrase,
    SdkIds,
    Step,
    distances,
)


@dataclass(frozen=True, slots=True)
class Case:
    """The events of one device, each id once, in any order, and the policy that they were aimed at."""

    policy: Policy
    events: list[Event]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that are worked on together."""

    records: tuple[tuple[Event, ...], ...]
    """Each record with its events, in order of arrival."""
    silence_after: bool
    """After this batch the device is reported as silent."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One way in which events can arrive."""

    batches: tuple[Batch, ...]

    @property
    def arrivals(self) -> list[Event]:
        """All events in order of arrival, the resent ones among them."""
        return [event for batch in self.batches for record in batch.records for event in record]


@dataclass(frozen=True, slots=True)
class DeliveredCase:
    """A case and one way in which it arrives. The case has those events that arrive first under their id."""

    case: Case
    delivery: Delivery


_PHRASE = st.one_of(st.sampled_from(PHRASES), st.sampled_from(PHRASES), st.sampled_from(NOISE))
_DETAILS = st.tuples(
    st.sampled_from("cba"),
    st.sampled_from((0, 0, 0, 1, 2)),
    # Mostly as the phrase has it.
    st.sampled_from((None,) * 12 + ("none", "old", "other")),
    st.integers(0, 9),
    st.sampled_from((AppState.UNKNOWN,) * 8 + (AppState.FOREGROUND, AppState.BACKGROUND)),
    st.sampled_from(EXIT_REASONS),
    st.sampled_from(COUNTED),
    st.sampled_from(RESOURCES),
)
_ORIGINS = st.sampled_from(ORIGINS)


def policies() -> st.SearchStrategy[Policy]:
    """Small policies: equal bounds, bounds that all differ, bounds in an unusual order, no graces."""
    return st.sampled_from(POLICIES)


@cache
def _distances(policy: Policy) -> dict[str, st.SearchStrategy[int]]:
    """Distances in time, by pace."""
    return {pace: st.sampled_from(some) for pace, some in distances(policy).items()}


@st.composite
def _steps(draw: st.DrawFn, phrase: Phrase, policy: Policy) -> list[tuple[str, int]]:
    """For each event of a phrase the origin of its time and the distance from there."""
    by_pace, followers = _distances(policy), len(phrase.steps) - 1
    first = (draw(_ORIGINS), draw(by_pace["first"]))
    if phrase.pace == "long":
        following = [draw(by_pace["long"])] * followers
    else:
        following = [draw(by_pace[phrase.pace]) for _ in range(followers)]
    return [first, *(("latest", distance_ms) for distance_ms in following)]


@st.composite
def event_sets(draw: st.DrawFn, policy: Policy = SMALL_POLICY, max_events: int = 32) -> list[Event]:
    """At most `max_events` events of one device, each id once, around the bounds of `policy`."""
    length = draw(st.integers(0, max_events // 2))
    phrases = draw(st.lists(_PHRASE, min_size=length, max_size=length))
    clock, ids, events = Clock(), SdkIds(draw(st.sampled_from(("s0", "")))), list[Event]()
    users = st.sampled_from(draw(st.sampled_from((USERS, USERS, USERS, CROWD))))
    for phrase in phrases:
        for place, (step, (since, distance_ms)) in enumerate(
            zip(phrase.steps, draw(_steps(phrase, policy)), strict=True)
        ):
            if len(events) == max_events:
                return events
            time_ms = clock.advance(step.kind, since, distance_ms)
            if place == 0:
                clock.phrase_ms = time_ms
            events.append(_event(draw, time_ms, step, len(events), ids, draw(users)))
    return events


def _event(draw: st.DrawFn, time_ms: int, step: Step, number: int, ids: SdkIds, user: str) -> Event:
    letter, seq, whose, tenths, stated, exit_reason, counters, resource = draw(_DETAILS)
    return make_event(
        time_ms,
        step.kind,
        # Made unique by the number; the letter makes the order of ids another one than that of the numbers.
        letter + str(number),
        seq=seq,
        client_session_id=ids.of(whose or step.whose, tenths / 10),
        exit_reason=exit_reason if step.kind is Kind.EXIT else "",
        counters=counters,
        resource=resource,
        user=user,
        stated=stated if step.stated is None else step.stated,
    )


@st.composite
def cases(draw: st.DrawFn, max_events: int = 32) -> Case:
    """A policy and events around its bounds."""
    policy = draw(policies())
    return Case(policy, draw(event_sets(policy, max_events)))


@st.composite
def arrivals(draw: st.DrawFn, events: list[Event], conflicting: bool = False) -> list[Event]:
    """The events in any order, some of them again at any later place.

    With `conflicting` a resent one may be another event under the same id (an SDK's error), which counts for
    nothing.
    """
    in_time = sorted(events)
    order = draw(st.sampled_from(("in order", "reversed", "some late", "any")))
    if order == "reversed":
        in_time.reverse()
    elif order == "some late" and len(in_time) > 1:
        for place in draw(st.lists(st.integers(0, len(in_time) - 2), max_size=4)):
            in_time.insert(place, in_time.pop())
    elif order == "any":
        in_time = draw(st.permutations(in_time))
    arrived = list(in_time)
    for event in draw(st.lists(st.sampled_from(arrived), max_size=6)) if arrived else []:
        again = event
        if conflicting and draw(st.booleans()):
            shift_ms = draw(st.sampled_from((-60_001, -1, 0, 1, 60_001)))
            again = make_event(
                event.time_ms + shift_ms, draw(st.sampled_from((Kind.ACTIVITY, Kind.CRASH))), event.id
            )
        arrived.insert(draw(st.integers(arrived.index(event) + 1, len(arrived))), again)
    return arrived


@st.composite
def deliveries(draw: st.DrawFn, events: list[Event], conflicting: bool = False) -> Delivery:
    """Any order, any duplicates, cut into any records and batches, silence reported after any of the batches.

    A record may be empty and so may a batch. `conflicting` as in `arrivals`.
    """
    arrived = draw(arrivals(events, conflicting))
    # After each event: go on, begin a record, begin a batch, begin a batch once silence was reported.
    cut = st.sampled_from(("", "", "", "record", "batch", "silence", "empty record"))
    batches: list[Batch] = []
    records: list[list[Event]] = [[]]
    for event in arrived:
        records[-1].append(event)
        after = draw(cut)
        if after in ("record", "empty record"):
            records.extend([[]] if after == "record" else [[], []])
        elif after:
            batches.append(_batch(records, after == "silence"))
            records = [[]]
    batches.append(_batch(records, draw(st.booleans())))
    return Delivery(tuple(batches))


def _batch(records: list[list[Event]], silence_after: bool) -> Batch:
    return Batch(tuple(tuple(record) for record in records), silence_after)


@st.composite
def delivered_cases(draw: st.DrawFn, max_events: int = 32, conflicting: bool = False) -> DeliveredCase:
    """A case and one way in which it arrives."""
    case = draw(cases(max_events))
    return DeliveredCase(case, draw(deliveries(case.events, conflicting)))
