"""Two sides of a comparison in words: what differs, by how much, and whether chance may have done it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.dashboard.reader import Row
from pipeline.dashboard.words import NONE, duration, number, percent
from pipeline.query.compare import RATED_PREFIX, Interval, Median, difference, median_difference
from pipeline.query.free_of import FREE_OF


@dataclass(frozen=True, slots=True)
class Line:
    """One metric of both sides."""

    label: str
    a: str
    b: str
    difference: str
    verdict: str
    is_good: bool | None
    """Whether b is better; None where that cannot be said."""


def compared(a: Row, b: Row) -> list[Line]:
    """The lines of a comparison; `a` and `b` are the rows of `query.compare.compare`."""
    lines = [
        Line(label, number(a[name]), number(b[name]), "", "", None)
        for label, name in (("Sessions", "sessions"), ("Users", "users"), ("Devices", "devices"))
    ]
    for each in FREE_OF:
        name, whole = each.name, f"{RATED_PREFIX}{each.whole}"
        interval = difference(int(a[name]), int(a[whole]), int(b[name]), int(b[whole]))
        lines.append(
            _line(each.label, _share(a, name, whole), _share(b, name, whole), interval, points, higher=True)
        )
    medians = [
        Median(*(row[f"duration_{field}"] for field in ("n", "rank", "low", "value", "high")))
        for row in (a, b)
    ]
    interval = median_difference(medians[0], medians[1])
    texts = [duration(side.value) if side.n else NONE for side in medians]
    lines.append(_line("Median duration", texts[0], texts[1], interval, signed_duration, higher=None))
    return lines


def _line(
    label: str,
    a: str,
    b: str,
    interval: Interval | None,
    text: Callable[[float], str],
    *,
    higher: bool | None,
) -> Line:
    if interval is None:
        return Line(label, a, b, NONE, "too few to say", None)
    shown = f"{text(interval.value)} ({text(interval.low)} to {text(interval.high)})"
    if not interval.is_clear:
        return Line(label, a, b, shown, "no clear difference", None)
    if higher is None:
        return Line(label, a, b, shown, "longer" if interval.value > 0 else "shorter", None)
    is_good = (interval.value > 0) == higher
    return Line(label, a, b, shown, "better" if is_good else "worse", is_good)


def _share(row: Row, name: str, whole: str) -> str:
    return percent(row[name] / row[whole]) if row[whole] else NONE


def points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * share:+.2f}".replace("-", "\u2212")


def signed_duration(ms: float) -> str:
    """A difference of durations."""
    return f"{'+' if ms >= 0 else chr(0x2212)}{duration(abs(ms))}"
