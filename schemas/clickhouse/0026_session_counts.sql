-- How many sessions there are, whose, and how they went: what stands above the list of sessions on its page. Filters are
-- no parameter of a view, so the page asks the same of the sessions that pass one (pipeline/query/session_counts.py); a test
-- holds the two together.
CREATE OR REPLACE VIEW session_counts AS
SELECT
    count() AS sessions,
    uniqExact(device_id) AS devices,
    uniqExactArray(user_ids) AS users,
    countIf(state = 'foreground') AS foreground_sessions,
    countIf(state = 'foreground' AND NOT is_crashed) AS crash_free_sessions,
    crash_free_sessions / nullIf(foreground_sessions, 0) AS crash_free_session_rate,
    if(sessions = 0, NULL, quantileExact(0.5)(duration_ms)) AS median_duration_ms,
    -- The lowest of these sessions, and how many there were of all devices.
    min(h.sample_rate) AS sample_rate,
    sum(1 / h.sample_rate) AS estimated_sessions
FROM session_health AS h
WHERE ({app_id:String} = '' OR app_id = {app_id:String})
    AND started_at >= toDateTime64({from:String}, 3, 'UTC') AND started_at < toDateTime64({until:String}, 3, 'UTC');

-- The same sessions by when they started, and how those ended that ended badly, each in one way. A bucket has so many
-- seconds; the first ones begin with Monday, 29 December 1969, so that weeks begin with Mondays.
CREATE OR REPLACE VIEW sessions_over_time AS
SELECT
    toDateTime(intDiv(toUnixTimestamp(started_at) + 259200, {seconds:UInt32}) * {seconds:UInt32} - 259200, 'UTC') AS bucket,
    count() AS sessions,
    countIf(is_crashed) AS crashed,
    countIf(NOT is_crashed AND is_hung) AS hung,
    countIf(NOT is_crashed AND NOT is_hung AND (end_reason IN ('out_of_memory', 'unclean_exit')
        OR exit_reason IN ('out_of_memory', 'unclean_exit'))) AS gone
FROM session_health
WHERE ({app_id:String} = '' OR app_id = {app_id:String})
    AND started_at >= toDateTime64({from:String}, 3, 'UTC') AND started_at < toDateTime64({until:String}, 3, 'UTC')
GROUP BY bucket
ORDER BY bucket;
