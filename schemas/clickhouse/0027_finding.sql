-- To find things by whatever people have of them, what became of sessions that are gone, and stitched sessions and users as
-- units of their own.

-- Where the sessions of an id lie, the id as lower-case text: a session's own, that of a stitched session, the SDK's own. And which
-- devices and users there are, once each, without a day and as they are written. In the order of texts, so that a beginning is
-- found as an id is. As other tables of places it holds no truth (0022).
CREATE TABLE IF NOT EXISTS z_id_places
(
    id        String CODEC(ZSTD(1)),
    kind      LowCardinality(String),
    app_id    LowCardinality(String),
    day       Date,
    device_id String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (id, kind, app_id, day, device_id)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_id_place_tap TO z_id_places AS
SELECT DISTINCT
    found.1 AS id, found.2 AS kind, app_id,
    if(kind IN ('user', 'device'), toDate(0), toDate(started_at)) AS day, if(kind IN ('user', 'device'), '', of_device) AS device_id
FROM
(
    SELECT
        arrayJoin(arrayConcat(
            [(toString(session_id), 'session'), (toString(stitched_session_id), 'stitched session'),
                (lowerUTF8(client_session_id), 'SDK session'), (s.device_id, 'device')],
            arrayMap(user -> (user, 'user'), user_ids))) AS found,
        app_id, started_at, s.device_id AS of_device
    FROM session_rows AS s
    -- A row that takes a session back says nothing of it but which it was.
    WHERE is_deleted = 0
)
WHERE found.1 NOT IN ('', '00000000-0000-0000-0000-000000000000');

INSERT INTO z_id_places
SELECT DISTINCT
    found.1 AS id, found.2 AS kind, app_id,
    if(kind IN ('user', 'device'), toDate(0), toDate(started_at)) AS day, if(kind IN ('user', 'device'), '', of_device) AS device_id
FROM
(
    SELECT
        arrayJoin(arrayConcat(
            [(toString(session_id), 'session'), (toString(stitched_session_id), 'stitched session'),
                (lowerUTF8(client_session_id), 'SDK session'), (s.device_id, 'device')],
            arrayMap(user -> (user, 'user'), user_ids))) AS found,
        app_id, started_at, s.device_id AS of_device
    FROM session_rows AS s
    WHERE is_deleted = 0
)
WHERE found.1 NOT IN ('', '00000000-0000-0000-0000-000000000000');

-- How far a session reached when it was told: what covers its time now is found by it. Rows of before have its start.
ALTER TABLE told_session_rows ADD COLUMN IF NOT EXISTS last_event_at DateTime64(3, 'UTC') DEFAULT started_at CODEC(Delta, ZSTD(1));

ALTER TABLE told_session_tap MODIFY QUERY
SELECT
    app_id,
    device_id,
    session_id,
    started_at,
    version,
    CAST(status = 'closed', 'Bool') AS is_ended,
    is_deleted,
    if(is_deleted, 0, sipHash64(status, state, start_reason, end_reason, exit_reason, cold_start, ended_at, last_event_at,
        client_session_id, stitched_session_id, stitched_index, user_id, user_ids, personas, mapSort(properties),
        event_count, crash_count, anr_count, exception_count, network_count, network_error_count, tap_count, view_count,
        log_error_count)) AS said,
    arrived_at,
    stored_on,
    retention_days,
    last_event_at
FROM session_rows;

CREATE OR REPLACE VIEW sessions_as_told AS
SELECT
    app_id,
    device_id,
    session_id,
    started_at,
    version,
    CAST(status = 'closed', 'Bool') AS is_ended,
    is_deleted,
    if(is_deleted, 0, sipHash64(status, state, start_reason, end_reason, exit_reason, cold_start, ended_at, last_event_at,
        client_session_id, stitched_session_id, stitched_index, user_id, user_ids, personas, mapSort(properties),
        event_count, crash_count, anr_count, exception_count, network_count, network_error_count, tap_count, view_count,
        log_error_count)) AS said,
    arrived_at,
    stored_on,
    retention_days,
    last_event_at
FROM session_rows;

-- What is known of a session whether or not it is still there: one row, or none if none was ever told under this id, or all that
-- was told is removed. `was_taken_back`: a late event dissolved it. (A rebuild leaves sessions out without a word.)
CREATE OR REPLACE VIEW session_as_last_told AS
SELECT
    t.session_id AS session_id,
    any(t.app_id) AS app_id,
    any(t.device_id) AS device_id,
    any(t.started_at) AS started_at,
    max(greatest(t.last_event_at, t.started_at)) AS last_event_at,
    argMax(t.is_deleted, t.version) = 1 AS was_taken_back,
    max(t.arrived_at) AS told_at,
    max(t.retention_days = 0 OR t.stored_on + t.retention_days >= toDate(now('UTC'))) AS is_kept,
    argMax(t.retention_days, t.version) AS retention_days
FROM told_session_rows AS t
WHERE t.session_id = {id:UUID}
    AND (t.app_id, toDate(t.started_at), t.device_id) IN (SELECT app_id, day, device_id FROM z_session_places WHERE id = {id:UUID})
GROUP BY t.session_id;

-- The sessions that now have what a session had which is gone: the one that its start lies in, and those that begin before its
-- last event. None while it is there.
CREATE OR REPLACE VIEW session_successors AS
WITH
    (SELECT (app_id, device_id, started_at, last_event_at) FROM session_as_last_told(id = {id:UUID})) AS gone,
    (
        -- A session that its first event joined began on one of the device's days before, and not many of them.
        SELECT max(started_at)
        FROM sessions
        WHERE app_id = gone.1 AND device_id = gone.2 AND started_at <= gone.3 AND toDate(started_at) IN (
            SELECT DISTINCT toDate(day) FROM z_device_days
            WHERE app_id = gone.1 AND device_id = gone.2 AND day <= toDate32(gone.3)
            ORDER BY 1 DESC LIMIT 8)
    ) AS first_start
SELECT *
FROM sessions
WHERE app_id = gone.1 AND device_id = gone.2
    AND (started_at = first_start OR (started_at > gone.3 AND started_at <= gone.4))
    AND toDate(started_at) IN (
        SELECT toDate(first_start)
        UNION ALL
        SELECT DISTINCT toDate(day) FROM z_device_days
        WHERE app_id = gone.1 AND device_id = gone.2 AND day >= toDate32(gone.3) AND day <= toDate32(gone.4))
    -- That the day is the same is no reason to believe that the event is in it: a session that ended long before is none.
    AND last_event_at >= gone.3
    AND NOT has((SELECT groupArray(session_id) FROM sessions_of_id(id = {id:UUID})), {id:UUID});

-- Ids that begin with a text, over all apps; an id itself is such a beginning. At most 100 of sessions, and of devices and users.
-- They may be of what is not kept any more.
CREATE OR REPLACE VIEW ids_like AS
SELECT DISTINCT id, kind, app_id
FROM z_id_places
WHERE startsWith(id, lowerUTF8({text:String})) AND kind IN ('session', 'stitched session', 'SDK session') AND {text:String} != ''
ORDER BY id, kind, app_id
LIMIT 100
UNION ALL
SELECT DISTINCT id, kind, app_id
FROM z_id_places
WHERE startsWith(id, {text:String}) AND kind IN ('device', 'user') AND {text:String} != ''
ORDER BY id, kind, app_id
LIMIT 100;

-- Sessions by an id of whatever kind: their own, that of their stitched session, or the SDK's own.
CREATE OR REPLACE VIEW sessions_of_any_id AS
SELECT *
FROM sessions
WHERE (app_id, toDate(started_at), device_id) IN (
        SELECT app_id, day, device_id FROM z_id_places
        WHERE id = lowerUTF8({id:String}) AND kind IN ('session', 'stitched session', 'SDK session'))
    AND lowerUTF8({id:String}) IN (toString(session_id), toString(stitched_session_id), lowerUTF8(client_session_id));

-- Events whose ids begin with a text, of a range of days by corrected time, over all apps. No key leads to them: the ids of all
-- events of the range are read, and nothing else.
CREATE OR REPLACE VIEW events_like AS
WITH
    toDate32({from:String}) AS first,
    toDate32({until:String}) AS last
SELECT app_id, device_id, event_id, time, name, kind
FROM z_stored_events
WHERE startsWith(event_id, {text:String}) AND (app_id, toDate32(raw_time), device_id) IN (
    SELECT app_id, toDate32(raw_time), device_id
    FROM z_event_rows
    WHERE startsWith(event_id, {text:String}) AND {text:String} != '' AND is_deleted = 0
        AND ((toDate32(raw_time) >= first AND toDate32(raw_time) < last)
            OR (app_id, toDate32(raw_time), device_id) IN (
                SELECT app_id, raw_day, device_id FROM z_elsewhere_days
                WHERE app_id IN (SELECT app_id FROM z_apps) AND by = 'time' AND day >= first AND day < last))
    LIMIT 100);

-- Crashes, fatal and other exceptions, and ANRs whose type has a text in it, in any case, in a range, over all apps.
CREATE OR REPLACE VIEW exceptions_like AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last
SELECT
    app_id,
    subject,
    label AS exception_type,
    count() AS events,
    uniqExact(device_id) AS devices,
    max(n.time) AS last_at
FROM notable_events AS n
WHERE app_id IN (SELECT app_id FROM z_apps) AND subject IN ('crash', 'exception', 'anr') AND n.time >= first AND n.time < last
    AND positionCaseInsensitiveUTF8(label, {text:String}) > 0
    AND (toDate32(n.raw_time) BETWEEN toDate32(first) AND toDate32(last)
        OR (app_id, toDate32(n.raw_time), device_id) IN (
            SELECT app_id, raw_day, device_id FROM z_elsewhere_days
            WHERE app_id IN (SELECT app_id FROM z_apps) AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last)))
