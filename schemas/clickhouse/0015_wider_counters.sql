-- What an event counts is a bit each, and there are more than eight of them.
ALTER TABLE notable_event_feed MODIFY COLUMN counters UInt32;

ALTER TABLE event_rows MODIFY COLUMN counters UInt32;
