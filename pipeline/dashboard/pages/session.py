"""One session: its facts, its timeline, its events."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.dashboard import story
from pipeline.dashboard.curves import curves
from pipeline.dashboard.leads import to_group
from pipeline.dashboard.page import link, render
from pipeline.dashboard.pages.gone import WAS, gone, replaced
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.stacks import stack_on_page
from pipeline.dashboard.viewer import about
from pipeline.dashboard.words import unix_ms
from pipeline.query import journey
from pipeline.query.crashes import groups_of_events
from pipeline.query.filters.matches import event_mask, first_match
from pipeline.query.filters.sequence import Moment
from pipeline.query.filters.text_form import parse, to_text
from pipeline.query.filters.tree import EVERYTHING, Filter, FilterError
from pipeline.query.finding import as_uuid
from pipeline.query.performance import of_session
from pipeline.query.sessions import session_by_id
from pipeline.query.statement import Statement
from pipeline.query.symbols import Symbols
from pipeline.query.units import member_count

PAGE = 300
"""Events on one page."""
_MAX_SEARCH = 200
_NO_GROUP: dict[str, Any] = {"group_at": "", "group_title": "", "culprit": ""}
_LONGEST_REQUEST_MS = 86_400_000
"""Longer is none."""


@dataclass(frozen=True, slots=True)
class Found:
    """A session, its neighbours on the device, and the span of its events."""

    session: Row
    start_ms: int
    end_ms: int
    """The device's next session starts here."""
    neighbours: Row


