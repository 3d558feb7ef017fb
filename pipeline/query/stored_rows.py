"""Rows of sessions, events and crashes as they are stored, for questions that pass the views by.

A view is planned with all of its columns wherever a statement names it, whichever are asked for; and it cannot know
which partitions hold the days that a question is about. What is read here is read as the views have it.
"""

from __future__ import annotations

from pipeline.query.kept import IS_KEPT

LAST_DAY_MS = 65_535 * 86_400_000
"""The last day that a Date can hold begins (Unix milliseconds)."""
EXACTLY = "SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1"
"""As the view `sessions` has it: an index that finds a row of a session that was replaced shows none of it."""
_BY_PARTITIONS = (
    "SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1,"
    " use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1"
)
"""As the views of events have it."""
COUNTS = f"is_deleted = 0 AND {IS_KEPT}"
"""The condition by which a row of sessions, events or crashes, read with FINAL, counts."""


def since_day(first: str) -> str:
    """The condition for PREWHERE that a row of `session_rows` is of a day (SQL of a Date) or a later one.

    The day is a part of the key and tells the partition, so all rows of a session share both: what other days and
    partitions hold need not go through FINAL. By the day alone, a block of every part of all months would.
    """
    return f"_partition_id >= {_partition(first)} AND toDate(started_at) >= {first}"


def between_days(first: str, last: str) -> str:
    """As `since_day`, up to another day; the days are true ones, which a Date can hold."""
    return (
        f"_partition_id BETWEEN {_partition(first)} AND {_partition(last)}"
        f" AND toDate(started_at) BETWEEN {first} AND {last}"
    )


def sessions(columns: str, condition: str, days: str = "") -> str:
    """A SELECT of sessions as `sessions` has them, but for what that looks up; `days` is a condition as above."""
    of_days = f" PREWHERE {days}" if days else ""
    return f"SELECT {columns} FROM session_rows FINAL{of_days} WHERE {COUNTS} AND {condition} {EXACTLY}"


def sessions_of_months(columns: str, condition: str) -> str:
    """As `sessions`, of many months, each made final by itself: half the time where most of their parts are merged.

    The partition follows from the day, which is a part of the key, so all rows of a session are in one. Subqueries of
    the condition inherit the settings, which are as right for every other table: each partition follows from its key.
    """
    return f"SELECT {columns} FROM session_rows FINAL WHERE {COUNTS} AND {condition} {_BY_PARTITIONS}"


def events(columns: str, condition: str) -> str:
    """A SELECT of events as `z_stored_events` has them."""
    return f"SELECT {columns} FROM z_event_rows FINAL WHERE {COUNTS} AND {condition} {_BY_PARTITIONS}"


def crashes(columns: str, condition: str) -> str:
    """A SELECT of crashes as `z_crashes` has them."""
    return f"SELECT {columns} FROM z_crash_rows FINAL WHERE {COUNTS} AND {condition} {_BY_PARTITIONS}"


def _partition(day: str) -> str:
    """The partition of `session_rows` that a day is in, by its id: texts of six digits, and 0 for all before 2020."""
    return f"toString(if({day} < toDate('2020-01-01'), 0, toYYYYMM({day})))"
