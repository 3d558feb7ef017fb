-- Views that cost less to plan: what the server works out of a statement before it reads a row. It analyses each view anew wherever
-- it is named, with all of its columns, whichever are asked for; one with parameters twice, and so again at each level above it.
-- A subquery that is named in WITH is analysed as often as it is named there. So views that others are made of read few and low ones, and
-- name no subquery more often than they have to. Columns, types and rows are those of before.

-- As in 0035, of stored events.
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
        name LIKE 'memory\\_usage%' AND attributes['process.memory.usage'] != '',
            concat(toString(round(toFloat64OrZero(attributes['process.memory.usage']) / 1048576, 1)), ' MiB'),
        name = 'cpu_usage' AND attributes['process.cpu.utilization'] != '',
            concat(toString(round(toFloat64OrZero(attributes['process.cpu.utilization']) * 100, 1)), ' %'),
        name = 'browser.web_vital', concat(upper(attributes['browser.web_vital.name']), ' ', attributes['browser.web_vital.value'],
            if(lower(attributes['browser.web_vital.name']) = 'cls', '', ' ms')),
        name = 'app.jank', concat(attributes['app.jank.frame_count'], ' slow frames'),
        name = 'device.memory.low' AND attributes['trim_memory.level'] != '', attributes['trim_memory.level'],
        name = 'bug_report', attributes['bug_report.description'],
        ''), 1, 300)) AS about,
    if(attributes['app.launch.duration_ms'] = '', '',
        concat(', ', toString(round(toFloat64OrZero(attributes['app.launch.duration_ms']))), ' ms')) AS started_in
SELECT
    app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, user_id, app_version, attributes,
    topic, partition, offset, event_index, exit_reason, counters, stated AS app_state, repaired,
    -- As in `events`.
    toUInt8(arrayCount(n -> (sipHash64(app_id, device_id, event_id), toUInt8(n)) IN (
        SELECT event_key, number FROM conflicting_events), range(1, 9))) AS conflicts,
    resource_json, user_json,
    JSONExtract(resource_json, 'Map(String, String)') AS resource,
    JSONExtract(user_json, 'personas', 'Array(String)') AS personas,
    JSONExtract(user_json, 'properties', 'Map(String, String)') AS properties,
    -- SESSIONS.md, "Order".
    -- Cast, since not every version of the server can make a LowCardinality of a number in a view.
    CAST(transform(kind,
        ['foreground', 'active', 'launch', 'activity', 'session_end', 'background', 'crash', 'exception', 'anr', 'exit', 'passive'],
        [0, 0, 1, 2, 3, 3, 4, 4, 4, 5, 6], 2), 'UInt8') AS rank,
    multiIf(
        kind = 'launch', concat('cold launch', started_in),
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
        name = 'app.launch', trimLeft(concat(attributes['app.launch.type'], ' launch', started_in)),
        name = 'log', trimRight(concat('log ', attributes['severity_text'], ' ', substringUTF8(attributes['body'], 1, 300))),
        name IN ('warm_launch', 'hot_launch'), concat(trimRight(concat(name, ' ', about)), started_in),
        trimRight(concat(name, ' ', about))) AS what
FROM z_stored_events;

