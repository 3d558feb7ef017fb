-- Where to look. The big tables have app and day first, and these say on which days something lies that is asked for by another
-- name: a device, a session's id, a user, the day of another time than the key's. So what a question costs follows what it
-- asks for, and not how much came before.
--
-- They hold no truth, only places: a row too many costs a look and changes no answer, so they need no versions and nothing is
-- taken back in them. Nothing expires in them either: a row is some bytes for the day of a device, and a place must not be
-- forgotten before what lies there. Granules are small, since nearly all that is asked of them is one key.

-- The days on which a device has events: by corrected time, and by the device's own stamp, which is what the events lie by. A
-- session starts with an event, so these are the days of its sessions as well.
CREATE TABLE IF NOT EXISTS z_device_days
(
    app_id    LowCardinality(String),
    device_id String CODEC(ZSTD(1)),
    day       Date32 CODEC(Delta, ZSTD(1)),
    raw_day   Date32 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (app_id, device_id, day, raw_day)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

-- Of events that lie on another day than that of a time by which they are asked for: 'time' is the corrected one, 'received'
-- that of the record, 'stored' the broker's own. Clocks that are wrong by days or years, and what came days later, are found
-- here; whoever asks for a range reads the days of the range and these.
CREATE TABLE IF NOT EXISTS z_elsewhere_days
(
    app_id    LowCardinality(String),
    by        LowCardinality(String),
    day       Date32 CODEC(Delta, ZSTD(1)),
    device_id String CODEC(ZSTD(1)),
    raw_day   Date32 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (app_id, by, day, device_id, raw_day)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

-- Where the sessions of an id lie: a session's own, or that of a stitched session.
CREATE TABLE IF NOT EXISTS z_session_places
(
    id        UUID,
    app_id    LowCardinality(String),
    day       Date,
    device_id String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (id, app_id, day, device_id)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

-- The days and devices on which a user has sessions.
CREATE TABLE IF NOT EXISTS z_user_days
(
    app_id    LowCardinality(String),
    user_id   String CODEC(ZSTD(1)),
    day       Date CODEC(Delta, ZSTD(1)),
    device_id String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (app_id, user_id, day, device_id)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

-- Of each app when its oldest and its newest session started, and how many rows were written of them: about how large it is.
CREATE TABLE IF NOT EXISTS z_apps
(
    app_id LowCardinality(String),
    oldest SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    newest SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    written SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY app_id
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

-- Every day of every device in a block of events, once: the tables of days get their rows from here, and nothing is kept.
CREATE TABLE IF NOT EXISTS z_day_feed
(
    app_id      LowCardinality(String),
    device_id   String,
    day         Date32,
    raw_day     Date32,
    received_on Date32,
    stored_day  Date32
)
ENGINE = Null;

-- On the table that all events reach, by whatever way.
CREATE MATERIALIZED VIEW IF NOT EXISTS z_day_tap TO z_day_feed AS
SELECT DISTINCT
    app_id, device_id, toDate32(time) AS day, toDate32(raw_time) AS raw_day, toDate32(received_at) AS received_on,
    toDate32(stored_on) AS stored_day
FROM z_event_rows
WHERE is_deleted = 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_device_day_tap TO z_device_days AS
SELECT DISTINCT app_id, device_id, day, raw_day FROM z_day_feed;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_elsewhere_day_tap TO z_elsewhere_days AS
SELECT app_id, other.1 AS by, other.2 AS day, device_id, raw_day
FROM
(
    SELECT app_id, device_id, raw_day, arrayJoin([('time', day), ('received', received_on), ('stored', stored_day)]) AS other
    FROM z_day_feed
)
WHERE other.2 != raw_day;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_session_place_tap TO z_session_places AS
SELECT DISTINCT arrayJoin([session_id, stitched_session_id]) AS id, app_id, toDate(started_at) AS day, device_id
FROM session_rows;

-- A session may be stored before its events.
CREATE MATERIALIZED VIEW IF NOT EXISTS z_session_day_tap TO z_device_days AS
SELECT DISTINCT app_id, device_id, toDate32(started_at) AS day, toDate32(started_at) AS raw_day
FROM session_rows;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_user_day_tap TO z_user_days AS
SELECT DISTINCT app_id, arrayJoin(user_ids) AS user_id, toDate(started_at) AS day, device_id
FROM session_rows;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_app_tap TO z_apps AS
SELECT app_id, min(started_at) AS oldest, max(started_at) AS newest, count() AS written
FROM session_rows
GROUP BY app_id;

-- Of the past. In the order of the old table, so that no more than a part of it is in memory.
INSERT INTO z_day_feed
SELECT app_id, device_id, toDate32(time) AS day, toDate32(raw_time) AS raw_day, toDate32(received_at) AS received_on, received_on AS stored_day
FROM z_unmerged_events
GROUP BY app_id, device_id, day, raw_day, received_on
SETTINGS optimize_aggregation_in_order = 1;

INSERT INTO z_session_places
SELECT DISTINCT arrayJoin([session_id, stitched_session_id]) AS id, app_id, toDate(started_at) AS day, device_id FROM session_rows;

INSERT INTO z_device_days
SELECT DISTINCT app_id, device_id, toDate32(started_at) AS day, toDate32(started_at) AS raw_day FROM session_rows;

INSERT INTO z_user_days
SELECT DISTINCT app_id, arrayJoin(user_ids) AS user_id, toDate(started_at) AS day, device_id FROM session_rows;

INSERT INTO z_apps
SELECT app_id, min(started_at) AS oldest, max(started_at) AS newest, count() AS written FROM session_rows GROUP BY app_id;

-- Open sessions are few, and all are asked for whenever somebody looks at the pipeline.
ALTER TABLE session_rows ADD INDEX IF NOT EXISTS open_index status TYPE set(2) GRANULARITY 1;

ALTER TABLE session_rows MATERIALIZE INDEX open_index;

-- A reason is looked for in all dead letters with every list of sessions (devices_set_aside).
ALTER TABLE dead_letter_rows ADD INDEX IF NOT EXISTS reason_index reason TYPE set(32) GRANULARITY 1;

ALTER TABLE dead_letter_rows MATERIALIZE INDEX reason_index;

ALTER TABLE dead_letter_rows ADD INDEX IF NOT EXISTS time_index time TYPE minmax GRANULARITY 1;

ALTER TABLE dead_letter_rows MATERIALIZE INDEX time_index;

-- The events of an app from `from` and before `until`, as `events` has them: clocks that are wrong by years cost no more than
-- the days of their devices. Without `conflicts`, for which all keys are read.
CREATE OR REPLACE VIEW events_between AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last
SELECT * EXCEPT (conflicts)
FROM events
WHERE app_id = {app_id:String} AND time >= first AND time < last
    AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last)
        OR (toDate32(raw_time), device_id) IN (
            SELECT raw_day, device_id FROM z_elsewhere_days
            WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last)));

CREATE OR REPLACE VIEW notable_events_between AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last
SELECT app_id, subject, device_id, event_id, time, label, detail, launch_ms
FROM notable_events
WHERE app_id = {app_id:String} AND subject = {subject:String} AND time >= first AND time < last
    AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last)
        OR (toDate32(raw_time), device_id) IN (
            SELECT raw_day, device_id FROM z_elsewhere_days
            WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last)));

