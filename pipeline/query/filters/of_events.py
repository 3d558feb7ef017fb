"""Sessions by their events: the part of the SQL of filters that joins the two, and what events tell of a session.

An event belongs to the session with the greatest start not after it, as in `session_timeline`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.domain.event import APPEARANCES, VIEWS
from pipeline.query import stored_rows
from pipeline.query.dimensions import (
    CONNECTION,
    FIRST_SCREEN,
    LAST_SCREEN,
    SCREEN_PATH,
    SLOWEST_REQUEST,
    SLOWEST_SCREEN,
    SLOWEST_START,
)
from pipeline.query.filters.bounds import RangeBounds

_LONGEST_MS = 600_000
"""A start or a load that took longer is none."""
_PLACE = "(e.time, e.rank, e.seq, e.event_id)"
"""The order of events in a session."""
REQUEST_MS = (
    "multiIf(attributes['duration_ms'] != '', toFloat64OrNull(attributes['duration_ms']),"
    " attributes['duration'] != '', toFloat64OrNull(attributes['duration']),"
    " toFloat64OrNull(attributes['http.end_time']) - toFloat64OrNull(attributes['http.start_time']))"
)
"""How long a request took, in milliseconds, NULL where its SDK does not say: as the view `requests_between` has it."""


def sessions(scope: RangeBounds, limit: str, events: str, having: str = "") -> str:
    """The condition that a session has such events, and that together, as `e`, they meet `having`.

    `events` is a SELECT of events with app, device and time, with `{of}` where the condition stands that bounds them;
    `limit` says of which devices.
    """
    grouped = f" GROUP BY e.app_id, e.device_id, s.started_at HAVING {having}" if having else ""
    return f"(app_id, device_id, started_at) IN ({_joined(scope, limit, events)}{grouped})"


def told_by(scope: RangeBounds, limit: str, events: str, columns: Mapping[str, str]) -> str:
    """A SELECT of the sessions that have such events: `app_id`, `device_id`, `started_at`, and by name what aggregates
    over their events, as `e`, say."""
    names = "".join(f", {sql} AS {name}" for name, sql in columns.items())
    joined = _joined(
        scope,
        limit,
        events,
        f"e.app_id AS app_id, e.device_id AS device_id, s.started_at AS started_at{names}",
    )
    return f"{joined} GROUP BY e.app_id, e.device_id, s.started_at"


def _joined(
    scope: RangeBounds, limit: str, events: str, columns: str = "e.app_id, e.device_id, s.started_at"
) -> str:
    chosen = scope.sessions_of_events("app_id, device_id, started_at", limit)
    bounded = events.replace("{of}", f"{limit} AND {scope.events()}")
    return (
        f"SELECT {columns} FROM ({bounded}) AS e"
        f" ASOF INNER JOIN ({chosen}) AS s"
        " ON e.app_id = s.app_id AND e.device_id = s.device_id AND e.time >= s.started_at"
    )


def masked(passes: Sequence[str]) -> str:
    """A SELECT of the events that pass any of these; bit i of `mask` says that one passes the i-th."""
    mask = " + ".join(f"toUInt16({sql}) * {1 << i}" for i, sql in enumerate(passes))
    return (
        f"SELECT app_id, device_id, time, rank, seq, event_id, {mask} AS mask"
        " FROM narrated_events WHERE {of} AND mask != 0"
    )


class Telling(NamedTuple):
    """What events tell of a session."""

    events: str
    """A SELECT of those that tell, as `sessions` takes it."""
    value: str
    """What they tell together, an aggregate."""


def _screens(of: str) -> str:
    return f"if(max(e.is_named) = 1, {of}If(e.screen, {_PLACE}, e.is_named = 1), {of}(e.screen, {_PLACE}))"


_SCREENS = (
    # As many as the session counts: what only parts of screens tell of, where no view has a name of the app's.
    "SELECT app_id, device_id, time, rank, seq, event_id, attributes['app.screen.name'] AS screen,"
    f" bitTest(counters, {VIEWS}) AS is_named FROM narrated_events"
    f" WHERE {{of}} AND (bitTest(counters, {VIEWS}) OR bitTest(counters, {APPEARANCES}))"
)

# As `screen_paths.path`: what comes several times in a row is there once, and no `>` in a name is one between names.
_ARROW = "char(226, 134, 146)"  # → in UTF-8
_NAMES = f"arrayMap(s -> s.5, arraySort(groupArrayIf(({_PLACE[1:-1]}, replaceAll(e.screen, '>', {_ARROW})), {{of}})))"
_PATH = "concat('|> ', arrayStringConcat(arrayCompact({names}), ' > '), ' >|')"


def _path() -> str:
    named, derived = (_PATH.format(names=_NAMES.format(of=f"e.is_named = {each}")) for each in (1, 0))
    return f"if(max(e.is_named) = 1, {named}, {derived})"


def _slowest(attribute: str, of: str) -> Telling:
    """The longest of what the views of performance take: up to ten minutes, with the name of what was measured."""
    took_ms = f"toFloat64OrNull(attributes['{attribute}'])"
    return Telling(
        stored_rows.events(
            f"app_id, device_id, time, assumeNotNull({took_ms}) AS took_ms",
            f"{{of}} AND attributes['{attribute}'] != '' AND attributes['{of}'] != ''"
            f" AND ifNull({took_ms} BETWEEN 0 AND {_LONGEST_MS}, false)",
        ),
        "max(e.took_ms)",
    )


TELLINGS: Mapping[str, Telling] = {
    FIRST_SCREEN: Telling(_SCREENS, _screens("argMin")),
    LAST_SCREEN: Telling(_SCREENS, _screens("argMax")),
    SCREEN_PATH: Telling(_SCREENS, _path()),
    CONNECTION: Telling(
        stored_rows.events(
            "app_id, device_id, time, lower(attributes['network.connection.type']) AS connection",
            "{of} AND connection != ''",
        ),
        "groupUniqArray(e.connection)",
    ),
    SLOWEST_REQUEST: Telling(
        stored_rows.events(
            f"app_id, device_id, time, assumeNotNull({REQUEST_MS}) AS took_ms",
            f"{{of}} AND name = 'http.client.request' AND ifNull({REQUEST_MS} >= 0, false)",
        ),
        "max(e.took_ms)",
    ),
    SLOWEST_START: _slowest("app.launch.duration_ms", "app.launch.type"),
    SLOWEST_SCREEN: _slowest("app.screen.load_ms", "app.screen.name"),
}
"""By the name of the dimension."""
