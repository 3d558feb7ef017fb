"""What a session took of its device, as curves: processor and memory over time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.dashboard.reader import Row
from pipeline.dashboard.words import iso

_CURVES = (
    ("cpu", "process", "Processor", "of all processors"),
    ("memory", "process", "Memory", "in use by the process"),
    ("memory", "jvm_heap", "Java heap", "in use"),
)
_MIB = 1_048_576
MOST_POINTS = 400
"""Drawn of one curve; of more that lie close together the highest each."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A point of a curve, in percent of its width and of its height from the top, and what it says."""

    x: float
    y: float
    words: str


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve."""

    title: str
    about: str
    points: Sequence[CurvePoint]
    lowest: str
    highest: str
    last: str
    top: str
    """What the upper edge stands for; the lower one is 0."""

    @property
    def line(self) -> str:
        """As SVG has the points of a line."""
        return " ".join(f"{point.x:.2f},{point.y:.2f}" for point in self.points)


def curves(rows: Sequence[Row]) -> list[Curve]:
    """Those of a session's measurements (`query.performance.of_session`) that have at least two points."""
    found = []
    for subject, label, title, about in _CURVES:
        told = [
            (int(row["at_ms"]), float(row["value"]))
            for row in rows
            if row["subject"] == subject and row["label"] == label
        ]
        if len(told) >= 2:
            found.append(_curve(subject, title, about, _thinned(told)))
    return found


def value_words(subject: str, value: float) -> str:
    """A value with its unit."""
    return f"{value * 100:.1f} %" if subject == "cpu" else f"{value / _MIB:,.1f} MiB"


def _curve(subject: str, title: str, about: str, told: Sequence[tuple[int, float]]) -> Curve:
    values = [value for _, value in told]
    first, lasts = told[0][0], max(1, told[-1][0] - told[0][0])
    top = max(values) * 1.1 or 1.0
    points = [
        CurvePoint(
            (at - first) * 100 / lasts,
            100 - value * 100 / top,
            f"{value_words(subject, value)} at {iso(at)[11:19]} UTC",
        )
        for at, value in told
    ]
    words = [value_words(subject, value) for value in (min(values), max(values), values[-1], top)]
    return Curve(title, about, points, *words)


def _thinned(told: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    step = -(-len(told) // MOST_POINTS)
    return [
        max(told[at : at + step], key=lambda each: (each[1], -each[0])) for at in range(0, len(told), step)
    ]