-- A session by its id, or all of a stitched session's: as `sessions` has them.
CREATE OR REPLACE VIEW sessions_of_id AS
SELECT *
FROM sessions
WHERE (session_id = {id:UUID} OR stitched_session_id = {id:UUID})
    AND (app_id, toDate(started_at), device_id) IN (SELECT app_id, day, device_id FROM z_session_places WHERE id = {id:UUID});

-- Whose each event of sessions of several users is that start from two days before `from` and before `until`. Parameters
-- and columns as before. Only the days are read that such a session reaches to, or the range does.
CREATE OR REPLACE VIEW event_users AS
WITH
    toDateTime64({from:String}, 3, 'UTC') - INTERVAL 2 DAY AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    shared AS
    (
        -- Outdated rows may name a device too many, or a day, which decides nothing.
        SELECT app_id, device_id, toDate32(greatest(last, max(s.last_event_at))) AS until_day
        FROM session_rows AS s
        WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND length(user_ids) > 1
            AND started_at >= first AND started_at < last
        GROUP BY app_id, device_id
    ),
    places AS
    (
        SELECT d.app_id AS app_id, d.device_id AS device_id, d.day AS day, d.raw_day AS raw_day
        FROM z_device_days AS d
        INNER JOIN shared AS s ON d.app_id = s.app_id AND d.device_id = s.device_id
        WHERE (d.app_id, d.device_id) IN (SELECT app_id, device_id FROM shared)
            AND d.day >= toDate32(first) AND d.day <= s.until_day
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
        WHERE ({app_id:String} = '' OR app_id = {app_id:String})
            AND (app_id, toDate32(raw_time), device_id, toDate32(time)) IN (SELECT app_id, raw_day, device_id, day FROM places)
            AND time >= first
    ) AS e
    ASOF JOIN
    (
        SELECT app_id, device_id, started_at, session_id, length(user_ids) > 1 AND started_at >= first AND started_at < last AS is_asked_for
        FROM sessions
        WHERE ({app_id:String} = '' OR app_id = {app_id:String})
            AND (app_id, toDate(started_at), device_id) IN (SELECT app_id, toDate(day), device_id FROM places)
    ) AS s
    ON e.app_id = s.app_id AND e.device_id = s.device_id AND e.time >= s.started_at
    WHERE s.is_asked_for
);

