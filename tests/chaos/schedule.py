"""What goes wrong and when, decided by the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

ROLES = ("router", "sessionizer", "sink")
# Where there is most to lose.
_ROLE_WEIGHTS = (1, 3, 3)


class Fault(StrEnum):
    """What ClickHouse does to its clients for a while."""

    REFUSE = "refuse connections"
    ERROR = "answer 500"
    ERROR_AFTER = "store, then answer 500"
    CUT_REQUEST = "close the connection half-way through the request"
    CUT_ANSWER = "store, then close the connection half-way through the answer"
    HOLD = "store, then hold the answer past the client's time-out"


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to one worker of each role named, `gap_s` apart. What was killed is started again after `restart_s`."""

    roles: tuple[str, ...]
    gap_s: float
    restart_s: float


@dataclass(frozen=True, slots=True)
class KillInRecovery:
    """SIGKILL to a worker and, `after_s` from its new start, to the one in its place, so many times."""

    role: str
    after_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class KillInRebalance:
    """A worker joins; SIGKILL to another of its role while the group has not settled."""

    role: str
    after_s: float


@dataclass(frozen=True, slots=True)
class Scale:
    """One worker more, or (SIGTERM) one less."""

    role: str
    up: bool


@dataclass(frozen=True, slots=True)
class Freeze:
    """SIGSTOP past the session timeout, then SIGCONT: the worker comes back as a zombie."""

    role: str


@dataclass(frozen=True, slots=True)
class Outage:
    """A fault of ClickHouse for so long; with `kill`, a sink is killed in the middle."""

    fault: Fault
    seconds: float
    kill: bool


@dataclass(frozen=True, slots=True)
class RestartBroker:
    """The broker ends, in good order or by SIGKILL, and comes back on its data."""

    kill9: bool


@dataclass(frozen=True, slots=True)
class HeavyDevice:
    """A device sends as much as a device may."""

    number: int


@dataclass(frozen=True, slots=True)
class ForeignProducer:
    """A producer with another partitioner sends for whole devices."""

    number: int


Act = (
    HeavyDevice
    | ForeignProducer
    | Kill
    | KillInRecovery
    | KillInRebalance
    | Scale
    | Freeze
    | Outage
    | RestartBroker
)


@dataclass(frozen=True, slots=True)
class Step:
    """One act, and how long to let things be before it. `settle`: first wait until all workers are at work."""

    pause_s: float
    settle: bool
    act: Act


def schedule(
    seed: int,
    *,
    kills: int,
    rebalances: int,
    faults: int,
    freezes: int,
    broker_restarts: int,
    heavy: int = 0,
    foreign: int = 0,
) -> list[Step]:
    """Steps with exactly so many of each. (A worker that joins for a KillInRebalance counts as a rebalance.)"""
    random = Random(seed)
    kinds = list(Fault)
    random.shuffle(kinds)
    outages = [
        Outage(kinds[number % len(kinds)], random.uniform(3, 7), kill=number % 3 == 2 and kills > number)
        for number in range(faults)
    ]
    left = kills - sum(outage.kill for outage in outages)
    joining = min(rebalances // 3, left)
    acts: list[Act] = [*outages]
    acts += [KillInRebalance(_role(random), random.uniform(0.2, 4)) for _ in range(joining)]
    # Up and down in turns, so that the number of workers stays bounded; one down for each that joined above.
    acts += [Scale(_role(random), up=number % 2 == 0) for number in range(rebalances - joining)]
    acts += _kills(random, left - joining)
    acts += [Freeze(role) for role in _cycle(("sink", "sessionizer"), freezes)]
    acts += [RestartBroker(kill9=number % 2 == 0) for number in range(broker_restarts)]
    acts += [HeavyDevice(number) for number in range(heavy)]
    acts += [ForeignProducer(number) for number in range(foreign)]
    random.shuffle(acts)
    return [Step(random.uniform(0.3, 3.5), settle=random.random() < 0.4, act=act) for act in acts]


def kills_of(act: Act) -> int:
    """How many processes an act kills."""
    match act:
        case Kill(roles):
            return len(roles)
        case KillInRecovery(_, after_s):
            return 1 + len(after_s)
        case KillInRebalance():
            return 1
        case Outage(kill=kill):
            return int(kill)
        case _:
            return 0


def rebalances_of(act: Act) -> int:
    """How many workers an act adds or removes on purpose."""
    return int(isinstance(act, Scale | KillInRebalance))


def _kills(random: Random, count: int) -> Iterator[Act]:
    """Alone, spaced, in bursts within a second, and during recovery, until so many are killed."""
    while count > 0:
        form = random.choice(("alone", "spaced", "burst", "recovery"))
        size = min(count, 1 if form == "alone" else random.randint(2, 4))
        count -= size
        if form == "recovery" and size > 1:
            yield KillInRecovery(_role(random), tuple(random.uniform(0.5, 4) for _ in range(size - 1)))
        else:
            gap_s = random.uniform(1.5, 4) if form == "spaced" else random.uniform(0, 1 / size)
            yield Kill(tuple(_role(random) for _ in range(size)), gap_s, random.uniform(0, 2))


def _role(random: Random) -> str:
    (role,) = random.choices(ROLES, _ROLE_WEIGHTS)
    return role


def _cycle(roles: Sequence[str], count: int) -> list[str]:
    return [roles[number % len(roles)] for number in range(count)]
