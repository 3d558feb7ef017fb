"""What became of the sessions that began a user flow, as filters: the same as `query.flows.outcomes` counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.query import bad_ends
from pipeline.query.filters.tree import All, Filter, Not, Test
from pipeline.query.flows import OUTCOMES, Outcome, Steps, at_any_time, chain, coming, has_times

_BAD = bad_ends.ANY.filter
_OPEN = Test("session.status", "eq", "open")


def of_start(steps: Steps) -> Filter:
    """Sessions with the first step."""
    return chain(steps[:1])


def of_step(steps: Steps, number: int) -> Filter:
    """Sessions that came as far as a step, by its number among those that shall come, from 1 on."""
    return chain(steps[: coming(steps)[number - 1]])


def of_outcome(steps: Steps) -> Mapping[Outcome, Filter]:
    """Sessions by what became of them."""
    completed, late = chain(steps), at_any_time(steps)
    # Whoever completed it in time did so at any time.
    never: tuple[Filter, ...] = (
        of_start(steps),
        Not(late),
        *(() if late == completed else (Not(completed),)),
    )
    found: dict[Outcome, Filter] = {
        "completed": completed,
        "timed_out": All((late, Not(completed))),
        "error": All((*never, _BAD)),
        "going_on": All((*never, Not(_BAD), _OPEN)),
        "abandoned": All((*never, Not(_BAD), Not(_OPEN))),
    }
    return {name: found[name] for name in OUTCOMES if name != "timed_out" or has_times(steps)}