-- As in 0022, without `notable_events_between`.
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
        FROM
        (
            SELECT device_id, event_id, time, label, detail
            FROM notable_events
            WHERE app_id = {app_id:String} AND subject = {subject:String} AND time >= first AND time < last
                AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last)
                    OR (toDate32(raw_time), device_id) IN (
                        SELECT raw_day, device_id FROM z_elsewhere_days
                        WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last)))
        ) AS e
        ASOF JOIN
        (
            SELECT device_id, started_at, session_id, user_ids, app_version
            FROM session_rows FINAL
            WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
                AND app_id = {app_id:String} AND started_at >= first - INTERVAL 2 DAY AND started_at < last
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
ON f.device_id = u.device_id AND f.event_id = u.event_id
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As in 0036, of stored rows.
CREATE OR REPLACE VIEW session_health AS
SELECT
    app_id, device_id, session_id, status, state, start_reason, end_reason, exit_reason, cold_start, started_at,
    ended_at, duration_ms, is_final, client_session_id, stitched_session_id, stitched_index, user_id, user_ids,
    personas, properties, app_version, app_build, environment, os_name, os_version, device_manufacturer, device_model,
    sdk_name, sdk_version, resource, event_count, crash_count, anr_count, exception_count, network_count,
    network_error_count, tap_count, view_count, log_error_count, revision, partition, offset, first_event_id,
    last_event_at, arrived_at,
    -- As in `sessions`.
    NOT is_final AND (app_id, device_id) IN (SELECT app_id, device_id FROM devices_set_aside) AS is_set_aside,
    sample_rate, policy_version,
    crash_count > 0 OR end_reason IN ('crash', 'exception') OR exit_reason IN ('crash', 'exception') AS is_crashed,
    anr_count > 0 OR end_reason = 'anr' OR exit_reason = 'anr' AS is_hung
FROM session_rows FINAL
WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As in 0022.
CREATE OR REPLACE VIEW session_timeline AS
WITH
    (
        SELECT (app_id, device_id, started_at)
        FROM session_rows FINAL
        WHERE session_id = {session_id:UUID}
            AND (app_id, toDate(started_at), device_id) IN (SELECT app_id, day, device_id FROM z_session_places WHERE id = {session_id:UUID})
            AND is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
    ) AS found,
    -- The next days with events tell nearly always; a late event may have dissolved the sessions of some.
    (
        SELECT if(count() = 0, NULL, min(started_at))
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND app_id = found.1 AND device_id = found.2 AND started_at > found.3 AND toDate(started_at) IN (
            SELECT DISTINCT toDate(day) FROM z_device_days
            WHERE app_id = found.1 AND device_id = found.2 AND day >= toDate32(found.3)
            ORDER BY 1 LIMIT 4)
    ) AS near_start,
    (
        SELECT if(count() = 0, NULL, min(started_at))
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND app_id = found.1 AND device_id = found.2 AND started_at > found.3 AND toDate(started_at) IN (
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
ORDER BY e.time, e.rank, e.seq, e.event_id
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As in 0027.
CREATE OR REPLACE VIEW stitched_timeline AS
WITH
    (
        SELECT (any(s.app_id), any(s.device_id), min(s.started_at), max(s.started_at))
        FROM session_rows AS s FINAL
        WHERE s.stitched_session_id = {stitched_session_id:UUID}
            AND (s.app_id, toDate(s.started_at), s.device_id) IN (
                SELECT app_id, day, device_id FROM z_session_places WHERE id = {stitched_session_id:UUID})
            AND is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
    ) AS found,
    -- As for a session: the next days with events tell nearly always.
    (
        SELECT if(count() = 0, NULL, min(started_at))
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND app_id = found.1 AND device_id = found.2 AND started_at > found.4 AND toDate(started_at) IN (
            SELECT DISTINCT toDate(day) FROM z_device_days
            WHERE app_id = found.1 AND device_id = found.2 AND day >= toDate32(found.4)
            ORDER BY 1 LIMIT 4)
    ) AS near_start,
    (
        SELECT if(count() = 0, NULL, min(started_at))
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND app_id = found.1 AND device_id = found.2 AND started_at > found.4 AND toDate(started_at) IN (
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
        SELECT time, kind, what, name, attributes, event_id, seq, rank, app_id, device_id, user_id
        FROM narrated_events
        WHERE app_id = found.1 AND device_id = found.2 AND time >= found.3 AND time < next_started_at
            AND toDate32(raw_time) IN (
                SELECT raw_day FROM z_device_days
                WHERE app_id = found.1 AND device_id = found.2 AND day >= toDate32(found.3) AND day <= toDate32(next_started_at))
    ) AS e
    ASOF JOIN
    (
        SELECT device_id, started_at, session_id
        FROM session_rows FINAL
        WHERE stitched_session_id = {stitched_session_id:UUID}
            AND (app_id, toDate(started_at), device_id) IN (
                SELECT app_id, day, device_id FROM z_session_places WHERE id = {stitched_session_id:UUID})
            AND is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
    ) AS s
    ON e.device_id = s.device_id AND e.time >= s.started_at
) AS t
ORDER BY t.time, t.rank, t.seq, t.event_id
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As in 0022.
CREATE OR REPLACE VIEW user_timeline AS
WITH
    theirs AS
    (
        SELECT device_id
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND app_id = {app_id:String} AND has(user_ids, {user_id:String}) AND (toDate(started_at), device_id) IN (
            SELECT day, device_id FROM z_user_days WHERE app_id = {app_id:String} AND user_id = {user_id:String})
    ),
    -- The days of those devices.
    days AS
    (
        SELECT device_id, day, raw_day
        FROM z_device_days
        WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM theirs)
    ),
    on_devices AS
    (
        SELECT device_id, started_at, session_id, has(user_ids, {user_id:String}) AS is_theirs
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND app_id = {app_id:String} AND (toDate(started_at), device_id) IN (SELECT toDate(day), device_id FROM days)
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
        SELECT time, kind, what, name, attributes, event_id, seq, rank, app_id, device_id, user_id
        FROM narrated_events
        WHERE app_id = {app_id:String} AND (toDate32(raw_time), device_id, toDate32(time)) IN (
            SELECT d.raw_day, d.device_id, d.day
            FROM days AS d
            INNER JOIN spans AS s ON d.device_id = s.device_id
            WHERE d.day >= s.first_day AND d.day <= s.last_day)
    ) AS e
    ASOF JOIN on_devices AS s
    ON e.device_id = s.device_id AND e.time >= s.started_at
    WHERE s.is_theirs
) AS t
WHERE user_id = {user_id:String}
ORDER BY t.time, device_id, rank, seq, event_id
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As in 0027.
CREATE OR REPLACE VIEW user_timeline_between AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    theirs AS
    (
        SELECT device_id, started_at, last_event_at
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND app_id = {app_id:String} AND has(user_ids, {user_id:String}) AND started_at >= first AND started_at < last
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
        WHERE d.app_id = {app_id:String} AND d.device_id IN (SELECT device_id FROM theirs) AND d.day >= toDate32(first)
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
        SELECT time, kind, what, name, attributes, event_id, seq, rank, app_id, device_id, user_id, counters, exit_reason
        FROM narrated_events
        WHERE app_id = {app_id:String}
            AND (toDate32(raw_time), device_id, toDate32(time)) IN (SELECT raw_day, device_id, day FROM places)
    ) AS e
    ASOF JOIN
    (
        SELECT device_id, started_at, session_id, has(user_ids, {user_id:String}) AND started_at >= first AND started_at < last AS is_theirs
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            -- A session lasts for less than two days: what starts later has none of the events.
            AND app_id = {app_id:String} AND started_at >= first - INTERVAL 1 DAY AND started_at < last + INTERVAL 3 DAY
            AND device_id IN (SELECT device_id FROM theirs)
    ) AS s
    ON e.device_id = s.device_id AND e.time >= s.started_at
    WHERE s.is_theirs
) AS t
WHERE user_id = {user_id:String}
ORDER BY t.time, t.device_id, t.rank, t.seq, t.event_id
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As in 0029, of stored rows.
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
    FROM z_crash_rows FINAL
    WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
        AND app_id = {app_id:String} AND time >= first AND time < last + INTERVAL 2 DAY
        AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last) + 2
            OR (toDate32(raw_time), device_id) IN (
                SELECT raw_day, device_id FROM z_elsewhere_days
                WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last) + 2))
) AS e
ASOF JOIN
(
    SELECT device_id, started_at, session_id, user_ids, personas, app_version, os_name, os_version, device_model
    FROM session_rows FINAL
    WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
        AND app_id = {app_id:String} AND started_at >= first AND started_at < last + INTERVAL 2 DAY
) AS s
ON e.device_id = s.device_id AND e.time >= s.started_at
WHERE s.started_at < last
SETTINGS
    do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1,
    use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As in 0029, without `z_session_crashes`.
