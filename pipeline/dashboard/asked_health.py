"""Whose health an address asks for: of which app and sessions, when, split by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from pipeline.dashboard.address import BadAddress, SessionChoice
from pipeline.dashboard.asked import KnownApps, range_of
from pipeline.dashboard.cohorts import Cohorts, cohorts
from pipeline.dashboard.reader import Reader
from pipeline.dashboard.sides import AskedSide, sides_of
from pipeline.dashboard.viewer import about
from pipeline.dashboard.words import iso
from pipeline.query.dimensions import split
from pipeline.query.filters.messages import unsplittable
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.text_form import parse
from pipeline.query.filters.tree import EVERYTHING, All, Filter, parts_of
from pipeline.query.metric_definitions import Bucket
from pipeline.query.session_range import BEFORE_MS
from pipeline.query.statement import Statement

_DAY_MS = 86_400_000

Sides = tuple[AskedSide, AskedSide]


@dataclass(frozen=True, slots=True)
class AskedHealth:
    """Whose health, when, and split by what."""

    app: str
    start_ms: int
    end_ms: int
    by: str
    filter: Filter
    """With that of the cohort."""
    text: str
    """The filter as it was written, without the cohort."""
    cohorts: Cohorts
    newest_ms: int
    """When the newest session started."""

    @property
    def condition(self) -> Statement | None:
        """The filter in SQL, over the sessions that start in the range; None where every session passes."""
        return self._condition(self.start_ms)

    @property
    def condition_before(self) -> Statement | None:
        """The same over the sessions that failures of the range can be of, and those of the whole of its first day."""
        return self._condition(max(0, self.start_ms - BEFORE_MS))

    def _condition(self, start_ms: int) -> Statement | None:
        if self.filter == EVERYTHING:
            return None
        return where(self.filter, scope=FilterScope(self.app, start_ms, self.end_ms, self.newest_ms))

    @property
    def by_label(self) -> str:
        """What it is split by, as the page calls it."""
        found = split(self.by)
        assert found is not None, "an unknown name is refused"
        return found.split_label

    @property
    def bucket(self) -> Bucket:
        """As fine as the range allows."""
        days = (self.end_ms - self.start_ms) / _DAY_MS
        return "hour" if days <= 3 else "day" if days <= 120 else "week"

    def sessions_at(self, filter: str | None) -> str | None:
        """Where the sessions of this app and range that pass a filter are listed; None without a filter."""
        return None if filter is None else self.listed(filter)

    def listed(self, filter: str) -> str:
        """The same of a filter that there is."""
        own = {"app": self.app, "from": iso(self.start_ms), "to": iso(self.end_ms)}
        return f"/sessions?{urlencode({**own, 'filter': filter})}"

    def within(self, group: Filter) -> Filter:
        """The sessions that pass the filter and this one."""
        return All((*parts_of(group), *parts_of(self.filter)))

    def sides(self, query: Mapping[str, str]) -> Sides | None:
        """What an address compares. Raises BadAddress."""
        return sides_of(query, self.app, self.by, (self.start_ms, self.end_ms), self.filter)


async def asked_health(reader: Reader, query: Mapping[str, str], known: KnownApps) -> AskedHealth | None:
    """What an address asks for; None where there is no app at all. Raises BadAddress and FilterError."""
    app = query.get("app") or (known.ids[0] if known.ids else "")
    if not app:
        return None
    key, by = query.get("property", "").strip(), query.get("by", "app_version")
    if key:
        by = f"property.{key}"
    if split(by) is None:
        raise BadAddress(unsplittable(by))
    about(app)
    choice = SessionChoice.of(query)
    newest_ms = known.span(app).newest_ms
    start_ms, end_ms = range_of(choice, newest_ms)
    known_cohorts = await cohorts(reader, app, query)
    filter = known_cohorts.narrowed(parse(choice.filter or ""))
    where(filter)  # refuses what no filter may hold
    text = choice.filter or ""
    return AskedHealth(app, start_ms, end_ms, by, filter, text, known_cohorts, newest_ms)
