"""What a filter is: a tree of tests over one session, its device, user and events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pipeline.errors import Terminal

Scalar: TypeAlias = str | int | float | bool
"""Times are Unix milliseconds."""
Value: TypeAlias = Scalar | tuple[Scalar, ...]
"""Several for `in`; two, the lower first, for `between`; True for `exists`."""


class FilterError(Terminal):
    """What was asked for is not a filter; the message is one line and names what is allowed."""


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison: of a dimension of the session, or inside `HasEvent` of an attribute of the event."""

    __test__ = False  # pytest takes classes of this name for its own

    dimension: str
    operator: str
    value: Value = True


@dataclass(frozen=True, slots=True)
class HasEvent:
    """The session holds an event of this name that passes all tests."""

    name: str
    tests: tuple[Test, ...] = ()
    then: HasEvent | None = None
    """And later in the session another one."""

    def steps(self) -> tuple[HasEvent, ...]:
        """This event and those that follow it, in order."""
        return (self, *(self.then.steps() if self.then else ()))


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


Filter: TypeAlias = All | AnyOf | Not | Test | HasEvent

EVERYTHING = All(())
