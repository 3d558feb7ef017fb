"""What a filter takes to tell: a session's own row, events, other sessions of its device; or an index finds them."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.query.dimensions import CRASH_GROUP, FIRST, OF_EVENTS, RETURNED, STITCHED_LENGTH, dimension
from pipeline.query.filters.tree import All, AnyOf, CountEvents, Filter, HasEvent, Not, Scalar, Test

OVER_DEVICES = (FIRST, STITCHED_LENGTH, RETURNED)
"""Dimensions that take the other sessions of the device to tell."""


def reads_much(filter: Filter) -> bool:
    """Whether it reads much beside the sessions' own rows: events, or the other sessions of devices.

    Crashes have a small table of their own.
    """
    return any(
        not isinstance(asked, Test) or asked.dimension in OVER_DEVICES or asked.dimension in OF_EVENTS
        for asked in _asks(filter)
    )


def reads_crashes(filter: Filter) -> bool:
    """Whether it reads the table of crashes."""
    return any(isinstance(asked, Test) and asked.dimension == CRASH_GROUP for asked in _asks(filter))


def _asks(filter: Filter) -> Iterator[Test | HasEvent | CountEvents]:
    """What it asks of a session, wherever in the tree that stands; the tests of an event are a part of its ask."""
    match filter:
        case All(filters) | AnyOf(filters):
            for each in filters:
                yield from _asks(each)
        case Not(inner):
            yield from _asks(inner)
        case _:
            yield filter


def points_out(filter: Filter) -> bool:
    """Whether only sessions that share an id pass, which are few: an index finds them wherever they are."""
    if isinstance(filter, All):
        return any(points_out(each) for each in filter.filters)
    # Sessions without a user or an id of the SDK's are many.
    return is_of_an_id(filter) and isinstance(filter, Test) and "" not in all_of(filter)


def is_of_an_id(filter: Filter) -> bool:
    """Whether it compares an id that has an index."""
    if not isinstance(filter, Test) or filter.operator not in ("eq", "in"):
        return False
    found = dimension(filter.dimension)
    return found is not None and found.points_out


def all_of(test: Test) -> tuple[Scalar, ...]:
    """The values that a test compares with."""
    return test.value if isinstance(test.value, tuple) else (test.value,)
