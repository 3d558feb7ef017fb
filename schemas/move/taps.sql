-- While both tables of events are there, each gets what is inserted into the other, so that old and new sinks can write, and
-- readers of either see everything. What came by the feed is marked: it must not come back.
CREATE MATERIALIZED VIEW IF NOT EXISTS z_from_old_event_tap TO z_event_rows AS
SELECT
    app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, exit_reason, counters,
    stated, user_id, resource_json, user_json, app_version, attributes, repaired, topic, partition, offset, event_index,
    toDate(now()) AS stored_on, toUInt16(0) AS retention_days
FROM event_rows
WHERE came_by_feed = 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_from_old_notable_tap TO z_notable_event_feed AS
SELECT
    app_id, device_id, event_id, time, raw_time, name, kind, counters, attributes,
    (9223372036854775807 - (offset * 512 + event_index)) * 2 AS version,
    toDate(now()) AS stored_on, toUInt16(0) AS retention_days
FROM event_rows
WHERE came_by_feed = 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_from_old_version_tap TO z_event_version_rows AS
SELECT
    sipHash64(app_id, device_id, event_id) AS event_key,
    toUInt32(sipHash64(name, raw_time, seq, client_session_id, mapSort(attributes)) % 4294967296) AS content,
    topic,
    partition,
    18446744073709551615 - (offset * 512 + event_index) AS version,
    toDate(now()) AS stored_on,
    toUInt16(0) AS retention_days
FROM event_rows
WHERE came_by_feed = 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_to_old_event_tap TO event_rows AS
SELECT
    app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, client_session_id, exit_reason, counters,
    stated, user_id, resource_json, user_json, app_version, attributes, repaired, topic, partition, offset, event_index,
    toUInt8(1) AS came_by_feed
FROM z_event_feed;
