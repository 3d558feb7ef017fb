"""What Measure's events measured, under the names that all formats have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.formats import performance
from pipeline.formats.performance import number

_STARTS = {"cold_launch": "cold", "warm_launch": "warm", "hot_launch": "hot"}
_BEGINS = {
    "cold": ("process_start_requested_uptime", "process_start_uptime", "content_provider_attach_uptime"),
    "warm": ("app_visible_uptime",),
    "hot": ("app_visible_uptime",),
}
"""When a start began, in milliseconds of the device's own clock.

Older systems tell only the later ones of a cold start."""
_LONGEST_START_MS = 60_000
_KIB = 1_024
_PERCENT = 100


def measured(type_: str, values: Mapping[str, Any], *, is_ios: bool = False) -> dict[str, Any]:
    """What an event of a type measured, by the values of its block; empty for those that measure nothing."""
    if type_ in _STARTS:
        return _start(_STARTS[type_], values)
    if type_ == "cpu_usage":
        share = _share(values, is_ios=is_ios)
        return {} if share is None else {performance.CPU: round(share, 6)}
    if type_ == "memory_usage":
        return _memory(values)
    if type_ == "memory_usage_absolute":
        used = number(values.get("used_memory"))
        return {} if used is None else {performance.MEMORY: int(used * _KIB)}
    return {}


def _share(values: Mapping[str, Any], *, is_ios: bool) -> float | None:
    """Of all processors together, from 0 to 1, as OpenTelemetry has it; None where it is not told.

    On Android the SDK has divided by the number of cores. On Apple's systems it adds up what each thread takes of one,
    so that four busy threads are 400, and says -1 where it could not ask.
    """
    percent, cores = number(values.get("percentage_usage")), number(values.get("num_cores"))
    if percent is None or percent < 0:
        return None
    if not is_ios:
        return percent / _PERCENT
    return percent / _PERCENT / cores if cores is not None and cores >= 1 else None


def _start(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    drawn = number(values.get("on_next_draw_uptime"))
    began = next((at for name in _BEGINS[kind] if (at := number(values.get(name)))), None)
    if drawn is None or began is None or not began < drawn <= began + _LONGEST_START_MS:
        return {}
    return performance.start(kind, drawn - began)


def _memory(values: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    resident, total, free = (
        number(values.get(name)) for name in ("rss", "java_total_heap", "java_free_heap")
    )
    if resident is not None:
        told[performance.MEMORY] = int(resident * _KIB)
    if total is not None and free is not None and free <= total:
        told[performance.HEAP] = int((total - free) * _KIB)
    return told
