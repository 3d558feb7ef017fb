-- The old tables go, and what leads to and from them. The table that old sinks insert into goes before what carries its rows
-- on: no row may be inserted that reaches nobody.
DROP VIEW IF EXISTS z_to_old_event_tap;
DROP TABLE IF EXISTS event_rows;
DROP VIEW IF EXISTS z_from_old_event_tap;
DROP VIEW IF EXISTS z_from_old_notable_tap;
DROP VIEW IF EXISTS z_from_old_version_tap;
DROP VIEW IF EXISTS notable_event_tap;
DROP VIEW IF EXISTS notable_event_choice;
DROP VIEW IF EXISTS event_version_tap;
DROP TABLE IF EXISTS notable_event_feed;
DROP TABLE IF EXISTS notable_event_rows;
DROP TABLE IF EXISTS event_version_rows;
