"""How fast an app is: starts, screens, web vitals, slow frames, by release or something else, with intervals."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.narrowed import Narrowed, narrowed
from pipeline.dashboard.page import render
from pipeline.dashboard.pages.screen_paths import listed
from pipeline.dashboard.reader import Reader, Row
from pipeline.query import performance
from pipeline.query.filters.tree import All, AnyOf, Filter, HasEvent, Operator, Test
from pipeline.query.performance import (
    FRAME_BOUNDS_MS,
    GROUPS,
    SCREEN_BOUND_MS,
    START_BOUNDS_MS,
    SUBJECTS,
    VITAL_BOUNDS,
    By,
    Subject,
)

_LABELS: dict[By, str] = {
    "": "nothing, all together",
    "app_version": "release",
    "os_name": "system",
    "os_version": "system version",
    "device_model": "device model",
}
_FIELDS: dict[By, str] = {"app_version": "app.version", "os_name": "os.name", "device_model": "device.model"}
_TITLES: dict[Subject, str] = {"start": "App starts", "screen": "Screen loads", "vital": "Web vitals"}
_NAMES = {"start": "app.launch.type", "screen": "app.screen.name", "vital": "browser.web_vital.name"}
_VALUES = {
    "start": "app.launch.duration_ms",
    "screen": "app.screen.load_ms",
    "vital": "browser.web_vital.value",
}
_SHOWN_GROUPS, _SHOWN_LABELS = 8, 25


class PerformancePage:
    """`/performance`: of an `app` in a range, `by` something."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page; a mistake in the address is told on it."""
        asked = await narrowed(self._reader, request)
        told = request.query_params.get("by", "app_version")
        if told not in GROUPS:
            asked.problem = asked.problem or f"Measurements are grouped by {', '.join(filter(None, GROUPS))}."
        by: By = next((each for each in GROUPS if each == told), "")
        sections: list[dict[str, Any]] = []
        frames: list[dict[str, Any]] = []
        if asked.app and not asked.problem:
            span = (asked.app, asked.start_ms, asked.end_ms)
            of_all: dict[str, list[Row]] = {}
            statement = performance.measured(span, (*SUBJECTS, "frames"), by, asked.condition)
            for row in await self._reader.rows(statement):
                of_all.setdefault(row["subject"], []).append(row)
            sections = [
                _section(asked, subject, of_all[subject], by) for subject in SUBJECTS if subject in of_all
            ]
            jerky = map(performance.frames_of, of_all.get("frames", ()))
            frames = [{**row, "sessions_at": listed(asked, _jerky(row, by))} for row in jerky]
        return render(
            request, "performance.html", status=400 if asked.problem else 200, sections=sections, frames=frames,
            by=by, groups=_LABELS, frame_bounds=FRAME_BOUNDS_MS, **asked.values("/performance", by=by),
        )  # fmt: skip


def _section(asked: Narrowed, subject: Subject, rows: list[Row], by: By) -> dict[str, Any]:
    labels = [(label, list(members)) for label, members in groupby(rows, lambda row: str(row["label"]))]
    if subject == "start":
        order = list(START_BOUNDS_MS)
        labels.sort(key=lambda each: order.index(each[0]) if each[0] in order else len(order))
    return {
        "key": subject,
        "title": _TITLES[subject],
        "labels": [
            {
                "name": label,
                "bound": _bound(subject, label),
                "unit": "" if label == "cls" else "ms",
                "widest": max(float(row["p95"]) for row in members[:_SHOWN_GROUPS]) or 1.0,
                "rows": [_leads(asked, subject, row, by) for row in members[:_SHOWN_GROUPS]],
                "others": max(0, len(members) - _SHOWN_GROUPS),
            }
            for label, members in labels[:_SHOWN_LABELS]
        ],
        "others": max(0, len(labels) - _SHOWN_LABELS),
    }


def _bound(subject: Subject, label: str) -> tuple[float, float]:
    """Good up to, bad from."""
    if subject == "vital":
        return VITAL_BOUNDS.get(label, (0, 0))
    bound = START_BOUNDS_MS.get(label, 5_000) if subject == "start" else SCREEN_BOUND_MS
    return bound, bound


def _leads(asked: Narrowed, subject: Subject, row: Row, by: By) -> dict[str, Any]:
    """A row with where its numbers lead: to the sessions with such a measurement, and with one that is that bad."""
    label, bad = str(row["label"]), _bound(subject, str(row["label"]))[1]
    # A vital is poor over its bound, anything else too long from its bound on.
    is_bad: Operator = "gt" if subject == "vital" else "gte"
    leads = {"sessions_at": _measured(subject, row, 0), "bad_at": _measured(subject, row, bad, is_bad)}
    for name, _ in performance.QUANTILES.items():
        leads[f"{name}_at"] = _measured(subject, row, float(row[name]))
    whole = {name: listed(asked, _with_group(wanted, row, by)) for name, wanted in leads.items()}
    return {**row, **whole, "label": label}


def _measured(subject: Subject, row: Row, least: float, operator: Operator = "gte") -> Filter:
    """That a session has a measurement like those of a row, one of at least so much, or of more."""
    label = str(row["label"])
    at_least = Test(_VALUES[subject], operator, least)
    any_of: list[Filter] = []
    for name in row["event_names"]:
        any_of.append(HasEvent(str(name), (Test(_NAMES[subject], "eq", label), at_least)))
        if subject == "vital":
            own = Test(f"browser.web_vital.{label}", at_least.operator, at_least.value)
            any_of.append(HasEvent(str(name), (own,)))
    return any_of[0] if len(any_of) == 1 else AnyOf(tuple(any_of))


def _jerky(row: Row, by: By) -> Filter:
    is_frozen = row["kind"] == "frozen"
    jank = HasEvent(
        "app.jank",
        (
            Test("app.jank.frame_count", "gte", 1),
            Test("app.jank.threshold", "gte" if is_frozen else "lt", 0.7),
        ),
    )
    told = tuple(
        HasEvent(name, (Test(f"app.frames.{row['kind']}", "gte", 1),)) for name in ("app.screen.view", "span")
    )
    return _with_group(AnyOf((jank, *told)), row, by)


def _with_group(wanted: Filter, row: Row, by: By) -> Filter:
    group = str(row["group"])
    if by not in _FIELDS or not group:
        return wanted
    return All((Test(_FIELDS[by], "eq", group), wanted))
