"""What lists of stitched sessions, users, screens and requests are asked for: an app, a range, a filter, a cohort."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from pipeline.dashboard.address import BadAddress, SessionChoice, require_order
from pipeline.dashboard.asked import known_apps
from pipeline.dashboard.cohorts import FIELD, Cohorts, cohorts
from pipeline.dashboard.page import link
from pipeline.dashboard.pages.sessions import after_newest, field_of
from pipeline.dashboard.reader import Reader
from pipeline.dashboard.viewer import about
from pipeline.dashboard.words import iso
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.text_form import parse, to_text
from pipeline.query.filters.tree import EVERYTHING, Filter, FilterError
from pipeline.query.session_counts import kept_rate
from pipeline.query.session_range import EVERYTHING as EVERY_SESSION
from pipeline.query.statement import Statement
from pipeline.query.units import ListPlace

_DAY_MS = 86_400_000
DAYS = 7
"""Shown where neither the address nor the page names a range, up to the newest session."""
_RANGES = (("last day", 1), ("7 days", 7), ("30 days", 30))


@dataclass(slots=True)
class Narrowed:
    """What an address asks for, as far as it makes sense."""

    app: str = ""
    """Empty where there is no app at all."""
    apps: Sequence[str] = ()
    start_ms: int = 0
    end_ms: int = 0
    newest_ms: int = 0
    text: str = ""
    """The filter as it was written."""
    filter: Filter = EVERYTHING
    """Cohort and filter together."""
    cohorts: Cohorts = field(default_factory=Cohorts)
    after: ListPlace | None = None
    kept_rate: float = 1.0
    """The lowest share of devices that was kept in the range."""
    problem: str = ""

    @property
    def condition(self) -> Statement:
        """The filter in SQL, over the sessions that start in the range."""
        return self.condition_around()

    def condition_around(self, *, before_ms: int = 0, after_ms: int = 0) -> Statement:
        """The same of sessions that start in the range, or so long before or after it."""
        if self.filter == EVERYTHING:
            return EVERY_SESSION
        start_ms = max(0, self.start_ms - before_ms)
        scope = FilterScope(self.app, start_ms, self.end_ms + after_ms, self.newest_ms)
        return where(self.filter, scope=scope)

    def fields(self) -> dict[str, object]:
        """Of its address, without the place where it goes on."""
        return {
            "app": self.app,
            "from": iso(self.start_ms),
            "to": iso(self.end_ms),
            "filter": self.text,
            FIELD: self.cohorts.chosen,
        }

    def sessions_at(self) -> str:
        """Where the sessions are listed."""
        own = {"app": self.app, "from": iso(self.start_ms), "to": iso(self.end_ms)}
        # With an empty filter as well: without one it would be the one that the app begins with.
        return f"/sessions?{urlencode({**own, 'filter': to_text(self.filter)})}"

    def values(self, path: str, **more: object) -> dict[str, Any]:
        """What the form of such a page shows (choice.html)."""
        own = {**self.fields(), **more}
        return {
            "at": path,
            "any_range_at": link(path, **{**own, "from": "", "to": ""}),
            "asked": self,
            "start": field_of(self.start_ms),
            "end": field_of(self.end_ms),
            "ranges": [
                (label, link(path, **{**own, "from": iso(start_ms), "to": ""}), self.start_ms == start_ms)
                for label, days in _RANGES
                for start_ms in [max(0, after_newest(self.newest_ms) - days * _DAY_MS)]
            ],
            "problem": self.problem,
        }


async def narrowed(reader: Reader, request: Request, *, days: int = DAYS) -> Narrowed:
    """What the address of a list asks for; a mistake in it is told by `problem`. Raises `NotAnswered`.

    Without a range it is so many `days`, up to the newest session.
    """
    query = request.query_params
    named = query.get("app", "").strip()
    known = await known_apps(reader, named)
    asked = Narrowed(app=named or (known.ids[0] if known.ids else ""), apps=known.ids)
    about(asked.app)
    asked.text = query.get("filter", "").strip()
    asked.newest_ms = known.span(asked.app).newest_ms
    asked.end_ms = after_newest(asked.newest_ms)
    asked.start_ms = max(0, asked.end_ms - days * _DAY_MS)
    try:
        choice = SessionChoice.of(query)
        if choice.end_ms is not None:
            asked.end_ms = choice.end_ms
            asked.start_ms = max(0, asked.end_ms - days * _DAY_MS)
        if choice.start_ms is not None:
            asked.start_ms = choice.start_ms
        require_order(asked.start_ms, asked.end_ms)
        asked.cohorts, asked.kept_rate = await asyncio.gather(
            cohorts(reader, asked.app, query), kept(reader, asked.app, asked.start_ms, asked.end_ms)
        )
        asked.filter = asked.cohorts.narrowed(parse(asked.text))
        where(asked.filter)  # refuses what no filter may hold
        asked.after = ListPlace.parse(query["after"]) if query.get("after") else None
    except BadAddress as error:
        asked.problem = str(error)
    except FilterError as error:
        asked.problem = f"The filter cannot be read: {error}"
    except ValueError:
        asked.problem = "That page cannot be found. Begin with the first one."
    return asked


async def kept(reader: Reader, app: str, start_ms: int, end_ms: int) -> float:
    """The lowest share of an app's devices that was kept in a range (Unix ms). Raises `NotAnswered`."""
    row = await reader.first(kept_rate(app, start_ms, end_ms)) if app else None
    return float(row["lowest_rate"]) if row else 1.0
