"""Stitched sessions: a list of them, and one with all of its events, whichever of its sessions they are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.dashboard.narrowed import narrowed
from pipeline.dashboard.page import link, render
from pipeline.dashboard.pages.counts import NOT_COUNTED, counts_after
from pipeline.dashboard.pages.gone import WAS, why_gone
from pipeline.dashboard.pages.timeline import stitched
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.stacks import stacks_of
from pipeline.dashboard.stream import Stream, StreamChoice, in_sessions, stream
from pipeline.dashboard.viewer import about
from pipeline.query import finding, journey, units
from pipeline.query.operations import Ask
from pipeline.query.sessions import session_by_id
from pipeline.query.symbols import Symbols
from pipeline.query.units import ListPlace

PAGE = 50
_LONGEST_MS = 2 * 86_400_000
"""How long after a range a session may start whose stitched session begins in it, nearly always."""


class StitchedPages:
    """`/stitched` and `/stitched/{session_id}`."""

    def __init__(self, reader: Reader, symbols: Symbols | None = None) -> None:
        self._reader = reader
        self._symbols = symbols

    async def list(self, request: Request) -> Response:
        """Newest first; a filter is of their sessions: one that passes is enough."""
        asked = await narrowed(self._reader, request)
        rows: list[dict[str, Any]] = []
        after: ListPlace | None = None
        counts = NOT_COUNTED
        if asked.app and not asked.problem:
            condition = asked.condition_around(after_ms=_LONGEST_MS)

            def read(ask: Ask) -> tuple[list[dict[str, Any]], ListPlace | None]:
                return units.stitched_page(
                    ask, asked.app, condition, asked.start_ms, asked.end_ms, asked.after, PAGE
                )

            counts = counts_after(asked.app, asked.start_ms, asked.end_ms, asked.filter)
            rows, after = await self._reader.run(read)
        older = link("/stitched", **asked.fields(), after=after) if after else ""
        return render(
            request, "stitched_list.html", status=400 if asked.problem else 200, rows=rows, older=older,
            counts=counts,
            sessions_at=asked.sessions_at() if asked.app else "/sessions", **asked.values("/stitched"),
        )  # fmt: skip

    async def show(self, request: Request) -> Response:
        """The page of one: events of all its sessions, with search, problems alone, and from crash to crash."""
        id = finding.as_uuid(request.path_params["session_id"])
        if id is None:
            raise HTTPException(404, "That is not the id of a stitched session.")
        sessions = await self._reader.rows(units.members(id))
        if not sessions:
            return await self._elsewhere(id)
        first, last = sessions[0], sessions[-1]
        about(first["app_id"])
        neighbours = await self._reader.first(
            journey.neighbours(first["app_id"], first["device_id"], int(last["started_at_ms"]))
        )
        assert neighbours is not None, "an aggregate has one row"
        end_ms = journey.LAST_MS if neighbours["after_ms"] is None else int(neighbours["after_ms"])
        choice = StreamChoice.of(request.query_params)
        place = (first["app_id"], first["device_id"], int(first["started_at_ms"]), end_ms)
        marks = await self._reader.rows(journey.marks(*place, search=choice.search))
        shown = stream(in_sessions(marks, sessions, first["device_id"]), choice)
        was = finding.as_uuid(request.query_params.get(WAS, ""))
        return render(
            request, "stitched.html", id=id, first=first, last=last, sessions=sessions,
            strip=stitched(sessions[::-1])[0],
            users=list(dict.fromkeys(user for session in sessions for user in session["user_ids"])), was=was,
            is_cut=len(marks) == journey.MAX_MARKS, next_id=neighbours["after_id"],
            stacks=await stacks_of(self._reader, self._symbols, first["app_id"], shown),
            **await stream_values(self._reader, first["app_id"], shown, choice, f"/stitched/{id}", {}, sessions),
        )  # fmt: skip

    async def _elsewhere(self, id: str) -> Response:
        """A session's own id, or that of a stitched session that was restated, leads to where its events are now."""
        own = await self._reader.first(session_by_id(id))
        if own is not None:
            return RedirectResponse(f"/stitched/{own['stitched_session_id']}", 303)
        found = await self._reader.rows(finding.successors(id))
        if found:
            return RedirectResponse(link(f"/stitched/{found[0]['stitched_session_id']}", **{WAS: id}), 303)
        raise HTTPException(404, why_gone(await self._reader.first(finding.as_last_told(id)) or {}))


async def stream_values(
    reader: Reader,
    app: str,
    shown: Stream,
    choice: StreamChoice,
    at: str,
    fields: Mapping[str, object],
    sessions: Sequence[Row],
) -> dict[str, Any]:
    """What stream.html shows: the events with their attributes, their sessions, and where its links lead."""
    marks = [event.mark for event in shown.events]
    more = await reader.rows(units.details(app, marks)) if marks else []
    attributes = {(row["device_id"], row["event_id"]): row["shown_attributes"] for row in more}
    own = {**fields, "q": choice.search, "problems": "1" if choice.problems else ""}
    return {
        "stream": shown,
        "choice": choice,
        "stream_at": at,
        "stream_fields": fields,
        "own": own,
        "attributes_of": attributes,
        "session_of": {session["session_id"]: session for session in sessions},
    }