-- As before: its own days bound it, the next session's is the last of them.
CREATE OR REPLACE VIEW session_timeline AS
WITH
    (SELECT (app_id, device_id, started_at) FROM sessions_of_id(id = {session_id:UUID}) WHERE session_id = {session_id:UUID}) AS found,
    -- The next days with events tell nearly always; a late event may have dissolved the sessions of some.
    (
        SELECT if(count() = 0, NULL, min(started_at))
        FROM sessions
        WHERE app_id = found.1 AND device_id = found.2 AND started_at > found.3 AND toDate(started_at) IN (
            SELECT DISTINCT toDate(day) FROM z_device_days
            WHERE app_id = found.1 AND device_id = found.2 AND day >= toDate32(found.3)
            ORDER BY 1 LIMIT 4)
    ) AS near_start,
    (
        SELECT if(count() = 0, NULL, min(started_at))
        FROM sessions
        WHERE app_id = found.1 AND device_id = found.2 AND started_at > found.3 AND toDate(started_at) IN (
            SELECT toDate(day) FROM z_device_days
            WHERE app_id = found.1 AND device_id = found.2 AND day >= toDate32(found.3) AND near_start IS NULL)
    ) AS far_start,
    coalesce(near_start, far_start, toDateTime64('2299-12-31 00:00:00', 3, 'UTC')) AS next_started_at
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
        AND toDate32(raw_time) IN (
            SELECT raw_day FROM z_device_days
            WHERE app_id = found.1 AND device_id = found.2 AND day >= toDate32(found.3) AND day <= toDate32(next_started_at))
) AS e
ORDER BY e.time, e.rank, e.seq, e.event_id;

-- As before: the days bound it on which his sessions are.
CREATE OR REPLACE VIEW user_timeline AS
WITH
    theirs AS
    (
        SELECT device_id, started_at
        FROM sessions
        WHERE app_id = {app_id:String} AND has(user_ids, {user_id:String}) AND (toDate(started_at), device_id) IN (
            SELECT day, device_id FROM z_user_days WHERE app_id = {app_id:String} AND user_id = {user_id:String})
    ),
    -- Each of his devices from the day of his first session there.
    since AS (SELECT device_id, min(t.started_at) AS at FROM theirs AS t GROUP BY device_id),
    later AS
    (
        SELECT d.device_id AS device_id, d.day AS day, d.raw_day AS raw_day
        FROM z_device_days AS d
        INNER JOIN since AS s ON d.device_id = s.device_id
        WHERE d.app_id = {app_id:String} AND d.device_id IN (SELECT device_id FROM since) AND d.day >= toDate32(s.at)
    ),
    on_devices AS
    (
        SELECT device_id, started_at, session_id, has(user_ids, {user_id:String}) AS is_theirs
        FROM sessions
        WHERE app_id = {app_id:String} AND (toDate(started_at), device_id) IN (SELECT toDate(day), device_id FROM later)
    ),
    -- From a session of his to before the next one.
    spans AS
    (
        SELECT device_id, toDate32(started_at) AS first_day, toDate32(next_at) AS last_day
        FROM
        (
            SELECT device_id, started_at, is_theirs, leadInFrame(started_at, 1, toDateTime64('2299-12-31 00:00:00', 3, 'UTC'))
                OVER (PARTITION BY device_id ORDER BY started_at ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_at
            FROM on_devices
        )
        WHERE is_theirs
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
        WHERE app_id = {app_id:String} AND (toDate32(raw_time), device_id, toDate32(time)) IN (
            SELECT l.raw_day, l.device_id, l.day
            FROM later AS l
            INNER JOIN spans AS s ON l.device_id = s.device_id
            WHERE l.day >= s.first_day AND l.day <= s.last_day)
    ) AS e
    ASOF JOIN on_devices AS s
    ON e.device_id = s.device_id AND e.time >= s.started_at
    WHERE s.is_theirs
) AS t
WHERE user_id = {user_id:String}
ORDER BY t.time, device_id, rank, seq, event_id;

