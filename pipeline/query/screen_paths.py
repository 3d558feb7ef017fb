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


def ways_and_screens(
    span: Span, start: str | None, depth: int, order: Order = "sessions", where: Statement = EVERYTHING
) -> Statement:
    """The ways of at most `depth` screens from a screen, or from the start of the session where that is None; and with
    `is_screen` = 1 behind them each screen by itself, in its `order`, at most MOST_SCREENS.

    Rows `steps` (the screens, the first one included; none in a row for the start of the session itself), `screen` (the
    first), `sessions` that go so at least once, `visits`, of the last of the steps `exits` (sessions that ended there),
    `crashes` (those with a crash), `still_there` (sessions that have not ended) and `median_dwell_ms`. A way comes
    before what goes on from it; at most WAYS and one more part at a screen.
    """
    return _steps(span, (start, depth), order, where)


def ways(span: Span, start: str | None, depth: int, where: Statement = EVERYTHING) -> Statement:
    """The ways alone, as `ways_and_screens` has them."""
    return _steps(span, (start, depth), None, where)


def screens(span: Span, order: Order = "sessions", where: Statement = EVERYTHING) -> Statement:
    """The screens alone, as `ways_and_screens` has them."""
    return _steps(span, None, order, where)


def _steps(
    span: Span, way: tuple[str | None, int] | None, order: Order | None, where: Statement
) -> Statement:
    """The screens of each session are read once, whatever is made of them: at each place some numbers of steps, -1 for
    the screen by itself."""
    start, depth = way or (None, 1)
    columns = [_shifted(column, by) for column in ("screens", "shown_ms") for by in range(depth)]
    names = ", ".join(f"visit.{place}" for place in range(1, depth + 1))
    dwells = ", ".join(f"visit.{place}" for place in range(depth + 1, 2 * depth + 1))
    begins = "place = 1" if start is None else "visit.1 = {start:String}"
    longest = f"least({depth}, toUInt64(screen_count - place + 1)) + 1"
    lengths = f"arrayMap(n -> toInt8(n), range({0 if start is None else 1}, {longest}))"
    of_place = [
        *([] if order is None else ["[toInt8(-1)]"]),
        *([] if way is None else [f"if({begins}, {lengths}, [])"]),
    ]
    by = "sessions" if order is None else "median_dwell_ms" if order == "dwell" else order
    first = f"if(is_screen, {by}, sessions) DESC, sessions DESC, length(steps), steps"
    sql = (
        f"SELECT is_screen, steps, steps[1] AS screen, {_COUNTS} FROM (SELECT session_id, is_ended, {CRASHED},"
        f" told < 0 AS is_screen, abs(told) AS many, arraySlice([{names}], 1, many) AS steps,"
        f" [{dwells}][many] AS dwell_ms, place + many - 1 = screen_count AS is_last"
        f" FROM (SELECT session_id, is_ended, {CRASHED}, length(screens) AS screen_count, place, visit"
        f" FROM {_of(where)} ARRAY JOIN arrayEnumerate(screens) AS place, arrayZip({', '.join(columns)}) AS visit)"
        f" ARRAY JOIN arrayConcat({', '.join(of_place)}) AS told) GROUP BY is_screen, steps"
        " QUALIFY row_number() OVER (PARTITION BY is_screen, if(is_screen, 0, length(steps)),"
        f" if(is_screen, [], arrayPopBack(steps)) ORDER BY {first}) <= if(is_screen, {MOST_SCREENS}, {WAYS + 1})"
        f" ORDER BY is_screen, {first} LIMIT {_MOST_ROWS} BY is_screen"
    )
    parameters = {**range_parameters(*span), **where.parameters}
    return Statement(sql, parameters if start is None else {**parameters, "start": start})


def _of(where: Statement) -> str:
    """The sessions with their screens that meet a condition."""
    if where == EVERYTHING:
        return _PATHS
    return f"(SELECT * FROM {_PATHS} WHERE session_id IN ({chosen_sessions(where, 'session_id')}))"


def _shifted(column: str, by: int) -> str:
    """An array with what comes so many places later, as long as it was."""
    if not by:
        return column
    filler = "''" if column == "screens" else "toInt64(0)"
    return f"arrayConcat(arraySlice({column}, {by + 1}), arrayWithConstant(least({by}, length({column})), {filler}))"
