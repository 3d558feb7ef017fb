"""How fast an app is: starts, loads, web vitals, slow frames; and what a session took of its device."""

from __future__ import annotations

from typing import cast

from msgspec import Struct

from pipeline.api.endpoint import ApiEndpoint, ApiRange, ApiRequest
from pipeline.api.parameters import APP, COHORT, FILTER, Parameter, span
from pipeline.api.shape import Count, Share, all_shaped
from pipeline.dashboard.narrowed import DAYS
from pipeline.query import performance
from pipeline.query.performance import GROUPS, SUBJECTS, By, Subject


class Measured(Struct, kw_only=True):
    """Measurements of a label in a group, in milliseconds except for CLS."""

    label: str
    """cold, warm or hot; the screen; the vital."""
    group: str
    measurements: Count
    sessions: Count
    devices: Count
    p50: float
    p50_low: float | None
    """95 % interval; null where there are too few measurements to say."""
    p50_high: float | None
    p75: float
    p75_low: float | None
    p75_high: float | None
    p90: float
    p90_low: float | None
    p90_high: float | None
    p95: float
    p95_low: float | None
    p95_high: float | None
    good_count: Count
    bad_count: Count
    """Starts and loads that took too long, vitals that are poor."""
    bad_share: Share
    bad_low: float
    """Wilson's 95 % interval."""
    bad_high: float


class Performance(Struct, kw_only=True):
    """Measurements of one subject."""

    app: str
    range: ApiRange
    filter: str
    subject: str
    by: str
    items: list[Measured]


class SlowFramesOf(Struct, kw_only=True):
    """Frames of a kind in a group."""

    kind: str
    """slow (over 16 ms) or frozen (over 700 ms)."""
    group: str
    frames: float
    sessions: Count
    """In the foreground, with at least one."""
    all_sessions: Count
    share: Share
    share_low: float
    share_high: float


class SlowFrames(Struct, kw_only=True):
    """Slow and frozen frames."""

    app: str
    range: ApiRange
    filter: str
    by: str
    items: list[SlowFramesOf]


async def measured(asked: ApiRequest) -> Performance:
    """As the page of performance has it."""
    looked = await asked.looked(DAYS)
    subject, by = cast(Subject, asked.values["subject"]), cast(By, asked.values["by"] or "")
    rows = await asked.reader.rows(performance.measured(looked.span, [subject], by, looked.condition()))
    return Performance(
        app=looked.app, range=looked.range, filter=looked.text, subject=subject, by=by,
        items=all_shaped(Measured, rows),
    )  # fmt: skip


async def frames(asked: ApiRequest) -> SlowFrames:
    """Those of sessions in the foreground."""
    looked, by = await asked.looked(DAYS), cast(By, asked.values["by"] or "")
    rows = await asked.reader.rows(performance.measured(looked.span, ["frames"], by, looked.condition()))
    return SlowFrames(
        app=looked.app,
        range=looked.range,
        filter=looked.text,
        by=by,
        items=all_shaped(SlowFramesOf, [performance.frames_of(row) for row in rows]),
    )


_BY = Parameter("by", "What to group by; by default all are together.", "choice", tuple(filter(None, GROUPS)))
_WHOSE = (APP, FILTER, COHORT, *span(f"{DAYS} days before the newest session"))
ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/performance", "getPerformance", "App starts, loads of screens or web vitals: quantiles, shares, intervals",
        Performance, measured,
        (*_WHOSE, Parameter("subject", "What was measured.", "choice", SUBJECTS, default="start"), _BY),
        group="Performance",
    ),
    ApiEndpoint(
        "/slow-frames", "getSlowFrames", "Slow and frozen frames, and the share of sessions that have some",
        SlowFrames, frames, (*_WHOSE, _BY), group="Performance",
    ),
)  # fmt: skip
