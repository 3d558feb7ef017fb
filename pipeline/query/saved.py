"""Filters with a name, kept in ClickHouse, and the one that an app begins with."""

from __future__ import annotations

from pipeline.query.filters.check import checked
from pipeline.query.filters.text_form import parse, to_text
from pipeline.query.filters.tree import EVERYTHING, All, Filter, FilterError, parts_of
from pipeline.query.statement import Statement

MAX_NAME = 100
"""Characters."""


def saved_filters(app_id: str) -> Statement:
    """The filters of an app by name: `name`, `filter` (its text), `is_default`, `saved_at`."""
    return Statement(
        "SELECT name, filter, is_default, saved_at FROM saved_filters WHERE app_id = {app:String} ORDER BY name",
        {"app": app_id},
    )


def named_filters(app_id: str) -> Statement:
    """The filters that a page of an app can be narrowed by, `app_id`, `name`, `filter`: those saved for all apps, and
    then those of the app."""
    return Statement(
        "SELECT app_id, name, filter FROM saved_filters WHERE app_id IN ('', {app:String})"
        " ORDER BY app_id != '', app_id, name",
        {"app": app_id},
    )


def narrowed(cohort: Filter, filter: Filter) -> Filter:
    """The sessions of a cohort that pass a filter. Raises FilterError where that is too much."""
    if cohort == EVERYTHING:
        return filter
    if filter == EVERYTHING:
        return cohort
    return checked(All((*parts_of(cohort), *parts_of(filter))))


def save(app_id: str, name: str, text: str) -> Statement:
    """Save a filter under a name, in place of one that has it. Raises FilterError for either."""
    return Statement(
        "INSERT INTO saved_filter_rows (app_id, name, filter)"
        " SELECT {app:String}, {name:String}, {filter:String}",
        {"app": app_id, "name": _name(name), "filter": to_text(parse(text))},
    )


def delete(app_id: str, name: str) -> Statement:
    """Delete the filter of that name; nothing happens if there is none. Were it the default, there is none now."""
    return Statement(
        "INSERT INTO saved_filter_rows (app_id, name, is_deleted) SELECT {app:String}, {name:String}, 1",
        {"app": app_id, "name": _name(name)},
    )


def make_default(app_id: str, name: str | None) -> Statement:
    """Make the filter of that name the one that the app begins with; without a name, none is."""
    return Statement(
        "INSERT INTO default_filter_rows (app_id, name) SELECT {app:String}, {name:String}",
        {"app": app_id, "name": "" if name is None else _name(name)},
    )


def _name(name: str) -> str:
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise FilterError(
            f"the name of a filter has 1 to {MAX_NAME} printable characters, and no spaces at either end"
        )
    return name
