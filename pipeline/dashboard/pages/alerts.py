"""Alerts: where rules stand, what changed, and what is known by now of what they saw."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.page import link, render
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.words import duration, iso, number
from pipeline.query.alerts import records as alert_records
from pipeline.query.alerts.readings import ALERT_METRICS

_DAY_MS = 86_400_000
_STANDS_DAYS = 8
"""A rule that was not evaluated for so long is not shown: it is none any more."""
_DAYS = {1: "day", 7: "7 days", 30: "30 days"}
_ROWS = 200
_LONGEST_APP = 500
_MARKS = {"error": "bad", "warning": "warn", "normal": "live"}


class AlertsPage:
    """`/alerts`: of an `app`, or of all, what the rules say, and what changed in so many `days`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page; a number of days that is not offered is told on it."""
        query = request.query_params
        app = query.get("app", "")[:_LONGEST_APP]
        problem, days = "", 7
        if asked := query.get("days", ""):
            days = int(asked) if asked in {str(each) for each in _DAYS} else days
            problem = "" if str(days) == asked else f"Days are {', '.join(map(str, _DAYS))}."
        now_ms = int(time.time() * 1_000)
        # The clock of whoever evaluates may be ahead.
        end_ms = now_ms + _DAY_MS
        stands, changes, mutes = await asyncio.gather(
            self._reader.rows(alert_records.states(app, now_ms - _STANDS_DAYS * _DAY_MS, end_ms)),
            self._reader.rows(alert_records.transitions(app, now_ms - days * _DAY_MS, end_ms, _ROWS)),
            self._reader.rows(alert_records.mutes_at(now_ms)),
        )
        judged = [_stand(row) for row in stands if row["state"]]
        judged.sort(key=lambda row: ("error", "warning", "muted", "no data", "normal").index(row["state"]))
        return render(
            request, "alerts.html", status=400 if problem else 200, app=app, days=days, problem=problem, stands=judged,
            changes=[_change(row) for row in changes], mutes=mutes, is_cut=len(changes) == _ROWS, marks=_MARKS,
            ranges=[(label, link("/alerts", app=app, days=each), each == days) for each, label in _DAYS.items()],
        )  # fmt: skip


def _stand(row: Row) -> dict[str, Any]:
    return {
        **_of_rule(row),
        "state": row["state"],
        "seen": _value(row, "value", "numerator", "denominator"),
        "sessions": int(row["sessions"]),
        "before": _shown(str(row["metric"]), row["value_before"]),
    }


def _change(row: Row) -> dict[str, Any]:
    return {
        **_of_rule(row),
        "state": row["state"],
        "state_before": row["state_before"],
        "is_told": bool(row["message_id"]),
        "seen": _value(row, "value_seen", "numerator_seen", "denominator_seen"),
        "known": _value(row, "value_known", "numerator_known", "denominator_known"),
        "known_at": row["known_at"],
        "is_followed": int(row["known_at_ms"]) > int(row["evaluated_at_ms"]),
        "verdict_known": row["verdict_known"],
        "is_turned": row["verdict_known"] != row["verdict_seen"],
    }


def _of_rule(row: Row) -> dict[str, Any]:
    metric = ALERT_METRICS.get(str(row["metric"]))
    span = {"from": iso(int(row["from_ms"])), "to": iso(int(row["until_ms"]))}
    return {
        "rule": row["rule"],
        "app_id": row["app_id"],
        "group": str(row["group"]) if row["is_of_group"] else None,
        "metric": metric.label if metric else row["metric"],
        "cohort": row["cohort"],
        "fault": row["fault"],
        "evaluated_at": row["evaluated_at"],
        "crashes_at": link("/crashes", app=row["app_id"], filter=row["filter"], order="first_seen", **span),
        "sessions_at": link("/sessions", app=row["app_id"], filter=row["filter"], **span),
    }


def _value(row: Row, value: str, numerator: str, denominator: str) -> str:
    shown = _shown(str(row["metric"]), row[value])
    if row[numerator] is None or row[denominator] is None:
        return shown
    return f"{shown} ({number(row[numerator])} of {number(row[denominator])})"


def _shown(name: str, value: float | None) -> str:
    metric = ALERT_METRICS.get(name)
    if value is None:
        return "none"
    if metric is not None and metric.unit == "share":
        return f"{value:.2%}"
    return duration(value) if metric is not None and metric.unit == "ms" else number(value)
