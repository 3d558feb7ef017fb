"""Which events of a session a filter asks for: what its page points at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from pipeline.query.filters.check import checked
from pipeline.query.filters.sequence import Moment, first_chain
from pipeline.query.filters.sql import step_conditions
from pipeline.query.filters.tree import All, AnyOf, CountEvents, Filter, HasEvent, Not, Test
from pipeline.query.statement import Statement

_MOST_BITS = 64
"""Of a number in ClickHouse; events beyond them are not pointed at."""
Asked: TypeAlias = HasEvent | CountEvents


def asked_events(filter: Filter) -> tuple[Asked, ...]:
    """The events that a filter wants to be there, in its order; not those that shall not be there."""
    return tuple(_asked(filter, wanted=True))


def _asked(filter: Filter, *, wanted: bool) -> Iterator[Asked]:
    match filter:
        case All(filters) | AnyOf(filters):
            for each in filters:
                yield from _asked(each, wanted=wanted)
        case Not(inner):
            yield from _asked(inner, wanted=not wanted)
        case HasEvent() | CountEvents():
            if wanted:
                yield filter
        case Test():
            return


def event_mask(filter: Filter, prefix: str = "f") -> Statement:
    """An expression over an event: bit i says that it passes as step i, all steps of all that is asked counted on.

    Zero where the filter asks for no event. Raises FilterError.
    """
    steps = [step for each in asked_events(checked(filter)) for step in _steps(each)][:_MOST_BITS]
    conditions, parameters = step_conditions(steps, prefix)
    bits = [f"bitShiftLeft(toUInt64({sql}), {place})" for place, sql in enumerate(conditions)]
    return Statement(" + ".join(bits) or "toUInt64(0)", parameters)


def first_match(filter: Filter, events: Sequence[Moment]) -> tuple[int, ...]:
    """The places of the events that a session is found by, in order.

    `events` are those of the session, in order, with the mask of `event_mask`. Of a row of events the first one that
    there is, of a number of events the first so many, or all of them where a filter wants no more than so many.
    """
    found: set[int] = set()
    bit = 0
    for each in asked_events(filter):
        steps = _steps(each)
        own = (1 << len(steps)) - 1
        found.update(_of_one(each, [Moment(event.time_ms, event.mask >> bit & own) for event in events]))
        bit += len(steps)
    return tuple(sorted(found))


def _of_one(asked: Asked, events: Sequence[Moment]) -> Iterable[int]:
    if isinstance(asked, HasEvent):
        return first_chain(asked.steps(), events)
    places = [place for place, event in enumerate(events) if event.mask]
    if asked.operator != "gte":
        passes = len(places) == asked.number if asked.operator == "eq" else len(places) <= asked.number
        return places if passes else ()
    for first in range(len(places) - asked.number + 1) if asked.number else ():
        together = places[first : first + asked.number]
        if (
            asked.within_ms is None
            or events[together[-1]].time_ms - events[together[0]].time_ms <= asked.within_ms
        ):
            return together
    return ()


def _steps(asked: Asked) -> tuple[Asked, ...]:
    return asked.steps() if isinstance(asked, HasEvent) else (asked,)
