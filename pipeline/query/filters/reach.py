"""What a filter takes to tell: a session's own row, events, other sessions of its device; or an index finds them."""

from __future__ import annotations

from pipeline.query.dimensions import CRASH_GROUP, FIRST, OF_EVENTS, RETURNED, STITCHED_LENGTH, dimension
from pipeline.query.filters.tree import All, AnyOf, CountEvents, Filter, HasEvent, Not, Scalar, Test

OVER_DEVICES = (FIRST, STITCHED_LENGTH, RETURNED)
"""Dimensions that take the other sessions of the device to tell."""


def reads_much(filter: Filter) -> bool:
    """Whether it reads much beside the sessions' own rows: events, or the other sessions of devices.

    Crashes have a small table of their own.
    """
    match filter:
        case All(filters) | AnyOf(filters):
            return any(reads_much(each) for each in filters)
        case Not(inner):
            return reads_much(inner)
        case HasEvent() | CountEvents():
            return True
        case Test(name):
            return name in OVER_DEVICES or name in OF_EVENTS


def reads_crashes(filter: Filter) -> bool:
    """Whether it reads the table of crashes."""
    match filter:
        case All(filters) | AnyOf(filters):
            return any(reads_crashes(each) for each in filters)
        case Not(inner):
            return reads_crashes(inner)
        case HasEvent() | CountEvents():
            return False
        case Test(name):
            return name == CRASH_GROUP


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
