-- What each topic is known by: the id that Kafka gave it when it was made, and the offset base under which it was
-- noted. A topic with another id under the same base was made anew.
CREATE TABLE IF NOT EXISTS topic_ids
(
    topic       LowCardinality(String),
    topic_id    String,
    offset_base UInt64,
    noted_at    DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(noted_at)
ORDER BY topic;

-- Losses that an operator has seen and accepted, as numbers of records: `status` complains of what is above them.
-- The role is that of a worker whose input was deleted unread, or `ledger` for offsets missing there, or `duplicates`
-- for those that the ledger has below zero.
CREATE TABLE IF NOT EXISTS accepted_losses
(
    role        LowCardinality(String),
    topic       LowCardinality(String),
    partition   UInt32,
    records     UInt64,
    accepted_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(accepted_at)
ORDER BY (role, topic, partition);
