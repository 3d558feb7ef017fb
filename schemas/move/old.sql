-- What all views of events read, while a database of before 0019 is moved: the old tables, which still get everything.
CREATE OR REPLACE VIEW z_stored_events AS
SELECT
    app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, exit_reason, counters,
    stated, user_id, resource_json, user_json, app_version, attributes, repaired, topic, partition, offset, event_index,
    status_code, toDate(received_at) AS stored_on, toUInt16(0) AS retention_days
FROM event_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW z_unmerged_events AS
SELECT app_id, device_id, time, raw_time, received_at, name, attributes, topic, partition, offset
FROM event_rows;

CREATE OR REPLACE VIEW z_stored_event_versions AS
SELECT event_key, content, topic, partition, version
FROM event_version_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW notable_events AS
SELECT app_id, subject, device_id, event_id, time, label, detail, launch_ms, time AS raw_time
FROM notable_event_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- As in new.sql, over the views above.
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
        SELECT
            app_id, device_id, event_id, time, seq, user_id, name, kind, exit_reason, counters,
            -- As in `narrated_events`.
            CAST(transform(kind,
                ['foreground', 'active', 'launch', 'activity', 'session_end', 'background', 'crash', 'exception', 'anr', 'exit', 'passive'],
                [0, 0, 1, 2, 3, 3, 4, 4, 4, 5, 6], 2), 'UInt8') AS rank
        FROM z_stored_events
        WHERE ({app_id:String} = '' OR app_id = {app_id:String})
            AND (app_id, toDate32(raw_time), device_id, toDate32(time)) IN (SELECT app_id, raw_day, device_id, day FROM places)
            AND time >= first
    ) AS e
    ASOF JOIN
    (
        SELECT app_id, device_id, started_at, session_id, length(user_ids) > 1 AND started_at >= first AND started_at < last AS is_asked_for
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND ({app_id:String} = '' OR app_id = {app_id:String})
            -- A session lasts for less than two days: what starts later has none of the events.
            AND started_at >= first - INTERVAL 1 DAY AND started_at < last + INTERVAL 3 DAY
            AND (app_id, device_id) IN (
                SELECT app_id, device_id FROM session_rows
                WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND length(user_ids) > 1
                    AND started_at >= first AND started_at < last)
    ) AS s
    ON e.app_id = s.app_id AND e.device_id = s.device_id AND e.time >= s.started_at
    WHERE s.is_asked_for
)
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As in new.sql.
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
            -- The first of the two is for the index alone: without it all days of all devices of the app would be read.
            AND d.day >= (SELECT min(since) - 7 FROM devices) AND d.day >= a.since - 7
    ),
    -- The session that an event is in may have started days before it. Where there is none within a week, all days are looked at.
    with_near_start AS
    (
        SELECT device_id
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND app_id = {app_id:String} AND (toDate(started_at), device_id) IN (
            SELECT toDate(day), device_id FROM places WHERE day < since)
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
        -- As in `narrated_events`.
        CAST(transform(kind,
            ['foreground', 'active', 'launch', 'activity', 'session_end', 'background', 'crash', 'exception', 'anr', 'exit', 'passive'],
            [0, 0, 1, 2, 3, 3, 4, 4, 4, 5, 6], 2), 'UInt8') AS rank,
        (e.time, rank, e.seq, e.event_id) AS place,
        max(place) OVER (PARTITION BY e.device_id ORDER BY e.offset, e.event_index
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS latest
    FROM z_stored_events AS e
    WHERE e.app_id = {app_id:String}
        AND (toDate32(e.raw_time), e.device_id, toDate32(e.time)) IN (SELECT raw_day, device_id, day FROM places WHERE day >= since)
) AS l
ASOF LEFT JOIN
(
    SELECT device_id, started_at, toNullable(session_id) AS session_id
    FROM session_rows FINAL
    WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
        AND app_id = {app_id:String} AND (toDate(started_at), device_id) IN (
        SELECT toDate(day), device_id FROM places
        UNION ALL
        SELECT toDate(day), device_id FROM z_device_days
        WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM devices)
            AND device_id NOT IN (SELECT device_id FROM with_near_start))
) AS s
ON l.device_id = s.device_id AND l.time >= s.started_at
WHERE l.place < l.latest AND l.received_at >= first AND l.received_at < last
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;
