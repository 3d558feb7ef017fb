-- Alerts: what each evaluation of a rule saw, what was told of it and whether it arrived, and who muted what.

-- A row for each evaluation of each rule and group, and for each time at which it was asked later what is known of the same
-- window by then. What is to be told stands in the same row, so that both are stored or neither. An evaluation is made again
-- where nobody knows whether it was stored; of the same one the row that was written first counts, since it may have been told.
CREATE TABLE IF NOT EXISTS z_alert_rows
(
    app_id          LowCardinality(String),
    rule            LowCardinality(String),
    -- The digest of the rule that it was made by.
    definition      LowCardinality(String),
    metric          LowCardinality(String),
    -- Which sessions, in text form: those that the rule's filter passes, and of the group.
    filter          String CODEC(ZSTD(1)),
    evaluated_at    DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    -- 0: all sessions of the rule; 1: a group of them.
    is_group        UInt8,
    `group`         String CODEC(ZSTD(1)),
    -- As of when the sessions are known: the time of the evaluation, or later.
    known_at        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    window_from     DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    window_until    DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    value           Nullable(Float64),
    numerator       Nullable(Float64),
    denominator     Nullable(Float64),
    sessions        UInt64 CODEC(T64, ZSTD(1)),
    users           UInt64 CODEC(T64, ZSTD(1)),
    value_before    Nullable(Float64),
    sessions_before UInt64 CODEC(T64, ZSTD(1)),
    users_before    UInt64 CODEC(T64, ZSTD(1)),
    verdict         LowCardinality(String),
    state           LowCardinality(String),
    state_before    LowCardinality(String),
    settled         LowCardinality(String),
    told            LowCardinality(String),
    told_before     LowCardinality(String),
    times           UInt32 CODEC(T64, ZSTD(1)),
    -- Empty where nothing is told.
    message_id      String CODEC(ZSTD(1)),
    -- What is told, as JSON.
    message         String CODEC(ZSTD(1)),
    channels        Array(LowCardinality(String)) CODEC(ZSTD(1)),
    stored_on       Date DEFAULT today() CODEC(ZSTD(1)),
    -- The first one has the highest.
    version         UInt64 DEFAULT 9223372036854775807 - toUnixTimestamp64Milli(now64(3)) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(evaluated_at)
ORDER BY (app_id, rule, evaluated_at, is_group, `group`, known_at)
TTL stored_on + 400
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

-- Each try to bring a message to a channel.
CREATE TABLE IF NOT EXISTS z_alert_delivery_rows
(
    message_id String,
    channel    LowCardinality(String),
    attempt    UInt32,
    tried_at   DateTime64(3, 'UTC'),
    -- delivered, failed, or given up.
    outcome    LowCardinality(String),
    detail     String,
    -- When it is tried again.
    next_at    DateTime64(3, 'UTC'),
    stored_on  Date DEFAULT today()
)
ENGINE = ReplacingMergeTree
ORDER BY (message_id, channel, attempt)
TTL stored_on + 400
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

-- Who muted which rule, or one group of it, and until when; the row that was written last counts. To end it, a row ends at once.
CREATE TABLE IF NOT EXISTS z_alert_mute_rows
(
    rule        String,
    is_group    UInt8,
    `group`     String,
    written_at  DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    muted_from  DateTime64(3, 'UTC') DEFAULT written_at,
    muted_until DateTime64(3, 'UTC'),
    reason      String
)
ENGINE = ReplacingMergeTree
ORDER BY (rule, is_group, `group`, written_at)
SETTINGS
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;

CREATE OR REPLACE VIEW alert_mutes AS
SELECT rule, is_group = 1 AS is_of_group, `group`, muted_from, muted_until, reason
FROM z_alert_mute_rows
ORDER BY rule, is_group, `group`, written_at DESC
LIMIT 1 BY rule, is_group, `group`;

-- Evaluations of an app's rules (of all apps where it is empty), made from `from` and before `until`.
CREATE OR REPLACE VIEW alert_evaluations AS
SELECT
    app_id,
    rule,
    evaluated_at,
    is_group = 1 AS is_of_group,
    `group`,
    metric,
    filter,
    window_from,
    window_until,
    value,
    numerator,
    denominator,
    sessions,
    users,
    value_before,
    verdict,
    state,
    state_before,
    message_id
FROM z_alert_rows FINAL
WHERE ({app_id:String} = '' OR app_id = {app_id:String}) AND known_at = evaluated_at
    AND evaluated_at >= toDateTime64({from:String}, 3, 'UTC') AND evaluated_at < toDateTime64({until:String}, 3, 'UTC');

-- Of these the ones that changed a state or were told, each with what it saw beside what is known now: when it was last asked for,
-- up to a week later.
CREATE OR REPLACE VIEW alert_transitions AS
SELECT
    app_id,
    rule,
    evaluated_at,
    is_group = 1 AS is_of_group,
    `group`,
    any(r.metric) AS metric,
    any(r.filter) AS filter,
    window_from,
    window_until,
    argMin(r.state, r.known_at) AS state,
    argMin(r.state_before, r.known_at) AS state_before,
    argMin(r.message_id, r.known_at) AS message_id,
    min(r.known_at) AS saw_at,
    argMin(tuple(r.value), r.known_at).1 AS value_seen,
    argMin(tuple(r.numerator), r.known_at).1 AS numerator_seen,
    argMin(tuple(r.denominator), r.known_at).1 AS denominator_seen,
    argMin(r.sessions, r.known_at) AS sessions_seen,
    max(r.known_at) AS known_at,
    argMax(tuple(r.value), r.known_at).1 AS value_known,
    argMax(tuple(r.numerator), r.known_at).1 AS numerator_known,
    argMax(tuple(r.denominator), r.known_at).1 AS denominator_known,
    argMax(r.sessions, r.known_at) AS sessions_known,
    argMin(r.verdict, r.known_at) AS verdict_seen,
    argMax(r.verdict, r.known_at) AS verdict_known
FROM
(
    SELECT *
    FROM z_alert_rows FINAL
    WHERE ({app_id:String} = '' OR app_id = {app_id:String})
        AND evaluated_at >= toDateTime64({from:String}, 3, 'UTC') AND evaluated_at < toDateTime64({until:String}, 3, 'UTC')
) AS r
GROUP BY app_id, rule, evaluated_at, is_group, `group`, window_from, window_until
HAVING countIf(r.known_at = r.evaluated_at AND (r.state != r.state_before OR r.message_id != '')) > 0;

-- Where each rule of an app (of all apps where it is empty) and each of its groups stands, by the latest evaluation that was made
-- from `from` and before `until`.
CREATE OR REPLACE VIEW alert_states AS
SELECT
    app_id,
    rule,
    is_of_group,
    `group`,
    metric,
    filter,
    window_from,
    window_until,
    e.evaluated_at AS evaluated_at,
    state,
    verdict,
    value,
    numerator,
    denominator,
    sessions,
    users,
    value_before
FROM alert_evaluations(app_id = {app_id:String}, from = {from:String}, until = {until:String}) AS e
WHERE (app_id, rule, e.evaluated_at) IN (
    SELECT app_id, rule, max(l.evaluated_at)
    FROM alert_evaluations(app_id = {app_id:String}, from = {from:String}, until = {until:String}) AS l
    GROUP BY app_id, rule);

-- What was told, and whether it arrived: of evaluations made from `from` and before `until`, a row for each channel.
CREATE OR REPLACE VIEW alert_deliveries AS
SELECT
    m.app_id AS app_id,
    m.rule AS rule,
    m.message_id AS message_id,
    m.evaluated_at AS evaluated_at,
    m.known_at > m.evaluated_at AS is_follow_up,
    m.channel AS channel,
    if(d.attempts = 0, 'waiting', toString(d.outcome)) AS outcome,
    d.attempts AS attempts,
    nullIf(d.tried_at, toDateTime64(0, 3, 'UTC')) AS tried_at,
    d.detail AS detail
FROM
(
    SELECT app_id, rule, message_id, evaluated_at, known_at, arrayJoin(channels) AS channel
    FROM z_alert_rows FINAL
    WHERE message_id != '' AND ({app_id:String} = '' OR app_id = {app_id:String})
        AND evaluated_at >= toDateTime64({from:String}, 3, 'UTC') AND evaluated_at < toDateTime64({until:String}, 3, 'UTC')
) AS m
LEFT JOIN
(
    SELECT
        message_id, channel, max(a.attempt) AS attempts, argMax(a.outcome, a.attempt) AS outcome,
        argMax(a.tried_at, a.attempt) AS tried_at, argMax(a.detail, a.attempt) AS detail
    FROM z_alert_delivery_rows AS a FINAL
    GROUP BY message_id, channel
) AS d ON m.message_id = d.message_id AND m.channel = d.channel;
