"""What a filter could say: values, keys and attributes as they were stored lately, most frequent first.

Suggestions and no account: copies and rows taken back are not told apart, and only a sample is read. What the
dashboard shows of them it escapes, like every text that a device or a user chose.
"""

from __future__ import annotations

from pipeline.query.dimensions import CRASH_GROUP, KEYED, SCREENS, dimension
from pipeline.query.filters.tree import FilterError
from pipeline.query.statement import Statement

MOST = 50
"""Suggestions at a time."""
LONGEST = 200
"""Characters of one; longer ones are left out."""
_MOST_NAMES = 500
_DAYS = 30
"""Up to the newest session."""
_SAMPLE_SCREENS = 100_000
"""Views read: of each no more than its name."""
_SAMPLE_KEYS, _SAMPLE_VALUES = 2_000, 300
"""Events read: crash reports with every thread are large, and values bring all of them."""

_APP = "({app:String} = '' OR app_id = {app:String})"
_LATELY = f"(SELECT max(newest) FROM z_apps WHERE {_APP}) - INTERVAL {_DAYS} DAY"
_OFTEN = (
    "WHERE word != '' AND lengthUTF8(word) <= {longest:UInt32}"
    " GROUP BY word ORDER BY count() DESC, word LIMIT {most:UInt32}"
)


def values_of(app_id: str, name: str) -> Statement:
    """Values of a dimension, as rows `word`; of a dimension that wants a key (`user.property.`) the keys.

    Of all apps where `app_id` is empty. Raises FilterError where nothing is suggested.
    """
    if name in KEYED:
        return _of_sessions(app_id, f"arrayJoin(mapKeys({KEYED[name].sql}))", {})
    found = dimension(name)
    if found is None or not found.is_suggested:
        raise FilterError(f"no values are suggested for {name[:80]!r}")
    if found.name == CRASH_GROUP:
        return _often(
            f"SELECT crash_group AS word FROM z_crashes WHERE {_APP} AND toDate32(raw_time) >= toDate32({_LATELY})",
            {"app": app_id},
        )
    if found.name in SCREENS:
        return _often(
            f"SELECT label AS word FROM z_notable_event_rows WHERE {_APP} AND subject = 'view'"
            f" AND toDate32(raw_time) >= toDate32({_LATELY}) LIMIT {_SAMPLE_SCREENS}",
            {"app": app_id},
        )
    if found.key is not None:
        return _of_sessions(app_id, f"{found.sql}[{{key:String}}]", {"key": found.key})
    return _of_sessions(app_id, f"arrayJoin({found.sql})" if found.type == "list" else found.sql, {})


def event_names() -> Statement:
    """The names that events had lately, as rows `name`."""
    return Statement(
        f"SELECT DISTINCT name FROM z_unmerged_events WHERE toDate32(raw_time) >= toDate32({_LATELY})"
        f" ORDER BY name LIMIT {_MOST_NAMES}",
        {"app": ""},
    )


def attributes_of(app_id: str, event: str) -> Statement:
    """The names of the attributes that events of a name carry, as rows `word`."""
    return _of_events(app_id, event, "arrayJoin(mapKeys(attributes))", _SAMPLE_KEYS, {})


def attribute_values(app_id: str, event: str, attribute: str) -> Statement:
    """The values of one of them, as rows `word`."""
    return _of_events(
        app_id, event, "attributes[{attribute:String}]", _SAMPLE_VALUES, {"attribute": attribute}
    )


def _of_sessions(app_id: str, word: str, parameters: dict[str, object]) -> Statement:
    return _often(
        f"SELECT toString({word}) AS word FROM session_rows WHERE {_APP} AND started_at >= {_LATELY}",
        {"app": app_id, **parameters},
    )


def _of_events(app_id: str, event: str, word: str, sample: int, parameters: dict[str, object]) -> Statement:
    return _often(
        f"SELECT toString({word}) AS word FROM (SELECT attributes FROM z_unmerged_events"
        f" WHERE {_APP} AND toDate32(raw_time) >= toDate32({_LATELY}) AND name = {{event:String}} LIMIT {sample})",
        {"app": app_id, "event": event, **parameters},
    )


def _often(words: str, parameters: dict[str, object]) -> Statement:
    return Statement(f"SELECT word FROM ({words}) {_OFTEN}", {**parameters, "longest": LONGEST, "most": MOST})
