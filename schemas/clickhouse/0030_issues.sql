-- What went wrong, of every kind in one place: for comparing two releases, or two groups of sessions, issue by issue.

-- Crashes, ANRs, exceptions and failed requests in the sessions of an app that start from `from` and before `until`, each with
-- its issue, its session (which lasts for less than two days) and whose it is. An issue is a group of crashes (0029), or a
-- request by method, host and path with the status or error that it failed with.
CREATE OR REPLACE VIEW issue_events AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    found AS
    (
        SELECT
            s.session_id AS session_id, s.started_at AS session_started_at, s.user_ids AS user_ids, s.app_version AS app_version,
            e.device_id AS device_id, e.event_id AS event_id, e.time AS time,
            e.kind AS kind, e.issue AS issue, e.title AS title, e.detail AS detail
        FROM
        (
            SELECT device_id, event_id, time, toString(kind) AS kind, toString(crash_group) AS issue, title, toString(culprit) AS detail
            FROM z_crashes
            WHERE app_id = {app_id:String} AND time >= first AND time < last + INTERVAL 2 DAY
                AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last) + 2
                    OR (toDate32(raw_time), device_id) IN (
                        SELECT raw_day, device_id FROM z_elsewhere_days
                        WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last) + 2))
            UNION ALL
            SELECT
                device_id, event_id, time, 'request' AS kind,
                trimRight(concat(toString(label), ' ', toString(detail))) AS issue, toString(label) AS title, toString(detail) AS detail
            FROM notable_events
            WHERE app_id = {app_id:String} AND subject = 'request' AND time >= first AND time < last + INTERVAL 2 DAY
                AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last) + 2
                    OR (toDate32(raw_time), device_id) IN (
                        SELECT raw_day, device_id FROM z_elsewhere_days
                        WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last) + 2))
        ) AS e
        ASOF JOIN
        (
            SELECT device_id, started_at, session_id, user_ids, app_version
            FROM sessions
            WHERE app_id = {app_id:String} AND started_at >= first AND started_at < last + INTERVAL 2 DAY
        ) AS s
        ON e.device_id = s.device_id AND e.time >= s.started_at
        WHERE s.started_at < last
    )
SELECT
    f.session_id AS session_id,
    f.session_started_at AS session_started_at,
    f.device_id AS device_id,
    f.event_id AS event_id,
    f.time AS time,
    f.kind AS kind,
    f.issue AS issue,
    f.title AS title,
    f.detail AS detail,
    if(length(f.user_ids) > 1, u.user_id, f.user_ids[1]) AS user_id,
    f.app_version AS app_version
FROM found AS f
LEFT ANY JOIN
(
    SELECT device_id, event_id, user_id
    FROM event_users(app_id = {app_id:String}, from = {from:String}, until = {until:String})
) AS u
ON f.device_id = u.device_id AND f.event_id = u.event_id;
