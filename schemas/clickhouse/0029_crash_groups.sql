-- Crashes, ANRs and non-fatal exceptions by what they have in common. Which group an event is in, the sink says: stack traces
-- have a dozen shapes, and symbols change them, which is no matter for SQL. (pipeline/formats/stacks; the id of a group begins
-- with the version of what made it.)
--
-- Rows are keyed and versioned as those of z_event_rows, so that copies collapse in the same way. Of rows of equal version
-- FINAL keeps the one that was inserted last: grouping an event anew is inserting it again.
CREATE TABLE IF NOT EXISTS z_crash_rows
(
    app_id         LowCardinality(String),
    device_id      String CODEC(ZSTD(1)),
    event_id       String CODEC(ZSTD(1)),
    time           DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    raw_time       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    -- 'crash' (a fatal exception too), 'anr', 'exception'.
    kind           LowCardinality(String),
    crash_group    LowCardinality(String),
    title          String CODEC(ZSTD(1)),
    culprit        LowCardinality(String),
    version        UInt64 CODEC(Delta, ZSTD(1)),
    stored_on      Date CODEC(ZSTD(1)),
    retention_days UInt16 CODEC(ZSTD(1)),
    is_deleted     UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY if(raw_time < toDateTime64('2020-01-01 00:00:00', 3, 'UTC'), 999, toYear(raw_time) % 3 * 100 + toMonth(raw_time))
ORDER BY (app_id, toDate32(raw_time), device_id, event_id)
TTL if(retention_days = 0, toDate('2149-06-06'), stored_on + retention_days + 2)
SETTINGS
    merge_with_ttl_timeout = 86400,
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

-- One for each event of the envelope that has a group: its place in `events`, from 1 on. Nearly always there is none.
ALTER TABLE z_envelope_feed ADD COLUMN IF NOT EXISTS failures
    Array(Tuple(place UInt16, kind LowCardinality(String), crash_group String, title String, culprit String));

CREATE MATERIALIZED VIEW IF NOT EXISTS z_envelope_crash_tap TO z_crash_rows AS
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
    retention_days
FROM z_envelope_feed
ARRAY JOIN failures AS failure;

-- Of an envelope that is stored event by event: of one event, none or one.
ALTER TABLE z_event_feed ADD COLUMN IF NOT EXISTS failures
    Array(Tuple(place UInt16, kind LowCardinality(String), crash_group String, title String, culprit String));

CREATE MATERIALIZED VIEW IF NOT EXISTS z_event_crash_tap TO z_crash_rows AS
SELECT
    app_id, device_id, event_id, time, raw_time,
    failure.kind AS kind,
    failure.crash_group AS crash_group,
    failure.title AS title,
    failure.culprit AS culprit,
    (9223372036854775807 - (offset * 512 + event_index)) * 2 AS version,
    stored_on,
    retention_days
FROM z_event_feed
ARRAY JOIN failures AS failure;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_crash_copy_tap TO z_crash_rows AS
SELECT
    app_id, device_id, event_id, raw_time,
    (9223372036854775807 - (offset * 512 + event_index)) * 2 + 1 AS version,
    stored_on, retention_days, toUInt8(1) AS is_deleted
FROM z_event_copy_feed;

CREATE OR REPLACE VIEW z_crashes AS
SELECT app_id, device_id, event_id, time, raw_time, kind, crash_group, title, culprit
FROM z_crash_rows FINAL
WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
SETTINGS
    do_not_merge_across_partitions_select_final = 1,
    optimize_move_to_prewhere_if_final = 1;

-- Crashes, ANRs and non-fatal exceptions in the sessions of an app that start from `from` and before `until`, each with its
-- group and its session, which lasts for less than two days.
CREATE OR REPLACE VIEW z_session_crashes AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last
SELECT
    s.session_id AS session_id, s.started_at AS session_started_at, s.user_ids AS user_ids, s.personas AS personas,
    s.app_version AS app_version, s.os_name AS os_name, s.os_version AS os_version, s.device_model AS device_model,
    e.device_id AS device_id, e.event_id AS event_id, e.time AS time, e.raw_time AS raw_time, e.kind AS kind,
    e.crash_group AS crash_group, e.title AS title, e.culprit AS culprit
FROM
(
    SELECT device_id, event_id, time, raw_time, kind, crash_group, title, culprit
    FROM z_crashes
    WHERE app_id = {app_id:String} AND time >= first AND time < last + INTERVAL 2 DAY
        AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last) + 2
            OR (toDate32(raw_time), device_id) IN (
                SELECT raw_day, device_id FROM z_elsewhere_days
                WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last) + 2))
) AS e
ASOF JOIN
(
    SELECT device_id, started_at, session_id, user_ids, personas, app_version, os_name, os_version, device_model
    FROM sessions
    WHERE app_id = {app_id:String} AND started_at >= first AND started_at < last + INTERVAL 2 DAY
) AS s
ON e.device_id = s.device_id AND e.time >= s.started_at
WHERE s.started_at < last;

