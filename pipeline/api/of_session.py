"""One session: all that is known of it, and what happened in it."""

from __future__ import annotations

import asyncio
from typing import Literal

from msgspec import Struct

from pipeline.api.endpoint import ApiEndpoint, ApiRequest, Looked, filter_of
from pipeline.api.of_sessions import ApiSession
from pipeline.api.parameters import AFTER, FILTER, Parameter, limit, path_id
from pipeline.api.problem import RequestRefused
from pipeline.api.shape import Count, Id, Time, shaped, time_of
from pipeline.dashboard import story
from pipeline.dashboard.pages.gone import why_gone
from pipeline.dashboard.reader import Reader, Row
from pipeline.domain.event import COUNTERS
from pipeline.query import finding, journey, performance
from pipeline.query.crashes import groups_of_events
from pipeline.query.filters.matches import event_mask, first_match
from pipeline.query.filters.sequence import Moment
from pipeline.query.filters.tree import Filter
from pipeline.query.sessions import session_by_id

MOST_EVENTS = 1_000
_LONGEST_REQUEST_MS = 86_400_000
"""As on the page: longer is none."""
_CURVES: tuple[tuple[Literal["cpu", "memory"], str, Literal["share", "bytes"]], ...] = (
    ("cpu", "process", "share"),
    ("memory", "process", "bytes"),
    ("memory", "jvm_heap", "bytes"),
)


class WholeSession(ApiSession, kw_only=True):
    """A session with all that is known about it."""

    resource: dict[str, str]
    before_id: Id | None
    after_id: Id | None
    restatements: Count
    restated_at: Time | None
    ended_by: str
    stored_events: Count
    missing_events: Count
    unrestated_events: Count


class ApiEvent(Struct, kw_only=True):
    """An event of a session; long values of attributes are cut."""

    event_id: str
    time: Time
    raw_time: Time
    received_at: Time
    offset_ms: int
    name: str
    kind: str
    what: str
    lane: str
    is_fault: bool
    is_late: bool
    is_trailing: bool
    ends_session: bool
    crash_group: str | None
    user_id: str
    client_session_id: str
    exit_reason: str
    attributes: dict[str, str]


class Timeline(Struct, kw_only=True):
    """Events of a session, in order."""

    session_id: Id
    items: list[ApiEvent]
    next: str | None
    total: Count
    matches: list[int]
    """The places of the events that `filter` asks for, or that `q` is found in, from 0."""


class WholeEvent(Struct, kw_only=True):
    """An event in full, nothing cut."""

    event_id: str
    time: Time
    raw_time: Time
    received_at: Time
    name: str
    kind: str
    what: str
    seq: int
    client_session_id: str
    user_id: str
    exit_reason: str
    app_state: str
    topic: str
    partition: int
    offset: int
    event_index: int
    repaired: list[str]
    attributes: dict[str, str]
    resource: dict[str, str]
    personas: list[str]
    properties: dict[str, str]
    conflicts: Count
    counts_as: list[str]
    """The counters of the session that it counts in."""


class Mark(Struct, kw_only=True):
    """An event on a lane."""

    event_id: str
    time: Time
    name: str
    what: str
    is_fault: bool
    is_late: bool
    is_trailing: bool
    ends_session: bool
    is_match: bool
    took_ms: float | None
    """How long a request, a start, a load or a span took, where that is known."""
    began_at: Time | None


class Lane(Struct, kw_only=True):
    """Events of one kind, in order."""

    lane: str
    label: str
    marks: list[Mark]


class Lanes(Struct, kw_only=True):
    """A session as its page draws it."""

    session_id: Id
    started_at: Time
    ended_at: Time | None
    end_reason: str
    lanes: list[Lane]


class ApiCurvePoint(Struct, kw_only=True):
    """A value at a time."""

    time: Time
    value: float


class ApiCurve(Struct, kw_only=True):
    """What a session took of its device, over time."""

    subject: Literal["cpu", "memory"]
    label: str
    """process, or jvm_heap of memory."""
    unit: Literal["share", "bytes"]
    """A share is of all processors, from 0 to 1."""
    points: list[ApiCurvePoint]


class Curves(Struct, kw_only=True):
    """Processor and memory of a session."""

    session_id: Id
    curves: list[ApiCurve]