GROUP BY app_id, subject, exception_type;

-- As before, with what the device was and whether it crashed or hung in any of its sessions.
CREATE OR REPLACE VIEW stitched_sessions_between AS
SELECT
    app_id,
    device_id,
    stitched_session_id,
    if(countIf(status = 'open') > 0, 'open', 'closed') AS status,
    arrayMap(member -> member.2, arraySort(groupArray((stitched_index, session_id)))) AS session_ids,
    count() AS session_count,
    min(s.started_at) AS started_at,
    max(s.ended_at) AS ended_at,
    -- From the first start to the last end, breaks included.
    toUInt64(dateDiff('millisecond', started_at, ended_at)) AS duration_ms,
    -- What the members themselves lasted, all and those in the foreground.
    sum(s.duration_ms) AS members_duration_ms,
    sumIf(s.duration_ms, s.state = 'foreground') AS foreground_duration_ms,
    argMax(s.end_reason, s.stitched_index) AS end_reason,
    -- The user that the last member which names one names.
    argMaxIf(s.user_id, s.stitched_index, s.user_id != '') AS user_id,
    -- All users of the members, in their order.
    arrayDistinct(arrayFlatten(arrayMap(member -> member.2, arraySort(groupArray((s.stitched_index, s.user_ids)))))) AS user_ids,
    argMin(s.app_version, s.stitched_index) AS app_version,
    sum(s.event_count) AS event_count,
    sum(s.crash_count) AS crash_count,
    sum(s.anr_count) AS anr_count,
    sum(s.exception_count) AS exception_count,
    sum(s.network_count) AS network_count,
    sum(s.network_error_count) AS network_error_count,
    sum(s.tap_count) AS tap_count,
    sum(s.view_count) AS view_count,
    sum(s.log_error_count) AS log_error_count,
    min(s.is_final) AS is_final,
    -- Of the first member, as the version.
    argMin(s.os_name, s.stitched_index) AS os_name,
    argMin(s.os_version, s.stitched_index) AS os_version,
    argMin(s.device_manufacturer, s.stitched_index) AS device_manufacturer,
    argMin(s.device_model, s.stitched_index) AS device_model,
    argMax(s.exit_reason, s.stitched_index) AS exit_reason,
    countIf(s.state = 'foreground') AS foreground_session_count,
    max(s.is_crashed) AS is_crashed,
    max(s.is_hung) AS is_hung
