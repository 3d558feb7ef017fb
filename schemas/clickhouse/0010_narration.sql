-- The line that a person reads of an event says more: which screen part came and went, what was scrolled or tapped,
-- what an event of the app's own is called. SDKs send most of these under names of their own, with what they are
-- about in attributes `NAME.type`, `NAME.class_name` and so on; without it a session reads as the same word over and over.
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
        ['foreground', 'launch', 'activity', 'session_end', 'background', 'crash', 'exception', 'anr', 'exit'],
        [0, 1, 2, 3, 3, 4, 4, 4, 5], 2), 'UInt8') AS rank,
    multiIf(
        kind = 'launch', 'cold launch',
        kind = 'foreground', 'app in foreground',
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
