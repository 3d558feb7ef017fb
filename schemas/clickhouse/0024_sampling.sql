-- How many of an app's devices are kept (setting sample_rate), on every session; and in the ledger the events of the others.
ALTER TABLE session_rows ADD COLUMN IF NOT EXISTS sample_rate Float64 DEFAULT 1 CODEC(ZSTD(1)) AFTER retention_days;

ALTER TABLE ledger_records ADD COLUMN IF NOT EXISTS sampled_out UInt32 DEFAULT 0 CODEC(ZSTD(1)) AFTER refused;

-- As before, with the rate. A count of sessions divided by it says how many there were of all devices.
CREATE OR REPLACE VIEW sessions AS
SELECT
    app_id,
    device_id,
    session_id,
    status,
    state,
    start_reason,
    end_reason,
    exit_reason,
    cold_start,
    started_at,
    ended_at,
    duration_ms,
    is_final,
    client_session_id,
    stitched_session_id,
    stitched_index,
    user_id,
    user_ids,
    personas,
    properties,
    app_version,
    app_build,
    environment,
    os_name,
    os_version,
    device_manufacturer,
    device_model,
    sdk_name,
    sdk_version,
    resource,
    event_count,
    crash_count,
    anr_count,
    exception_count,
    network_count,
    network_error_count,
    tap_count,
    view_count,
    log_error_count,
    revision,
    partition,
    offset,
    first_event_id,
    last_event_at,
    arrived_at,
    -- Its device was set aside when it could still change: events may be missing in it, and sessions after it.
    NOT is_final AND (app_id, device_id) IN (SELECT app_id, device_id FROM devices_set_aside) AS is_set_aside,
    sample_rate
FROM session_rows FINAL
-- FINAL leaves deleted sessions out, and so must every copy of a server that does not know the flag.
WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
-- Exact mode reads every row of a session that the index finds one row of: a session whose user changed
-- must not show the row before the change.
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW sessions_of_id AS
SELECT *
FROM sessions
WHERE (session_id = {id:UUID} OR stitched_session_id = {id:UUID})
    AND (app_id, toDate(started_at), device_id) IN (SELECT app_id, day, device_id FROM z_session_places WHERE id = {id:UUID});

CREATE OR REPLACE VIEW session_health AS
SELECT
    *,
    crash_count > 0 OR end_reason IN ('crash', 'exception') OR exit_reason IN ('crash', 'exception') AS is_crashed,
    anr_count > 0 OR end_reason = 'anr' OR exit_reason = 'anr' AS is_hung
FROM sessions;

CREATE OR REPLACE VIEW session_health_of_users AS
SELECT
    h.*,
    multiIf(NOT h.is_crashed, [], length(h.user_ids) <= 1, h.user_ids,
        notEmpty(f.crash_users), arrayIntersect(f.crash_users, h.user_ids), [h.user_id]) AS crash_users,
    multiIf(NOT h.is_hung, [], length(h.user_ids) <= 1, h.user_ids,
        notEmpty(f.anr_users), arrayIntersect(f.anr_users, h.user_ids), [h.user_id]) AS anr_users
FROM session_health AS h
LEFT ANY JOIN
(
    SELECT session_id, crash_users, anr_users
    FROM failure_users(app_id = {app_id:String}, from = {from:String}, until = {until:String})
) AS f
ON h.session_id = f.session_id
WHERE ({app_id:String} = '' OR h.app_id = {app_id:String})
    AND h.started_at >= toDateTime64({from:String}, 3, 'UTC') AND h.started_at < toDateTime64({until:String}, 3, 'UTC');

