-- A table beside the one in use takes the sessions as they are to be; the swap exchanges the two names at once.
DROP TABLE IF EXISTS session_rows_rebuilt;
CREATE TABLE session_rows_rebuilt AS session_rows;
-- Devices with sessions that are left as they are, and up to when: their events may no longer all be kept.
DROP TABLE IF EXISTS session_rows_left;
CREATE TABLE session_rows_left (app_id String, device_id String, trusted_from_ms Int64)
ENGINE = MergeTree ORDER BY (app_id, device_id);
