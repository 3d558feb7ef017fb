-- Events by time. What people ask about is a day or a week of an app, so this is what the tables are ordered by: cost follows
-- the range that is asked for and not the age of the app. Nothing but the views is for people: all else of here begins with `z_`.
--
-- Why the device's own stamp. All copies of a resent event bear the same one, whatever the server made of the device's
-- clock, so they meet in one key and FINAL leaves one. Copies that an SDK stamped anew on another day do not: a row that is
-- deleted takes such a copy back (z_event_copy_feed).
--
-- Why these partitions. A month each, so that old ones go as a whole; years before 2020 share one. Clocks say anything, and a
-- block of rows is cut into a part for each partition: in three years the months begin anew, so that the worst block is cut
-- into 37 parts, now and in twenty years. (A month of 2040 shares its partition with one of now and then, which costs nothing:
-- the key begins with app and day.) A copy is in the partition of its key, so each partition is merged by itself.
--
-- Which copy counts. The one seen first (SESSIONS.md): the lowest offset, within one record the lowest place; 512 is above the
-- 500 events that a record may hold. The highest version counts, hence the subtraction. What takes a copy back bears that
-- copy's own place and is above it by one: it outranks that copy and all that came later, never one that was seen before.
CREATE TABLE IF NOT EXISTS z_event_rows
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
    counters          UInt32,
    stated            LowCardinality(String),
    user_id           String CODEC(ZSTD(1)),
    -- Canonical JSON, so that a rebuild folds the very bytes that the stream folded. Few distinct texts, each
    -- on every event of its devices: a dictionary. The view shows them as Map and Array.
    resource_json     LowCardinality(String) CODEC(ZSTD(1)),
    user_json         String CODEC(ZSTD(1)),
    app_version       LowCardinality(String),
    attributes        Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    repaired          Array(String) CODEC(ZSTD(1)),
    topic             LowCardinality(String),
    partition         UInt32 CODEC(ZSTD(1)),
    offset            UInt64 CODEC(Delta, ZSTD(1)),
    event_index       UInt16 CODEC(Delta, ZSTD(1)),
    -- The day of the broker's own record time, and for how many days from then on the event is kept; 0 is for ever.
    stored_on         Date CODEC(ZSTD(1)),
    retention_days    UInt16 CODEC(ZSTD(1)),
    -- 1 on the row that takes a copy back.
    is_deleted        UInt8 CODEC(ZSTD(1)),
    status_code       LowCardinality(String) MATERIALIZED attributes['http.response.status_code'] CODEC(ZSTD(1)),
    version           UInt64 MATERIALIZED (9223372036854775807 - (offset * 512 + event_index)) * 2 + is_deleted CODEC(Delta, ZSTD(1)),
    -- Corrected times lie together as raw ones do, but for devices whose clocks are wrong.
    INDEX time_index time TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY if(raw_time < toDateTime64('2020-01-01 00:00:00', 3, 'UTC'), 999, toYear(raw_time) % 3 * 100 + toMonth(raw_time))
-- Not toDate, which knows no day before 1970 and would take one for a day of 2149.
ORDER BY (app_id, toDate32(raw_time), device_id, event_id)
SETTINGS
    -- A retried insert carries the token of its first try and is dropped as a whole.
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

