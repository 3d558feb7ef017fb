-- The version of the policies under which a session counts (`session-pipeline policies publish`); 0 where none was published.
ALTER TABLE session_rows ADD COLUMN IF NOT EXISTS policy_version UInt32 DEFAULT 0 CODEC(ZSTD(1)) AFTER offset;
ALTER TABLE z_session_revision_rows ADD COLUMN IF NOT EXISTS policy_version UInt32 DEFAULT 0 CODEC(ZSTD(1)) AFTER offset;

-- What was published, a row for each partition that it came to. It is kept for ever: a rebuild goes by it.
CREATE TABLE IF NOT EXISTS z_policy_version_rows
(
    version      UInt32,
    partition    UInt32,
    offset       UInt64,
    holds_from   DateTime64(3, 'UTC'),
    -- As it was published: the value of its record.
    document     String CODEC(ZSTD(3)),
    published_at DateTime64(3, 'UTC'),
    -- Of copies in one partition the first counts.
    came_first   UInt64
)
ENGINE = ReplacingMergeTree(came_first)
ORDER BY (version, partition);

CREATE OR REPLACE VIEW policy_versions AS
SELECT
    version,
    any(r.holds_from) AS holds_from,
    min(r.published_at) AS published_at,
    count() AS partitions,
    any(r.document) AS document
FROM z_policy_version_rows AS r FINAL
GROUP BY version;

-- As before, with the version.
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
    sample_rate,
    policy_version
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

ALTER TABLE z_session_revision_tap MODIFY QUERY
SELECT
    app_id, device_id, session_id, first_event_id, status, state, start_reason, end_reason, exit_reason, cold_start,
    started_at, ended_at, last_event_at, arrived_at, duration_ms, is_final, client_session_id, stitched_session_id,
    stitched_index, user_id, user_ids, personas, properties, app_version, app_build, environment, os_name,
    os_version, device_manufacturer, device_model, sdk_name, sdk_version, resource, event_count, crash_count,
    anr_count, exception_count, network_count, network_error_count, tap_count, view_count, log_error_count, revision,
    partition, offset, policy_version, is_deleted, stored_on, retention_days, sample_rate, version, now64(3, 'UTC') AS known_at
FROM session_rows;

CREATE OR REPLACE VIEW sessions_known_at AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    toDateTime64({known_at:String}, 3, 'UTC') AS known
SELECT
    app_id, device_id, session_id, status, state, start_reason, end_reason, exit_reason, cold_start, started_at,
    ended_at, duration_ms, is_final, client_session_id, stitched_session_id, stitched_index, user_id, user_ids,
    personas, properties, app_version, app_build, environment, os_name, os_version, device_manufacturer,
    device_model, sdk_name, sdk_version, resource, event_count, crash_count, anr_count, exception_count,
    network_count, network_error_count, tap_count, view_count, log_error_count, revision, partition, offset,
    first_event_id, last_event_at, arrived_at,
    NOT is_final AND (app_id, device_id) IN (SELECT app_id, device_id FROM devices_set_aside) AS is_set_aside,
    sample_rate, policy_version
FROM
(
    SELECT
        app_id, device_id, session_id, status, state, start_reason, end_reason, exit_reason, cold_start, started_at,
        ended_at, duration_ms, is_final, client_session_id, stitched_session_id, stitched_index, user_id, user_ids,
        personas, properties, app_version, app_build, environment, os_name, os_version, device_manufacturer,
        device_model, sdk_name, sdk_version, resource, event_count, crash_count, anr_count, exception_count,
        network_count, network_error_count, tap_count, view_count, log_error_count, revision, partition, offset,
        first_event_id, last_event_at, arrived_at, sample_rate, policy_version, is_deleted, stored_on, retention_days
    FROM z_session_revision_rows
    WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND started_at >= first AND started_at < last AND known_at <= known
        AND (session_id, version, known_at) IN (
            SELECT session_id, newest.1, newest.2
            FROM
            (
                SELECT session_id, max((version, known_at)) AS newest
                FROM z_session_revision_rows
                WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND started_at >= first AND started_at < last
                    AND known_at <= known
                GROUP BY session_id
            ))
    -- Of a row that came twice at once.
    LIMIT 1 BY session_id
    UNION ALL
    SELECT
        app_id, device_id, session_id, status, state, start_reason, end_reason, exit_reason, cold_start, started_at,
        ended_at, duration_ms, is_final, client_session_id, stitched_session_id, stitched_index, user_id, user_ids,
        personas, properties, app_version, app_build, environment, os_name, os_version, device_manufacturer,
        device_model, sdk_name, sdk_version, resource, event_count, crash_count, anr_count, exception_count,
        network_count, network_error_count, tap_count, view_count, log_error_count, revision, partition, offset,
        first_event_id, last_event_at, arrived_at, sample_rate, policy_version, is_deleted, stored_on, retention_days
    FROM session_rows FINAL
    WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND started_at >= first AND started_at < last
        AND session_id NOT IN (
            SELECT session_id
            FROM z_session_revision_rows
            WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND started_at >= first AND started_at < last)
) AS s
WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
    AND NOT throwIf(known < now64(3, 'UTC') - INTERVAL 30 DAY, 'known_at: what was known is kept for 30 days');

CREATE OR REPLACE VIEW session_health_known_at AS
SELECT
    *,
    crash_count > 0 OR end_reason IN ('crash', 'exception') OR exit_reason IN ('crash', 'exception') AS is_crashed,
    anr_count > 0 OR end_reason = 'anr' OR exit_reason = 'anr' AS is_hung
FROM sessions_known_at(app_id = {app_id:String}, from = {from:String}, until = {until:String}, known_at = {known_at:String});

CREATE OR REPLACE VIEW session_health_of_users_known_at AS
SELECT
    h.*,
    multiIf(NOT h.is_crashed, [], length(h.user_ids) <= 1, h.user_ids,
        notEmpty(f.crash_users), arrayIntersect(f.crash_users, h.user_ids), [h.user_id]) AS crash_users,
    multiIf(NOT h.is_hung, [], length(h.user_ids) <= 1, h.user_ids,
        notEmpty(f.anr_users), arrayIntersect(f.anr_users, h.user_ids), [h.user_id]) AS anr_users
FROM session_health_known_at(app_id = {app_id:String}, from = {from:String}, until = {until:String}, known_at = {known_at:String}) AS h
LEFT ANY JOIN
(
    SELECT session_id, crash_users, anr_users
    FROM failure_users(app_id = {app_id:String}, from = {from:String}, until = {until:String})
) AS f
ON h.session_id = f.session_id;
