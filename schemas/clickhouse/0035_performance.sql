-- How fast an app is, and what it takes of the device: starts, loads of screens, web vitals, slow frames, processor and memory.
-- Decoders bring what SDKs call these to common names (schemas/MAPPING.md, "Performance"); here they become a column.

-- What an event measured: subject, label and value. Nearly always nothing, which the first condition finds; of what was stored
-- before, ClickHouse works it out when it is read, until a merge has written it.
ALTER TABLE z_event_rows ADD COLUMN IF NOT EXISTS measurements
    Array(Tuple(subject LowCardinality(String), label String, value Float64))
    MATERIALIZED if(NOT hasAny(CAST(mapKeys(attributes), 'Array(String)'), [
        'app.launch.duration_ms', 'app.screen.load_ms', 'browser.web_vital.name', 'app.jank.frame_count', 'app.frames.total',
        'process.cpu.utilization', 'process.memory.usage', 'jvm.memory.used', 'browser.web_vital.lcp', 'browser.web_vital.cls',
        'browser.web_vital.inp', 'browser.web_vital.fcp', 'browser.web_vital.ttfb', 'app.frames.slow', 'app.frames.frozen']),
    CAST([], 'Array(Tuple(subject LowCardinality(String), label String, value Float64))'),
    CAST(arrayFilter(m -> m.2 != '' AND m.3 >= 0 AND m.3 <= 1e15, [
        ('start', lower(attributes['app.launch.type']), toFloat64OrDefault(attributes['app.launch.duration_ms'], toFloat64(-1))),
        ('screen', attributes['app.screen.name'], toFloat64OrDefault(attributes['app.screen.load_ms'], toFloat64(-1))),
        ('vital', lower(attributes['browser.web_vital.name']), toFloat64OrDefault(attributes['browser.web_vital.value'], toFloat64(-1))),
        ('vital', 'lcp', toFloat64OrDefault(attributes['browser.web_vital.lcp'], toFloat64(-1))),
        ('vital', 'inp', toFloat64OrDefault(attributes['browser.web_vital.inp'], toFloat64(-1))),
        ('vital', 'cls', toFloat64OrDefault(attributes['browser.web_vital.cls'], toFloat64(-1))),
        ('vital', 'fcp', toFloat64OrDefault(attributes['browser.web_vital.fcp'], toFloat64(-1))),
        ('vital', 'ttfb', toFloat64OrDefault(attributes['browser.web_vital.ttfb'], toFloat64(-1))),
        ('frames', if(toFloat64OrZero(attributes['app.jank.threshold']) >= 0.7, 'frozen', 'slow'), toFloat64OrDefault(attributes['app.jank.frame_count'], toFloat64(-1))),
        ('frames', 'total', toFloat64OrDefault(attributes['app.frames.total'], toFloat64(-1))),
        ('frames', 'slow', toFloat64OrDefault(attributes['app.frames.slow'], toFloat64(-1))),
        ('frames', 'frozen', toFloat64OrDefault(attributes['app.frames.frozen'], toFloat64(-1))),
        ('cpu', 'process', toFloat64OrDefault(attributes['process.cpu.utilization'], toFloat64(-1))),
        ('memory', 'process', toFloat64OrDefault(attributes['process.memory.usage'], toFloat64(-1))),
        ('memory', 'jvm_heap', toFloat64OrDefault(attributes['jvm.memory.used'], toFloat64(-1)))]),
        'Array(Tuple(subject LowCardinality(String), label String, value Float64))')) CODEC(ZSTD(1));

