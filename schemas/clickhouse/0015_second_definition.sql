-- What the second definition of a session needs of the columns.
--
-- Rows of before read right without being written again, and so does what workers of before still write while they are
-- replaced: a column that they do not know takes its default. An event of theirs states nothing of the app and had nothing
-- repaired; a session of theirs has the one user on it, or none.
ALTER TABLE event_rows MODIFY COLUMN counters UInt32;

-- The app's state as the event states it: 'foreground', 'background', '' where it states none.
ALTER TABLE event_rows ADD COLUMN IF NOT EXISTS stated LowCardinality(String) AFTER counters;

-- Paths of the values in which something was put in place of what no text or number can be.
ALTER TABLE event_rows ADD COLUMN IF NOT EXISTS repaired Array(String) CODEC(ZSTD(1)) AFTER attributes;

ALTER TABLE notable_event_feed MODIFY COLUMN counters UInt32;

-- All users whom the session's events name, in order; `user_id` is the last of them.
ALTER TABLE session_rows ADD COLUMN IF NOT EXISTS
    user_ids Array(String) DEFAULT if(user_id = '', [], [user_id]) CODEC(ZSTD(1)) AFTER user_id;

ALTER TABLE session_rows ADD INDEX IF NOT EXISTS user_ids_index user_ids TYPE bloom_filter(0.01) GRANULARITY 1;

ALTER TABLE session_rows MATERIALIZE INDEX user_ids_index;

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
    resource_json,
    user_json,
    JSONExtract(resource_json, 'Map(String, String)') AS resource,
    JSONExtract(user_json, 'personas', 'Array(String)') AS personas,
    JSONExtract(user_json, 'properties', 'Map(String, String)') AS properties
FROM event_rows FINAL
-- Copies never lie in two partitions (above).
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- As before, with the ranks of the new kinds.
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
        name = 'bug_report', attributes['bug_report.description'],
        ''), 1, 300)) AS about
SELECT
    *,
    -- SESSIONS.md, "Order".
    -- Cast, since not every version of the server can make a LowCardinality of a number in a view.
    CAST(transform(kind,
        ['foreground', 'active', 'launch', 'activity', 'session_end', 'background', 'crash', 'exception', 'anr', 'exit', 'passive'],
        [0, 0, 1, 2, 3, 3, 4, 4, 4, 5, 6], 2), 'UInt8') AS rank,
    multiIf(
        kind = 'launch', 'cold launch',
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
        name = 'app.launch', trimLeft(concat(attributes['app.launch.type'], ' launch')),
        name = 'log', trimRight(concat('log ', attributes['severity_text'], ' ', substringUTF8(attributes['body'], 1, 300))),
        trimRight(concat(name, ' ', about))) AS what
FROM events;

CREATE OR REPLACE VIEW sessions AS
SELECT
    app_id,
    device_id,
    session_id,
    status,
    state,
    start_reason,
    end_reason,
    exit_reason,
    cold_start,
    started_at,
    ended_at,
    duration_ms,
    is_final,
    client_session_id,
    stitched_session_id,
    stitched_index,
    user_id,
    user_ids,
    personas,
    properties,
    app_version,
    app_build,
    environment,
    os_name,
    os_version,
    device_manufacturer,
    device_model,
    sdk_name,
    sdk_version,
    resource,
    event_count,
    crash_count,
    anr_count,
    exception_count,
    network_count,
    network_error_count,
    tap_count,
    view_count,
    log_error_count,
    revision,
    partition,
    offset,
    first_event_id,
    last_event_at,
    arrived_at,
    -- Its device was set aside when it could still change: events may be missing in it, and sessions after it.
    NOT is_final AND (app_id, device_id) IN (SELECT app_id, device_id FROM devices_set_aside) AS is_set_aside
FROM session_rows FINAL
-- FINAL leaves deleted sessions out, and so must every copy of a server that does not know the flag.
WHERE is_deleted = 0
-- Exact mode reads every row of a session that the index finds one row of: a session whose user changed
-- must not show the row before the change.
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1;
