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
    name: str
    """The column of the rows that it comes from."""


def compared(a: Row, b: Row) -> list[Line]:
    """The lines of a comparison; `a` and `b` are the rows of `query.compare.compare`."""
    lines = [
        Line(label, number(a[name]), number(b[name]), "", "", None, name)
        for label, name in (("Sessions", "sessions"), ("Users", "users"), ("Devices", "devices"))
    ]
    for each in FREE_OF:
        name, whole = each.name, f"{RATED_PREFIX}{each.whole}"
        interval = difference(int(a[name]), int(a[whole]), int(b[name]), int(b[whole]))
        lines.append(
            _line(
                (each.label, name),
                _share(a, name, whole),
                _share(b, name, whole),
                interval,
                points,
                higher=True,
            )
        )
    medians = [
        Median(*(row[f"duration_{field}"] for field in ("n", "rank", "low", "value", "high")))
        for row in (a, b)
    ]
    interval = median_difference(medians[0], medians[1])
    texts = [duration(side.value) if side.n else NONE for side in medians]
    lines.append(
        _line(
            ("Median duration", "duration_value"), texts[0], texts[1], interval, signed_duration, higher=None
        )
    )
    return lines


def _line(
    named: tuple[str, str],
    a: str,
    b: str,
    interval: Interval | None,
    text: Callable[[float], str],
    *,
    higher: bool | None,
) -> Line:
    label, name = named
    if interval is None:
        return Line(label, a, b, NONE, "too few to say", None, name)
    shown = f"{text(interval.value)} ({text(interval.low)} to {text(interval.high)})"
    if not interval.is_clear:
        return Line(label, a, b, shown, "no clear difference", None, name)
    if higher is None:
        return Line(label, a, b, shown, "longer" if interval.value > 0 else "shorter", None, name)
    is_good = (interval.value > 0) == higher
    return Line(label, a, b, shown, "better" if is_good else "worse", is_good, name)


def _share(row: Row, name: str, whole: str) -> str:
    return percent(row[name] / row[whole]) if row[whole] else NONE


def points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * share:+.2f}".replace("-", "\u2212")


def signed_duration(ms: float) -> str:
    """A difference of durations."""
    return f"{'+' if ms >= 0 else chr(0x2212)}{duration(abs(ms))}"
