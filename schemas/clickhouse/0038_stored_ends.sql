-- How far offsets are stored, without reading all that is: where a topic is made anew or gets other partitions, and at each start of
-- `up`, offsets have to go on above it. The ledger knows of each range how far it is (0037), and may be behind the events, which the sink
-- writes first: of these the last range of the ledger and those above it are read. Of sessions and dead letters it is kept here.

-- Of each partition the highest offset of a session.
CREATE TABLE IF NOT EXISTS z_session_ends
(
    partition   UInt32,
    last_offset SimpleAggregateFunction(max, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY partition
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

-- Of each topic and partition the highest offset of a dead letter.
CREATE TABLE IF NOT EXISTS z_dead_letter_ends
(
    topic       LowCardinality(String),
    partition   UInt32,
    last_offset SimpleAggregateFunction(max, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY (topic, partition)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_session_end_tap TO z_session_ends AS
SELECT partition, max(offset) AS last_offset FROM session_rows GROUP BY partition;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_dead_letter_end_tap TO z_dead_letter_ends AS
SELECT topic, partition, max(offset) AS last_offset FROM dead_letter_rows GROUP BY topic, partition;

-- Of the past; what comes meanwhile may be there twice.
INSERT INTO z_session_ends (partition, last_offset)
SELECT partition, max(offset) AS last_offset FROM session_rows GROUP BY partition;

INSERT INTO z_dead_letter_ends (topic, partition, last_offset)
SELECT topic, partition, max(offset) AS last_offset FROM dead_letter_rows GROUP BY topic, partition;

-- The highest offset that is stored, by what it is stored as. (Sessions are of sdk-events. Of events that are below the ledger's end some
-- are left out.)
CREATE OR REPLACE VIEW z_stored_ends AS
WITH
    ledger_ends AS
    (
        SELECT topic, partition, max(z.last_offset) AS last_offset
        FROM z_ledger_ranges AS z
        WHERE topic != ''
        GROUP BY topic, partition
    ),
    last_days AS
    (
        SELECT d.topic AS topic, d.partition AS partition, d.range AS range, d.app_id AS app_id, d.raw_day AS raw_day
        FROM z_ledger_days AS d
        LEFT JOIN ledger_ends AS e ON d.topic = e.topic AND d.partition = e.partition
        WHERE d.is_deleted = 0 AND d.range >= intDiv(e.last_offset, 10000)
    )
SELECT 'ledger' AS stored_as, topic, partition, last_offset FROM ledger_ends
UNION ALL
SELECT 'events' AS stored_as, topic, partition, max(offset) AS last_offset
FROM z_unmerged_events
WHERE (app_id, toDate32(raw_time)) IN (SELECT app_id, raw_day FROM last_days)
    AND (topic, partition, intDiv(offset, 10000)) IN (SELECT topic, partition, range FROM last_days)
GROUP BY topic, partition
UNION ALL
SELECT 'sessions' AS stored_as, 'sdk-events' AS topic, partition, max(z.last_offset) AS last_offset
FROM z_session_ends AS z
GROUP BY partition
UNION ALL
SELECT 'dead letters' AS stored_as, topic, partition, max(z.last_offset) AS last_offset
FROM z_dead_letter_ends AS z
GROUP BY topic, partition;
