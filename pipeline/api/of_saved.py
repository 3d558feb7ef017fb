"""Filters that are saved under a name: cohorts, on every page."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from starlette.concurrency import run_in_threadpool

from pipeline.api.endpoint import ApiEndpoint, ApiRequest, filter_of
from pipeline.api.parameters import Parameter
from pipeline.api.problem import RequestRefused
from pipeline.api.shape import Removal, Time, all_shaped, shaped
from pipeline.dashboard.address import LONGEST_FILTER
from pipeline.query import saved
from pipeline.query.filters.tree import FilterError
from pipeline.query.statement import Statement

_MOST_APP = 500


class SavedFilter(Struct, kw_only=True):
    """A filter that was saved under a name."""

    name: str
    filter: str
    is_default: bool
    saved_at: Time


class SavedFilters(Struct, kw_only=True):
    """Those of an app, by name."""

    items: list[SavedFilter]


class FilterToSave(Struct, kw_only=True, forbid_unknown_fields=True):
    """A filter and its name; a filter that already has the name is replaced."""

    name: Annotated[str, Meta(min_length=1, max_length=saved.MAX_NAME)]
    filter: Annotated[str, Meta(max_length=LONGEST_FILTER)]
    app: Annotated[str, Meta(max_length=_MOST_APP, description="Empty: for all apps.")] = ""
    is_default: bool | None = None
    """Whether the app's lists begin with it; without it that stays as it is."""


async def saved_filters(asked: ApiRequest) -> SavedFilters:
    """Those of an app; without one those of all apps."""
    app = asked.require_app(asked.values["app"]) if asked.values["app"] else ""
    return SavedFilters(items=all_shaped(SavedFilter, await asked.reader.rows(saved.saved_filters(app))))


async def save(asked: ApiRequest) -> SavedFilter:
    """As the page does."""
    given: FilterToSave = asked.body
    app = _own(asked, given.app)
    filter_of(given.filter)
    try:
        statements = [saved.save(app, given.name, given.filter)]
        if given.is_default is not None:
            statements += await _default(asked, app, given.name, is_wanted=given.is_default)
    except FilterError as error:
        raise _bad_name(error) from None
    await _run(asked, statements)
    rows = await asked.reader.rows(saved.saved_filters(app))
    found = next((row for row in rows if row["name"] == given.name), None)
    if found is None:
        raise RequestRefused("not-found", "It was saved, but has been deleted since.")
    return shaped(SavedFilter, found)


async def delete(asked: ApiRequest) -> Removal:
    """What begins with it begins with none then."""
    app, name = _own(asked, asked.values["app"] or ""), asked.values["name"]
    rows = await asked.reader.rows(saved.saved_filters(app))
    try:
        statement = saved.delete(app, name)
    except FilterError as error:
        raise _bad_name(error) from None
    was_there = any(row["name"] == name for row in rows)
    await _run(asked, [statement] if was_there else [])
    return Removal(name=name, was_there=was_there)


async def _default(asked: ApiRequest, app: str, name: str, *, is_wanted: bool) -> list[Statement]:
    if is_wanted:
        return [saved.make_default(app, name)]
    rows = await asked.reader.rows(saved.saved_filters(app))
    is_one = any(row["is_default"] and row["name"] == name for row in rows)
    return [saved.make_default(app, None)] if is_one else []


async def _run(asked: ApiRequest, statements: list[Statement]) -> None:
    write = asked.outside.write
    if write is None:
        raise RequestRefused("not-allowed", "Nothing can be saved here.")
    for each in statements:
        await run_in_threadpool(write, each.sql, each.parameters)


def _own(asked: ApiRequest, app: str) -> str:
    """An app that the key is for; all apps are for a key for all of them."""
    if app:
        return asked.require_app(app)
    if asked.grant.apps:
        raise RequestRefused(
            "not-your-app", "A filter for all apps needs a key for all of them: name an `app`."
        )
    return app


def _bad_name(error: FilterError) -> RequestRefused:
    return RequestRefused("bad-request", f"{error}.", {"parameter": "name"})


_APP = Parameter("app", "Those of this app; by default those of all apps.", least=1)
ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/filters/saved", "listSavedFilters", "Filters that were saved under a name: cohorts", SavedFilters,
        saved_filters, (_APP,), group="Filters",
    ),
    ApiEndpoint(
        "/filters/saved", "saveFilter", "Save a filter under a name, replacing one that has it", SavedFilter, save,
        about="It is then a cohort, on every page and as `cohort` here.", group="Filters", method="POST",
        takes=FilterToSave,
    ),
    ApiEndpoint(
        "/filters/saved", "deleteSavedFilter", "Delete a saved filter", Removal, delete,
        (
            Parameter("app", "Of this app; by default of all apps.", least=1),
            Parameter("name", "Its name.", least=1, most=saved.MAX_NAME, is_required=True),
        ),
        group="Filters", method="DELETE",
    ),
)  # fmt: skip
