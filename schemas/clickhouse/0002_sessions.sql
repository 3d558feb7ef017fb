-- Sessions: interpretations, written again whenever an event changes them. The row of the highest revision
-- counts, among equal revisions the final one; two rows equal in both are equal in everything.
--
-- Every part of the key is fixed by the session id (it derives from the first event), so all rows of one
-- session meet in one partition and FINAL finds the newest. The day leads the device because most questions
-- ask for one app and some days. Clocks of devices say anything: the years before 2020 share a partition.
CREATE TABLE IF NOT EXISTS session_rows
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
    -- Record time of the latest record of the device when the row was written.
    arrived_at          DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    duration_ms         UInt64 CODEC(T64, ZSTD(1)),
    is_final            Bool,
    client_session_id   String CODEC(ZSTD(1)),
    stitched_session_id UUID,
    stitched_index      UInt32 CODEC(ZSTD(1)),
    user_id             String CODEC(ZSTD(1)),
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
    -- 1 on the row that takes a session back which a late event dissolved.
    is_deleted          UInt8,
    version             UInt64 MATERIALIZED revision * 2 + is_final CODEC(Delta, ZSTD(1)),
    -- A session is often asked for by its id or its user alone, and both stand late in the key or not at all.
    INDEX session_id_index session_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX user_id_index user_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY if(toDate(started_at) < toDate('2020-01-01'), 0, toYYYYMM(toDate(started_at)))
ORDER BY (app_id, toDate(started_at), device_id, session_id)
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

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
    arrived_at
FROM session_rows FINAL
-- FINAL leaves deleted sessions out, and so must every copy of a server that does not know the flag.
WHERE is_deleted = 0
-- Exact mode reads every row of a session that the index finds one row of: a session whose user changed
-- must not show the row before the change.
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- A stitched session: sessions of one device with short breaks between them (SESSIONS.md).
CREATE OR REPLACE VIEW stitched_sessions AS
SELECT
    app_id,
    device_id,
    stitched_session_id,
    if(countIf(status = 'open') > 0, 'open', 'closed') AS status,
    arrayMap(member -> member.2, arraySort(groupArray((stitched_index, session_id)))) AS session_ids,
    count() AS session_count,
    min(s.started_at) AS started_at,
    max(s.ended_at) AS ended_at,
    -- From the first start to the last end, breaks included.
    toUInt64(dateDiff('millisecond', started_at, ended_at)) AS duration_ms,
    -- What the members themselves lasted, all and those in the foreground.
    sum(s.duration_ms) AS members_duration_ms,
    sumIf(s.duration_ms, s.state = 'foreground') AS foreground_duration_ms,
    argMax(s.end_reason, s.stitched_index) AS end_reason,
    -- The user that the last member which names one names.
    argMaxIf(s.user_id, s.stitched_index, s.user_id != '') AS user_id,
    argMin(s.app_version, s.stitched_index) AS app_version,
    sum(s.event_count) AS event_count,
    sum(s.crash_count) AS crash_count,
    sum(s.anr_count) AS anr_count,
    sum(s.exception_count) AS exception_count,
    sum(s.network_count) AS network_count,
    sum(s.network_error_count) AS network_error_count,
    sum(s.tap_count) AS tap_count,
    sum(s.view_count) AS view_count,
    sum(s.log_error_count) AS log_error_count,
    min(s.is_final) AS is_final
FROM sessions AS s
GROUP BY app_id, device_id, stitched_session_id;
