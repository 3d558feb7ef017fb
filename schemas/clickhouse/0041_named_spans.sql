-- The line of a span has its name and how long it took. Before, each span of an app that sends OpenTelemetry was the word `span`.

-- As in 0040, with `lasted`.
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
    toFloat64OrNull(attributes['duration_ms']) AS lasted_ms,
    ifNull(concat(', ', toString(if(lasted_ms < 10, round(lasted_ms, 1), round(lasted_ms))), ' ms'), '') AS lasted,
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
        name IN ('span', 'span.started'), trimLeft(concat(substringUTF8(attributes['span.name'], 1, 280), lasted), ', '),
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
