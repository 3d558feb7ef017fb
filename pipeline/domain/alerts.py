"""What becomes of an alert: a pure function of what was read at each evaluation, in order.

A rule is evaluated at aligned times, and for each of its groups by itself. What it sees at one of them (`Reading`)
gives a verdict; the verdict, and where the rule stood before (`Stand`), give where it stands now, and whether that is
told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal
from uuid import UUID, uuid5

WEEK_MS = 7 * 86_400_000
FOLLOW_UPS_MS = (3_600_000, 6 * 3_600_000, 86_400_000, 3 * 86_400_000, WEEK_MS)
"""So long after an evaluation that changed a state it is asked what is known of the same window by then."""
KNOWN_FOR_MS = 29 * 86_400_000
"""For so long what was known at a time can be asked: a day less than ClickHouse keeps it (migration 0032)."""
_MESSAGES = UUID("6f0f5a0e-6f5b-5d0f-9d55-0c6c2c8f7a11")


class State(StrEnum):
    """Of a rule, or of one of its groups."""

    NORMAL = "normal"
    WARNING = "warning"
    ERROR = "error"
    NO_DATA = "no data"
    """Too few sessions or users to tell."""
    MUTED = "muted"
    """Somebody muted it: it is evaluated, and nothing is told."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a value must not be below or above; at least one of the two is there."""

    below: float | None = None
    above: float | None = None

    def is_broken(self, value: float) -> bool:
        return (self.below is not None and value < self.below) or (
            self.above is not None and value > self.above
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of a rule: what makes a verdict of a reading, and when a verdict is told."""

    warning: Bound | None
    error: Bound | None
    compare: Literal["", "difference", "ratio"] = ""
    """Bounds are for the value itself, or for how it differs from that of a week before."""
    min_sessions: int = 1
    min_users: int = 0
    times: int = 1
    """So many evaluations in a row have to say so before the state changes."""
    tells_no_data: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule saw of a group."""

    value: float | None
    """None where there is none, such as a share of nothing."""
    numerator: float | None
    denominator: float | None
    sessions: int
    users: int
    before: float | None = None
    """The value a week before, as it was known a week before; None where it is not compared, or there is none."""
    sessions_before: int = 0
    users_before: int = 0


NOTHING = Reading(None, None, None, 0, 0)
"""Of a group that has no session any more."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a rule stands with a group, after an evaluation."""

    state: State = State.NORMAL
    """What people see."""
    settled: State = State.NORMAL
    """The same without regard to muting."""
    told: State = State.NORMAL
    """What was told last."""
    verdict: State = State.NORMAL
    """Of the latest reading."""
    times: int = 0
    """How many evaluations in a row had that verdict."""
    fault_told: str = ""
    """Why it could not be evaluated, if that is what was told last."""


def compared(judgement: Judgement, reading: Reading) -> float | None:
    """The number that bounds are for; None where there is none, or too little to take it seriously."""
    if (
        reading.value is None
        or reading.sessions < judgement.min_sessions
        or reading.users < judgement.min_users
    ):
        return None
    if not judgement.compare:
        return reading.value
    if (
        reading.before is None
        or reading.sessions_before < judgement.min_sessions
        or reading.users_before < judgement.min_users
    ):
        return None
    if judgement.compare == "difference":
        return reading.value - reading.before
    return reading.value / reading.before if reading.before else None


def verdict(judgement: Judgement, reading: Reading) -> State:
    """What one reading says: normal, warning, error or no data."""
    value = compared(judgement, reading)
    if value is None:
        return State.NO_DATA
    if judgement.error is not None and judgement.error.is_broken(value):
        return State.ERROR
    if judgement.warning is not None and judgement.warning.is_broken(value):
        return State.WARNING
    return State.NORMAL


def advance(stand: Stand, judgement: Judgement, found: State, *, is_muted: bool) -> tuple[Stand, bool]:
    """Where the rule stands after a verdict, and whether that is to be told.

    Told is what differs from what was told last, so that nothing is told twice and what changed while it was muted is
    told once it no longer is, if it is still so then. Having no data says nothing about what was told before, unless
    the rule wants that told.
    """
    if stand.fault_told:
        # Whatever is found now is news: people were told last that nothing could be found.
        stand = replace(stand, told=State.NO_DATA, fault_told="")
    times = stand.times + 1 if found is stand.verdict else 1
    settled = found if times >= judgement.times else stand.settled
    state = State.MUTED if is_muted else settled
    is_told = (
        not is_muted
        and settled is not stand.told
        and (settled is not State.NO_DATA or judgement.tells_no_data)
    )
    after = Stand(state, settled, settled if is_told else stand.told, found, times)
    return after, is_told


def fail(stand: Stand, fault: str, *, is_muted: bool) -> tuple[Stand, bool]:
    """Where the rule stands when it cannot be evaluated, and whether that is to be told.

    It is in error, at once, and told once for each reason. What its readings said so far is kept for the next one.
    """
    state = State.MUTED if is_muted else State.ERROR
    if is_muted or fault == stand.fault_told:
        return replace(stand, state=state), False
    return replace(stand, state=state, told=State.ERROR, fault_told=fault), True


def is_worth_keeping(stand: Stand) -> bool:
    """Whether a group has to be looked at also where it has no session any more: there is something that may end."""
    return stand.told is not State.NORMAL or stand.settled in (State.WARNING, State.ERROR)


def due_times(last_ms: int | None, every_ms: int, until_ms: int, known_for_ms: int = KNOWN_FOR_MS) -> range:
    """The aligned times to evaluate, in order, up to one; all that were missed since the last, but for those of which
    what was known can no longer be asked. Of a rule that was never evaluated the latest alone."""
    end = until_ms // every_ms * every_ms
    if last_ms is None:
        return range(end, end + 1, every_ms)
    oldest = -((known_for_ms - until_ms) // every_ms) * every_ms
    return range(max(last_ms // every_ms * every_ms + every_ms, oldest), end + 1, every_ms)


def message_id(rule: str, group: str | None, at_ms: int, known_at_ms: int) -> str:
    """The id of what is told of an evaluation: the same however often it is made."""
    name = f"{rule}\0{'' if group is None else '=' + group}\0{at_ms}\0{known_at_ms}"
    return str(uuid5(_MESSAGES, name))


def follow_ups_due(at_ms: int, done_ms: int, until_ms: int) -> list[int]:
    """Times at which it has to be asked what is known of an evaluation by then, after `done_ms` and up to `until_ms`.

    Of several that were missed all are asked, in order, as they would have been.
    """
    return [at_ms + after for after in FOLLOW_UPS_MS if done_ms < at_ms + after <= until_ms]


def pause_ms(attempts: int) -> int:
    """How long to wait after so many attempts (from 1 on) to deliver something: 5 s, doubled up to 10 minutes."""
    return int(min(600_000, 5_000 * 2 ** min(attempts - 1, 20)))