-- As before, over the events of the range alone.
CREATE OR REPLACE VIEW notable_events_in_sessions AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
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
        FROM notable_events_between(
            app_id = {app_id:String}, subject = {subject:String}, from = {from:String}, until = {until:String}) AS e
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

-- As before: launches and views are those of the range and a day more.
CREATE OR REPLACE VIEW cold_starts AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    near AS
    (
        SELECT subject, device_id, time, launch_ms
        FROM notable_events
        WHERE app_id = {app_id:String} AND subject IN ('launch', 'view') AND time >= first AND time < last + INTERVAL 1 DAY
            AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last) + 1
                OR (toDate32(raw_time), device_id) IN (
                    SELECT raw_day, device_id FROM z_elsewhere_days
                    WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last) + 1))
    ),
    launched AS
    (
        SELECT s.session_id AS session_id, s.device_id AS device_id, s.last_event_at AS last_event_at,
            l.time AS time, l.launch_ms AS launch_ms
        FROM
        (
            SELECT session_id, device_id, started_at, last_event_at
            FROM sessions
            WHERE app_id = {app_id:String} AND started_at >= first AND started_at < last AND cold_start
        ) AS s
        ASOF JOIN (SELECT device_id, time, launch_ms FROM near WHERE subject = 'launch') AS l
        ON s.device_id = l.device_id AND s.started_at <= l.time
        WHERE l.time <= s.last_event_at
    )
SELECT
    c.session_id AS session_id,
    c.device_id AS device_id,
    toUInt32(if(c.launch_ms > 0, c.launch_ms, dateDiff('millisecond', c.time, v.time))) AS cold_start_ms,
    if(c.launch_ms > 0, 'measured', 'first_view') AS source
FROM launched AS c
ASOF LEFT JOIN (SELECT device_id, time FROM near WHERE subject = 'view') AS v
ON c.device_id = v.device_id AND c.time <= v.time
WHERE c.launch_ms > 0
    OR (v.device_id != '' AND v.time <= c.last_event_at AND dateDiff('millisecond', c.time, v.time) <= 60000);

-- As before. What a device sent before settles what is late: of that only what lies from its oldest event of the range on.
CREATE OR REPLACE VIEW late_events AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    devices AS
    (
        SELECT device_id, toDate32(min(u.time)) AS since
        FROM z_unmerged_events AS u
        WHERE app_id = {app_id:String} AND received_at >= first AND received_at < last
            AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last)
                OR (toDate32(raw_time), device_id) IN (
                    SELECT raw_day, device_id FROM z_elsewhere_days
                    WHERE app_id = {app_id:String} AND by = 'received' AND day BETWEEN toDate32(first) AND toDate32(last)))
        GROUP BY device_id
    ),
    places AS
    (
        SELECT d.device_id AS device_id, d.day AS day, d.raw_day AS raw_day, a.since AS since
        FROM z_device_days AS d
        INNER JOIN devices AS a ON d.device_id = a.device_id
        WHERE d.app_id = {app_id:String} AND d.device_id IN (SELECT device_id FROM devices)
            AND d.day >= (SELECT min(since) - 7 FROM devices) AND d.day >= a.since - 7
    ),
    -- The session that an event is in may have started days before it. Where there is none within a week, all days are looked at.
    with_near_start AS
    (
        SELECT n.device_id AS device_id
        FROM
        (
            SELECT device_id, started_at
            FROM sessions
            WHERE app_id = {app_id:String} AND (toDate(started_at), device_id) IN (
                SELECT toDate(day), device_id FROM places WHERE day <= since)
        ) AS n
        INNER JOIN devices AS a ON n.device_id = a.device_id
        WHERE toDate32(n.started_at) < a.since
    )
