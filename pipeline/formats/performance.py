"""What was measured, under the names that all formats have in common (schemas/MAPPING.md, "Performance").

Names are OpenTelemetry's where it has one. They are attributes of the event that tells of it, whatever that is called:
nothing here changes a name, an id or what an event means for its session. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

START_TYPE, START_MS = "app.launch.type", "app.launch.duration_ms"
SCREEN, LOAD_MS = "app.screen.name", "app.screen.load_ms"
VITAL, VITAL_VALUE = "browser.web_vital.name", "browser.web_vital.value"
CPU, MEMORY, HEAP = "process.cpu.utilization", "process.memory.usage", "jvm.memory.used"
FRAMES, SLOW_FRAMES, FROZEN_FRAMES = "app.frames.total", "app.frames.slow", "app.frames.frozen"

START_TYPES = ("cold", "warm", "hot")
VITALS = ("lcp", "inp", "cls", "fcp", "ttfb")

_EMBRACE_STARTS = {"emb-app-startup-cold": "cold", "emb-app-startup-warm": "warm"}
_EMBRACE_LOADS = ("time-to-initial-display", "time-to-first-render")
"""What the names of its spans end in; the other spans of a load end later."""
_MEASURE_LOADS = ("Activity TTID ", "Fragment TTID ")
_SCREEN_NAMES = (
    SCREEN,
    "screen.name",
    "view.name",
    "activity.name",
    "activityName",
    "fragment.name",
    "fragmentName",
)
_PAGE_URLS = ("url.full", "location.href", "http.url")


def number(value: Any) -> float | None:
    """A number that is one: finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and value >= 0 else None


def add(attributes: MutableMapping[str, Any], measured: Mapping[str, Any]) -> None:
    """Put what was measured beside what an event says, which counts where it has the name already."""
    for name, value in measured.items():
        attributes.setdefault(name, value)


def start(type_: Any, duration_ms: Any) -> dict[str, Any]:
    """An app start: of its type (cold, warm, hot), and how long it took."""
    kind, took_ms = type_.lower() if isinstance(type_, str) else "", number(duration_ms)
    return {START_TYPE: kind, START_MS: took_ms} if kind in START_TYPES and took_ms is not None else {}


def vital(name: Any, value: Any) -> dict[str, Any]:
    """A web vital: milliseconds, CLS without a unit."""
    short, told = name.lower() if isinstance(name, str) else "", number(value)
    return {VITAL: short, VITAL_VALUE: told} if short in VITALS and told is not None else {}


def of_span(name: str, attributes: Mapping[str, Any], duration_ms: Any) -> dict[str, Any]:
    """What a span that has ended measured, by the names that SDKs give those that measure; empty for all others."""
    if name in _EMBRACE_STARTS:
        return start(_EMBRACE_STARTS[name], duration_ms)
    if name == "AppStart":
        return start(attributes.get("start.type"), duration_ms)
    screen = _screen_of(name, attributes)
    took_ms = number(duration_ms)
    return {SCREEN: screen, LOAD_MS: took_ms} if screen and took_ms is not None else {}


def _screen_of(name: str, attributes: Mapping[str, Any]) -> str:
    """The screen whose load a span was; empty where it was none."""
    for prefix in _MEASURE_LOADS:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    if name == "documentLoad":
        return next((path for key in _PAGE_URLS if (path := _path_of(attributes.get(key)))), "")
    if name == "Created" or (attributes.get("emb.type") == "perf.ui_load" and name.endswith(_EMBRACE_LOADS)):
        return next(
            (told for key in _SCREEN_NAMES if isinstance(told := attributes.get(key), str) and told), ""
        )
    return ""


def _path_of(url: Any) -> str:
    if not isinstance(url, str) or not url:
        return ""
    try:
        return urlsplit(url).path or "/"
    except ValueError:
        return ""
