"""Two sets of sessions issue by issue: how many met each crash, ANR, exception and failed request on either side."""

from __future__ import annotations

from pipeline.query.compare import Side, of_side
from pipeline.query.session_range import chosen_sessions
from pipeline.query.statement import Statement

MOST = 100
"""Issues in a comparison."""

_EVENTS = (
    "SELECT SIDES AS side, kind, issue, title, detail, session_id, device_id, user_id, event_id, time"
    " FROM issue_events(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})"
)
_CHOSEN = "session_id IN (CHOSEN)"
_WHOLE = "SELECT (count(), uniqExactArray(user_ids), uniqExact(device_id)) FROM (CHOSEN)"
_COUNTS = ("sessions", "users", "devices")
_OF_ISSUE = {
    "sessions": "uniqExactIf(session_id, side = 'SIDE')",
    "users": "uniqExactIf(user_id, side = 'SIDE' AND user_id != '')",
    "devices": "uniqExactIf(device_id, side = 'SIDE')",
}


def compare_issues(app_id: str, a: Side, b: Side, *, most: int = MOST) -> Statement:
    """The issues of two sets of an app's sessions, as the view `issue_events` has them.

    Rows: `kind` ('crash', 'anr', 'exception', 'request'), `issue`, `title` and `detail` (of the latest event), and of
    each side S (`a`, `b`) `sessions_S`, `users_S`, `devices_S` with the issue, `events_S`, and `all_sessions_S`,
    `all_users_S`, `all_devices_S`: those of the side itself. `by_users` says whether people are counted by users, which
    takes some that are named on both sides, or else by devices; `cut` how many issues are not among the rows. The
    `most` that differ most for their frequency, by people, come first: by the difference of the two shares over its
    standard error.
    """
    chosen = [of_side(app_id, side, name, _filled(_CHOSEN, side)) for name, side in (("a", a), ("b", b))]
    wholes = [of_side(app_id, side, name, _filled(_WHOLE, side)) for name, side in (("a", a), ("b", b))]
    of_a, of_b = (each.sql for each in chosen)
    if a[1:] == b[1:]:
        # Events of one range are read once, and each counts on every side that its session is on.
        both = f"arrayJoin(arrayConcat(if({of_a}, ['a'], []), if({of_b}, ['b'], [])))"
        events = [of_side(app_id, a, "a", _EVENTS).sql.replace("SIDES", both)]
    else:
        events = [
            f"{of_side(app_id, side, name, _EVENTS).sql.replace('SIDES', repr(name))} WHERE {of_it}"
            for name, side, of_it in (("a", a, of_a), ("b", b, of_b))
        ]
    # What is read twice may grow between: nobody has an issue who is not there.
    counts = ", ".join(
        f"least({_OF_ISSUE[count].replace('SIDE', side)}, all_{side}.{place}) AS {count}_{side},"
        f" all_{side}.{place} AS all_{count}_{side}"
        for side in "ab"
        for place, count in enumerate(_COUNTS, 1)
    )
    return Statement(
        f"""
WITH ({wholes[0].sql}) AS all_a, ({wholes[1].sql}) AS all_b
SELECT kind, issue, argMax(title, (time, event_id)) AS title, argMax(detail, (time, event_id)) AS detail,
    countIf(side = 'a') AS events_a, countIf(side = 'b') AS events_b, {counts},
    all_users_a > 0 AND all_users_b > 0 AS by_users,
    toInt64(count() OVER ()) - {{most:UInt32}} AS more,
    greatest(more, 0) AS cut,
    if(by_users, users_a, devices_a) AS people_a, if(by_users, users_b, devices_b) AS people_b,
    greatest(if(by_users, all_users_a, all_devices_a), 1) AS whole_a,
    greatest(if(by_users, all_users_b, all_devices_b), 1) AS whole_b,
    (people_a + people_b) / (whole_a + whole_b) AS share,
    abs(people_b / whole_b - people_a / whole_a)
        / sqrt(greatest(share * (1 - share), 1e-12) * (1 / whole_a + 1 / whole_b)) AS distance
FROM ({" UNION ALL ".join(events)})
GROUP BY kind, issue
ORDER BY distance DESC, sessions_a + sessions_b DESC, kind, issue
LIMIT {{most:UInt32}}""",
        {
            "most": most,
            **{key: value for part in (*chosen, *wholes) for key, value in part.parameters.items()},
        },
    )


def _filled(sql: str, side: Side) -> str:
    columns = "session_id" if sql == _CHOSEN else "user_ids, device_id"
    return sql.replace("CHOSEN", chosen_sessions(side.where, columns))
