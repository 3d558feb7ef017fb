-- Whose an event is: the user whom it names, else the last one named before it in its session, else the first one named
-- after it in its session (SESSIONS.md, "Users"). Where a session has one user, all of its events are his. So only sessions
-- of several are looked into here, and only the events of their devices are read: an index leads to them.
ALTER TABLE session_rows ADD INDEX IF NOT EXISTS several_users_index length(user_ids) TYPE minmax GRANULARITY 1;

ALTER TABLE session_rows MATERIALIZE INDEX several_users_index;

-- Of an app, or of all apps where `app_id` is empty: the events of sessions of several users that start from two days before
-- `from` and before `until`.
CREATE OR REPLACE VIEW event_users AS
WITH
    toDateTime64({from:String}, 3, 'UTC') - INTERVAL 2 DAY AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    shared AS
    (
        -- Outdated rows may name a device too many, which decides nothing.
        SELECT DISTINCT app_id, device_id
        FROM session_rows
        WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND length(user_ids) > 1
            AND started_at >= first AND started_at < last
    )
SELECT
    app_id,
    device_id,
    session_id,
    event_id,
    name,
    kind,
    exit_reason,
    counters,
    if(named_before != '', named_before, named_first) AS user_id
FROM
(
    SELECT
        s.app_id AS app_id,
        s.device_id AS device_id,
        s.session_id AS session_id,
        e.event_id AS event_id,
        e.name AS name,
        e.kind AS kind,
        e.exit_reason AS exit_reason,
        e.counters AS counters,
        anyLastIf(e.user_id, e.user_id != '') OVER (PARTITION BY s.app_id, s.device_id, s.session_id
            ORDER BY e.time, e.rank, e.seq, e.event_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS named_before,
        -- Asked for only where nobody is named before.
        anyIf(e.user_id, e.user_id != '') OVER (PARTITION BY s.app_id, s.device_id, s.session_id
            ORDER BY e.time, e.rank, e.seq, e.event_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS named_first
    FROM
    (
        SELECT app_id, device_id, event_id, time, rank, seq, user_id, name, kind, exit_reason, counters
        FROM narrated_events
        WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND (app_id, device_id) IN (SELECT app_id, device_id FROM shared)
    ) AS e
    ASOF JOIN
    (
        SELECT app_id, device_id, started_at, session_id, length(user_ids) > 1 AND started_at >= first AND started_at < last AS is_asked_for
        FROM sessions
        WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND (app_id, device_id) IN (SELECT app_id, device_id FROM shared)
    ) AS s
    ON e.app_id = s.app_id AND e.device_id = s.device_id AND e.time >= s.started_at
    WHERE s.is_asked_for
);

-- Whose crashes and ANRs were those in sessions of several users; parameters as of `event_users`.
CREATE OR REPLACE VIEW failure_users AS
SELECT
    session_id,
    arraySort(groupUniqArrayIf(user_id, is_crash)) AS crash_users,
    arraySort(groupUniqArrayIf(user_id, is_anr)) AS anr_users
FROM
(
    SELECT
        session_id,
        user_id,
        -- Bits 0 and 1 say that the event counts as a crash and as an ANR.
        bitTest(counters, 0) OR kind IN ('crash', 'exception') OR exit_reason IN ('crash', 'exception') AS is_crash,
        bitTest(counters, 1) OR kind = 'anr' OR exit_reason = 'anr' AS is_anr
    FROM event_users(app_id = {app_id:String}, from = {from:String}, until = {until:String})
    WHERE is_crash OR is_anr
)
GROUP BY session_id;

-- One session as it happened. `user_id` is whose the event is.
CREATE OR REPLACE VIEW session_timeline AS
WITH
    (SELECT (app_id, device_id, started_at) FROM sessions WHERE session_id = {session_id:UUID}) AS found,
    (
        SELECT if(count() = 0, toDateTime64('2299-12-31 00:00:00', 3, 'UTC'), min(started_at))
        FROM sessions
        WHERE app_id = found.1 AND device_id = found.2 AND started_at > found.3
    ) AS next_started_at
SELECT
    {session_id:UUID} AS session_id,
    dateDiff('millisecond', assumeNotNull(found.3), e.time) AS offset_ms,
    e.time AS time,
    e.kind AS kind,
    e.what AS what,
    e.name AS name,
    e.attributes AS attributes,
    e.event_id AS event_id,
    e.seq AS seq,
    e.app_id AS app_id,
    e.device_id AS device_id,
    if(e.named_before != '', e.named_before, e.named_first) AS user_id
FROM
(
    SELECT
        time, kind, what, name, attributes, event_id, seq, rank, app_id, device_id,
        anyLastIf(n.user_id, n.user_id != '') OVER (ORDER BY time, rank, seq, event_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS named_before,
        anyIf(n.user_id, n.user_id != '') OVER (ORDER BY time, rank, seq, event_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS named_first
    FROM narrated_events AS n
    WHERE app_id = found.1 AND device_id = found.2 AND time >= found.3 AND time < next_started_at
) AS e
ORDER BY e.time, e.rank, e.seq, e.event_id;

-- All events of a user, over all devices, with the session of each. His sessions are found through an index, and then only
-- his devices' events are read.
CREATE OR REPLACE VIEW user_timeline AS
WITH
    theirs AS
    (
        SELECT device_id, started_at
        FROM sessions
        WHERE app_id = {app_id:String} AND has(user_ids, {user_id:String})
    ),
    (SELECT min(started_at) FROM theirs) AS since
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
    user_id
FROM
(
    SELECT
        s.session_id AS session_id, s.started_at AS started_at,
        e.time AS time, e.kind AS kind, e.what AS what, e.name AS name, e.attributes AS attributes,
        e.event_id AS event_id, e.seq AS seq, e.app_id AS app_id, e.device_id AS device_id, e.rank AS rank,
        anyLastIf(e.user_id, e.user_id != '') OVER (PARTITION BY s.device_id, s.session_id
            ORDER BY e.time, e.rank, e.seq, e.event_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS named_before,
        anyIf(e.user_id, e.user_id != '') OVER (PARTITION BY s.device_id, s.session_id
            ORDER BY e.time, e.rank, e.seq, e.event_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS named_first,
        if(named_before != '', named_before, named_first) AS user_id
    FROM
    (
        SELECT *
        FROM narrated_events
        WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM theirs) AND time >= since
            -- The expression is what event_rows is partitioned by: the other partitions need not be asked.
            AND cityHash64(app_id, device_id) % 8 IN (
                SELECT cityHash64(toLowCardinality({app_id:String}), device_id) % 8 FROM theirs)
    ) AS e
    ASOF JOIN
    (
        SELECT device_id, started_at, session_id, has(user_ids, {user_id:String}) AS is_theirs
        FROM sessions
        WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM theirs) AND started_at >= since
    ) AS s
    ON e.device_id = s.device_id AND e.time >= s.started_at
    WHERE s.is_theirs
) AS t
WHERE user_id = {user_id:String}
ORDER BY t.time, device_id, rank, seq, event_id;

-- As before, with all users of the members.
CREATE OR REPLACE VIEW stitched_sessions AS
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
    min(s.is_final) AS is_final
FROM sessions AS s
GROUP BY app_id, device_id, stitched_session_id;

-- Each session, with what release_health counts. A crash that only an exit record tells is one too.
CREATE OR REPLACE VIEW session_health AS
SELECT
    *,
    crash_count > 0 OR end_reason IN ('crash', 'exception') OR exit_reason IN ('crash', 'exception') AS is_crashed,
    anr_count > 0 OR end_reason = 'anr' OR exit_reason = 'anr' AS is_hung
FROM sessions;

-- The same, and whose its crashes and ANRs are: of a session of several users those users alone. Parameters as of `event_users`.
CREATE OR REPLACE VIEW session_health_of_users AS
SELECT
    h.*,
    multiIf(NOT h.is_crashed, [], length(h.user_ids) <= 1, h.user_ids,
        notEmpty(f.crash_users), arrayIntersect(f.crash_users, h.user_ids), [h.user_id]) AS crash_users,
    multiIf(NOT h.is_hung, [], length(h.user_ids) <= 1, h.user_ids,
        notEmpty(f.anr_users), arrayIntersect(f.anr_users, h.user_ids), [h.user_id]) AS anr_users
FROM session_health AS h
LEFT ANY JOIN
(
    SELECT session_id, crash_users, anr_users
    FROM failure_users(app_id = {app_id:String}, from = {from:String}, until = {until:String})
) AS f
ON h.session_id = f.session_id
WHERE ({app_id:String} = '' OR h.app_id = {app_id:String})
    AND h.started_at >= toDateTime64({from:String}, 3, 'UTC') AND h.started_at < toDateTime64({until:String}, 3, 'UTC');

-- How a version does, day by day (UTC, by the start of the session), in the foreground; sessions in the background, and how
-- many of them crashed, stand beside it. Users are the named ones; apps without users read the devices. A rate over nobody
-- is NULL, not 1.
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
    countIf(NOT state = 'foreground' AND is_crashed) AS background_crashes
FROM session_health_of_users(app_id = '', from = '1970-01-01', until = '2299-12-31')
GROUP BY app_id, app_version, day;

CREATE OR REPLACE VIEW daily_activity AS
SELECT
    app_id,
    toDate(started_at) AS day,
    count() AS sessions,
    uniqExact(device_id) AS devices,
    uniqExactArray(user_ids) AS users,
    sum(s.duration_ms) AS duration_ms,
    quantileExact(0.5)(s.duration_ms) AS median_duration_ms
FROM sessions AS s
GROUP BY app_id, day;

-- As release_health counts them, of all versions together.
CREATE OR REPLACE VIEW crash_free_users_daily AS
SELECT
    app_id,
    toDate(started_at) AS day,
    uniqExactArrayIf(user_ids, state = 'foreground') AS users,
    users - uniqExactArrayIf(crash_users, state = 'foreground') AS crash_free_users,
    crash_free_users / nullIf(users, 0) AS crash_free_user_rate
FROM session_health_of_users(app_id = '', from = '1970-01-01', until = '2299-12-31')
GROUP BY app_id, day;

-- The notable events of an app, each with its session (the one of its device with the greatest start not after it) and
-- with whose it is. Sessions are looked for from two days before: none lasts as long.
CREATE OR REPLACE VIEW notable_events_in_sessions AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    wanted AS
    (
        SELECT device_id, event_id, time, label, detail
        FROM notable_events
        WHERE app_id = {app_id:String} AND subject = {subject:String} AND time >= first AND time < last
    ),
    found AS
    (
        SELECT
            s.session_id AS session_id,
            e.device_id AS device_id,
            e.event_id AS event_id,
            e.time AS time,
            e.label AS label,
            e.detail AS detail,
            s.user_ids AS user_ids,
            s.app_version AS app_version
        FROM wanted AS e
        ASOF JOIN
        (
            SELECT device_id, started_at, session_id, user_ids, app_version
            FROM sessions
            WHERE app_id = {app_id:String} AND started_at >= first - INTERVAL 2 DAY AND started_at < last
        ) AS s
        ON e.device_id = s.device_id AND e.time >= s.started_at
    )
SELECT
    f.session_id AS session_id,
    f.device_id AS device_id,
    f.event_id AS event_id,
    f.time AS time,
    f.label AS label,
    f.detail AS detail,
    if(length(f.user_ids) > 1, u.user_id, f.user_ids[1]) AS user_id,
    f.app_version AS app_version
FROM found AS f
LEFT ANY JOIN
(
    SELECT device_id, event_id, user_id
    FROM event_users(app_id = {app_id:String}, from = {from:String}, until = {until:String})
) AS u
ON f.device_id = u.device_id AND f.event_id = u.event_id;
