"""How a session ends badly: the one definition of crashed, hung and gone. SQL, filters and pages follow from it.

The view `session_health` has the first two as `is_crashed` and `is_hung`, and `sessions_over_time` all three; a test
holds the views to what is said here. `free_of` has the shares that are free of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.query.filters.tree import All, AnyOf, Filter, Not, Test


@dataclass(frozen=True, slots=True)
class BadEnd:
    """A way to end badly: an event says so, or the reason of the end, or what the system told of it afterwards."""

    counters: tuple[str, ...]
    """Of these events there is one in the session."""
    reasons: tuple[str, ...]
    """One of these stands in `end_reason` or `exit_reason`."""

    @property
    def sql(self) -> str:
        """As a condition over the columns of a session."""
        one = f"= '{self.reasons[0]}'" if len(self.reasons) == 1 else f"IN {self.reasons}"
        tests = [f"{counter} > 0" for counter in self.counters]
        return f"({' OR '.join([*tests, f'end_reason {one}', f'exit_reason {one}'])})"

    @property
    def filter(self) -> Filter:
        """As a filter."""
        tests = [Test(f"session.{counter}", "gt", 0) for counter in self.counters]
        for name in ("session.end_reason", "session.exit_reason"):
            is_one = len(self.reasons) == 1
            tests.append(Test(name, "eq", self.reasons[0]) if is_one else Test(name, "in", self.reasons))
        return AnyOf(tuple(tests))

    def is_of(self, session: Mapping[str, Any]) -> bool:
        """Whether a session ended so, by its row."""
        counted = any(int(session[counter]) for counter in self.counters)
        return counted or not {session["end_reason"], session["exit_reason"]}.isdisjoint(self.reasons)


@dataclass(frozen=True, slots=True)
class EndedBy:
    """That the session itself ended for a reason. What the system told of the process later is not asked: apps in the
    background are closed and killed as a matter of course."""

    reason: str

    @property
    def sql(self) -> str:
        """As a condition over the columns of a session."""
        return f"(end_reason = '{self.reason}')"

    @property
    def filter(self) -> Filter:
        """As a filter."""
        return Test("session.end_reason", "eq", self.reason)


OUT_OF_MEMORY, FORCE_QUIT = EndedBy("out_of_memory"), EndedBy("user_terminated")
"""The system took the app's memory away; the user closed the app. Both while it was in use."""

CRASHED = BadEnd(("crash_count",), ("crash", "exception"))
HUNG = BadEnd(("anr_count",), ("anr",))
GONE = BadEnd((), ("out_of_memory", "unclean_exit"))
"""The system ended the process, or it was gone without a word."""
_ALL: Mapping[str, BadEnd] = {"crashed": CRASHED, "hung": HUNG, "gone": GONE}
"""The worst first: a session that is of several counts in the first."""

ANY = BadEnd(
    tuple(counter for each in _ALL.values() for counter in each.counters),
    tuple(reason for each in _ALL.values() for reason in each.reasons),
)
"""Any of them."""

AS_SQL: Mapping[str, str] = {
    "crashed": CRASHED.sql,
    "hung": f"(NOT {CRASHED.sql} AND {HUNG.sql})",
    "gone": f"(NOT {CRASHED.sql} AND NOT {HUNG.sql} AND {GONE.sql})",
}
"""Each session in one at most, as conditions."""
AS_FILTERS: Mapping[str, Filter] = {
    "crashed": CRASHED.filter,
    "hung": All((HUNG.filter, Not(CRASHED.filter))),
    "gone": All((GONE.filter, Not(CRASHED.filter), Not(HUNG.filter))),
}
"""The same as filters."""
