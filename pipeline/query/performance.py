"""How fast an app is: starts, loads of screens, web vitals and slow frames, of an app's sessions in a range.

As the views `performance` and `slow_frames` have it (migration 0035 says what bounds and intervals are), of the
sessions that meet a condition. Every measurement of the range is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from pipeline.query.session_range import EVERYTHING, chosen_sessions, range_parameters, time_text
from pipeline.query.statement import Statement

Span = tuple[str, int, int]
"""App, start and end (Unix milliseconds, the end left out)."""
Subject = Literal["start", "screen", "vital"]
SUBJECTS: tuple[Subject, ...] = get_args(Subject)
By = Literal["", "app_version", "os_name", "os_version", "device_model"]
GROUPS: tuple[By, ...] = get_args(By)
"""What measurements are grouped by; all together for the empty one."""
MOST_GROUPS = 200
_MOST_ROWS = 2_000
"""Of a subject."""
QUANTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95}
START_BOUNDS_MS = {"cold": 5_000, "warm": 2_000, "hot": 1_500}
"""From which on Android vitals call a start excessive."""
SCREEN_BOUND_MS = 1_000
VITAL_BOUNDS = {
    "lcp": (2_500, 4_000),
    "inp": (200, 500),
    "cls": (0.1, 0.25),
    "fcp": (1_800, 3_000),
    "ttfb": (800, 1_800),
}
"""Good up to the first, poor beyond the second (web.dev/articles/vitals); milliseconds, but for CLS."""
FRAME_BOUNDS_MS = {"slow": 16, "frozen": 700}

_Z = 1.959964
_MEASUREMENTS = "measurements(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})"
_KEYS: dict[By, str] = {
    "": "''",
    "app_version": "toString(app_version)",
    "os_name": "toString(os_name)",
    "os_version": "concat(os_name, ' ', os_version)",
    "device_model": "toString(device_model)",
}
_BOUNDS = (
    "multiIf(subject = 'start', transform(label, ['cold', 'warm', 'hot'], [5000., 2000., 1500.], 5000.),"
    " subject = 'vital', transform(label, {vitals:Array(String)}, {good:Array(Float64)}, 0.), 1000.) AS good,"
    " if(subject = 'vital', transform(label, {vitals:Array(String)}, {poor:Array(Float64)}, 0.), good) AS poor,"
    " if(subject = 'vital', value <= good, value < good) AS is_good,"
    " if(subject = 'vital', value > poor, value >= poor) AS is_bad"
)


def measured(
    span: Span, subjects: Sequence[Subject | Literal["frames"]], by: By = "", where: Statement = EVERYTHING
) -> Statement:
    """Of each subject, in one reading: rows `subject`, `label`, `group`, `measurements`, `sessions`, `devices`,
    quantiles `p50` to `p95`, each with `_low` and `_high`, `good_count`, `bad_count`, `bad_share` with `bad_low` and
    `bad_high`, and `event_names`, what the events are called that told of them. Groups of most measurements first, at
    most MOST_GROUPS of a label.

    Of `frames` the label is 'slow' or 'frozen', `sessions` are those in the foreground that have some, and `frames`,
    `all_sessions` in the foreground, `share`, `share_low` and `share_high` are theirs (`frames_of`); groups of most
    sessions first.
    """
    others = [subject for subject in subjects if subject != "frames"]
    with_frames = len(others) < len(subjects)
    of = "subject IN {subjects:Array(String)}"
    joined, of_frames, most = "", "", "measurements"
    if with_frames:
        of = f"({of} OR (subject = 'frames' AND label != 'total' AND state = 'foreground'))"
        # Of other subjects this says nothing, and must be a number all the same.
        jerky = "if(subject = 'frames', sessions, 0)"
        of_frames = f", frames, all_sessions, {_share('share', jerky, 'greatest(all_sessions, 1)')}"
        most = "if(subject = 'frames', all_sessions, measurements)"
        chosen = chosen_sessions(where, f"{_KEYS[by]} AS group, state")
        joined = (
            f" LEFT JOIN (SELECT group, count() AS all_sessions FROM ({chosen})"
            " WHERE state = 'foreground' GROUP BY group) AS s USING group"
        )
    counted = (
        f"WITH {_BOUNDS} SELECT toString(subject) AS subject, label, {_KEYS[by]} AS group, count() AS measurements,"
        " uniqExactIf(session_id, subject != 'frames' OR value > 0) AS sessions, uniqExact(device_id) AS devices,"
        " arraySort(groupArrayIf(value, subject != 'frames')) AS sorted, countIf(is_good) AS good_count,"
        " countIf(is_bad) AS bad_count, sum(value) AS frames,"
        " arraySort(groupUniqArray(5)(toString(event_name))) AS event_names"
        f" FROM {_MEASUREMENTS} WHERE {of}{_of(where)} GROUP BY subject, label, group"
    )
    sql = (
        f"SELECT subject, label, group, measurements, sessions, devices, {_quantiles()}, good_count, bad_count,"
        f" {_share('bad', 'bad_count', 'measurements')}, event_names{of_frames} FROM ({counted}) AS m{joined}"
        f" QUALIFY row_number() OVER (PARTITION BY subject, label ORDER BY {most} DESC, group) <= {MOST_GROUPS}"
        " ORDER BY subject, if(subject = 'frames', 0, sum(measurements) OVER (PARTITION BY subject, label)) DESC,"
        f" if(label = 'slow', '', label), {most} DESC, group LIMIT {_MOST_ROWS} BY subject"
    )
    values = {
        "subjects": others,
        "vitals": list(VITAL_BOUNDS),
        "good": [float(good) for good, _ in VITAL_BOUNDS.values()],
        "poor": [float(poor) for _, poor in VITAL_BOUNDS.values()],
    }
    return Statement(sql, {**range_parameters(*span), **values, **where.parameters})


def frames_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row of `measured` tells of frames: `kind` ('slow', 'frozen'), `group`, `frames`, `sessions` in the
    foreground that have some, `all_sessions` of these, `share` with `share_low` and `share_high`."""
    names = ("group", "frames", "sessions", "all_sessions", "share", "share_low", "share_high")
    return {"kind": row["label"], **{name: row[name] for name in names}}


