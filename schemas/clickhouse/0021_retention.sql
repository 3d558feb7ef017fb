-- How long rows are kept. Each row says the day (in UTC) on which Kafka had its record, and for how many days from then on it is
-- kept; 0 is for ever. What a device or a recording says of the time has no part in it.
--
-- A row counts up to the end of its last day. From then on the views leave it out, and the ledger has it as expired, so what
-- people see does not depend on when it is removed. ClickHouse removes it a day later or more: the days of a TTL are those
-- of the server's time zone, which may begin 14 hours earlier. A part of nothing but such rows is dropped whole.
--
-- Rows of before have the day of this migration, and are kept for ever until `session-pipeline retention --apply`.

-- Sessions, from the day on which they were told last.
ALTER TABLE session_rows ADD COLUMN IF NOT EXISTS stored_on Date DEFAULT today() CODEC(ZSTD(1)) AFTER is_deleted;

ALTER TABLE session_rows ADD COLUMN IF NOT EXISTS retention_days UInt16 DEFAULT 0 CODEC(ZSTD(1)) AFTER stored_on;

-- Or else it would be another day each time it is read.
ALTER TABLE session_rows MATERIALIZE COLUMN stored_on;

ALTER TABLE told_session_rows ADD COLUMN IF NOT EXISTS stored_on Date DEFAULT today() CODEC(ZSTD(1));

ALTER TABLE told_session_rows ADD COLUMN IF NOT EXISTS retention_days UInt16 DEFAULT 0 CODEC(ZSTD(1)) AFTER stored_on;

ALTER TABLE told_session_rows MATERIALIZE COLUMN stored_on;

ALTER TABLE told_session_tap MODIFY QUERY
SELECT
    app_id,
    device_id,
    session_id,
    started_at,
    version,
    CAST(status = 'closed', 'Bool') AS is_ended,
    is_deleted,
    if(is_deleted, 0, sipHash64(status, state, start_reason, end_reason, exit_reason, cold_start, ended_at, last_event_at,
        client_session_id, stitched_session_id, stitched_index, user_id, user_ids, personas, mapSort(properties),
        event_count, crash_count, anr_count, exception_count, network_count, network_error_count, tap_count, view_count,
        log_error_count)) AS said,
    arrived_at,
    stored_on,
    retention_days
FROM session_rows;

CREATE OR REPLACE VIEW sessions_as_told AS
SELECT
    app_id,
    device_id,
    session_id,
    started_at,
    version,
    CAST(status = 'closed', 'Bool') AS is_ended,
    is_deleted,
    if(is_deleted, 0, sipHash64(status, state, start_reason, end_reason, exit_reason, cold_start, ended_at, last_event_at,
        client_session_id, stitched_session_id, stitched_index, user_id, user_ids, personas, mapSort(properties),
        event_count, crash_count, anr_count, exception_count, network_count, network_error_count, tap_count, view_count,
        log_error_count)) AS said,
    arrived_at,
    stored_on,
    retention_days
FROM session_rows;

-- Of a flood of refused records all are rows, and those beyond so many a minute have no value.
ALTER TABLE dead_letter_rows ADD COLUMN IF NOT EXISTS bytes UInt32 DEFAULT length(value) CODEC(ZSTD(1)) AFTER value;

ALTER TABLE dead_letter_rows ADD COLUMN IF NOT EXISTS is_left_out Bool DEFAULT false CODEC(ZSTD(1)) AFTER bytes;

ALTER TABLE dead_letter_rows ADD COLUMN IF NOT EXISTS stored_on Date DEFAULT today() CODEC(ZSTD(1)) AFTER is_left_out;

-- Devices that were set aside are in no other list.
ALTER TABLE dead_letter_rows ADD COLUMN IF NOT EXISTS
    retention_days UInt16 DEFAULT if(reason = 'device_set_aside', 0, 30) CODEC(ZSTD(1)) AFTER stored_on;

ALTER TABLE dead_letter_rows MATERIALIZE COLUMN stored_on;

CREATE OR REPLACE VIEW dead_letters AS
SELECT
    time, reason, detail, topic, partition, offset, event_index, key, value,
    -- NULL while it was not sent again.
    nullIf(r.replayed_at, toDateTime64(0, 3, 'UTC')) AS replayed_at,
    -- Of the value as it came, and whether it was left out here since there were too many in a minute.
    bytes,
    is_left_out
FROM
(
    SELECT * FROM dead_letter_rows FINAL
    WHERE retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC'))
) AS d
LEFT JOIN (SELECT * FROM dead_letter_replays FINAL) AS r USING (topic, partition, offset);

-- The ledger has its rows for ever: two bytes a record. They say whose events a record brought, and how long those are kept.
ALTER TABLE ledger_records ADD COLUMN IF NOT EXISTS app_id LowCardinality(String) AFTER refused;

ALTER TABLE ledger_records ADD COLUMN IF NOT EXISTS stored_on Date DEFAULT today() CODEC(ZSTD(1)) AFTER app_id;

ALTER TABLE ledger_records ADD COLUMN IF NOT EXISTS retention_days UInt16 DEFAULT 0 CODEC(ZSTD(1)) AFTER stored_on;

ALTER TABLE ledger_records MATERIALIZE COLUMN stored_on;

