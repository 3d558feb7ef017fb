-- Events with their rank in the order of one millisecond and a line that a person can read. Only the
-- timelines use it; the names of attributes are OpenTelemetry's.
CREATE OR REPLACE VIEW narrated_events AS
WITH
    concatWithSeparator(': ',
        if(attributes['exception.type'] = '', 'unknown error', attributes['exception.type']),
        attributes['exception.message']) AS error_text,
    trimRight(substringUTF8(error_text, 1, 300), ': ') AS error,
    multiIf(attributes['app.widget.name'] != '', attributes['app.widget.name'],
            attributes['app.widget.id'] != '', attributes['app.widget.id'],
            attributes['app.screen.name'] != '', attributes['app.screen.name'],
            '') AS target
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
        name) AS what
FROM events;

-- One session as it happened. An event belongs to the session with the greatest start not after it: from this
-- session's start to before the next start on the device. The scalar subqueries are constants when the index
-- of event_rows is consulted, so that only one device is read.
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
    dateDiff('millisecond', assumeNotNull(found.3), time) AS offset_ms,
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
FROM narrated_events
WHERE app_id = found.1 AND device_id = found.2 AND time >= found.3 AND time < next_started_at
ORDER BY time, rank, seq, event_id;

-- All sessions of a user, over all devices. The user is the one on the session.
CREATE OR REPLACE VIEW user_timeline AS
WITH devices AS
    (
        SELECT DISTINCT device_id
        FROM sessions
        WHERE app_id = {app_id:String} AND user_id = {user_id:String}
    )
SELECT
    s.session_id AS session_id,
    dateDiff('millisecond', s.started_at, e.time) AS offset_ms,
    e.time AS time,
    e.kind AS kind,
    e.what AS what,
    e.name AS name,
    e.attributes AS attributes,
    e.event_id AS event_id,
    e.seq AS seq,
    e.app_id AS app_id,
    e.device_id AS device_id,
    s.user_id AS user_id
FROM
(
    SELECT *
    FROM narrated_events
    WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM devices)
) AS e
ASOF JOIN
(
    SELECT device_id, started_at, session_id, user_id
    FROM sessions
    WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM devices)
) AS s
ON e.device_id = s.device_id AND e.time >= s.started_at
WHERE s.user_id = {user_id:String}
ORDER BY e.time, e.device_id, e.rank, e.seq, e.event_id;
