"""Rows of metrics as tables of a page: in which order, what is a line and what a column. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.dashboard.reader import Row
from pipeline.query.dimensions import split


def is_version(by: str) -> bool:
    """Whether the groups of a split are versions, which have an order of their own."""
    found = split(by)
    return found is not None and found.is_version


def returns(rows: Sequence[Row], by: str, days: Sequence[int]) -> list[Row]:
    """Of the rows of `metrics.retention`, one line per group with all cohorts together: `group`, `sessions` (here the
    devices), `is_other`, and `days`: of each of the given days the share that came back, None where none could, with
    `retained` and `seen`, how many devices these are and of how many."""
    devices: dict[tuple[str, int], Counter[int]] = {}
    retained: dict[tuple[str, int], Counter[int]] = {}
    for row in rows:
        key = (row["group"], row["is_other"])
        devices.setdefault(key, Counter())[row["day_number"]] += int(row["devices"])
        retained.setdefault(key, Counter())[row["day_number"]] += int(row["retained"])
    lines: list[Row] = [
        {
            "group": group,
            "is_other": is_other,
            "sessions": found[0],
            "days": [retained[group, is_other][day] / found[day] if found[day] else None for day in days],
            "retained": [retained[group, is_other][day] for day in days],
            "seen": [found[day] for day in days],
        }
        for (group, is_other), found in devices.items()
    ]
    return ordered(lines, by)


def ordered(rows: Sequence[Row], by: str) -> list[Row]:
    """Rows of groups as a person looks for them: versions from the newest on, others with most sessions first.

    `other` comes last.
    """
    sessions: Counter[str] = Counter()
    for row in rows:
        sessions[row["group"]] += int(row["sessions"])

    def place(row: Row) -> tuple[object, ...]:
        if is_version(by):
            return (not row["is_other"], version_key(row["group"]))
        return (not row["is_other"], sessions[row["group"]])

    return sorted(rows, key=place, reverse=True)


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """What versions are ordered by: `1.10` is above `1.9`, and `2.0-beta` below `2.0`."""
    release, dash, rest = version.partition("-")
    parts = [
        (1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"[.+_ ]", release)
    ]
    # What has no pre-release comes after all that have one.
    return (*parts, (0, 0, rest) if dash else (0, 1, ""))


def chart(label: str, name: str, unit: str, rows: Sequence[Row]) -> dict[str, Any]:
    """A table of one metric: one line per bucket, one column per group in the order of the rows.

    None stands where a bucket has nothing of the group.
    """
    groups = list(dict.fromkeys((row["is_other"], row["group"]) for row in rows))
    cells: dict[int, dict[tuple[int, str], float | None]] = {}
    for row in rows:
        cells.setdefault(int(row["bucket_ms"]), {})[(row["is_other"], row["group"])] = row[name]
    return {
        "label": label,
        "unit": unit,
        "groups": [group or "none" for _, group in groups],
        "lines": [(at_ms, [line.get(group) for group in groups]) for at_ms, line in sorted(cells.items())],
    }
