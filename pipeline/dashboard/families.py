"""The columns of release health in families, so that all of them stand side by side on a screen of 1280 pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.query.metric_definitions import METRICS, Metric


@dataclass(frozen=True, slots=True)
class Family:
    """Columns under one heading."""

    heading: str
    columns: Sequence[tuple[Metric, str]]
    """Metrics, and what each is called under the heading."""


def _family(heading: str, names: Mapping[str, str]) -> Family:
    return Family(heading, [(METRICS[name], short) for name, short in names.items()])


FAMILIES: Sequence[Family] = (
    _family(
        "How many", {"sessions": "Sessions", "adoption": "Share", "devices": "Devices", "users": "Users"}
    ),
    _family(
        "Crash-free",
        {
            "crash_free_sessions": "Sessions",
            "crash_free_users": "Users",
            "crash_free_stitched_sessions": "Stitched",
        },
    ),
    _family(
        "Sessions free of",
        {
            "anr_free_sessions": "ANRs",
            "out_of_memory_free_sessions": "Out of memory",
            "force_quit_free_sessions": "Force quits",
        },
    ),
    _family("In background", {"background_sessions": "Sessions", "background_crashes": "Crashes"}),
    _family("Duration", {"duration_p50": "Median", "duration_p95": "95th pct."}),
    _family("Cold start", {"cold_start_p50": "Median"}),
)
"""All of `metric_definitions.IN_TABLE`, in its order."""
