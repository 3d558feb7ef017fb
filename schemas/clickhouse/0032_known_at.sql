-- What was known when. ReplacingMergeTree leaves the newest row of a session; here is every row that was told of it, with the time
-- at which it was stored, so that a rate can be asked as it was known at a time of the last 30 days.
--
-- A row is kept for 38 days: what was known at a time may be a row of up to a week before, since a device's last words come
-- within that (state_ttl). What was told before and has not changed since is read from session_rows. A rebuild tells what it
-- changes (schemas/rebuild/2_swap.sql).
CREATE TABLE IF NOT EXISTS z_session_revision_rows
(
    app_id              LowCardinality(String),
    device_id           String CODEC(ZSTD(1)),
    session_id          UUID,
    first_event_id      String CODEC(ZSTD(1)),
    status              LowCardinality(String),
    state               LowCardinality(String),
    start_reason        LowCardinality(String),
    end_reason          LowCardinality(String),
    exit_reason         LowCardinality(String),
    cold_start          Bool,
    started_at          DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ended_at            DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    last_event_at       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    arrived_at          DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    duration_ms         UInt64 CODEC(T64, ZSTD(1)),
    is_final            Bool,
    client_session_id   String CODEC(ZSTD(1)),
    stitched_session_id UUID,
    stitched_index      UInt32 CODEC(ZSTD(1)),
    user_id             String CODEC(ZSTD(1)),
    user_ids            Array(String) CODEC(ZSTD(1)),
    personas            Array(LowCardinality(String)) CODEC(ZSTD(1)),
    properties          Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    app_version         LowCardinality(String),
    app_build           LowCardinality(String),
    environment         LowCardinality(String),
    os_name             LowCardinality(String),
    os_version          LowCardinality(String),
    device_manufacturer LowCardinality(String),
    device_model        LowCardinality(String),
    sdk_name            LowCardinality(String),
    sdk_version         LowCardinality(String),
    resource            Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    event_count         UInt32 CODEC(T64, ZSTD(1)),
    crash_count         UInt32 CODEC(T64, ZSTD(1)),
    anr_count           UInt32 CODEC(T64, ZSTD(1)),
    exception_count     UInt32 CODEC(T64, ZSTD(1)),
    network_count       UInt32 CODEC(T64, ZSTD(1)),
    network_error_count UInt32 CODEC(T64, ZSTD(1)),
    tap_count           UInt32 CODEC(T64, ZSTD(1)),
    view_count          UInt32 CODEC(T64, ZSTD(1)),
    log_error_count     UInt32 CODEC(T64, ZSTD(1)),
    revision            UInt64 CODEC(Delta, ZSTD(1)),
    partition           UInt32 CODEC(ZSTD(1)),
    offset              UInt64 CODEC(Delta, ZSTD(1)),
    is_deleted          UInt8,
    stored_on           Date CODEC(ZSTD(1)),
    retention_days      UInt16 CODEC(ZSTD(1)),
    sample_rate         Float64 CODEC(ZSTD(1)),
    -- Of rows of one version, which are equal, or of which a rebuild made the second, the one that was known last counts.
    version             UInt64 CODEC(Delta, ZSTD(1)),
    -- By the clock of the server that took the row.
    known_at            DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toMonday(known_at)
ORDER BY (app_id, toDate(started_at), device_id, session_id, version)
TTL if(retention_days = 0, toDate(known_at) + 38, least(toDate(known_at) + 38, stored_on + retention_days + 2))
SETTINGS
    merge_with_ttl_timeout = 86400,
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_session_revision_tap TO z_session_revision_rows AS
SELECT
    app_id, device_id, session_id, first_event_id, status, state, start_reason, end_reason, exit_reason, cold_start,
    started_at, ended_at, last_event_at, arrived_at, duration_ms, is_final, client_session_id, stitched_session_id,
    stitched_index, user_id, user_ids, personas, properties, app_version, app_build, environment, os_name,
    os_version, device_manufacturer, device_model, sdk_name, sdk_version, resource, event_count, crash_count,
    anr_count, exception_count, network_count, network_error_count, tap_count, view_count, log_error_count, revision,
    partition, offset, is_deleted, stored_on, retention_days, sample_rate, version, now64(3, 'UTC') AS known_at
FROM session_rows;

-- Of what was told before this, the last word, as of when it came. Once more does no harm: these rows are equal.
INSERT INTO z_session_revision_rows
(
    app_id, device_id, session_id, first_event_id, status, state, start_reason, end_reason, exit_reason, cold_start,
    started_at, ended_at, last_event_at, arrived_at, duration_ms, is_final, client_session_id, stitched_session_id,
    stitched_index, user_id, user_ids, personas, properties, app_version, app_build, environment, os_name,
    os_version, device_manufacturer, device_model, sdk_name, sdk_version, resource, event_count, crash_count,
    anr_count, exception_count, network_count, network_error_count, tap_count, view_count, log_error_count, revision,
    partition, offset, is_deleted, stored_on, retention_days, sample_rate, version, known_at
)
SELECT
    app_id, device_id, session_id, first_event_id, status, state, start_reason, end_reason, exit_reason, cold_start,
    started_at, ended_at, last_event_at, arrived_at, duration_ms, is_final, client_session_id, stitched_session_id,
    stitched_index, user_id, user_ids, personas, properties, app_version, app_build, environment, os_name,
    os_version, device_manufacturer, device_model, sdk_name, sdk_version, resource, event_count, crash_count,
    anr_count, exception_count, network_count, network_error_count, tap_count, view_count, log_error_count, revision,
    partition, offset, is_deleted, stored_on, retention_days, sample_rate, version,
    least(arrived_at, now64(3, 'UTC')) AS known_at
FROM session_rows
WHERE arrived_at >= now64(3, 'UTC') - INTERVAL 30 DAY;

-- Sessions of an app (of all where it is empty) that start from `from` and before `until`, as `sessions` had them at `known_at`,
-- which is a time of the last 30 days. Which devices are set aside is known of the present alone.
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
    sample_rate
FROM
(
    SELECT
        app_id, device_id, session_id, status, state, start_reason, end_reason, exit_reason, cold_start, started_at,
        ended_at, duration_ms, is_final, client_session_id, stitched_session_id, stitched_index, user_id, user_ids,
        personas, properties, app_version, app_build, environment, os_name, os_version, device_manufacturer,
        device_model, sdk_name, sdk_version, resource, event_count, crash_count, anr_count, exception_count,
        network_count, network_error_count, tap_count, view_count, log_error_count, revision, partition, offset,
        first_event_id, last_event_at, arrived_at, sample_rate, is_deleted, stored_on, retention_days
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
        first_event_id, last_event_at, arrived_at, sample_rate, is_deleted, stored_on, retention_days
    FROM session_rows FINAL
    WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND started_at >= first AND started_at < last
        AND session_id NOT IN (
            SELECT session_id
            FROM z_session_revision_rows
            WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND started_at >= first AND started_at < last)
) AS s
WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
    AND NOT throwIf(known < now64(3, 'UTC') - INTERVAL 30 DAY, 'known_at: what was known is kept for 30 days');

-- The same with what went wrong, as `session_health` has it.
CREATE OR REPLACE VIEW session_health_known_at AS
SELECT
    *,
    crash_count > 0 OR end_reason IN ('crash', 'exception') OR exit_reason IN ('crash', 'exception') AS is_crashed,
    anr_count > 0 OR end_reason = 'anr' OR exit_reason = 'anr' AS is_hung
FROM sessions_known_at(app_id = {app_id:String}, from = {from:String}, until = {until:String}, known_at = {known_at:String});

-- And with whose failures those were, as `session_health_of_users` has them. In a session of several users that is told by the
-- events which are stored now.
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

-- In one row, crash-free and ANR-free of those in the foreground, as it was known at a time; with the present as `known_at`, as it
-- is known now.
CREATE OR REPLACE VIEW crash_free_known_at AS
SELECT
    countIf(state = 'foreground') AS sessions,
    countIf(state = 'foreground' AND NOT is_crashed) AS crash_free_sessions,
    crash_free_sessions / nullIf(sessions, 0) AS crash_free_session_rate,
    uniqExactArrayIf(user_ids, state = 'foreground') AS users,
    users - uniqExactArrayIf(crash_users, state = 'foreground') AS crash_free_users,
    crash_free_users / nullIf(users, 0) AS crash_free_user_rate,
    countIf(state = 'foreground' AND NOT is_hung) AS anr_free_sessions,
    anr_free_sessions / nullIf(sessions, 0) AS anr_free_session_rate
FROM session_health_of_users_known_at(app_id = {app_id:String}, from = {from:String}, until = {until:String}, known_at = {known_at:String});
