-- Where people go and where they leave: the screens of each session in order, and the ways from one screen to the next.

-- The screens of the sessions that start in the range, each session in a row, its screens in order. One that comes several
-- times in a row is there once, with the time of all of them. `path` is what the filter `session.screen_path` compares: screens
-- between `>`, and `|` where the session begins and where it ends, so that `> Home > Cart >` is found in it exactly where Cart
-- follows upon Home. So that no name looks like two, a `>` in one is written `→`.
CREATE OR REPLACE VIEW screen_paths AS
WITH
    arrayMap(view -> view.2, views) AS names,
    -- Those that are not the same screen as the one before: its name, when it came, and how long all before it were there. (An
    -- array inside of a lambda is copied for each element, so there is none.)
    arrayFilter((run, before, place) -> place = 1 OR run.1 != before,
        arrayMap((view, shown) -> (view.2, view.3, shown - view.4), views, arrayCumSum(view -> view.4, views)),
        arrayPushFront(arrayPopBack(names), ''),
        arrayEnumerate(views)) AS runs,
    arrayMap(run -> run.3, runs) AS before_ms
SELECT
    session_id,
    device_id,
    started_at,
    is_ended,
    is_crashed,
    arrayMap(run -> run.1, runs) AS screens,
    arrayMap(run -> run.2, runs) AS shown_at,
    arrayMap((since, until) -> until - since, before_ms,
        arrayPushBack(arrayPopFront(before_ms), arraySum(view -> view.4, views))) AS shown_ms,
    concat('|> ', arrayStringConcat(screens, ' > '), ' >|') AS path
FROM
(
    SELECT
        v.session_id AS session_id,
        any(v.device_id) AS device_id,
        any(s.started_at) AS started_at,
        any(s.status = 'closed') AS is_ended,
        any(s.is_crashed) AS is_crashed,
        arraySort(groupArray((v.number, replaceAll(v.screen, '>', '→'), v.time, toInt64(v.shown_ms)))) AS views
    FROM screen_views(app_id = {app_id:String}, from = {from:String}, until = {until:String}) AS v
    INNER JOIN
    (
        SELECT session_id, started_at, status, is_crashed
        FROM session_health
        WHERE app_id = {app_id:String} AND started_at >= toDateTime64({from:String}, 3, 'UTC')
            AND started_at < toDateTime64({until:String}, 3, 'UTC')
    ) AS s
    ON v.session_id = s.session_id
    GROUP BY v.session_id
);

-- From each screen to the next one, in the same sessions. `from_screen` is empty where a session begins, `to_screen` where it has
-- no further screen: of such a row `exits` have ended, and `crashes` of these with a crash. `dwell` is how long a session was
-- on `from_screen` each time, within the session.
CREATE OR REPLACE VIEW screen_transitions AS
SELECT
    step.1 AS from_screen,
    step.2 AS to_screen,
    uniqExact(session_id) AS sessions,
    count() AS transitions,
    countIf(step.4 AND is_ended) AS exits,
    countIf(step.4 AND is_ended AND is_crashed) AS crashes,
    quantileExact(0.5)(step.3) AS median_dwell_ms,
    sum(step.3) AS dwell_ms
FROM screen_paths(app_id = {app_id:String}, from = {from:String}, until = {until:String})
ARRAY JOIN arrayZip(arrayPushFront(screens, ''), arrayPushBack(screens, ''), arrayPushFront(shown_ms, toInt64(0)),
    arrayPushBack(arrayWithConstant(length(screens), 0), 1)) AS step
GROUP BY from_screen, to_screen
ORDER BY transitions DESC, from_screen, to_screen;
