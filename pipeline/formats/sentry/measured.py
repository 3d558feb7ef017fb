"""What Sentry's transactions measured, under the names that all formats have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.formats import performance
from pipeline.formats.performance import number

_STARTS = {"app_start_cold": "cold", "app_start_warm": "warm"}
_LOADS = ("time_to_initial_display",)
_FRAMES = {
    "frames_total": performance.FRAMES,
    "frames_slow": performance.SLOW_FRAMES,
    "frames_frozen": performance.FROZEN_FRAMES,
}
_MS = {"millisecond": 1.0, "second": 1_000.0, "microsecond": 0.001, "nanosecond": 0.000_001}


def of_transaction(transaction: Mapping[str, Any]) -> dict[str, Any]:
    """By its `measurements`, each a value and a unit.

    One may hold several web vitals, so each stands under a name of its own: `browser.web_vital.lcp`.
    """
    told: dict[str, Any] = {}
    measurements = transaction.get("measurements")
    for name, value, unit in _each(measurements if isinstance(measurements, dict) else {}):
        if name in _STARTS:
            performance.add(told, performance.start(_STARTS[name], value * _MS.get(unit, 1.0)))
        elif name in _LOADS and isinstance(screen := transaction.get("transaction"), str) and screen:
            told.setdefault(performance.SCREEN, screen)
            told.setdefault(performance.LOAD_MS, value * _MS.get(unit, 1.0))
        elif name in _FRAMES:
            told[_FRAMES[name]] = int(value)
        elif name in performance.VITALS:
            told[f"browser.web_vital.{name}"] = value * (1.0 if name == "cls" else _MS.get(unit, 1.0))
    return told


def of_streamed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Of a streamed span, by its attributes `browser.web_vital.<name>.value` (Sentry's conventions)."""
    return {
        f"browser.web_vital.{name}": value
        for name in performance.VITALS
        if (value := number(attributes.get(f"browser.web_vital.{name}.value"))) is not None
    }


def _each(measurements: Mapping[str, Any]) -> Iterator[tuple[str, float, str]]:
    for name, told in measurements.items():
        if isinstance(told, dict) and (value := number(told.get("value"))) is not None:
            unit = told.get("unit")
            yield name, value, unit if isinstance(unit, str) else ""
