-- Files that say what addresses and shortened names are called in the source: mappings of ProGuard and R8, debug files, source
-- maps. What is kept of one is in parts, so that workers and pages can have some of it; its row comes last. Nothing in them
-- is of a device or a person, and they stay until they are deleted. (pipeline/symbols)
CREATE TABLE IF NOT EXISTS z_symbol_file_rows
(
    app_id      LowCardinality(String),
    -- 'proguard', 'native', 'sourcemap'.
    kind        LowCardinality(String),
    app_version String,
    app_build   String,
    id          String,
    code_id     String,
    arch        LowCardinality(String),
    name        String,
    digest      String,
    size        UInt64,
    kept_bytes  UInt64,
    parts       UInt32,
    uploaded_at DateTime64(3, 'UTC'),
    version     UInt64,
    is_deleted  UInt8
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (app_id, kind, app_version, app_build, id, arch, name, digest);

CREATE TABLE IF NOT EXISTS z_symbol_part_rows
(
    digest String,
    number UInt32,
    data   String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (digest, number)
SETTINGS index_granularity = 32;

CREATE OR REPLACE VIEW symbol_files AS
SELECT app_id, kind, app_version, app_build, id, code_id, arch, name, digest, size, kept_bytes, parts, uploaded_at
FROM z_symbol_file_rows FINAL
WHERE is_deleted = 0;

-- Which files the stack of an event needs, and by the digest of which its group was made; empty where there was none.
-- `is_wanted`: something cannot be read without it. `is_asked` is 0 of rows of before, and of those that an older sink wrote.
ALTER TABLE z_crash_rows ADD COLUMN IF NOT EXISTS symbols Array(Tuple(kind LowCardinality(String), id String, name String, arch LowCardinality(String), app_version LowCardinality(String), app_build LowCardinality(String), is_wanted UInt8, file String));
ALTER TABLE z_crash_rows ADD COLUMN IF NOT EXISTS is_asked UInt8;

-- Of each of `failures`, in their order.
ALTER TABLE z_envelope_feed ADD COLUMN IF NOT EXISTS failure_symbols
    Array(Array(Tuple(kind LowCardinality(String), id String, name String, arch LowCardinality(String), app_version LowCardinality(String), app_build LowCardinality(String), is_wanted UInt8, file String)));
ALTER TABLE z_event_feed ADD COLUMN IF NOT EXISTS failure_symbols
    Array(Array(Tuple(kind LowCardinality(String), id String, name String, arch LowCardinality(String), app_version LowCardinality(String), app_build LowCardinality(String), is_wanted UInt8, file String)));

ALTER TABLE z_envelope_crash_tap MODIFY QUERY
SELECT
    app_id,
    device_id,
    events[failure.place].event_id AS event_id,
    events[failure.place].time AS time,
    events[failure.place].raw_time AS raw_time,
    failure.kind AS kind,
    failure.crash_group AS crash_group,
    failure.title AS title,
    failure.culprit AS culprit,
    (9223372036854775807 - (offset * 512 + event_index + failure.place - 1)) * 2 AS version,
    stored_on,
    retention_days,
    failure_symbols[number] AS symbols,
    toUInt8(number <= length(failure_symbols)) AS is_asked
FROM z_envelope_feed
ARRAY JOIN failures AS failure, arrayEnumerate(failures) AS number;

ALTER TABLE z_event_crash_tap MODIFY QUERY
SELECT
    app_id, device_id, event_id, time, raw_time,
    failure.kind AS kind,
    failure.crash_group AS crash_group,
    failure.title AS title,
    failure.culprit AS culprit,
    (9223372036854775807 - (offset * 512 + event_index)) * 2 AS version,
    stored_on,
    retention_days,
    failure_symbols[number] AS symbols,
    toUInt8(number <= length(failure_symbols)) AS is_asked
FROM z_event_feed
ARRAY JOIN failures AS failure, arrayEnumerate(failures) AS number;

-- Files without which stacks cannot be read, of the crashes, ANRs and exceptions of an app from `from` and before `until`.
-- What was uploaded since a stack was stored is not missing any more; its group follows with `symbols upload` or `regroup`.
CREATE OR REPLACE VIEW missing_symbols AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last
SELECT
    needed.kind AS kind, needed.id AS id, needed.name AS name, needed.arch AS arch,
    needed.app_version AS app_version, needed.app_build AS app_build,
    count() AS crashes, uniqExact(device_id) AS devices, uniqExact(crash_group) AS crash_groups,
    min(time) AS first_seen, max(time) AS last_seen
FROM
(
    SELECT device_id, crash_group, time, symbols
    FROM z_crash_rows FINAL
    WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
        AND app_id = {app_id:String} AND time >= first AND time < last
        AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last)
            OR (toDate32(raw_time), device_id) IN (
                SELECT raw_day, device_id FROM z_elsewhere_days
                WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last)))
)
ARRAY JOIN symbols AS needed
WHERE needed.is_wanted = 1 AND needed.file = ''
GROUP BY kind, id, name, arch, app_version, app_build
ORDER BY crashes DESC, kind, id, name, arch, app_version, app_build;
