"""Release health: how versions do over time, and two of them side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.address import BadAddress, SessionChoice
from pipeline.dashboard.asked import range_of
from pipeline.dashboard.cohorts import Cohorts, cohorts
from pipeline.dashboard.leads import of_crash, of_group, of_request
from pipeline.dashboard.page import render
from pipeline.dashboard.pages.sessions import apps, field_of, span
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.tables import chart, is_version, ordered, returns
from pipeline.dashboard.verdict import Line, compared
from pipeline.dashboard.words import iso
from pipeline.query.compare import compare
from pipeline.query.dimensions import SPLITS, split
from pipeline.query.failures import failing_requests, top_crashes
from pipeline.query.filters.json_form import EVERYTHING, Filter, FilterError
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.text_form import parse
from pipeline.query.metric_definitions import IN_CHARTS, IN_TABLE, METRICS, Bucket, in_group
from pipeline.query.metrics import metric, retention
from pipeline.query.statement import Statement
from pipeline.query.suggestions import values_of

_DAY_MS = 86_400_000
_BEFORE_MS = 2 * _DAY_MS
"""How long before the range sessions of failures in it may have started."""
_RETURN_DAYS = (1, 2, 3, 7, 14, 30)
_GROUPS = 6
"""That stand for themselves; all others are one."""
OFFERED: Mapping[str, str] = {each.split: each.split_label for each in SPLITS.values() if each.is_offered}
"""What the page offers to split by, and how it calls it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose health, when, and split by what."""

    app: str
    start_ms: int
    end_ms: int
    by: str
    filter: Filter
    """With that of the cohort."""
    cohorts: Cohorts

    @property
    def condition(self) -> Statement | None:
        """The filter in SQL, over the sessions that start in the range; None where every session passes."""
        return self._condition(self.start_ms)

    @property
    def condition_before(self) -> Statement | None:
        """The same over the sessions that failures of the range can be of, and those of the whole of its first day."""
        return self._condition(max(0, self.start_ms - _BEFORE_MS))

    def _condition(self, start_ms: int) -> Statement | None:
        if self.filter == EVERYTHING:
            return None
        return where(self.filter, scope=FilterScope(self.app, start_ms, self.end_ms))

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
        own = {"app": self.app, "from": iso(self.start_ms), "to": iso(self.end_ms)}
        return None if filter is None else f"/sessions?{urlencode({**own, 'filter': filter})}"


class HealthPage:
    """`/health`: of an `app`, split `by`, with `a` and `b` compared."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page; a mistake in the address is told on it."""
        query = request.query_params
        known = await apps(self._reader)
        problem, asked = "", None
        try:
            asked = await self._asked(query, known)
        except (BadAddress, FilterError) as error:
            problem = str(error)
        values: dict[str, Any] = {
            "apps": known,
            "app": asked.app if asked else query.get("app", ""),
            # What an address may ask for besides has to be there as well: or the form would ask for something else.
            "splits": {
                **OFFERED,
                **({asked.by: asked.by_label} if asked and not query.get("property") else {}),
            },
            "property": query.get("property", ""),
            "filter": query.get("filter", ""),
            "by": query.get("by", "app_version"),
            "problem": problem,
            "a": query.get("a", ""),
            "b": query.get("b", ""),
            "asked": asked,
            "cohorts": asked.cohorts if asked else Cohorts(),
            "start": field_of(asked.start_ms) if asked else "",
            "end": field_of(asked.end_ms) if asked else "",
        }
        if asked is None:
            return render(request, "health.html", status=400 if problem else 200, totals=[], **values)
        # An empty name is a group too: the sessions without one.
        two = (query["a"], query["b"]) if "a" in query and "b" in query else None
        return render(request, "health.html", **values, **await self._answers(asked, two))

    async def retention(self, request: Request) -> Response:
        """How many devices come back, which takes what came before the range and therefore comes later."""
        query = request.query_params
        try:
            asked = await self._asked(query, ())
        except (BadAddress, FilterError) as error:
            raise HTTPException(400, str(error)) from error
        if asked is None:
            raise HTTPException(400, "Name an app.")
        rows = await self._reader.rows(
            retention(
                *(asked.app, asked.start_ms, asked.end_ms, _RETURN_DAYS[-1]),
                by=asked.by, where=asked.condition_before, top=_GROUPS,
            )
        )  # fmt: skip
        return render(
            request,
            "retention.html",
            lines=returns(rows, asked.by, _RETURN_DAYS),
            days=_RETURN_DAYS,
            split=asked.by_label,
        )

    async def _asked(self, query: Mapping[str, str], known: Sequence[str]) -> Asked | None:
        """None where there is no app at all."""
        app = query.get("app") or (known[0] if known else "")
        if not app:
            return None
        key, by = query.get("property", "").strip(), query.get("by", "app_version")
        if key:
            by = f"property.{key}"
        if split(by) is None:
            raise BadAddress(f"Sessions cannot be split by “{by[:40]}”.")
        choice = SessionChoice.of(query)
        start_ms, end_ms = range_of(choice, (await span(self._reader, app)).newest_ms)
        known_cohorts = await cohorts(self._reader, app, query)
        filter = known_cohorts.narrowed(parse(choice.filter or ""))
        where(filter)  # refuses what no filter may hold
        return Asked(app, start_ms, end_ms, by, filter, known_cohorts)

    async def _answers(self, asked: Asked, two: tuple[str, str] | None) -> dict[str, Any]:
        ask = partial(
            metric,
            app_id=asked.app,
            start_ms=asked.start_ms,
            end_ms=asked.end_ms,
            by=asked.by,
            where=asked.condition,
        )
        place = (asked.app, asked.start_ms, asked.end_ms)
        # Half of what each takes is its planning, which ClickHouse does on one core.
        found, series, crashes, requests, keys, lines = await asyncio.gather(
            self._reader.rows(ask(IN_TABLE, top=_GROUPS * 2)),
            self._reader.rows(ask(IN_CHARTS, bucket=asked.bucket, top=_GROUPS)),
            self._reader.rows(top_crashes(*place, where=asked.condition_before)),
            self._reader.rows(failing_requests(*place, where=asked.condition_before)),
            self._reader.rows(values_of(asked.app, "user.property.")),
            self._compared(asked, two),
        )
        totals = [{**row, "sessions_at": _of_group(asked, row)} for row in ordered(found, asked.by)]
        return {
            "property_keys": [row["word"] for row in keys],
            "totals": totals,
            "metrics": [METRICS[name] for name in IN_TABLE],
            "charts": [
                chart(METRICS[name].label, name, METRICS[name].unit, ordered(series, asked.by))
                for name in IN_CHARTS
                # An app that names no users has none of theirs to draw.
                if any(row[name] for row in series)
            ],
            "bucket": asked.bucket,
            **_choice_of_two([row["group"] for row in totals if not row["is_other"]], asked.by, two),
            "compared": lines,
            "crashes": [
                {
                    **row,
                    "sessions_at": asked.sessions_at(
                        of_crash(row["exception_type"], row["message"], asked.filter)
                    ),
                }
                for row in crashes
            ],
            "requests": [
                {
                    **row,
                    "sessions_at": asked.sessions_at(of_request(row["request"], row["status"], asked.filter)),
                }
                for row in requests
            ],
        }

    async def _compared(self, asked: Asked, two: tuple[str, str] | None) -> list[Line] | None:
        if two is None:
            return None
        first, second = (_and(asked.condition, in_group(asked.by, value)) for value in two)
        rows = await self._reader.rows(compare(asked.app, first, second, asked.start_ms, asked.end_ms))
        return compared(rows[0], rows[1])


def _choice_of_two(groups: list[str], by: str, two: tuple[str, str] | None) -> dict[str, Any]:
    """What can be compared, and what is chosen: of versions the one before the newest, and the newest."""
    first, second = (groups + groups)[:2] if groups else ("", "")
    if is_version(by):
        first, second = second, first
    return {"groups": groups, "chosen": two or (first, second)}


def _of_group(asked: Asked, row: Row) -> str | None:
    return None if row["is_other"] else asked.sessions_at(of_group(asked.by, row["group"], asked.filter))


def _and(condition: Statement | None, other: Statement) -> Statement:
    if condition is None:
        return other
    return Statement(f"({condition.sql}) AND ({other.sql})", {**condition.parameters, **other.parameters})
