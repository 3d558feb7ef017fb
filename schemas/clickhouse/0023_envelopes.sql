-- What the sink inserts into: a row is an envelope with its events. Who sent them, the resource and the user are read once
-- and not with each event, which is most of what a server spends on an insert. Nothing is kept here.
CREATE TABLE IF NOT EXISTS z_envelope_feed
(
    app_id         LowCardinality(String),
    device_id      String,
    received_at    DateTime64(3, 'UTC'),
    user_id        String,
    resource_json  LowCardinality(String),
    user_json      String,
    app_version    LowCardinality(String),
    topic          LowCardinality(String),
    partition      UInt32,
    offset         UInt64,
    -- Of the first event; the others follow.
    event_index    UInt16,
    -- Each is an array in JSON, so that no names are read.
    events         Array(Tuple(
        event_id          String,
        time              DateTime64(3, 'UTC'),
        raw_time          DateTime64(3, 'UTC'),
        name              LowCardinality(String),
        kind              LowCardinality(String),
        seq               Int64,
        client_session_id String,
        exit_reason       LowCardinality(String),
        counters          UInt32,
        stated            LowCardinality(String),
        attributes        Map(LowCardinality(String), String),
        repaired          Array(String))),
    stored_on      Date DEFAULT today(),
    retention_days UInt16 DEFAULT 0
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS z_envelope_tap TO z_event_feed AS
SELECT
    app_id,
    device_id,
    e.event_id AS event_id,
    e.time AS time,
    e.raw_time AS raw_time,
    received_at,
    e.name AS name,
    e.kind AS kind,
    e.seq AS seq,
    e.client_session_id AS client_session_id,
    e.exit_reason AS exit_reason,
    e.counters AS counters,
    e.stated AS stated,
    user_id,
    resource_json,
    user_json,
    app_version,
    e.attributes AS attributes,
    e.repaired AS repaired,
    topic,
    partition,
    offset,
    toUInt16(f.event_index + place - 1) AS event_index,
    stored_on,
    retention_days
FROM z_envelope_feed AS f
ARRAY JOIN events AS e, arrayEnumerate(events) AS place;

-- A part as large as a block of the sink is one file and not one for each column; what they are merged into has columns apart.
ALTER TABLE z_event_rows MODIFY SETTING min_bytes_for_wide_part = 67108864;
