-- Alert rules of a cohort: which one, what it was at the evaluation, and why a rule could not be evaluated.

ALTER TABLE z_alert_rows ADD COLUMN IF NOT EXISTS cohort LowCardinality(String) AFTER filter;
-- Of the cohort at that evaluation, or of the one before where there was none any more.
ALTER TABLE z_alert_rows ADD COLUMN IF NOT EXISTS cohort_filter String CODEC(ZSTD(1)) AFTER cohort;
ALTER TABLE z_alert_rows ADD COLUMN IF NOT EXISTS fault String CODEC(ZSTD(1)) AFTER cohort_filter;
-- The fault that was told last, while nothing else was told after it.
ALTER TABLE z_alert_rows ADD COLUMN IF NOT EXISTS fault_told String CODEC(ZSTD(1)) AFTER fault;

-- As in 0033, with the columns of above.
CREATE OR REPLACE VIEW alert_evaluations AS
SELECT
    app_id,
    rule,
    evaluated_at,
    is_group = 1 AS is_of_group,
    `group`,
    metric,
    filter,
    cohort,
    cohort_filter,
    fault,
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

CREATE OR REPLACE VIEW alert_transitions AS
SELECT
    app_id,
    rule,
    evaluated_at,
    is_group = 1 AS is_of_group,
    `group`,
    any(r.metric) AS metric,
    any(r.filter) AS filter,
    any(r.cohort) AS cohort,
    any(r.cohort_filter) AS cohort_filter,
    any(r.fault) AS fault,
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

CREATE OR REPLACE VIEW alert_states AS
SELECT
    app_id,
    rule,
    is_of_group,
    `group`,
    metric,
    filter,
    cohort,
    cohort_filter,
    fault,
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
