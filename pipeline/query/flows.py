"""User flows: events in order that people shall get through, and what became of the sessions that began with the first.

A flow is written as in a filter, with `has` or without: `app.launch then app.screen.view(app.screen.name = "Cart")
then app.widget.click within 10m`. Each session has one outcome. A saved flow is a saved filter: those who complete it.
`pipeline.dashboard.outcomes` says the same in filters. Buckets are those of `time_zone`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

from pipeline.query import bad_ends
from pipeline.query.filters.sql import FilterScope, chains_of
from pipeline.query.filters.text_form import parse
from pipeline.query.filters.tree import EVERYTHING, Filter, FilterError, HasEvent
from pipeline.query.session_counts import BUCKET
from pipeline.query.sessions import choose
from pipeline.query.statement import Statement
from pipeline.query.time_zone import edges

Outcome = Literal["completed", "timed_out", "error", "going_on", "abandoned"]
"""All steps came, each in its time; all of them, but later; not all: the session ended badly, goes on, or ended so."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

Steps = tuple[HasEvent, ...]
_OF_SESSION = "app_id, device_id, started_at, status, end_reason, exit_reason, crash_count, anr_count"
"""What tells how a session ended, and whose it is."""


def flow(text: str) -> Steps:
    """The steps of a flow, two or more that come. Raises FilterError, whose message is for people."""
    found = parse(text if re.match(r"\s*has\s", text, re.IGNORECASE) else f"has {text}")
    if not isinstance(found, HasEvent):
        raise FilterError("a flow is events joined by `then`, and nothing else")
    steps = found.steps()
    if len(coming(steps)) < 2:
        raise FilterError("a flow has at least two steps: `app.launch then app.screen.view`")
    return steps


def flow_of(text: str) -> Steps | None:
    """The steps of a saved filter that is a flow; None for any other."""
    try:
        return flow(text)
    except FilterError:
        return None


def coming(steps: Steps) -> tuple[int, ...]:
    """How many steps there are up to each that shall come, this one included."""
    return tuple(place for place, step in enumerate(steps, 1) if not step.is_absent)


def chain(steps: Sequence[HasEvent]) -> HasEvent:
    """The steps as one filter."""
    whole: HasEvent | None = None
    for step in reversed(steps):
        whole = replace(step, then=whole)
    assert whole is not None, "a flow has steps"
    return whole


def at_any_time(steps: Steps) -> HasEvent:
    """The steps as a filter that does not ask how long after another each came."""
    return chain([step if step.is_absent else replace(step, within_ms=None) for step in steps])


def has_times(steps: Steps) -> bool:
    """Whether a step has to come within a time."""
    return any(step.within_ms is not None and not step.is_absent for step in steps)


def outcomes(
    app_id: str,
    steps: Steps,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    filter: Filter = EVERYTHING,
    *,
    newest_ms: int | None = None,
) -> Statement:
    """Of the sessions that start in [start_ms, end_ms), pass a filter and have the first step: what became of them.

    One row each bucket of `step_ms` that has any: `bucket_ms`, `started` (sessions with the first step), one column for
    each of OUTCOMES, and `step_2` and so on: how many came as far as the second step that shall come. One more with
    `is_whole` = 1 of all of them, if there are any. `newest_ms` is when the newest session started, if that is known.
    Raises FilterError.
    """
    scope = FilterScope(app_id, start_ms, end_ms, newest_ms)
    chosen = choose(app_id, filter, start_ms, end_ms, newest_ms=newest_ms)
    # Each takes the steps, in the order of their bits.
    chains: dict[str, Callable[[Steps], Steps]] = {
        "is_begun": lambda steps: steps[:1],
        "is_completed": lambda steps: steps,
    }
    if has_times(steps):
        chains["is_late"] = lambda steps: at_any_time(steps).steps()
    for number, length in enumerate(coming(steps)[1:], 2):
        if length < len(steps):
            chains[f"is_step_{number}"] = partial(_first, length)
    told = chains_of(chain(steps), chains, filter, scope)
    late = "is_late" if has_times(steps) else "false"
    numbers = {
        number: f"is_step_{number}" if length < len(steps) else "is_completed"
        for number, length in enumerate(coming(steps)[1:], 2)
    }
    outcome = (
        f"multiIf(is_completed, 'completed', {late}, 'timed_out', {bad_ends.ANY.sql}, 'error',"
        " status = 'open', 'going_on', 'abandoned')"
    )
    sql = (
        f"SELECT {BUCKET} AS bucket_ms, grouping(bucket_ms) AS is_whole, count() AS started, "
        + ", ".join(f"countIf(outcome = '{each}') AS {each}" for each in OUTCOMES)
        + "".join(f", countIf({passes}) AS step_{number}" for number, passes in numbers.items())
        + f" FROM (SELECT s.started_at AS started_at, {', '.join(chains)}, {outcome} AS outcome"
        f" FROM (SELECT {_OF_SESSION} {chosen.found}) AS s INNER JOIN ({told.sql}) AS f ON s.app_id = f.app_id"
        " AND s.device_id = f.device_id AND s.started_at = f.started_at WHERE is_begun)"
        " GROUP BY bucket_ms WITH ROLLUP ORDER BY is_whole, bucket_ms"
    )
    buckets = {"k_edges": edges(start_ms, end_ms, step_ms)[:-1]}
    return Statement(sql, {**chosen.parameters, **told.parameters, **buckets})


def _first(length: int, steps: Steps) -> Steps:
    return steps[:length]
