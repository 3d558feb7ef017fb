-- What screens were seen, for how long, and how requests did: of an app from `from` and before `until`, each in its session.

-- Each screen of the sessions that start in the range, with how long it was there: to the next screen of its session, or to
-- the session's end, so that time away from the app counts for none. As many as a session counts: where the app names no view
-- itself, screens that only the coming of their parts tells of. One that comes after the end of its session was there for no time.
CREATE OR REPLACE VIEW screen_views AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last
SELECT
    session_id,
    device_id,
    event_id,
    time,
    screen,
    NOT is_named AS is_derived,
    number,
    dateDiff('millisecond', time, least(ifNull(next_time, ended_at), ended_at)) AS shown_ms,
    isNull(next_time) AS is_last
FROM
(
    SELECT
        s.session_id AS session_id,
        e.device_id AS device_id,
        e.event_id AS event_id,
        e.time AS time,
        e.screen AS screen,
        e.is_named AS is_named,
        greatest(s.ended_at, e.time) AS ended_at,
        max(e.is_named) OVER (PARTITION BY s.session_id) AS has_named,
        row_number() OVER (PARTITION BY s.session_id, e.is_named ORDER BY e.time, e.rank, e.seq, e.event_id) AS number,
        leadInFrame(toNullable(e.time)) OVER (PARTITION BY s.session_id, e.is_named ORDER BY e.time, e.rank, e.seq, e.event_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_time
    FROM
    (
        SELECT device_id, event_id, time, rank, seq, attributes['app.screen.name'] AS screen, bitTest(counters, 6) AS is_named
        FROM narrated_events
        WHERE app_id = {app_id:String} AND time >= first AND time < last + INTERVAL 2 DAY
            -- Bits 6 and 8: it adds one to the views of a session, or to what appeared.
            AND bitAnd(counters, 320) != 0
            AND (toDate32(raw_time) BETWEEN toDate32(first) AND toDate32(last + INTERVAL 2 DAY)
                OR (toDate32(raw_time), device_id) IN (
                    SELECT raw_day, device_id FROM z_elsewhere_days
                    WHERE app_id = {app_id:String} AND by = 'time'
                        AND day BETWEEN toDate32(first) AND toDate32(last + INTERVAL 2 DAY)))
    ) AS e
    ASOF JOIN
    (
        -- Those that start after the range hold events, too.
        SELECT device_id, started_at, session_id, ended_at
        FROM sessions
        WHERE app_id = {app_id:String} AND started_at >= first AND started_at < last + INTERVAL 2 DAY
    ) AS s
    ON e.device_id = s.device_id AND e.time >= s.started_at
    WHERE s.started_at < last
)
WHERE is_named OR NOT has_named;

-- Each request of the range. SDKs say how long one took in `duration_ms`, and then its event is at its start; or in `duration`
-- or Measure's own times, and then it is at its end. NULL where they say nothing, or what cannot be.
CREATE OR REPLACE VIEW requests_between AS
WITH
    multiIf(
        attributes['duration_ms'] != '', toFloat64OrNull(attributes['duration_ms']),
        attributes['duration'] != '', toFloat64OrNull(attributes['duration']),
        toFloat64OrNull(attributes['http.end_time']) - toFloat64OrNull(attributes['http.start_time'])) AS told_ms
SELECT
    device_id,
    event_id,
    time,
    if(told_ms >= 0 AND told_ms <= 86400000, told_ms, NULL) AS duration_ms,
    if(attributes['duration_ms'] != '', time, time - toIntervalMillisecond(toInt64(ifNull(duration_ms, 0)))) AS began_at,
    attributes['http.request.method'] AS method,
    domain(attributes['url.full']) AS host,
    -- Numbers and ids are taken out, or else every request would be one of its own kind.
    replaceRegexpAll(substringUTF8(path(attributes['url.full']), 1, 300), '/[^/]*[0-9][^/]{4,}|/[0-9]+', '/{}') AS path_template,
    trimLeft(concat(method, ' ', host, path_template)) AS request,
    if(attributes['http.response.status_code'] NOT IN ('', '0'), attributes['http.response.status_code'], attributes['error.type']) AS status,
    -- Bit 4: it counts as a failed request.
    bitTest(counters, 4) AS is_failed
FROM events_between(app_id = {app_id:String}, from = {from:String}, until = {until:String})
WHERE name = 'http.client.request';

-- Requests by method, host and path without its numbers: how many there were, how many failed, how long they took.
CREATE OR REPLACE VIEW endpoints AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last
SELECT
    r.request AS request,
    any(r.method) AS method,
    any(r.host) AS host,
    any(r.path_template) AS path_template,
    count() AS requests,
    countIf(r.is_failed) AS failures,
    failures / requests AS failure_rate,
    countIf(r.duration_ms IS NOT NULL) AS timed,
    quantileExactIf(0.5)(assumeNotNull(r.duration_ms), r.duration_ms IS NOT NULL) AS p50_ms,
    quantileExactIf(0.95)(assumeNotNull(r.duration_ms), r.duration_ms IS NOT NULL) AS p95_ms,
    quantileExactIf(0.99)(assumeNotNull(r.duration_ms), r.duration_ms IS NOT NULL) AS p99_ms,
    uniqExact(s.session_id) AS sessions,
    uniqExact(r.device_id) AS devices,
    max(r.time) AS last_at
FROM requests_between(app_id = {app_id:String}, from = {from:String}, until = {until:String}) AS r
ASOF JOIN
(
    SELECT device_id, started_at, session_id
    FROM sessions
    WHERE app_id = {app_id:String} AND started_at >= first - INTERVAL 2 DAY AND started_at < last
) AS s
ON r.device_id = s.device_id AND r.time >= s.started_at
GROUP BY request
ORDER BY requests DESC, request;
