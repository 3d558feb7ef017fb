"""Release health: how versions do over time, and two of them side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.address import BadAddress, SessionChoice
from pipeline.dashboard.asked import KnownApps, known_apps, range_of
from pipeline.dashboard.cohorts import Cohorts, cohorts
from pipeline.dashboard.families import FAMILIES
from pipeline.dashboard.issues import issue_lines
from pipeline.dashboard.leads import group_filter, of_all, of_request, other_groups
from pipeline.dashboard.narrowed import kept
from pipeline.dashboard.numbers import columns_of, leads_of
from pipeline.dashboard.page import render
from pipeline.dashboard.pages.crashes import AskedCrashes, leads_of_group
from pipeline.dashboard.pages.sessions import field_of
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.sides import AskedSide, sides_of
from pipeline.dashboard.tables import chart, is_version, ordered, returns
from pipeline.dashboard.verdict import compared
from pipeline.dashboard.viewer import about
from pipeline.dashboard.words import day_and_time, iso
from pipeline.query import crashes
from pipeline.query.compare import compare
from pipeline.query.dimensions import FIRST, RETURNED, SPLITS, USER, split
from pipeline.query.failures import failing_requests
from pipeline.query.filters.json_form import EVERYTHING, Filter, FilterError
from pipeline.query.filters.messages import unsplittable
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.text_form import parse
from pipeline.query.filters.tree import All, Test, parts_of
from pipeline.query.issues import MOST, compare_issues
from pipeline.query.metric_definitions import IN_CHARTS, IN_TABLE, METRICS, STEPS_MS, Bucket
from pipeline.query.metrics import retention, whole_and_buckets
from pipeline.query.session_counts import sample
from pipeline.query.statement import Statement
from pipeline.query.time_zone import start_of_day

_DAY_MS = 86_400_000
_BEFORE_MS = 2 * _DAY_MS
"""How long before the range sessions of failures in it may have started."""
_RETURN_DAYS = (1, 2, 3, 7, 14, 30)
_TOP_CRASHES = 10
_GROUPS = 6
"""That stand for themselves; all others are one."""
OFFERED: Mapping[str, str] = {each.split: each.split_label for each in SPLITS.values() if each.is_offered}
"""What the page offers to split by, and how it calls it."""


Sides = tuple[AskedSide, AskedSide]


@dataclass(frozen=True, slots=True)
class Asked:
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
        return self._condition(max(0, self.start_ms - _BEFORE_MS))

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

    @property
    def of_crashes(self) -> AskedCrashes:
        """The crashes of the same sessions."""
        span_ms = self.start_ms, self.end_ms
        return AskedCrashes(self.app, *span_ms, self.filter, self.text, self.cohorts, self.newest_ms)

    def sides(self, query: Mapping[str, str]) -> Sides | None:
        """What an address compares. Raises BadAddress."""
        return sides_of(query, self.app, self.by, (self.start_ms, self.end_ms), self.filter)


class HealthPage:
    """`/health`: of an `app`, split `by`, with `a` and `b` compared."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page; a mistake in the address is told on it."""
        query = request.query_params
        known = await known_apps(self._reader, query.get("app", ""))
        problem, asked, sides = "", None, None
        try:
            asked = await self._asked(query, known)
            sides = asked.sides(query) if asked else None
        except (BadAddress, FilterError) as error:
            problem, asked = str(error), None
        values: dict[str, Any] = {
            "apps": known.ids,
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
            "sides": [_fields_of(side) for side in sides or ()],
            "asked": asked,
            "cohorts": asked.cohorts if asked else Cohorts(),
            "start": field_of(asked.start_ms) if asked else "",
            "end": field_of(asked.end_ms) if asked else "",
        }
        if asked is None:
            return render(request, "health.html", status=400 if problem else 200, totals=[], **values)
        answers = await self._answers(asked, sides)
        issues_at = f"/health/issues?{urlencode(dict(query))}" if sides else ""
        return render(request, "health.html", **values, **answers, issues_at=issues_at)

    async def retention(self, request: Request) -> Response:
        """How many devices come back, which takes what came before the range and therefore comes later."""
        query = request.query_params
        try:
            asked = await self._of_named(query)
        except (BadAddress, FilterError) as error:
            raise HTTPException(400, str(error)) from error
        rows = await self._reader.rows(
            retention(
                *(asked.app, asked.start_ms, asked.end_ms, _RETURN_DAYS[-1]),
                by=asked.by, where=asked.condition_before, top=_GROUPS,
            )
        )  # fmt: skip
        return render(
            request,
            "retention.html",
            lines=_new_devices(asked, returns(rows, asked.by, _RETURN_DAYS)),
            days=_RETURN_DAYS,
            split=asked.by_label,
        )

    async def failures(self, request: Request) -> Response:
        """What fails most often: crashes by group, and requests. All failures of the range are read for it."""
        query = request.query_params
        try:
            asked = await self._of_named(query)
        except (BadAddress, FilterError) as error:
            raise HTTPException(400, str(error)) from error
        place = (asked.app, asked.start_ms, asked.end_ms)
        groups, requests = await asyncio.gather(
            self._reader.rows(
                crashes.groups(place, kind="crash", order="crashes", where=asked.condition, top=_TOP_CRASHES)
            ),
            self._reader.rows(failing_requests(*place, where=asked.condition_before)),
        )
        return render(
            request, "failures.html",
            crashes=[{**row, **leads_of_group(asked.of_crashes, row["crash_group"])} for row in groups],
            crashes_at=asked.of_crashes.list_at,
            requests=[
                {
                    **row,
                    "sessions_at": asked.sessions_at(of_request(row["request"], row["status"], asked.filter)),
                }
                for row in requests
            ],
            health_at=f"/health?{urlencode(dict(query))}",
        )  # fmt: skip

    async def issues(self, request: Request) -> Response:
        """Two groups issue by issue, which takes reading every failure of both."""
        query = request.query_params
        try:
            known = await known_apps(self._reader, query.get("app", ""))
            asked = await self._asked(query, known)
            sides = asked.sides(query) if asked else None
        except (BadAddress, FilterError) as error:
            raise HTTPException(400, str(error)) from error
        if asked is None or sides is None:
            raise HTTPException(400, "Name an app, and two groups to compare.")
        rows = await self._reader.rows(compare_issues(asked.app, *(side.side for side in sides)))
        return render(
            request, "issues.html",
            lines=issue_lines(rows, sides), sides=[_fields_of(side) for side in sides], most=MOST,
            first=rows[0] if rows else None, by_users=bool(rows and int(rows[0]["by_users"])),
            health_at=f"/health?{urlencode(dict(query))}#compare",
        )  # fmt: skip

    async def _of_named(self, query: Mapping[str, str]) -> Asked:
        """Of a part of the page, whose address names the app. Raises as `_asked`, and HTTPException without an app."""
        app = query.get("app", "")
        asked = await self._asked(query, await known_apps(self._reader, app)) if app else None
        if asked is None:
            raise HTTPException(400, "Name an app.")
        return asked

    async def _asked(self, query: Mapping[str, str], known: KnownApps) -> Asked | None:
        """None where there is no app at all."""
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
        known_cohorts = await cohorts(self._reader, app, query)
        filter = known_cohorts.narrowed(parse(choice.filter or ""))
        where(filter)  # refuses what no filter may hold
        text = choice.filter or ""
        return Asked(app, start_ms, end_ms, by, filter, text, known_cohorts, newest_ms)

    async def _answers(self, asked: Asked, sides: Sides | None) -> dict[str, Any]:
        counted = whole_and_buckets(
            IN_TABLE, app_id=asked.app, start_ms=asked.start_ms, end_ms=asked.end_ms, by=asked.by,
            bucket=asked.bucket, where=asked.condition, top_of_whole=_GROUPS * 2, top=_GROUPS,
        )  # fmt: skip
        rows, of_kept, lines = await asyncio.gather(
            self._reader.rows(counted), self._kept(asked), self._compared(asked, sides)
        )
        found, series = ([row for row in rows if row["part"] == part] for part in (0, 1))
        drawn = ordered(series, asked.by)
        filters = [each and asked.within(each) for each in _filters_of(asked.by, drawn).values()]
        totals = _with_leads(asked, ordered(found, asked.by))
        return {
            "totals": totals,
            "kept": of_kept,
            "families": FAMILIES,
            "charts": [
                {
                    **chart(METRICS[name].label, name, METRICS[name].unit, drawn),
                    "columns": columns_of(name, filters),
                }
                for name in IN_CHARTS
                # An app that names no users has none of theirs to draw.
                if any(row[name] for row in series)
            ],
            **_buckets(asked.bucket),
            **_choice_of_two([row["group"] for row in totals if not row["is_other"]], asked.by, sides),
            "compared": lines,
        }

    async def _kept(self, asked: Asked) -> Row:
        """`lowest_rate`, and how many sessions there are for how many, where not all devices were kept."""
        span = (asked.app, asked.start_ms, asked.end_ms)
        if await kept(self._reader, *span) == 1:
            return {"lowest_rate": 1}
        (row,) = await self._reader.rows(sample(asked.app, asked.filter, *span[1:]))
        return row

    async def _compared(self, asked: Asked, sides: Sides | None) -> list[Row] | None:
        if sides is None:
            return None
        rows = await self._reader.rows(compare(asked.app, *(side.side for side in sides)))
        wholes = [(row, side.whole, side.listed) for row, side in zip(rows, sides, strict=True)]
        leads = [leads_of(row, whole, listed) if whole else {} for row, whole, listed in wholes]
        return [
            {"line": line, "leads": [of_side.get(line.name) for of_side in leads]}
            for line in compared(rows[0], rows[1])
        ]