-- The same, with whose each of them is.
CREATE OR REPLACE VIEW crash_events AS
SELECT
    f.session_id AS session_id,
    f.device_id AS device_id,
    f.event_id AS event_id,
    f.time AS time,
    f.kind AS kind,
    f.crash_group AS crash_group,
    f.title AS title,
    f.culprit AS culprit,
    if(length(f.user_ids) > 1, u.user_id, f.user_ids[1]) AS user_id,
    f.app_version AS app_version,
    f.os_name AS os_name,
    f.os_version AS os_version,
    f.device_model AS device_model,
    f.personas AS personas,
    f.session_started_at AS session_started_at
FROM z_session_crashes(app_id = {app_id:String}, from = {from:String}, until = {until:String}) AS f
LEFT ANY JOIN
(
    SELECT device_id, event_id, user_id
    FROM event_users(app_id = {app_id:String}, from = {from:String}, until = {until:String})
) AS u
ON f.device_id = u.device_id AND f.event_id = u.event_id;

-- Those events by group, of the sessions of an app that start from `from` and before `until`. Versions are compared number by
-- number, so that 2.10 comes after 2.9.
CREATE OR REPLACE VIEW crash_groups AS
WITH
    (
        SELECT count() FROM sessions
        WHERE app_id = {app_id:String} AND started_at >= toDateTime64({from:String}, 3, 'UTC')
            AND started_at < toDateTime64({until:String}, 3, 'UTC')
    ) AS all_sessions,
    arrayMap(number -> toUInt64OrZero(number), extractAll(app_version, '[0-9]+')) AS numbers
SELECT
    crash_group,
    argMax(title, (time, event_id)) AS title,
    argMax(culprit, (time, event_id)) AS culprit,
    any(kind) AS kind,
    count() AS crashes,
    uniqExact(session_id) AS sessions,
    uniqExactIf(user_id, user_id != '') AS users,
    uniqExact(device_id) AS devices,
    sessions / all_sessions AS session_share,
    min(time) AS first_seen,
    max(time) AS last_seen,
    argMinIf(app_version, (numbers, app_version), app_version != '') AS first_version,
    argMaxIf(app_version, (numbers, app_version), app_version != '') AS last_version
FROM crash_events(app_id = {app_id:String}, from = {from:String}, until = {until:String})
GROUP BY crash_group
ORDER BY sessions DESC, crashes DESC, crash_group;

-- What was done before a crash, in its session: the last ten screens, taps and requests, the latest first, of the newest 500
-- sessions of a group. What comes several times in a row counts once; numbers and ids are taken out of addresses.
CREATE OR REPLACE VIEW crash_paths AS
WITH
    (
        SELECT groupArray((session_id, device_id, started_at, crashed_at))
        FROM
        (
            SELECT session_id, any(c.device_id) AS device_id, any(c.session_started_at) AS started_at, max(c.time) AS crashed_at
            FROM z_session_crashes(app_id = {app_id:String}, from = {from:String}, until = {until:String}) AS c
            WHERE crash_group = {crash_group:String}
            GROUP BY session_id
            ORDER BY crashed_at DESC, session_id
            LIMIT 500
        )
    ) AS chosen
SELECT
    c.session_id AS session_id,
    c.crashed_at AS crashed_at,
    arraySlice(arrayCompact(arrayMap(s -> s.5, arrayReverseSort(groupArrayIf(
        (e.time, e.rank, e.seq, e.event_id, e.step), e.time <= c.crashed_at AND e.time >= c.started_at)))), 1, 10) AS steps
FROM
(
    SELECT one.1 AS session_id, one.2 AS device_id, one.3 AS started_at, one.4 AS crashed_at
    FROM (SELECT arrayJoin(chosen) AS one)
) AS c
LEFT JOIN
(
    SELECT
        device_id, time, rank, seq, event_id,
        if(name = 'http.client.request', trimLeft(concat(
            attributes['http.request.method'], ' ', domain(attributes['url.full']),
            replaceRegexpAll(substringUTF8(path(attributes['url.full']), 1, 200), '/[^/]*[0-9][^/]{4,}|/[0-9]+', '/{}'), ' → ',
            multiIf(attributes['http.response.status_code'] NOT IN ('', '0'), attributes['http.response.status_code'],
                    attributes['error.type'] != '', attributes['error.type'], 'no answer'))), what) AS step
    FROM narrated_events
    WHERE app_id = {app_id:String} AND name IN ('app.screen.view', 'app.widget.click', 'app.screen.click', 'http.client.request')
        AND (toDate32(raw_time), device_id) IN (
            SELECT raw_day, device_id FROM z_device_days
            WHERE app_id = {app_id:String} AND device_id IN (SELECT arrayJoin(chosen).2)
                AND day BETWEEN toDate32(arrayMin(one -> one.3, chosen)) AND toDate32(arrayMax(one -> one.4, chosen)))
        AND time BETWEEN arrayMin(one -> one.3, chosen) AND arrayMax(one -> one.4, chosen)
) AS e
ON c.device_id = e.device_id
GROUP BY c.session_id, c.crashed_at
ORDER BY crashed_at DESC, session_id;
