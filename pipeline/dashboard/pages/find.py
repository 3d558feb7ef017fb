"""One box for whatever a person has: an id of any kind or its beginning, the name of an exception, or a filter."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.dashboard.address import LONGEST_FILTER
from pipeline.dashboard.leads import of_crash, of_exception
from pipeline.dashboard.page import link, render
from pipeline.dashboard.pages.gone import gone
from pipeline.dashboard.pages.sessions import span
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.words import count_of, day, iso
from pipeline.query import finding
from pipeline.query.filters.json_form import EVERYTHING, FilterError
from pipeline.query.filters.text_form import parse, to_text

_DAY_MS = 86_400_000
EXCEPTION_DAYS = 30
EVENT_DAYS = (2, 14)
"""Up to the newest session: an event is looked for in the first days, and where it is not there, in all of them."""
_SHORTEST_BEGINNING = 3
"""Characters: less begins too many ids."""
_OF_ID = re.compile(r"(?=.*[0-9])[0-9A-Fa-f-]{6,}")
"""Digits of a number in base 16."""
LONGEST_ID = 512
_SHOWN = 10
"""Of each kind."""
_OF_SESSIONS = ("session", "stitched session", "SDK session")
_KINDS: Mapping[str, str] = {
    "session": "Sessions",
    "SDK session": "Sessions of the SDK",
    "stitched session": "Stitched sessions",
    "user": "Users",
    "device": "Devices",
    "exception": "Crashes, exceptions and ANRs",
    "event": "Events",
}
"""In the order in which they are listed."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that was found."""

    kind: str
    words: str
    address: str
    detail: str = ""
    session: Row | None = None
    """Of a session that is there."""
    app: str = ""
    """Whose it is; empty where that is not known."""


@dataclass(slots=True)
class Findings:
    """What was found, and what was looked at for it."""

    hits: list[Hit] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)

    def by_kind(self) -> Iterator[tuple[str, Sequence[Hit], bool]]:
        """The kind in words, its first hits, and whether there are more."""
        for kind, label in _KINDS.items():
            of_kind = [hit for hit in self.hits if hit.kind == kind]
            if of_kind:
                yield label, of_kind[:_SHOWN], len(of_kind) > _SHOWN