def _buckets(bucket: Bucket) -> dict[str, Any]:
    return {"bucket": bucket, "step_ms": STEPS_MS[bucket]}


def _fields_of(side: AskedSide) -> dict[str, Any]:
    """What a form or a table says of a side."""
    return {
        "group": side.group,
        "from": field_of(side.start_ms) if side.has_own_range else "",
        "to": field_of(side.end_ms) if side.has_own_range else "",
        "range": f"{day_and_time(iso(side.start_ms))} to {day_and_time(iso(side.end_ms))}"
        if side.has_own_range
        else "",
        "sessions_at": side.sessions_at(),
        "users_at": side.sessions_at(Test(USER, "exists")),
    }


def _new_devices(asked: Asked, lines: Sequence[Row]) -> list[Row]:
    """Lines of devices that come back, with the sessions that were their first ones: on whole days, of all of them and
    of those that came back on each of the days."""
    days = replace(
        asked,
        start_ms=start_of_day(asked.start_ms),
        end_ms=max(start_of_day(asked.end_ms), start_of_day(asked.start_ms, 1)),
    )
    filters = _filters_of(asked.by, lines)

    def led(line: Row, *back: Filter, day: int = 0) -> str | None:
        if (group := filters[bool(line["is_other"]), line["group"]]) is None:
            return None
        text = of_all(All((Test(FIRST, "eq", True), *back, *parts_of(days.within(group)))))
        # Whoever was first seen so late that the day is not over is not counted.
        return replace(days, end_ms=start_of_day(days.end_ms, -day)).sessions_at(text)

    return [
        {
            **line,
            "sessions_at": led(line),
            "cells": [
                {
                    "share": share, "retained": retained, "seen": seen,
                    "sessions_at": led(line, Test(RETURNED, "eq", day), day=day) if retained else None,
                }
                for day, share, retained, seen in zip(
                    _RETURN_DAYS, line["days"], line["retained"], line["seen"], strict=True
                )
            ],
        }
        for line in lines
    ]  # fmt: skip