CREATE OR REPLACE VIEW crash_events AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last
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
FROM
(
    SELECT
        s.session_id AS session_id, s.started_at AS session_started_at, s.user_ids AS user_ids, s.personas AS personas,
        s.app_version AS app_version, s.os_name AS os_name, s.os_version AS os_version, s.device_model AS device_model,
        e.device_id AS device_id, e.event_id AS event_id, e.time AS time, e.kind AS kind,
        e.crash_group AS crash_group, e.title AS title, e.culprit AS culprit
    FROM
    (
        SELECT device_id, event_id, time, kind, crash_group, title, culprit
        FROM z_crash_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND app_id = {app_id:String} AND time >= first AND time < last + INTERVAL 2 DAY
            AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last) + 2
                OR (toDate32(raw_time), device_id) IN (
                    SELECT raw_day, device_id FROM z_elsewhere_days
                    WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last) + 2))
    ) AS e
    ASOF JOIN
    (
        SELECT device_id, started_at, session_id, user_ids, personas, app_version, os_name, os_version, device_model
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND app_id = {app_id:String} AND started_at >= first AND started_at < last + INTERVAL 2 DAY
    ) AS s
    ON e.device_id = s.device_id AND e.time >= s.started_at
    WHERE s.started_at < last
) AS f
LEFT ANY JOIN
(
    SELECT device_id, event_id, user_id
    FROM event_users(app_id = {app_id:String}, from = {from:String}, until = {until:String})
) AS u
ON f.device_id = u.device_id AND f.event_id = u.event_id
SETTINGS
    do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1,
    use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As in 0030.
