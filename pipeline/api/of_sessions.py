"""Sessions: lists of them, how many there are, one of them, and what happened in it."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from pipeline.api.endpoint import Asked, Endpoint, Looked, Range, bad_place, filter_of
from pipeline.api.parameters import AFTER, ANY_APP, COHORT, FILTER, Parameter, limit, path_id, span
from pipeline.api.problem import Refused
from pipeline.api.shape import Count, Id, Time, all_shaped, shaped, time_of
from pipeline.dashboard import story
from pipeline.dashboard.address import SessionChoice
from pipeline.dashboard.asked import DAYS, Wanted, after_newest, first_ms
from pipeline.dashboard.asked import span as span_of
from pipeline.dashboard.columns import ORDERS
from pipeline.dashboard.pages.gone import why_gone
from pipeline.dashboard.reader import Reader, Row
from pipeline.domain.event import COUNTERS
from pipeline.query import finding, journey
from pipeline.query.crashes import groups_of_events
from pipeline.query.filters.matches import event_mask, first_match
from pipeline.query.filters.sequence import Moment
from pipeline.query.filters.tree import Filter
from pipeline.query.operations import Ask
from pipeline.query.session_counts import session_counts, step_ms
from pipeline.query.session_order import NEWEST_FIRST, Order, SortedPage, SortPlace, sorted_page
from pipeline.query.sessions import Cursor as SessionPlace
from pipeline.query.sessions import PageOfSessions, choose, session_by_id, session_page

MOST_SESSIONS = 500
MOST_EVENTS = 1_000

Text = str | UnsetType
Number = Annotated[int, Meta(ge=0)] | UnsetType


class Session(Struct, kw_only=True):
    """A session, with the columns of the view `sessions`: all of them, or those that `fields` names."""

    session_id: Id
    app_id: Text = UNSET
    device_id: Text = UNSET
    status: Text = UNSET
    state: Text = UNSET
    start_reason: Text = UNSET
    end_reason: Text = UNSET
    exit_reason: Text = UNSET
    cold_start: bool | UnsetType = UNSET
    started_at: Time | UnsetType = UNSET
    ended_at: Time | UnsetType = UNSET
    duration_ms: Number = UNSET
    is_final: bool | UnsetType = UNSET
    client_session_id: Text = UNSET
    stitched_session_id: Id | UnsetType = UNSET
    stitched_index: Number = UNSET
    user_id: Text = UNSET
    user_ids: list[str] | UnsetType = UNSET
    personas: list[str] | UnsetType = UNSET
    properties: dict[str, str] | UnsetType = UNSET
    app_version: Text = UNSET
    app_build: Text = UNSET
    environment: Text = UNSET
    os_name: Text = UNSET
    os_version: Text = UNSET
    device_manufacturer: Text = UNSET
    device_model: Text = UNSET
    sdk_name: Text = UNSET
    sdk_version: Text = UNSET
    event_count: Number = UNSET
    crash_count: Number = UNSET
    anr_count: Number = UNSET
    exception_count: Number = UNSET
    network_count: Number = UNSET
    network_error_count: Number = UNSET
    tap_count: Number = UNSET
    view_count: Number = UNSET
    log_error_count: Number = UNSET
    revision: Number = UNSET
    partition: Number = UNSET
    offset: Number = UNSET
    first_event_id: Text = UNSET
    last_event_at: Time | UnsetType = UNSET
    arrived_at: Time | UnsetType = UNSET
    is_set_aside: bool | UnsetType = UNSET
    sample_rate: Annotated[float, Meta(gt=0, le=1)] | UnsetType = UNSET


FIELDS: tuple[str, ...] = Session.__struct_fields__


class Sessions(Struct, kw_only=True):
    """A page of sessions."""

    items: list[Session]
    next: str | None
    """Give it as `after` for the page that follows; null on the last one."""
    range: Range
    filter: str
    """In its canonical form."""


class WholeSession(Session, kw_only=True):
    """A session with all that is known of it."""

    resource: dict[str, str]
    before_id: Id | None
    after_id: Id | None
    restatements: Count
    restated_at: Time | None
    ended_by: str
    stored_events: Count
    missing_events: Count
    unrestated_events: Count


class Bucket(Struct, kw_only=True):
    """Sessions that start in a part of a range."""

    start: Time
    sessions: Count
    crashed: Count
    hung: Count
    gone: Count


class Counts(Struct, kw_only=True):
    """How many sessions there are, whose, and how they went."""

    range: Range
    filter: str
    bucket_ms: Count
    sessions: Count
    devices: Count
    users: Count
    foreground_sessions: Count
    crash_free_sessions: Count
    crash_free_share: float | None
    crashed: Count
    hung: Count
    gone: Count
    median_duration_ms: Count | None
    estimated_sessions: float
    buckets: list[Bucket]


class Event(Struct, kw_only=True):
    """An event of a session, long values of attributes cut."""

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
    items: list[Event]
    next: str | None
    total: Count
    matches: list[int]
    """The places of the events that `filter` asks for, or that `q` is found in, from 0."""


class WholeEvent(Struct, kw_only=True):
    """An event with everything, nothing cut."""

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
    """How long a request took, where that is known."""
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


async def sessions(asked: Asked) -> Sessions:
    """A page of them."""
    looked, wanted = await _wanted(asked)
    order, most = Order.parse(asked.values["order"]), asked.values["limit"]
    page = await _page(asked, wanted, order, most)
    fields = {"session_id", *(asked.values["fields"] or FIELDS)}
    rows = [{name: row[name] for name in FIELDS if name in fields} for row in page.rows]
    return Sessions(
        items=all_shaped(Session, rows),
        next=asked.next(looked, page.after),
        range=looked.range,
        filter=looked.text,
    )


async def _page(asked: Asked, wanted: Wanted, order: Order, most: int) -> PageOfSessions | SortedPage:
    cursor = asked.cursor()
    app, filter, place = wanted.choice.app or None, wanted.filter, cursor.place if cursor else ""
    own = (wanted.start_ms, wanted.end_ms)
    try:
        if order != NEWEST_FIRST:
            sort_place = SortPlace.parse(place) if place else None
            chosen = choose(app, filter, *own)
            return await asked.reader.run(lambda ask: sorted_page(ask, chosen, order, sort_place, most))
        after = SessionPlace.parse(place) if place else None
    except ValueError:
        raise bad_place() from None

    def read(ask: Ask) -> PageOfSessions:
        return session_page(ask, app, filter, *own, after, most, stored=wanted.known.sessions)

    return await asked.reader.run(read)


async def _wanted(asked: Asked) -> tuple[Looked, Wanted]:
    """The sessions that are asked for, as the page of them has it; what holds without a range as well."""
    app = asked.require_app(asked.values["app"]) if asked.values["app"] else ""
    known, own = await asyncio.gather(span_of(asked.reader, app), asked.filter(app))
    filter = own if app else asked.of_seen_apps(own)
    pinned = asked.cursor()
    if pinned is not None:
        start_ms, end_ms = pinned.start_ms, pinned.end_ms
    else:
        choice = SessionChoice(start_ms=asked.values["from"], end_ms=asked.values["until"])
        start_ms = first_ms(choice, known.newest_ms)
        end_ms = after_newest(known.newest_ms) if choice.end_ms is None else choice.end_ms
        if start_ms >= end_ms and None not in (choice.start_ms, choice.end_ms):
            raise Refused("bad-request", "`until` is not after `from`.", {"parameter": "from"})
        end_ms = max(end_ms, start_ms + 1)
    looked = Looked(app, start_ms, end_ms, own)
    written = Looked(app, start_ms, end_ms, filter).text
    return looked, Wanted(SessionChoice(app, written, start_ms, end_ms), written, known)


async def counts(asked: Asked) -> Counts:
    """What stands above a list."""
    looked, wanted = await _wanted(asked)
    start_ms, end_ms = wanted.start_ms, max(wanted.end_ms, wanted.start_ms + 1)
    step = step_ms(start_ms, end_ms)
    rows = await asked.reader.rows(
        session_counts(wanted.choice.app or None, wanted.filter, start_ms, end_ms, step)
    )
    if not rows:
        numbers = dict.fromkeys(Counts.__struct_fields__, 0)
        return Counts(**{**numbers, "range": looked.range, "filter": looked.text, "bucket_ms": step, "buckets": [],
                         "crash_free_share": None, "median_duration_ms": None, "estimated_sessions": 0.0})  # fmt: skip
    *buckets, whole = rows
    rated, free = int(whole["foreground_sessions"]), int(whole["crash_free_sessions"])
    return shaped(
        Counts,
        {**whole, "bucket_ms": step},
        range=looked.range,
        filter=looked.text,
        crash_free_share=free / rated if rated else None,
        buckets=[shaped(Bucket, row, start=time_of(int(row["bucket_ms"]))) for row in buckets],
    )


async def one(asked: Asked) -> WholeSession:
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


async def found_session(asked: Asked) -> tuple[Row, int, int, Row]:
    """The session that the path names, the span of its events (Unix ms, the end left out), and its neighbours. Raises
    `Refused` where it is not there (any more), or is of an app that the key may not see."""
    id, reader = asked.values["session_id"], asked.reader
    row = await reader.first(session_by_id(id))
    if row is None:
        raise await _gone(asked, id)
    if not asked.may_see(row["app_id"]):
        raise Refused("not-found", why_gone({}))
    start_ms = int(row["started_at_ms"])
    beside = await reader.first(journey.neighbours(row["app_id"], row["device_id"], start_ms))
    assert beside is not None, "an aggregate has one row"
    after_ms = beside["after_ms"]
    return row, start_ms, journey.LAST_MS if after_ms is None else int(after_ms), beside


async def _gone(asked: Asked, id: str) -> Refused:
    found = [row for row in await asked.reader.rows(finding.successors(id)) if asked.may_see(row["app_id"])]
    if found:
        told = "Late events changed this session; others have its events now."
        return Refused("gone", told, {"successors": [row["session_id"] for row in found]})
    last = await asked.reader.first(finding.as_last_told(id)) or {}
    return Refused("not-found", why_gone(last if asked.may_see(last.get("app_id", "")) else {}))


async def timeline(asked: Asked) -> Timeline:
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
            Event, event,
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


async def event(asked: Asked) -> WholeEvent:
    """One event of it, nothing cut."""
    row, start_ms, end_ms, _ = await found_session(asked)
    found = await asked.reader.first(
        journey.event(row["app_id"], row["device_id"], start_ms, end_ms, asked.values["event_id"])
    )
    if found is None:
        raise Refused("not-found", "The session has no such event.")
    bits = int(found["counters"])
    return shaped(WholeEvent, found, counts_as=[name for bit, name in enumerate(COUNTERS) if bits >> bit & 1])


async def lanes(asked: Asked) -> Lanes:
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


def _mark(mark: Row, is_trailing: bool, ends: bool, is_match: bool) -> Mark:
    time_ms, took_ms = int(mark["time_ms"]), mark["took_ms"]
    is_known = took_ms is not None and 0 <= took_ms <= 86_400_000
    began_ms = time_ms if mark["is_begin"] or not is_known else time_ms - round(took_ms)
    return Mark(
        event_id=mark["event_id"], time=time_of(time_ms), name=mark["name"], what=mark["what"],
        is_fault=story.is_fault(mark), is_late=bool(mark["arrived_after_later"]), is_trailing=is_trailing,
        ends_session=ends, is_match=is_match, took_ms=float(took_ms) if is_known else None,
        began_at=time_of(began_ms) if is_known else None,
    )  # fmt: skip


_ID = path_id("session_id", "The id of a session.")
_EVENTS_OF = Parameter(
    "filter", "A filter; the events that it asks for are pointed at.", most=FILTER.most,
    example="has http.client.request(http.response.status_code >= 500) then app.crash",
)  # fmt: skip
_SPAN = span(f"it is {DAYS} days before the newest session")
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "/sessions", "listSessions", "Sessions that start in a range and pass a filter", Sessions, sessions,
        (
            ANY_APP, FILTER, COHORT, *_SPAN,
            Parameter("order", "By what, and from which end on.", "choice", tuple(ORDERS), default="-start"),
            Parameter("fields", "Only these columns, separated by commas; `session_id` is always there.", "list", FIELDS),
            limit(50, MOST_SESSIONS), AFTER,
        ),
        "What a page costs does not depend on how deep it lies: it goes on behind the last session of the one before.",
    ),
    Endpoint(
        "/sessions/counts", "countSessions", "How many sessions there are, whose, how they went, and when", Counts,
        counts, (ANY_APP, FILTER, COHORT, *_SPAN),
    ),
    Endpoint(
        "/sessions/{session_id}", "getSession", "One session with all that is known of it", WholeSession, one, (_ID,),
        problems=("not-found", "gone"),
    ),
    Endpoint(
        "/sessions/{session_id}/timeline", "getSessionTimeline", "The events of a session in order", Timeline, timeline,
        (
            _ID, _EVENTS_OF, Parameter("q", "A text that is looked for in events and their attributes.", least=1, most=200),
            limit(300, MOST_EVENTS), AFTER,
        ),
        f"Values of attributes are cut after {journey.SHOWN_CHARACTERS:,} characters. `total` counts at most "
        f"{journey.MAX_MARKS:,} events.",
        problems=("not-found", "gone"),
    ),
    Endpoint(
        "/sessions/{session_id}/lanes", "getSessionLanes", "The events of a session by lanes, as its page draws them",
        Lanes, lanes, (_ID, _EVENTS_OF), problems=("not-found", "gone"),
    ),
    Endpoint(
        "/sessions/{session_id}/event", "getEvent", "One event of a session with everything, nothing cut", WholeEvent,
        event, (_ID, Parameter("event_id", "The id of the event.", least=1, most=512, is_required=True)),
        problems=("not-found", "gone"),
    ),
)  # fmt: skip
