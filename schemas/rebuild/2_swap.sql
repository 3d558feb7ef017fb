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
-- From one query to the next every reader sees the other sessions, never a mixture.
EXCHANGE TABLES session_rows AND session_rows_rebuilt;
-- What it tells of a session is compared with what is told next (restated_sessions).
INSERT INTO told_session_rows SELECT * FROM sessions_as_told;
DROP TABLE session_rows_rebuilt;
DROP TABLE session_rows_left;
