"""Hypothesis strategies for the events of one device and for the ways in which they can arrive.

Times cluster around the bounds of the policy, because that is where two readings of the definition part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from hypothesis import strategies as st

from pipeline.domain.event import COUNTERS, Event, Kind, make_event
from pipeline.domain.policy import Policy

BASE_MS = 1_700_000_000_000

SMALL_POLICY = Policy(
    inactivity_timeout_ms=60_000,
    max_duration_ms=300_000,
    launch_grace_ms=5_000,
    exit_grace_ms=5_000,
    stitch_gap_ms=60_000,
    stitch_max_duration_ms=300_000,
    idle_timeout_ms=60_000,
)
# No two numbers alike: finds one bound taken for another.
DISTINCT_POLICY = replace(
    SMALL_POLICY,
    launch_grace_ms=4_000,
    exit_grace_ms=7_000,
    stitch_gap_ms=90_000,
    stitch_max_duration_ms=400_000,
)
# Bounds in an unusual order: the graces outlast the timeout, the stitch gap is shorter than it.
INVERTED_POLICY = replace(
    SMALL_POLICY,
    inactivity_timeout_ms=3_000,
    max_duration_ms=10_000,
    launch_grace_ms=12_000,
    exit_grace_ms=20_000,
    stitch_gap_ms=2_000,
    stitch_max_duration_ms=15_000,
    idle_timeout_ms=3_000,
)
# Nothing but the same millisecond is within a grace.
NO_GRACE_POLICY = replace(SMALL_POLICY, launch_grace_ms=0, exit_grace_ms=0)

EXIT_REASONS = ("crash", "anr", "out_of_memory", "user_terminated", "other")
CLIENT_SESSION_IDS = ("", "s1", "s2", "s3")
RESOURCES = ("{}", '{"service.version":"1.0"}', '{"service.version":"1.1"}')
USERS = ("", '{"id":"u1"}', '{"id":"u1","personas":["premium"]}', '{"id":"u2"}')
CLOSING = (Kind.BACKGROUND, Kind.SESSION_END, Kind.CRASH, Kind.EXCEPTION, Kind.ANR, Kind.EXIT)


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


@dataclass(frozen=True, slots=True)
class _Phrase:
    """A run of kinds as apps send it, and how far apart its events lie."""

    kinds: tuple[Kind, ...]
    pace: str = "tight"
    renews: bool = False
    """The SDK takes another session id, or its first."""


_PHRASES = (
    _Phrase((Kind.LAUNCH, Kind.FOREGROUND), renews=True),
    _Phrase((Kind.FOREGROUND, Kind.LAUNCH), renews=True),
    _Phrase((Kind.LAUNCH, Kind.FOREGROUND, Kind.ACTIVITY)),
    _Phrase((Kind.ACTIVITY, Kind.LAUNCH, Kind.FOREGROUND), renews=True),
    _Phrase((Kind.ACTIVITY, Kind.FOREGROUND), renews=True),
    _Phrase((Kind.ACTIVITY, Kind.LAUNCH), renews=True),
    _Phrase((Kind.ACTIVITY, Kind.ACTIVITY), renews=True),
    _Phrase((Kind.FOREGROUND, Kind.ACTIVITY, Kind.BACKGROUND)),
    _Phrase((Kind.FOREGROUND, Kind.ACTIVITY, Kind.BACKGROUND, Kind.ACTIVITY)),
    _Phrase((Kind.BACKGROUND, Kind.ACTIVITY, Kind.ACTIVITY), "edge"),
    _Phrase((Kind.BACKGROUND, Kind.ACTIVITY, Kind.FOREGROUND), "edge"),
    _Phrase((Kind.BACKGROUND, Kind.ACTIVITY, Kind.LAUNCH), "edge"),
    _Phrase((Kind.BACKGROUND, Kind.CRASH, Kind.ACTIVITY), "edge"),
    _Phrase((Kind.ACTIVITY,) * 2, "edge"),
    _Phrase((Kind.FOREGROUND, *(Kind.ACTIVITY,) * 6), "long"),
    _Phrase((Kind.FOREGROUND, *(Kind.ACTIVITY,) * 4, Kind.BACKGROUND), "long"),
    _Phrase((Kind.BACKGROUND, *(Kind.ACTIVITY,) * 8), "long"),
    _Phrase((Kind.ACTIVITY, Kind.SESSION_END, Kind.ACTIVITY)),
    _Phrase((Kind.SESSION_END, Kind.BACKGROUND)),
    _Phrase((Kind.BACKGROUND, Kind.SESSION_END), "edge"),
    _Phrase((Kind.ACTIVITY, Kind.CRASH, Kind.EXIT)),
    _Phrase((Kind.CRASH, Kind.ACTIVITY, Kind.LAUNCH)),
    _Phrase((Kind.EXCEPTION, Kind.ACTIVITY), "edge"),
    _Phrase((Kind.ANR, Kind.EXIT), "edge"),
    _Phrase((Kind.BACKGROUND, Kind.EXIT, Kind.EXIT), "edge"),
    _Phrase((Kind.EXIT, Kind.LAUNCH)),
)
_APP_LIKE = st.sampled_from(_PHRASES)
_NOISE = st.builds(
    _Phrase, st.tuples(st.sampled_from(tuple(Kind))), st.sampled_from(("tight", "edge", "long"))
)


_DETAILS = st.tuples(
    st.sampled_from("cba"),
    st.sampled_from((0, 0, 0, 1, 2)),
    st.sampled_from((None,) * 5 + ("", "s3")),
    st.sampled_from(EXIT_REASONS),
    st.sampled_from((0, 0, 0, 1, 2, 4, 8 | 16, 32, 64, 128, (1 << len(COUNTERS)) - 1)),
    st.sampled_from(RESOURCES),
    st.sampled_from(USERS),
)
_ORIGINS = st.sampled_from(("latest",) * 5 + ("phrase", "end", "first"))


def policies() -> st.SearchStrategy[Policy]:
    """Small policies: equal bounds, bounds that all differ, bounds in an unusual order, no graces."""
    return st.sampled_from((SMALL_POLICY, DISTINCT_POLICY, INVERTED_POLICY, NO_GRACE_POLICY))


def _bounds(policy: Policy) -> tuple[int, ...]:
    return (
        policy.launch_grace_ms,
        policy.exit_grace_ms,
        policy.inactivity_timeout_ms,
        policy.stitch_gap_ms,
        policy.max_duration_ms,
        policy.stitch_max_duration_ms,
    )


@cache
def _distances(policy: Policy) -> dict[str, st.SearchStrategy[int]]:
    """Distances in time, by pace.

    Tight is what lies within one start or end, edge what is around every bound, long an even use of the app whose
    steps add up to `max_duration`.
    """
    timeout = policy.inactivity_timeout_ms
    around_bounds = tuple(max(0, bound + shift) for bound in _bounds(policy) for shift in (-1, 0, 1))
    past_graces = max(policy.launch_grace_ms, policy.exit_grace_ms) + 1
    edges = (0, 1, past_graces, past_graces, past_graces, *around_bounds)
    tight = (0, 0, 1, 700, policy.launch_grace_ms, policy.exit_grace_ms)
    return {
        "first": st.sampled_from(tight * 3 + edges),
        "tight": st.sampled_from(tight),
        "edge": st.sampled_from(edges),
        "long": st.sampled_from((timeout // 2, timeout - 1, timeout)),
    }


@st.composite
def _steps(draw: st.DrawFn, phrase: _Phrase, policy: Policy) -> list[tuple[str, int]]:
    """For each event of a phrase the origin of its time and the distance from there."""
    distances, followers = _distances(policy), len(phrase.kinds) - 1
    first = (draw(_ORIGINS), draw(distances["first"]))
    if phrase.pace == "long":
        following = [draw(distances["long"])] * followers
    else:
        following = [draw(distances[phrase.pace]) for _ in range(followers)]
    return [first, *(("latest", distance_ms) for distance_ms in following)]


@dataclass(slots=True)
class _Clock:
    """The times to which a bound can apply."""

    now_ms: int = BASE_MS
    phrase_ms: int = BASE_MS
    ended_ms: int = BASE_MS

    def advance(self, kind: Kind, since: str, distance_ms: int) -> int:
        """Time of the next event: a distance after one of the origins."""
        origin_ms = {
            "latest": self.now_ms,
            "phrase": self.phrase_ms,
            "end": self.ended_ms,
            "first": BASE_MS,
        }[since]
        time_ms = origin_ms + distance_ms
        self.now_ms = max(self.now_ms, time_ms)
        if kind in CLOSING:
            self.ended_ms = time_ms
        return time_ms


@st.composite
def event_sets(draw: st.DrawFn, policy: Policy = SMALL_POLICY, max_events: int = 32) -> list[Event]:
    """At most `max_events` events of one device, each id once, around the bounds of `policy`."""
    length = draw(st.integers(0, max_events // 2))
    phrases = draw(st.lists(st.one_of(_APP_LIKE, _APP_LIKE, _NOISE), min_size=length, max_size=length))
    clock, client_session_id, events = _Clock(), draw(st.sampled_from(CLIENT_SESSION_IDS)), list[Event]()
    for phrase in phrases:
        # Mostly kept, as an SDK does; taken away or changed often enough to supersede.
        kept = () if phrase.renews else (client_session_id,) * 4
        client_session_id = draw(st.sampled_from((*kept, *CLIENT_SESSION_IDS)))
        steps = draw(_steps(phrase, policy))
        for place, (kind, (since, distance_ms)) in enumerate(zip(phrase.kinds, steps, strict=True)):
            if len(events) == max_events:
                return events
            time_ms = clock.advance(kind, since, distance_ms)
            if place == 0:
                clock.phrase_ms = time_ms
            events.append(_event(draw, time_ms, kind, len(events), client_session_id))
    return events


def _event(draw: st.DrawFn, time_ms: int, kind: Kind, number: int, client_session_id: str) -> Event:
    letter, seq, other_session_id, exit_reason, counters, resource, user = draw(_DETAILS)
    return make_event(
        time_ms,
        kind,
        # Made unique by the number; the letter makes the order of ids another one than that of the numbers.
        letter + str(number),
        seq=seq,
        client_session_id=client_session_id if other_session_id is None else other_session_id,
        exit_reason=exit_reason if kind is Kind.EXIT else "",
        counters=counters,
        resource=resource,
        user=user,
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
