-- What all views of events read. Each is right at any moment, merged or not, whatever was inserted twice.
--
-- These views alone know which tables the events are in (old.sql has them over those of before 0019). Every migration makes
-- them again at its end, so a change of them is made here and needs no number.
CREATE OR REPLACE VIEW z_stored_events AS
SELECT
    app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, exit_reason, counters,
    stated, user_id, resource_json, user_json, app_version, attributes, repaired, topic, partition, offset, event_index,
    status_code, stored_on, retention_days
FROM z_event_rows FINAL
-- FINAL leaves deleted rows out, and so must every copy of a server that does not know the flag.
WHERE is_deleted = 0
SETTINGS
    -- Copies never lie in two partitions.
    do_not_merge_across_partitions_select_final = 1,
    -- Parts of the key may decide before FINAL, since copies share them.
    optimize_move_to_prewhere_if_final = 1,
    -- Copies of one stamp can have several corrected times: exact mode reads all rows of an event that the index finds.
    use_skip_indexes_if_final = 1,
    use_skip_indexes_if_final_exact_mode = 1;

-- Rows as they lie, an event several times or taken back: for samples and bounds.
CREATE OR REPLACE VIEW z_unmerged_events AS
SELECT app_id, device_id, time, raw_time, received_at, name, attributes, topic, partition, offset
FROM z_event_rows
WHERE is_deleted = 0;

CREATE OR REPLACE VIEW z_stored_event_versions AS
SELECT event_key, content, topic, partition, version
FROM z_event_version_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW notable_events AS
SELECT app_id, subject, device_id, event_id, time, label, detail, launch_ms
FROM z_notable_event_rows FINAL
WHERE is_deleted = 0
SETTINGS
    do_not_merge_across_partitions_select_final = 1,
    optimize_move_to_prewhere_if_final = 1;
