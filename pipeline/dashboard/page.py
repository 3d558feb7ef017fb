"""Fills in templates, always escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from pipeline.dashboard import viewer, words
from pipeline.query import bad_ends
from pipeline.query.time_zone import bucket_end

FOLDER = Path(__file__).parent


def _environment() -> Environment:
    # StrictUndefined: a name that is missing is a mistake of ours, not an empty cell.
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (words.day_and_time, words.clock, words.day, words.duration, words.offset, words.number)
    of_session = (
        words.end_words,
        words.end_meaning,
        words.start_words,
        words.start_meaning,
        words.problems,
        words.other_problems,
        words.has_failed,
        words.doings,
        words.device_words,
        words.device_name,
    )
    for function in (
        *shown,
        *of_session,
        words.system_name,
        words.percent,
        words.iso,
        words.wall,
        words.at_once,
    ):
        made.filters[function.__name__] = function
    made.filters["unix_ms"] = words.unix_ms
    made.globals["link"] = link
    made.globals["count_of"] = words.count_of
    made.globals["zone_name"] = words.zone_name
    made.globals["zone_field"] = viewer.zone_field
    made.globals["zone_by"] = viewer.chosen_by
    made.filters["bucket_end"] = bucket_end
    made.globals["BAD_ENDS"] = bad_ends.ANY.reasons
    return made


def link(path: str, **query: object) -> str:
    """An address of ours; what is None or empty is left out."""
    given = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def own_address(request: Request) -> str:
    """The page itself, with what its address asks for."""
    query = request.scope["query_string"].decode("latin-1")
    return quote(request.scope["path"], safe="/") + (f"?{query}" if query else "")


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page. Every value is escaped where it is put in."""
    context = {
        "path": request.scope["path"],
        "own_address": own_address(request),
        "navigation": request.app.state.navigation,
        "signed_in": request.state.visitor.is_signed_in,
        **values,
    }
    return HTMLResponse(_templates.get_template(template).render(context), status)


_templates = _environment()
