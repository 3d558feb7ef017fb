"""Stitched sessions, users and devices: lists of them, and what happened in one, over its sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from pipeline.api.endpoint import ApiEndpoint, ApiRange, ApiRequest, Looked, bad_place, not_after
from pipeline.api.of_sessions import ApiSession
from pipeline.api.parameters import AFTER, APP, COHORT, FILTER, Parameter, limit, path_id, span
from pipeline.api.problem import RequestRefused
from pipeline.api.shape import Count, Id, Time, all_shaped, shaped, time_of
from pipeline.dashboard.address import BadAddress, SessionChoice
from pipeline.dashboard.asked import range_of
from pipeline.dashboard.narrowed import DAYS
from pipeline.dashboard.pages.gone import why_gone
from pipeline.dashboard.pages.users import events_of
from pipeline.dashboard.reader import Row
from pipeline.dashboard.stream import Mark, StreamChoice, in_sessions, stream
from pipeline.query import finding, journey, units
from pipeline.query.operations import Ask
from pipeline.query.sessions import Cursor as SessionPlace
from pipeline.query.sessions import user_sessions
from pipeline.query.units import ListPlace

MOST = 500
_LONGEST_MS = 2 * 86_400_000
"""As on the page of stitched sessions: how long after the range a session of one may start."""


class StitchedSession(Struct, kw_only=True):
    """A stitched session, with columns of the view `stitched_sessions_between`."""

    stitched_session_id: Id
    app_id: str
    device_id: str
    status: str
    session_ids: list[Id]
    session_count: Count
    started_at: Time
    ended_at: Time
    duration_ms: Count
    members_duration_ms: Count
    foreground_duration_ms: Count
    end_reason: str
    exit_reason: str
    user_ids: list[str]
    app_version: str
    os_name: str
    os_version: str
    device_manufacturer: str
    device_model: str
    event_count: Count
    crash_count: Count
    anr_count: Count
    exception_count: Count
    network_count: Count
    network_error_count: Count
    tap_count: Count
    view_count: Count
    log_error_count: Count
    is_crashed: bool
    is_hung: bool
    is_final: bool


class StitchedSessions(Struct, kw_only=True):
    """A page of stitched sessions."""

    items: list[StitchedSession]
    next: str | None
    app: str
    range: ApiRange
    filter: str


class Members(Struct, kw_only=True):
    """A stitched session and its sessions, in order."""

    stitched_session_id: Id
    started_at: Time
    ended_at: Time
    sessions: list[ApiSession]
    next_session_id: Id | None


class ApiUser(Struct, kw_only=True):
    """A user, with the columns of the view `users_between`."""

    user_id: str
    sessions: Count
    devices: Count
    crashed_sessions: Count
    anr_sessions: Count
    first_seen_at: Time
    last_seen_at: Time
    last_version: str
    app_versions: list[str]


class Users(Struct, kw_only=True):
    """A page of users."""

    items: list[ApiUser]
    next: str | None
    app: str
    range: ApiRange
    filter: str


class Visits(Struct, kw_only=True):
    """Sessions of a user or a device, newest first."""

    items: list[ApiSession]
    next: str | None
    app: str


class StreamEvent(Struct, kw_only=True):
    """An event among those of several sessions."""

    session_id: Id
    device_id: str
    event_id: str
    time: Time
    name: str
    kind: str
    what: str
    lane: str
    is_fault: bool
    is_found: bool
    attributes: dict[str, str]


class ApiStream(Struct, kw_only=True):
    """Events of several sessions in order, some of them."""

    app: str
    range: ApiRange
    items: list[StreamEvent]
    page: Count
    pages: Count
    total: Count
    crashes: Count
    crash_before: Time | None
    """The start of the nearest session with a crash before the range; null where there is none within 30 days."""
    crash_after: Time | None


async def stitched_list(asked: ApiRequest) -> StitchedSessions:
    """A page of them, newest first."""
    looked, after = await asked.looked(DAYS), _place(asked)
    condition, most = looked.condition(after_ms=_LONGEST_MS), asked.values["limit"]

    def read(ask: Ask) -> tuple[list[dict[str, object]], ListPlace | None]:
        return units.stitched_page(ask, looked.app, condition, looked.start_ms, looked.end_ms, after, most)

    rows, place = await asked.reader.run(read)
    return StitchedSessions(
        items=all_shaped(StitchedSession, rows), next=asked.next(looked, place), app=looked.app, range=looked.range,
        filter=looked.text,
    )  # fmt: skip


async def stitched(asked: ApiRequest) -> Members:
    """One, by its sessions."""
    sessions = await _members(asked)
    first, last = sessions[0], sessions[-1]
    after = await asked.reader.first(
        journey.neighbours(first["app_id"], first["device_id"], int(last["started_at_ms"]))
    )
    return Members(
        stitched_session_id=first["stitched_session_id"],
        started_at=time_of(int(first["started_at_ms"])),
        ended_at=time_of(max(int(each["ended_at_ms"]) for each in sessions)),
        sessions=all_shaped(ApiSession, sessions),
        next_session_id=after["after_id"] if after else None,
    )


async def stitched_timeline(asked: ApiRequest) -> ApiStream:
    """Its events, whichever of its sessions they are in."""
    sessions = await _members(asked)
    first, last = sessions[0], sessions[-1]
    app, device, start_ms = first["app_id"], first["device_id"], int(first["started_at_ms"])
    beside = await asked.reader.first(journey.neighbours(app, device, int(last["started_at_ms"])))
    after_ms = beside["after_ms"] if beside else None
    end_ms = journey.LAST_MS if after_ms is None else int(after_ms)
    choice = _stream_choice(asked)
    marks = await asked.reader.rows(journey.marks(app, device, start_ms, end_ms, search=choice.search))
    ended_ms = max(int(each["ended_at_ms"]) for each in sessions)
    return await _stream(
        asked, Looked(app, start_ms, ended_ms + 1), in_sessions(marks, sessions, device), choice, None
    )


async def _members(asked: ApiRequest) -> list[Row]:
    id = asked.values["stitched_session_id"]
    rows = await asked.reader.rows(units.members(id))
    if rows and asked.may_see(rows[0]["app_id"]):
        return rows
    found = [] if rows else await asked.reader.rows(finding.successors(id))
    found = [row for row in found if asked.may_see(row["app_id"])]
    if found:
        ids = list(dict.fromkeys(row["stitched_session_id"] for row in found))
        told = "Late events changed this stitched session; others have its events now."
        raise RequestRefused("gone", told, {"successors": ids})
    last = await asked.reader.first(finding.as_last_told(id)) or {}
    raise RequestRefused(
        "not-found", why_gone(last if not rows and asked.may_see(last.get("app_id", "")) else {})
    )


async def users(asked: ApiRequest) -> Users:
    """A page of them."""
    looked, after = await asked.looked(DAYS), _place(asked)
    most = asked.values["limit"]
    rows = await asked.reader.rows(
        units.users(
            looked.app, looked.condition(), looked.start_ms, looked.end_ms, part=asked.values["q"] or "",
            by=asked.values["order"], after=after, limit=most + 1,
        )
    )  # fmt: skip
    last = rows[most - 1] if len(rows) > most else None
    place = ListPlace(int(last["place"]), last["user_id"]) if last else None
    return Users(
        items=all_shaped(ApiUser, rows[:most]), next=asked.next(looked, place), app=looked.app, range=looked.range,
        filter=looked.text,
    )  # fmt: skip


async def visits(asked: ApiRequest) -> Visits:
    """Sessions of a user or a device, of all time."""
    app, (user, device), most = await asked.app(), _who(asked), asked.values["limit"]
    cursor = asked.cursor()
    try:
        before = SessionPlace.parse(cursor.place) if cursor else None
    except ValueError:
        raise bad_place() from None
    rows = await asked.reader.rows(
        user_sessions(app, user_id=user or None, device_id=device or None, before=before, limit=most + 1)
    )
    place = SessionPlace.of(dict(rows[most - 1])) if len(rows) > most else None
    return Visits(
        items=all_shaped(ApiSession, rows[:most]), next=asked.next(Looked(app, 0, 1), place), app=app
    )


async def visit_events(asked: ApiRequest) -> ApiStream:
    """What a user or a device did in the sessions that start in a range."""
    app, (user, device) = await asked.app(), _who(asked)
    newest = await asked.reader.rows(
        user_sessions(app, user_id=user or None, device_id=device or None, limit=1)
    )
    newest_ms = int(newest[0]["started_at_ms"]) if newest else 0
    try:
        start_ms, end_ms = range_of(
            SessionChoice(start_ms=asked.values["from"], end_ms=asked.values["until"]), newest_ms, DAYS
        )
    except BadAddress:
        raise not_after(asked.values["until"] is None) from None
    choice = _stream_choice(asked)
    (_, marks), around = await asyncio.gather(
        events_of(asked.reader, app, user, device, start_ms, end_ms, choice.search),
        asked.reader.first(units.crashes_around(app, start_ms, end_ms, user_id=user, device_id=device)),
    )
    return await _stream(asked, Looked(app, start_ms, end_ms), marks, choice, around)


async def _stream(
    asked: ApiRequest, looked: Looked, marks: Sequence[Mark], choice: StreamChoice, around: Row | None
) -> ApiStream:
    shown = stream(marks, choice, newest=around is not None)
    more = (
        await asked.reader.rows(units.details(looked.app, [each.mark for each in shown.events]))
        if shown.events
        else []
    )
    attributes = {(row["device_id"], row["event_id"]): row["shown_attributes"] for row in more}
    items = [
        shaped(
            StreamEvent, each.mark, time=time_of(int(each.mark["time_ms"])), lane=each.lane, is_fault=each.is_fault,
            is_found=each.mark["found"],
            attributes=attributes.get((each.mark["device_id"], each.mark["event_id"]), {}),
        )
        for each in shown.events
    ]  # fmt: skip
    before, after = (around[name] if around else None for name in ("before_ms", "after_ms"))
    return ApiStream(
        app=looked.app, range=looked.range, items=items, page=shown.page, pages=shown.pages, total=shown.total,
        crashes=shown.crashes, crash_before=None if before is None else time_of(int(before)),
        crash_after=None if after is None else time_of(int(after)),
    )  # fmt: skip


def _stream_choice(asked: ApiRequest) -> StreamChoice:
    return StreamChoice(
        search=asked.values["q"] or "", problems=bool(asked.values["problems"]), page=asked.values["page"]
    )


def _who(asked: ApiRequest) -> tuple[str, str]:
    user, device = asked.values["user"] or "", asked.values["device"] or ""
    if bool(user) == bool(device):
        raise RequestRefused("bad-request", "Name either a `user` or a `device`.", {"parameter": "user"})
    return user, device


def _place(asked: ApiRequest) -> ListPlace | None:
    cursor = asked.cursor()
    try:
        return ListPlace.parse(cursor.place) if cursor else None
    except ValueError:
        raise bad_place() from None


_STITCHED_ID = path_id("stitched_session_id", "The id of a stitched session.")
_SPAN = span(f"{DAYS} days before the newest session")
_OF_STREAM = (
    Parameter("q", "Text to look for in events and their attributes.", least=1, most=200),
    Parameter("problems", "Only what went wrong.", "flag"),
    Parameter("page", "Which 300 events, from 1. By default the first; in a range the last, which are the newest.",
              "whole", least=1, most=1_000_000),
)  # fmt: skip
_WHO = (
    APP,
    Parameter("user", "The id of a user.", least=1, most=512),
    Parameter("device", "The id of a device, instead of a user.", least=1, most=512),
)
ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/stitched-sessions", "listStitchedSessions", "Stitched sessions that begin in a range, newest first",
        StitchedSessions, stitched_list, (APP, FILTER, COHORT, *_SPAN, limit(50, MOST), AFTER),
        "A filter is applied to their sessions: one that passes is enough.", "Stitched sessions",
    ),
    ApiEndpoint(
        "/stitched-sessions/{stitched_session_id}", "getStitchedSession", "The sessions of a stitched session", Members,
        stitched, (_STITCHED_ID,), group="Stitched sessions", problems=("not-found", "gone"),
    ),
    ApiEndpoint(
        "/stitched-sessions/{stitched_session_id}/timeline", "getStitchedSessionTimeline",
        "The events of all sessions of a stitched session", ApiStream, stitched_timeline, (_STITCHED_ID, *_OF_STREAM),
        group="Stitched sessions", problems=("not-found", "gone"),
    ),
    ApiEndpoint(
        "/users", "listUsers", "Users with sessions in a range", Users, users,
        (
            APP, FILTER, COHORT, *_SPAN, Parameter("q", "Part of their ids; case does not matter.", least=1, most=200),
            Parameter("order", "By when they were last seen, by sessions, or by sessions with a crash.",
                      "choice", tuple(units.USER_ORDERS), default="seen"),
            limit(50, MOST), AFTER,
        ),
        group="Users",
    ),
    ApiEndpoint(
        "/user/sessions", "listSessionsOfUser", "Sessions of a user or a device, newest first", Visits, visits,
        (*_WHO, limit(60, MOST), AFTER),
        "Of all time: as many days are read as it takes to fill a page.", "Users",
    ),
    ApiEndpoint(
        "/user/timeline", "getUserTimeline", "What a user or a device did in the sessions that start in a range",
        ApiStream, visit_events,
        (*_WHO, *span(f"{DAYS} days before the newest session of the user"), *_OF_STREAM), group="Users",
    ),
)  # fmt: skip
