"""What happened on one device: a session, its neighbours, its events."""

from __future__ import annotations

from pipeline.query.filters.of_events import REQUEST_MS
from pipeline.query.session_range import time_text
from pipeline.query.statement import Statement
from pipeline.query.stored_rows import COUNTS

MAX_MARKS = 20_000
"""Events of one session that a timeline can hold."""
_NEAR_DAYS = 3
SHOWN_CHARACTERS = 2_000
"""Of each attribute in a list of events; one event alone is shown whole."""

_EVENT = (
    "event_id, time, raw_time, received_at, name, kind, what, seq, client_session_id, user_id, exit_reason,"
    " counters, topic, partition, offset, event_index"
)
_OF_DEVICE = "app_id = {app_id:String} AND device_id = {device_id:String}"
_IN_SESSION = (
    f"{_OF_DEVICE} AND time >= fromUnixTimestamp64Milli({{start_ms:Int64}}, 'UTC')"
    " AND time < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')"
    # The device's own stamps may be of any other day: the places know of which.
    f" AND toDate32(raw_time) IN (SELECT raw_day FROM z_device_days WHERE {_OF_DEVICE}"
    " AND day >= toDate32(fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC'))"
    " AND day <= toDate32(fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')))"
)
_ORDER = "ORDER BY time, rank, seq, event_id"
_SHORT = (
    "mapApply((k, v) -> (k, if(lengthUTF8(v) > {shown:UInt32},"
    " concat(substringUTF8(v, 1, {shown:UInt32}), '…'), v)), attributes)"
)

NO_MASK = Statement("toUInt64(0)")
"""Of no filter."""
LAST_MS = 10_413_792_000_000
"""After every event: what ends the last session of a device."""


def neighbours(app_id: str, device_id: str, started_at_ms: int) -> Statement:
    """The device's session before and the one after: `before_id`, `after_id`, `after_ms`; NULL where none is.

    Of the days on which it has events those next to the session's own are read; all of them only where these have none.
    """
    return Statement(
        f"WITH fromUnixTimestamp64Milli({{started_ms:Int64}}, 'UTC') AS at,"
        f" {_nearest('<', 'DESC')} AS before, {_nearest('>', 'ASC')} AS after"
        " SELECT before.2 AS before_id, after.2 AS after_id, toUnixTimestamp64Milli(after.1) AS after_ms",
        {"app_id": app_id, "device_id": device_id, "started_ms": started_at_ms},
    )


def _nearest(side: str, order: str) -> str:
    """The nearest session on one side: its start and id, both NULL where there is none."""
    days = f"SELECT DISTINCT toDate(day) FROM z_device_days WHERE {_OF_DEVICE} AND day {side}= toDate32(at)"

    def among(days: str) -> str:
        choose = "argMax" if order == "DESC" else "argMin"
        return (
            # As `sessions` has them: app, day and device are parts of the key, which all rows of a session share.
            f"(SELECT {choose}((toNullable(s.started_at), toNullable(s.session_id)), s.started_at) FROM"
            " (SELECT session_id, started_at FROM session_rows FINAL"
            f" PREWHERE {_OF_DEVICE} AND toDate(started_at) IN ({days})"
            f" WHERE {COUNTS}) AS s WHERE s.started_at {side} at)"
        )

    near = among(f"{days} ORDER BY 1 {order} LIMIT {_NEAR_DAYS}")
    return f"if(isNull({near}.1), {among(f'{days} AND isNull({near}.1)')}, {near})"


def events(app_id: str, device_id: str, start_ms: int, end_ms: int, *, skip: int, limit: int) -> Statement:
    """A session's events in order, from the one at position `skip` on; long attributes are cut.

    `end_ms` is the start of the device's next session.
    """
    return Statement(
        f"SELECT {_EVENT}, {_SHORT} AS shown_attributes FROM narrated_events WHERE {_IN_SESSION} {_ORDER}"
        " LIMIT {limit:UInt32} OFFSET {skip:UInt32}",
        {
            **_span(app_id, device_id, start_ms, end_ms),
            "skip": skip,
            "limit": limit,
            "shown": SHOWN_CHARACTERS,
        },
    )


