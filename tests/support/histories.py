"""Random histories of one device, made fast: for campaigns of a million, where Hypothesis takes too long."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from pipeline.domain.event import RANK, AppState, Event, Kind
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
    USERS,
    Clock,
    SdkIds,
    distances,
)

_STATED = (AppState.UNKNOWN,) * 8 + (AppState.FOREGROUND, AppState.BACKGROUND)
_SEQ = (0, 0, 0, 1, 2)
_OTHERWISE = ("old", "last", "none", "none", "other", "new")
_SHIFTS_MS = (-60_001, -1, 0, 1, 60_001)


@dataclass(frozen=True, slots=True)
class History:
    """What one device sent, and under which policy it is folded."""

    policy: Policy
    arrivals: list[Event]
    """In order of arrival; some come twice, of which a few are another event under the same id."""


def history(rng: Random, max_events: int = 40) -> History:
    """A random history. The same state of `rng` gives the same one."""
    chance = rng.random
    policy = POLICIES[int(chance() * len(POLICIES))]
    return History(policy, _arrivals(rng, _events(rng, policy, max_events)))


def _events(rng: Random, policy: Policy, max_events: int) -> list[Event]:
    """Events, each id once, roughly in order."""
    chance = rng.random
    paces, first = distances(policy), distances(policy)["first"]
    clock, ids = Clock(), SdkIds("s0" if chance() < 0.8 else "")
    users = CROWD if chance() < 0.02 else USERS
    length, events = 1 + int(chance() * 9), list[Event]()
    # Some SDKs have no session ids, some number what they send, some name a user with each event.
    numbered, named = chance() < 0.3, 1.0 if users is CROWD else 0.25
    for _ in range(length):
        phrases = PHRASES if chance() < 0.8 else NOISE
        phrase = phrases[int(chance() * len(phrases))]
        pace = paces[phrase.pace]
        even_ms = pace[int(chance() * len(pace))] if phrase.pace == "long" else -1
        for place, (kind, whose, stated) in enumerate(phrase.steps):
            if place:
                since, distance_ms = "latest", even_ms if even_ms >= 0 else pace[int(chance() * len(pace))]
            else:
                since, distance_ms = ORIGINS[int(chance() * 8)], first[int(chance() * len(first))]
            time_ms = clock.advance(kind, since, distance_ms)
            if not place:
                clock.phrase_ms = time_ms
            if chance() < 0.06:
                whose = _OTHERWISE[int(chance() * len(_OTHERWISE))]  # noqa: PLW2901
            number = len(events)
            events.append(
                Event(
                    time_ms,
                    RANK[kind],
                    _SEQ[int(chance() * 5)] if numbered else 0,
                    # Made unique by the number; the letter makes the order of ids another one than of numbers.
                    "cba"[int(chance() * 3)] + str(number),
                    kind,
                    ids.of(whose, chance()),
                    EXIT_REASONS[int(chance() * 5)] if kind is Kind.EXIT else "",
                    # A crash counts as one, as decoders have it.
                    COUNTED[int(chance() * 11)] | (kind is Kind.CRASH),
                    RESOURCES[int(chance() * 3)],
                    users[int(chance() * len(users))] if chance() < named else "",
                    _STATED[int(chance() * 10)] if stated is None else stated,
                )
            )
            if number + 1 == max_events:
                return events
    return events


def _arrivals(rng: Random, events: list[Event]) -> list[Event]:
    """Any order, some of them again at a later place."""
    chance = rng.random
    order = chance()
    if order < 0.25:
        events.reverse()
    elif order < 0.5:
        rng.shuffle(events)
    elif order < 0.75:
        for _ in range(1 + int(chance() * 4)):
            events.insert(int(chance() * len(events)), events.pop())
    for _ in range(int(chance() * 4)):
        place = int(chance() * len(events))
        again = events[place]
        if chance() < 0.4:
            shift_ms = _SHIFTS_MS[int(chance() * 5)]
            kind = Kind.CRASH if chance() < 0.5 else Kind.ACTIVITY
            again = again._replace(time_ms=again.time_ms + shift_ms, kind=kind, rank=RANK[kind])
        events.insert(place + 1 + int(chance() * (len(events) - place)), again)
    return events
