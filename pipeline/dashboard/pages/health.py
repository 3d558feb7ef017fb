"""Release health: how versions do over time, and two of them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.address import BadAddress, Choice
from pipeline.dashboard.page import render
from pipeline.dashboard.pages.sessions import apps, field_of, span
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.verdict import Line, compared
from pipeline.query.compare import compare
from pipeline.query.failures import failing_requests, top_crashes
from pipeline.query.filter import FilterError
from pipeline.query.filter_sql import Scope, where
from pipeline.query.filter_text import parse
from pipeline.query.metric_definitions import DIMENSIONS, METRICS, Bucket
from pipeline.query.metrics import metric
from pipeline.query.statement import Statement

_DAY_MS = 86_400_000
_DAYS = 30
"""Shown where the address names no range, up to the newest session."""
_TOTALS = (
    *("sessions", "devices", "users", "crash_free_sessions", "crash_free_users", "anr_free_sessions"),
    *("duration_p50", "duration_p95", "cold_start_p50"),
)
_CHARTS = ("crash_free_sessions", "adoption", "duration_p50", "sessions")
_GROUPS = 6
"""That stand for themselves; all others are one."""
SPLITS: Mapping[str, str] = {
    "app_version": "app version",
    "app_build": "build",
    "environment": "environment",
    "os": "system",
    "device_model": "device model",
    "device_manufacturer": "manufacturer",
    "persona": "persona",
    "state": "state",
    "start_reason": "start reason",
    "end_reason": "end reason",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose health, when, split by what."""

    app: str
    start_ms: int
    end_ms: int
    by: str
    condition: Statement | None

    @property
    def bucket(self) -> Bucket:
        """As fine as the range allows."""
        days = (self.end_ms - self.start_ms) / _DAY_MS
        return "hour" if days <= 3 else "day" if days <= 120 else "week"


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
            "splits": SPLITS,
            "property": query.get("property", ""),
            "filter": query.get("filter", ""),
            "by": query.get("by", "app_version"),
            "problem": problem,
            "a": query.get("a", ""),
            "b": query.get("b", ""),
            "asked": asked,
            "start": field_of(asked.start_ms) if asked else "",
            "end": field_of(asked.end_ms) if asked else "",
        }
        if asked is None:
            return render(request, "health.html", status=400 if problem else 200, totals=[], **values)
        return render(
            request, "health.html", **values, **await self._answers(asked, values["a"], values["b"])
        )

    async def _asked(self, query: Mapping[str, str], known: Sequence[str]) -> Asked | None:
        """None where there is no app at all."""
        app = query.get("app") or (known[0] if known else "")
        if not app:
            return None
        key, by = query.get("property", "").strip(), query.get("by", "app_version")
        if key:
            by = f"property.{key}"
        elif by not in DIMENSIONS:
            raise BadAddress(f"Sessions cannot be split by “{by[:40]}”.")
        choice = Choice.of(query)
        newest_ms = (await span(self._reader, app)).newest_ms
        end_ms = choice.end_ms or (newest_ms // 60_000 + 1) * 60_000
        start_ms = choice.start_ms if choice.start_ms is not None else max(0, end_ms - _DAYS * _DAY_MS)
        if start_ms >= end_ms:
            raise BadAddress("The time range ends before it begins.")
        text = choice.filter or ""
        condition = where(parse(text), scope=Scope(app, start_ms)) if text.strip() else None
        return Asked(app, start_ms, end_ms, by, condition)

    async def _answers(self, asked: Asked, a: str, b: str) -> dict[str, Any]:
        split = partial(
            metric,
            app_id=asked.app,
            start_ms=asked.start_ms,
            end_ms=asked.end_ms,
            by=asked.by,
            where=asked.condition,
        )
        totals = await self._reader.rows(split(_TOTALS, top=_GROUPS * 2))
        series = await self._reader.rows(split(_CHARTS, bucket=asked.bucket, top=_GROUPS))
        place = (asked.app, asked.start_ms, asked.end_ms)
        return {
            "totals": totals,
            "metrics": [METRICS[name] for name in _TOTALS],
            "charts": [chart(METRICS[name].label, name, METRICS[name].unit, series) for name in _CHARTS],
            "bucket": asked.bucket,
            "groups": [row["group"] for row in totals if not row["is_other"]],
            "compared": await self._compared(asked, a, b) if a and b else None,
            "crashes": await self._reader.rows(top_crashes(*place, where=asked.condition)),
            "requests": await self._reader.rows(failing_requests(*place, where=asked.condition)),
        }

    async def _compared(self, asked: Asked, a: str, b: str) -> list[Line]:
        first, second = (_and(asked.condition, _is(asked.by, value)) for value in (a, b))
        rows = await self._reader.rows(compare(asked.app, first, second, asked.start_ms, asked.end_ms))
        return compared(rows[0], rows[1])


def chart(label: str, name: str, unit: str, rows: Sequence[Row]) -> dict[str, Any]:
    """A table of one metric: a line a bucket, a column a group, None where a bucket has nothing of the group."""
    groups = list(dict.fromkeys((row["is_other"], row["group"]) for row in sorted(rows, key=_by_group)))
    cells: dict[int, dict[tuple[int, str], float | None]] = {}
    for row in rows:
        cells.setdefault(int(row["bucket_ms"]), {})[(row["is_other"], row["group"])] = row[name]
    return {
        "label": label,
        "unit": unit,
        "groups": [group or "none" for _, group in groups],
        "lines": [(at_ms, [line.get(group) for group in groups]) for at_ms, line in sorted(cells.items())],
    }


def _by_group(row: Row) -> tuple[int, str]:
    return row["is_other"], row["group"]


def _is(by: str, value: str) -> Statement:
    """The sessions of one group. The name of the split is one of a fixed list; key and value are parameters."""
    if by.startswith("property."):
        key = by.removeprefix("property.")
        return Statement("properties[{key:String}] = {value:String}", {"key": key, "value": value})
    return Statement(f"has({DIMENSIONS[by]}, {{value:String}})", {"value": value})


def _and(condition: Statement | None, other: Statement) -> Statement:
    if condition is None:
        return other
    return Statement(f"({condition.sql}) AND ({other.sql})", {**condition.parameters, **other.parameters})
