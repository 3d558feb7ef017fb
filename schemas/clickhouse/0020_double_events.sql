-- Events of an app that are stored more than once, of those that their devices stamped from `from` and before `until`. A copy
-- that was stamped anew on another day is taken back within seconds, if its id was remembered when it came. These were not:
-- they came beyond the horizon, or their device had been forgotten or set aside. `rebuild` takes them back.
--
-- Both stamps lie in the range, so cost follows the range.
CREATE OR REPLACE VIEW double_events AS
SELECT
    device_id,
    event_id,
    -- Besides the first.
    count() - 1 AS copies,
    -- Of the one that came first, which stays.
    argMin(raw_time, (offset, event_index)) AS raw_time_of_first,
    min(raw_time) AS earliest_raw_time,
    max(raw_time) AS latest_raw_time
FROM z_stored_events
WHERE app_id = {app_id:String}
  AND raw_time >= toDateTime64({from:String}, 3, 'UTC')
  AND raw_time < toDateTime64({until:String}, 3, 'UTC')
GROUP BY device_id, event_id
HAVING copies > 0
-- On disk what is more, however long the range.
SETTINGS max_bytes_before_external_group_by = 500000000;
