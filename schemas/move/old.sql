-- What all views of events read, while a database of before 0019 is moved: the old tables, which still get everything.
CREATE OR REPLACE VIEW z_stored_events AS
SELECT
    app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, exit_reason, counters,
    stated, user_id, resource_json, user_json, app_version, attributes, repaired, topic, partition, offset, event_index,
    status_code, toDate(received_at) AS stored_on, toUInt16(0) AS retention_days
FROM event_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW z_unmerged_events AS
SELECT app_id, device_id, time, raw_time, received_at, name, attributes, topic, partition, offset
FROM event_rows;

CREATE OR REPLACE VIEW z_stored_event_versions AS
SELECT event_key, content, topic, partition, version
FROM event_version_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW notable_events AS
SELECT app_id, subject, device_id, event_id, time, label, detail, launch_ms
FROM notable_event_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
