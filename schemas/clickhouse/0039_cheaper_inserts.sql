-- What the server works out for every event as it is stored, at a part of the processor's time. The values are those of before.
--
-- A condition spares nothing here: ClickHouse works out both sides of it for the whole block. What is asked of the elements of an
-- array is worked out for those that there are. So what few events need is asked of the elements that these events have.

-- As in 0035: what an event measured, a measurement for each key that says one. Nearly no event has such a key.
ALTER TABLE z_event_rows MODIFY COLUMN measurements MATERIALIZED
    CAST(arrayFilter(m -> m.2 != '' AND m.3 >= 0 AND m.3 <= 1e15, arrayMap(k -> (
        transform(k, [
            'app.launch.duration_ms', 'app.screen.load_ms', 'app.jank.frame_count', 'app.frames.total', 'app.frames.slow',
            'app.frames.frozen', 'process.cpu.utilization', 'process.memory.usage', 'jvm.memory.used'],
            ['start', 'screen', 'frames', 'frames', 'frames', 'frames', 'cpu', 'memory', 'memory'], 'vital'),
        multiIf(
            k = 'app.launch.duration_ms', lower(attributes['app.launch.type']),
            k = 'app.screen.load_ms', attributes['app.screen.name'],
            k = 'browser.web_vital.name', lower(attributes['browser.web_vital.name']),
            k = 'app.jank.frame_count', if(toFloat64OrZero(attributes['app.jank.threshold']) >= 0.7, 'frozen', 'slow'),
            transform(k, [
                'browser.web_vital.lcp', 'browser.web_vital.inp', 'browser.web_vital.cls', 'browser.web_vital.fcp',
                'browser.web_vital.ttfb', 'app.frames.total', 'app.frames.slow', 'app.frames.frozen', 'jvm.memory.used'],
                ['lcp', 'inp', 'cls', 'fcp', 'ttfb', 'total', 'slow', 'frozen', 'jvm_heap'], 'process')),
        toFloat64OrDefault(attributes[if(k = 'browser.web_vital.name', 'browser.web_vital.value', k)], toFloat64(-1))),
        arrayDistinct(arrayMap(k -> CAST(k, 'String'), arrayFilter(k -> k IN (
            'app.launch.duration_ms', 'app.screen.load_ms', 'browser.web_vital.name', 'app.jank.frame_count', 'app.frames.total',
            'process.cpu.utilization', 'process.memory.usage', 'jvm.memory.used', 'browser.web_vital.lcp', 'browser.web_vital.cls',
            'browser.web_vital.inp', 'browser.web_vital.fcp', 'browser.web_vital.ttfb', 'app.frames.slow', 'app.frames.frozen'),
            mapKeys(attributes)))))),
        'Array(Tuple(subject LowCardinality(String), label String, value Float64))');

-- As in 0019: which events z_notable_event_rows has, and under what name they are counted there.
ALTER TABLE z_notable_event_choice MODIFY QUERY
WITH
    multiIf(
        kind IN ('crash', 'exception'), 'crash', name = 'app.anr', 'anr', name = 'exception', 'exception', kind = 'launch', 'launch',
        name = 'app.screen.view', 'view',
        -- Bit 4 says that the event counts as a failed request.
        name = 'http.client.request' AND bitTest(counters, 4), 'request', '') AS found,
    arrayMap(a -> (
        if(a['exception.type'] = '', 'unknown error', substringUTF8(a['exception.type'], 1, 200)),
        replaceRegexpAll(substringUTF8(a['exception.message'], 1, 300), '0x[0-9a-fA-F]+|[0-9a-fA-F-]{32,36}|[0-9]+', '#')),
        arrayFilter(a -> found IN ('crash', 'exception', 'anr'), [attributes]))[1] AS failure,
    arrayMap(a -> (
        trimLeft(concat(a['http.request.method'], ' ', domain(a['url.full']),
            replaceRegexpAll(substringUTF8(path(a['url.full']), 1, 300), '/[^/]*[0-9][^/]{4,}|/[0-9]+', '/{}'))),
        if(a['http.response.status_code'] NOT IN ('', '0'), a['http.response.status_code'], a['error.type'])),
        arrayFilter(a -> found = 'request', [attributes]))[1] AS request,
    arrayMap(a -> (
        toInt64OrZero(a['cold_launch.on_next_draw_uptime']),
        -- Older systems tell only the later ones.
        arrayFirst(begin -> begin > 0, [
            toInt64OrZero(a['cold_launch.process_start_requested_uptime']),
            toInt64OrZero(a['cold_launch.process_start_uptime']),
            toInt64OrZero(a['cold_launch.content_provider_attach_uptime'])])),
        arrayFilter(a -> found = 'launch', [attributes]))[1] AS launch,
    launch.1 AS drawn,
    launch.2 AS begun
SELECT
    app_id,
    CAST(found, 'LowCardinality(String)') AS subject,
    device_id,
    event_id,
    time,
    raw_time,
    multiIf(
        found IN ('crash', 'exception', 'anr'), failure.1,
        found = 'request', request.1,
        found = 'view', attributes['app.screen.name'],
        '') AS label,
    multiIf(found IN ('crash', 'exception', 'anr'), failure.2, found = 'request', request.2, '') AS detail,
    toUInt32(if(begun > 0 AND drawn > begun AND drawn - begun <= 60000, drawn - begun, 0)) AS launch_ms,
    version,
    stored_on,
    retention_days
FROM z_notable_event_feed
WHERE found != '';