FROM
(
    SELECT *
    FROM session_health
    WHERE app_id = {app_id:String} AND (app_id, toDate(started_at), device_id) IN (
        SELECT app_id, day, device_id FROM z_session_places
        WHERE id IN (
            SELECT stitched_session_id FROM session_rows
            WHERE app_id = {app_id:String}
                AND started_at >= toDateTime64({from:String}, 3, 'UTC') AND started_at < toDateTime64({until:String}, 3, 'UTC')))
) AS s
GROUP BY app_id, device_id, stitched_session_id
HAVING started_at >= toDateTime64({from:String}, 3, 'UTC') AND started_at < toDateTime64({until:String}, 3, 'UTC');

-- A stitched session as it happened: the events of all of its sessions, from the start of the first to before the session after
-- the last. Columns as those of `session_timeline`; `offset_ms` is since the start of the stitched session.
CREATE OR REPLACE VIEW stitched_timeline AS
WITH
    (
        SELECT (any(s.app_id), any(s.device_id), min(s.started_at), max(s.started_at))
        FROM sessions_of_id(id = {stitched_session_id:UUID}) AS s
        WHERE s.stitched_session_id = {stitched_session_id:UUID}
    ) AS found,
    -- As for a session: the next days with events tell nearly always.
    (
        SELECT if(count() = 0, NULL, min(started_at))
        FROM sessions
        WHERE app_id = found.1 AND device_id = found.2 AND started_at > found.4 AND toDate(started_at) IN (
            SELECT DISTINCT toDate(day) FROM z_device_days
            WHERE app_id = found.1 AND device_id = found.2 AND day >= toDate32(found.4)
            ORDER BY 1 LIMIT 4)
    ) AS near_start,
    (
        SELECT if(count() = 0, NULL, min(started_at))
        FROM sessions
        WHERE app_id = found.1 AND device_id = found.2 AND started_at > found.4 AND toDate(started_at) IN (
            SELECT toDate(day) FROM z_device_days
            WHERE app_id = found.1 AND device_id = found.2 AND day >= toDate32(found.4) AND near_start IS NULL)
    ) AS far_start,
    coalesce(near_start, far_start, toDateTime64('2299-12-31 00:00:00', 3, 'UTC')) AS next_started_at