CREATE OR REPLACE VIEW issue_events AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    found AS
    (
        SELECT
            s.session_id AS session_id, s.started_at AS session_started_at, s.user_ids AS user_ids, s.app_version AS app_version,
            e.device_id AS device_id, e.event_id AS event_id, e.time AS time,
            e.kind AS kind, e.issue AS issue, e.title AS title, e.detail AS detail
        FROM
        (
            SELECT device_id, event_id, time, toString(kind) AS kind, toString(crash_group) AS issue, title, toString(culprit) AS detail
            FROM z_crash_rows FINAL
            WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
                AND app_id = {app_id:String} AND time >= first AND time < last + INTERVAL 2 DAY
                AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last) + 2
                    OR (toDate32(raw_time), device_id) IN (
                        SELECT raw_day, device_id FROM z_elsewhere_days
                        WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last) + 2))
            UNION ALL
            SELECT
                device_id, event_id, time, 'request' AS kind,
                trimRight(concat(toString(label), ' ', toString(detail))) AS issue, toString(label) AS title, toString(detail) AS detail
            FROM notable_events
            WHERE app_id = {app_id:String} AND subject = 'request' AND time >= first AND time < last + INTERVAL 2 DAY
                AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last) + 2
                    OR (toDate32(raw_time), device_id) IN (
                        SELECT raw_day, device_id FROM z_elsewhere_days
                        WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last) + 2))
        ) AS e
        ASOF JOIN
        (
            SELECT device_id, started_at, session_id, user_ids, app_version
            FROM session_rows FINAL
            WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
                AND app_id = {app_id:String} AND started_at >= first AND started_at < last + INTERVAL 2 DAY
        ) AS s
        ON e.device_id = s.device_id AND e.time >= s.started_at
        WHERE s.started_at < last
    )
SELECT
    f.session_id AS session_id,
    f.session_started_at AS session_started_at,
    f.device_id AS device_id,
    f.event_id AS event_id,
    f.time AS time,
    f.kind AS kind,
    f.issue AS issue,
    f.title AS title,
    f.detail AS detail,
    if(length(f.user_ids) > 1, u.user_id, f.user_ids[1]) AS user_id,
    f.app_version AS app_version