def marks(
    app_id: str,
    device_id: str,
    start_ms: int,
    end_ms: int,
    *,
    search: str = "",
    mask: Statement = NO_MASK,
) -> Statement:
    """All of a session's events in order, each with little: what a timeline draws, and what matches a search.

    `mask` is what `matches.event_mask` gave. Of requests, starts, loads and spans `took_ms` says how long they took,
    NULL if it is not known, and `is_begin` whether the event is at their beginning; else it is at their end.

    `arrived_after_later` says that an event which comes after it in time had arrived before it, in an earlier record:
    within one record the SDK's own order says nothing of arrival.
    """
    return Statement(
        "SELECT event_id, toUnixTimestamp64Milli(time) AS time_ms, name, kind, counters, exit_reason, what,"
        " found, mask, took_ms, is_begin, place > later AS arrived_after_later"
        f" FROM (SELECT event_id, time, name, kind, rank, seq, {mask.sql} AS mask,"
        f" if(name = 'http.client.request', {REQUEST_MS},"
        " coalesce(toFloat64OrNull(attributes['app.launch.duration_ms']),"
        " toFloat64OrNull(attributes['app.screen.load_ms']),"
        # What was gathered over hours is told at its end, and was not done then.
        " if(name = 'span' AND attributes['time.uncertain'] = '', toFloat64OrNull(attributes['duration_ms']), NULL)"
        ")) AS took_ms,"
        " attributes['duration_ms'] != '' AS is_begin,"
        " counters, exit_reason, substringUTF8(what, 1, 160) AS what, offset AS place,"
        " min(offset) OVER (ORDER BY time, rank, seq, event_id"
        " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS later,"
        " {search:String} != '' AND (positionCaseInsensitiveUTF8(narrated.what, {search:String}) > 0"
        " OR positionCaseInsensitiveUTF8(name, {search:String}) > 0"
        " OR arrayExists(v -> positionCaseInsensitiveUTF8(v, {search:String}) > 0, mapValues(attributes))"
        " OR arrayExists(k -> positionCaseInsensitiveUTF8(k, {search:String}) > 0, mapKeys(attributes)))"
        f" AS found FROM narrated_events AS narrated WHERE {_IN_SESSION}) {_ORDER}"
        f" LIMIT {MAX_MARKS}",
        {**_span(app_id, device_id, start_ms, end_ms), "search": search, **mask.parameters},
    )


def event(app_id: str, device_id: str, start_ms: int, end_ms: int, event_id: str) -> Statement:
    """One event of a session with everything; no row where the session has no such event."""
    return Statement(
        f"SELECT {_EVENT}, app_state, repaired, attributes, resource, personas, properties,"
        # As `events.conflicts` has it, of this event alone.
        " (SELECT greatest(uniqExact(content), 1) - 1 FROM z_stored_event_versions WHERE event_key ="
        " sipHash64({app_id:String}, {device_id:String}, {event_id:String})) AS conflicts FROM narrated_events"
        f" WHERE {_IN_SESSION} AND event_id = {{event_id:String}}",
        {**_span(app_id, device_id, start_ms, end_ms), "event_id": event_id},
    )


def owner(session_id: str, event_id: str) -> Statement:
    """Whose an event of a session is: `user_id`, empty if nobody is named in the session."""
    return Statement(
        "SELECT user_id FROM session_timeline(session_id = {session:UUID}) WHERE event_id = {event_id:String}",
        {"session": session_id, "event_id": event_id},
    )


def restatements(app_id: str, started_at_ms: int, session_id: str) -> Statement:
    """How often a session changed after it had been told as ended, and when last: `restatements`, `restated_at`."""
    return Statement(
        "SELECT restatements, restated_at FROM restated_sessions(app_id = {app_id:String},"
        " from = {from:String}, until = {until:String}) WHERE session_id = {session:UUID}",
        {
            "app_id": app_id,
            "from": time_text(started_at_ms),
            "until": time_text(started_at_ms + 1),
            "session": session_id,
        },
    )


def _span(app_id: str, device_id: str, start_ms: int, end_ms: int) -> dict[str, object]:
    return {"app_id": app_id, "device_id": device_id, "start_ms": start_ms, "end_ms": end_ms}
