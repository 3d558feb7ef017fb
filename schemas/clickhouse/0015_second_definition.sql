-- What the second definition of a session needs of the columns.
--
-- Rows of before read right without being written again, and so does what workers of before still write while they are
-- replaced: a column that they do not know takes its default. An event of theirs states nothing of the app and had nothing
-- repaired; a session of theirs has the one user on it, or none.
ALTER TABLE event_rows MODIFY COLUMN counters UInt32;

-- The app's state as the event states it: 'foreground', 'background', '' where it states none.
ALTER TABLE event_rows ADD COLUMN IF NOT EXISTS stated LowCardinality(String) AFTER counters;

-- Paths of the values in which something was put in place of what no text or number can be.
ALTER TABLE event_rows ADD COLUMN IF NOT EXISTS repaired Array(String) CODEC(ZSTD(1)) AFTER attributes;

ALTER TABLE notable_event_feed MODIFY COLUMN counters UInt32;

-- All users whom the session's events name, in order; `user_id` is the last of them.
ALTER TABLE session_rows ADD COLUMN IF NOT EXISTS
    user_ids Array(String) DEFAULT if(user_id = '', [], [user_id]) CODEC(ZSTD(1)) AFTER user_id;

ALTER TABLE session_rows ADD INDEX IF NOT EXISTS user_ids_index user_ids TYPE bloom_filter(0.01) GRANULARITY 1;

ALTER TABLE session_rows MATERIALIZE INDEX user_ids_index;

-- The views `events` and `narrated_events` get the new columns and kinds in 0016.
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
    NOT is_final AND (app_id, device_id) IN (SELECT app_id, device_id FROM devices_set_aside) AS is_set_aside
FROM session_rows FINAL
-- FINAL leaves deleted sessions out, and so must every copy of a server that does not know the flag.
WHERE is_deleted = 0
-- Exact mode reads every row of a session that the index finds one row of: a session whose user changed
-- must not show the row before the change.
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;