-- As before, with the rate, and how many sessions there were of all devices.
CREATE OR REPLACE VIEW release_health AS
SELECT
    app_id,
    app_version,
    toDate(started_at) AS day,
    countIf(state = 'foreground') AS sessions,
    uniqExactIf(device_id, state = 'foreground') AS devices,
    uniqExactArrayIf(user_ids, state = 'foreground') AS users,
    countIf(state = 'foreground' AND NOT is_crashed) AS crash_free_sessions,
    crash_free_sessions / nullIf(sessions, 0) AS crash_free_session_rate,
    users - uniqExactArrayIf(crash_users, state = 'foreground') AS crash_free_users,
    crash_free_users / nullIf(users, 0) AS crash_free_user_rate,
    devices - uniqExactIf(device_id, state = 'foreground' AND is_crashed) AS crash_free_devices,
    crash_free_devices / nullIf(devices, 0) AS crash_free_device_rate,
    countIf(state = 'foreground' AND NOT is_hung) AS anr_free_sessions,
    anr_free_sessions / nullIf(sessions, 0) AS anr_free_session_rate,
    users - uniqExactArrayIf(anr_users, state = 'foreground') AS anr_free_users,
    anr_free_users / nullIf(users, 0) AS anr_free_user_rate,
    if(sessions = 0, NULL, quantileExactIf(0.5)(duration_ms, state = 'foreground')) AS median_duration_ms,
    if(sessions = 0, NULL, quantileExactIf(0.95)(duration_ms, state = 'foreground')) AS p95_duration_ms,
    countIf(NOT state = 'foreground') AS background_sessions,
    countIf(NOT state = 'foreground' AND is_crashed) AS background_crashes,
    -- The lowest of these sessions. Rates and durations need no scaling, counts do.
    min(h.sample_rate) AS sample_rate,
    sumIf(1 / h.sample_rate, state = 'foreground') AS estimated_sessions
FROM session_health_of_users(app_id = '', from = '1970-01-01', until = '2299-12-31') AS h
GROUP BY app_id, app_version, day;

CREATE OR REPLACE VIEW release_health_between AS
SELECT
    app_id,
    app_version,
    toDate(started_at) AS day,
    countIf(state = 'foreground') AS sessions,
    uniqExactIf(device_id, state = 'foreground') AS devices,
    uniqExactArrayIf(user_ids, state = 'foreground') AS users,
    countIf(state = 'foreground' AND NOT is_crashed) AS crash_free_sessions,
    crash_free_sessions / nullIf(sessions, 0) AS crash_free_session_rate,
    users - uniqExactArrayIf(crash_users, state = 'foreground') AS crash_free_users,
    crash_free_users / nullIf(users, 0) AS crash_free_user_rate,
    devices - uniqExactIf(device_id, state = 'foreground' AND is_crashed) AS crash_free_devices,
    crash_free_devices / nullIf(devices, 0) AS crash_free_device_rate,
    countIf(state = 'foreground' AND NOT is_hung) AS anr_free_sessions,
    anr_free_sessions / nullIf(sessions, 0) AS anr_free_session_rate,
    users - uniqExactArrayIf(anr_users, state = 'foreground') AS anr_free_users,
    anr_free_users / nullIf(users, 0) AS anr_free_user_rate,
    if(sessions = 0, NULL, quantileExactIf(0.5)(duration_ms, state = 'foreground')) AS median_duration_ms,
    if(sessions = 0, NULL, quantileExactIf(0.95)(duration_ms, state = 'foreground')) AS p95_duration_ms,
    countIf(NOT state = 'foreground') AS background_sessions,
    countIf(NOT state = 'foreground' AND is_crashed) AS background_crashes,
    -- The lowest of these sessions. Rates and durations need no scaling, counts do.
    min(h.sample_rate) AS sample_rate,
    sumIf(1 / h.sample_rate, state = 'foreground') AS estimated_sessions
FROM session_health_of_users(app_id = {app_id:String}, from = {from:String}, until = {until:String}) AS h
GROUP BY app_id, app_version, day;

