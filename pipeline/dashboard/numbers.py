"""Where the numbers of release health lead: to the sessions that each of them counts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.dashboard.leads import CRASHED, HUNG, of_all
from pipeline.dashboard.reader import Row
from pipeline.query import bad_ends, free_of
from pipeline.query.dimensions import USER
from pipeline.query.filters.tree import All, Filter, Not, Test, parts_of
from pipeline.query.free_of import FREE_OF, RATED, WHOLES

_FOREGROUND = Test("session.state", "eq", "foreground")
_NAMED = Test(USER, "exists")
_OF_COUNTS: Mapping[str, tuple[str, tuple[Filter, ...]]] = {
    "users": ("Sessions that name somebody", (_NAMED,)),
    "background_sessions": ("Background sessions", (Not(_FOREGROUND),)),
    "background_crashes": ("Background sessions that crashed", (Not(_FOREGROUND), CRASHED)),
    "cold_start_p50": ("Sessions that begin with a cold start", (Test("session.cold_start", "eq", True),)),
}
"""Of all others it is every session of the group."""
_FAILED: Mapping[str, tuple[Filter, str]] = {
    free_of.CRASHED: (CRASHED, "crashed"),
    free_of.HUNG: (HUNG, "hung"),
    free_of.OUT_OF_MEMORY: (bad_ends.OUT_OF_MEMORY.filter, "ran out of memory"),
    free_of.FORCE_QUIT: (bad_ends.FORCE_QUIT.filter, "the user closed"),
}


@dataclass(frozen=True, slots=True)
class Lead:
    """Where a number leads."""

    address: str
    title: str
    """What is listed there."""


def leads_of(row: Row, group: Filter, address: Callable[[str], str]) -> dict[str, Lead]:
    """Of each number of a row of metrics, or of a side of a comparison, where it leads; without those that no filter
    says. `address` has the list of the sessions that pass a filter.

    A share that is free of failures leads to the sessions that failed, or where none did to all that it is of.
    """
    wanted: dict[str, tuple[str, tuple[Filter, ...]]] = {
        name: _OF_COUNTS.get(name, ("Its sessions", ())) for name in row if name in _KNOWN
    }
    for each in FREE_OF:
        if each.name not in row:
            continue
        free, whole = _share_of(row, each.name, f"rated_{each.whole}")
        failed, words = _FAILED[each.condition]
        title = f"Sessions in the foreground that {words}" if free < whole else "Sessions in the foreground"
        named = (_NAMED,) if each.whole == "users" else ()
        wanted[each.name] = title, (_FOREGROUND, *named, *((failed,) if free < whole else ()))
    written = {name: (of_all(_both(group, tests)), title) for name, (title, tests) in wanted.items()}
    return {name: Lead(address(text), title) for name, (text, title) in written.items() if text is not None}


def columns_of(name: str, groups: Sequence[Filter | None]) -> list[dict[str, str]]:
    """Of a metric in a table of groups (None where no filter says one) the filters that its numbers lead to: `whole`,
    and `failed` where a share is not all; empty where none can be written."""
    rows = ({name: 1, f"{name}_numerator": free, f"{name}_denominator": 1} for free in (1, 0))
    whole, failed = (
        [leads_of(row, group, str).get(name) if group else None for group in groups] for row in rows
    )
    return [
        {"whole": all_.address if all_ else "", "failed": some.address if some else ""}
        for all_, some in zip(whole, failed, strict=True)
    ]


def _both(group: Filter, tests: Sequence[Filter]) -> Filter:
    return All((*parts_of(group), *tests))


def _share_of(row: Row, name: str, rated: str) -> tuple[int, int]:
    """How many, of how many: metrics and comparisons have them in columns of different names."""
    if rated in row:
        return int(row[name]), int(row[rated])
    return int(row[f"{name}_numerator"] or 0), int(row[f"{name}_denominator"] or 0)


_KNOWN = {
    *WHOLES, *(f"rated_{name}" for name in RATED), *_OF_COUNTS,
    "adoption", "duration_p50", "duration_p95", "duration_value",
}  # fmt: skip
