-- Events that metrics are made of: launches, views, failures, failed requests; a small part of all events. The
-- table of events is ordered by device and id, as its exactness demands, so a question for all crashes of an app
-- would read every event of it. Here they lie together by subject, without the attributes.
--
-- Nothing is counted or summed at insert time: rows are copied with the key and version of event_rows, so copies
-- collapse in the same way, whatever is inserted twice. (Where an SDK gives one id to two different events and the
-- second alone is notable, it is here, while `events` shows the first.)
CREATE TABLE IF NOT EXISTS notable_event_rows
(
    app_id      LowCardinality(String),
    -- 'crash', 'exception' (not fatal), 'anr', 'launch', 'view', 'request' (failed ones alone).
    subject     LowCardinality(String),
    device_id   String CODEC(ZSTD(1)),
    event_id    String CODEC(ZSTD(1)),
    time        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    -- The type of an exception; method, host and path of a request; the name of a view.
    label       String CODEC(ZSTD(1)),
    -- The message of an exception; status or error of a request.
    detail      String CODEC(ZSTD(1)),
    -- How long a start took by the event's own account; 0 where it says nothing.
    launch_ms   UInt32 CODEC(T64, ZSTD(1)),
    version     UInt64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY cityHash64(app_id, device_id) % 8
ORDER BY (app_id, subject, device_id, event_id)
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

-- Every event passes through here and is not kept, so that new ones and those of the past (the last statement) take
-- the same way.
CREATE TABLE IF NOT EXISTS notable_event_feed
(
    app_id     LowCardinality(String),
    device_id  String,
    event_id   String,
    time       DateTime64(3, 'UTC'),
    name       LowCardinality(String),
    kind       LowCardinality(String),
    counters   UInt8,
    attributes Map(LowCardinality(String), String),
    version    UInt64
)
ENGINE = Null;

-- What is notable in an event, and how it is called there. Numbers and ids are taken out of paths and messages, or
-- else every failure would be one of its own kind.
CREATE MATERIALIZED VIEW IF NOT EXISTS notable_event_choice TO notable_event_rows AS
WITH
    multiIf(
        kind IN ('crash', 'exception'), 'crash',
        name = 'app.anr', 'anr',
        name = 'exception', 'exception',
        kind = 'launch', 'launch',
        name = 'app.screen.view', 'view',
        -- Bit 4 says that the event counts as a failed request.
        name = 'http.client.request' AND bitTest(counters, 4), 'request',
        '') AS found,
    toInt64OrZero(attributes['cold_launch.on_next_draw_uptime']) AS drawn,
    -- Older systems tell only the later ones.
    arrayFirst(begin -> begin > 0, [
        toInt64OrZero(attributes['cold_launch.process_start_requested_uptime']),
        toInt64OrZero(attributes['cold_launch.process_start_uptime']),
        toInt64OrZero(attributes['cold_launch.content_provider_attach_uptime'])]) AS begun
SELECT
    app_id,
    CAST(found, 'LowCardinality(String)') AS subject,
    device_id,
    event_id,
    time,
    multiIf(
        found IN ('crash', 'exception', 'anr'),
            if(attributes['exception.type'] = '', 'unknown error', substringUTF8(attributes['exception.type'], 1, 200)),
        found = 'request', trimLeft(concat(attributes['http.request.method'], ' ', domain(attributes['url.full']),
            replaceRegexpAll(substringUTF8(path(attributes['url.full']), 1, 300), '/[^/]*[0-9][^/]{4,}|/[0-9]+', '/{}'))),
        found = 'view', attributes['app.screen.name'],
        '') AS label,
    multiIf(
        found IN ('crash', 'exception', 'anr'), replaceRegexpAll(
            substringUTF8(attributes['exception.message'], 1, 300), '0x[0-9a-fA-F]+|[0-9a-fA-F-]{32,36}|[0-9]+', '#'),
        found = 'request', if(attributes['http.response.status_code'] NOT IN ('', '0'),
            attributes['http.response.status_code'], attributes['error.type']),
        '') AS detail,
    toUInt32(if(found = 'launch' AND begun > 0 AND drawn > begun AND drawn - begun <= 60000, drawn - begun, 0)) AS launch_ms,
    version
FROM notable_event_feed
WHERE found != '';

CREATE MATERIALIZED VIEW IF NOT EXISTS notable_event_tap TO notable_event_feed AS
SELECT app_id, device_id, event_id, time, name, kind, counters, attributes, version FROM event_rows;

INSERT INTO notable_event_feed
SELECT app_id, device_id, event_id, time, name, kind, counters, attributes, version FROM event_rows;

-- Right at any moment, as `events` is.
CREATE OR REPLACE VIEW notable_events AS
SELECT app_id, subject, device_id, event_id, time, label, detail, launch_ms
FROM notable_event_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
