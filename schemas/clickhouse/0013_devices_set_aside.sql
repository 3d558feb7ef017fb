-- Devices whose input could not be folded from some record on: their events are stored, their sessions stand still
-- (deploy/runbook.md). `session-pipeline rebuild --states` computes their sessions and takes them out of this list.
CREATE OR REPLACE VIEW devices_set_aside AS
SELECT
    -- No app id has a slash.
    splitByChar('/', d.key, 2)[1] AS app_id,
    splitByChar('/', d.key, 2)[2] AS device_id,
    min(d.time) AS since,
    argMin(d.partition, d.time) AS partition,
    argMin(d.offset, d.time) AS offset,
    argMin(d.detail, d.time) AS detail
FROM dead_letter_rows AS d
-- Without FINAL: a copy of a row says the same, and this is asked for with every list of sessions.
PREWHERE d.reason = 'device_set_aside'
GROUP BY app_id, device_id;

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
