-- Up to where a rebuild has replaced what `sessions` holds: rows below this offset, as Kafka counts, say nothing any
-- more. A sink that reads the topic again passes them over. The topic is known by its id: another one begins at 0.
CREATE TABLE IF NOT EXISTS replaced_rows
(
    topic_id     String,
    partition    UInt32,
    below_offset UInt64
)
ENGINE = ReplacingMergeTree(below_offset)
ORDER BY (topic_id, partition);