-- Events that metrics are made of, without the attributes and by subject. Key, version and what takes a copy back are as above.
CREATE TABLE IF NOT EXISTS z_notable_event_rows
(
    app_id         LowCardinality(String),
    -- 'crash', 'exception' (not fatal), 'anr', 'launch', 'view', 'request' (failed ones alone).
    subject        LowCardinality(String),
    device_id      String CODEC(ZSTD(1)),
    event_id       String CODEC(ZSTD(1)),
    time           DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    raw_time       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    -- The type of an exception; method, host and path of a request; the name of a view.
    label          String CODEC(ZSTD(1)),
    -- The message of an exception; status or error of a request.
    detail         String CODEC(ZSTD(1)),
    -- How long a start took by the event's own account; 0 where it says nothing.
    launch_ms      UInt32 CODEC(T64, ZSTD(1)),
    version        UInt64 CODEC(Delta, ZSTD(1)),
    stored_on      Date CODEC(ZSTD(1)),
    retention_days UInt16 CODEC(ZSTD(1)),
    is_deleted     UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY if(raw_time < toDateTime64('2020-01-01 00:00:00', 3, 'UTC'), 999, toYear(raw_time) % 3 * 100 + toMonth(raw_time))
ORDER BY (app_id, subject, toDate32(raw_time), device_id, event_id)
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

-- Each version of each event, as event_version_rows had it: copies that were stamped anew are versions of one event.
CREATE TABLE IF NOT EXISTS z_event_version_rows
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
PARTITION BY event_key % 8
ORDER BY (event_key, content)
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

-- What the sink inserts into. Nothing is kept here; each block goes on into every table of events at once.
CREATE TABLE IF NOT EXISTS z_event_feed
(
    app_id            LowCardinality(String),
    device_id         String,
    event_id          String,
    time              DateTime64(3, 'UTC'),
    raw_time          DateTime64(3, 'UTC'),
    received_at       DateTime64(3, 'UTC'),
    name              LowCardinality(String),
    kind              LowCardinality(String),
    seq               Int64,
    client_session_id String,
    exit_reason       LowCardinality(String),
    counters          UInt32,
    stated            LowCardinality(String),
    user_id           String,
    resource_json     LowCardinality(String),
    user_json         String,
    app_version       LowCardinality(String),
    attributes        Map(LowCardinality(String), String),
    repaired          Array(String),
    topic             LowCardinality(String),
    partition         UInt32,
    offset            UInt64,
    event_index       UInt16,
    stored_on         Date DEFAULT today(),
    retention_days    UInt16 DEFAULT 0,
    -- Until all that reads from here is there, an insert fails, and sinks wait: rows would be lost.
    opens_later       UInt8 DEFAULT throwIf(length(app_id) >= 0, 'this database is being migrated')
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_event_tap TO z_event_rows AS
SELECT
    app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, exit_reason, counters,
    stated, user_id, resource_json, user_json, app_version, attributes, repaired, topic, partition, offset, event_index,
    stored_on, retention_days
FROM z_event_feed;

-- What is notable is chosen from here, so that new events and those of old tables take the same way.
CREATE TABLE IF NOT EXISTS z_notable_event_feed
(
    app_id         LowCardinality(String),
    device_id      String,
    event_id       String,
    time           DateTime64(3, 'UTC'),
    raw_time       DateTime64(3, 'UTC'),
    name           LowCardinality(String),
    kind           LowCardinality(String),
    counters       UInt32,
    attributes     Map(LowCardinality(String), String),
    version        UInt64,
    stored_on      Date,
    retention_days UInt16
)
ENGINE = Null;

-- What is notable in an event, and how it is called there. Numbers and ids are taken out of paths and messages, or
-- else every failure would be one of its own kind.
CREATE MATERIALIZED VIEW IF NOT EXISTS z_notable_event_choice TO z_notable_event_rows AS
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
    raw_time,
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
    version,
    stored_on,
    retention_days
FROM z_notable_event_feed
WHERE found != '';

CREATE MATERIALIZED VIEW IF NOT EXISTS z_notable_event_tap TO z_notable_event_feed AS
SELECT
    app_id, device_id, event_id, time, raw_time, name, kind, counters, attributes,
    (9223372036854775807 - (offset * 512 + event_index)) * 2 AS version,
    stored_on, retention_days
FROM z_event_feed;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_event_version_tap TO z_event_version_rows AS
SELECT
    sipHash64(app_id, device_id, event_id) AS event_key,
    toUInt32(sipHash64(name, raw_time, seq, client_session_id, mapSort(attributes)) % 4294967296) AS content,
    topic,
    partition,
    18446744073709551615 - (offset * 512 + event_index) AS version,
    stored_on,
    retention_days
FROM z_event_feed;

-- What takes copies back that were stamped anew: which copy of which event, by where it came. Any number of times.
CREATE TABLE IF NOT EXISTS z_event_copy_feed
(
    app_id         LowCardinality(String),
    device_id      String,
    event_id       String,
    -- The copy's own.
    raw_time       DateTime64(3, 'UTC'),
    offset         UInt64,
    event_index    UInt16,
    -- It has to last as long as the copy.
    stored_on      Date DEFAULT today(),
    retention_days UInt16 DEFAULT 0,
    opens_later    UInt8 DEFAULT throwIf(length(app_id) >= 0, 'this database is being migrated')
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_event_copy_tap TO z_event_rows AS
SELECT app_id, device_id, event_id, raw_time, offset, event_index, stored_on, retention_days, toUInt8(1) AS is_deleted
FROM z_event_copy_feed;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_notable_event_copy_tap TO z_notable_event_rows AS
SELECT
    app_id,
    -- What the copy was notable for is not known here.
    CAST(arrayJoin(['crash', 'exception', 'anr', 'launch', 'view', 'request']), 'LowCardinality(String)') AS subject,
    device_id, event_id, raw_time,
    (9223372036854775807 - (offset * 512 + event_index)) * 2 + 1 AS version,
    stored_on, retention_days, toUInt8(1) AS is_deleted
FROM z_event_copy_feed;

-- While both tables of events are there, each gets what is inserted into the other: old and new sinks can write, readers of
-- either see everything, and schemas/move copies what there was before. All of it goes with the old tables, at once where they
-- are empty. Rows that came by the feed are marked: they must not come back.
ALTER TABLE event_rows ADD COLUMN IF NOT EXISTS came_by_feed UInt8 DEFAULT 0;

-- Events of the old table go through here into the new ones, those that are copied as those that old sinks still insert.
CREATE TABLE IF NOT EXISTS z_move_feed
(
    app_id            LowCardinality(String),
    device_id         String,
    event_id          String,
    time              DateTime64(3, 'UTC'),
    raw_time          DateTime64(3, 'UTC'),
    received_at       DateTime64(3, 'UTC'),
    name              LowCardinality(String),
    kind              LowCardinality(String),
    seq               Int64,
    client_session_id String,
    exit_reason       LowCardinality(String),
    counters          UInt32,
    stated            LowCardinality(String),
    user_id           String,
    resource_json     LowCardinality(String),
    user_json         String,
    app_version       LowCardinality(String),
    attributes        Map(LowCardinality(String), String),
    repaired          Array(String),
    topic             LowCardinality(String),
    partition         UInt32,
    offset            UInt64,
    event_index       UInt16
)
ENGINE = Null;

-- Kept from the day on which they came, if that can be believed: of recorded traffic it lies years back. And for ever, as it
-- was: no upgrade deletes anything. Whoever wants the policy of today for events of the past says so.
CREATE MATERIALIZED VIEW IF NOT EXISTS z_move_event_tap TO z_event_rows AS
SELECT
    app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, exit_reason, counters,
    stated, user_id, resource_json, user_json, app_version, attributes, repaired, topic, partition, offset, event_index,
    if(toDate(received_at) > today() - 366 AND toDate(received_at) <= today(), toDate(received_at), today()) AS stored_on,
    toUInt16(0) AS retention_days
FROM z_move_feed;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_move_notable_tap TO z_notable_event_feed AS
SELECT
    app_id, device_id, event_id, time, raw_time, name, kind, counters, attributes,
    (9223372036854775807 - (offset * 512 + event_index)) * 2 AS version,
    if(toDate(received_at) > today() - 366 AND toDate(received_at) <= today(), toDate(received_at), today()) AS stored_on,
    toUInt16(0) AS retention_days
FROM z_move_feed;

-- Versions as the old table gets them, from every sink; the past is copied.
CREATE MATERIALIZED VIEW IF NOT EXISTS z_move_version_tap TO z_event_version_rows AS
SELECT
    sipHash64(app_id, device_id, event_id) AS event_key,
    toUInt32(sipHash64(name, raw_time, seq, client_session_id, mapSort(attributes)) % 4294967296) AS content,
    topic,
    partition,
    18446744073709551615 - (offset * 512 + event_index) AS version,
    today() AS stored_on,
    toUInt16(0) AS retention_days
FROM event_rows
WHERE came_by_feed = 0;

-- Of old sinks.
CREATE MATERIALIZED VIEW IF NOT EXISTS z_move_forth_tap TO z_move_feed AS
SELECT
    app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, exit_reason, counters,
    stated, user_id, resource_json, user_json, app_version, attributes, repaired, topic, partition, offset, event_index
FROM event_rows
WHERE came_by_feed = 0;

-- Of new sinks.
CREATE MATERIALIZED VIEW IF NOT EXISTS z_move_back_tap TO event_rows AS
SELECT
    app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, exit_reason, counters,
    stated, user_id, resource_json, user_json, app_version, attributes, repaired, topic, partition, offset, event_index,
    toUInt8(1) AS came_by_feed
FROM z_event_feed;

-- The views below read these, whose last word is schemas/move: over the old tables until all of their events are in the new ones.
CREATE VIEW IF NOT EXISTS z_stored_events AS
SELECT
    app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, exit_reason, counters,
    stated, user_id, resource_json, user_json, app_version, attributes, repaired, topic, partition, offset, event_index,
    status_code, toDate(received_at) AS stored_on, toUInt16(0) AS retention_days
FROM event_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE VIEW IF NOT EXISTS z_unmerged_events AS
SELECT app_id, device_id, time, raw_time, received_at, name, attributes, topic, partition, offset
FROM event_rows;

CREATE VIEW IF NOT EXISTS z_stored_event_versions AS
SELECT event_key, content, topic, partition, version
FROM event_version_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- The views of before, over these.
CREATE OR REPLACE VIEW conflicting_events AS
SELECT event_key, toUInt8(arrayJoin(range(1, least(versions, 9)))) AS number
FROM
(
    SELECT event_key, uniqExact(content) AS versions
    FROM z_stored_event_versions
    GROUP BY event_key
    HAVING versions > 1
    -- The table has this order: no more than a part of it is in memory.
    SETTINGS optimize_aggregation_in_order = 1
);

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
FROM z_stored_events;

ALTER TABLE z_event_feed DROP COLUMN IF EXISTS opens_later;

ALTER TABLE z_event_copy_feed DROP COLUMN IF EXISTS opens_later;