def _filters_of(by: str, rows: Sequence[Row]) -> dict[tuple[bool, str], Filter | None]:
    """The filter of each group in rows of metrics, by whether it is that of all others, and name; None where no filter
    says it."""
    groups = list(dict.fromkeys((bool(row["is_other"]), row["group"]) for row in rows))
    shown = [group for is_other, group in groups if not is_other]
    return {
        (is_other, group): other_groups(by, shown) if is_other else group_filter(by, group)
        for is_other, group in groups
    }


def _choice_of_two(groups: list[str], by: str, sides: Sides | None) -> dict[str, Any]:
    """What can be compared, and what is chosen: of versions the one before the newest, and the newest."""
    first, second = (groups + groups)[:2] if groups else ("", "")
    if is_version(by):
        first, second = second, first
    return {"groups": groups, "chosen": [side.group for side in sides] if sides else [first, second]}


def _with_leads(asked: Asked, rows: Sequence[Row]) -> list[Row]:
    """Rows of metrics, each with where its name and its numbers lead."""
    filters = _filters_of(asked.by, rows)
    found: list[Row] = []
    for row in rows:
        group = filters[bool(row["is_other"]), row["group"]]
        leads = {} if group is None else leads_of(row, asked.within(group), asked.listed)
        found.append({**row, "leads": leads, "sessions_at": leads["sessions"].address if leads else None})
    return found