SELECT
    s.session_id AS session_id,
    l.device_id AS device_id,
    l.event_id AS event_id,
    l.time AS time,
    l.received_at AS received_at,
    l.name AS name,
    l.kind AS kind,
    dateDiff('millisecond', l.time, l.latest.1) AS behind_ms
FROM
(
    SELECT
        e.device_id AS device_id, e.event_id AS event_id, e.time AS time, e.received_at AS received_at, e.name AS name, e.kind AS kind,
        (e.time, e.rank, e.seq, e.event_id) AS place,
        max(place) OVER (PARTITION BY e.device_id ORDER BY e.offset, e.event_index
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS latest
    FROM narrated_events AS e
    WHERE e.app_id = {app_id:String}
        AND (toDate32(e.raw_time), e.device_id, toDate32(e.time)) IN (SELECT raw_day, device_id, day FROM places WHERE day >= since)
) AS l
ASOF LEFT JOIN
(
    SELECT device_id, started_at, toNullable(session_id) AS session_id
    FROM sessions
    WHERE app_id = {app_id:String} AND (toDate(started_at), device_id) IN (
        SELECT toDate(day), device_id FROM places
        UNION ALL
        SELECT toDate(day), device_id FROM z_device_days
        WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM devices)
            AND device_id NOT IN (SELECT device_id FROM with_near_start))
) AS s
ON l.device_id = s.device_id AND l.time >= s.started_at
WHERE l.place < l.latest AND l.received_at >= first AND l.received_at < last;

-- As before: of a device that has sessions in the range the days from there on, and its last session before.
CREATE OR REPLACE VIEW unrestated_sessions AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    devices AS
    (
        SELECT device_id
        FROM session_rows
        WHERE app_id = {app_id:String} AND started_at >= first AND started_at < last
    ),
    later AS
    (
        SELECT device_id, day, raw_day
        FROM z_device_days
        WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM devices) AND day >= toDate32(first)
    ),
    -- Whether an event is before the first session of its device: nearly always a session of the week before tells.
    with_near_start AS
    (
        SELECT device_id
        FROM sessions
        WHERE app_id = {app_id:String} AND started_at >= first - INTERVAL 7 DAY AND started_at < first
            AND device_id IN (SELECT device_id FROM devices)
    ),
    on_devices AS
    (
        SELECT device_id, started_at, toNullable(session_id) AS session_id, status, is_final, is_set_aside, event_count
        FROM sessions
        WHERE app_id = {app_id:String} AND (toDate(started_at), device_id) IN (
            SELECT toDate(day), device_id FROM later
            UNION ALL
            SELECT toDate(day), device_id FROM z_device_days
            WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM devices)
                AND device_id NOT IN (SELECT device_id FROM with_near_start) AND day < toDate32(first)
            UNION ALL
            SELECT toDate(day), device_id FROM z_device_days
            WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM with_near_start)
                AND day < toDate32(first) AND day >= toDate32(first) - 8)
    )
SELECT
    session_id,
    device_id,
    any(s.started_at) AS started_at,
    any(s.is_final) AS is_final,
    any(s.is_set_aside) AS is_set_aside,
    any(s.event_count) AS event_count,
    toUInt32(greatest(0, countIf(session_id IS NOT NULL OR e.kind != 'passive') - toInt64(event_count))) AS unrestated_events
FROM
(
    SELECT device_id, time, kind
    FROM events
    WHERE app_id = {app_id:String} AND (toDate32(raw_time), device_id, toDate32(time)) IN (SELECT raw_day, device_id, day FROM later)
        AND time >= first
) AS e
ASOF LEFT JOIN on_devices AS s
ON e.device_id = s.device_id AND e.time >= s.started_at
WHERE session_id IS NULL OR (s.status = 'closed' AND s.started_at >= first AND s.started_at < last)
GROUP BY device_id, session_id
HAVING unrestated_events > 0;

-- As release_health, of the sessions of an app that start from `from` and before `until`: nothing else is read.
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
    countIf(NOT state = 'foreground' AND is_crashed) AS background_crashes
FROM session_health_of_users(app_id = {app_id:String}, from = {from:String}, until = {until:String})
GROUP BY app_id, app_version, day;