-- Each measurement in the sessions of an app that start from `from` and before `until`, with its session. `value` is in
-- milliseconds of 'start' (label: cold, warm, hot), 'screen' (its name) and 'vital' (lcp, inp, fcp, ttfb; cls has no unit), a
-- number of 'frames' (slow, frozen, total), a share of all processors of 'cpu', in bytes of 'memory' (process, jvm_heap).
-- A start or a load that took more than ten minutes is none.
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
    FROM sessions
    WHERE app_id = {app_id:String} AND started_at >= first AND started_at < last + INTERVAL 2 DAY
) AS s
ON e.device_id = s.device_id AND e.time >= s.started_at
WHERE s.started_at < last AND (subject NOT IN ('start', 'screen', 'vital') OR label = 'cls' OR value <= 600000)
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- Measurements of one subject by label and by 'app_version', 'os_name', 'os_version' or 'device_model'; all together for ''.
-- Quantiles are the values at the place ceil(n p) of n in order. `p…_low` and `p…_high` are their 95 % intervals: the values at
-- the places ceil(n p -+ 1.96 sqrt(n p (1 - p))) (Conover, Practical Nonparametric Statistics, 3.2), NULL where there are too few
-- to say. `bad_share` is of those that are over the bound that is given for the subject (of vitals: neither good nor to be
-- improved), with Wilson's 95 % interval. Both take measurements for independent of each other.
--
-- Bounds: starts from 5 s (cold), 2 s (warm), 1.5 s (hot) on (Android vitals, "App startup time"); web vitals good up to 2.5 s,
-- 200 ms, 0.1, 1.8 s, 0.8 s and poor over 4 s, 500 ms, 0.25, 3 s, 1.8 s of LCP, INP, CLS, FCP, TTFB (web.dev/articles/vitals);
-- screens from 1 s on, beyond which a train of thought is broken (Nielsen, Response Times: The 3 Important Limits).
CREATE OR REPLACE VIEW performance AS
WITH
    multiIf(subject = 'start', transform(label, ['cold', 'warm', 'hot'], [5000., 2000., 1500.], 5000.),
        subject = 'vital', transform(label, ['lcp', 'inp', 'cls', 'fcp', 'ttfb'], [2500., 200., 0.1, 1800., 800.], 0.), 1000.) AS good,
    if(subject = 'vital', transform(label, ['lcp', 'inp', 'cls', 'fcp', 'ttfb'], [4000., 500., 0.25, 3000., 1800.], 0.), good) AS poor,
    if(subject = 'vital', value <= good, value < good) AS is_good,
    if(subject = 'vital', value > poor, value >= poor) AS is_bad
SELECT
    label,
    group,
    measurements,
    sessions,
    devices,
    sorted[toUInt64(ceil(measurements * 0.5))] AS p50,
    if(ceil(measurements * 0.5 - 1.959964 * sqrt(measurements * 0.5 * (1 - 0.5))) < 1, NULL,
        sorted[toUInt64(ceil(measurements * 0.5 - 1.959964 * sqrt(measurements * 0.5 * (1 - 0.5))))]) AS p50_low,
    if(ceil(measurements * 0.5 + 1.959964 * sqrt(measurements * 0.5 * (1 - 0.5))) > measurements, NULL,
        sorted[toUInt64(ceil(measurements * 0.5 + 1.959964 * sqrt(measurements * 0.5 * (1 - 0.5))))]) AS p50_high,
    sorted[toUInt64(ceil(measurements * 0.75))] AS p75,
    if(ceil(measurements * 0.75 - 1.959964 * sqrt(measurements * 0.75 * (1 - 0.75))) < 1, NULL,
        sorted[toUInt64(ceil(measurements * 0.75 - 1.959964 * sqrt(measurements * 0.75 * (1 - 0.75))))]) AS p75_low,
    if(ceil(measurements * 0.75 + 1.959964 * sqrt(measurements * 0.75 * (1 - 0.75))) > measurements, NULL,
        sorted[toUInt64(ceil(measurements * 0.75 + 1.959964 * sqrt(measurements * 0.75 * (1 - 0.75))))]) AS p75_high,
    sorted[toUInt64(ceil(measurements * 0.9))] AS p90,
    if(ceil(measurements * 0.9 - 1.959964 * sqrt(measurements * 0.9 * (1 - 0.9))) < 1, NULL,
        sorted[toUInt64(ceil(measurements * 0.9 - 1.959964 * sqrt(measurements * 0.9 * (1 - 0.9))))]) AS p90_low,
    if(ceil(measurements * 0.9 + 1.959964 * sqrt(measurements * 0.9 * (1 - 0.9))) > measurements, NULL,
        sorted[toUInt64(ceil(measurements * 0.9 + 1.959964 * sqrt(measurements * 0.9 * (1 - 0.9))))]) AS p90_high,
    sorted[toUInt64(ceil(measurements * 0.95))] AS p95,
    if(ceil(measurements * 0.95 - 1.959964 * sqrt(measurements * 0.95 * (1 - 0.95))) < 1, NULL,
        sorted[toUInt64(ceil(measurements * 0.95 - 1.959964 * sqrt(measurements * 0.95 * (1 - 0.95))))]) AS p95_low,
    if(ceil(measurements * 0.95 + 1.959964 * sqrt(measurements * 0.95 * (1 - 0.95))) > measurements, NULL,
        sorted[toUInt64(ceil(measurements * 0.95 + 1.959964 * sqrt(measurements * 0.95 * (1 - 0.95))))]) AS p95_high,
    good_count,
    bad_count,
    good_count / measurements AS good_share,
    bad_count / measurements AS bad_share,
    greatest(0, (bad_share + 1.920729440648 / measurements - 1.959964 * sqrt(bad_share * (1 - bad_share) / measurements + 0.960364720324 / pow(measurements, 2)))
        / (1 + 3.841458881296 / measurements)) AS bad_low,
    (bad_share + 1.920729440648 / measurements + 1.959964 * sqrt(bad_share * (1 - bad_share) / measurements + 0.960364720324 / pow(measurements, 2)))
        / (1 + 3.841458881296 / measurements) AS bad_high
