-- Events: facts, stored as they came. The sink writes event_rows, everyone reads the view `events`.
--
-- Rules for every file in this folder: each statement can run any number of times with the same outcome
-- (IF NOT EXISTS, CREATE OR REPLACE), the database comes from the connection, a statement ends with a
-- semicolon at the end of its line. A file that was applied anywhere is never edited: add the next number.
--
-- Why this key. An event is identified by (app_id, device_id, event_id), so this is the whole key: FINAL then
-- leaves exactly one row an event, whatever was inserted twice, even when an SDK stamped a resent event anew.
-- A time in front of the id would let such a pair stand side by side, and inside one device there are too few
-- rows for an index on time to skip any.
--
-- Why these partitions. They depend on the key alone, so copies always meet in one partition: FINAL works on
-- each by itself, on all cores, and has nothing to do where merges are done. Months would not be so: the copies
-- of a resent event can bear different months, and FINAL would have to bring all months together. (Counting 10
-- million events on two cores: 1.3 s unmerged, 0.01 s merged; by months 7.7 s and 5.4 s.)
--
-- Which copy counts. The one seen first (SESSIONS.md). All copies of a device's event come through one
-- partition, so the lowest offset is the first; within one record the lowest place. ReplacingMergeTree keeps
-- the highest version: hence the subtraction. 512 is above the 500 events that a record may hold.
--
-- No TTL yet: retention per app is a later, additive change (a column `ttl_days` and a TTL clause on it).
CREATE TABLE IF NOT EXISTS event_rows
(
    app_id            LowCardinality(String),
    device_id         String CODEC(ZSTD(1)),
    event_id          String CODEC(ZSTD(1)),
    time              DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    raw_time          DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    name              LowCardinality(String),
    kind              LowCardinality(String),
    seq               Int64 CODEC(Delta, ZSTD(1)),
    client_session_id String CODEC(ZSTD(1)),
    exit_reason       LowCardinality(String),
    -- Bit i says that the event adds one to the i-th counter of a session.
    counters          UInt8,
    user_id           String CODEC(ZSTD(1)),
    -- Canonical JSON, so that a rebuild folds the very bytes that the stream folded. Few distinct texts, each
    -- on every event of its devices: a dictionary. The view shows them as Map and Array.
    resource_json     LowCardinality(String) CODEC(ZSTD(1)),
    user_json         String CODEC(ZSTD(1)),
    app_version       LowCardinality(String),
    attributes        Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    topic             LowCardinality(String),
    partition         UInt32 CODEC(ZSTD(1)),
    offset            UInt64 CODEC(Delta, ZSTD(1)),
    -- Place of the event in its record.
    event_index       UInt16 CODEC(Delta, ZSTD(1)),
    version           UInt64 MATERIALIZED 18446744073709551615 - (offset * 512 + event_index) CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY cityHash64(app_id, device_id) % 8
ORDER BY (app_id, device_id, event_id)
SETTINGS
    -- A retried insert carries the token of its first try and is dropped as a whole.
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

CREATE OR REPLACE VIEW events AS
SELECT
    app_id,
    device_id,
    event_id,
    time,
    raw_time,
    received_at,
    name,
    kind,
    seq,
    client_session_id,
    user_id,
    app_version,
    attributes,
    topic,
    partition,
    offset,
    event_index,
    exit_reason,
    counters,
    resource_json,
    user_json,
    JSONExtract(resource_json, 'Map(String, String)') AS resource,
    JSONExtract(user_json, 'personas', 'Array(String)') AS personas,
    JSONExtract(user_json, 'properties', 'Map(String, String)') AS properties
FROM event_rows FINAL
-- Copies never lie in two partitions (above).
SETTINGS do_not_merge_across_partitions_select_final = 1;
