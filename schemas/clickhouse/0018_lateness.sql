-- What came late and what became of it: told by what is stored, whatever was merged and whichever worker did it.

-- What was told of a session, a row each time: merges of session_rows leave the newest alone. Small beside the sessions.
CREATE TABLE IF NOT EXISTS told_session_rows
(
    app_id     LowCardinality(String),
    device_id  String CODEC(ZSTD(1)),
    session_id UUID,
    started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    -- As in session_rows: rows of one version are equal.
    version    UInt64 CODEC(Delta, ZSTD(1)),
    -- Told as a session that has ended.
    is_ended   Bool,
    is_deleted UInt8,
    -- A hash of all that the row says of the session; 0 when it takes the session back.
    said       UInt64 CODEC(NONE),
    arrived_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY if(toDate(started_at) < toDate('2020-01-01'), 0, toYYYYMM(toDate(started_at)))
ORDER BY (app_id, toDate(started_at), device_id, session_id, version)
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS told_session_tap TO told_session_rows AS
SELECT
    app_id,
    device_id,
    session_id,
    started_at,
    version,
    CAST(status = 'closed', 'Bool') AS is_ended,
    is_deleted,
    if(is_deleted, 0, sipHash64(status, state, start_reason, end_reason, exit_reason, cold_start, ended_at, last_event_at,
        client_session_id, stitched_session_id, stitched_index, user_id, user_ids, personas, mapSort(properties),
        event_count, crash_count, anr_count, exception_count, network_count, network_error_count, tap_count, view_count,
        log_error_count)) AS said,
    arrived_at
FROM session_rows;

-- The same of the rows that are there: of the past what merges have left, and after a rebuild all that it made.
CREATE OR REPLACE VIEW sessions_as_told AS
SELECT
    app_id,
    device_id,
    session_id,
    started_at,
    version,
    CAST(status = 'closed', 'Bool') AS is_ended,
    is_deleted,
    if(is_deleted, 0, sipHash64(status, state, start_reason, end_reason, exit_reason, cold_start, ended_at, last_event_at,
        client_session_id, stitched_session_id, stitched_index, user_id, user_ids, personas, mapSort(properties),
        event_count, crash_count, anr_count, exception_count, network_count, network_error_count, tap_count, view_count,
        log_error_count)) AS said,
    arrived_at
FROM session_rows;

INSERT INTO told_session_rows SELECT * FROM sessions_as_told;

-- Sessions of an app, started from `from` and before `until`, that changed after they had been told as ended: how often,
-- when that had been told first, and when a change came last. `is_gone`: a late event dissolved it.
CREATE OR REPLACE VIEW restated_sessions AS
SELECT
    session_id,
    any(t.device_id) AS device_id,
    any(t.started_at) AS started_at,
    minIf(t.arrived_at, t.is_ended) AS told_at,
    maxIf(t.arrived_at, t.is_restatement) AS restated_at,
    toUInt32(countIf(t.is_restatement)) AS restatements,
    argMax(t.is_deleted, t.version) = 1 AS is_gone
FROM
(
    SELECT
        r.*,
        lagInFrame(toNullable(r.said)) OVER told AS said_before,
        lagInFrame(r.is_ended) OVER told AS had_ended,
        ifNull(had_ended AND r.said != said_before, false) AS is_restatement
    FROM
    (
        SELECT session_id, device_id, started_at, version, is_ended, is_deleted, said, arrived_at
        FROM told_session_rows FINAL
        WHERE app_id = {app_id:String}
            AND started_at >= toDateTime64({from:String}, 3, 'UTC') AND started_at < toDateTime64({until:String}, 3, 'UTC')
    ) AS r
    WINDOW told AS (PARTITION BY r.session_id ORDER BY r.version ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
) AS t
GROUP BY session_id
HAVING restatements > 0;

-- Events of an app that came from `from` and before `until`, by record time, after one of their device that is later in the
-- order of SESSIONS.md: each with its session and with how far behind the latest one it was.
CREATE OR REPLACE VIEW late_events AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    -- What a device sent before settles what is late, so it is read whole.
    devices AS
    (
        SELECT device_id
        FROM event_rows
        WHERE app_id = {app_id:String} AND received_at >= first AND received_at < last
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
    WHERE e.app_id = {app_id:String} AND e.device_id IN (SELECT device_id FROM devices)
) AS l
ASOF LEFT JOIN
(
    SELECT device_id, started_at, toNullable(session_id) AS session_id
    FROM sessions
    WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM devices)
) AS s
ON l.device_id = s.device_id AND l.time >= s.started_at
WHERE l.place < l.latest AND l.received_at >= first AND l.received_at < last;

-- Sessions of an app, started from `from` and before `until`, of whose time more events are stored than they count: events
-- that came beyond the horizon, or to a device that was set aside. A rebuild counts them, and then there are none. Without a
-- session where events that call for one came before the first of their device. True of sessions that have ended, and once
-- what was sent is stored (`status --wait-idle`).
CREATE OR REPLACE VIEW unrestated_sessions AS
WITH
    toDateTime64({from:String}, 3, 'UTC') AS first,
    toDateTime64({until:String}, 3, 'UTC') AS last,
    devices AS
    (
        SELECT device_id
        FROM session_rows
        WHERE app_id = {app_id:String} AND started_at >= first AND started_at < last
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
    WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM devices) AND time >= first
) AS e
ASOF LEFT JOIN
(
    SELECT device_id, started_at, toNullable(session_id) AS session_id, status, is_final, is_set_aside, event_count
    FROM sessions
    WHERE app_id = {app_id:String} AND device_id IN (SELECT device_id FROM devices)
) AS s
ON e.device_id = s.device_id AND e.time >= s.started_at
WHERE session_id IS NULL OR (s.status = 'closed' AND s.started_at >= first AND s.started_at < last)
GROUP BY device_id, session_id
HAVING unrestated_events > 0;