-- As before, with what is sampled out: received = events + duplicates + refused + sampled_out + expired.
CREATE OR REPLACE VIEW ledger AS
WITH
    toDate(now('UTC')) AS today,
    (SELECT arrayPushBack(groupArray(app_id), '') FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_apps,
    (SELECT arrayPushBack(groupArray(kept_from), toDate(0)) FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_days
SELECT
    topic,
    partition,
    r.first_offset AS first_offset,
    r.last_offset AS last_offset,
    r.records AS records,
    r.received AS received,
    s.events AS events,
    toInt64(r.received) - toInt64(r.refused) - toInt64(r.sampled_out) - toInt64(r.expired) - toInt64(s.events) AS duplicates,
    r.refused AS refused,
    s.repaired AS repaired,
    s.conflicts AS conflicts,
    r.expired AS expired,
    r.sampled_out AS sampled_out
FROM
(
    SELECT
        topic,
        partition,
        intDiv(offset, 10000) AS range,
        min(offset) AS first_offset,
        max(offset) AS last_offset,
        count() AS records,
        sum(received) AS received,
        sum(refused) AS refused,
        sum(sampled_out) AS sampled_out,
        sumIf(l.received - l.refused - l.sampled_out, (retention_days != 0 AND stored_on + retention_days < today)
            OR (stored_on >= '2020-01-01' AND stored_on < transform(app_id, cut_apps, cut_days, toDate(0)))) AS expired
    FROM ledger_records AS l FINAL
    GROUP BY topic, partition, range
) AS r
LEFT JOIN
(
    SELECT
        topic,
        partition,
        intDiv(offset, 10000) AS range,
        sum(is_event) AS events,
        sum(is_repaired) AS repaired,
        sum(is_conflict) AS conflicts
    FROM
    (
        SELECT topic, partition, offset, 1 AS is_event, notEmpty(repaired) AS is_repaired, 0 AS is_conflict
        FROM z_stored_events
        WHERE stored_on < '2020-01-01' OR stored_on >= transform(app_id, cut_apps, cut_days, toDate(0))
        UNION ALL
        SELECT version.1 AS topic, version.2 AS partition, toUInt64(intDiv(18446744073709551615 - version.3, 512)) AS offset,
            0 AS is_event, 0 AS is_repaired, 1 AS is_conflict
        FROM
        (
            SELECT arrayJoin(arrayPopFront(arrayReverseSort(v -> v.3, groupArray((topic, partition, version))))) AS version
            FROM z_stored_event_versions
            GROUP BY event_key
            HAVING count() > 1
            SETTINGS optimize_aggregation_in_order = 1
        )
    ) AS each
    -- The sink writes events before their ledger rows: events above the ledger are not accounted for yet.
    INNER JOIN (SELECT topic, partition, max(offset) AS last_offset FROM ledger_records GROUP BY topic, partition) AS ends
        USING (topic, partition)
    WHERE offset <= last_offset
    GROUP BY topic, partition, range
) AS s
USING (topic, partition, range);

CREATE OR REPLACE VIEW ledger_between AS
WITH
    toDate({from:String}) AS first,
    toDate({until:String}) AS last,
    toDate(now('UTC')) AS today,
    (SELECT arrayPushBack(groupArray(app_id), '') FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_apps,
    (SELECT arrayPushBack(groupArray(kept_from), toDate(0)) FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_days,
    records AS
    (
        SELECT topic, partition, offset, received, refused, sampled_out, app_id, stored_on, retention_days
        FROM ledger_records FINAL
        WHERE stored_on >= first AND stored_on < last
        SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1
    )
SELECT
    topic,
    partition,
    r.first_offset AS first_offset,
    r.last_offset AS last_offset,
    r.records AS records,
    r.received AS received,
    s.events AS events,
    toInt64(r.received) - toInt64(r.refused) - toInt64(r.sampled_out) - toInt64(r.expired) - toInt64(s.events) AS duplicates,
    r.refused AS refused,
    s.repaired AS repaired,
    r.expired AS expired,
    r.sampled_out AS sampled_out
FROM
(
    SELECT
        topic,
        partition,
        intDiv(offset, 10000) AS range,
        min(offset) AS first_offset,
        max(offset) AS last_offset,
        count() AS records,
        sum(l.received) AS received,
        sum(l.refused) AS refused,
        sum(l.sampled_out) AS sampled_out,
        sumIf(l.received - l.refused - l.sampled_out, (retention_days != 0 AND stored_on + retention_days < today)
            OR stored_on < transform(app_id, cut_apps, cut_days, toDate(0))) AS expired
    FROM records AS l
    GROUP BY topic, partition, range
) AS r
LEFT JOIN
(
    SELECT topic, partition, intDiv(offset, 10000) AS range, count() AS events, countIf(notEmpty(repaired)) AS repaired
    FROM z_stored_events AS e
    -- The sink writes events before their ledger rows: events above the ledger are not accounted for yet.
    INNER JOIN (SELECT topic, partition, max(offset) AS last_offset FROM records GROUP BY topic, partition) AS ends
        USING (topic, partition)
    WHERE offset <= last_offset AND stored_on >= greatest(first, transform(app_id, cut_apps, cut_days, toDate(0))) AND stored_on < last
        AND (toDate32(raw_time) >= toDate32(first) AND toDate32(raw_time) < toDate32(last)
            OR (app_id, toDate32(raw_time), device_id) IN (
                SELECT app_id, raw_day, device_id FROM z_elsewhere_days
                WHERE by = 'stored' AND day >= toDate32(first) AND day < toDate32(last)))
    GROUP BY topic, partition, range
) AS s
USING (topic, partition, range);
