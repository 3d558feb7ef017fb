"""What the demonstration shows: some sessions, how they ended, the story of one, the releases that do worst, alerts."""

from __future__ import annotations

from pipeline.query.statement import Statement

LATEST = Statement("""
SELECT started_at, app_id, substring(toString(session_id), 1, 8) AS session, start_reason, end_reason,
       round(duration_ms / 1000, 1) AS s, event_count AS events, user_id AS user
FROM sessions ORDER BY started_at DESC, session_id LIMIT 8
""")

BY_END = Statement("""
SELECT end_reason, count() AS sessions, uniqExact(device_id) AS devices,
       round(median(duration_ms) / 1000, 1) AS median_s, sum(event_count) AS events
FROM sessions GROUP BY end_reason ORDER BY sessions DESC LIMIT 8
""")

# The one whose story is best told: not too long, with a failed request on the way.
CRASHED = Statement("""
SELECT session_id FROM sessions
WHERE end_reason = 'crash' AND state = 'foreground' AND event_count BETWEEN 8 AND 30
ORDER BY network_error_count > 0 DESC, cold_start DESC, view_count > 1 DESC, tap_count > 0 DESC, session_id LIMIT 1
""")

HEALTH = Statement("""
SELECT app_id, app_version, sum(r.sessions) AS sessions, sum(r.users) AS users,
       round(100 * sum(r.crash_free_sessions) / sum(r.sessions), 2) AS crash_free_percent
FROM release_health AS r GROUP BY app_id, app_version HAVING sessions >= 20
ORDER BY crash_free_percent, sessions DESC LIMIT 6
""")

ALERTS = Statement("""
SELECT app_id, rule, if(is_of_group, group, '') AS of, state, round(value, 4) AS value, sessions
FROM alert_states(app_id = '', from = '1970-01-01', until = '2100-01-01')
WHERE sessions > 0 AND (is_of_group OR rule NOT IN (
    SELECT rule FROM alert_states(app_id = '', from = '1970-01-01', until = '2100-01-01') WHERE is_of_group
))
ORDER BY indexOf(['error', 'warning', 'normal', 'no data'], toString(state)), sessions DESC LIMIT 8
""")


def story(session_id: str) -> Statement:
    """What happened in a session, one line per event."""
    return Statement(
        """
SELECT formatDateTime(time, '%H:%i:%S', 'UTC') AS at, round(offset_ms / 1000, 1) AS s,
       substringUTF8(what, 1, 76) AS what
FROM session_timeline(session_id = {session_id:UUID})
""",
        {"session_id": session_id},
    )
