"""Cohorts: filters that were saved under a name, by which every page can be narrowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.dashboard.address import BadAddress
from pipeline.dashboard.reader import Reader
from pipeline.query import saved
from pipeline.query.filters.text_form import parse
from pipeline.query.filters.tree import EVERYTHING, Filter

FIELD = "cohort"
"""The field of an address that names one."""


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Those that an app has, and the one that is asked for."""

    names: Sequence[str] = ()
    chosen: str = ""
    filter: Filter = EVERYTHING
    """Of the chosen one."""
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Name to the app that it was saved for, empty for all apps, and to its filter."""

    def narrowed(self, filter: Filter) -> Filter:
        """The sessions of the cohort that pass a filter. Raises FilterError where that is too much."""
        return saved.narrowed(self.filter, filter)


async def cohorts(reader: Reader, app: str, query: Mapping[str, str]) -> Cohorts:
    """Those of an app, and those of all apps where the app has none of the name.

    Raises BadAddress for a name that none has, FilterError for one whose filter no longer holds, and `NotAnswered`.
    """
    texts: dict[str, tuple[str, str]] = {
        row["name"]: (row["app_id"], row["filter"]) for row in await reader.rows(saved.named_filters(app))
    }
    name = query.get(FIELD, "").strip()
    if not name:
        return Cohorts(sorted(texts), texts=texts)
    if name not in texts:
        raise BadAddress(f"No filter is saved as “{name[:80]}”{f' for {app}' if app else ''}.")
    return Cohorts(sorted(texts), name, parse(texts[name][1]), texts)
