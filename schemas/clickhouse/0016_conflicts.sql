-- Two events under one id that differ are an SDK's error. The first one counts and is stored; merges drop the other, so
-- what could be counted in event_rows would depend on when it is asked for.
--
-- Here each version of each event has a row of its own, for good: twelve bytes of hashes, and the place where it was seen
-- first. So the versions first seen in a range of offsets, less the events stored of it, are the conflicts that came
-- there, as what was received less what is stored are the duplicates. A version that comes again is a duplicate.
--
-- A version is what the event itself says: name, the time that the device stamped, number, session, attributes in any order.
-- What the envelope says (resource, user, `sent_at`) is of the sending: an SDK that sends again after an update or a login
-- does nothing wrong. Two versions of one event have the same hash once in four thousand million times.
CREATE TABLE IF NOT EXISTS event_version_rows
(
    -- Of app, device and event id.
    event_key UInt64 CODEC(Delta, ZSTD(1)),
    content   UInt32 CODEC(NONE),
    topic     LowCardinality(String),
    partition UInt32 CODEC(ZSTD(1)),
    -- As in event_rows: the lowest place has the highest.
    version   UInt64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY event_key % 8
ORDER BY (event_key, content)
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS event_version_tap TO event_version_rows AS
SELECT
    sipHash64(app_id, device_id, event_id) AS event_key,
    toUInt32(sipHash64(name, raw_time, seq, client_session_id, mapSort(attributes)) % 4294967296) AS content,
    topic,
    partition,
    version
FROM event_rows;

-- Of the past, what merges have left.
INSERT INTO event_version_rows
SELECT
    sipHash64(app_id, device_id, event_id) AS event_key,
    toUInt32(sipHash64(name, raw_time, seq, client_session_id, mapSort(attributes)) % 4294967296) AS content,
    topic,
    partition,
    version
FROM event_rows;

-- A row for each version of an event besides the first, numbered from 1 to 8.
CREATE OR REPLACE VIEW conflicting_events AS
SELECT event_key, toUInt8(arrayJoin(range(1, least(versions, 9)))) AS number
FROM
(
    SELECT event_key, uniqExact(content) AS versions
    FROM event_version_rows
    GROUP BY event_key
    HAVING versions > 1
    -- The table has this order: no more than a part of it is in memory.
    SETTINGS optimize_aggregation_in_order = 1
);

-- `conflicts`: how many other versions came under the event's id, at most 8. `app_state`: what the event states of the app.
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
    stated AS app_state,
    repaired,
    -- A question that does not ask for it pays nothing; one that does reads all keys, about 1 s for ten million events.
    toUInt8(arrayCount(n -> (sipHash64(app_id, device_id, event_id), toUInt8(n)) IN (
        SELECT event_key, number FROM conflicting_events), range(1, 9))) AS conflicts,
    resource_json,
    user_json,
    JSONExtract(resource_json, 'Map(String, String)') AS resource,
    JSONExtract(user_json, 'personas', 'Array(String)') AS personas,
    JSONExtract(user_json, 'properties', 'Map(String, String)') AS properties
FROM event_rows FINAL
-- Copies never lie in two partitions (above).
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- As before, with the columns that were added: a star is read once, when a view is made.
CREATE OR REPLACE VIEW narrated_events AS
WITH
    concatWithSeparator(': ',
        if(attributes['exception.type'] = '', 'unknown error', attributes['exception.type']),
        attributes['exception.message']) AS error_text,
    trimRight(substringUTF8(error_text, 1, 300), ': ') AS error,
    -- Of `com.example.app.CheckoutActivity` the last part alone; other names as they are.
    replaceRegexpOne(attributes['app.widget.name'], '^(?:[A-Za-z_$][A-Za-z0-9_$]*\\.){2,}([A-Za-z_$][A-Za-z0-9_$]*)$', '\\1') AS widget,
    multiIf(widget != '' AND attributes['app.widget.id'] NOT IN ('', widget), concat(widget, ' #', attributes['app.widget.id']),
            widget != '', widget,
            attributes['app.widget.id'] != '', attributes['app.widget.id'],
            attributes['app.screen.name'] != '', attributes['app.screen.name'],
            '') AS target,
    replaceRegexpOne(
        multiIf(attributes[concat(name, '.class_name')] != '', attributes[concat(name, '.class_name')],
                attributes[concat(name, '.target')] != '', attributes[concat(name, '.target')],
                attributes[concat(name, '.launched_activity')]),
        '^(?:[A-Za-z_$][A-Za-z0-9_$]*\\.){2,}([A-Za-z_$][A-Za-z0-9_$]*)$', '\\1') AS part,
    trimBoth(substringUTF8(multiIf(
        name LIKE 'lifecycle\\_%', concat(attributes[concat(name, '.type')], ' ', part),
        name LIKE 'gesture\\_%', concat(attributes[concat(name, '.direction')], ' ', part),
        name IN ('warm_launch', 'hot_launch'), part,
        name = 'custom', attributes['custom.name'],
        name = 'network_change', concat('to ', attributes['network_change.network_type']),
        name = 'trim_memory', attributes['trim_memory.level'],
        name = 'cpu_usage' AND attributes['cpu_usage.percentage_usage'] != '',
            concat(toString(round(toFloat64OrZero(attributes['cpu_usage.percentage_usage']), 1)), ' %'),
        name = 'bug_report', attributes['bug_report.description'],
        ''), 1, 300)) AS about
SELECT
    *,
    -- SESSIONS.md, "Order".
    -- Cast, since not every version of the server can make a LowCardinality of a number in a view.
    CAST(transform(kind,
        ['foreground', 'active', 'launch', 'activity', 'session_end', 'background', 'crash', 'exception', 'anr', 'exit', 'passive'],
        [0, 0, 1, 2, 3, 3, 4, 4, 4, 5, 6], 2), 'UInt8') AS rank,
    multiIf(
        kind = 'launch', 'cold launch',
        kind = 'foreground', 'app in foreground',
        kind = 'active', 'app in front',
        kind = 'background', 'app in background',
        kind = 'session_end', 'session ended by the app',
        kind = 'exit', concat('process gone: ', exit_reason),
        kind = 'crash', concat('crash: ', error),
        kind = 'anr' OR name = 'app.anr', 'app not responding',
        kind = 'exception', concat('fatal exception: ', error),
        name = 'exception', concat('exception: ', error),
        name = 'http.client.request', concat(
            attributes['http.request.method'], if(attributes['http.request.method'] = '', '', ' '),
            substringUTF8(attributes['url.full'], 1, 300), ' → ',
            multiIf(attributes['http.response.status_code'] NOT IN ('', '0'), attributes['http.response.status_code'],
                    attributes['error.type'] != '', attributes['error.type'],
                    'no answer')),
        name = 'app.screen.view', concat('view ', attributes['app.screen.name']),
        name IN ('app.widget.click', 'app.screen.click'), trimRight(concat('tap ', target)),
        name = 'app.launch', trimLeft(concat(attributes['app.launch.type'], ' launch')),
        name = 'log', trimRight(concat('log ', attributes['severity_text'], ' ', substringUTF8(attributes['body'], 1, 300))),
        trimRight(concat(name, ' ', about))) AS what
FROM events;

-- As before, and of the events those in which something was repaired, of the duplicates those that are conflicts.
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
    r.refused AS refused,
    s.repaired AS repaired,
    s.conflicts AS conflicts
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
    SELECT
        topic,
        partition,
        intDiv(offset, 10000) AS range,
        sum(is_event) AS events,
        sum(is_repaired) AS repaired,
        toInt64(count()) - 2 * toInt64(events) AS conflicts
    FROM
    (
        SELECT topic, partition, offset, 1 AS is_event, notEmpty(repaired) AS is_repaired FROM events
        UNION ALL
        SELECT topic, partition, toUInt64(intDiv(18446744073709551615 - version, 512)) AS offset, 0 AS is_event, 0 AS is_repaired
        FROM event_version_rows FINAL
        SETTINGS do_not_merge_across_partitions_select_final = 1
    ) AS each
    -- The sink writes events before their ledger rows: events above the ledger are not accounted for yet.
    INNER JOIN (SELECT topic, partition, max(offset) AS last_offset FROM ledger_records GROUP BY topic, partition) AS ends
        USING (topic, partition)
    WHERE offset <= last_offset
    GROUP BY topic, partition, range
) AS s
USING (topic, partition, range);
