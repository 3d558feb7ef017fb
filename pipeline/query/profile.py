"""Who somebody is: what the sessions of a user, or of a device, say together."""

from __future__ import annotations

from pipeline.query.bad_ends import CRASHED, HUNG
from pipeline.query.session_range import time_text
from pipeline.query.statement import Statement

MOST = 20
"""Devices, users and versions that are named."""


def profile(app_id: str, start_ms: int, end_ms: int, *, user_id: str = "", device_id: str = "") -> Statement:
    """Of a user, or else a device, of an app: one row of each device, the one seen last first, after a row of all of
    them (`is_whole`); no row without sessions that start in the range (Unix ms).

    `device_id`, `devices`, `sessions`, `crashed_sessions`, `hung_sessions`, `first_seen_at`, `last_seen_at`,
    `lasted_ms`, `users`, `app_versions`; and as of the latest session `last_version`, `last_properties`,
    `last_personas`, `device_manufacturer`, `device_model`, `os_name`, `os_version`. `first_day` is the first day on
    which they were there at all, whenever that was.
    """
    of_user = "app_id = {app:String} AND user_id = {who:String}"
    of_device = "app_id = {app:String} AND device_id = {who:String}"
    places = f"z_user_days WHERE {of_user}" if user_id else f"z_device_days WHERE {of_device}"
    # In the order of the key, so that no more is read of a long history than its beginning.
    first = f"SELECT toDate32(day) FROM {places} ORDER BY app_id, {'user_id' if user_id else 'device_id'}, day LIMIT 1"
    latest = "(started_at, session_id)"
    facts = ("device_manufacturer", "device_model", "os_name", "os_version")
    return Statement(
        f"WITH ({first}) AS first"
        " SELECT s.device_id AS device_id, grouping(s.device_id) AS is_whole, any(first) AS first_day,"
        f" uniqExact(s.device_id) AS devices, count() AS sessions,"
        f" countIf({CRASHED.sql}) AS crashed_sessions, countIf({HUNG.sql}) AS hung_sessions,"
        " min(s.started_at) AS first_seen_at, max(s.ended_at) AS last_seen_at, sum(s.duration_ms) AS lasted_ms,"
        f" arraySort(groupUniqArrayArray({MOST})(s.user_ids)) AS users,"
        f" arraySort(groupUniqArray({MOST})(toString(s.app_version))) AS app_versions,"
        f" argMax(s.app_version, {latest}) AS last_version, argMax(s.properties, {latest}) AS last_properties,"
        f" argMax(s.personas, {latest}) AS last_personas,"
        f" {', '.join(f'argMax(s.{fact}, {latest}) AS {fact}' for fact in facts)}"
        " FROM sessions AS s WHERE app_id = {app:String}"
        f" AND {'has(user_ids, {who:String})' if user_id else 's.device_id = {who:String}'}"
        " AND started_at >= toDateTime64({from:String}, 3, 'UTC')"
        " AND started_at < toDateTime64({until:String}, 3, 'UTC')"
        f" AND (toDate(started_at), s.device_id) IN (SELECT toDate(day), device_id FROM {places}"
        " AND day >= toDate({from_day:String}) AND day <= toDate({until_day:String}))"
        f" GROUP BY s.device_id WITH ROLLUP ORDER BY is_whole DESC, last_seen_at DESC, device_id LIMIT {MOST + 1}",
        {
            "app": app_id, "who": user_id or device_id, "from": time_text(start_ms), "until": time_text(end_ms),
            "from_day": time_text(start_ms)[:10], "until_day": time_text(end_ms)[:10],
        },
    )  # fmt: skip
