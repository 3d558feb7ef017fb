-- The ledger: what came in, record by record, so that nothing can be lost or counted twice unseen.
--
-- One row a record and not one a batch: after a crash the input is cut into other batches, and ranges that
-- overlap in part cannot be told apart afterwards. A record's row is the same on every replay and collapses.
-- The columns shrink to nearly nothing on disk, since consecutive records look alike.
CREATE TABLE IF NOT EXISTS ledger_records
(
    topic     LowCardinality(String),
    partition UInt32 CODEC(ZSTD(1)),
    offset    UInt64 CODEC(DoubleDelta, ZSTD(1)),
    -- Events in the record; a record that cannot be decoded counts as one received and one refused.
    received  UInt32 CODEC(ZSTD(1)),
    refused   UInt32 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, offset)
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

-- One line for each ten thousand offsets of a partition: every offset is in exactly one range, however the
-- input was cut into batches. `events` counts the events whose counting copy came in the range; received less
-- refused less events are the duplicates. A negative number of duplicates would show a fault.
CREATE OR REPLACE VIEW ledger AS
SELECT
    topic,
    partition,
    r.first_offset AS first_offset,
    r.last_offset AS last_offset,
    r.records AS records,
    r.received AS received,
    s.events AS events,
    toInt64(r.received) - toInt64(r.refused) - toInt64(s.events) AS duplicates,
    r.refused AS refused
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
        sum(refused) AS refused
    FROM ledger_records FINAL
    GROUP BY topic, partition, range
) AS r
LEFT JOIN
(
    SELECT topic, partition, intDiv(offset, 10000) AS range, count() AS events
    FROM events
    -- The sink writes events before their ledger rows: events above the ledger are not accounted for yet.
    INNER JOIN (SELECT topic, partition, max(offset) AS last_offset FROM ledger_records GROUP BY topic, partition) AS ends
        USING (topic, partition)
    WHERE offset <= last_offset
    GROUP BY topic, partition, range
) AS s
USING (topic, partition, range);

-- Where offsets began anew: what lies between the last one before and a base never was.
CREATE TABLE IF NOT EXISTS offset_bases
(
    base     UInt64,
    noted_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(noted_at)
ORDER BY base;
