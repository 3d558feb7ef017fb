-- Ranges of the ledger that nothing happens in any more are summed once, and `ledger` adds up these sums and what is new: its cost
-- follows what came since, and no longer all that ever came. It is exact all the same: a sum counts for as long as nothing that
-- it is made of was touched, and what a sum may not speak for is read as before.
--
-- What touches a range of ten thousand offsets:
-- - a record in it that is accounted for, now or again (an erasure does that);
-- - an event in it that is stored, or taken back as a copy;
-- - an event below it in its partition: what is in the range may be a copy of that one, which came first. Elsewhere it cannot be: a
--   device stays in its partition, and where partitions change, offsets go on above all that there were;
-- - a change of retention for the past, which touches all.
-- What expires touches nothing: a sum knows of what day it is and for how long that is kept, and whether it is still is told when
-- the ledger is read.
--
-- The times are the server's own. A row says when its insert began and is seen when that ends, so a sum counts only from an hour
-- after the last touch.

-- Of each range of the ledger when a record in it was accounted for. (A row without a topic touches all ranges.)
CREATE TABLE IF NOT EXISTS z_ledger_ranges
(
    topic       LowCardinality(String),
    partition   UInt32 CODEC(ZSTD(1)),
    range       UInt64 CODEC(Delta, ZSTD(1)),
    last_offset SimpleAggregateFunction(max, UInt64),
    touched_at  SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (topic, partition, range)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

-- By which apps and days the events of a range lie, and when the last of them came. (Rows that take a copy back know no topic.)
CREATE TABLE IF NOT EXISTS z_ledger_days
(
    topic      LowCardinality(String),
    partition  UInt32 CODEC(ZSTD(1)),
    range      UInt64 CODEC(Delta, ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1)),
    app_id     LowCardinality(String),
    raw_day    Date32 CODEC(Delta, ZSTD(1)),
    touched_at SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (topic, partition, range, is_deleted, app_id, raw_day)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

-- A sum is all rows of a range that are of its latest time, one for each app, day and retention in it.
CREATE TABLE IF NOT EXISTS z_ledger_sums
(
    topic          LowCardinality(String),
    partition      UInt32 CODEC(ZSTD(1)),
    range          UInt64 CODEC(Delta, ZSTD(1)),
    app_id         LowCardinality(String),
    stored_on      Date CODEC(ZSTD(1)),
    retention_days UInt16 CODEC(ZSTD(1)),
    first_offset   UInt64 CODEC(ZSTD(1)),
    last_offset    UInt64 CODEC(ZSTD(1)),
    records        UInt64 CODEC(ZSTD(1)),
    received       UInt64 CODEC(ZSTD(1)),
    refused        UInt64 CODEC(ZSTD(1)),
    sampled_out    UInt64 CODEC(ZSTD(1)),
    erased         UInt64 CODEC(ZSTD(1)),
    events         UInt64 CODEC(ZSTD(1)),
    repaired       UInt64 CODEC(ZSTD(1)),
    summed_at      DateTime64(3, 'UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(summed_at)
ORDER BY (topic, partition, range, app_id, stored_on, retention_days)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_ledger_range_tap TO z_ledger_ranges AS
SELECT topic, partition, intDiv(offset, 10000) AS range, max(offset) AS last_offset, now64(3, 'UTC') AS touched_at
FROM ledger_records
GROUP BY topic, partition, range;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_ledger_day_tap TO z_ledger_days AS
SELECT
    topic, partition, intDiv(offset, 10000) AS range, is_deleted, app_id, toDate32(raw_time) AS raw_day,
    now64(3, 'UTC') AS touched_at
FROM z_event_rows
GROUP BY topic, partition, range, is_deleted, app_id, raw_day;

-- Of the past; what comes meanwhile may be there twice.
INSERT INTO z_ledger_ranges (topic, partition, range, last_offset, touched_at)
SELECT topic, partition, intDiv(offset, 10000) AS range, max(offset) AS last_offset, now64(3, 'UTC') AS touched_at
FROM ledger_records
GROUP BY topic, partition, range;

INSERT INTO z_ledger_days (topic, partition, range, is_deleted, app_id, raw_day, touched_at)
SELECT
    topic, partition, intDiv(offset, 10000) AS range, 0 AS is_deleted, app_id, toDate32(raw_time) AS raw_day,
    now64(3, 'UTC') AS touched_at
FROM z_unmerged_events
GROUP BY topic, partition, range, app_id, raw_day;

-- Each range, when it was touched last, and when it was summed.
CREATE OR REPLACE VIEW z_ledger_range_states AS
WITH (SELECT max(touched_at) FROM z_ledger_ranges WHERE topic = '') AS all_touched_at
SELECT
    r.topic AS topic,
    r.partition AS partition,
    r.range AS range,
    greatest(r.own_at, r.below_at, c.taken_back_at, all_touched_at) AS touched_at,
    s.summed_at AS summed_at,
    s.summed_at > touched_at + toIntervalHour(1) AS is_summed
FROM
(
    SELECT
        topic, partition, range, own_at,
        max(came_at) OVER (
            PARTITION BY topic, partition ORDER BY range ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS below_at
    FROM
    (
        SELECT topic, partition, range, max(touched_at) AS own_at, max(event_at) AS came_at
        FROM
        (
            SELECT topic, partition, range, touched_at, toDateTime64(0, 3, 'UTC') AS event_at
            FROM z_ledger_ranges
            WHERE topic != ''
            UNION ALL
            SELECT topic, partition, range, touched_at, touched_at AS event_at
            FROM z_ledger_days
            WHERE is_deleted = 0
        )
        GROUP BY topic, partition, range
    )
) AS r
LEFT JOIN (SELECT range, max(touched_at) AS taken_back_at FROM z_ledger_days WHERE is_deleted = 1 GROUP BY range) AS c
    ON r.range = c.range
LEFT JOIN (SELECT topic, partition, range, max(z.summed_at) AS summed_at FROM z_ledger_sums AS z GROUP BY topic, partition, range) AS s
    ON r.topic = s.topic AND r.partition = s.partition AND r.range = s.range;

-- What no sum speaks for, up to a range and where nothing happened from a time on: records and events, as z_ledger_sums has them.
CREATE OR REPLACE VIEW z_ledger_unsummed AS
WITH
    wanted AS
    (
        SELECT topic, partition, range
        FROM z_ledger_range_states
        WHERE NOT is_summed AND range <= {up_to_range:UInt64} AND touched_at < toDateTime64({untouched_from:String}, 3, 'UTC')
    )
SELECT
    topic,
    partition,
    range,
    app_id,
    stored_on,
    retention_days,
    minIf(g.first_offset, g.records > 0) AS first_offset,
    max(g.last_offset) AS last_offset,
    sum(g.records) AS records,
    sum(g.received) AS received,
    sum(g.refused) AS refused,
    sum(g.sampled_out) AS sampled_out,
    sum(g.erased) AS erased,
    sum(g.events) AS events,
    sum(g.repaired) AS repaired
FROM
(
    SELECT
        topic,
        partition,
        intDiv(offset, 10000) AS range,
        app_id,
        stored_on,
        retention_days,
        min(offset) AS first_offset,
        max(offset) AS last_offset,
        count() AS records,
        sum(l.received) AS received,
        sum(l.refused) AS refused,
        sum(l.sampled_out) AS sampled_out,
        sum(l.erased) AS erased,
        toUInt64(0) AS events,
        toUInt64(0) AS repaired
    FROM ledger_records AS l FINAL
    WHERE (topic, partition, intDiv(offset, 10000)) IN (SELECT topic, partition, range FROM wanted)
    GROUP BY topic, partition, range, app_id, stored_on, retention_days
    UNION ALL
    SELECT
        topic,
        partition,
        intDiv(offset, 10000) AS range,
        app_id,
        stored_on,
        retention_days,
        toUInt64(0), toUInt64(0), toUInt64(0), toUInt64(0), toUInt64(0), toUInt64(0), toUInt64(0),
        count() AS events,
        countIf(notEmpty(e.repaired)) AS repaired
    FROM z_stored_events AS e
    -- The sink writes events before their ledger rows: events above the ledger are not accounted for yet.
    INNER JOIN
    (
        SELECT topic, partition, max(z.last_offset) AS end_offset
        FROM z_ledger_ranges AS z
        WHERE topic != ''
        GROUP BY topic, partition
    ) AS ends
        USING (topic, partition)
    WHERE (app_id, toDate32(raw_time)) IN (
            SELECT app_id, raw_day FROM z_ledger_days
            WHERE is_deleted = 0 AND (topic, partition, range) IN (SELECT topic, partition, range FROM wanted))
        AND (topic, partition, intDiv(offset, 10000)) IN (SELECT topic, partition, range FROM wanted)
        AND offset <= end_offset
    GROUP BY topic, partition, range, app_id, stored_on, retention_days
) AS g
GROUP BY topic, partition, range, app_id, stored_on, retention_days;

-- Of each range the duplicates that differ from the event that came first. It takes the versions of all events to tell.
CREATE OR REPLACE VIEW z_ledger_conflicts AS
SELECT topic, partition, intDiv(offset, 10000) AS range, count() AS conflicts
FROM
(
    SELECT version.1 AS topic, version.2 AS partition, toUInt64(intDiv(18446744073709551615 - version.3, 512)) AS offset
    FROM
    (
        SELECT arrayJoin(arrayPopFront(arrayReverseSort(v -> v.3, groupArray((topic, partition, version))))) AS version
        FROM z_stored_event_versions
        GROUP BY event_key
        HAVING count() > 1
        SETTINGS optimize_aggregation_in_order = 1
    )
) AS each
INNER JOIN
(
    SELECT topic, partition, max(z.last_offset) AS end_offset
    FROM z_ledger_ranges AS z
    WHERE topic != ''
    GROUP BY topic, partition
) AS ends
    USING (topic, partition)
WHERE offset <= end_offset
GROUP BY topic, partition, range;

-- As before, of sums and of what is new. A question that does not ask for conflicts does not pay for them.
CREATE OR REPLACE VIEW ledger AS
WITH
    toDate(now('UTC')) AS today,
    (SELECT arrayPushBack(groupArray(app_id), '') FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_apps,
    (SELECT arrayPushBack(groupArray(kept_from), toDate(0)) FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_days
SELECT
    topic,
    partition,
    a.first_offset AS first_offset,
    a.last_offset AS last_offset,
    a.records AS records,
    a.received AS received,
    a.events AS events,
    toInt64(a.received) - toInt64(a.refused) - toInt64(a.sampled_out) - toInt64(a.erased) - toInt64(a.expired) - toInt64(a.events) AS duplicates,
    a.refused AS refused,
    a.repaired AS repaired,
    -- Bit by bit, since a set is made only for who asks.
    arraySum(bit -> if((topic, partition, a.range, toUInt8(bit)) IN (
        SELECT topic, partition, z.range, toUInt8(arrayJoin(bitPositionsToArray(z.conflicts))) FROM z_ledger_conflicts AS z),
        bitShiftLeft(toUInt64(1), bit), toUInt64(0)), range(0, 32)) AS conflicts,
    a.expired AS expired,
    a.sampled_out AS sampled_out,
    a.erased AS erased
FROM
(
    SELECT
        topic,
        partition,
        g.range AS range,
        minIf(g.first_offset, g.records > 0) AS first_offset,
        max(g.last_offset) AS last_offset,
        sum(g.records) AS records,
        sum(g.received) AS received,
        sum(g.refused) AS refused,
        sum(g.sampled_out) AS sampled_out,
        sum(g.erased) AS erased,
        sumIf(toInt64(g.received) - toInt64(g.refused) - toInt64(g.sampled_out) - toInt64(g.erased), NOT g.is_kept) AS expired,
        sumIf(g.events, g.is_kept) AS events,
        sumIf(g.repaired, g.is_kept) AS repaired
    FROM
    (
        SELECT
            *,
            NOT ((retention_days != 0 AND stored_on + retention_days < today)
                OR (stored_on >= '2020-01-01' AND stored_on < transform(toString(app_id), cut_apps, cut_days, toDate(0)))) AS is_kept
        FROM
        (
            SELECT
                topic, partition, range, app_id, stored_on, retention_days, first_offset, last_offset, records, received, refused,
                sampled_out, erased, events, repaired
            FROM z_ledger_sums FINAL
            WHERE (topic, partition, range, summed_at) IN (
                SELECT topic, partition, range, summed_at FROM z_ledger_range_states WHERE is_summed)
            UNION ALL
            SELECT
                topic, partition, range, app_id, stored_on, retention_days, first_offset, last_offset, records, received, refused,
                sampled_out, erased, events, repaired
            FROM z_ledger_unsummed(up_to_range = 18446744073709551615, untouched_from = '2299-12-31')
        )
    ) AS g
    GROUP BY topic, partition, range
    HAVING records > 0
) AS a;