-- What `session-pipeline retention --apply` decided: all events of an app that were stored before this day are gone or about to
-- go. Written before any of their rows is touched, so that the ledger is right while they are.
CREATE TABLE IF NOT EXISTS z_retention_cuts
(
    app_id    String,
    kept_from Date
)
ENGINE = ReplacingMergeTree(kept_from)
ORDER BY app_id;

ALTER TABLE z_event_rows MODIFY TTL if(retention_days = 0, toDate('2149-06-06'), stored_on + retention_days + 2)
SETTINGS materialize_ttl_after_modify = 0;

ALTER TABLE z_notable_event_rows MODIFY TTL if(retention_days = 0, toDate('2149-06-06'), stored_on + retention_days + 2)
SETTINGS materialize_ttl_after_modify = 0;

ALTER TABLE z_event_version_rows MODIFY TTL if(retention_days = 0, toDate('2149-06-06'), stored_on + retention_days + 2)
SETTINGS materialize_ttl_after_modify = 0;

ALTER TABLE session_rows MODIFY TTL if(retention_days = 0, toDate('2149-06-06'), stored_on + retention_days + 2)
SETTINGS materialize_ttl_after_modify = 0;

ALTER TABLE told_session_rows MODIFY TTL if(retention_days = 0, toDate('2149-06-06'), stored_on + retention_days + 2)
SETTINGS materialize_ttl_after_modify = 0;

ALTER TABLE dead_letter_rows MODIFY TTL if(retention_days = 0, toDate('2149-06-06'), stored_on + retention_days + 2)
SETTINGS materialize_ttl_after_modify = 0;

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
WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
-- Exact mode reads every row of a session that the index finds one row of: a session whose user changed
-- must not show the row before the change.
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As before, with what is expired. received = events + duplicates + refused + expired: where the events of a record are no longer
-- kept, nobody can tell which of them were duplicates. Which records those are is said by their own rows, whether or not
-- their events are still there. Conflicts are counted by the versions of events, of which the first is the event.
CREATE OR REPLACE VIEW ledger AS
WITH
    toDate(now('UTC')) AS today,
    (SELECT arrayPushBack(groupArray(app_id), '') FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_apps,
    (SELECT arrayPushBack(groupArray(kept_from), toDate(0)) FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_days
SELECT
    topic,
    partition,
    r.first_offset AS first_offset,
    r.last_offset AS last_offset,
    r.records AS records,
    r.received AS received,
    s.events AS events,
    toInt64(r.received) - toInt64(r.refused) - toInt64(r.expired) - toInt64(s.events) AS duplicates,
    r.refused AS refused,
    s.repaired AS repaired,
    s.conflicts AS conflicts,
    r.expired AS expired
FROM
(
    SELECT
        topic,
        partition,
        intDiv(offset, 10000) AS range,
        min(offset) AS first_offset,
        max(offset) AS last_offset,
        count() AS records,
        sum(received) AS received,
        sum(refused) AS refused,
        sumIf(l.received - l.refused, (retention_days != 0 AND stored_on + retention_days < today)
            OR (stored_on >= '2020-01-01' AND stored_on < transform(app_id, cut_apps, cut_days, toDate(0)))) AS expired
    FROM ledger_records AS l FINAL
    GROUP BY topic, partition, range
) AS r
LEFT JOIN
(
    SELECT
        topic,
        partition,
        intDiv(offset, 10000) AS range,
        sum(is_event) AS events,
        sum(is_repaired) AS repaired,
        sum(is_conflict) AS conflicts
    FROM
    (
        SELECT topic, partition, offset, 1 AS is_event, notEmpty(repaired) AS is_repaired, 0 AS is_conflict
        FROM z_stored_events
        WHERE stored_on < '2020-01-01' OR stored_on >= transform(app_id, cut_apps, cut_days, toDate(0))
        UNION ALL
        SELECT version.1 AS topic, version.2 AS partition, toUInt64(intDiv(18446744073709551615 - version.3, 512)) AS offset,
            0 AS is_event, 0 AS is_repaired, 1 AS is_conflict
        FROM
        (
            SELECT arrayJoin(arrayPopFront(arrayReverseSort(v -> v.3, groupArray((topic, partition, version))))) AS version
            FROM z_stored_event_versions
            GROUP BY event_key
            HAVING count() > 1
            SETTINGS optimize_aggregation_in_order = 1
        )
    ) AS each
    -- The sink writes events before their ledger rows: events above the ledger are not accounted for yet.
    INNER JOIN (SELECT topic, partition, max(offset) AS last_offset FROM ledger_records GROUP BY topic, partition) AS ends
        USING (topic, partition)
    WHERE offset <= last_offset
    GROUP BY topic, partition, range
) AS s
USING (topic, partition, range);

-- A part is written anew for some of its rows once a day at most; one that has no others goes at once.
ALTER TABLE z_event_rows MODIFY SETTING merge_with_ttl_timeout = 86400;

ALTER TABLE z_notable_event_rows MODIFY SETTING merge_with_ttl_timeout = 86400;

ALTER TABLE z_event_version_rows MODIFY SETTING merge_with_ttl_timeout = 86400;

ALTER TABLE session_rows MODIFY SETTING merge_with_ttl_timeout = 86400;

ALTER TABLE told_session_rows MODIFY SETTING merge_with_ttl_timeout = 86400;
