"""Release health: how versions do over time, and two of them side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.address import BadAddress
from pipeline.dashboard.asked import known_apps, mistakes_refused
from pipeline.dashboard.asked_health import AskedHealth, Sides, asked_health
from pipeline.dashboard.cohorts import Cohorts
from pipeline.dashboard.families import FAMILIES
from pipeline.dashboard.health_leads import RETURN_DAYS, filters_of, new_devices, with_leads
from pipeline.dashboard.issues import issue_lines
from pipeline.dashboard.leads import of_request
from pipeline.dashboard.narrowed import kept
from pipeline.dashboard.numbers import columns_of, leads_of
from pipeline.dashboard.page import render
from pipeline.dashboard.pages.crashes import AskedCrashes, leads_of_group
from pipeline.dashboard.pages.sessions import field_of
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.sides import AskedSide
from pipeline.dashboard.tables import chart, is_version, ordered, returns
from pipeline.dashboard.verdict import compared
from pipeline.dashboard.words import day_and_time, iso
from pipeline.query import crashes
from pipeline.query.compare import compare
from pipeline.query.dimensions import SPLITS, USER
from pipeline.query.failures import failing_requests
from pipeline.query.filters.json_form import FilterError
from pipeline.query.filters.tree import Test
from pipeline.query.issues import MOST, compare_issues
from pipeline.query.metric_definitions import IN_CHARTS, IN_TABLE, METRICS, STEPS_MS, Bucket
from pipeline.query.metrics import retention, whole_and_buckets
from pipeline.query.session_counts import sample

_TOP_CRASHES = 10
_GROUPS = 6
"""That stand for themselves; all others are one."""
OFFERED: Mapping[str, str] = {each.split: each.split_label for each in SPLITS.values() if each.is_offered}
"""What the page offers to split by, and how it calls it."""


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
            asked = await asked_health(self._reader, query, known)
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
        asked = await self._of_named(query)
        rows = await self._reader.rows(
            retention(
                *(asked.app, asked.start_ms, asked.end_ms, RETURN_DAYS[-1]),
                by=asked.by, where=asked.condition_before, top=_GROUPS,
            )
        )  # fmt: skip
        return render(
            request,
            "retention.html",
            lines=new_devices(asked, returns(rows, asked.by, RETURN_DAYS)),
            days=RETURN_DAYS,
            split=asked.by_label,
        )

    async def failures(self, request: Request) -> Response:
        """What fails most often: crashes by group, and requests. All failures of the range are read for it."""
        query = request.query_params
        asked = await self._of_named(query)
        place, of_crashes = (asked.app, asked.start_ms, asked.end_ms), _crashes_of(asked)
        groups, requests = await asyncio.gather(
            self._reader.rows(
                crashes.groups(place, kind="crash", order="crashes", where=asked.condition, top=_TOP_CRASHES)
            ),
            self._reader.rows(failing_requests(*place, where=asked.condition_before)),
        )
        return render(
            request, "failures.html",
            crashes=[{**row, **leads_of_group(of_crashes, row["crash_group"])} for row in groups],
            crashes_at=of_crashes.list_at,
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
        known = await known_apps(self._reader, query.get("app", ""))
        with mistakes_refused():
            asked = await asked_health(self._reader, query, known)
            sides = asked.sides(query) if asked else None
        if asked is None or sides is None:
            raise HTTPException(400, "Name an app, and two groups to compare.")
        rows = await self._reader.rows(compare_issues(asked.app, *(side.side for side in sides)))
        return render(
            request, "issues.html",
            lines=issue_lines(rows, sides), sides=[_fields_of(side) for side in sides], most=MOST,
            first=rows[0] if rows else None, by_users=bool(rows and int(rows[0]["by_users"])),
            health_at=f"/health?{urlencode(dict(query))}#compare",
        )  # fmt: skip

    async def _of_named(self, query: Mapping[str, str]) -> AskedHealth:
        """Of a part of the page, whose address names the app. Raises HTTPException for a mistake in it, and without an
        app."""
        if not (app := query.get("app", "")):
            raise HTTPException(400, "Name an app.")
        known = await known_apps(self._reader, app)
        with mistakes_refused():
            asked = await asked_health(self._reader, query, known)
        assert asked is not None, "an app is named"
        return asked

    async def _answers(self, asked: AskedHealth, sides: Sides | None) -> dict[str, Any]:
        counted = whole_and_buckets(
            IN_TABLE, app_id=asked.app, start_ms=asked.start_ms, end_ms=asked.end_ms, by=asked.by,
            bucket=asked.bucket, where=asked.condition, top_of_whole=_GROUPS * 2, top=_GROUPS,
        )  # fmt: skip
        rows, of_kept, lines = await asyncio.gather(
            self._reader.rows(counted), self._kept(asked), self._compared(asked, sides)
        )
        found, series = ([row for row in rows if row["part"] == part] for part in (0, 1))
        drawn = ordered(series, asked.by)
        filters = [each and asked.within(each) for each in filters_of(asked.by, drawn).values()]
        totals = with_leads(asked, ordered(found, asked.by))
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

    async def _kept(self, asked: AskedHealth) -> Row:
        """`lowest_rate`, and how many sessions there are for how many, where not all devices were kept."""
        span = (asked.app, asked.start_ms, asked.end_ms)
        if await kept(self._reader, *span) == 1:
            return {"lowest_rate": 1}
        (row,) = await self._reader.rows(sample(asked.app, asked.filter, *span[1:]))
        return row

    async def _compared(self, asked: AskedHealth, sides: Sides | None) -> list[Row] | None:
        if sides is None:
            return None
        rows = await self._reader.rows(compare(asked.app, *(side.side for side in sides)))
        wholes = [(row, side.whole, side.listed) for row, side in zip(rows, sides, strict=True)]
        leads = [leads_of(row, whole, listed) if whole else {} for row, whole, listed in wholes]
        return [
            {"line": line, "leads": [of_side.get(line.name) for of_side in leads]}
            for line in compared(rows[0], rows[1])
        ]


def _crashes_of(asked: AskedHealth) -> AskedCrashes:
    """The crashes of the same sessions."""
    span_ms = asked.start_ms, asked.end_ms
    return AskedCrashes(asked.app, *span_ms, asked.filter, asked.text, asked.cohorts, asked.newest_ms)


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


def _choice_of_two(groups: list[str], by: str, sides: Sides | None) -> dict[str, Any]:
    """What can be compared, and what is chosen: of versions the one before the newest, and the newest."""
    first, second = (groups + groups)[:2] if groups else ("", "")
    if is_version(by):
        first, second = second, first
    return {"groups": groups, "chosen": [side.group for side in sides] if sides else [first, second]}
