-- Erasure of a device's or a person's data (`session-pipeline erase`): what it took from the ledger's account, and receipts.
ALTER TABLE ledger_records ADD COLUMN IF NOT EXISTS erased UInt32 DEFAULT 0 CODEC(ZSTD(1)) AFTER sampled_out;

-- What the ledger will have as erased of single records once an erasure has removed their events; counted before that, so
-- that one that was cut off can be completed. Emptied by the erasure itself.
CREATE TABLE IF NOT EXISTS z_erased_records
(
    -- The digest of the device, and of the user where only that one's data goes.
    subject   String,
    topic     LowCardinality(String),
    partition UInt32,
    offset    UInt64,
    erased    UInt32
)
ENGINE = ReplacingMergeTree
ORDER BY (subject, topic, partition, offset)
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

-- Who was erased is kept as a digest: whoever knows the ids can check a receipt, and nobody can learn them from it.
CREATE TABLE IF NOT EXISTS erasure_receipts
(
    id         UUID,
    app_id     LowCardinality(String),
    kind       LowCardinality(String),
    subject    String,
    devices    UInt32,
    asked_at   DateTime64(3, 'UTC'),
    removed    Map(LowCardinality(String), UInt64),
    kafka_until Map(LowCardinality(String), DateTime64(3, 'UTC')),
    is_done    UInt8,
    version    UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

CREATE OR REPLACE VIEW erasures AS
SELECT id, app_id, kind, subject, devices, asked_at, removed, kafka_until, is_done
FROM erasure_receipts FINAL;

-- As before, with what was erased: received = events + duplicates + refused + sampled_out + erased + expired.
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
    toInt64(r.received) - toInt64(r.refused) - toInt64(r.sampled_out) - toInt64(r.erased) - toInt64(r.expired) - toInt64(s.events) AS duplicates,
    r.refused AS refused,
    s.repaired AS repaired,
    s.conflicts AS conflicts,
    r.expired AS expired,
    r.sampled_out AS sampled_out,
    r.erased AS erased
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
        sum(sampled_out) AS sampled_out,
        sum(erased) AS erased,
        sumIf(l.received - l.refused - l.sampled_out - l.erased, (retention_days != 0 AND stored_on + retention_days < today)
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

CREATE OR REPLACE VIEW ledger_between AS
WITH
    toDate({from:String}) AS first,
    toDate({until:String}) AS last,
    toDate(now('UTC')) AS today,
    (SELECT arrayPushBack(groupArray(app_id), '') FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_apps,
    (SELECT arrayPushBack(groupArray(kept_from), toDate(0)) FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_days,
    records AS
    (
        SELECT topic, partition, offset, received, refused, sampled_out, erased, app_id, stored_on, retention_days
        FROM ledger_records FINAL
        WHERE stored_on >= first AND stored_on < last
        SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1
    )
SELECT
    topic,
    partition,
    r.first_offset AS first_offset,
    r.last_offset AS last_offset,
    r.records AS records,
    r.received AS received,
    s.events AS events,
    toInt64(r.received) - toInt64(r.refused) - toInt64(r.sampled_out) - toInt64(r.erased) - toInt64(r.expired) - toInt64(s.events) AS duplicates,
    r.refused AS refused,
    s.repaired AS repaired,
    r.expired AS expired,
    r.sampled_out AS sampled_out,
    r.erased AS erased
FROM
(
    SELECT
        topic,
        partition,
        intDiv(offset, 10000) AS range,
        min(offset) AS first_offset,
        max(offset) AS last_offset,
        count() AS records,
        sum(l.received) AS received,
        sum(l.refused) AS refused,
        sum(l.sampled_out) AS sampled_out,
        sum(l.erased) AS erased,
        sumIf(l.received - l.refused - l.sampled_out - l.erased, (retention_days != 0 AND stored_on + retention_days < today)
            OR stored_on < transform(app_id, cut_apps, cut_days, toDate(0))) AS expired
    FROM records AS l
    GROUP BY topic, partition, range
) AS r
LEFT JOIN
(
    SELECT topic, partition, intDiv(offset, 10000) AS range, count() AS events, countIf(notEmpty(repaired)) AS repaired
    FROM z_stored_events AS e
    -- The sink writes events before their ledger rows: events above the ledger are not accounted for yet.
    INNER JOIN (SELECT topic, partition, max(offset) AS last_offset FROM records GROUP BY topic, partition) AS ends
        USING (topic, partition)
    WHERE offset <= last_offset AND stored_on >= greatest(first, transform(app_id, cut_apps, cut_days, toDate(0))) AND stored_on < last
        AND (toDate32(raw_time) >= toDate32(first) AND toDate32(raw_time) < toDate32(last)
            OR (app_id, toDate32(raw_time), device_id) IN (
                SELECT app_id, raw_day, device_id FROM z_elsewhere_days
                WHERE by = 'stored' AND day >= toDate32(first) AND day < toDate32(last)))
    GROUP BY topic, partition, range
) AS s
USING (topic, partition, range);
