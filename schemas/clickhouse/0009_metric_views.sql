-- What sessions come to, day by day (UTC, by the start of the session), and what lies behind it. `from` and `until`
-- are texts, '2026-01-31' or '2026-01-31 08:30:00'; `until` itself is not included.

-- Each session, with what release_health counts.
CREATE OR REPLACE VIEW session_health AS
SELECT
    *,
    crash_count > 0 OR end_reason IN ('crash', 'exception') AS is_crashed,
    anr_count > 0 OR end_reason = 'anr' OR exit_reason = 'anr' AS is_hung
FROM sessions;

CREATE OR REPLACE VIEW daily_activity AS
SELECT
    app_id,
    toDate(started_at) AS day,
    count() AS sessions,
    uniqExact(device_id) AS devices,
    uniqExactIf(user_id, user_id != '') AS users,
    sum(s.duration_ms) AS duration_ms,
    quantileExact(0.5)(s.duration_ms) AS median_duration_ms
FROM sessions AS s
GROUP BY app_id, day;

CREATE OR REPLACE VIEW version_adoption AS
SELECT
    app_id,
    toDate(started_at) AS day,
    app_version,
    count() AS sessions,
    uniqExact(device_id) AS devices,
    sessions / sum(sessions) OVER (PARTITION BY app_id, day) AS session_share
FROM sessions
GROUP BY app_id, day, app_version;

CREATE OR REPLACE VIEW crash_free_users_daily AS
SELECT
    app_id,
    toDate(started_at) AS day,
    uniqExactIf(user_id, user_id != '') AS users,
    users - uniqExactIf(user_id, user_id != '' AND is_crashed) AS crash_free_users,
    crash_free_users / nullIf(users, 0) AS crash_free_user_rate
FROM session_health
GROUP BY app_id, day;

-- The notable events of an app, each with its session: the one of its device with the greatest start not after it.
-- Sessions are looked for from two days before: none lasts as long.
CREATE OR REPLACE VIEW notable_events_in_sessions AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    wanted AS
    (
        SELECT device_id, event_id, time, label, detail
        FROM notable_events
        WHERE app_id = {app_id:String} AND subject = {subject:String} AND time >= first AND time < last
    )
SELECT
    s.session_id AS session_id,
    e.device_id AS device_id,
    e.event_id AS event_id,
    e.time AS time,
    e.label AS label,
    e.detail AS detail,
    s.user_id AS user_id,
    s.app_version AS app_version
FROM wanted AS e
ASOF JOIN
(
    SELECT device_id, started_at, session_id, user_id, app_version
    FROM sessions
    WHERE app_id = {app_id:String} AND started_at >= first - INTERVAL 2 DAY AND started_at < last
) AS s
ON e.device_id = s.device_id AND e.time >= s.started_at;

-- Crashes and fatal exceptions, alike ones together.
CREATE OR REPLACE VIEW top_crashes AS
SELECT
    label AS exception_type,
    detail AS message,
    count() AS crashes,
    uniqExact(session_id) AS sessions,
    uniqExact(device_id) AS devices,
    uniqExactIf(user_id, user_id != '') AS users,
    arraySort(groupUniqArray(20)(app_version)) AS app_versions,
    min(time) AS first_at,
    max(time) AS last_at
FROM notable_events_in_sessions(app_id = {app_id:String}, subject = 'crash', from = {from:String}, until = {until:String})
GROUP BY exception_type, message
ORDER BY crashes DESC, exception_type, message;

-- Requests that failed, by method, host and path without its numbers, and by status or error.
CREATE OR REPLACE VIEW failing_requests AS
SELECT
    label AS request,
    detail AS status,
    count() AS failures,
    uniqExact(session_id) AS sessions,
    uniqExact(device_id) AS devices,
    uniqExactIf(user_id, user_id != '') AS users,
    min(time) AS first_at,
    max(time) AS last_at
FROM notable_events_in_sessions(app_id = {app_id:String}, subject = 'request', from = {from:String}, until = {until:String})
GROUP BY request, status
ORDER BY failures DESC, request, status;

-- How long cold starts took, a row a session that has one and says so. `source` is 'measured' where the launch event
-- itself carries the time (process start to first frame), 'first_view' where it is the time from the launch to the
-- first view. Longer than a minute is no start.
CREATE OR REPLACE VIEW cold_starts AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    launched AS
    (
        SELECT s.session_id AS session_id, s.device_id AS device_id, s.last_event_at AS last_event_at,
            l.time AS time, l.launch_ms AS launch_ms
        FROM
        (
            SELECT session_id, device_id, started_at, last_event_at
            FROM sessions
            WHERE app_id = {app_id:String} AND started_at >= first AND started_at < last AND cold_start
        ) AS s
        ASOF JOIN
        (
            SELECT device_id, time, launch_ms
            FROM notable_events
            WHERE app_id = {app_id:String} AND subject = 'launch' AND time >= first AND time < last + INTERVAL 1 DAY
        ) AS l
        ON s.device_id = l.device_id AND s.started_at <= l.time
        WHERE l.time <= s.last_event_at
    )
SELECT
    c.session_id AS session_id,
    c.device_id AS device_id,
    toUInt32(if(c.launch_ms > 0, c.launch_ms, dateDiff('millisecond', c.time, v.time))) AS cold_start_ms,
    if(c.launch_ms > 0, 'measured', 'first_view') AS source
FROM launched AS c
ASOF LEFT JOIN
(
    SELECT device_id, time
    FROM notable_events
    WHERE app_id = {app_id:String} AND subject = 'view' AND time >= first AND time < last + INTERVAL 1 DAY
) AS v
ON c.device_id = v.device_id AND c.time <= v.time
WHERE c.launch_ms > 0
    OR (v.device_id != '' AND v.time <= c.last_event_at AND dateDiff('millisecond', c.time, v.time) <= 60000);

-- Of the devices first seen on a day, how many were there so many days later. Days that are not over before `until`
-- are left out.
CREATE OR REPLACE VIEW retention AS
WITH
    toDate({until:String}) AS last,
    days_of_devices AS
    (
        -- A device is new on the first day it was ever seen, so all of its days are read.
        SELECT device_id, groupUniqArray(toDate(started_at)) AS days, arrayMin(days) AS cohort
        FROM sessions
        WHERE app_id = {app_id:String} AND started_at < toDateTime64({until:String}, 3, 'UTC')
        GROUP BY device_id
        HAVING cohort >= toDate({from:String})
    )
SELECT
    cohort,
    day_number,
    count() AS devices,
    countIf(has(days, cohort + day_number)) AS retained,
    retained / devices AS retention_rate
FROM days_of_devices
ARRAY JOIN range(toUInt16({days:UInt16}) + 1) AS day_number
WHERE cohort + day_number < last
GROUP BY cohort, day_number
ORDER BY cohort, day_number;
