-- What was applied. This file runs at every migration, before anything else is looked up.
CREATE TABLE IF NOT EXISTS migrations
(
    name       String,
    -- SHA-256 of the file: a file that changed after it was applied is a mistake and refused.
    checksum   String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
-- Migrations that run at the same time record the same row.
ENGINE = ReplacingMergeTree
ORDER BY name;