def of_session(app_id: str, device_id: str, session_id: str, started_ms: int) -> Statement:
    """What was measured in a session, in order: `at_ms`, `subject`, `label`, `value`; at most 20,000."""
    return Statement(
        "SELECT toUnixTimestamp64Milli(time) AS at_ms, toString(subject) AS subject, label, value FROM"
        f" {_MEASUREMENTS} WHERE device_id = {{device:String}}"
        " AND session_id = {session:UUID} ORDER BY time, event_id, subject, label LIMIT 20000",
        {
            "m_app": app_id,
            "m_from": time_text(started_ms),
            "m_until": time_text(started_ms + 1),
            "device": device_id,
            "session": session_id,
        },
    )


def _quantiles() -> str:
    told = []
    for name, p in QUANTILES.items():
        spread = f"{_Z} * sqrt(measurements * {p} * (1 - {p}))"
        low, high = f"ceil(measurements * {p} - {spread})", f"ceil(measurements * {p} + {spread})"
        told += [
            f"sorted[toUInt64(ceil(measurements * {p}))] AS {name}",
            f"if({low} < 1, NULL, sorted[toUInt64({low})]) AS {name}_low",
            f"if({high} > measurements, NULL, sorted[toUInt64({high})]) AS {name}_high",
        ]
    return ", ".join(told)


def _share(name: str, part: str, whole: str) -> str:
    """A share with Wilson's interval."""
    share = "bad_share" if name == "bad" else name
    half = f"{_Z} * sqrt({share} * (1 - {share}) / {whole} + {_Z**2 / 4} / pow({whole}, 2))"
    middle, divisor = f"{share} + {_Z**2 / 2} / {whole}", f"(1 + {_Z**2} / {whole})"
    return (
        f"{part} / {whole} AS {share}, greatest(0, ({middle} - {half}) / {divisor}) AS {name}_low,"
        f" ({middle} + {half}) / {divisor} AS {name}_high"
    )


def _of(where: Statement) -> str:
    return "" if where == EVERYTHING else f" AND session_id IN ({chosen_sessions(where, 'session_id')})"