async def one(asked: ApiRequest) -> WholeSession:
    """One with all its columns, its neighbours, and how its events fit what it counts."""
    row, start_ms, end_ms, beside = await found_session(asked)
    restated, marks = await asyncio.gather(
        asked.reader.first(journey.restatements(row["app_id"], start_ms, row["session_id"])),
        asked.reader.rows(journey.marks(row["app_id"], row["device_id"], start_ms, end_ms)),
    )
    is_cut = len(marks) == journey.MAX_MARKS
    return shaped(
        WholeSession, row,
        before_id=beside["before_id"], after_id=beside["after_id"],
        restatements=restated["restatements"] if restated else 0,
        restated_at=restated["restated_at"] if restated else None,
        ended_by=story.end_of(row, int(row["ended_at_ms"]), marks).words,
        stored_events=len(marks),
        missing_events=0 if is_cut else story.missing(row, len(marks)),
        unrestated_events=story.unrestated(row, len(marks)),
    )  # fmt: skip


async def found_session(asked: ApiRequest) -> tuple[Row, int, int, Row]:
    """The session that the path names, the span of its events (Unix ms, the end left out), and its neighbours. Raises
    `Refused` where it is not there (any more), or is of an app that the key may not see."""
    id, reader = asked.values["session_id"], asked.reader
    row = await reader.first(session_by_id(id))
    if row is None:
        raise await _gone(asked, id)
    if not asked.may_see(row["app_id"]):
        raise RequestRefused("not-found", why_gone({}))
    start_ms = int(row["started_at_ms"])
    beside = await reader.first(journey.neighbours(row["app_id"], row["device_id"], start_ms))
    assert beside is not None, "an aggregate has one row"
    after_ms = beside["after_ms"]
    return row, start_ms, journey.LAST_MS if after_ms is None else int(after_ms), beside


async def _gone(asked: ApiRequest, id: str) -> RequestRefused:
    found = [row for row in await asked.reader.rows(finding.successors(id)) if asked.may_see(row["app_id"])]
    if found:
        told = "Late events changed this session; others have its events now."
        return RequestRefused("gone", told, {"successors": [row["session_id"] for row in found]})
    last = await asked.reader.first(finding.as_last_told(id)) or {}
    return RequestRefused("not-found", why_gone(last if asked.may_see(last.get("app_id", "")) else {}))


async def timeline(asked: ApiRequest) -> Timeline:
    """A page of its events."""
    row, start_ms, end_ms, _ = await found_session(asked)
    place = (row["app_id"], row["device_id"], start_ms, end_ms)
    filter, search = filter_of(asked.values["filter"] or ""), asked.values["q"] or ""
    cursor, most = asked.cursor(), asked.values["limit"]
    skip = int(cursor.place) if cursor and cursor.place.isdecimal() else 0
    marks, events, groups = await asyncio.gather(
        asked.reader.rows(journey.marks(*place, search=search, mask=event_mask(filter))),
        asked.reader.rows(journey.events(*place, skip=skip, limit=most)),
        _groups(asked.reader, row, place),
    )
    ended_ms, named = int(row["ended_at_ms"]), story.names_its_views(marks)
    end = story.end_of(row, ended_ms, marks)
    items = [
        shaped(
            ApiEvent, event,
            offset_ms=int(mark["time_ms"]) - start_ms,
            lane=story.lane(mark, named_views=named), is_fault=story.is_fault(mark),
            is_late=bool(mark["arrived_after_later"]),
            is_trailing=story.is_trailing(row, ended_ms, int(mark["time_ms"])),
            ends_session=at == end.position,
            crash_group=groups.get(event["event_id"]), attributes=event["shown_attributes"],
        )
        for at, (event, mark) in enumerate(zip(events, marks[skip:], strict=False), skip)
    ]  # fmt: skip
    looked = Looked(row["app_id"], start_ms, max(end_ms, start_ms + 1))
    found = _matched(filter, marks) or [at for at, mark in enumerate(marks) if mark["found"]]
    follows = skip + len(items) if len(items) == most and skip + most < len(marks) else None
    return Timeline(
        session_id=row["session_id"], items=items, next=asked.next(looked, follows), total=len(marks), matches=found
    )  # fmt: skip


def _matched(filter: Filter, marks: list[Row]) -> list[int]:
    return list(first_match(filter, [Moment(mark["time_ms"], int(mark["mask"])) for mark in marks]))


async def _groups(reader: Reader, row: Row, place: tuple[str, str, int, int]) -> dict[str, str]:
    """Of its crashes, ANRs and exceptions the groups."""
    if not (row["crash_count"] or row["anr_count"] or row["exception_count"]):
        return {}
    return {each["event_id"]: each["crash_group"] for each in await reader.rows(groups_of_events(*place))}


async def event(asked: ApiRequest) -> WholeEvent:
    """One event of it, nothing cut."""
    row, start_ms, end_ms, _ = await found_session(asked)
    found = await asked.reader.first(
        journey.event(row["app_id"], row["device_id"], start_ms, end_ms, asked.values["event_id"])
    )
    if found is None:
        raise RequestRefused("not-found", "The session has no such event.")
    bits = int(found["counters"])
    return shaped(WholeEvent, found, counts_as=[name for bit, name in enumerate(COUNTERS) if bits >> bit & 1])


