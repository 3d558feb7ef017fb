-- What was refused, why, and the bytes as they came. Keyed by where it came from, so that a replay of the
-- input writes the same row again. event_index is -1 where the whole record was refused.
CREATE TABLE IF NOT EXISTS dead_letter_rows
(
    time        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    reason      LowCardinality(String),
    detail      String CODEC(ZSTD(1)),
    topic       LowCardinality(String),
    partition   UInt32 CODEC(ZSTD(1)),
    offset      UInt64 CODEC(Delta, ZSTD(1)),
    event_index Int32 CODEC(ZSTD(1)),
    key         String CODEC(ZSTD(1)),
    value       String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, offset, event_index, reason)
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

-- What was sent again after a fix, a row a record.
CREATE TABLE IF NOT EXISTS dead_letter_replays
(
    topic       LowCardinality(String),
    partition   UInt32,
    offset      UInt64,
    replayed_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(replayed_at)
ORDER BY (topic, partition, offset);

CREATE OR REPLACE VIEW dead_letters AS
SELECT
    time, reason, detail, topic, partition, offset, event_index, key, value,
    -- NULL while it was not sent again.
    nullIf(r.replayed_at, toDateTime64(0, 3, 'UTC')) AS replayed_at
FROM (SELECT * FROM dead_letter_rows FINAL) AS d
LEFT JOIN (SELECT * FROM dead_letter_replays FINAL) AS r USING (topic, partition, offset);