class FindPage:
    """`/find`, `/find/event` and `/open`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """What `q` is of: one hit leads straight there, several are listed by kind, and what is a filter is one."""
        text = request.query_params.get("q", "").strip()[:LONGEST_FILTER]
        problem, filter = "", ""
        try:
            filter = to_text(parse(text))
        except FilterError as error:
            problem = str(error)
        if filter:
            return RedirectResponse(link("/sessions", filter=filter), 303)
        found = await self.found(text) if 0 < len(text) <= LONGEST_ID else Findings()
        if len({hit.address for hit in found.hits}) == 1:
            return RedirectResponse(found.hits[0].address, 303)
        return render(request, "find.html", text=text, found=found, problem=problem)

    async def open(self, request: Request) -> Response:
        """The session that an SDK calls `session_id` (or that is ours), of an `app` where one is named.

        An SDK's session may be several of ours: they are listed. HTTPException: 400 without an id, 404 for none.
        """
        id, app = (request.query_params.get(name, "").strip() for name in ("session_id", "app"))
        if not 0 < len(id) <= LONGEST_ID:
            raise HTTPException(
                400, "Name a session: /open?session_id=…, and an app (&app=…) if several may have it."
            )
        own = finding.as_uuid(id)
        # An SDK may write its own id in a spelling of its own.
        rows = await self._reader.rows(finding.sessions_of_any_id(id, app))
        if not rows and own and own != id.lower():
            rows = await self._reader.rows(finding.sessions_of_any_id(own, app))
        of_sdk = [row for row in rows if row["client_session_id"].lower() == id.lower()]
        hits = [_session_hit(row) for row in of_sdk or rows if of_sdk or row["session_id"] == own]
        if not hits and rows:
            return RedirectResponse(f"/stitched/{own}", 303)
        if not hits and own:
            return await gone(self._reader, request, own)
        if not hits:
            of_app = f" of {app}" if app else ""
            raise HTTPException(
                404, f"No session{of_app} has come in under the SDK's id “{id[:80]}”, or none is kept."
            )
        if len(hits) == 1:
            return RedirectResponse(hits[0].address, 303)
        return render(request, "find.html", text=id, found=Findings(hits), problem="")

    async def event(self, request: Request) -> Response:
        """The event `id` of a `device` of an `app` that happened `at` (Unix ms), in the session that it is in."""
        query = request.query_params
        app, device, id, at = (query.get(name, "") for name in ("app", "device", "id", "at"))
        if not at.isdecimal() or len(at) > 14:
            raise HTTPException(400, "The address of an event must say when it happened.")
        session = await self._reader.first(finding.session_at(app, device, int(at)))
        if session is None:
            raise HTTPException(
                404, "This event is in no session: it came before the first one of its device."
            )
        return RedirectResponse(link(f"/sessions/{session['session_id']}/event", id=id), 303)

    async def found(self, text: str) -> Findings:
        """What a text is of, if it is not a filter. Raises `NotAnswered`."""
        found = Findings()
        own = finding.as_uuid(text) or text
        ids, sessions, known = await asyncio.gather(
            self._reader.rows(finding.ids_like(text)),
            self._reader.rows(finding.sessions_of_any_id(own)),
            span(self._reader, ""),
        )
        found.looked_at.append("ids of sessions, devices and users, of all time")
        exact = [row for row in ids if row["id"] in (text, own if row["kind"] in _OF_SESSIONS else text)]
        found.hits = [*_exact_sessions(own, sessions), *_places(exact, {"user", "device"})]
        if not found.hits and finding.as_uuid(text):
            told = await self._reader.first(finding.as_last_told(own))
            if told and told["was_there"]:
                # Its page says what became of it.
                found.hits = [Hit("session", own, f"/sessions/{own}", app=told["app_id"])]
        if found.hits:
            return found
        if len(text) >= _SHORTEST_BEGINNING:
            found.hits = await self._beginnings(ids)
            # No exception is called like the beginning of an id, and to look through a month of them takes long.
            if not (found.hits and _OF_ID.fullmatch(text)):
                found.hits += await self._exceptions(text, known.newest_ms, found)
            if not found.hits and " " not in text:
                found.hits = await self._events(text, known.newest_ms, found)
        return found

    async def _beginnings(self, ids: Sequence[Row]) -> list[Hit]:
        of_sessions = [row["id"] for row in ids if row["kind"] == "session"][: _SHOWN + 1]
        rows = await self._reader.rows(finding.sessions_by_id(of_sessions)) if of_sessions else []
        there = {row["session_id"] for row in rows}
        lost = [
            Hit(
                "session",
                row["id"],
                f"/sessions/{row['id']}",
                "restated, or no longer kept",
                app=row["app_id"],
            )
            for row in ids
            if row["kind"] == "session" and row["id"] in of_sessions and row["id"] not in there
        ]
        stitched = [row for row in ids if row["kind"] == "stitched session" and row["id"] not in of_sessions]
        others = [
            Hit(
                "SDK session",
                row["id"],
                link("/open", session_id=row["id"], app=row["app_id"]),
                row["app_id"],
                app=row["app_id"],
            )
            for row in ids
            if row["kind"] == "SDK session"
        ]
        of_stitched = [
            Hit("stitched session", row["id"], f"/stitched/{row['id']}", row["app_id"], app=row["app_id"])
            for row in stitched
        ]
        return [*map(_session_hit, rows), *lost, *others, *of_stitched, *_places(ids, {"user", "device"})]

    async def _exceptions(self, text: str, newest_ms: int, found: Findings) -> list[Hit]:
        start_ms = max(0, newest_ms - EXCEPTION_DAYS * _DAY_MS)
        found.looked_at.append(f"types of exceptions, since {_day(start_ms)}")
        rows = await self._reader.rows(finding.exceptions_like(text, start_ms, newest_ms + _DAY_MS))
        return [
            Hit("exception", row["exception_type"], _of_exception(row, start_ms),
                f"{row['subject']}, {row['app_id']}: {int(row['events']):,} on"
                f" {count_of(int(row['devices']), 'device', 'devices')},"
                f" last on {day(row['last_at'])}", app=row["app_id"])
            for row in rows
        ]  # fmt: skip

    async def _events(self, text: str, newest_ms: int, found: Findings) -> list[Hit]:
        rows: list[Row] = []
        end_ms = newest_ms + _DAY_MS
        for days in EVENT_DAYS:
            start_ms = max(0, newest_ms - days * _DAY_MS)
            rows = await self._reader.rows(finding.events_like(text, start_ms, end_ms))
            found.looked_at[2:] = [f"ids of events, since {_day(start_ms)}"]
            # One that has just this id is meant, whatever begins with it.
            rows = [row for row in rows if row["event_id"] == text] or rows
            if rows:
                break
        return [
            Hit("event", row["event_id"],
                link("/find/event", app=row["app_id"], device=row["device_id"], id=row["event_id"], at=row["time_ms"]),
                f"{row['name']}, {row['app_id']}, {day(row['time'])}", app=row["app_id"])
            for row in rows
        ]  # fmt: skip


def _exact_sessions(own: str, sessions: Sequence[Row]) -> list[Hit]:
    """A session of that id; else those that the SDK calls so; else the stitched session."""
    itself = [row for row in sessions if row["session_id"] == own]
    if itself:
        return [_session_hit(itself[0])]
    of_sdk = [row for row in sessions if row["client_session_id"].lower() == own.lower()]
    if of_sdk:
        return [_session_hit(row) for row in of_sdk]
    app = sessions[0]["app_id"] if sessions else ""
    return [Hit("stitched session", own, f"/stitched/{own}", app, app=app)] if sessions else []


def _places(ids: Sequence[Row], kinds: set[str]) -> list[Hit]:
    return [
        Hit(
            row["kind"],
            row["id"],
            link("/timeline", **{"app": row["app_id"], row["kind"]: row["id"]}),
            row["app_id"],
            app=row["app_id"],
        )
        for row in ids
        if row["kind"] in kinds
    ]


def _session_hit(row: Row) -> Hit:
    app = row["app_id"]
    return Hit("session", row["session_id"], f"/sessions/{row['session_id']}", app, row, app)


def _of_exception(row: Row, start_ms: int) -> str:
    lead = of_crash if row["subject"] == "crash" else of_exception
    own = {"app": row["app_id"], "from": iso(start_ms)}
    if row["subject"] == "anr":
        return link("/sessions", **own, filter="has app.anr")
    filter = lead(row["exception_type"], EVERYTHING) or "session.exception_count > 0"
    return link("/sessions", **own, filter=filter)


def _day(ms: int) -> str:
    return day(iso(ms)[:19])
