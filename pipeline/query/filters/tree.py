"""What a filter is: a tree of tests over one session, its device, user and events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from pipeline.errors import Terminal

Scalar: TypeAlias = str | int | float | bool
"""Times are Unix milliseconds, or a `Duration` below or at zero (that long before the moment of asking), or a day."""
Value: TypeAlias = Scalar | tuple[Scalar, ...]
"""Several for `in`; two, the lower first, for `between`; True for `exists`."""
Operator: TypeAlias = Literal[
    "eq", "not", "in", "contains", "matches", "gt", "gte", "lt", "lte", "between", "exists"
]
"""What is written from outside may be another: `checked` tells."""


class Duration(int):
    """Milliseconds that a person wrote as a duration, and that are written as one again: `1h30m`, `-7d`."""

    __slots__ = ()


class NamedDay(int):
    """The start of a day, counted from the day of asking in the zone of whoever asks: `today`, `yesterday`."""

    __slots__ = ()


class FilterError(Terminal):
    """What was asked for is not a filter; the message is one line and names what is allowed."""

    def __init__(self, message: str, part: str = "", place: tuple[int, int] | None = None) -> None:
        """`part` is what of a test is wrong: `name`, `operator` or `value`; `place` is known of texts alone."""
        super().__init__(message)
        self.part = part
        self.place = place
        """First character of the text that is at fault, from 0, and the one after its last."""


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison: of a dimension of the session, or inside `HasEvent` of an attribute of the event."""

    __test__ = False  # pytest takes classes of this name for its own

    dimension: str
    operator: Operator
    value: Value = True


@dataclass(frozen=True, slots=True)
class HasEvent:
    """The session holds an event of this name that passes all tests."""

    name: str
    tests: tuple[Test, ...] = ()
    then: HasEvent | None = None
    """And later in the session another one."""
    within_ms: Duration | None = None
    """At most so long after the event before it; of one that is absent, for so long after."""
    is_absent: bool = False
    """There is none: up to the next one that there is, or to the end of the session, or for `within_ms`."""

    def steps(self) -> tuple[HasEvent, ...]:
        """This event and those that follow it, in order."""
        return (self, *(self.then.steps() if self.then else ()))


@dataclass(frozen=True, slots=True)
class CountEvents:
    """The session holds so many events of this name that pass all tests."""

    name: str
    tests: tuple[Test, ...]
    operator: Literal["gte", "eq", "lte"]
    number: int
    within_ms: Duration | None = None
    """So many of them in a time as short as this, wherever it begins; of `gte` alone."""


@dataclass(frozen=True, slots=True)
class All:
    """Every one passes; nothing to pass is passed."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one passes."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It does not pass."""

    filter: Filter


Filter: TypeAlias = All | AnyOf | Not | Test | HasEvent | CountEvents

EVERYTHING = All(())


def parts_of(filter: Filter) -> tuple[Filter, ...]:
    """What all has to pass for the filter to pass, so that more can stand beside it: the parts of an `All`, one level
    deep, none of `EVERYTHING`; any other filter is its own one part."""
    return filter.filters if isinstance(filter, All) else (filter,)
