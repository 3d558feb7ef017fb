"""Where the groups of release health and their numbers lead, row by row. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.dashboard.asked_health import AskedHealth
from pipeline.dashboard.leads import group_filter, of_all, other_groups
from pipeline.dashboard.numbers import leads_of
from pipeline.dashboard.reader import Row
from pipeline.query.dimensions import FIRST, RETURNED
from pipeline.query.filters.tree import All, Filter, Test, parts_of
from pipeline.query.time_zone import start_of_day

RETURN_DAYS = (1, 2, 3, 7, 14, 30)
"""Days after the first one on which it is asked whether a device came back."""


def new_devices(asked: AskedHealth, lines: Sequence[Row]) -> list[Row]:
    """Lines of devices that come back, with the sessions that were their first ones: on whole days, of all of them and
    of those that came back on each of the days."""
    days = replace(
        asked,
        start_ms=start_of_day(asked.start_ms),
        end_ms=max(start_of_day(asked.end_ms), start_of_day(asked.start_ms, 1)),
    )
    filters = filters_of(asked.by, lines)

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
                    RETURN_DAYS, line["days"], line["retained"], line["seen"], strict=True
                )
            ],
        }
        for line in lines
    ]  # fmt: skip


def filters_of(by: str, rows: Sequence[Row]) -> dict[tuple[bool, str], Filter | None]:
    """The filter of each group in rows of metrics, by whether it is that of all others, and name; None where no filter
    says it."""
    groups = list(dict.fromkeys((bool(row["is_other"]), row["group"]) for row in rows))
    shown = [group for is_other, group in groups if not is_other]
    return {
        (is_other, group): other_groups(by, shown) if is_other else group_filter(by, group)
        for is_other, group in groups
    }


def with_leads(asked: AskedHealth, rows: Sequence[Row]) -> list[Row]:
    """Rows of metrics, each with where its name and its numbers lead."""
    filters = filters_of(asked.by, rows)
    found: list[Row] = []
    for row in rows:
        group = filters[bool(row["is_other"]), row["group"]]
        leads = {} if group is None else leads_of(row, asked.within(group), asked.listed)
        found.append({**row, "leads": leads, "sessions_at": leads["sessions"].address if leads else None})
    return found
