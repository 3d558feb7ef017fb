"""Where people go from a screen, or from the start of their session, and where they leave.

All of it is of the sessions of an app that start in a range, as the view `screen_paths` has them; `where` limits the
sessions further. Every screen view of the range is read.
"""

from __future__ import annotations

from typing import Literal, get_args

from pipeline.query.free_of import CRASHED
from pipeline.query.session_range import EVERYTHING, chosen_sessions, range_parameters
from pipeline.query.statement import Statement

Span = tuple[str, int, int]
"""App, start and end (Unix milliseconds, the end left out)."""
Order = Literal["sessions", "exits", "crashes", "dwell"]
ORDERS: tuple[Order, ...] = get_args(Order)
LEAST_DEPTH, MOST_DEPTH = 2, 6
"""Screens in a way."""
WAYS = 6
"""Shown of those that part from each other at one screen."""
MOST_SCREENS = 200
_MOST_ROWS = 2_000

_PATHS = "screen_paths(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})"
_COUNTS = (
    "uniqExact(session_id) AS sessions, count() AS visits, uniqExactIf(session_id, is_last AND is_ended) AS exits,"
    f" uniqExactIf(session_id, is_last AND is_ended AND {CRASHED}) AS crashes,"
    " uniqExactIf(session_id, is_last AND NOT is_ended) AS still_there, quantileExact(0.5)(dwell_ms) AS median_dwell_ms"
)


def ways(span: Span, start: str | None, depth: int, where: Statement = EVERYTHING) -> Statement:
    """The ways of at most `depth` screens from a screen, or from the start of the session where that is None.

    Rows `steps` (the screens, the first one included; none in a row for the start of the session itself), `sessions`
    that go so at least once, `visits`, of the last of the steps `exits` (sessions that ended there), `crashes` (those
    with a crash), `still_there` (sessions that have not ended) and `median_dwell_ms`. A way comes before what goes on
    from it; at most WAYS and one more part at a screen.
    """
    shifted = [_shifted("screens", by) for by in range(depth)]
    times = [_shifted("shown_ms", by) for by in range(depth)]
    names = ", ".join(f"visit.{place}" for place in range(1, depth + 1))
    dwells = ", ".join(f"visit.{place}" for place in range(depth + 1, 2 * depth + 1))
    shortest = 0 if start is None else 1
    begins = "place = 1" if start is None else "visit.1 = {start:String}"
    sql = (
        f"SELECT steps, {_COUNTS} FROM (SELECT session_id, is_ended, {CRASHED},"
        f" arraySlice([{names}], 1, steps_to) AS steps, [{dwells}][steps_to] AS dwell_ms,"
        " place + steps_to - 1 = screen_count AS is_last"
        f" FROM (SELECT session_id, is_ended, {CRASHED}, length(screens) AS screen_count, place, visit"
        f" FROM {_of(where)} ARRAY JOIN arrayEnumerate(screens) AS place,"
        f" arrayZip({', '.join([*shifted, *times])}) AS visit WHERE {begins})"
        f" ARRAY JOIN range({shortest}, least({depth}, toUInt64(screen_count - place + 1)) + 1) AS steps_to)"
        " GROUP BY steps ORDER BY sessions DESC, length(steps), steps"
        f" LIMIT {WAYS + 1} BY length(steps), arrayPopBack(steps) LIMIT {_MOST_ROWS}"
    )
    parameters = {**range_parameters(*span), **where.parameters}
    return Statement(sql, parameters if start is None else {**parameters, "start": start})


def screens(span: Span, order: Order = "sessions", where: Statement = EVERYTHING) -> Statement:
    """Each screen: `screen`, and of it the columns of `ways`; at most MOST_SCREENS."""
    by = "median_dwell_ms" if order == "dwell" else order
    sql = (
        f"SELECT screen, {_COUNTS} FROM (SELECT session_id, is_ended, {CRASHED}, visit.1 AS screen,"
        f" visit.2 AS dwell_ms, visit.3 = length(screens) AS is_last FROM {_of(where)}"
        " ARRAY JOIN arrayZip(screens, shown_ms, arrayEnumerate(screens)) AS visit)"
        f" GROUP BY screen ORDER BY {by} DESC, sessions DESC, screen LIMIT {MOST_SCREENS}"
    )
    return Statement(sql, {**range_parameters(*span), **where.parameters})


def _of(where: Statement) -> str:
    """The sessions with their screens that meet a condition."""
    if where == EVERYTHING:
        return _PATHS
    return f"(SELECT * FROM {_PATHS} WHERE session_id IN (SELECT session_id FROM ({chosen_sessions(where)})))"


def _shifted(column: str, by: int) -> str:
    """An array with what comes so many places later, as long as it was."""
    if not by:
        return column
    filler = "''" if column == "screens" else "toInt64(0)"
    return f"arrayConcat(arraySlice({column}, {by + 1}), arrayWithConstant(least({by}, length({column})), {filler}))"
