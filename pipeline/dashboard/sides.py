"""The two sides of a comparison as an address says them: a group each, and where they differ a range each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from pipeline.dashboard.address import BadAddress, SessionChoice
from pipeline.dashboard.leads import group_filter, of_all
from pipeline.dashboard.words import iso
from pipeline.query import compare
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.tree import EVERYTHING, All, Filter, parts_of
from pipeline.query.metric_definitions import in_group
from pipeline.query.statement import Statement

SIDES = ("a", "b")


@dataclass(frozen=True, slots=True)
class AskedSide:
    """One side: the sessions of a group that pass a filter and start in a range."""

    app: str
    by: str
    group: str
    start_ms: int
    end_ms: int
    filter: Filter
    """Without the group."""
    has_own_range: bool = False

    @property
    def side(self) -> compare.Side:
        """For statements."""
        condition = in_group(self.by, self.group)
        if self.filter != EVERYTHING:
            other = where(self.filter, scope=FilterScope(self.app, self.start_ms, self.end_ms))
            condition = Statement(
                f"({other.sql}) AND ({condition.sql})", {**other.parameters, **condition.parameters}
            )
        return compare.Side(condition, self.start_ms, self.end_ms)

    @property
    def whole(self) -> Filter | None:
        """All its sessions as a filter; None where no filter says the group."""
        group = group_filter(self.by, self.group)
        return None if group is None else All((*parts_of(group), *parts_of(self.filter)))

    def sessions_at(self, *tests: Filter) -> str | None:
        """Where those of its sessions are listed that pass some tests; None where no filter says it."""
        whole = self.whole
        text = None if whole is None else of_all(All((*tests, *parts_of(whole))))
        return None if text is None else self.listed(text)

    def listed(self, filter: str) -> str:
        """Where the sessions of its app and range that pass a filter are listed."""
        own = {"app": self.app, "from": iso(self.start_ms), "to": iso(self.end_ms)}
        return f"/sessions?{urlencode({**own, 'filter': filter})}"


def sides_of(
    query: Mapping[str, str], app: str, by: str, span: tuple[int, int], filter: Filter
) -> tuple[AskedSide, AskedSide] | None:
    """What an address compares, each side in `a_from` to `a_to` (`b_from`, `b_to`) or else in the range of the page
    (Unix milliseconds); None where it names no two groups. Raises BadAddress."""
    if not all(name in query for name in SIDES):
        return None
    # An empty name is a group too: the sessions without one.
    first, second = (_side(query, name, app, by, span, filter) for name in SIDES)
    return first, second


def _side(
    query: Mapping[str, str], name: str, app: str, by: str, span: tuple[int, int], filter: Filter
) -> AskedSide:
    own = SessionChoice.of({end: query.get(f"{name}_{end}", "") for end in ("from", "to")})
    start_ms = span[0] if own.start_ms is None else own.start_ms
    end_ms = span[1] if own.end_ms is None else own.end_ms
    if start_ms >= end_ms:
        raise BadAddress("The time range of a side ends before it begins.")
    return AskedSide(app, by, query[name], start_ms, end_ms, filter, (start_ms, end_ms) != span)
