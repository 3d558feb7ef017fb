-- What a move of events from the old tables notes, where there are any. It goes with them.

-- How far it has come, a row for each range of a table that is done; a range that is done again takes the row's place.
CREATE TABLE IF NOT EXISTS z_move_steps
(
    -- If what was copied is not what there was, all of it is done once more.
    round    UInt8,
    -- 'begun', 'copied', 'copied versions', 'summed …', 'moved', 'moved back'.
    step     LowCardinality(String),
    -- A partition of the table; '' where all of it is meant.
    place    String,
    -- After which key, and up to which: none is the beginning, or the end.
    since    Array(String),
    upto     Array(String),
    -- About how many rows were read.
    rows     UInt64,
    -- Sums of a range, by what they are of.
    groups   Array(String),
    counts   Array(UInt64),
    sums     Array(UInt64),
    noted_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(noted_at)
ORDER BY (round, step, place, since);

-- Up to which offset of each partition of Kafka the old table had everything when both began to get the same: what is copied
-- and verified. What is above came through the taps into both.
CREATE TABLE IF NOT EXISTS z_move_bounds
(
    topic     LowCardinality(String),
    partition UInt32,
    offset    UInt64
)
ENGINE = ReplacingMergeTree(offset)
ORDER BY (topic, partition);