-- The latest day on which something came in.
CREATE TABLE IF NOT EXISTS z_ledger_end
(
    day SimpleAggregateFunction(max, Date)
)
ENGINE = AggregatingMergeTree
ORDER BY tuple()
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_ledger_end_tap TO z_ledger_end AS
SELECT max(stored_on) AS day FROM ledger_records;

INSERT INTO z_ledger_end SELECT max(stored_on) AS day FROM ledger_records;

ALTER TABLE ledger_records ADD INDEX IF NOT EXISTS stored_index stored_on TYPE minmax GRANULARITY 1;

ALTER TABLE ledger_records MATERIALIZE INDEX stored_index;

-- The ledger of what the broker stored from one day on and before another: columns and meaning as those of `ledger`, but for
-- `conflicts`. (The first version of an event may be of any time, so that these take all versions to tell.) Of a range of
-- offsets only that is in it which came on these days.
CREATE OR REPLACE VIEW ledger_between AS
WITH
    toDate({from:String}) AS first,
    toDate({until:String}) AS last,
    toDate(now('UTC')) AS today,
    (SELECT arrayPushBack(groupArray(app_id), '') FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_apps,
    (SELECT arrayPushBack(groupArray(kept_from), toDate(0)) FROM (SELECT app_id, kept_from FROM z_retention_cuts FINAL ORDER BY app_id)) AS cut_days,
    records AS
    (
        SELECT topic, partition, offset, received, refused, app_id, stored_on, retention_days
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
    toInt64(r.received) - toInt64(r.refused) - toInt64(r.expired) - toInt64(s.events) AS duplicates,
    r.refused AS refused,
    s.repaired AS repaired,
    r.expired AS expired
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
        sumIf(l.received - l.refused, (retention_days != 0 AND stored_on + retention_days < today)
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

-- As stitched_sessions, of those of an app that begin from `from` and before `until`: only their members are read.
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
    min(s.is_final) AS is_final
FROM
(
    SELECT *
    FROM sessions
    WHERE app_id = {app_id:String} AND (app_id, toDate(started_at), device_id) IN (
        SELECT app_id, day, device_id FROM z_session_places
        WHERE id IN (
            SELECT stitched_session_id FROM session_rows
            WHERE app_id = {app_id:String}
                AND started_at >= toDateTime64({from:String}, 3, 'UTC') AND started_at < toDateTime64({until:String}, 3, 'UTC')))
) AS s
GROUP BY app_id, device_id, stitched_session_id
HAVING started_at >= toDateTime64({from:String}, 3, 'UTC') AND started_at < toDateTime64({until:String}, 3, 'UTC');

-- As before: a device is new on the first day it was ever seen, and nearly always a session of the week before the range tells
-- that it was there before; of the other devices all days are looked up.
CREATE OR REPLACE VIEW retention AS
WITH
    toDate({until:String}) AS last,
    toDateTime64(toDate({from:String}), 3, 'UTC') AS first,
    greatest(first - INTERVAL 7 DAY, toDateTime64(0, 3, 'UTC')) AS week,
    days_of_devices AS
    (
        SELECT device_id, groupUniqArray(toDate(started_at)) AS days, arrayMin(days) AS cohort
        FROM sessions
        WHERE app_id = {app_id:String} AND started_at < toDateTime64({until:String}, 3, 'UTC')
            AND (started_at >= week OR (toDate(started_at), device_id) IN (
                SELECT toDate(day), device_id FROM z_device_days
                WHERE app_id = {app_id:String} AND day <= toDate32(week)
                    AND device_id IN (
                        SELECT device_id FROM session_rows
                        WHERE app_id = {app_id:String} AND started_at >= first AND started_at < toDateTime64({until:String}, 3, 'UTC'))
                    AND device_id NOT IN (
                        SELECT device_id FROM sessions
                        WHERE app_id = {app_id:String} AND started_at >= week AND started_at < first)))
        GROUP BY device_id
        HAVING cohort >= toDate({from:String})
    )
SELECT
    cohort,
    day_number,
    count() AS devices,
    countIf(has(days, cohort + day_number)) AS retained,
    retained / devices AS retention_rate
FROM days_of_devices
ARRAY JOIN range(toUInt16({days:UInt16}) + 1) AS day_number
WHERE cohort + day_number < last
GROUP BY cohort, day_number
ORDER BY cohort, day_number;
