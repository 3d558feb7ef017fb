-- Versions of events had eight partitions, so each insert made eight parts of them: a fifth to a quarter of what an insert of
-- 50,000 events costs the server (tests/bench/INSERTS.md). ClickHouse changes no partitions, so a table without any takes the
-- rows and then the name (pipeline/clickhouse/versions.py). Every statement may be run again. A later change of the table or its
-- view has to be made here, too.
CREATE TABLE IF NOT EXISTS z_event_version_rows_in_one
(
    -- Of app, device and event id.
    event_key      UInt64 CODEC(Delta, ZSTD(1)),
    -- Of what the event says.
    content        UInt32 CODEC(NONE),
    topic          LowCardinality(String),
    partition      UInt32 CODEC(ZSTD(1)),
    -- The place where it was seen first: the lowest place has the highest.
    version        UInt64 CODEC(T64, ZSTD(1)),
    stored_on      Date CODEC(ZSTD(1)),
    retention_days UInt16 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (event_key, content)
TTL if(retention_days = 0, toDate('2149-06-06'), stored_on + retention_days + 2)
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000,
    merge_with_ttl_timeout = 86400;

-- Which ranges of keys are copied into it, so that a migration that was killed goes on.
CREATE TABLE IF NOT EXISTS z_event_version_ranges
(
    first UInt64,
    last  UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (first, last);

-- From here on both tables get what comes.
CREATE MATERIALIZED VIEW IF NOT EXISTS z_event_version_one_tap TO z_event_version_rows_in_one AS
SELECT
    sipHash64(app_id, device_id, event_id) AS event_key,
    toUInt32(sipHash64(name, raw_time, seq, client_session_id, mapSort(attributes)) % 4294967296) AS content,
    topic,
    partition,
    18446744073709551615 - (offset * 512 + event_index) AS version,
    stored_on,
    retention_days
FROM z_event_feed;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_event_version_other_tap TO z_event_version_rows AS
SELECT
    sipHash64(app_id, device_id, event_id) AS event_key,
    toUInt32(sipHash64(name, raw_time, seq, client_session_id, mapSort(attributes)) % 4294967296) AS content,
    topic,
    partition,
    18446744073709551615 - (offset * 512 + event_index) AS version,
    stored_on,
    retention_days
FROM z_event_feed;

-- Waits for every insert that began before those two were there: what is copied after it lacks nothing.
DROP VIEW IF EXISTS z_event_version_tap SYNC;
