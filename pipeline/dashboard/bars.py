"""A chart of sessions over time: bars whose every bucket leads to its sessions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.dashboard.reader import Row
from pipeline.dashboard.words import count_of
from pipeline.query import bad_ends
from pipeline.query.time_zone import edges, local, start_of_day

WIDTH, HEIGHT = 1_000, 100
"""Of the drawing, in its own units; the page stretches it."""
_GAP = 0.14
"""Of a bucket's width, between two bars."""
_LEAST = 1.5
"""Height of the smallest part that is there: one crash among many must be seen."""
_DAY_MS = 86_400_000
KINDS = {"crashed": "crashed", "hung": "did not respond", "gone": "process gone or out of memory"}
"""How the page calls bad ends."""


@dataclass(frozen=True, slots=True)
class ChartBar:
    """One bucket that has sessions."""

    start_ms: int
    label: str
    """When, in words."""
    said: str
    """How many, in words."""
    address: str
    """Where its sessions are listed."""
    sessions: int
    ends: Sequence[int]
    """Of each of KINDS."""
    x: float
    hit_width: float
    width: float
    parts: Sequence[tuple[str, float, float]]
    """Kind (`good` or of KINDS), top and height, from the bottom up."""


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars, and what is written around them."""

    bars: Sequence[ChartBar]
    highest: int
    """Sessions of the fullest bucket: the top of the drawing."""
    edges: Sequence[int]
    """Where buckets begin and the last one ends (Unix ms), within the range."""
    first: str
    last: str
    step: str
    """How long a bucket is, in words."""


def bars(
    rows: Sequence[Row], start_ms: int, end_ms: int, step: int, lead: Callable[[int, int], str]
) -> Chart:
    """The chart of buckets of `step` ms, as `session_counts` gives them, in [start_ms, end_ms).

    `lead` gives the address of the sessions of a range (Unix ms, the end left out).
    """
    starts = edges(start_ms, end_ms, step)
    place = {at: number for number, at in enumerate(starts)}
    count = len(starts) - 1
    highest = max((int(row["sessions"]) for row in rows), default=0)
    pitch = WIDTH / count

    def edge(number: int) -> int:
        return min(max(starts[number], start_ms), end_ms)

    made = []
    for row in rows:
        number = place[int(row["bucket_ms"])]
        ends = [int(row[kind]) for kind in bad_ends.AS_SQL]
        sessions = int(row["sessions"])
        made.append(
            ChartBar(
                start_ms=edge(number),
                label=_when(edge(number), step),
                said=_said(sessions, ends),
                address=lead(edge(number), edge(number + 1)),
                sessions=sessions,
                ends=ends,
                x=round(number * pitch, 2),
                hit_width=round(pitch, 2),
                width=round(pitch * (1 - _GAP), 2),
                parts=_parts(sessions, ends, highest),
            )
        )
    shown = [edge(number) for number in range(count + 1)]
    return Chart(made, highest, shown, _when(shown[0], step), _when(shown[-1], step), _step(step))


def _parts(sessions: int, ends: Sequence[int], highest: int) -> list[tuple[str, float, float]]:
    """Bad ends at the bottom, where they have one line to be compared by; the rest above them."""
    found: list[tuple[str, float, float]] = []
    top = float(HEIGHT)
    for kind, number in (*zip(bad_ends.AS_SQL, ends, strict=True), ("good", sessions - sum(ends))):
        if number:
            height = max(_LEAST, HEIGHT * number / highest)
            # What is made visible takes its room from the rest.
            height = min(height, top)
            top -= height
            found.append((kind, round(top, 2), round(height, 2)))
    return found


def _said(sessions: int, ends: Sequence[int]) -> str:
    bad = [f"{number:,} {word}" for word, number in zip(KINDS.values(), ends, strict=True) if number]
    return ", ".join([count_of(sessions, "session", "sessions"), *bad])


def _when(ms: int, step: int) -> str:
    at = local(ms)
    day = f"{at.day} {at:%b %Y}"
    return day if step >= _DAY_MS and ms == start_of_day(ms) else f"{day}, {at:%H:%M}"


def _step(step: int) -> str:
    for unit, one, many in (
        (_DAY_MS, "day", "days"),
        (3_600_000, "hour", "hours"),
        (60_000, "minute", "minutes"),
    ):
        if step >= unit:
            return count_of(step // unit, one, many)
    raise AssertionError("no bucket is shorter than a minute")
