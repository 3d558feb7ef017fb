"""Sessions: lists of them, how many there are, one of them, and what happened in it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import Struct
from starlette.responses import Response

from pipeline.api.endpoint import ApiEndpoint, ApiRange, ApiRequest, Looked, bad_place, not_after
from pipeline.api.parameters import AFTER, ANY_APP, COHORT, FILTER, ZONE, Parameter, limit, span
from pipeline.api.problem import RequestRefused
from pipeline.api.shape import Count, Id, Time, all_shaped, shaped, struct_of, time_of
from pipeline.dashboard.address import SessionChoice
from pipeline.dashboard.asked import DAYS, Wanted, after_newest, first_ms
from pipeline.dashboard.asked import span as span_of
from pipeline.dashboard.columns import ORDERS
from pipeline.dashboard.exports import EXPORTS, NEEDS_HTTP_1_1, TYPES, can_break_off
from pipeline.dashboard.reader import Row
from pipeline.query.choice import LISTED
from pipeline.query.session_counts import session_counts, step_ms
from pipeline.query.session_order import NEWEST_FIRST, Order, SortedPage, SortPlace, sorted_page
from pipeline.query.sessions import Cursor as SessionPlace
from pipeline.query.sessions import PageOfSessions

MOST_SESSIONS = 500

if TYPE_CHECKING:

    class ApiSession(Struct, kw_only=True):
        """A session: what is read of it by name. It has all columns of a list."""

        session_id: Id

else:
    ApiSession = struct_of("ApiSession", LISTED, key="session_id", module=__name__)
    ApiSession.__doc__ = (
        "A session, with the columns of the view `sessions`: all of them, or those that `fields` names."
    )


FIELDS: tuple[str, ...] = ApiSession.__struct_fields__


class Sessions(Struct, kw_only=True):
    """A page of sessions."""

    items: list[ApiSession]
    next: str | None
    """Give it as `after` for the page that follows; null on the last one."""
    range: ApiRange
    filter: str
    """In its canonical form."""


class Bucket(Struct, kw_only=True):
    """Sessions that start in a part of a range."""

    start: Time
    sessions: Count
    crashed: Count
    hung: Count
    gone: Count


class ApiCounts(Struct, kw_only=True):
    """How many sessions there are, whose, and how they went."""

    range: ApiRange
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


_NOTHING: Row = {
    **dict.fromkeys(("sessions", "devices", "users", "foreground_sessions", "crash_free_sessions"), 0),
    **dict.fromkeys(("crashed", "hung", "gone", "estimated_sessions"), 0),
    "median_duration_ms": None,
}


async def sessions(asked: ApiRequest) -> Sessions:
    """A page of them."""
    looked, wanted = await _wanted(asked)
    order, most = Order.parse(asked.values["order"]), asked.values["limit"]
    page = await _page(asked, wanted, order, most)
    fields = {"session_id", *(asked.values["fields"] or FIELDS)}
    rows = [{name: row[name] for name in FIELDS if name in fields} for row in page.rows]
    return Sessions(
        items=all_shaped(ApiSession, rows),
        next=asked.next(looked, page.after),
        range=looked.range,
        filter=looked.text,
    )


async def _page(asked: ApiRequest, wanted: Wanted, order: Order, most: int) -> PageOfSessions | SortedPage:
    cursor = asked.cursor()
    place = cursor.place if cursor else ""
    try:
        if order != NEWEST_FIRST:
            sort_place = SortPlace.parse(place) if place else None
            chosen = wanted.chosen()
            return await asked.reader.run(lambda ask: sorted_page(ask, chosen, order, sort_place, most))
        after = SessionPlace.parse(place) if place else None
    except ValueError:
        raise bad_place() from None

    return await asked.reader.run(lambda ask: wanted.page(ask, after, most))


async def _wanted(asked: ApiRequest) -> tuple[Looked, Wanted]:
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
            raise not_after(False)
        end_ms = max(end_ms, start_ms + 1)
    looked = Looked(app, start_ms, end_ms, own)
    written = Looked(app, start_ms, end_ms, filter).text
    return looked, Wanted(SessionChoice(app, written, start_ms, end_ms), written, known)


async def export(asked: ApiRequest) -> Response:
    """All of them as a file."""
    exports, request = asked.outside.exports, asked.request
    if exports is None or request is None:
        raise RequestRefused("not-found", "Nothing can be exported here.")
    if not can_break_off(request):
        raise RequestRefused("http-version", NEEDS_HTTP_1_1)
    _, wanted = await _wanted(asked)
    ordered = replace(wanted, choice=replace(wanted.choice, sort=asked.values["order"]))
    return await exports.answer(ordered, asked.values["format"], is_head=request.method == "HEAD")


async def counts(asked: ApiRequest) -> ApiCounts:
    """What stands above a list."""
    looked, wanted = await _wanted(asked)
    start_ms, end_ms = wanted.start_ms, wanted.end_ms
    # Nothing can be in an empty range; the numbers are those of nothing all the same.
    step = step_ms(start_ms, max(end_ms, start_ms + 1))
    app, newest_ms = wanted.choice.app or None, wanted.known.newest_ms
    rows = await asked.reader.rows(
        session_counts(app, wanted.filter, start_ms, end_ms, step, newest_ms=newest_ms)
    )
    if not rows:
        # Of no sessions there is no row.
        rows = [_NOTHING]
    *buckets, whole = rows
    rated, free = int(whole["foreground_sessions"]), int(whole["crash_free_sessions"])
    return shaped(
        ApiCounts,
        {**whole, "bucket_ms": step},
        range=looked.range,
        filter=looked.text,
        crash_free_share=free / rated if rated else None,
        buckets=[shaped(Bucket, row, start=time_of(int(row["bucket_ms"]))) for row in buckets],
    )


_ORDER = Parameter(
    "order", "What to sort by, and in which direction.", "choice", tuple(ORDERS), default="-start"
)
_SPAN = span(f"{DAYS} days before the newest session")
ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/sessions", "listSessions", "Sessions that start in a range and pass a filter", Sessions, sessions,
        (
            ANY_APP, FILTER, COHORT, *_SPAN, _ORDER,
            Parameter("fields", "Only these columns, separated by commas, and `session_id`.", "list", FIELDS),
            limit(50, MOST_SESSIONS), AFTER,
        ),
        "A page costs the same however deep it is: it continues after the last session of the page before.",
    ),
    ApiEndpoint(
        "/sessions/export", "exportSessions", "All sessions that start in a range and pass a filter, as a file", None,
        export,
        (
            ANY_APP, FILTER, COHORT, *_SPAN, _ORDER,
            Parameter("format", "Of the file.", "choice", tuple(EXPORTS), is_required=True),
        ),
        "All that match, however many, as they come out of ClickHouse: the same file as from the page. If that breaks "
        "off, the connection closes without the ending that a complete answer has: a client that checks for it, as "
        "`curl` and libraries do, never mistakes a part for the whole.",
        problems=("http-version",), files=tuple(type.partition(";")[0] for type in TYPES.values()),
    ),
    ApiEndpoint(
        "/sessions/counts", "countSessions", "How many sessions there are, whose, how they went, and when", ApiCounts,
        counts, (ANY_APP, FILTER, COHORT, *_SPAN, ZONE),
    ),
)  # fmt: skip
