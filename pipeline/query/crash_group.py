"""One group of crashes, ANRs or exceptions: how often it came, where, when, in which sessions, and what came before it.

`whole` asks for its events once and counts them in every way that a page shows; the event that came last is then looked
up by what it has found, and so are the paths by the sessions that are the `newest`. All of it is of the sessions of an
app that start in a range; `where` limits them further.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.query.crashes import NUMBERS, RANGE, SUMMARY, Span, all_sessions, events_of
from pipeline.query.metric_definitions import bucket_start
from pipeline.query.statement import Statement

_MOST_SPREAD = 12
"""Values of a dimension."""
_MOST_SESSIONS = 25
_MOST_PATHS = 500
"""Of the newest sessions of a group."""
_DAY_MS = 86_400_000

_DAY = "toString(toInt64(toUnixTimestamp(<day>)) * 1000)"
_PARTS = (
    "arrayConcat([('all', '', ''), ('version', toString(app_version), ''),"
    " ('os', toString(os_name), toString(os_version)), ('model', toString(device_model), ''),"
    " ('day', <at>, toString(app_version)), ('session', toString(session_id), '')],"
    " arrayMap(persona -> ('persona', toString(persona), ''), if(empty(personas), [''], personas)),"
    " if(user_id = '', [], [('user', user_id, '')]))"
)
_OF_SESSION = ("user_ids", "app_version", "os_name", "os_version", "device_model")
"""The same on all events of a session."""
STEP = (
    "if(name = 'http.client.request', trimLeft(concat("
    "attributes['http.request.method'], ' ', domain(attributes['url.full']),"
    " replaceRegexpAll(substringUTF8(path(attributes['url.full']), 1, 200), '/[^/]*[0-9][^/]{4,}|/[0-9]+', '/{}'),"
    " concat(' ', char(226, 134, 146), ' '),"
    " multiIf(attributes['http.response.status_code'] NOT IN ('', '0'), attributes['http.response.status_code'],"
    " attributes['error.type'] != '', attributes['error.type'], 'no answer'))), what)"
)
"""As the view `crash_paths` has it, which a test holds it to; char(226, 134, 146) is an arrow in UTF-8."""


class ToldGroup(NamedTuple):
    """What is known of a group."""

    parts: list[Mapping[str, Any]]
    """Rows `part` (`all`, `version`, `os`, `model`, `persona`, `user`), `value` and `more` (of `os` its version), and
    the columns of `crashes.groups`. Of each part those with most sessions."""
    days: list[dict[str, Any]]
    """By day (of the context's time zone, by the start of the session) and version: `bucket_ms`, `group` (the version),
    `crashes`, `sessions`."""
    sessions: list[dict[str, Any]]
    """Those in which it came last, newest first: `session_id`, `last_time`, `last_event_id`, `crashes`, `user_ids`,
    `app_version`, `os_name`, `os_version`, `device_model`."""
    last_event: Sequence[str]
    """Of the one that came last: its day by the device's stamp, the device, its id."""


def whole(span: Span, group: str, *, where: Statement | None = None) -> Statement:
    """What `told` reads. `where` limits the sessions further."""
    events, parameters = events_of("z_session_crashes", span, where, {"crash_group": group})
    at = _DAY.replace("<day>", bucket_start("day", "session_started_at"))
    of_session = ", ".join(f"any(f.{name}) AS of_{name}" for name in _OF_SESSION)
    counted = (
        f"SELECT spread.1 AS part, spread.2 AS value, spread.3 AS more, {SUMMARY},"
        " argMax((toString(toDate32(raw_time)), toString(f.device_id), toString(event_id)), (time, event_id))"
        f" AS last_event, any(f.session_id) AS of_session, {of_session}"
        " FROM (SELECT c.*, if(length(c.user_ids) > 1, u.user_id, c.user_ids[1]) AS user_id,"
        f" {NUMBERS} AS numbers FROM {events} AS c LEFT ANY JOIN"
        f" (SELECT device_id, event_id, user_id FROM event_users{RANGE}) AS u"
        " ON c.device_id = u.device_id AND c.event_id = u.event_id) AS f"
        f" ARRAY JOIN {_PARTS.replace('<at>', at)} AS spread GROUP BY part, value, more"
    )
    order = "if(part = 'session', last_seen, NULL) DESC, if(part = 'session', of_session, NULL)"
    sql = (
        f"WITH ({all_sessions(where)}) AS all_sessions SELECT *,"
        f" row_number() OVER (PARTITION BY part ORDER BY {order}, sessions DESC, crashes DESC, value, more) AS place"
        f" FROM ({counted}) QUALIFY part = 'day' OR place <= if(part = 'session', {_MOST_SESSIONS}, {_MOST_SPREAD})"
        " ORDER BY part, place"
    )
    return Statement(sql, parameters)


def told(rows: Iterable[Mapping[str, Any]]) -> ToldGroup | None:
    """What the rows of `whole` say; None where nothing of the group came."""
    parts: dict[str, list[Mapping[str, Any]]] = {"day": [], "session": [], "all": []}
    for row in rows:
        parts.setdefault(row["part"], []).append(row)
    days, sessions = parts.pop("day"), parts.pop("session")
    if not parts["all"]:
        return None
    return ToldGroup(
        parts=[row for of_part in parts.values() for row in of_part],
        days=sorted(map(_day, days), key=lambda row: (row["bucket_ms"], row["group"])),
        sessions=[_session(row) for row in sessions],
        last_event=parts["all"][0]["last_event"],
    )


def latest(app_id: str, last_event: Sequence[str]) -> Statement:
    """The event of a group that came last, as `ToldGroup` names it: `event_id`, `time`, `attributes`, `resource`."""
    day, device, event = last_event
    return Statement(
        "SELECT event_id, time, attributes, JSONExtract(resource_json, 'Map(String, String)') AS resource"
        " FROM z_stored_events WHERE app_id = {app:String} AND toDate32(raw_time) = {day:Date32}"
        " AND device_id = {device:String} AND event_id = {event:String}",
        {"app": app_id, "day": day, "device": device, "event": event},
    )


def newest(span: Span, group: str, *, where: Statement | None = None) -> Statement:
    """The sessions that paths are made of, those in which something of a group came last: `session_id`, `device_id`,
    `started_at_ms`, `last_ms`."""
    events, parameters = events_of("z_session_crashes", span, where, {"crash_group": group})
    return Statement(
        "SELECT session_id, any(c.device_id) AS device_id,"
        " toUnixTimestamp64Milli(any(session_started_at)) AS started_at_ms,"
        f" toUnixTimestamp64Milli(max(c.time)) AS last_ms FROM {events} AS c"
        f" GROUP BY session_id ORDER BY last_ms DESC, session_id LIMIT {_MOST_PATHS}",
        parameters,
    )


def paths(app_id: str, sessions: Sequence[Mapping[str, Any]]) -> Statement:
    """What was done before, in these sessions of a group, some, as `newest` has them: `session_id`, `steps` (the latest
    first), as the view `crash_paths` has them."""
    found = [
        (row["session_id"], row["device_id"], int(row["started_at_ms"]), int(row["last_ms"]))
        for row in sessions
    ]
    devices = sorted({device for _, device, *_ in found})
    place = {device: number for number, device in enumerate(devices, 1)}
    days = sorted(
        {
            (place[device], day)
            for _, device, start_ms, last_ms in found
            for day in range(start_ms // _DAY_MS, last_ms // _DAY_MS + 1)
        }
    )
    return Statement(
        "SELECT c.session_id AS session_id, arraySlice(arrayCompact(arrayMap(s -> s.5, arrayReverseSort("
        "groupArrayIf((e.time, e.rank, e.seq, e.event_id, e.step), e.time <= c.crashed_at AND e.time >= c.started_at)"
        "))), 1, 10) AS steps FROM (SELECT one.1 AS session_id, {devices:Array(String)}[one.2] AS device_id,"
        " fromUnixTimestamp64Milli(one.3, 'UTC') AS started_at, fromUnixTimestamp64Milli(one.4, 'UTC') AS crashed_at"
        " FROM (SELECT arrayJoin(arrayZip({sessions:Array(UUID)}, {places:Array(UInt32)}, {starts:Array(Int64)},"
        " {ends:Array(Int64)})) AS one)) AS c LEFT JOIN"
        f" (SELECT device_id, time, rank, seq, event_id, {STEP} AS step FROM narrated_events"
        " WHERE app_id = {app:String}"
        " AND name IN ('app.screen.view', 'app.widget.click', 'app.screen.click', 'http.client.request')"
        " AND (toDate32(raw_time), device_id) IN (SELECT raw_day, device_id FROM z_device_days"
        " WHERE app_id = {app:String} AND device_id IN {devices:Array(String)} AND (device_id, day) IN"
        " (SELECT {devices:Array(String)}[d.1], toDate32(d.2)"
        " FROM (SELECT arrayJoin(arrayZip({of_days:Array(UInt32)}, {days:Array(Int32)})) AS d)))"
        " AND time BETWEEN fromUnixTimestamp64Milli({first:Int64}, 'UTC')"
        " AND fromUnixTimestamp64Milli({last:Int64}, 'UTC')) AS e"
        " ON c.device_id = e.device_id GROUP BY c.session_id, c.crashed_at ORDER BY c.crashed_at DESC, session_id",
        {
            "app": app_id,
            "devices": devices,
            "sessions": [session for session, *_ in found],
            "places": [place[device] for _, device, *_ in found],
            "starts": [start_ms for *_, start_ms, _ in found],
            "ends": [last_ms for *_, last_ms in found],
            "of_days": [device for device, _ in days],
            "days": [day for _, day in days],
            "first": min(start_ms for *_, start_ms, _ in found),
            "last": max(last_ms for *_, last_ms in found),
        },
    )


def _day(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "bucket_ms": int(row["value"]),
        "group": row["more"],
        "crashes": row["crashes"],
        "sessions": row["sessions"],
    }


def _session(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "session_id": row["of_session"],
        "last_time": row["last_seen"],
        "last_event_id": row["last_event"][2],
        "crashes": row["crashes"],
        **{name: row[f"of_{name}"] for name in _OF_SESSION},
    }
