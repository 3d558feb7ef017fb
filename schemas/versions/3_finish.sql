-- The names are those of before. Every statement may be run again.
CREATE MATERIALIZED VIEW IF NOT EXISTS z_event_version_tap TO z_event_version_rows AS
SELECT
    sipHash64(app_id, device_id, event_id) AS event_key,
    toUInt32(sipHash64(name, raw_time, seq, client_session_id, mapSort(attributes)) % 4294967296) AS content,
    topic,
    partition,
    18446744073709551615 - (offset * 512 + event_index) AS version,
    stored_on,
    retention_days
FROM z_event_feed;

DROP VIEW IF EXISTS z_event_version_other_tap SYNC;
DROP VIEW IF EXISTS z_event_version_one_tap SYNC;
DROP TABLE IF EXISTS z_event_version_ranges SYNC;