FROM found AS f
LEFT ANY JOIN
(
    SELECT device_id, event_id, user_id
    FROM event_users(app_id = {app_id:String}, from = {from:String}, until = {until:String})
) AS u
ON f.device_id = u.device_id AND f.event_id = u.event_id
SETTINGS
    do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1,
    use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As in 0036, without `failure_users`.
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
    SELECT
        session_id,
        arraySort(groupUniqArrayIf(user_id, is_crash)) AS crash_users,
        arraySort(groupUniqArrayIf(user_id, is_anr)) AS anr_users
    FROM
    (
        SELECT
            session_id, user_id,
            bitTest(counters, 0) OR kind IN ('crash', 'exception') OR exit_reason IN ('crash', 'exception') AS is_crash,
            bitTest(counters, 1) OR kind = 'anr' OR exit_reason = 'anr' AS is_anr
        FROM event_users(app_id = {app_id:String}, from = {from:String}, until = {until:String})
        WHERE is_crash OR is_anr
    )
    GROUP BY session_id
) AS f
ON h.session_id = f.session_id
WHERE ({app_id:String} = '' OR h.app_id = {app_id:String})
    AND h.started_at >= toDateTime64({from:String}, 3, 'UTC') AND h.started_at < toDateTime64({until:String}, 3, 'UTC');

-- As in 0035, of stored rows.
CREATE OR REPLACE VIEW measurements AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last
SELECT
    s.session_id AS session_id, s.started_at AS session_started_at, s.state AS state, s.user_id AS user_id,
    s.app_version AS app_version, s.app_build AS app_build, s.os_name AS os_name, s.os_version AS os_version,
    s.device_model AS device_model,
    e.device_id AS device_id, e.event_id AS event_id, e.time AS time, e.name AS event_name,
    e.measured.1 AS subject, e.measured.2 AS label, e.measured.3 AS value
FROM
(
    SELECT device_id, event_id, time, name, arrayJoin(measurements) AS measured
    FROM z_event_rows FINAL
    WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
        AND app_id = {app_id:String} AND time >= first AND time < last + INTERVAL 2 DAY AND notEmpty(measurements)
        AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last) + 2
            OR (toDate32(raw_time), device_id) IN (
                SELECT raw_day, device_id FROM z_elsewhere_days
                WHERE app_id = {app_id:String} AND by = 'time' AND day BETWEEN toDate32(first) AND toDate32(last) + 2))
) AS e
ASOF JOIN
(
    SELECT device_id, started_at, session_id, state, user_id, app_version, app_build, os_name, os_version, device_model
    FROM session_rows FINAL
    WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
        AND app_id = {app_id:String} AND started_at >= first AND started_at < last + INTERVAL 2 DAY
) AS s
ON e.device_id = s.device_id AND e.time >= s.started_at
WHERE s.started_at < last AND (subject NOT IN ('start', 'screen', 'vital') OR label = 'cls' OR value <= 600000)
SETTINGS
    do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1,
    use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;

-- As in 0022.
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
        FROM session_rows FINAL
        WHERE is_deleted = 0 AND (retention_days = 0 OR stored_on + retention_days >= toDate(now('UTC')))
            AND app_id = {app_id:String} AND started_at >= first - INTERVAL 7 DAY AND started_at < first
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
    FROM z_stored_events
    WHERE app_id = {app_id:String} AND (toDate32(raw_time), device_id, toDate32(time)) IN (SELECT raw_day, device_id, day FROM later)
        AND time >= first
) AS e
ASOF LEFT JOIN on_devices AS s
ON e.device_id = s.device_id AND e.time >= s.started_at
WHERE session_id IS NULL OR (s.status = 'closed' AND s.started_at >= first AND s.started_at < last)
GROUP BY device_id, session_id
HAVING unrestated_events > 0;