FROM
(
    SELECT
        label,
        multiIf({by:String} = 'app_version', toString(app_version), {by:String} = 'os_name', toString(os_name),
            {by:String} = 'os_version', concat(os_name, ' ', os_version), {by:String} = 'device_model', toString(device_model), '') AS group,
        count() AS measurements,
        uniqExact(session_id) AS sessions,
        uniqExact(device_id) AS devices,
        arraySort(groupArray(value)) AS sorted,
        countIf(is_good) AS good_count,
        countIf(is_bad) AS bad_count
    FROM measurements(app_id = {app_id:String}, from = {from:String}, until = {until:String})
    WHERE subject = {subject:String}
    GROUP BY label, group
)
ORDER BY label, measurements DESC, group;

CREATE OR REPLACE VIEW app_starts AS
SELECT label AS start_type, * EXCEPT (label)
FROM performance(app_id = {app_id:String}, from = {from:String}, until = {until:String}, subject = 'start', by = {by:String});

CREATE OR REPLACE VIEW screen_loads AS
SELECT label AS screen, * EXCEPT (label)
FROM performance(app_id = {app_id:String}, from = {from:String}, until = {until:String}, subject = 'screen', by = {by:String});

CREATE OR REPLACE VIEW web_vitals AS
SELECT label AS vital, * EXCEPT (label)
FROM performance(app_id = {app_id:String}, from = {from:String}, until = {until:String}, subject = 'vital', by = {by:String});

-- Frames that took longer than 16 ms ('slow') or 700 ms ('frozen'; Android vitals, "Slow rendering"). Most SDKs tell of such frames
-- alone, so the share is that of all sessions in the foreground: those with at least one, with Wilson's 95 % interval.
CREATE OR REPLACE VIEW slow_frames AS
SELECT
    kind, group, frames, sessions, all_sessions,
    sessions / all_sessions AS share,
    greatest(0, (share + 1.920729440648 / all_sessions - 1.959964 * sqrt(share * (1 - share) / all_sessions + 0.960364720324 / pow(all_sessions, 2)))
        / (1 + 3.841458881296 / all_sessions)) AS share_low,
    (share + 1.920729440648 / all_sessions + 1.959964 * sqrt(share * (1 - share) / all_sessions + 0.960364720324 / pow(all_sessions, 2)))
        / (1 + 3.841458881296 / all_sessions) AS share_high
FROM
(
    SELECT
        label AS kind,
        multiIf({by:String} = 'app_version', toString(app_version), {by:String} = 'os_name', toString(os_name),
            {by:String} = 'os_version', concat(os_name, ' ', os_version), {by:String} = 'device_model', toString(device_model), '') AS group,
        sum(value) AS frames, uniqExactIf(session_id, value > 0) AS sessions
    FROM measurements(app_id = {app_id:String}, from = {from:String}, until = {until:String})
    WHERE subject = 'frames' AND label != 'total' AND state = 'foreground'
    GROUP BY kind, group
) AS f
INNER JOIN
(
    SELECT
        multiIf({by:String} = 'app_version', toString(app_version), {by:String} = 'os_name', toString(os_name),
            {by:String} = 'os_version', concat(os_name, ' ', os_version), {by:String} = 'device_model', toString(device_model), '') AS group,
        count() AS all_sessions
    FROM sessions
    WHERE app_id = {app_id:String} AND state = 'foreground' AND started_at >= toDateTime64({from:String}, 3, 'UTC')
        AND started_at < toDateTime64({until:String}, 3, 'UTC')
    GROUP BY group
) AS s
USING group
ORDER BY kind, all_sessions DESC, group;

-- What each session took of the device: processor as a share of all of them, memory in bytes. NULL where no SDK said.
CREATE OR REPLACE VIEW session_resources AS
SELECT
    session_id, any(session_started_at) AS started_at, any(app_version) AS app_version, any(os_name) AS os_name,
    any(device_model) AS device_model,
    avgOrNullIf(value, subject = 'cpu') AS cpu_mean,
    maxOrNullIf(value, subject = 'cpu') AS cpu_max,
    avgOrNullIf(value, subject = 'memory' AND label = 'process') AS memory_mean,
    maxOrNullIf(value, subject = 'memory' AND label = 'process') AS memory_max
FROM measurements(app_id = {app_id:String}, from = {from:String}, until = {until:String})
WHERE subject IN ('cpu', 'memory')
GROUP BY session_id
ORDER BY started_at, session_id;

-- As before, and starts, memory, web vitals and slow frames with what was measured, and its unit.
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
    *,
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
FROM events;