async def lanes(asked: ApiRequest) -> Lanes:
    """What its page draws."""
    row, start_ms, end_ms, _ = await found_session(asked)
    filter = filter_of(asked.values["filter"] or "")
    marks = await asked.reader.rows(
        journey.marks(row["app_id"], row["device_id"], start_ms, end_ms, mask=event_mask(filter))
    )
    ended_ms, named = int(row["ended_at_ms"]), story.names_its_views(marks)
    end, matched = story.end_of(row, ended_ms, marks), set(_matched(filter, marks))
    drawn: dict[str, list[Mark]] = {key: [] for key, _ in story.LANES}
    for at, mark in enumerate(marks):
        drawn[story.lane(mark, named_views=named)].append(
            _mark(
                mark,
                story.is_trailing(row, ended_ms, int(mark["time_ms"])),
                at == end.position,
                at in matched,
            )
        )
    return Lanes(
        session_id=row["session_id"], started_at=time_of(start_ms),
        ended_at=time_of(ended_ms) if row["status"] == "closed" else None, end_reason=row["end_reason"],
        lanes=[Lane(lane=key, label=label, marks=drawn[key]) for key, label in story.LANES],
    )  # fmt: skip


async def curves(asked: ApiRequest) -> Curves:
    """What was measured of processor and memory, in order."""
    row, start_ms, _, _ = await found_session(asked)
    rows = await asked.reader.rows(
        performance.of_session(row["app_id"], row["device_id"], row["session_id"], start_ms)
    )
    found = [
        ApiCurve(subject=subject, label=label, unit=unit, points=points)
        for subject, label, unit in _CURVES
        if (points := [
            ApiCurvePoint(time=time_of(int(each["at_ms"])), value=float(each["value"]))
            for each in rows
            if (each["subject"], each["label"]) == (subject, label)
        ])
    ]  # fmt: skip
    return Curves(session_id=row["session_id"], curves=found)


def _mark(mark: Row, is_trailing: bool, ends: bool, is_match: bool) -> Mark:
    time_ms, took_ms = int(mark["time_ms"]), mark["took_ms"]
    is_known = took_ms is not None and 0 <= took_ms <= _LONGEST_REQUEST_MS
    began_ms = time_ms if mark["is_begin"] or not is_known else time_ms - round(took_ms)
    return Mark(
        event_id=mark["event_id"], time=time_of(time_ms), name=mark["name"], what=mark["what"],
        is_fault=story.is_fault(mark), is_late=bool(mark["arrived_after_later"]), is_trailing=is_trailing,
        ends_session=ends, is_match=is_match, took_ms=float(took_ms) if is_known else None,
        began_at=time_of(began_ms) if is_known else None,
    )  # fmt: skip


_ID = path_id("session_id", "The id of a session.")
_EVENTS_OF = Parameter(
    "filter", "A filter; the events that it asks for are marked.", most=FILTER.most,
    example="has http.client.request(http.response.status_code >= 500) then app.crash",
)  # fmt: skip
ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/sessions/{session_id}", "getSession", "One session with all that is known about it", WholeSession, one,
        (_ID,), problems=("not-found", "gone"),
    ),
    ApiEndpoint(
        "/sessions/{session_id}/timeline", "getSessionTimeline", "The events of a session in order", Timeline, timeline,
        (
            _ID, _EVENTS_OF,
            Parameter("q", "Text to look for in events and their attributes.", least=1, most=200),
            limit(300, MOST_EVENTS), AFTER,
        ),
        f"Values of attributes are cut after {journey.SHOWN_CHARACTERS:,} characters. `total` counts at most "
        f"{journey.MAX_MARKS:,} events.",
        problems=("not-found", "gone"),
    ),
    ApiEndpoint(
        "/sessions/{session_id}/lanes", "getSessionLanes", "The events of a session in lanes, as its page draws them",
        Lanes, lanes, (_ID, _EVENTS_OF), problems=("not-found", "gone"),
    ),
    ApiEndpoint(
        "/sessions/{session_id}/curves", "getSessionCurves", "Processor and memory of a session over time", Curves,
        curves, (_ID,), problems=("not-found", "gone"),
    ),
    ApiEndpoint(
        "/sessions/{session_id}/event", "getEvent", "One event of a session in full, nothing cut", WholeEvent,
        event, (_ID, Parameter("event_id", "The id of the event.", least=1, most=512, is_required=True)),
        problems=("not-found", "gone"),
    ),
)  # fmt: skip
