"""What devices send, in phrases: runs of events as apps send them, around the bounds of small policies.

Shared by the Hypothesis strategies and by the random histories, so that neither knows of traffic that the other does
not. Times cluster around the bounds of the policy, because that is where two readings of the definition part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from pipeline.domain.event import COUNTERS, AppState, Kind
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
    flicker_grace_ms=900,
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
    flicker_grace_ms=25_000,
)
# Nothing but the same millisecond is within a grace.
NO_GRACE_POLICY = replace(SMALL_POLICY, launch_grace_ms=0, exit_grace_ms=0, flicker_grace_ms=0)
POLICIES = (SMALL_POLICY, DISTINCT_POLICY, INVERTED_POLICY, NO_GRACE_POLICY)

EXIT_REASONS = ("crash", "anr", "out_of_memory", "user_terminated", "other")
RESOURCES = ("{}", '{"service.version":"1.0"}', '{"service.version":"1.1"}')
NAMELESS_USER = '{"personas":["premium"]}'
USERS = ("", '{"id":"u1"}', '{"id":"u1","personas":["premium"]}', '{"id":"u2"}', NAMELESS_USER)
CROWD = tuple(f'{{"id":"u{number}"}}' for number in range(24))
"""More users than a session has room for."""
COUNTED = (0, 0, 0, 1, 2, 4, 8 | 16, 32, 64, 128, (1 << len(COUNTERS)) - 1)
CLOSING = (Kind.BACKGROUND, Kind.SESSION_END, Kind.CRASH, Kind.EXCEPTION, Kind.ANR, Kind.EXIT)


class Step(NamedTuple):
    """One event of a phrase."""

    kind: Kind
    whose: str
    """Whose SDK session id it has: `own` (the phrase's), `old` (any that was there), `last` (the one before the
    phrase's), `new` (never seen, and the phrase's from here on), `other` (never seen, and only here) or `none`."""
    stated: AppState | None
    """None: anything, mostly nothing."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A run of events as apps send it, and how far apart they lie."""

    steps: tuple[Step, ...]
    pace: str = "tight"


_STATED = {"bg": AppState.BACKGROUND, "fg": AppState.FOREGROUND, "no": AppState.UNKNOWN}


def read_phrase(text: str) -> Phrase:
    """A phrase from `pace: kind kind@whose kind/stated …`; `*n` after a step repeats it."""
    pace, _, words = text.partition(": ")
    steps: list[Step] = []
    for word in words.split():
        step, _, times = word.partition("*")
        step, _, stated = step.partition("/")
        kind, _, whose = step.partition("@")
        steps += [Step(Kind[kind.upper()], whose or "own", _STATED.get(stated))] * int(times or 1)
    return Phrase(tuple(steps), pace)


def _read(table: str) -> Iterator[Phrase]:
    return (read_phrase(line.strip()) for line in table.strip().splitlines())


PHRASES = tuple(
    _read("""
    tight: launch@new foreground
    tight: foreground@new launch
    tight: launch@new/bg foreground activity
    tight: launch@new/bg activity activity
    edge: launch@new/bg activity/fg
    tight: foreground/bg launch/bg
    tight: launch foreground activity
    tight: activity@new launch foreground
    tight: activity@new foreground
    tight: activity@new launch
    tight: activity@new activity
    tight: activity launch@none
    edge: activity@new launch/bg
    tight: foreground activity background
    tight: foreground activity background activity
    edge: background activity activity
    edge: background activity foreground
    edge: background activity launch
    edge: background crash activity
    edge: activity activity
    edge: activity/bg activity/fg
    edge: background activity/fg active
    edge: background crash/fg
    edge: background crash/bg
    edge: session_end crash/bg activity
    long: foreground activity*6
    long: foreground activity*4 background
    long: foreground activity*5 active background
    long: background activity*8
    long: foreground passive*4 activity
    tight: activity session_end activity
    tight: session_end background
    edge: background session_end
    tight: activity crash exit
    tight: crash activity launch
    edge: exception activity
    edge: anr exit
    edge: background exit exit
    tight: exit launch
    edge: crash crash@own exception@own anr@own
    edge: activity exit crash
    edge: activity@new passive activity
    tight: passive
    tight: passive passive background passive
    edge: passive@other activity
    tight: active activity
    tight: active background active background
    flicker: foreground active background activity
    flicker: foreground active background background
    flicker: foreground active@last background
    flicker: foreground active@none background
    flicker: active active background background active
    flicker: foreground background foreground background foreground
    flicker: foreground background@none active background@new
    flicker: foreground background activity foreground
    flicker: foreground background passive foreground
    flicker: foreground background@new foreground@new
    flicker: foreground background exit background foreground
    flicker: background foreground exit
    flicker: background foreground launch
    flicker: foreground background foreground crash@last
    tight: activity@new activity@last activity
    tight: activity@new activity@old activity@other
    edge: activity@new activity@old
    tight: launch@new crash@last activity
    tight: launch@new exit@last exit@last
    tight: launch@new session_end@last crash@last
    tight: foreground@new anr@last passive
    edge: foreground@new exception@last exit@last
    edge: activity@new crash@last launch
    edge: activity@new exit@last launch
    tight: activity@new crash@old
    tight: activity@new session_end@old background
    tight: foreground@new exit@old activity@old
    tight: activity@new crash@other activity
    tight: activity@new*3
    tight: activity@new activity@new*8 activity@old
    pile: foreground active background crash exit passive
    pile: activity@new launch background crash@last
    pile: active active foreground launch
    pile: foreground activity@other session_end@last exit background
    """)
)
"""What apps send."""
NOISE = tuple(
    Phrase((Step(kind, whose, None),), pace)
    for kind in Kind
    for whose in ("own", "own", "last", "old", "new", "none")
    for pace in ("tight", "edge", "long", "flicker", "pile")
)
"""And anything else."""


