-- Once and no more: a second time would bring the old table back.
EXCHANGE TABLES z_event_version_rows AND z_event_version_rows_in_one;
