"""Questions to ClickHouse that command line and dashboard share."""