@cache
def distances(policy: Policy) -> dict[str, tuple[int, ...]]:
    """Distances in time (ms), by pace.

    Tight is what lies within one start or end, edge what is around every bound, long an even use of the app whose
    steps add up to `max_duration`, flicker is around `flicker_grace`, pile is all in one millisecond. First is for
    the beginning of a phrase.
    """
    bounds = (
        policy.launch_grace_ms,
        policy.exit_grace_ms,
        policy.flicker_grace_ms,
        policy.inactivity_timeout_ms,
        policy.stitch_gap_ms,
        policy.max_duration_ms,
        policy.stitch_max_duration_ms,
    )
    timeout_ms = policy.inactivity_timeout_ms
    around_bounds = tuple(max(0, bound + shift) for bound in bounds for shift in (-1, 0, 1))
    past_graces = max(policy.launch_grace_ms, policy.exit_grace_ms) + 1
    edges = (0, 1, past_graces, past_graces, past_graces, *around_bounds)
    tight = (0, 0, 1, policy.flicker_grace_ms, policy.launch_grace_ms, policy.exit_grace_ms)
    flicker = (0, 1, *(max(0, policy.flicker_grace_ms + shift) for shift in (-1, 0, 0, 1)))
    return {
        "first": tight * 3 + edges,
        "tight": tight,
        "edge": edges,
        "long": (timeout_ms // 2, timeout_ms - 1, timeout_ms),
        "flicker": flicker,
        "pile": (0,),
    }


ORIGINS = ("latest",) * 5 + ("phrase", "end", "first")
"""What the beginning of a phrase is a distance away from: the latest event, the beginning of the phrase before, the
last end, the first of all."""


class Clock:
    """The times to which a bound can apply. Unix ms."""

    __slots__ = ("ended_ms", "now_ms", "phrase_ms")

    def __init__(self) -> None:
        self.now_ms = self.phrase_ms = self.ended_ms = BASE_MS

    def advance(self, kind: Kind, since: str, distance_ms: int) -> int:
        """Time of the next event: a distance after one of the origins."""
        if since == "latest":
            time_ms = self.now_ms + distance_ms
        elif since == "phrase":
            time_ms = self.phrase_ms + distance_ms
        else:
            time_ms = (self.ended_ms if since == "end" else BASE_MS) + distance_ms
        self.now_ms = max(self.now_ms, time_ms)
        if kind in CLOSING:
            self.ended_ms = time_ms
        return time_ms


class SdkIds:
    """The SDK session ids of one device: its own one now, and all that were there."""

    __slots__ = ("_fresh", "own", "seen")

    def __init__(self, own: str) -> None:
        self.own = own
        self.seen = [own]
        """In the order in which they were there first; empty ones among them."""
        self._fresh = 0

    def of(self, whose: str, chance: float) -> str:
        """The id of an event (see `Step.whose`). `chance` (0 to 1) chooses among the old ones."""
        if whose == "own":
            return self.own
        if whose == "old":
            return self.seen[int(chance * len(self.seen))]
        if whose == "last":
            return self.seen[-2] if len(self.seen) > 1 else self.own
        if whose == "none":
            return ""
        self._fresh += 1
        # Some SDKs number their sessions, so that ids do not sort by time.
        fresh = f"s{self._fresh * 7 % 31}" if self._fresh < 31 else f"t{self._fresh}"
        if whose == "new":
            self.own = fresh
            self.seen.append(fresh)
        return fresh
