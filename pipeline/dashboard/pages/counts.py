"""How many sessions a list has, whose, how they went and when: above the list, or after it where that takes longer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard import leads
from pipeline.dashboard.asked import Wanted, asked, choice_of, mistakes_refused
from pipeline.dashboard.bars import KINDS, Chart, bars
from pipeline.dashboard.page import render
from pipeline.dashboard.reader import NotAnswered, Reader, Row
from pipeline.dashboard.viewer import FIELD, chosen_by
from pipeline.dashboard.words import iso
from pipeline.query.filters.json_form import Filter
from pipeline.query.filters.reach import reads_crashes, reads_much
from pipeline.query.session_counts import session_counts, step_ms
from pipeline.query.time_zone import zone

_AT_ONCE, _AT_ONCE_BY_EVENTS = 300_000, 20_000
"""Of about so many sessions of an app they are counted while the list is made: by their own rows, and by events."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What the place above a list shows: numbers, or why there are none."""

    whole: Row | None = None
    """The row of `session_counts` that is of all sessions."""
    chart: Chart | None = None
    bad: Sequence[tuple[str, str, int, str | None]] = field(default=())
    """Kind, name, how many, and where they are listed."""
    later: str = ""
    """Where the numbers are, if they come after the page."""
    list: str = ""
    """Where the sessions are listed, without a range."""
    problem: str = ""


NOT_COUNTED = Counted()
_NOTHING: Row = {
    **dict.fromkeys(("sessions", "devices", "users", "foreground_sessions", "crash_free_sessions"), 0),
    **dict.fromkeys(KINDS, 0),
    "median_duration_ms": None,
    "lowest_rate": 1,
    "estimated_sessions": 0,
}


async def counts_beside(reader: Reader, wanted: Wanted) -> Counted:
    """The numbers, or where they are if they would hold the list up. Raises FilterError."""
    by_events = reads_much(wanted.filter) or reads_crashes(wanted.filter)
    most = _AT_ONCE_BY_EVENTS if by_events else _AT_ONCE
    if wanted.known.sessions > most:
        fields = wanted.choice.first_page().fields() | {"filter": wanted.text}
        return Counted(later=_counts_at(fields))
    return await _counts(reader, wanted)


def counts_after(app: str, start_ms: int, end_ms: int, filter: Filter) -> Counted:
    """Where sessions of an app that start in a range (Unix ms) and pass a filter are counted, after the page has come.

    Nothing where the filter cannot be written in an address.
    """
    text = leads.of_all(filter)
    if text is None:
        return NOT_COUNTED
    fields = {"app": app, "from": iso(start_ms), "to": iso(end_ms), "filter": text}
    return Counted(later=_counts_at(fields))


class CountsPage:
    """`/counts/sessions`: of the same address as a list."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The numbers by themselves."""
        with mistakes_refused():
            wanted, *_ = await asked(self._reader, choice_of(request.query_params))
            counted = await _counts(self._reader, wanted)
        return render(request, "counts.html", counted=counted, back=wanted.address())


def _counts_at(fields: Mapping[str, str]) -> str:
    shown = {FIELD: zone().key} if chosen_by() else {}
    return f"/counts/sessions?{urlencode({**fields, **shown})}"


async def _counts(reader: Reader, wanted: Wanted) -> Counted:
    start_ms, end_ms = wanted.start_ms, wanted.end_ms
    # Nothing can be in an empty range; the numbers are those of nothing all the same.
    step = step_ms(start_ms, max(end_ms, start_ms + 1))
    app, newest_ms = wanted.choice.app or None, wanted.known.newest_ms
    statement = session_counts(app, wanted.filter, start_ms, end_ms, step, newest_ms=newest_ms)
    try:
        found = await reader.rows(statement)
    except NotAnswered as error:
        # The list may be there even so.
        return Counted(problem=str(error))
    # Of no sessions there is no row.
    *rows, whole = found or [_NOTHING]
    return Counted(
        whole,
        bars(rows, start_ms, end_ms, step, wanted.within) if rows else None,
        [
            (kind, name, int(whole[kind]), _lead(wanted, kind))
            for kind, name in KINDS.items()
            if int(whole[kind])
        ],
        list=wanted.address({"from": None, "to": None, "range": None}),
    )


def _lead(wanted: Wanted, kind: str) -> str | None:
    """To the sessions that ended so: in the same range, whatever comes in."""
    filter = leads.of_end(kind, wanted.filter)
    return None if filter is None else wanted.address({**_span(wanted), "filter": filter})


def _span(wanted: Wanted) -> dict[str, str]:
    fields = wanted.pinned().fields()
    return {name: fields[name] for name in ("from", "to", "range") if name in fields}
