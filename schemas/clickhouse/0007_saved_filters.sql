-- Filters that were given a name, in their text form (README.md, "Filters"). The newest row of a name counts.
CREATE TABLE IF NOT EXISTS saved_filter_rows
(
    app_id     LowCardinality(String),
    name       String,
    filter     String,
    saved_at   DateTime64(3, 'UTC') DEFAULT now64(3),
    -- 1 on the row that takes a name back.
    is_deleted UInt8 DEFAULT 0
)
ENGINE = ReplacingMergeTree(saved_at, is_deleted)
ORDER BY (app_id, name);

-- Which of them an app begins with, one row an app: a flag on the filters would have to change on two at once.
CREATE TABLE IF NOT EXISTS default_filter_rows
(
    app_id   LowCardinality(String),
    -- Empty for none.
    name     String,
    saved_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(saved_at)
ORDER BY app_id;

CREATE OR REPLACE VIEW saved_filters AS
SELECT
    app_id,
    name,
    filter,
    saved_at,
    (app_id, name) IN (SELECT app_id, name FROM default_filter_rows FINAL) AS is_default
FROM saved_filter_rows FINAL
WHERE is_deleted = 0;