SELECT
    session_id,
    dateDiff('millisecond', assumeNotNull(found.3), t.time) AS offset_ms,
    time,
    kind,
    what,
    name,
    attributes,
    event_id,
    seq,
    app_id,
    device_id,
    if(t.named_before != '', t.named_before, t.named_first) AS user_id
FROM
(
    SELECT
        s.session_id AS session_id, e.time AS time, e.kind AS kind, e.what AS what, e.name AS name, e.attributes AS attributes,
        e.event_id AS event_id, e.seq AS seq, e.rank AS rank, e.app_id AS app_id, e.device_id AS device_id,
        anyLastIf(e.user_id, e.user_id != '') OVER (PARTITION BY s.session_id
            ORDER BY e.time, e.rank, e.seq, e.event_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS named_before,
        anyIf(e.user_id, e.user_id != '') OVER (PARTITION BY s.session_id
            ORDER BY e.time, e.rank, e.seq, e.event_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS named_first
    FROM
    (
        SELECT *
        FROM narrated_events
        WHERE app_id = found.1 AND device_id = found.2 AND time >= found.3 AND time < next_started_at
            AND toDate32(raw_time) IN (
                SELECT raw_day FROM z_device_days
                WHERE app_id = found.1 AND device_id = found.2 AND day >= toDate32(found.3) AND day <= toDate32(next_started_at))
    ) AS e
    ASOF JOIN
    (
        SELECT device_id, started_at, session_id
        FROM sessions_of_id(id = {stitched_session_id:UUID})
        WHERE stitched_session_id = {stitched_session_id:UUID}
    ) AS s
    ON e.device_id = s.device_id AND e.time >= s.started_at
) AS t
ORDER BY t.time, t.rank, t.seq, t.event_id;

-- Users of an app who have sessions that start from `from` and before `until`; all numbers are of those. A crash is the user's whose
-- event it is. (Sessions that name nobody are nobody's.)
CREATE OR REPLACE VIEW users_between AS
SELECT
    who AS user_id,
    count() AS sessions,
    uniqExact(h.device_id) AS devices,
    countIf(has(h.crash_users, who)) AS crashed_sessions,
    countIf(has(h.anr_users, who)) AS anr_sessions,
    min(h.started_at) AS first_seen_at,
    max(h.ended_at) AS last_seen_at,
    argMax(h.app_version, (h.started_at, h.session_id)) AS last_version,
    arraySort(groupUniqArray(h.app_version)) AS app_versions
FROM session_health_of_users(app_id = {app_id:String}, from = {from:String}, until = {until:String}) AS h
ARRAY JOIN h.user_ids AS who
GROUP BY who;

-- What a user did in his sessions that start from `from` and before `until`, over all devices, in order. Columns as those of
-- `user_timeline`, and what marks a problem.
CREATE OR REPLACE VIEW user_timeline_between AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    theirs AS
    (
        SELECT device_id, started_at, last_event_at
        FROM sessions
        WHERE app_id = {app_id:String} AND has(user_ids, {user_id:String}) AND started_at >= first AND started_at < last
            AND (toDate(started_at), device_id) IN (
                SELECT day, device_id FROM z_user_days
                WHERE app_id = {app_id:String} AND user_id = {user_id:String} AND day >= toDate(first) AND day <= toDate(last))
    ),
    -- Each of his devices from the day of his first session there to that of the last event which his sessions count.
    reach AS (SELECT device_id, toDate32(min(t.started_at)) AS first_day, toDate32(max(t.last_event_at)) AS last_day FROM theirs AS t GROUP BY device_id),
    places AS
    (
        SELECT d.device_id AS device_id, d.day AS day, d.raw_day AS raw_day
        FROM z_device_days AS d
        INNER JOIN reach AS r ON d.device_id = r.device_id
        WHERE d.app_id = {app_id:String} AND d.device_id IN (SELECT device_id FROM reach)
            -- The key can be asked for these two.
            AND d.day >= toDate32(first) AND d.day <= (SELECT max(last_day) FROM reach)
            AND d.day >= r.first_day AND d.day <= r.last_day
    )
SELECT
    session_id,
    dateDiff('millisecond', started_at, t.time) AS offset_ms,
    time,
    kind,
    what,
    name,
    attributes,
    event_id,
    seq,
    app_id,
    device_id,
    user_id,
    counters,
    exit_reason,
    rank
FROM
(
    SELECT
        s.session_id AS session_id, s.started_at AS started_at,
        e.time AS time, e.kind AS kind, e.what AS what, e.name AS name, e.attributes AS attributes,
        e.event_id AS event_id, e.seq AS seq, e.app_id AS app_id, e.device_id AS device_id, e.rank AS rank,
        e.counters AS counters, e.exit_reason AS exit_reason,
        anyLastIf(e.user_id, e.user_id != '') OVER (PARTITION BY s.device_id, s.session_id
            ORDER BY e.time, e.rank, e.seq, e.event_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS named_before,
        anyIf(e.user_id, e.user_id != '') OVER (PARTITION BY s.device_id, s.session_id
            ORDER BY e.time, e.rank, e.seq, e.event_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS named_first,
        if(named_before != '', named_before, named_first) AS user_id
    FROM
    (
        SELECT *
        FROM narrated_events
        WHERE app_id = {app_id:String}
            AND (toDate32(raw_time), device_id, toDate32(time)) IN (SELECT raw_day, device_id, day FROM places)
    ) AS e
    ASOF JOIN
    (
        SELECT device_id, started_at, session_id, has(user_ids, {user_id:String}) AND started_at >= first AND started_at < last AS is_theirs
        FROM sessions
        WHERE app_id = {app_id:String} AND (toDate(started_at), device_id) IN (SELECT toDate(day), device_id FROM places)
    ) AS s
    ON e.device_id = s.device_id AND e.time >= s.started_at
    WHERE s.is_theirs
) AS t
WHERE user_id = {user_id:String}
ORDER BY t.time, t.device_id, t.rank, t.seq, t.event_id;

-- As before, with stitched sessions as the unit: those that have a session in the foreground, and of them those without a crash in one.

CREATE OR REPLACE VIEW release_health AS
SELECT
    app_id,
    app_version,
    toDate(started_at) AS day,
    countIf(state = 'foreground') AS sessions,
    uniqExactIf(device_id, state = 'foreground') AS devices,
    uniqExactArrayIf(user_ids, state = 'foreground') AS users,
    countIf(state = 'foreground' AND NOT is_crashed) AS crash_free_sessions,
    crash_free_sessions / nullIf(sessions, 0) AS crash_free_session_rate,
    users - uniqExactArrayIf(crash_users, state = 'foreground') AS crash_free_users,
    crash_free_users / nullIf(users, 0) AS crash_free_user_rate,
    devices - uniqExactIf(device_id, state = 'foreground' AND is_crashed) AS crash_free_devices,
    crash_free_devices / nullIf(devices, 0) AS crash_free_device_rate,
    countIf(state = 'foreground' AND NOT is_hung) AS anr_free_sessions,
    anr_free_sessions / nullIf(sessions, 0) AS anr_free_session_rate,
    users - uniqExactArrayIf(anr_users, state = 'foreground') AS anr_free_users,
    anr_free_users / nullIf(users, 0) AS anr_free_user_rate,
    if(sessions = 0, NULL, quantileExactIf(0.5)(duration_ms, state = 'foreground')) AS median_duration_ms,
    if(sessions = 0, NULL, quantileExactIf(0.95)(duration_ms, state = 'foreground')) AS p95_duration_ms,
    countIf(NOT state = 'foreground') AS background_sessions,
    countIf(NOT state = 'foreground' AND is_crashed) AS background_crashes,
    -- The lowest of these sessions. Rates and durations need no scaling, counts do.
    min(h.sample_rate) AS sample_rate,
    sumIf(1 / h.sample_rate, state = 'foreground') AS estimated_sessions,
    -- Counted where they have a session in the foreground, so that one may count under two versions or on two days.
    uniqExactIf(stitched_session_id, state = 'foreground') AS stitched_sessions,
    stitched_sessions - uniqExactIf(stitched_session_id, state = 'foreground' AND is_crashed) AS crash_free_stitched_sessions,
    crash_free_stitched_sessions / nullIf(stitched_sessions, 0) AS crash_free_stitched_session_rate
FROM session_health_of_users(app_id = '', from = '1970-01-01', until = '2299-12-31') AS h
GROUP BY app_id, app_version, day;


CREATE OR REPLACE VIEW release_health_between AS
SELECT
    app_id,
    app_version,
    toDate(started_at) AS day,
    countIf(state = 'foreground') AS sessions,
    uniqExactIf(device_id, state = 'foreground') AS devices,
    uniqExactArrayIf(user_ids, state = 'foreground') AS users,
    countIf(state = 'foreground' AND NOT is_crashed) AS crash_free_sessions,
    crash_free_sessions / nullIf(sessions, 0) AS crash_free_session_rate,
    users - uniqExactArrayIf(crash_users, state = 'foreground') AS crash_free_users,
    crash_free_users / nullIf(users, 0) AS crash_free_user_rate,
    devices - uniqExactIf(device_id, state = 'foreground' AND is_crashed) AS crash_free_devices,
    crash_free_devices / nullIf(devices, 0) AS crash_free_device_rate,
    countIf(state = 'foreground' AND NOT is_hung) AS anr_free_sessions,
    anr_free_sessions / nullIf(sessions, 0) AS anr_free_session_rate,
    users - uniqExactArrayIf(anr_users, state = 'foreground') AS anr_free_users,
    anr_free_users / nullIf(users, 0) AS anr_free_user_rate,
    if(sessions = 0, NULL, quantileExactIf(0.5)(duration_ms, state = 'foreground')) AS median_duration_ms,
    if(sessions = 0, NULL, quantileExactIf(0.95)(duration_ms, state = 'foreground')) AS p95_duration_ms,
    countIf(NOT state = 'foreground') AS background_sessions,
    countIf(NOT state = 'foreground' AND is_crashed) AS background_crashes,
    -- The lowest of these sessions. Rates and durations need no scaling, counts do.
    min(h.sample_rate) AS sample_rate,
    sumIf(1 / h.sample_rate, state = 'foreground') AS estimated_sessions,
    -- Counted where they have a session in the foreground, so that one may count under two versions or on two days.
    uniqExactIf(stitched_session_id, state = 'foreground') AS stitched_sessions,
    stitched_sessions - uniqExactIf(stitched_session_id, state = 'foreground' AND is_crashed) AS crash_free_stitched_sessions,
    crash_free_stitched_sessions / nullIf(stitched_sessions, 0) AS crash_free_stitched_session_rate
FROM session_health_of_users(app_id = {app_id:String}, from = {from:String}, until = {until:String}) AS h
GROUP BY app_id, app_version, day;

-- Sessions of a user or of a device (the other one is empty) that crashed and start from `from` and before `until`.
CREATE OR REPLACE VIEW crashed_sessions_of AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last
SELECT session_id, app_id, device_id, started_at, user_ids
FROM session_health
WHERE app_id = {app_id:String} AND is_crashed AND started_at >= first AND started_at < last
    AND ({device_id:String} = '' OR device_id = {device_id:String}) AND ({user_id:String} = '' OR has(user_ids, {user_id:String}))
    AND (toDate(started_at), device_id) IN (
        SELECT day, device_id FROM z_user_days
        WHERE app_id = {app_id:String} AND user_id = {user_id:String} AND {user_id:String} != ''
            AND day >= toDate(first) AND day <= toDate(last)
        UNION ALL
        SELECT toDate(day), device_id FROM z_device_days
        WHERE app_id = {app_id:String} AND device_id = {device_id:String} AND {user_id:String} = ''
            AND day >= toDate32(first) AND day <= toDate32(last));