class SessionPage:
    """`/sessions/{session_id}` and what its timeline fetches."""

    def __init__(self, reader: Reader, symbols: Symbols | None = None) -> None:
        self._reader = reader
        self._symbols = symbols

    async def show(self, request: Request) -> Response:
        """The page: `page` counts from 1, `q` searches, `hit` is the place among what was found, from 1.

        With `filter`, which the list of sessions gives along, what is found are the events that the filter asks for.
        """
        session = await self._session(request)
        if session is None:
            return await gone(self._reader, request, _id_of(request))
        found, stitched, restated, is_other = await asyncio.gather(
            self._with_neighbours(session),
            self._reader.first(member_count(session["stitched_session_id"])),
            self._reader.first(_restatements(session)),
            replaced(self._reader, request, session["session_id"]),
        )
        search = request.query_params.get("q", "")[:_MAX_SEARCH]
        asked_for = _filter(request)
        # Nearly always it is this page: the place of a hit is known only once all were looked at.
        asked = _whole(request, "page")
        marks, events, groups, measured = await asyncio.gather(
            self._reader.rows(_marks(found, search, asked_for)),
            self._reader.rows(_events(found, asked)),
            self._groups(found),
            self._reader.rows(_measured(found)),
        )
        matched = _matched(asked_for, marks)
        hits = matched or [position for position, mark in enumerate(marks) if mark["found"]]
        hit = min(_whole(request, "hit"), len(hits)) if hits else 0
        given_page = request.query_params.get("page")
        page = hits[hit - 1] // PAGE + 1 if hit and given_page is None else _whole(request, "page")
        pages = max(1, -(-len(marks) // PAGE))
        page = min(page, pages)
        if page != asked:
            events = await self._reader.rows(_events(found, page))
        ended_ms = unix_ms(found.session["ended_at"])
        end = story.end_of(found.session, ended_ms, marks)
        named = story.names_its_views(marks)
        skip = (page - 1) * PAGE
        lanes = Counter(story.lane(mark, named_views=named) for mark in marks)
        return render(
            request, "session.html",
            session=found.session, neighbours=found.neighbours, end=end, restated=restated,
            stitched_count=stitched["members"] if stitched else session["stitched_index"],
            unrestated=story.unrestated(found.session, len(marks)),
            missing=0 if len(marks) == journey.MAX_MARKS else story.missing(found.session, len(marks)),
            events=[
                _shown(found, event, mark, skip + place, end, named)
                | {"is_match": skip + place in matched, **groups.get(event["event_id"], _NO_GROUP)}
                for place, (event, mark) in enumerate(zip(events, marks[skip:], strict=False))
            ],
            lanes=[(key, label, lanes[key]) for key, label in story.LANES if lanes[key]],
            total=len(marks), page=page, pages=pages, per_page=PAGE, is_cut=len(marks) == journey.MAX_MARKS,
            search=search, hits=hits, hit=hit, filter=to_text(asked_for) if matched else "", matched=matched,
            was=request.query_params[WAS] if is_other else "", curves=curves(measured), folded=story.FOLDED,
        )  # fmt: skip

    async def marks(self, request: Request) -> Response:
        """What the timeline draws."""
        found = await self._find(request)
        if found is None:
            return await gone(self._reader, request, _id_of(request), "/marks.json")
        asked_for = _filter(request)
        marks = await self._reader.rows(_marks(found, "", asked_for))
        matched = set(_matched(asked_for, marks))
        ended_ms = unix_ms(found.session["ended_at"])
        end = story.end_of(found.session, ended_ms, marks)
        named = story.names_its_views(marks)
        return JSONResponse(
            {
                "start_ms": found.start_ms,
                "ended_ms": ended_ms if found.session["status"] == "closed" else None,
                "end_words": found.session["end_reason"],
                "lanes": [{"key": key, "label": label} for key, label in story.LANES],
                "per_page": PAGE,
                "marks": [
                    {
                        "at": mark["time_ms"],
                        "lane": story.lane(mark, named_views=named),
                        "what": mark["what"],
                        "fault": story.is_fault(mark),
                        "late": bool(mark["arrived_after_later"]),
                        "trailing": story.is_trailing(found.session, ended_ms, mark["time_ms"]),
                        "ends": position == end.position,
                        "match": position in matched,
                        **_lasted(mark),
                    }
                    for position, mark in enumerate(marks)
                ],
            }
        )

    async def event(self, request: Request) -> Response:
        """One event, nothing cut."""
        found, event_id = await self._find(request), request.query_params.get("id", "")
        if found is None:
            return await gone(self._reader, request, _id_of(request), link("/event", id=event_id))
        session = found.session
        event = await self._reader.first(journey.event(*_span(found), event_id))
        if event is None:
            raise HTTPException(404, "This session has no such event.")
        user = event["user_id"] or await self._owner(session, event_id)
        group = (await self._groups(found)).get(event_id, _NO_GROUP)
        read = await stack_on_page(
            self._reader, self._symbols, session["app_id"], event if group["group_at"] else {}
        )
        return render(request, "event.html", session=session, event=event, user=user, **group, **read)

    async def _groups(self, found: Found) -> dict[str, dict[str, Any]]:
        """By the ids of its crashes, ANRs and exceptions the pages of their groups, and what those are called."""
        session = found.session
        if not (session["crash_count"] or session["anr_count"] or session["exception_count"]):
            return {}
        rows = await self._reader.rows(groups_of_events(*_span(found)))
        app, start_ms = session["app_id"], found.start_ms
        return {
            row["event_id"]: {
                "group_at": to_group(app, row["crash_group"], start_ms),
                "group_title": row["title"],
                "culprit": row["culprit"],
            }
            for row in rows
        }

    async def _owner(self, session: Row, event_id: str) -> str:
        """Whose an event is that names nobody."""
        if len(session["user_ids"]) <= 1:
            return "".join(session["user_ids"])
        found = await self._reader.first(journey.owner(session["session_id"], event_id))
        return str(found["user_id"]) if found else ""

    async def _find(self, request: Request) -> Found | None:
        session = await self._session(request)
        return None if session is None else await self._with_neighbours(session)

    async def _session(self, request: Request) -> Row | None:
        """None where there is no such session, or none any more."""
        found = await self._reader.first(session_by_id(_id_of(request)))
        about(found["app_id"] if found else "")
        return found

    async def _with_neighbours(self, session: Row) -> Found:
        start_ms = unix_ms(session["started_at"])
        neighbours = await self._reader.first(
            journey.neighbours(session["app_id"], session["device_id"], start_ms)
        )
        assert neighbours is not None, "an aggregate has one row"
        end_ms = neighbours["after_ms"]
        return Found(session, start_ms, journey.LAST_MS if end_ms is None else int(end_ms), neighbours)


def _id_of(request: Request) -> str:
    id = as_uuid(request.path_params["session_id"])
    if id is None:
        raise HTTPException(404, "That is not the id of a session.")
    return id


def _restatements(session: Row) -> Statement:
    return journey.restatements(session["app_id"], unix_ms(session["started_at"]), session["session_id"])


def _marks(found: Found, search: str, asked_for: Filter) -> Statement:
    return journey.marks(*_span(found), search=search, mask=event_mask(asked_for))


def _filter(request: Request) -> Filter:
    """The filter that led here; what is none leads to the whole session."""
    try:
        return parse(request.query_params.get("filter", ""))
    except FilterError:
        return EVERYTHING


def _matched(asked_for: Filter, marks: list[Row]) -> list[int]:
    """The places of the events that the filter asks for."""
    return list(first_match(asked_for, [Moment(mark["time_ms"], int(mark["mask"])) for mark in marks]))


def _lasted(mark: Row) -> dict[str, float]:
    """When a request, a start, a load or a span began and ended (Unix ms), where it is known."""
    took_ms = mark["took_ms"]
    if took_ms is None or not 0 <= took_ms <= _LONGEST_REQUEST_MS:
        return {}
    begin_ms = mark["time_ms"] if mark["is_begin"] else mark["time_ms"] - took_ms
    return {"from": begin_ms, "to": begin_ms + took_ms}


def _measured(found: Found) -> Statement:
    session = found.session
    return of_session(session["app_id"], session["device_id"], session["session_id"], found.start_ms)


def _events(found: Found, page: int) -> Statement:
    return journey.events(*_span(found), skip=(page - 1) * PAGE, limit=PAGE)


def _span(found: Found) -> tuple[str, str, int, int]:
    return found.session["app_id"], found.session["device_id"], found.start_ms, found.end_ms


def _shown(
    found: Found, event: Row, mark: Row, position: int, end: story.EndInWords, named_views: bool
) -> dict[str, Any]:
    """An event with all that the template says about it."""
    time_ms = unix_ms(event["time"])
    received_ms, raw_ms = unix_ms(event["received_at"]), unix_ms(event["raw_time"])
    return {
        **event,
        "position": position,
        "offset_ms": time_ms - found.start_ms,
        "lane": story.lane(event, named_views=named_views),
        "is_fault": story.is_fault(event),
        "is_late": bool(mark["arrived_after_later"]),
        "is_trailing": story.is_trailing(found.session, unix_ms(found.session["ended_at"]), time_ms),
        "is_end": position == end.position,
        "is_found": bool(mark["found"]),
        "arrived_after_ms": received_ms - time_ms,
        "correction_ms": time_ms - raw_ms,
        "whole_link": link(f"/sessions/{found.session['session_id']}/event", id=event["event_id"]),
    }


def _whole(request: Request, name: str) -> int:
    """A whole number from 1 on in the address; 1 if it is none."""
    text = request.query_params.get(name, "1")
    return max(1, int(text)) if text.isdecimal() and len(text) < 10 else 1
