-- How a version does, day by day (UTC, by the start of the session). Users are the named ones; apps without
-- users read the devices. A rate over nobody is NULL, not 1.
CREATE OR REPLACE VIEW release_health AS
WITH
    crash_count > 0 OR end_reason IN ('crash', 'exception') AS crashed,
    anr_count > 0 OR end_reason = 'anr' OR exit_reason = 'anr' AS hung
SELECT
    app_id,
    app_version,
    toDate(started_at) AS day,
    count() AS sessions,
    uniqExact(device_id) AS devices,
    uniqExactIf(user_id, user_id != '') AS users,
    countIf(NOT crashed) AS crash_free_sessions,
    crash_free_sessions / sessions AS crash_free_session_rate,
    users - uniqExactIf(user_id, user_id != '' AND crashed) AS crash_free_users,
    crash_free_users / nullIf(users, 0) AS crash_free_user_rate,
    devices - uniqExactIf(device_id, crashed) AS crash_free_devices,
    crash_free_devices / devices AS crash_free_device_rate,
    countIf(NOT hung) AS anr_free_sessions,
    anr_free_sessions / sessions AS anr_free_session_rate,
    users - uniqExactIf(user_id, user_id != '' AND hung) AS anr_free_users,
    anr_free_users / nullIf(users, 0) AS anr_free_user_rate,
    quantileExact(0.5)(duration_ms) AS median_duration_ms,
    quantileExact(0.95)(duration_ms) AS p95_duration_ms
FROM sessions
GROUP BY app_id, app_version, day;
