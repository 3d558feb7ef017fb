-- Where the sessions lie that are to be there, beside where the others did: a place too many does no harm, one too few would.
INSERT INTO z_session_places
SELECT DISTINCT arrayJoin([session_id, stitched_session_id]) AS id, app_id, toDate(started_at) AS day, device_id FROM session_rows_rebuilt;
INSERT INTO z_id_places
SELECT DISTINCT
    found.1 AS id, found.2 AS kind, app_id,
    if(kind IN ('user', 'device'), toDate(0), toDate(started_at)) AS day, if(kind IN ('user', 'device'), '', of_device) AS device_id
FROM
(
    SELECT
        arrayJoin(arrayConcat(
            [(toString(session_id), 'session'), (toString(stitched_session_id), 'stitched session'),
                (lowerUTF8(client_session_id), 'SDK session'), (s.device_id, 'device')],
            arrayMap(user -> (user, 'user'), user_ids))) AS found,
        app_id, started_at, s.device_id AS of_device
    FROM session_rows_rebuilt AS s
    WHERE is_deleted = 0
)
WHERE found.1 NOT IN ('', '00000000-0000-0000-0000-000000000000');
INSERT INTO z_device_days
SELECT DISTINCT app_id, device_id, toDate32(started_at) AS day, toDate32(started_at) AS raw_day FROM session_rows_rebuilt;
INSERT INTO z_user_days
SELECT DISTINCT app_id, arrayJoin(user_ids) AS user_id, toDate(started_at) AS day, device_id FROM session_rows_rebuilt;
INSERT INTO z_apps
SELECT app_id, min(started_at) AS oldest, max(started_at) AS newest, count() AS written FROM session_rows_rebuilt GROUP BY app_id;
-- What was known until now differs from what this tells, of each session that is new, changed or gone. It counts from here on,
-- also where it is of a lower version than what was told.
INSERT INTO z_session_revision_rows
(
    app_id, device_id, session_id, first_event_id, status, state, start_reason, end_reason, exit_reason, cold_start,
    started_at, ended_at, last_event_at, arrived_at, duration_ms, is_final, client_session_id, stitched_session_id,
    stitched_index, user_id, user_ids, personas, properties, app_version, app_build, environment, os_name, os_version,
    device_manufacturer, device_model, sdk_name, sdk_version, resource, event_count, crash_count, anr_count,
    exception_count, network_count, network_error_count, tap_count, view_count, log_error_count, revision, partition,
    offset, policy_version, is_deleted, stored_on, retention_days, sample_rate, version
)
SELECT
    app_id, device_id, n.session_id, first_event_id, status, state, start_reason, end_reason, exit_reason, cold_start,
    started_at, ended_at, last_event_at, arrived_at, duration_ms, is_final, client_session_id, stitched_session_id,
    stitched_index, user_id, user_ids, personas, properties, app_version, app_build, environment, os_name, os_version,
    device_manufacturer, device_model, sdk_name, sdk_version, resource, event_count, crash_count, anr_count,
    exception_count, network_count, network_error_count, tap_count, view_count, log_error_count, revision, partition,
    offset, policy_version, is_deleted, stored_on, retention_days, sample_rate,
    greatest(n.version, o.newest)
FROM
(
    SELECT *, version
    FROM session_rows_rebuilt FINAL
    WHERE (session_id, sipHash64(
            status, state, start_reason, end_reason, exit_reason, cold_start, ended_at, last_event_at, duration_ms,
            is_final, client_session_id, stitched_session_id, stitched_index, user_id, user_ids, personas,
            mapSort(properties), app_version, app_build, environment, os_name, os_version, device_manufacturer,
            device_model, sdk_name, sdk_version, mapSort(resource), event_count, crash_count, anr_count,
            exception_count, network_count, network_error_count, tap_count, view_count, log_error_count,
            policy_version)) NOT IN (
            SELECT session_id, sipHash64(
            status, state, start_reason, end_reason, exit_reason, cold_start, ended_at, last_event_at, duration_ms,
            is_final, client_session_id, stitched_session_id, stitched_index, user_id, user_ids, personas,
            mapSort(properties), app_version, app_build, environment, os_name, os_version, device_manufacturer,
            device_model, sdk_name, sdk_version, mapSort(resource), event_count, crash_count, anr_count,
            exception_count, network_count, network_error_count, tap_count, view_count, log_error_count,
            policy_version)
            FROM session_rows FINAL)
) AS n
LEFT JOIN (SELECT session_id, max(version) AS newest FROM z_session_revision_rows GROUP BY session_id) AS o
    ON n.session_id = o.session_id;
INSERT INTO z_session_revision_rows
(
    app_id, device_id, session_id, first_event_id, status, state, start_reason, end_reason, exit_reason, cold_start,
    started_at, ended_at, last_event_at, arrived_at, duration_ms, is_final, client_session_id, stitched_session_id,
    stitched_index, user_id, user_ids, personas, properties, app_version, app_build, environment, os_name, os_version,
    device_manufacturer, device_model, sdk_name, sdk_version, resource, event_count, crash_count, anr_count,
    exception_count, network_count, network_error_count, tap_count, view_count, log_error_count, revision, partition,
    offset, policy_version, is_deleted, stored_on, retention_days, sample_rate, version
)
SELECT
    app_id, device_id, g.session_id, first_event_id, status, state, start_reason, end_reason, exit_reason, cold_start,
    started_at, ended_at, last_event_at, arrived_at, duration_ms, is_final, client_session_id, stitched_session_id,
    stitched_index, user_id, user_ids, personas, properties, app_version, app_build, environment, os_name, os_version,
    device_manufacturer, device_model, sdk_name, sdk_version, resource, event_count, crash_count, anr_count,
    exception_count, network_count, network_error_count, tap_count, view_count, log_error_count, revision, partition,
    offset, policy_version, 1, stored_on, retention_days, sample_rate,
    greatest(g.version, o.newest)
FROM (SELECT *, version FROM session_rows FINAL WHERE session_id NOT IN (SELECT session_id FROM session_rows_rebuilt)) AS g
LEFT JOIN (SELECT session_id, max(version) AS newest FROM z_session_revision_rows GROUP BY session_id) AS o
    ON g.session_id = o.session_id;
-- From one query to the next every reader sees the other sessions, never a mixture.
EXCHANGE TABLES session_rows AND session_rows_rebuilt;
-- What it tells of a session is compared with what is told next (restated_sessions).
INSERT INTO told_session_rows SELECT * FROM sessions_as_told;
DROP TABLE session_rows_rebuilt;
DROP TABLE session_rows_left;
