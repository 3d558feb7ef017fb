"""User flows: how many sessions began one, how far they came, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard import outcomes
from pipeline.dashboard.narrowed import Narrowed, narrowed
from pipeline.dashboard.page import link, render
from pipeline.dashboard.pages.screen_paths import listed
from pipeline.dashboard.reader import Reader, Row
from pipeline.query import flows
from pipeline.query.filters.text_form import to_text
from pipeline.query.filters.tree import Filter, FilterError, HasEvent
from pipeline.query.flows import Outcome, Steps
from pipeline.query.session_counts import step_ms
from pipeline.query.time_zone import bucket_end

_LONGEST = 4_000
_LABELS: dict[Outcome, str] = {
    "completed": "completed",
    "timed_out": "timed out",
    "error": "ended by an error",
    "going_on": "going on",
    "abandoned": "abandoned",
}


class FlowsPage:
    """`/paths/flows`: of an `app` in a range, the flow that `flow` describes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page; a mistake in the address is told on it. Without a flow it asks for one."""
        asked = await narrowed(self._reader, request)
        text = request.query_params.get("flow", "").strip()
        steps: Steps = ()
        rows: list[Row] = []
        bucket_ms = step_ms(asked.start_ms, asked.end_ms) if asked.start_ms < asked.end_ms else 0
        try:
            if len(text) > _LONGEST:
                raise FilterError(f"it has at most {_LONGEST} characters here")
            steps = flows.flow(text) if text else ()
            if steps and asked.app and not asked.problem:
                span_ms, newest_ms = (asked.start_ms, asked.end_ms), asked.newest_ms
                counted = flows.outcomes(
                    asked.app, steps, *span_ms, bucket_ms, asked.filter, newest_ms=newest_ms
                )
                rows = await self._reader.rows(counted)
        except FilterError as error:
            asked.problem = asked.problem or f"The flow cannot be read: {error}"
        shown = _shown(asked, steps, rows, bucket_ms) if rows else {"whole": None}
        return render(
            request, "flows.html", status=400 if asked.problem else 200, flow=text, longest=_LONGEST, steps=steps,
            labels=_LABELS, saved=_saved(asked), **shown, **asked.values("/paths/flows", flow=text),
        )  # fmt: skip


def _saved(asked: Narrowed) -> list[dict[str, str]]:
    """The saved filters that are flows."""
    return [
        {
            "name": name,
            "app": app,
            "flow": (flow := text.removeprefix("has ")),
            "at": link("/paths/flows", **{**asked.fields(), "flow": flow}),
        }
        for name, (app, text) in sorted(asked.cohorts.texts.items())
        if flows.flow_of(text)
    ]


def _shown(asked: Narrowed, steps: Steps, rows: Sequence[Row], bucket_ms: int) -> dict[str, Any]:
    """The steps, the outcomes and the buckets, each number with where it leads."""
    whole, by_outcome = rows[-1], outcomes.of_outcome(steps)
    started = int(whole["started"])
    found: list[dict[str, Any]] = []
    for number, length in enumerate(flows.coming(steps), 1):
        sessions = int(whole[f"step_{number}"]) if number > 1 else started
        before = found[-1]["sessions"] if found else sessions
        own = flows.coming(steps)[number - 2] if number > 1 else 0
        found.append(
            {
                "what": [_words(step) for step in steps[own:length]],
                "sessions": sessions,
                "share": sessions / started,
                "of_before": sessions / before if before else 0.0,
                "at": listed(asked, outcomes.of_step(steps, number)),
            }
        )
    return {
        "whole": whole,
        "started": started,
        "funnel": found,
        "outcomes": [
            (name, _LABELS[name], int(whole[name]), int(whole[name]) / started, listed(asked, filter))
            for name, filter in by_outcome.items()
        ],
        "buckets": [_bucket(asked, steps, row, bucket_ms, by_outcome) for row in rows[:-1]],
    }


def _words(step: HasEvent) -> str:
    """A step by itself, as it is written in a flow."""
    return to_text(replace(step, then=None)).removeprefix("has ")


def _bucket(
    asked: Narrowed, steps: Steps, row: Row, bucket_ms: int, by_outcome: Mapping[Outcome, Filter]
) -> dict[str, Any]:
    span = (
        max(int(row["bucket_ms"]), asked.start_ms),
        min(bucket_end(int(row["bucket_ms"]), bucket_ms), asked.end_ms),
    )
    return {
        "at_ms": span[0],
        "started": (int(row["started"]), listed(asked, outcomes.of_start(steps), *span)),
        "cells": [(int(row[name]), listed(asked, filter, *span)) for name, filter in by_outcome.items()],
        "share": int(row["completed"]) / int(row["started"]),
    }
