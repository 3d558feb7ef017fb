"""Events in order: A then B within a time, A then no B; as SQL over the events of a session, and over them in Python.

Both go through the events once and keep, for each event that there shall be, when it came last with all before it as
asked. (A later one is as good as any: it is nearer to what shall come within a time, and has less behind it in which
something absent could have come.) Of what shall not come at the end the earliest is kept that waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.query.filters.tree import HasEvent

_NEVER = -(10**15)
"""A time in milliseconds, longer ago than any duration in a filter."""


class _Link(NamedTuple):
    """An event that there shall be, what may not stand between it and the one before, and how far apart they may be."""

    step: int
    absent: tuple[int, ...]
    within_ms: int | None


class _Plan(NamedTuple):
    links: list[_Link]
    absent: tuple[int, ...]
    """What may not come after all of them."""
    for_ms: int | None
    """For how long not; None to the end of the session."""


def _plan(steps: Sequence[HasEvent]) -> _Plan:
    links: list[_Link] = []
    absent: tuple[int, ...] = ()
    for place, step in enumerate(steps):
        if step.is_absent:
            absent += (place,)
        else:
            links.append(_Link(place, absent, step.within_ms))
            absent = ()
    return _Plan(links, absent, steps[-1].within_ms if absent else None)


def in_order(steps: Sequence[HasEvent]) -> str:
    """A condition over the events `e` of a session, aggregated; bit i of `mask` says that one passes as step i."""
    if len(steps) == 1:
        return "max(bitTest(e.mask, 0)) = 1"
    plan = _plan(steps)
    events = "arraySort(groupArray((toUnixTimestamp64Milli(e.time), e.rank, e.seq, e.event_id, e.mask)))"
    last = len(plan.links)
    if not plan.absent and all(link.within_ms is None and not link.absent for link in plan.links):
        # Taking each step as early as can be finds a way if there is one, at a third of the price.
        return (
            "arrayFold((taken, event) -> toUInt8(taken + bitTest(event.5, taken)),"
            # Where more steps than these have a bit, it may go on beyond them.
            f" {events}, toUInt8(0)) >= {last}"
        )
    kept = [_kept(plan, place) for place in range(last)]
    waiting = f"reached[{last}]"
    passes = f"{waiting} != {_NEVER}"
    if plan.absent:
        hit, comes = _hit(plan, last - 1), _any_of(plan.absent)
        kept[-1] = (
            f"if({comes}, if({hit}, event.1, {_NEVER}), if({hit} AND {waiting} = {_NEVER}, event.1, {waiting}))"
        )
        if plan.for_ms is not None:
            # One that waited long enough has passed, whatever becomes of the next.
            done = f"{waiting} != {_NEVER} AND event.1 - {waiting} > {plan.for_ms}"
            kept.append(f"if({comes} AND {done}, event.1, reached[{last + 1}])")
            passes = f"({passes} OR reached[{last + 1}] != {_NEVER})"
    initial = ", ".join([f"toInt64({_NEVER})"] * len(kept))
    fold = f"arrayFold((reached, event) -> [{', '.join(f'toInt64({each})' for each in kept)}], {events}, [{initial}])"
    return f"arrayExists(reached -> {passes}, [{fold}])"


def _hit(plan: _Plan, place: int) -> str:
    """Whether an event is the one of a link, with all before it as asked. Arrays begin with 1."""
    link = plan.links[place]
    parts = [f"bitTest(event.5, {link.step})"]
    if place:
        parts.append(f"reached[{place}] != {_NEVER}")
        if link.within_ms is not None:
            parts.append(f"event.1 - reached[{place}] <= {link.within_ms}")
    return f"({' AND '.join(parts)})"


def _kept(plan: _Plan, place: int) -> str:
    """When the event of a link came last, in place of the last one: gone if something comes that may not."""
    before = f"reached[{place + 1}]"
    absent = plan.links[place + 1].absent if place + 1 < len(plan.links) else ()
    otherwise = f"if({_any_of(absent)}, {_NEVER}, {before})" if absent else before
    return f"if({_hit(plan, place)}, event.1, {otherwise})"


def _any_of(steps: tuple[int, ...]) -> str:
    return f"({' OR '.join(f'bitTest(event.5, {step})' for step in steps)})"


def at_least(number: int, within_ms: int | None) -> str:
    """A condition over the aggregated events `e` of a session: so many, in a time as short as that."""
    if within_ms is None or number < 2:
        return f"count() >= {number}"
    times = "arraySort(groupArray(toUnixTimestamp64Milli(e.time)))"
    return (
        f"(count() >= {number} AND arrayExists(times -> arrayExists((first, last) -> last - first <= {within_ms},"
        f" arraySlice(times, 1, greatest(toInt64(length(times)) - {number - 1}, 0)), arraySlice(times, {number})),"
        f" [{times}]))"
    )


class Moment(NamedTuple):
    """An event of a session: its time, and which steps it passes as (bit i: step i)."""

    time_ms: int
    mask: int


def first_chain(steps: Sequence[HasEvent], events: Iterable[Moment]) -> tuple[int, ...]:
    """The places of the events, in their order, that are the steps for the first time; none where they never are."""
    plan = _plan(steps)
    last = len(plan.links) - 1
    reached: list[tuple[int, tuple[int, ...]] | None] = [None] * len(plan.links)
    for position, event in enumerate(events):
        before = list(reached)
        waiting = before[last] if plan.absent else None
        comes = _is_any(plan.absent, event)
        if waiting and plan.for_ms is not None and event.time_ms - waiting[0] > plan.for_ms and comes:
            return waiting[1]
        for place, link in enumerate(plan.links):
            path = _path(link, before[place - 1] if place else None, place, event)
            if path is not None:
                chain = (*path, position)
                if place == last and not plan.absent:
                    return chain
                if place < last or comes or before[last] is None:
                    reached[place] = (event.time_ms, chain)
            elif comes if place == last else _is_any(plan.links[place + 1].absent, event):
                reached[place] = None
    found = reached[last]
    return found[1] if found and plan.absent else ()


def _path(
    link: _Link, before: tuple[int, tuple[int, ...]] | None, place: int, event: Moment
) -> tuple[int, ...] | None:
    """The places before an event that is the one of a link; None if it is not."""
    if not event.mask >> link.step & 1:
        return None
    if place == 0:
        return ()
    if before is None or (link.within_ms is not None and event.time_ms - before[0] > link.within_ms):
        return None
    return before[1]


def _is_any(steps: tuple[int, ...], event: Moment) -> bool:
    return any(event.mask >> step & 1 for step in steps)
